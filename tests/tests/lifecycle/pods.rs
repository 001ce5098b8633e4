//! A pod comes, is listed, stops, goes; its attempts.

use std::collections::BTreeMap;

use orlop_proto::runtime::v1::{
    ContainerFilter, ContainerState, ContainerStateValue, ListContainersRequest, ListPodSandboxRequest,
    PodSandboxConfig, PodSandboxFilter, PodSandboxState, PodSandboxStateValue,
};
use orlop_tests::cri::{Client, pod};
use orlop_tests::daemon::Daemon;
use orlop_tests::daemon::stage::Stage;
use tonic::Code;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

async fn listed(client: &mut Client, filter: PodSandboxFilter) -> Vec<String> {
    let request = ListPodSandboxRequest { filter: Some(filter) };
    let answer = client.runtime.list_pod_sandbox(request).await.expect("a list").into_inner();
    answer.items.into_iter().map(|pod| pod.metadata.expect("metadata").name).collect()
}

#[tokio::test]
async fn a_pod_is_ready_then_stopped_then_gone() {
    let daemon = Daemon::start("pod").await;
    let mut client = daemon.client().await;
    let mut config = pod("web", &daemon.logs("web"));
    config.labels = map(&[("app", "web"), ("tier", "front")]);
    config.annotations = map(&[("note", "a text, with \"quotes\" and\nlines")]);
    let id = client.run_pod(&config).await.expect("a pod");
    assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");

    let status = client.pod_status(&id).await.expect("its status");
    assert_eq!((status.state(), &status.metadata), (PodSandboxState::SandboxReady, &config.metadata));
    assert_eq!((&status.labels, &status.annotations), (&config.labels, &config.annotations));
    assert!(!status.network.expect("a network").ip.is_empty());
    let row = client.pods().await.expect("a list").remove(0);
    assert_eq!(
        (row.id, row.metadata, row.created_at),
        (id.clone(), config.metadata.clone(), status.created_at)
    );
    assert_eq!((row.labels, row.annotations), (config.labels.clone(), config.annotations.clone()));

    client.stop_pod(&id).await.expect("stopped");
    let status = client.pod_status(&id).await.expect("its status");
    assert_eq!(status.state(), PodSandboxState::SandboxNotready);
    assert_eq!(status.network.map(|network| network.ip).unwrap_or_default(), "", "its address is given back");
    client.remove_pod(&id).await.expect("removed");
    assert_eq!(client.pod_status(&id).await.expect_err("it is gone").code(), Code::NotFound);
    assert!(client.pods().await.expect("a list").is_empty());
    drop(client);
    daemon.end().await;
}

#[tokio::test]
async fn lists_of_pods_are_filtered_by_all_that_is_said() {
    let daemon = Daemon::start("pod-lists").await;
    let mut client = daemon.client().await;
    let mut ids = Vec::new();
    for (name, tier) in [("a", "front"), ("b", "back"), ("c", "back")] {
        let mut config = pod(name, &daemon.logs(name));
        config.labels = map(&[("app", "shop"), ("tier", tier)]);
        ids.push(client.run_pod(&config).await.expect("a pod"));
    }
    client.stop_pod(&ids[2]).await.expect("stopped");

    let state = |state: PodSandboxState| Some(PodSandboxStateValue { state: state.into() });
    let by_state = |wanted| PodSandboxFilter { state: state(wanted), ..Default::default() };
    let by_labels =
        |pairs: &[(&str, &str)]| PodSandboxFilter { label_selector: map(pairs), ..Default::default() };
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names.concat()
    };
    assert_eq!(sorted(listed(&mut client, PodSandboxFilter::default()).await), "abc");
    assert_eq!(sorted(listed(&mut client, by_state(PodSandboxState::SandboxReady)).await), "ab");
    assert_eq!(sorted(listed(&mut client, by_state(PodSandboxState::SandboxNotready)).await), "c");
    assert_eq!(sorted(listed(&mut client, by_labels(&[("app", "shop")])).await), "abc");
    assert_eq!(sorted(listed(&mut client, by_labels(&[("app", "shop"), ("tier", "back")])).await), "bc");
    assert_eq!(sorted(listed(&mut client, by_labels(&[("tier", "none")])).await), "");
    for id in [ids[0].clone(), ids[0][..16].to_owned()] {
        assert_eq!(listed(&mut client, PodSandboxFilter { id, ..Default::default() }).await, ["a"]);
    }
    let both = PodSandboxFilter {
        id: ids[0].clone(),
        state: state(PodSandboxState::SandboxNotready),
        ..Default::default()
    };
    assert!(listed(&mut client, both).await.is_empty());
    drop(client);
    daemon.end().await;
}

