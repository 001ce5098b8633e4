//! Clients that send too much, or no requests at all, or go away: it costs the daemon nothing, and nobody else.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use orlop_proto::runtime::v1::*;
use orlop_tests::cri;
use orlop_tests::daemon::stage::Stage;
use orlop_tests::daemon::{Daemon, PATIENCE, eventually};
use tonic::Code;

/// What the daemon has open.
fn open(daemon: &Daemon) -> Vec<String> {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("it runs");
    let target = |entry: std::fs::DirEntry| std::fs::read_link(entry.path()).ok();
    let mut targets: Vec<String> =
        descriptors.flatten().filter_map(target).map(|path| path.display().to_string()).collect();
    targets.sort();
    targets
}

/// Waits until the daemon has no more open than it had.
async fn back(daemon: &Daemon, before: &[String]) {
    let deadline = Instant::now() + PATIENCE;
    while open(daemon).len() > before.len() {
        let now = open(daemon);
        assert!(Instant::now() < deadline, "before: {before:#?}\nnow: {now:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Annotations of so many bytes in all, and a little more for their frame.
fn annotations(bytes: usize) -> std::collections::BTreeMap<String, String> {
    (0..bytes >> 10).map(|number| (format!("{number:08}"), "x".repeat(1016))).collect()
}

#[tokio::test]
async fn a_message_has_up_to_16_mib() {
    let mut stage = Stage::new("large").await;
    let config = stage.script("large", "true");
    let mut pod = stage.pod.clone();
    let request = |pod: &PodSandboxConfig| CreateContainerRequest {
        pod_sandbox_id: stage.pod_id.clone(),
        config: Some(config.clone()),
        sandbox_config: Some(pod.clone()),
    };
    pod.annotations = annotations(15 << 20);
    let large = request(&pod);
    pod.annotations = annotations(17 << 20);
    let too_large = request(&pod);
    stage.client.runtime.create_container(large).await.expect("15 MiB are a request");
    let refused = stage.client.runtime.create_container(too_large).await.expect_err("17 MiB are none");
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    assert!(refused.message().contains("16777216"), "{refused}");
    stage.client.pods().await.expect("the connection goes on");
    stage.end().await;
}

/// What is no request.
const NOISE: &[(&str, &[u8])] = &[
    ("nothing", b""),
    ("zeros", &[0; 4096]),
    ("HTTP/1.1", b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("half a preface", b"PRI * HTTP/2.0\r\n"),
    ("a preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("a preface and noise", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
    ("a frame of 16 MiB to come", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x00\x00\x00\x00\x00\x01"),
    (
        "headers that are none",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x04\x01\x05\x00\x00\x00\x01\xff\xff\xff\xff",
    ),
];

#[tokio::test]
async fn noise_is_answered_by_the_end_of_its_connection() {
    let daemon = Daemon::start("noise").await;
    let mut client = daemon.client().await;
    client.pods().await.expect("an answer");
    let before = open(&daemon);
    for (name, noise) in NOISE {
        let mut stream = UnixStream::connect(daemon.socket()).expect("orlopd listens");
        // It may have closed its end already.
        let _ = stream.write_all(noise);
        client.pods().await.unwrap_or_else(|status| panic!("{name}: others are not served: {status}"));
        stream.shutdown(std::net::Shutdown::Write).ok();
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let mut answer = Vec::new();
        let closed = stream.read_to_end(&mut answer).map_err(|error| error.kind());
        let gone = [Ok(()), Err(std::io::ErrorKind::ConnectionReset)];
        assert!(gone.contains(&closed.map(drop)), "{name}: {closed:?}");
    }
    back(&daemon, &before).await;
    drop(client);
    daemon.end().await;
}

#[tokio::test]
async fn connections_that_are_opened_and_left_cost_nothing() {
    let daemon = Daemon::start("idle").await;
    let mut client = daemon.client().await;
    client.pods().await.expect("an answer");
    let before = open(&daemon);
    let idle: Vec<UnixStream> =
        (0..200).map(|_| UnixStream::connect(daemon.socket()).expect("orlopd listens")).collect();
    eventually("all are taken", async || open(&daemon).len() >= before.len() + 200).await;
    client.pods().await.expect("others are served");
    daemon.client().await.pods().await.expect("a new one is served, too");
    drop(idle);
    back(&daemon, &before).await;
    drop(client);
    daemon.end().await;
}

#[tokio::test]
async fn a_client_that_leaves_takes_nothing_with_it() {
    let mut stage = Stage::new("leaves").await;
    let running = stage.run("running", "sleep 1000").await;
    let before = open(&stage.daemon);
    for number in 0..50_u64 {
        let config = cri::pod(&format!("left{}", number % 10), &stage.daemon.logs("left"));
        let mut client = stage.daemon.client().await;
        let running = running.clone();
        // Calls that change, that wait and that look, each left at another moment of its way.
        let call = async move {
            match number % 3 {
                0 => client.run_pod(&config).await.map(drop),
                1 => client.exec(&running, &["sleep", "0.2"], 0).await.map(drop),
                _ => client.containers().await.map(drop),
            }
        };
        let _ = tokio::time::timeout(Duration::from_micros(100 * number), call).await;
    }
    for number in 0..10 {
        let name = format!("left{number}");
        let config = cri::pod(&name, &stage.daemon.logs("left"));
        // Whoever asks again joins what is there.
        let id = stage.client.run_pod(&config).await.expect("a pod that was asked for");
        let pods = stage.client.pods().await.expect("a list");
        let same = pods.iter().filter(|pod| pod.metadata.as_ref().is_some_and(|data| data.name == name));
        assert_eq!(same.map(|pod| pod.id.as_str()).collect::<Vec<_>>(), [id.as_str()]);
        stage.client.remove_pod(&id).await.expect("it is removed");
    }
    back(&stage.daemon, &before).await;
    assert_eq!(stage.client.sh(&running, "echo still here").await, "still here\n");
    stage.end().await;
}
