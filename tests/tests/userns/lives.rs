//! Restarts and deaths of the daemon, and what is told of a user namespace.

use orlop_proto::runtime::v1::{ContainerState, NamespaceMode, StatusRequest};
use orlop_tests::daemon::Daemon;
use orlop_tests::daemon::stage::{Stage, namespaces};

use super::{GID, UID, ask, pid, stage, volume};

/// What the command line of the node says.
fn orlop(daemon: &Daemon, arguments: &[&str]) -> String {
    let said = daemon.orlop(arguments).output().expect("orlop is there");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).expect("text")
}

#[tokio::test]
async fn a_killed_daemons_successor_goes_on_with_the_user_namespace() {
    let mut stage = Stage::with("userns-killed", |pod| {
        ask(pod);
        namespaces(pod).pid = NamespaceMode::Pod.into();
    })
    .await;
    let place = stage.daemon.place().join("volume");
    std::fs::create_dir(&place).expect("a directory");
    let running = stage.run("running", "exec sleep 1000").await;
    let mut config = stage.script("created", "touch /data/x; exec sleep 1000");
    config.mounts = vec![volume(&place, "/data")];
    let created = stage.create(&config).await.expect("created");
    let number = pid(&mut stage, &running).await;
    let space = |pid: i64| std::fs::read_link(format!("/proc/{pid}/ns/user")).expect("it runs");
    let before = space(number);
    for _ in 0..2 {
        stage.daemon.restart().await;
        stage.client = stage.daemon.client().await;
    }
    assert_eq!(pid(&mut stage, &running).await, number, "no container noticed");
    assert_eq!(stage.client.sh(&running, "id -u").await, "0\n");
    // One that was created before is started after, and one is created.
    stage.client.start(&created).await.expect("started");
    let later = stage.run("later", "exec sleep 1000").await;
    for id in [&created, &later] {
        let number = pid(&mut stage, id).await;
        assert_eq!(space(number), before, "the pod's own, still");
    }
    orlop_tests::daemon::eventually("it has written", async || place.join("x").exists()).await;
    let said = orlop(&stage.daemon, &["audit"]);
    assert!(!said.contains("user"), "{said}");
    stage.end().await;
}

/// The daemon dies at each step of a pod's making; its successor undoes it, and the pod is made by the next try.
#[tokio::test]
async fn a_death_on_the_way_leaves_nothing() {
    for point in
        ["pod.made.directory", "pod.will.room", "pod.made.namespaces", "pod.made.init", "pod.made.record"]
    {
        let mut daemon = Daemon::build("userns-death").environment("ORLOP_FAILPOINT", point).start().await;
        let mut client = daemon.client().await;
        let mut pod = orlop_tests::cri::pod("pod", &daemon.logs("pod"));
        ask(&mut pod);
        namespaces(&mut pod).pid = NamespaceMode::Pod.into();
        client.run_pod(&pod).await.expect_err(point);
        daemon.restart().await;
        let mut client = daemon.client().await;
        let id = client.run_pod(&pod).await.expect("made by the next try");
        client.remove_pod(&id).await.expect("removed");
        drop(client);
        daemon.end().await;
    }
}

#[tokio::test]
async fn a_container_is_stopped_and_another_started() {
    let mut stage = stage("userns-again").await;
    for attempt in 0..3 {
        let mut config = stage.script("c", "trap 'exit 7' TERM; echo ready; while true; do sleep 0.05; done");
        config.metadata.as_mut().expect("a name").attempt = attempt;
        config.log_path = format!("c/{attempt}.log");
        let id = stage.start(&config).await;
        let log = format!("{}/c/{attempt}.log", stage.pod.log_directory);
        orlop_tests::daemon::eventually("it is ready", async || {
            std::fs::read_to_string(&log).is_ok_and(|text| text.contains("ready"))
        })
        .await;
        stage.client.stop(&id, 10).await.expect("stopped");
        let status = stage.client.status(&id).await.expect("a status");
        assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 7));
    }
    // A stop of the pod ends what still runs.
    let id = stage.run("last", "exec sleep 1000").await;
    let pod = stage.pod_id.clone();
    stage.client.stop_pod(&pod).await.expect("stopped");
    assert_eq!(stage.client.status(&id).await.expect("a status").exit_code, 137);
    stage.end().await;
}

#[tokio::test]
async fn the_user_namespace_is_told_of() {
    let mut stage = stage("userns-told").await;
    let id = stage.run("c", "exec sleep 1000").await;
    let pod = stage.pod_id.clone();
    let said = orlop(&stage.daemon, &["explain", &pod]);
    assert!(
        said.contains(&format!("uids 0 {UID} 65536")) && said.contains(&format!("gids 0 {GID} 65536")),
        "{said}"
    );
    let number = pid(&mut stage, &id).await;
    let own = std::fs::read_link(format!("/proc/{number}/ns/user")).expect("it runs");
    let inode = own.to_string_lossy().trim_start_matches("user:[").trim_end_matches(']').to_owned();
    assert!(said.contains(&inode), "{inode}: {said}");
    let said = orlop(&stage.daemon, &["explain", "--plan", &id]);
    for line in
        ["owners mapped by slot", "join user", "clone once more into new mount,pid", "root of user namespace"]
    {
        assert!(said.contains(line), "{line}: {said}");
    }
    let status = stage.client.pod_status(&pod).await.expect("a status");
    let options = status.linux.and_then(|linux| linux.namespaces?.options).expect("namespaces");
    assert_eq!(options.userns_options, Some(super::user()));
    let status = stage.client.runtime.status(StatusRequest::default()).await.expect("a status").into_inner();
    for handler in
        status.runtime_handlers.iter().filter(|handler| ["", "native"].contains(&handler.name.as_str()))
    {
        assert!(handler.features.is_some_and(|features| features.user_namespaces), "{}", handler.name);
    }
    assert!(!status.features.expect("features").user_namespaces_host_network);
    stage.end().await;
}
