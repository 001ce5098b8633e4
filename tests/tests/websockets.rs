//! A WebSocket library of others, Python's `websockets`, against orlopd's URLs, in each version of the channels.
//!
//! *Invariant:* `tests/clients/streams.py` knows nothing but a URL.

use std::path::Path;
use std::process::Command;

use orlop_proto::runtime::v1::NamespaceMode;
use orlop_tests::daemon::stage::{Stage, namespaces};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// What streams.py says.
async fn say(arguments: &[&str]) -> Value {
    let checkout = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut command = Command::new(checkout.join("var/python/bin/python"));
    command
        .arg(checkout.join("tests/clients/streams.py"))
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let ran = tokio::task::spawn_blocking(move || command.output()).await.expect("a thread");
    let ran = ran.expect("var/python is there: make deps");
    assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).expect("JSON")
}

/// Versions, and whether they tell the end as JSON.
const PROTOCOLS: [(&str, bool); 6] = [
    ("v5.channel.k8s.io", true),
    ("v4.channel.k8s.io", true),
    ("v4.base64.channel.k8s.io", true),
    ("channel.k8s.io", false),
    ("base64.channel.k8s.io", false),
    ("", false),
];

#[tokio::test]
async fn exec_in_every_version() {
    let mut stage = Stage::new("versions").await;
    let id = stage.run("c", "exec sleep 1000").await;
    for (protocol, fields) in PROTOCOLS {
        let script = "read line; echo \"got $line\"; echo err >&2; exit 6";
        let url = stage.client.exec_url(&id, &["sh", "-c", script], "ioe").await.expect("a URL");
        let said = say(&["command", &url, protocol, "--stdin", "a line\n"]).await;
        assert_eq!(
            (&said["stdout"], &said["stderr"]),
            (&"got a line\n".into(), &"err\n".into()),
            "{protocol}: {said}"
        );
        let agreed = if protocol.is_empty() { Value::Null } else { protocol.into() };
        assert_eq!((&said["close"], &said["protocol"]), (&1000.into(), &agreed));
        let error = said["error"].as_str().expect("text");
        if fields {
            let status: Value = serde_json::from_str(error).expect("JSON");
            assert_eq!(status["reason"], "NonZeroExitCode");
            assert_eq!(status["details"]["causes"], json!([{ "reason": "ExitCode", "message": "6" }]));
        } else {
            assert_eq!(error, "command terminated with non-zero exit code: 6", "{protocol}");
        }
    }
    let url = stage.client.exec_url(&id, &["sh", "-c", "cat; echo end"], "io").await.expect("a URL");
    let said = say(&["command", &url, "v5.channel.k8s.io", "--stdin", "all\n", "--end"]).await;
    assert_eq!((&said["stdout"], &said["close"]), (&"all\nend\n".into(), &1000.into()));
    stage.end().await;
}

#[tokio::test]
async fn a_terminal_in_every_version() {
    let mut stage = Stage::new("sizes").await;
    let id = stage.run("c", "exec sleep 1000").await;
    for (protocol, _) in PROTOCOLS {
        let script = "until [ \"$(stty size 2>/dev/null)\" = '43 121' ]; do sleep 0.01; done; echo sized";
        let url = stage.client.exec_url(&id, &["sh", "-c", script], "iot").await.expect("a URL");
        let said = say(&["command", &url, protocol, "--size", "80x24", "--size", "121x43"]).await;
        assert_eq!(
            (&said["stdout"], &said["close"]),
            (&"sized\r\n".into(), &1000.into()),
            "{protocol}: {said}"
        );
    }
    stage.end().await;
}

#[tokio::test]
async fn ports_by_channels() {
    let mut stage = Stage::with("channels", |pod| namespaces(pod).network = NamespaceMode::Node.into()).await;
    let (open, closed) = (TcpListener::bind("127.0.0.1:0").await, TcpListener::bind("127.0.0.1:0").await);
    let (open, closed) = (open.expect("a port"), closed.expect("a port"));
    let port = open.local_addr().expect("an address").port();
    let nobody = closed.local_addr().expect("an address").port();
    // Until here it was not given to anybody else.
    drop(closed);
    let answer = tokio::spawn(async move {
        while let Ok((mut stream, _)) = open.accept().await {
            let mut asked = [0; 5];
            let _ = stream.read_exact(&mut asked).await;
            let _ = stream.write_all(b"answer").await;
        }
    });
    for protocol in ["v4.channel.k8s.io", "v4.base64.channel.k8s.io", ""] {
        let both = [port.into(), nobody.into()];
        let url = stage.client.port_forward_url(&stage.pod_id, &both).await.expect("a URL");
        let said = say(&["ports", &url, protocol, &format!("{port},{nobody}"), "asked"]).await;
        assert_eq!(
            (&said["ports"][0], &said["close"]),
            (&json!([port, "answer", ""]), &1000.into()),
            "{protocol}"
        );
        let told = &said["ports"][1];
        assert_eq!((&told[0], &told[1]), (&nobody.into(), &"".into()));
        assert!(told[2].as_str().is_some_and(|words| words.contains("refused")), "{protocol}: {told}");
    }
    answer.abort();
    stage.end().await;
}
