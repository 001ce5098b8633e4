//! Processes with streams.

use orlop_proto::runtime::v1::NamespaceMode;
use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::{Stage, namespaces, security};
use orlop_tests::hash::digest;
use orlop_tests::session::{STDIN, STDOUT, Session};
use tonic::Code;

use super::{exec, sh, soon};

#[tokio::test]
async fn output_errors_and_the_code_come_as_they_are() {
    let mut stage = Stage::new("exact").await;
    let id = stage.run("c", "exec sleep 1000").await;
    for (script, streams, stdout, stderr, code) in [
        ("echo out; echo err >&2; exit 3", "oe", "out\n", "err\n", 3),
        ("echo out; echo err >&2", "o", "out\n", "", 0),
        ("echo out; echo err >&2", "e", "", "err\n", 0),
        ("true", "oe", "", "", 0),
        ("kill -9 $$", "oe", "", "", 137),
        ("cat; echo nothing to read", "oe", "nothing to read\n", "", 0),
        ("printf 'a\\nb'; exit 255", "o", "a\nb", "", 255),
        ("id -u; ls /proc/self/fd | wc -l", "o", "0\n4\n", "", 0),
    ] {
        let outcome = sh(&mut stage, &id, script, streams).await;
        let errors = String::from_utf8_lossy(&outcome.stderr);
        assert_eq!((outcome.text(), &*errors, outcome.code()), (stdout, stderr, code), "{script}");
    }
    stage.end().await;
}

#[tokio::test]
async fn what_cannot_be_run_is_told_on_the_status_channel() {
    let mut stage = Stage::new("status").await;
    let id = stage.run("c", "exec sleep 1000").await;
    let outcome = soon("its end", exec(&mut stage, &id, &["no-such-program"], "oe").await.finish()).await;
    assert_eq!(outcome.status["status"], "Failure");
    let message = outcome.status["message"].as_str().expect("words");
    assert!(message.contains("no-such-program"), "{message}");
    stage.end().await;
}

#[tokio::test]
async fn a_request_that_cannot_be_is_refused_by_its_field() {
    let mut stage = Stage::new("refused").await;
    let id = stage.run("c", "exec sleep 1000").await;
    let config = stage.script("created", "true");
    let created = stage.create(&config).await.expect("created");
    for (id, command, streams, code, word) in [
        (&*id, &["true"][..], "oet", Code::InvalidArgument, "stderr"),
        (&id, &["true"], "", Code::InvalidArgument, "stdout"),
        (&id, &["true"], "t", Code::InvalidArgument, "stdout"),
        (&id, &[], "o", Code::InvalidArgument, "cmd"),
        (&id, &[""], "o", Code::InvalidArgument, "cmd"),
        (&id, &["a", "b\0"], "o", Code::InvalidArgument, "cmd[1]"),
        ("", &["true"], "o", Code::InvalidArgument, "container_id"),
        ("feed", &["true"], "o", Code::NotFound, "feed"),
        (&created, &["true"], "o", Code::FailedPrecondition, "not running"),
    ] {
        let error = stage.client.exec_url(id, command, streams).await.expect_err(word);
        assert_eq!((error.code(), error.message().contains(word)), (code, true), "{error}");
    }
    for (id, streams, code, word) in [
        (&*id, "oet", Code::InvalidArgument, "stderr"),
        (&id, "", Code::InvalidArgument, "stdout"),
        (&id, "iot", Code::InvalidArgument, "tty"),
        ("feed", "o", Code::NotFound, "feed"),
        (&created, "o", Code::FailedPrecondition, "not running"),
    ] {
        let error = stage.client.attach_url(id, streams).await.expect_err(word);
        assert_eq!((error.code(), error.message().contains(word)), (code, true), "{error}");
    }
    stage.end().await;
}

#[tokio::test]
async fn input_comes_back_and_its_end_is_the_process_s_to_see() {
    let mut stage = Stage::new("echo").await;
    let id = stage.run("c", "exec sleep 1000").await;
    let mut session = exec(&mut stage, &id, &["cat"], "io").await;
    for word in ["one\n", "two\n"] {
        session.outgoing.send(STDIN, word.as_bytes()).await;
        let said = soon("the echo", session.incoming.until(|said| said.ends_with('\n'))).await;
        assert_eq!(said, word);
    }
    // Half of the connection is closed: what comes after is still delivered.
    session.outgoing.send(STDIN, b"last").await;
    session.outgoing.end(STDIN).await;
    let outcome = soon("its end", session.finish()).await;
    assert_eq!((outcome.text(), outcome.code()), ("last", 0));

    // Backpressure: more than all pipes hold goes in before anything is read, and comes out whole.
    let Session { mut incoming, mut outgoing } =
        exec(&mut stage, &id, &["sh", "-c", "sleep 0.2; cat"], "io").await;
    let sent: Vec<u8> = (0..16_u32 << 20).map(|number| (number >> 8).to_le_bytes()[0]).collect();
    let expected = digest(&sent);
    let sending = tokio::spawn(async move {
        for block in sent.chunks(60_000) {
            outgoing.send(STDIN, block).await;
        }
        outgoing.end(STDIN).await;
        outgoing
    });
    let outcome = soon("its end", incoming.finish()).await;
    assert_eq!((outcome.stdout.len(), digest(&outcome.stdout)), (16 << 20, expected));
    sending.await.expect("sent");
    stage.end().await;
}

