//! orlopd is killed, or ends orderly, and starts again.

use std::time::{SystemTime, UNIX_EPOCH};

use orlop_proto::runtime::v1::{
    Container, ContainerState, PodSandbox, PodSandboxState, PortMapping, Protocol,
};
use orlop_tests::cri::{Client, container, pod};
use orlop_tests::daemon::stage::{Stage, lines, resources};
use orlop_tests::daemon::{Daemon, eventually};
use orlop_tests::http;

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_nanos()).expect("before 2262")
}

/// Pods and containers, as they are listed.
async fn listed(client: &mut Client) -> (Vec<PodSandbox>, Vec<Container>) {
    (client.pods().await.expect("pods"), client.containers().await.expect("containers"))
}

/// Whether the exit record of a container is there: its shim wrote it, whoever else is gone.
fn has_ended(daemon: &Daemon, id: &str) -> bool {
    daemon.state().join("containers").join(id).join("exit").exists()
}

#[tokio::test]
async fn containers_go_on_and_are_listed_as_before() {
    let mut stage = Stage::new("goes-on").await;
    let running = stage.run("running", "exec sleep 1000").await;
    let config = stage.script("created", "exec sleep 1000");
    let created = stage.create(&config).await.expect("created");
    let exited = stage.run("exited", "exit 3").await;
    stage.client.ended(&exited).await;
    let pid = stage.client.facts(&running).await.expect("facts")["pid"].clone();
    let before = listed(&mut stage.client).await;
    let mut statuses = Vec::new();
    for id in [&running, &created, &exited] {
        statuses.push(stage.client.status(id).await.expect("its status"));
    }
    let pod_status = stage.client.pod_status(&stage.pod_id).await.expect("its status");
    for orderly in [false, true, false] {
        if orderly {
            stage.daemon.stop();
            stage.daemon.up().await;
        } else {
            stage.daemon.restart().await;
        }
        stage.client = stage.daemon.client().await;
        assert_eq!(listed(&mut stage.client).await, before, "orderly: {orderly}");
        for (id, status) in [&running, &created, &exited].into_iter().zip(&statuses) {
            assert_eq!(&stage.client.status(id).await.expect("its status"), status);
        }
        assert_eq!(stage.client.pod_status(&stage.pod_id).await.expect("its status"), pod_status);
        assert_eq!(stage.client.facts(&running).await.expect("facts")["pid"], pid);
        // It is heard: an exec goes through its shim.
        eventually("its shim is spoken to", async || {
            stage.client.exec(&running, &["true"], 60).await.is_ok()
        })
        .await;
    }
    assert_eq!(stage.client.run_pod(&stage.pod).await.expect("the same pod"), stage.pod_id);
    stage.client.start(&created).await.expect("started");
    stage.client.stop(&running, 0).await.expect("stopped");
    assert_eq!(stage.client.status(&running).await.expect("its status").exit_code, 137);
    stage.end().await;
}

#[tokio::test]
async fn an_end_that_nobody_saw_has_its_code_and_time() {
    let mut stage = Stage::new("unseen").await;
    let gate = stage.daemon.place().join("gate");
    std::fs::create_dir(&gate).expect("a directory");
    let wait = "while [ ! -e /gate/open ]; do sleep 0.01; done";
    let mut ids = Vec::new();
    for (name, end, code, reason) in [
        ("zero", "exit 0", 0, "Completed"),
        ("seven", "exit 7", 7, "Error"),
        ("memory", "exec tail /dev/zero", 137, "OOMKilled"),
        ("trap", "sh -c 'kill -TERM $$'; exit $?", 143, "Error"),
    ] {
        let mut config = stage.script(name, &format!("{wait}; {end}"));
        config.mounts.push(orlop_proto::runtime::v1::Mount {
            host_path: gate.display().to_string(),
            container_path: "/gate".into(),
            ..Default::default()
        });
        resources(&mut config).memory_limit_in_bytes = 16 << 20;
        resources(&mut config).memory_swap_limit_in_bytes = 16 << 20;
        ids.push((stage.start(&config).await, code, reason));
    }
    stage.daemon.kill9();
    let opened = now();
    std::fs::write(gate.join("open"), "").expect("a file");
    eventually("all have ended", async || ids.iter().all(|(id, ..)| has_ended(&stage.daemon, id))).await;
    let ended = now();
    stage.daemon.up().await;
    stage.client = stage.daemon.client().await;
    for (id, code, reason) in &ids {
        let status = stage.client.status(id).await.expect("its status");
        assert_eq!(status.state(), ContainerState::ContainerExited);
        assert_eq!((status.exit_code, &*status.reason), (*code, *reason));
        assert!((opened..=ended).contains(&status.finished_at), "{status:?}");
    }
    stage.end().await;
}

#[tokio::test]
async fn what_is_written_while_orlopd_is_gone_is_logged() {
    let mut stage = Stage::new("unheard").await;
    let id = stage.run("c", "i=0; while :; do echo $i; i=$((i + 1)); sleep 0.002; done").await;
    let path = format!("{}/c/0.log", stage.pod.log_directory);
    let size = || std::fs::metadata(&path).map_or(0, |file| file.len());
    for _ in 0..3 {
        stage.daemon.kill9();
        let before = size();
        eventually("the log grows", async || size() > before + 200).await;
        stage.daemon.up().await;
        stage.client = stage.daemon.client().await;
    }
    eventually("its shim is spoken to", async || stage.client.reopen_log(&id).await.is_ok()).await;
    stage.client.stop(&id, 0).await.expect("stopped");
    for (number, line) in lines(&std::fs::read(&path).expect("a log")).iter().enumerate() {
        assert_eq!(line.text, number.to_string());
    }
    stage.end().await;
}

