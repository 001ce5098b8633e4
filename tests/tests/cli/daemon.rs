//! The daemon's beginning and end: configuration, socket, notifications, figures.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;
use std::time::Duration;

use orlop_tests::daemon::{Daemon, PATIENCE, program};
use orlop_tests::http;
use orlop_tests::place::Place;

use crate::said::{Said, orlop};

fn check(place: &Place, text: &str) -> Said {
    let file = place.put("config.toml", text);
    Said::of(Command::new(program("orlopd")).arg("--config").arg(file).arg("--check-config"))
}

#[test]
fn a_configuration_is_understood_or_its_fault_is_named() {
    let place = Place::new("config");
    let good = check(&place, "[network]\nmode = \"bridge\"\nsubnet = \"10.200.0.0/24\"\n");
    assert_eq!((good.code, good.err.as_str()), (0, ""), "{}", good.out);
    let file = place.join("config.toml").display().to_string();
    for (text, place_and_key, words) in [
        ("[network]\nmode = \"bridge\"\ncolour = 3\n", ":3: network.colour", "subnet6"),
        ("[network]\nsubnet = \"10.200.0.0/33\"\n", ":2: network.subnet", "8 to 29"),
        ("[colours]\nred = 1\n", ":1: colours", "registry"),
        ("[log]\nlevel = \"loud\"\n", ":2: log.level", "trace"),
        ("[log\n", ":1", ""),
    ] {
        let bad = check(&place, text);
        assert_eq!((bad.code, bad.out.as_str()), (2, ""), "{text:?}: {}", bad.err);
        assert!(bad.err.starts_with(&format!("orlopd: {file}{place_and_key}")), "{text:?}: {}", bad.err);
        assert!(bad.err.contains(words), "{words:?} is not in {}", bad.err);
    }
    // A drop-in beside it counts, too, and is named itself.
    place.put("config.d/50-more.toml", "[registry]\ncerts = \"/x\"\n");
    let bad = check(&place, "");
    let drop_in = place.join("config.d/50-more.toml").display().to_string();
    assert_eq!(bad.code, 2, "{}", bad.out);
    assert!(
        bad.err.contains(&format!("{drop_in}:2: registry.certs")) && bad.err.contains("certs_dir"),
        "{}",
        bad.err
    );
    let absent =
        Said::of(Command::new(program("orlopd")).args(["--check-config", "--config", "/no/such.toml"]));
    assert!(absent.code == 2 && absent.err.contains("/no/such.toml"), "{}", absent.err);
}

#[tokio::test]
async fn a_second_daemon_in_one_place_is_refused() {
    let daemon = Daemon::start("second").await;
    let mut command = Command::new(program("orlopd"));
    command.arg("--config").arg(daemon.place().join("config.toml")).arg("--root").arg(daemon.root());
    command.arg("--state").arg(daemon.state()).arg("--socket").arg(daemon.state().join("other.sock"));
    let second = Said::of(&mut command);
    assert_eq!(second.code, 1, "{}", second.err);
    let state = daemon.state().display().to_string();
    for word in [state.as_str(), "another orlopd", "--root", "--state", "--socket"] {
        assert!(second.err.contains(word), "{word:?} is not in {}", second.err);
    }
    daemon.client().await.pods().await.expect("the first is not disturbed");
    daemon.end().await;
}

#[tokio::test]
async fn the_socket_is_for_root_and_its_group() {
    let mut daemon = Daemon::start("socket").await;
    let metadata = std::fs::metadata(daemon.socket()).expect("a socket");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o660);
    // A socket that nobody listens on is in nobody's way.
    daemon.kill9();
    assert!(daemon.socket().exists());
    let away = daemon.orlop(&["pods"]).output().expect("orlop");
    let err = String::from_utf8_lossy(&away.stderr).into_owned();
    assert!(away.status.code() == Some(1) && err.contains("cannot reach the daemon"), "{err}");
    daemon.up().await;
    orlop(&daemon, &["pods"]);
    daemon.end().await;
}

/// The next message, within the patience of a test.
fn heard(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 4096];
    let length = socket.recv(&mut bytes).expect("a notification");
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

#[tokio::test]
async fn systemd_hears_when_it_is_ready_and_when_it_ends() {
    let place = Place::new("notify");
    let path = place.join("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let daemon =
        Daemon::build("notify").environment("NOTIFY_SOCKET", &path.display().to_string()).start().await;
    assert_eq!(heard(&socket), "READY=1");
    daemon.client().await.pods().await.expect("when it says so it answers");
    daemon.end().await;
    assert_eq!(heard(&socket), "STOPPING=1");
}

#[tokio::test]
async fn figures_name_the_calls_that_were_made() {
    let daemon = Daemon::build("metrics").config("[metrics]\naddress = \"127.0.0.1:0\"").start().await;
    let mut client = daemon.client().await;
    client.pods().await.expect("a list");
    client.pod_status("feedfeed").await.expect_err("there is none");
    drop(client);
    let log = daemon.log();
    let port =
        log.split("address=127.0.0.1:").nth(1).expect("the log says where").lines().next().expect("a line");
    let address = format!("127.0.0.1:{}", port.trim());
    let page = http::send(&address, "GET", "/metrics", &[], b"").expect("an answer");
    let text = String::from_utf8(page.body).expect("text");
    assert_eq!(page.status, 200);
    for line in [
        "# TYPE orlop_cri_calls_total counter",
        "orlop_cri_calls_total{call=\"ListPodSandbox\",code=\"Ok\"} 1",
        "orlop_cri_calls_total{call=\"PodSandboxStatus\",code=\"NotFound\"} 1",
        "orlop_cri_call_seconds_count{call=\"ListPodSandbox\"} 1",
    ] {
        assert!(text.lines().any(|has| has == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("feedfeed"), "no id is a label:\n{text}");
    // One that says nothing holds nobody up.
    let silent = TcpStream::connect(&address).expect("it listens");
    assert_eq!(http::send(&address, "GET", "/metrics", &[], b"").expect("an answer").status, 200);
    drop(silent);
    daemon.end().await;
}

#[tokio::test]
async fn figures_may_be_on_a_socket() {
    let place = Place::new("figures");
    let path = place.join("metrics.sock");
    let config = format!("[metrics]\naddress = \"unix:{}\"", path.display());
    let daemon = Daemon::build("figures").config(&config).start().await;
    let mut stream = UnixStream::connect(&path).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("orlop_cri_calls_total"),
        "{answer}"
    );
    daemon.end().await;
    assert!(!path.exists(), "its socket is left");
}
