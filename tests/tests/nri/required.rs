//! Plugins that have to be there.
//!
//! *Invariant:* without them nothing is made, and nothing of what was tried is left; what runs goes on, and ends when it is told to.

use orlop_tests::cri;
use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::Stage;
use orlop_tests::nri::Actor;
use serde_json::json;

use super::{daemon, sleeper};

#[tokio::test]
async fn nothing_is_made_while_a_required_plugin_is_missing_or_mute() {
    let daemon = daemon("required", "[nri]\nrequired_plugins = [\"must\"]\nrequest_timeout = 1\n").await;
    let image = daemon.pull_busybox().await;
    let mut client = daemon.client().await;
    let pod = cri::pod("pod", &daemon.logs("pod"));
    let refused = client.run_pod(&pod).await.expect_err("nobody is there");
    assert!(refused.message().contains("the required NRI plugin must is not there"), "{refused}");
    assert!(client.pods().await.expect("a list").is_empty());

    let actor = Actor::ready(&daemon, "10", "must", &json!({})).await;
    let mut stage = Stage::on(daemon, |_| {}).await;
    let running = stage.run("c", "exec sleep 1000").await;
    assert_eq!(image, stage.image);
    // Mute: it is asked, and does not answer in time.
    actor.freeze();
    let config = sleeper(&stage, "d");
    for _ in 0..2 {
        let refused = stage.create(&config).await.expect_err("it is mute, then gone");
        assert!(refused.message().contains("must"), "{refused}");
    }
    assert_eq!(stage.client.containers().await.expect("a list").len(), 1, "nothing is left of it");
    // What runs ends when it is told to.
    stage.client.stop(&running, 0).await.expect("stopped");
    drop(actor);
    let actor = Actor::start(&stage.daemon, "20", "must", &json!({}));
    eventually("it is asked", async || stage.daemon.log().contains("plugin=20-must")).await;
    stage.create(&config).await.expect("it is there again");
    drop(actor);
    stage.end().await;
}

#[tokio::test]
async fn a_pod_can_ask_for_a_plugin_and_another_can_do_without() {
    let key = "tolerate.example.org";
    let config = format!("[nri]\nrequired_plugins = [\"must\"]\ntolerate_missing_annotation = \"{key}\"\n");
    let daemon = daemon("asked", &config).await;
    let tolerant = |pod: &mut orlop_proto::runtime::v1::PodSandboxConfig| {
        pod.annotations.insert(key.to_owned(), "true".into());
    };
    let mut stage = Stage::on(daemon, tolerant).await;
    let own = sleeper(&stage, "c");
    stage.create(&own).await.expect("it does without");

    let mut asking = cri::pod("asking", &stage.daemon.logs("asking"));
    tolerant(&mut asking);
    asking.annotations.insert("required-plugins.noderesource.dev/container.d".into(), "[ other ]".into());
    let pod = stage.client.run_pod(&asking).await.expect("the pod itself asks for nothing");
    let other = sleeper(&stage, "d");
    stage.client.create(&pod, &asking, &other).await.expect("whoever may do without may do without all");
    asking.annotations.remove(key);
    stage.end().await;
}

#[tokio::test]
async fn without_a_setting_a_pods_annotation_is_enough() {
    let mut stage = Stage::on(daemon("annotated", "").await, |pod| {
        pod.annotations.insert("required-plugins.noderesource.dev/container.c".into(), "[ other ]".into());
    })
    .await;
    let config = sleeper(&stage, "c");
    let refused = stage.create(&config).await.expect_err("nobody is there");
    assert!(refused.message().contains("the required NRI plugin other is not there"), "{refused}");
    let another = sleeper(&stage, "d");
    stage.create(&another).await.expect("of another container nothing is asked");
    let actor = Actor::ready(&stage.daemon, "10", "other", &json!({})).await;
    stage.create(&config).await.expect("it is there");
    drop(actor);
    stage.end().await;
}
