//! The life of pods and containers, as a kubelet goes through it.
//!
//! *Invariant:* each test has a daemon of its own, and ends with the proof that nothing is left.

use orlop_proto::runtime::v1::PodSandboxState;
use orlop_tests::cri::{container, pod};
use orlop_tests::daemon::Daemon;

#[tokio::test]
async fn a_pod_comes_and_goes() {
    let daemon = Daemon::start("comes-and-goes").await;
    let image = daemon.pull_busybox().await;
    let mut client = daemon.client().await;
    let config = pod("first", &daemon.logs("first"));
    let pod_id = client.run_pod(&config).await.unwrap();
    let status = client.pod_status(&pod_id).await.unwrap();
    assert_eq!(status.state(), PodSandboxState::SandboxReady);
    let id = client.create(&pod_id, &config, &container("c", &image, &["sleep", "1000"])).await.unwrap();
    client.start(&id).await.unwrap();
    assert_eq!(client.sh(&id, "echo hello").await, "hello\n");
    drop(client);
    daemon.end().await;
}