#[tokio::test]
async fn lists_of_containers_are_filtered_by_all_that_is_said() {
    let mut stage = Stage::new("container-lists").await;
    let other = pod("other", &stage.daemon.logs("other"));
    let other_id = stage.client.run_pod(&other).await.expect("a pod");
    let mut ids = Vec::new();
    for (name, script) in [("a", "sleep 1000"), ("b", "sleep 1000"), ("c", "exit 0")] {
        let mut config = stage.script(name, script);
        config.labels = map(&[("name", name), ("all", "yes")]);
        config.annotations = map(&[("of", name)]);
        ids.push(stage.create(&config).await.expect("a container"));
    }
    let lone = stage.script("d", "sleep 1000");
    stage.client.create(&other_id, &other, &lone).await.expect("a container");
    stage.client.start(&ids[1]).await.expect("started");
    stage.client.start(&ids[2]).await.expect("started");
    stage.client.ended(&ids[2]).await;

    let filters = |state: ContainerState| ContainerFilter {
        state: Some(ContainerStateValue { state: state.into() }),
        ..Default::default()
    };
    let in_pod = ContainerFilter { pod_sandbox_id: stage.pod_id.clone(), ..Default::default() };
    let by_id = ContainerFilter { id: ids[0].clone(), ..Default::default() };
    let by_label = ContainerFilter { label_selector: map(&[("name", "b")]), ..Default::default() };
    let by_both = ContainerFilter {
        pod_sandbox_id: other_id.clone(),
        label_selector: map(&[("name", "b")]),
        ..Default::default()
    };
    let table = [
        (ContainerFilter::default(), "abcd"),
        (filters(ContainerState::ContainerCreated), "ad"),
        (filters(ContainerState::ContainerRunning), "b"),
        (filters(ContainerState::ContainerExited), "c"),
        (filters(ContainerState::ContainerUnknown), ""),
        (in_pod, "abc"),
        (by_id, "a"),
        (by_label, "b"),
        (by_both, ""),
    ];
    for (filter, expected) in table {
        let request = ListContainersRequest { filter: Some(filter.clone()) };
        let answer = stage.client.runtime.list_containers(request).await.expect("a list").into_inner();
        for row in &answer.containers {
            let status = stage.client.status(&row.id).await.expect("its status");
            assert_eq!((&row.labels, &row.annotations), (&status.labels, &status.annotations));
            assert_eq!(
                (row.state, row.created_at, &row.metadata),
                (status.state, status.created_at, &status.metadata)
            );
        }
        let mut names: Vec<String> =
            answer.containers.into_iter().map(|row| row.metadata.expect("metadata").name).collect();
        names.sort();
        assert_eq!(names.concat(), expected, "{filter:?}");
    }
    stage.end().await;
}

#[tokio::test]
async fn stop_and_remove_are_done_when_they_are_said_again() {
    let mut stage = Stage::new("again").await;
    let id = stage.run("c", "sleep 1000").await;
    for _ in 0..2 {
        stage.client.stop(&id, 0).await.expect("a container is stopped");
    }
    for _ in 0..2 {
        stage.client.remove(&id).await.expect("a container is removed");
        stage.client.stop_pod(&stage.pod_id).await.expect("a pod is stopped");
    }
    for _ in 0..2 {
        stage.client.remove_pod(&stage.pod_id).await.expect("a pod is removed");
    }
    let unknown = "ab".repeat(32);
    stage.client.stop(&unknown, 5).await.expect("nobody is stopped");
    stage.client.remove(&unknown).await.expect("nobody is removed");
    stage.client.stop_pod(&unknown).await.expect("nobody is stopped");
    stage.client.remove_pod(&unknown).await.expect("nobody is removed");
    for error in [
        stage.client.start(&unknown).await.expect_err("nobody starts"),
        stage.client.status(&unknown).await.map(drop).expect_err("nobody has a status"),
        stage.client.exec(&unknown, &["true"], 1).await.map(drop).expect_err("nobody runs it"),
        stage.client.reopen_log(&unknown).await.expect_err("nobody has a log"),
    ] {
        assert_eq!(error.code(), Code::NotFound, "{error}");
    }
    stage.end().await;
}

