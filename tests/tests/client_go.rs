//! Kubernetes' own client library against orlopd's URLs: what kubectl and the API server speak, by their own code.
//!
//! Built only with the feature `client-go`: `tests/all.sh` asks for it where Go is on PATH, and says so where it is not.
//!
//! *Invariant:* the program in `tests/clients/go` knows nothing but a URL.

use orlop_proto::runtime::v1::NamespaceMode;
use orlop_tests::client_go::say;
use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::{Stage, namespaces};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// What it says of an exec; `streams` as in `exec_url`.
async fn exec(
    stage: &mut Stage,
    id: &str,
    form: &[&str],
    script: &str,
    streams: &str,
    more: &[&str],
) -> Value {
    let url = stage.client.exec_url(id, &["sh", "-c", script], streams).await.expect("a URL");
    let mut arguments = vec!["command", form[0], &url];
    arguments.extend(&form[1..]);
    for (letter, flag) in [('i', "-input"), ('o', "-stdout"), ('e', "-stderr"), ('t', "-tty")] {
        if streams.contains(letter) {
            arguments.push(flag);
        }
    }
    arguments.extend(more);
    say(&arguments).await
}

/// Executors with an exit code: SPDY as kubelet has it proxied, WebSocket in its versions, and kubectl's way from one to the other.
const FORMS: [&[&str]; 5] = [
    &["spdy"],
    &["spdy", "-protocol", "v4.channel.k8s.io"],
    &["websocket"],
    &["websocket", "-protocol", "v4.channel.k8s.io"],
    &["fallback"],
];

#[tokio::test]
async fn exec_gives_outputs_apart_and_the_exit_code() {
    let mut stage = Stage::new("outputs").await;
    let id = stage.run("c", "exec sleep 1000").await;
    for form in FORMS {
        let said = exec(&mut stage, &id, form, "echo out; echo err >&2; exit 7", "oe", &[]).await;
        assert_eq!(
            (&said["stdout"], &said["stderr"]),
            (&"out\n".into(), &"err\n".into()),
            "{form:?}: {said}"
        );
        assert_eq!(
            (&said["code"], said["error"].as_str()),
            (&7.into(), Some("command terminated with exit code 7"))
        );
        let said = exec(&mut stage, &id, form, "echo $$ >/dev/null", "oe", &[]).await;
        assert_eq!((&said["code"], said["error"].as_str()), (&0.into(), Some("")), "{form:?}: {said}");
    }
    for version in ["v3", "v2"] {
        let form = ["spdy", "-protocol", &format!("{version}.channel.k8s.io")];
        let said = exec(&mut stage, &id, &form, "echo out; exit 7", "oe", &[]).await;
        assert_eq!(said["stdout"], "out\n");
        let error = said["error"].as_str().expect("words");
        assert!(error.ends_with("command terminated with non-zero exit code: 7"), "{version}: {error}");
    }
    stage.end().await;
}

#[tokio::test]
async fn exec_takes_input_to_its_end_or_for_as_long_as_the_process_lives() {
    let mut stage = Stage::new("input").await;
    let id = stage.run("c", "exec sleep 1000").await;
    for form in FORMS {
        // Version 4 over WebSocket has no end of the input.
        if *form != FORMS[3][..] {
            let said = exec(&mut stage, &id, form, "cat; echo end", "ioe", &["-stdin", "some input\n"]).await;
            assert_eq!(
                (&said["stdout"], &said["error"]),
                (&"some input\nend\n".into(), &"".into()),
                "{form:?}"
            );
        }
        let more = ["-stdin", "a line\nanother\n", "-hold"];
        let said = exec(&mut stage, &id, form, "read line; echo \"$line\"; exit 4", "ioe", &more).await;
        assert_eq!((&said["stdout"], &said["code"]), (&"a line\n".into(), &4.into()), "{form:?}: {said}");
    }
    stage.end().await;
}

#[tokio::test]
async fn exec_resizes_a_terminal() {
    let mut stage = Stage::new("terminal").await;
    let id = stage.run("c", "exec sleep 1000").await;
    for form in FORMS {
        let script =
            "until [ \"$(stty size 2>/dev/null)\" = '43 121' ]; do sleep 0.01; done; echo sized; exit 5";
        let said =
            exec(&mut stage, &id, form, script, "iot", &["-hold", "-size", "80x24", "-size", "121x43"]).await;
        assert_eq!((&said["stdout"], &said["code"]), (&"sized\r\n".into(), &5.into()), "{form:?}: {said}");
    }
    stage.end().await;
}