#[tokio::test]
async fn a_terminal_has_a_size_one_output_and_no_end_before_its_process() {
    let mut stage = Stage::with("terminal", |pod| pod.linux = None).await;
    let mut config = stage.script("c", "exec sleep 1000");
    security(&mut config).run_as_username = "nobody".into();
    let id = stage.start(&config).await;
    let mut session = exec(&mut stage, &id, &["sh"], "iot").await;
    session.outgoing.resize(97, 31).await;
    eventually("it has the size", async || {
        session.outgoing.send(STDIN, b"stty size; echo go-on\n").await;
        let said = session.incoming.until(|said| said.matches("go-on").count() == 2).await;
        said.contains("31 97")
    })
    .await;
    session.outgoing.send(STDIN, b"tty; echo $TERM; echo err >&2; echo x >/dev/stdout; exit 5\n").await;
    let outcome = soon("its end, though its input is open", session.finish()).await;
    assert_eq!(outcome.code(), 5);
    for word in ["/dev/pts/", "xterm", "err\r\n", "x\r\n"] {
        assert!(outcome.text().contains(word), "{word}: {}", outcome.text());
    }
    // The end of the client's input is the terminal's.
    let mut session = exec(&mut stage, &id, &["sh", "-c", "cat; echo over"], "iot").await;
    session.outgoing.send(STDIN, b"a line\n").await;
    session.outgoing.end(STDIN).await;
    let outcome = soon("its end", session.finish()).await;
    assert!(outcome.text().ends_with("over\r\n") && outcome.code() == 0, "{}", outcome.text());
    stage.end().await;
}

/// Whether a `sleep` of this length runs in the container.
async fn sleeps(stage: &mut Stage, id: &str, length: &str) -> bool {
    let seen = stage.client.sh(id, "ps -o args").await;
    seen.lines().any(|line| line.trim_start().starts_with(&format!("sleep {length}")))
}

#[tokio::test]
async fn a_client_that_leaves_leaves_nothing_running() {
    let mut stage = Stage::with("leaves", |pod| namespaces(pod).pid = NamespaceMode::Pod.into()).await;
    let id = stage.run("c", "exec sleep 1000").await;
    let script = "setsid sleep 6001 & (sleep 6002 &) ; trap '' HUP TERM; echo begun; sleep 6003";
    for streams in ["ioe", "o", "iot"] {
        let mut session = exec(&mut stage, &id, &["sh", "-c", script], streams).await;
        soon("it has begun", session.incoming.until(|said| said.contains("begun"))).await;
        assert!(sleeps(&mut stage, &id, "600").await);
        drop(session);
        eventually("all of it is gone", async || !sleeps(&mut stage, &id, "600").await).await;
    }
    // Before its client has come nothing is begun.
    stage.client.exec_url(&id, &["touch", "/begun"], "o").await.expect("a URL");
    assert_eq!(stage.client.sh(&id, "[ -e /begun ] || echo none").await, "none\n");
    stage.end().await;
}

#[tokio::test]
async fn the_end_waits_for_nobody_who_holds_the_output() {
    let mut stage = Stage::new("held").await;
    let id = stage.run("c", "exec sleep 1000").await;
    for streams in ["oe", "o", "ioe"] {
        let outcome = sh(&mut stage, &id, "sleep 5000 & echo done; exit 4", streams).await;
        assert_eq!((outcome.text(), outcome.code()), ("done\n", 4), "{streams}");
    }
    stage.client.stop(&id, 0).await.expect("stopped");
    stage.end().await;
}

#[tokio::test]
async fn a_gibibyte_comes_whole() {
    const LENGTH: usize = 1 << 30;
    let mut stage = Stage::new("gibibyte").await;
    let id = stage.run("c", "exec sleep 1000").await;
    let script = "yes 0123456789abcde | head -c 1073741824";
    let mut session = exec(&mut stage, &id, &["sh", "-c", script], "o").await;
    let pattern = b"0123456789abcde\n".repeat(1 << 16);
    let mut count = 0;
    while let Some((channel, bytes)) = session.incoming.next().await {
        if channel != STDOUT {
            continue;
        }
        let at = count % 16;
        assert!(bytes[..] == pattern[at..at + bytes.len()], "wrong bytes after {count}");
        count += bytes.len();
    }
    assert_eq!(count, LENGTH);
    stage.end().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_its_own_process_alone() {
    let mut stage = Stage::new("slow").await;
    let id = stage.run("c", "exec sleep 1000").await;
    let mut slow = exec(&mut stage, &id, &["sh", "-c", "yes | head -c 67108864; echo over >&2"], "oe").await;
    // It stands, and others go on.
    for _ in 0..3 {
        let outcome = sh(&mut stage, &id, "head -c 4194304 /dev/zero", "o").await;
        assert_eq!((outcome.stdout.len(), outcome.code()), (4 << 20, 0));
    }
    let outcome = soon("its end", slow.incoming.finish()).await;
    assert_eq!((outcome.stdout.len(), &*outcome.stderr, outcome.code()), (64 << 20, &b"over\n"[..], 0));
    stage.end().await;
}

#[tokio::test]
async fn an_exec_ends_with_its_container() {
    let mut stage = Stage::new("ends").await;
    let id = stage.run("c", "exec sleep 1000").await;
    let mut session = exec(&mut stage, &id, &["sh", "-c", "echo begun; sleep 1000"], "o").await;
    soon("it has begun", session.incoming.until(|said| said.contains("begun"))).await;
    stage.client.stop(&id, 0).await.expect("stopped");
    let outcome = soon("its end", session.finish()).await;
    assert_eq!(outcome.status["status"], "Failure", "{}", outcome.status);
    stage.end().await;
}