#[tokio::test]
async fn twenty_pods_are_the_same_after_a_restart() {
    let mut daemon = Daemon::start("twenty").await;
    let image = daemon.pull_busybox().await;
    let mut client = daemon.client().await;
    for number in 0..20 {
        let name = format!("p{number}");
        let mut config = pod(&name, &daemon.logs(&name));
        config.labels.insert("number".into(), number.to_string());
        if number % 4 == 0 {
            // One PID namespace, with an init.
            config.linux = None;
        }
        let id = client.run_pod(&config).await.expect("a pod");
        client.run(&id, &config, container("c", &image, &["sleep", "1000"])).await.expect("a container");
        if number % 5 == 0 {
            client.stop_pod(&id).await.expect("stopped");
        }
    }
    let before = listed(&mut client).await;
    assert_eq!((before.0.len(), before.1.len()), (20, 20));
    daemon.restart().await;
    let mut client = daemon.client().await;
    assert_eq!(listed(&mut client).await, before, "with its first answer");
    for row in &before.0 {
        let status = client.pod_status(&row.id).await.expect("its status");
        let ready = status.state() == PodSandboxState::SandboxReady;
        assert_eq!(status.network.is_some_and(|network| !network.ip.is_empty()), ready);
    }
    drop(client);
    daemon.end().await;
}

#[tokio::test]
async fn networks_go_on_and_nobody_is_given_an_address_twice() {
    let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("its number").port();
    drop(listener);
    let mapping = PortMapping {
        protocol: Protocol::Tcp.into(),
        container_port: 80,
        host_port: port.into(),
        host_ip: String::new(),
    };
    let mut stage = Stage::with("network", |pod| pod.port_mappings = vec![mapping]).await;
    let config = container("web", &stage.image, &["httpd", "-f", "-p", "80", "-h", "/www"]);
    stage.start(&config).await;
    let status = stage.client.pod_status(&stage.pod_id).await.expect("its status");
    let ip = status.network.expect("a network").ip;
    let answers =
        |address: String| http::send(&address, "GET", "/", &[], b"").is_ok_and(|answer| answer.status == 200);
    eventually("the page is served", async || answers(format!("{ip}:80"))).await;
    stage.daemon.kill9();
    assert!(answers(format!("{ip}:80")) && answers(format!("127.0.0.1:{port}")), "without orlopd, too");
    stage.daemon.up().await;
    stage.client = stage.daemon.client().await;
    assert!(answers(format!("{ip}:80")) && answers(format!("127.0.0.1:{port}")));
    let other = pod("other", &stage.daemon.logs("other"));
    let other_id = stage.client.run_pod(&other).await.expect("a pod");
    let its_ip = stage.client.pod_status(&other_id).await.expect("its status").network.expect("a network").ip;
    assert_ne!(its_ip, ip);
    stage.client.remove_pod(&stage.pod_id).await.expect("removed");
    assert!(!answers(format!("127.0.0.1:{port}")));
    stage.end().await;
}

#[tokio::test]
async fn what_was_under_way_is_gone_on_with_or_said_again() {
    let mut stage = Stage::with("under-way", |pod| pod.linux = None).await;
    let deaf = stage.run("deaf", "trap '' TERM; echo ready; while :; do sleep 0.02; done").await;
    eventually("it is deaf", async || stage.log("deaf").iter().any(|line| line.text == "ready")).await;
    let (mut stops, mut execs) = (stage.daemon.client().await, stage.daemon.client().await);
    let (of_stop, of_exec) = (deaf.clone(), deaf.clone());
    let stop = tokio::spawn(async move { stops.stop(&of_stop, 3600).await });
    let exec = tokio::spawn(async move { execs.exec(&of_exec, &["sleep", "5000"], 0).await });
    eventually("both are under way", async || {
        stage.client.sh(&deaf, "ps -o args").await.contains("sleep 5000")
    })
    .await;
    stage.daemon.kill9();
    assert!(stop.await.expect("a call").is_err() && exec.await.expect("a call").is_err(), "both are cut off");
    stage.daemon.up().await;
    stage.client = stage.daemon.client().await;
    let status = stage.client.status(&deaf).await.expect("its status");
    assert_eq!(status.state(), ContainerState::ContainerRunning, "its grace is not over");
    eventually("nobody waits for the exec, so it is ended", async || {
        let answer = stage.client.exec(&deaf, &["ps", "-o", "args"], 60).await;
        answer.is_ok_and(|answer| !String::from_utf8_lossy(&answer.stdout).contains("sleep 5000"))
    })
    .await;
    stage.client.stop(&deaf, 0).await.expect("stopped");
    assert_eq!(stage.client.status(&deaf).await.expect("its status").exit_code, 137);
    stage.end().await;
}

#[tokio::test]
async fn two_daemons_do_not_work_in_one_place() {
    let mut daemon = Daemon::start("two").await;
    let first = daemon.pid();
    let other = std::process::Command::new(orlop_tests::daemon::program("orlopd"))
        .arg("--config")
        .arg(daemon.place().join("config.toml"))
        .arg("--root")
        .arg(daemon.root())
        .arg("--state")
        .arg(daemon.state())
        .output()
        .expect("orlopd is there");
    assert!(!other.status.success());
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(said.contains("another orlopd works here"), "{said}");
    assert!(daemon.ended().is_none() && daemon.pid() == first);
    daemon.client().await.pods().await.expect("the first answers");
    daemon.end().await;
}
