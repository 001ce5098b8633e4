//! Calls that come again: together, or after their clients gave up.

use std::time::Duration;

use orlop_proto::runtime::v1::{ContainerState, RunPodSandboxRequest, StartContainerRequest};
use orlop_tests::cri::pod;
use orlop_tests::daemon::stage::Stage;
use orlop_tests::daemon::{Daemon, eventually};
use tonic::Request;

/// The one value that all have.
fn one(mut values: Vec<String>) -> String {
    values.sort();
    values.dedup();
    assert_eq!(values.len(), 1, "{values:?}");
    values.remove(0)
}

#[tokio::test]
async fn ten_calls_for_one_pod_make_one() {
    let daemon = Daemon::start("ten-pods").await;
    let config = pod("one", &daemon.logs("one"));
    let mut calls = Vec::new();
    for _ in 0..10 {
        let (mut client, config) = (daemon.client().await, config.clone());
        calls.push(tokio::spawn(async move { client.run_pod(&config).await.expect("a pod") }));
    }
    let mut ids = Vec::new();
    for call in calls {
        ids.push(call.await.expect("a call"));
    }
    let id = one(ids);
    let mut client = daemon.client().await;
    assert_eq!(client.pods().await.expect("a list").len(), 1);
    assert_eq!(client.run_pod(&config).await.expect("a pod"), id, "and later, too");
    drop(client);
    daemon.end().await;
}

#[tokio::test]
async fn ten_calls_for_one_container_make_one_that_starts_once() {
    let mut stage = Stage::new("ten-containers").await;
    let config = stage.script("c", "echo once; sleep 1000");
    let mut calls = Vec::new();
    for _ in 0..10 {
        let (mut client, pod_id, pod, config) =
            (stage.daemon.client().await, stage.pod_id.clone(), stage.pod.clone(), config.clone());
        calls.push(tokio::spawn(async move {
            let id = client.create(&pod_id, &pod, &config).await.expect("a container");
            client.start(&id).await.expect("started");
            id
        }));
    }
    let mut ids = Vec::new();
    for call in calls {
        ids.push(call.await.expect("a call"));
    }
    let id = one(ids);
    assert_eq!(stage.client.containers().await.expect("a list").len(), 1);
    eventually("it has run", async || !stage.log("c").is_empty()).await;
    stage.client.stop(&id, 0).await.expect("stopped");
    assert_eq!(stage.log("c").len(), 1, "it ran once");
    stage.end().await;
}

#[tokio::test]
async fn ten_stops_and_removals_end_together() {
    let mut stage = Stage::new("ten-ends").await;
    let id = stage.run("c", "sleep 1000").await;
    let mut calls = Vec::new();
    for number in 0..10 {
        let (mut client, id, pod_id) = (stage.daemon.client().await, id.clone(), stage.pod_id.clone());
        calls.push(tokio::spawn(async move {
            match number % 4 {
                0 => client.stop(&id, 0).await,
                1 => client.remove(&id).await,
                2 => client.stop_pod(&pod_id).await,
                _ => client.remove_pod(&pod_id).await,
            }
            .expect("done");
        }));
    }
    for call in calls {
        call.await.expect("a call");
    }
    assert!(stage.client.pods().await.expect("a list").is_empty());
    stage.end().await;
}

#[tokio::test]
async fn what_a_client_has_left_goes_on_and_is_found_by_the_retry() {
    let daemon = Daemon::start("left").await;
    let image = daemon.pull_busybox().await;
    let mut client = daemon.client().await;
    let config = pod("left", &daemon.logs("left"));
    // The client says how long it waits, and the server knows; or it just goes.
    for stays in [true, false] {
        let mut request = Request::new(RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: String::new(),
        });
        request.set_timeout(Duration::from_millis(1));
        let patience = if stays { Duration::from_secs(20) } else { Duration::from_micros(300) };
        // Whether it was in time does not matter.
        let _ = tokio::time::timeout(patience, client.runtime.run_pod_sandbox(request)).await;
    }
    let pod_id = client.run_pod(&config).await.expect("a pod");
    assert_eq!(client.pods().await.expect("a list").len(), 1);

    let container = orlop_tests::cri::container("c", &image, &["sh", "-c", "echo once; sleep 1000"]);
    let create = client.create(&pod_id, &config, &container);
    let _ = tokio::time::timeout(Duration::from_millis(1), create).await;
    let id = client.create(&pod_id, &config, &container).await.expect("a container");
    assert_eq!(client.containers().await.expect("a list").len(), 1);

    let mut request = Request::new(StartContainerRequest { container_id: id.clone() });
    request.set_timeout(Duration::from_millis(1));
    let _ = client.runtime.start_container(request).await;
    client.start(&id).await.expect("started");
    assert_eq!(client.status(&id).await.expect("its status").state(), ContainerState::ContainerRunning);

    let _ = tokio::time::timeout(Duration::from_millis(1), client.stop(&id, 0)).await;
    client.stop(&id, 0).await.expect("stopped");
    assert_eq!(client.status(&id).await.expect("its status").exit_code, 137);
    let _ = tokio::time::timeout(Duration::from_micros(300), client.remove_pod(&pod_id)).await;
    client.remove_pod(&pod_id).await.expect("removed");
    drop(client);
    daemon.end().await;
}