#[tokio::test]
async fn a_pod_is_removed_with_all_that_runs_in_it() {
    let mut stage = Stage::new("running").await;
    let running = stage.run("a", "trap '' TERM; sleep 1000").await;
    let config = stage.script("b", "sleep 1000");
    let created = stage.create(&config).await.expect("created");
    stage.client.remove_pod(&stage.pod_id).await.expect("removed");
    for id in [running, created] {
        assert_eq!(stage.client.status(&id).await.expect_err("gone").code(), Code::NotFound);
    }
    stage.end().await;
}

#[tokio::test]
async fn a_stopped_pod_takes_no_container() {
    let mut stage = Stage::new("stopped").await;
    let config = stage.script("early", "sleep 1000");
    let created = stage.create(&config).await.expect("created");
    let running = stage.run("running", "sleep 1000").await;
    stage.client.stop_pod(&stage.pod_id).await.expect("stopped");
    let config = stage.script("late", "true");
    assert_eq!(stage.create(&config).await.expect_err("no pod to be in").code(), Code::FailedPrecondition);
    assert_eq!(
        stage.client.start(&created).await.expect_err("it cannot run").code(),
        Code::FailedPrecondition
    );
    let status = stage.client.status(&running).await.expect("its status");
    assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 137));
    stage.end().await;
}

fn attempt(config: &PodSandboxConfig, number: u32) -> PodSandboxConfig {
    let mut config = config.clone();
    config.metadata.as_mut().expect("metadata").attempt = number;
    config
}

#[tokio::test]
async fn attempts_live_beside_each_other() {
    let daemon = Daemon::start("attempts").await;
    let mut client = daemon.client().await;
    let config = pod("same", &daemon.logs("same"));
    let first = client.run_pod(&config).await.expect("a pod");
    let second = client.run_pod(&attempt(&config, 1)).await.expect("another");
    assert_ne!(first, second);
    let ip = |status: orlop_proto::runtime::v1::PodSandboxStatus| status.network.expect("a network").ip;
    let (one, two) =
        (client.pod_status(&first).await.expect("one"), client.pod_status(&second).await.expect("two"));
    assert_ne!(ip(one), ip(two));
    client.remove_pod(&first).await.expect("removed");
    assert_eq!(client.pod_status(&second).await.expect("two").state(), PodSandboxState::SandboxReady);
    drop(client);
    daemon.end().await;
}

#[tokio::test]
async fn a_later_attempt_supersedes_one_that_is_being_made() {
    let daemon = Daemon::start("supersede").await;
    let mut calls = Vec::new();
    for pod_number in 0..8 {
        let config = pod(&format!("p{pod_number}"), &daemon.logs("p"));
        for number in 0..4 {
            let (mut client, config) = (daemon.client().await, attempt(&config, number));
            calls.push((number, tokio::spawn(async move { client.run_pod(&config).await })));
        }
    }
    let (mut made, mut refused) = (Vec::new(), 0);
    for (number, call) in calls {
        match call.await.expect("a call") {
            Ok(id) => made.push(id),
            Err(status) => {
                refused += 1;
                assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
                assert!(number < 3 && status.message().contains("later attempt"), "{number}: {status}");
            }
        }
    }
    assert_eq!(made.len() + refused, 32);
    let mut listed: Vec<String> =
        daemon.client().await.pods().await.expect("a list").into_iter().map(|pod| pod.id).collect();
    listed.sort();
    made.sort();
    assert_eq!(listed, made, "what was given up is not there, what was made is");
    daemon.end().await;
}