#[tokio::test]
async fn exec_carries_much_and_waits_for_no_grandchild() {
    let mut stage = Stage::new("much").await;
    let id = stage.run("c", "exec sleep 1000").await;
    for form in [FORMS[0], FORMS[2]] {
        let script = "head -c 268435456 /dev/zero; sleep 1000 & exit 9";
        let said = exec(&mut stage, &id, form, script, "oe", &["-count"]).await;
        assert_eq!((&said["bytes"], &said["code"]), (&268_435_456.into(), &9.into()), "{form:?}: {said}");
    }
    stage.end().await;
}

#[tokio::test]
async fn attach_speaks_with_a_container() {
    let mut stage = Stage::new("attach").await;
    for (at, form) in FORMS.iter().enumerate() {
        let mut config = stage.script(&format!("c{at}"), "read line; echo \"got $line\"; exit 3");
        (config.stdin, config.stdin_once) = (true, true);
        let id = stage.start(&config).await;
        let url = stage.client.attach_url(&id, "ioe").await.expect("a URL");
        let mut arguments = vec!["command", form[0], &url];
        arguments.extend(&form[1..]);
        arguments.extend(["-stdout", "-stderr", "-hold", "-stdin", "a line\n"]);
        let said = say(&arguments).await;
        assert_eq!(
            (&said["stdout"], &said["error"]),
            (&"got a line\n".into(), &"".into()),
            "{form:?}: {said}"
        );
        assert_eq!(stage.client.ended(&id).await.exit_code, 3);
    }
    stage.end().await;
}

#[tokio::test]
async fn a_url_is_good_once() {
    let mut stage = Stage::new("once").await;
    let id = stage.run("c", "exec sleep 1000").await;
    let url = stage.client.exec_url(&id, &["true"], "o").await.expect("a URL");
    assert_eq!(say(&["command", "spdy", &url, "-stdout"]).await["error"], "");
    for form in ["spdy", "websocket"] {
        let said = say(&["command", form, &url, "-stdout"]).await;
        assert_ne!(said["error"], "", "{form}");
    }
    stage.end().await;
}

#[tokio::test]
async fn ports_of_the_node_carry_a_hundred_connections_at_once() {
    let mut stage = Stage::with("echo", |pod| namespaces(pod).network = NamespaceMode::Node.into()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let echo = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut all = Vec::new();
                let _ = stream.read_to_end(&mut all).await;
                let _ = stream.write_all(&all).await;
            });
        }
    });
    for form in ["spdy", "tunnel"] {
        let url = stage.client.port_forward_url(&stage.pod_id, &[]).await.expect("a URL");
        let (port, text) = (port.to_string(), "x".repeat(50_000));
        let said = say(&["forward", form, &url, &port, "-times", "100", "-half", "-send", &text]).await;
        let answers = said["answers"].as_array().expect("answers");
        assert_eq!((answers.len(), said["error"].as_str()), (100, Some("")), "{form}");
        for (number, answer) in answers.iter().enumerate() {
            assert!(*answer == format!("{number} {text}"), "{form}: {number}");
        }
    }
    echo.abort();
    stage.end().await;
}

#[tokio::test]
async fn ports_of_a_pod_are_served_and_those_that_are_not_end() {
    let mut stage = Stage::new("web").await;
    stage.run("web", "exec httpd -f -p 127.0.0.1:8081 -h /www").await;
    for form in ["spdy", "tunnel"] {
        let ask = async |stage: &mut Stage, port: &str| {
            let url = stage.client.port_forward_url(&stage.pod_id, &[]).await.expect("a URL");
            say(&["forward", form, &url, port, "-plain", "-send", "GET / HTTP/1.0\r\n\r\n"]).await
        };
        eventually("the page is served", async || {
            let said = ask(&mut stage, "8081").await;
            said["answers"][0]
                .as_str()
                .is_some_and(|answer| answer.ends_with("serves this page from a container\n"))
        })
        .await;
        assert_eq!(ask(&mut stage, "8082").await["answers"][0], "", "{form}: nobody listens there");
    }
    stage.end().await;
}
