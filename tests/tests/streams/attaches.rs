//! A container's own streams.

use orlop_proto::runtime::v1::{ContainerConfig, ContainerState};
use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::{Stage, text};
use orlop_tests::session::{STDIN, Session};

use super::{attach, soon};

fn shell(stage: &Stage, once: bool, terminal: bool) -> ContainerConfig {
    let mut config = stage.script("c", "exec sh");
    (config.stdin, config.stdin_once, config.tty) = (true, once, terminal);
    config
}

#[tokio::test]
async fn a_shell_whose_input_is_for_one_client_ends_with_that_client_s_input() {
    let mut stage = Stage::new("once").await;
    let config = shell(&stage, true, false);
    let id = stage.start(&config).await;
    let mut session = attach(&mut stage, &id, "ioe").await;
    session.outgoing.send(STDIN, b"echo hello; echo oops >&2\n").await;
    let said = soon("the echo", session.incoming.until(|said| said.contains("hello\n"))).await;
    assert_eq!(said, "hello\n");
    // A second has no input to give, and sees the output.
    let mut second = attach(&mut stage, &id, "io").await;
    second.outgoing.send(STDIN, b"exit 9\n").await;
    session.outgoing.send(STDIN, b"echo again\n").await;
    session.outgoing.end(STDIN).await;
    let outcome = soon("its end", session.finish()).await;
    assert_eq!((outcome.text(), &outcome.status["status"]), ("again\n", &"Success".into()));
    let outcome = soon("the second's end", second.finish()).await;
    assert_eq!((outcome.text(), &outcome.status["status"]), ("again\n", &"Success".into()));
    assert_eq!(stage.client.ended(&id).await.exit_code, 0);
    assert_eq!(text(&stage.log("c"), "stdout"), "hello\nagain\n");
    assert_eq!(text(&stage.log("c"), "stderr"), "oops\n");
    stage.end().await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_input_that_is_for_one_client() {
    let mut stage = Stage::new("once-left").await;
    let config = shell(&stage, true, false);
    let id = stage.start(&config).await;
    let mut session = attach(&mut stage, &id, "io").await;
    session.outgoing.send(STDIN, b"echo hello\n").await;
    soon("the echo", session.incoming.until(|said| said == "hello\n")).await;
    drop(session);
    assert_eq!(stage.client.ended(&id).await.exit_code, 0);

    // So does the end of the daemon.
    let mut config = shell(&stage, true, false);
    config.metadata.get_or_insert_default().name = "second".into();
    config.log_path = "second/0.log".into();
    let id = stage.start(&config).await;
    let mut session = attach(&mut stage, &id, "io").await;
    session.outgoing.send(STDIN, b"echo hello\n").await;
    soon("the echo: it is attached", session.incoming.until(|said| said == "hello\n")).await;
    stage.daemon.restart().await;
    stage.client = stage.daemon.client().await;
    assert_eq!(stage.client.ended(&id).await.exit_code, 0);
    stage.end().await;
}

#[tokio::test]
async fn input_that_is_for_all_stays_over_clients_and_daemons() {
    let mut stage = Stage::new("for-all").await;
    let config = shell(&stage, false, false);
    let id = stage.start(&config).await;
    for round in 0..3 {
        let mut session = attach(&mut stage, &id, "ioe").await;
        session.outgoing.send(STDIN, format!("echo round {round}\n").as_bytes()).await;
        let said = soon("the echo", session.incoming.until(|said| said.ends_with('\n'))).await;
        assert_eq!(said, format!("round {round}\n"));
        if round == 1 {
            stage.daemon.restart().await;
            stage.client = stage.daemon.client().await;
            eventually("its shim is spoken to", async || stage.client.exec(&id, &["true"], 60).await.is_ok())
                .await;
        } else {
            // The end of its input is the attachment's end, and nothing to the container.
            session.outgoing.end(STDIN).await;
            let outcome = soon("its end", session.finish()).await;
            assert_eq!(outcome.status["status"], "Success");
        }
    }
    assert_eq!(stage.client.status(&id).await.expect("its status").state(), ContainerState::ContainerRunning);
    assert_eq!(text(&stage.log("c"), "stdout"), "round 0\nround 1\nround 2\n");
    stage.end().await;
}

#[tokio::test]
async fn a_terminal_is_typed_at_seen_by_all_and_resized() {
    let mut stage = Stage::new("typed").await;
    let config = shell(&stage, true, true);
    let id = stage.start(&config).await;
    let mut watching = attach(&mut stage, &id, "o").await;
    let mut session = attach(&mut stage, &id, "iot").await;
    session.outgoing.resize(121, 43).await;
    eventually("it has the size", async || {
        session.outgoing.send(STDIN, b"stty size; echo go-on\n").await;
        let said = session.incoming.until(|said| said.matches("go-on").count() == 2).await;
        said.contains("43 121")
    })
    .await;
    soon("the other sees it", watching.incoming.until(|said| said.contains("43 121"))).await;
    // A terminal stays open when its client leaves, as kubectl's users expect.
    drop(session);
    let mut session = attach(&mut stage, &id, "iot").await;
    session.outgoing.send(STDIN, b"exit 6\n").await;
    soon("its end", session.finish()).await;
    soon("the other's end", watching.finish()).await;
    assert_eq!(stage.client.ended(&id).await.exit_code, 6);
    stage.end().await;
}

#[tokio::test]
async fn a_container_without_input_gets_none() {
    let mut stage = Stage::new("none").await;
    let script = "cat; echo none; while [ ! -e /go ]; do sleep 0.01; done; echo over; exit 3";
    let id = stage.run("c", script).await;
    let mut session = attach(&mut stage, &id, "ioe").await;
    session.outgoing.send(STDIN, b"lost\n").await;
    session.outgoing.end(STDIN).await;
    stage.client.sh(&id, "touch /go").await;
    let outcome = soon("its end", session.finish()).await;
    assert!(outcome.text().ends_with("over\n") && !outcome.text().contains("lost"), "{}", outcome.text());
    assert_eq!(outcome.status["status"], "Success");
    stage.end().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_neither_the_container_nor_others() {
    let mut stage = Stage::new("deaf").await;
    let script =
        "while [ ! -e /go ]; do sleep 0.01; done; yes 0123456789abcde | head -c 100000000; echo over";
    let id = stage.run("c", script).await;
    let deaf = attach(&mut stage, &id, "o").await;
    let mut reading = attach(&mut stage, &id, "o").await;
    stage.client.sh(&id, "touch /go").await;
    let reader = tokio::spawn(async move { reading.incoming.finish().await });
    assert_eq!(stage.client.ended(&id).await.exit_code, 0);
    let log = stage.log("c");
    assert_eq!((log.len(), &*log[log.len() - 1].text), (6_250_001, "over"), "the log is whole");
    let other = soon("the other's end", reader).await.expect("read");
    assert!(other.stdout.starts_with(b"0123456789abcde\n"));
    // What the deaf one gets is what its pipe and its connection held, and it is told what it did not.
    let outcome = soon("its end", deaf.finish()).await;
    assert!(outcome.stdout.len() < 100_000_005, "{}", outcome.stdout.len());
    assert_eq!(outcome.status["status"], "Failure");
    let message = outcome.status["message"].as_str().expect("words");
    let missing: usize = message.split(' ').find_map(|word| word.parse().ok()).expect("a number");
    assert_eq!(missing + outcome.stdout.len(), 100_000_005, "{message}");
    stage.end().await;
}

#[tokio::test]
async fn many_come_and_go() {
    let mut stage = Stage::new("many").await;
    let id = stage.run("c", "while :; do echo tick; sleep 0.01; done").await;
    let mut sessions: Vec<Session> = Vec::new();
    for _ in 0..10 {
        sessions.push(attach(&mut stage, &id, "oe").await);
    }
    for session in &mut sessions {
        soon("it ticks", session.incoming.until(|said| said.contains("tick\n"))).await;
    }
    sessions.truncate(5);
    for session in &mut sessions {
        soon("it ticks still", session.incoming.until(|said| said.matches("tick\n").count() > 3)).await;
    }
    stage.client.stop(&id, 0).await.expect("stopped");
    for session in sessions {
        let outcome = soon("its end", session.finish()).await;
        assert_eq!(outcome.status["status"], "Success");
    }
    stage.end().await;
}
