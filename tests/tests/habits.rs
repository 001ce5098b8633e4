//! What kubelet does to a runtime: bursts, polls, retries; and that what hangs in one pod delays nothing else.
//!
//! *Invariant:* no time is asserted but a waiting loop's; "at once" means: while the other thing still hangs.

use std::time::Duration;

use orlop_proto::runtime::v1::{ContainerState, Mount, StatusRequest};
use orlop_tests::cri::{self, Client};
use orlop_tests::daemon::{Daemon, eventually};
use orlop_tests::mute::Mute;
use tonic::Code;

/// As many as kubelet runs on a node unless it is told otherwise.
const NODE: usize = 110;

/// One pod with one container that runs; its id.
async fn up(mut client: Client, image: String, logs: String, name: String) -> (String, String) {
    let pod = cri::pod(&name, &logs);
    let pod_id = client.run_pod(&pod).await.expect("a pod");
    let status = client.pod_status(&pod_id).await.expect("its status");
    let config = cri::container("c", &image, &["sleep", "100000"]);
    let id = client.run(&pod_id, &pod, config).await.expect("a container");
    (id, status.network.expect("a network").ip)
}

#[tokio::test]
async fn a_node_full_of_pods_comes_up_in_one_burst() {
    let mut daemon = Daemon::build("burst").level("warn").start().await;
    let image = daemon.pull_busybox().await;
    let client = daemon.client().await;
    let mut all = tokio::task::JoinSet::new();
    for number in 0..NODE {
        let name = format!("pod-{number}");
        all.spawn(up(client.clone(), image.clone(), daemon.logs(&name), name));
    }
    let (ids, addresses): (std::collections::BTreeSet<_>, std::collections::BTreeSet<_>) =
        all.join_all().await.into_iter().unzip();
    assert_eq!((ids.len(), addresses.len()), (NODE, NODE), "each has its own");
    drop(client);
    // And they are all there for the successor of a daemon that was killed.
    daemon.restart().await;
    let mut client = daemon.client().await;
    eventually("all are listed as running", async || {
        let listed = client.containers().await.expect("a list");
        assert_eq!(listed.len(), NODE, "the first list has them all");
        listed.iter().all(|one| one.state() == ContainerState::ContainerRunning && ids.contains(&one.id))
    })
    .await;
    drop(client);
    daemon.end().await;
}

#[tokio::test]
async fn a_dead_mount_hangs_its_own_container_and_nothing_else() {
    let daemon = Daemon::start("dead-mount").await;
    let image = daemon.pull_busybox().await;
    let mut client = daemon.client().await;
    let mute = Mute::mount(&daemon.place().join("mute"));
    let pod = cri::pod("stuck", &daemon.logs("stuck"));
    let pod_id = client.run_pod(&pod).await.expect("a pod");
    let mut config = cri::container("c", &image, &["sleep", "100000"]);
    config.mounts.push(Mount {
        host_path: mute.inside().display().to_string(),
        container_path: "/data".into(),
        ..Mount::default()
    });
    let stuck = {
        let (mut client, pod, pod_id) = (client.clone(), pod.clone(), pod_id.clone());
        tokio::spawn(async move { client.run(&pod_id, &pod, config).await })
    };
    // Others come, are asked, and go meanwhile: fifty of them, and every list and status.
    let mut others = tokio::task::JoinSet::new();
    for number in 0..50 {
        let name = format!("pod-{number}");
        others.spawn(up(client.clone(), image.clone(), daemon.logs(&name), name));
    }
    for (id, _) in others.join_all().await {
        assert_eq!(client.sh(&id, "echo here").await, "here\n");
    }
    client.runtime.status(StatusRequest::default()).await.expect("the node's status");
    assert!(client.pods().await.expect("a list").len() == 51);
    assert!(!stuck.is_finished(), "it hangs still, or nothing was proved");
    // It is listed as what it is, and comes down although what it waits for never answers.
    let listed = client.containers().await.expect("a list");
    assert_eq!(listed.iter().filter(|one| one.pod_sandbox_id == pod_id).count(), 1);
    client.stop_pod(&pod_id).await.expect("stopped");
    client.remove_pod(&pod_id).await.expect("removed");
    let answer = stuck.await.expect("it was not cut off").expect_err("it never ran");
    assert_ne!(answer.code(), Code::Ok);
    drop(mute);
    drop(client);
    daemon.end().await;
}

#[tokio::test]
async fn what_kubelet_does_not_know_it_removes_without_waiting() {
    let daemon = Daemon::start("unknown").await;
    let image = daemon.pull_busybox().await;
    let mut client = daemon.client().await;
    // A pod that ignores the request to end: StopPodSandbox and RemovePodSandbox alone have to do.
    let pod = cri::pod("orphan", &daemon.logs("orphan"));
    let pod_id = client.run_pod(&pod).await.expect("a pod");
    let script = "trap '' TERM; while :; do sleep 0.05; done";
    let id = client.run(&pod_id, &pod, cri::container("c", &image, &["sh", "-c", script])).await;
    let id = id.expect("a container");
    let stopped = tokio::time::timeout(Duration::from_secs(20), client.stop_pod(&pod_id)).await;
    stopped.expect("it needs no grace").expect("stopped");
    assert_eq!(client.status(&id).await.expect("its status").exit_code, 137);
    client.remove_pod(&pod_id).await.expect("removed");
    assert_eq!(client.status(&id).await.expect_err("gone").code(), Code::NotFound);
    drop(client);
    daemon.end().await;
}
