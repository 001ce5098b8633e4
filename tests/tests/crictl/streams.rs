//! Exec, attach and port-forward, over SPDY and WebSocket.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use orlop_proto::runtime::v1::ContainerConfig;
use orlop_tests::daemon::stage::Stage;
use orlop_tests::daemon::{Daemon, PATIENCE, eventually};
use orlop_tests::run::{Going, fed, on_a_terminal};

use super::Crictl;

const TRANSPORTS: [&str; 2] = ["spdy", "websocket"];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn exec_passes_on_what_goes_in_and_out() {
    let mut stage = Stage::new("crictl-exec").await;
    let id = stage.run("c", "exec sleep 1000").await;
    let crictl = Crictl::of(&stage.daemon);
    for transport in TRANSPORTS {
        let exec = ["exec", "-r", transport];
        let said = crictl.run(&[&exec[..], &[&id, "sh", "-c", "echo out; echo err >&2"]].concat());
        assert_eq!((text(&said.stdout), text(&said.stderr)), ("out\n".into(), "err\n".into()), "{transport}");
        let failed = crictl.run(&[&exec[..], &[&id, "sh", "-c", "exit 37"]].concat());
        assert!(!failed.status.success() && text(&failed.stderr).contains("37"), "{failed:?}");
        let absent = crictl.fails(&[&exec[..], &[&id, "no-such-program"]].concat());
        assert!(absent.contains("no-such-program"), "{absent}");
        // The end of the input reaches the process, and what it says after that reaches us.
        let mut command = crictl.command(&[&exec[..], &["-i", &id, "sh", "-c", "cat; echo over"]].concat());
        let said = fed(&mut command, b"one\ntwo\n");
        assert_eq!(text(&said.stdout), "one\ntwo\nover\n", "{transport}: {}", text(&said.stderr));
        let mut command = crictl.command(&[&exec[..], &["-i", &id, "sha256sum"]].concat());
        let many: Vec<u8> = (0..8_u32 << 20).map(|number| (number >> 9).to_le_bytes()[0]).collect();
        let said = fed(&mut command, &many);
        let digest = orlop_tests::hash::digest(&many);
        assert_eq!(text(&said.stdout), format!("{}  -\n", &digest[7..]), "{transport}");
        let said = crictl.run(&[&exec[..], &[&id, "head", "-c", "67108864", "/dev/zero"]].concat());
        assert!(said.stdout.len() == 64 << 20 && said.stdout.iter().all(|&byte| byte == 0), "{transport}");
    }
    stage.end().await;
}

#[tokio::test]
async fn a_terminal_at_both_ends_has_one_size() {
    let mut stage = Stage::new("crictl-tty").await;
    let id = stage.run("c", "exec sleep 1000").await;
    let crictl = Crictl::of(&stage.daemon);
    for transport in TRANSPORTS {
        // The size comes beside the streams: the program waits for it.
        let script = "until [ -n \"$(stty size 2>&-)\" ]; do sleep 0.01; done; stty size; tty; read word; echo got $word";
        let words = crictl.words(&["exec", "-r", transport, "-i", "-t", &id, "sh", "-c", script]);
        let said = on_a_terminal(&words, b"hello\n");
        for word in ["41 113", "/dev/pts/", "got hello"] {
            assert!(said.contains(word), "{transport}: {word} in {said:?}");
        }
    }
    stage.end().await;
}

fn shell(stage: &Stage, name: &str) -> ContainerConfig {
    let mut config = stage.script(name, "exec sh");
    (config.stdin, config.stdin_once) = (true, true);
    config
}

#[tokio::test]
async fn attach_talks_to_a_shell_that_ends_with_its_input() {
    let mut stage = Stage::new("crictl-attach").await;
    let crictl = Crictl::of(&stage.daemon);
    for transport in TRANSPORTS {
        let config = shell(&stage, transport);
        let id = stage.start(&config).await;
        let mut command = crictl.command(&["attach", "-r", transport, "-i", &id]);
        let said = fed(&mut command, b"echo hello\necho oops >&2\n");
        assert_eq!(text(&said.stdout), "hello\n", "{transport}: {}", text(&said.stderr));
        assert!(text(&said.stderr).contains("oops"), "{transport}: {}", text(&said.stderr));
        assert_eq!(stage.client.ended(&id).await.exit_code, 0);
    }
    stage.end().await;
}

