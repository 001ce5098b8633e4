//! What the containers of a pod share with each other and with the node.

use orlop_proto::runtime::v1::{ContainerState, NamespaceMode, NamespaceOption};
use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::{Stage, namespaces, security};

/// Names of a process's namespaces, in one line.
async fn spaces(stage: &mut Stage, id: &str) -> String {
    let script = "for kind in net ipc uts pid mnt; do readlink /proc/self/ns/$kind; done";
    stage.client.sh(id, script).await.replace('\n', " ")
}

fn word(spaces: &str, number: usize) -> &str {
    spaces.split(' ').nth(number).expect("a namespace")
}

#[tokio::test]
async fn a_pod_that_says_nothing_shares_one_pid_namespace() {
    // No linux, no security context, no namespace options: POD for all.
    let mut stage = Stage::with("shared-pid", |pod| pod.linux = None).await;
    let one = stage.run("one", "exec sleep 1001").await;
    let two = stage.run("two", "exec sleep 1002").await;
    let (spaces_one, spaces_two) = (spaces(&mut stage, &one).await, spaces(&mut stage, &two).await);
    for number in 0..4 {
        assert_eq!(word(&spaces_one, number), word(&spaces_two, number), "{spaces_one}, {spaces_two}");
    }
    assert_ne!(word(&spaces_one, 4), word(&spaces_two, 4), "mounts are each one's own");
    let seen = stage.client.sh(&one, "ps -o pid,args").await;
    assert!(seen.contains("sleep 1001") && seen.contains("sleep 1002"), "{seen}");
    let first = seen.lines().find(|line| line.trim_start().starts_with("1 ")).expect("there is an init");
    assert!(!first.contains("sleep"), "{first}");
    // One of them can end the other.
    stage
        .client
        .sh(&one, "kill -9 $(ps -o pid,args | awk '$2 == \"sleep\" && $3 == 1002 { print $1 }')")
        .await;
    assert_eq!(stage.client.ended(&two).await.exit_code, 137);
    stage.end().await;
}

#[tokio::test]
async fn the_init_of_a_pod_reaps_whom_nobody_waits_for() {
    let mut stage = Stage::with("reaping", |pod| pod.linux = None).await;
    // An orphan that outlives its parent and one that does not outlive the container.
    let id =
        stage.run("c", "for n in 1 2 3; do sh -c 'sleep 0.05 & sleep 0.01 &'; done; exec sleep 1000").await;
    eventually("no orphan is left, and no zombie", async || {
        let seen = stage.client.sh(&id, "ps -o pid,ppid,stat,args").await;
        !seen.contains(" Z") && !seen.contains("sleep 0.0")
    })
    .await;
    stage.client.sh(&id, "sh -c 'sleep 2000 &'").await;
    stage.client.stop(&id, 0).await.expect("stopped");
    assert_eq!(stage.client.status(&id).await.expect("its status").state(), ContainerState::ContainerExited);
    let other = stage.run("other", "sleep 1000").await;
    let seen = stage.client.sh(&other, "ps -o pid,stat,args").await;
    assert!(!seen.contains(" Z") && !seen.contains("sleep 2000"), "{seen}");
    stage.end().await;
}

#[tokio::test]
async fn containers_with_a_pid_namespace_each_see_themselves_alone() {
    let mut stage = Stage::new("own-pid").await;
    let one = stage.run("one", "exec sleep 1001").await;
    let two = stage.run("two", "exec sleep 1002").await;
    for (id, own, other) in [(&one, "sleep 1001", "sleep 1002"), (&two, "sleep 1002", "sleep 1001")] {
        let seen = stage.client.sh(id, "ps -o pid,args").await;
        assert!(
            seen.lines().any(|line| line.trim() == format!("1 {own}")) && !seen.contains(other),
            "{seen}"
        );
    }
    stage.end().await;
}

#[tokio::test]
async fn a_container_that_targets_another_lives_in_its_pid_namespace() {
    let mut stage = Stage::new("target").await;
    let one = stage.run("one", "exec sleep 1001").await;
    let mut config = stage.script("debugger", "exec sleep 1002");
    security(&mut config).namespace_options = Some(NamespaceOption {
        pid: NamespaceMode::Target.into(),
        target_id: one.clone(),
        ..Default::default()
    });
    let two = stage.start(&config).await;
    let seen = stage.client.sh(&two, "ps -o pid,args").await;
    assert!(seen.lines().any(|line| line.trim() == "1 sleep 1001") && seen.contains("sleep 1002"), "{seen}");
    // When its init ends the kernel ends all that live there.
    stage.client.stop(&one, 0).await.expect("stopped");
    assert_eq!(stage.client.ended(&two).await.exit_code, 137);
    stage.end().await;
}

#[tokio::test]
async fn a_pod_of_the_node_s_processes_sees_them() {
    let mut stage = Stage::with("host-pid", |pod| {
        namespaces(pod).pid = NamespaceMode::Node.into();
        namespaces(pod).ipc = NamespaceMode::Node.into();
    })
    .await;
    let mut config = stage.script("c", "exec sleep 1000");
    security(&mut config).namespace_options = Some(NamespaceOption {
        pid: NamespaceMode::Node.into(),
        ipc: NamespaceMode::Node.into(),
        ..Default::default()
    });
    let id = stage.start(&config).await;
    let inside = spaces(&mut stage, &id).await;
    for (number, kind) in [(1, "ipc"), (3, "pid")] {
        let own = std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("a namespace");
        assert_eq!(word(&inside, number), own.to_str().expect("a name"));
    }
    let own = std::process::id();
    assert_eq!(stage.client.sh(&id, &format!("test -d /proc/{own} && echo seen")).await, "seen\n");
    let directory = stage.daemon.state().file_name().expect("a name").to_string_lossy().into_owned();
    assert_eq!(stage.client.sh(&id, &format!("test -d /dev/shm/{directory} && echo seen")).await, "seen\n");
    // What it leaves running where nothing ends by itself is ended with it.
    stage.client.sh(&id, "setsid sleep 3000 >/dev/null 2>&1 </dev/null & sleep 0.01").await;
    stage.client.stop(&id, 0).await.expect("stopped");
    stage.end().await;
}

#[tokio::test]
async fn memory_is_shared_in_a_pod_and_not_beyond() {
    let mut stage = Stage::new("shm").await;
    let one = stage.run("one", "exec sleep 1000").await;
    let two = stage.run("two", "exec sleep 1000").await;
    stage.client.sh(&one, "echo shared > /dev/shm/note").await;
    assert_eq!(stage.client.sh(&two, "cat /dev/shm/note").await, "shared\n");
    let other = orlop_tests::cri::pod("other", &stage.daemon.logs("other"));
    let other_id = stage.client.run_pod(&other).await.expect("a pod");
    let config = stage.script("three", "exec sleep 1000");
    let three = stage.client.run(&other_id, &other, config).await.expect("a container");
    assert_eq!(stage.client.sh(&three, "ls /dev/shm").await, "");
    // It outlives the container that wrote it.
    stage.client.remove(&one).await.expect("removed");
    assert_eq!(
        stage.client.sh(&two, "cat /dev/shm/note; df -k /dev/shm | awk 'END { print $2 }'").await,
        "shared\n65536\n"
    );
    stage.end().await;
}