/// Leads a free port of this machine to the pod's: the program that does it, and the port.
fn forward(crictl: &Crictl, transport: &str, pod: &str, port: u16) -> (Going, u16) {
    let ports = format!("0:{port}");
    let mut command = crictl.command(&["port-forward", "-r", transport, pod, &ports]);
    let mut child = Going(command.stdout(Stdio::piped()).spawn().expect("started"));
    let mut said = BufReader::new(child.0.stdout.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("127.0.0.1:") {
        line.clear();
        assert_ne!(said.read_line(&mut line).expect("read"), 0, "it ended");
    }
    let number = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next());
    let number = number.and_then(|number| number.parse().ok()).expect("a number");
    // Whatever else it says is taken, so that it waits for nobody.
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    (child, number)
}

/// What the port says to `sent` after its end.
fn ask(port: u16, sent: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut writes = stream.try_clone()?;
    let sent = sent.to_vec();
    let sending = std::thread::spawn(move || {
        writes.write_all(&sent)?;
        writes.shutdown(std::net::Shutdown::Write)
    });
    let mut said = Vec::new();
    stream.read_to_end(&mut said)?;
    let _ = sending.join().expect("sent");
    Ok(said)
}

#[tokio::test]
async fn port_forward_leads_into_the_pod() {
    let mut stage = Stage::new("crictl-ports").await;
    let crictl = Crictl::of(&stage.daemon);
    // Echoes what it is sent, and ends when that does.
    let id = stage.run("echo", "exec nc -ll -p 9001 -e cat").await;
    // crictl ends at the first connection that is refused.
    eventually("the pod listens", async || stage.client.sh(&id, "netstat -ltn").await.contains(":9001"))
        .await;
    let sent: Vec<u8> = (0..4_u32 << 20).map(|number| (number >> 7).to_le_bytes()[0]).collect();
    for transport in TRANSPORTS {
        let (going, here) = forward(&crictl, transport, &stage.pod_id, 9001);
        assert_eq!(ask(here, b"word").expect("an answer"), b"word", "{transport}");
        let one = || {
            let sent = sent.clone();
            std::thread::spawn(move || assert!(ask(here, &sent).expect("an answer") == sent))
        };
        let all: Vec<_> = (0..4).map(|_| one()).collect();
        for one in all {
            one.join().expect("whole");
        }
        drop(going);
    }
    stage.end().await;
}

#[tokio::test]
async fn the_streaming_port_speaks_tls_where_it_is_told_to() {
    let place = orlop_tests::place::Place::new("crictl-tls");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
    let certificate = place.put("cert.pem", made.cert.pem()).display().to_string();
    let key = place.put("key.pem", made.signing_key.serialize_pem()).display().to_string();
    let config = format!("[streaming]\ntls_cert = \"{certificate}\"\ntls_key = \"{key}\"");
    let daemon = Daemon::build("crictl-tls").config(&config).start().await;
    let mut stage = Stage::on(daemon, |_| {}).await;
    let id = stage.run("c", "exec sleep 1000").await;
    let url = stage.client.exec_url(&id, &["true"], "o").await.expect("a URL");
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let crictl = Crictl::of(&stage.daemon);
    for transport in TRANSPORTS {
        let mut command = crictl.command(&[
            "exec",
            "-r",
            transport,
            "--tls-ca",
            &certificate,
            "--tls-cert",
            &certificate,
            "--tls-key",
            &key,
            "-i",
            &id,
            "cat",
        ]);
        let said = fed(&mut command, b"in secret\n");
        assert_eq!(text(&said.stdout), "in secret\n", "{transport}: {}", text(&said.stderr));
    }
    stage.end().await;
}
