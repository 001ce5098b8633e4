//! Plugins that are slow, hang, fork, print garbage or too much, fail.

use std::time::Duration;

use orlop_proto::runtime::v1::RunPodSandboxRequest;
use orlop_tests::cri;
use orlop_tests::daemon::eventually;
use tonic::{Code, Request};

use super::scene::{Scene, lives, written};

/// kubelet's deadline passes while plugins work; each of its retries is told of the same sandbox.
#[tokio::test]
async fn ten_retries_of_an_impatient_client_make_one_sandbox() {
    let mut scene = Scene::fake("cni-slow", "1.0.0", &["fake"]).await;
    scene.on("ADD", "sleep 2.5");
    let config = cri::pod("slow", &scene.daemon.logs("slow"));
    let mut answers = Vec::new();
    for _ in 0..10 {
        let mut request =
            Request::new(RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() });
        request.set_timeout(Duration::from_secs(2));
        match scene.client.runtime.run_pod_sandbox(request).await {
            Ok(answer) => answers.push(answer.into_inner().pod_sandbox_id),
            Err(status) => assert!(
                matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled),
                "no other answer than that it is late: {status:?}"
            ),
        }
    }
    let pods = scene.client.pods().await.expect("a list");
    assert_eq!(pods.len(), 1, "{pods:?}");
    assert!(!answers.is_empty() && answers.iter().all(|id| *id == pods[0].id), "{answers:?}");
    assert!(answers.len() < 10, "the first was late");
    assert_eq!(scene.count("ADD"), 1);
    scene.end().await;
}

/// A plugin that hangs holds back its own pod alone, and at its deadline it is ended with all that it started.
#[tokio::test]
async fn a_plugin_that_hangs_delays_no_other_pod_and_is_killed_with_its_children() {
    let mut scene = Scene::fake("cni-hang", "1.0.0", &["fake"]).await;
    // A child that leaves the session and closes all that it has of its parent's.
    let script = "case $CNI_ARGS in *K8S_POD_NAME=hung*)
        setsid sh -c 'echo $$ > '$here'/child; exec sleep 1000 <&- >&- 2>&-' &
        echo $$ > $here/itself; echo 'I am stuck' >&2; sleep 1000 ;; esac";
    scene.on("ADD", script);
    let config = cri::pod("hung", &scene.daemon.logs("hung"));
    let mut other = scene.client.clone();
    let hung = tokio::spawn(async move { other.run_pod(&config).await });
    let child = written(&scene.daemon.plugins().join("child")).await;
    let itself = written(&scene.daemon.plugins().join("itself")).await;

    let id = scene.run("free").await.expect("another pod");
    scene.client.pods().await.expect("a list");
    assert!(scene.condition().await.status);
    scene.client.remove_pod(&id).await.expect("removed");
    assert!(!hung.is_finished() && lives(&itself) && lives(&child), "all this while it hangs");

    let status = hung.await.expect("a call").expect_err("it hangs");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let network = scene.network();
    for part in
        [format!("plugin fake of network {network}: ADD: it did not end within 3 s"), "I am stuck".into()]
    {
        assert!(status.message().contains(&part), "{part}: {}", status.message());
    }
    eventually("its processes are gone", async || !lives(&child) && !lives(&itself)).await;
    eventually("it was asked to undo what it had done", async || scene.count("DEL") == 2).await;
    scene.end().await;
}

/// What a plugin says or prints is what the caller reads, short.
#[tokio::test]
async fn what_a_plugin_says_of_its_failure_is_told() {
    let mut scene = Scene::fake("cni-says", "1.0.0", &["fake"]).await;
    let many = "head -c 67108864 /dev/zero; sleep 1000";
    for (script, parts) in [
        (
            r#"echo '{"cniVersion":"1.0.0","code":11,"msg":"no address yet","details":"pool \"a\""}'; exit 1"#,
            &["code 11: no address yet: pool \"a\""][..],
        ),
        ("echo dark; echo light >&2; exit 3", &["exit status 3", "dark", "on stderr: light"]),
        ("kill -9 $$", &["killed by signal 9, without an error message"]),
        ("echo garbage; exit 0", &["no result that can be read", "garbage"]),
        ("exit 0", &["it printed nothing"]),
        (r#"echo '{"ips":[{"address":"nowhere"}]}'; exit 0"#, &["\"nowhere\" is not ADDRESS/LENGTH"]),
        ("echo '{}'; exit 0", &["gave the pod no address"]),
        (many, &["it printed more than 1048576 bytes and was killed"]),
        ("head -c 67108864 /dev/zero >&2; exit 1", &["exit status 1"]),
    ] {
        scene.on("ADD", script);
        let status = scene.run("pod").await.expect_err(script);
        for part in parts {
            assert!(status.message().contains(part), "{script}: {part}: {}", status.message());
        }
        assert!(status.message().len() < 2000, "{}", status.message().len());
    }
    assert!(scene.client.pods().await.expect("a list").is_empty());
    assert!(scene.attached().is_empty());
    scene.on("ADD", "");
    scene.run("pod").await.expect("now it works");
    scene.end().await;
}

/// StopPodSandbox says what stands in its way, and does it again when it is asked again; nothing is forgotten meanwhile.
#[tokio::test]
async fn a_pod_whose_detaching_fails_is_not_stopped_until_it_works() {
    let mut scene = Scene::fake("cni-del", "1.0.0", &["fake"]).await;
    let id = scene.run("pod").await.expect("a pod");
    scene.on("DEL", r#"echo '{"code":100,"msg":"the switch is off"}'; exit 1"#);
    for _ in 0..2 {
        let status = scene.client.stop_pod(&id).await.expect_err("it cannot be detached");
        let record = scene.daemon.root().join("cni").join(&id);
        for part in ["DEL: code 100: the switch is off", &record.display().to_string()] {
            assert!(status.message().contains(part), "{}", status.message());
        }
        let status = scene.client.remove_pod(&id).await.expect_err("nor removed");
        assert!(status.message().contains("the switch is off"), "{}", status.message());
    }
    assert!(
        std::path::Path::new("/run/netns").join(&id).exists(),
        "a plugin that is asked again may look into it"
    );
    assert_eq!(scene.attached(), std::slice::from_ref(&id));
    assert!(scene.count("DEL") >= 4);
    let netns = scene.calls(&["DEL"]).pop().expect("a call").2;
    assert_eq!(netns, format!("/run/netns/{id}"));
    scene.on("DEL", "");
    scene.client.stop_pod(&id).await.expect("stopped");
    assert!(scene.attached().is_empty());
    scene.end().await;
}

/// The way out for people: a record that is removed is an attachment that is given up.
#[tokio::test]
async fn a_record_that_was_removed_is_an_attachment_that_was_given_up() {
    let mut scene = Scene::fake("cni-given-up", "1.0.0", &["fake"]).await;
    let id = scene.run("pod").await.expect("a pod");
    scene.on("DEL", "exit 1");
    scene.client.stop_pod(&id).await.expect_err("it cannot be detached");
    std::fs::remove_file(scene.daemon.root().join("cni").join(&id)).expect("there is a record");
    scene.client.stop_pod(&id).await.expect("stopped");
    scene.end().await;
}

/// A network that was replaced, plugin and all, holds no pod for ever; one whose plugin is just missing does, until it is back.
#[tokio::test]
async fn a_plugin_that_was_replaced_is_not_waited_for() {
    let mut scene = Scene::fake("cni-replaced", "1.0.0", &["old"]).await;
    let (first, second) = (scene.run("a").await.expect("a pod"), scene.run("b").await.expect("another"));
    let program = scene.daemon.plugins().join("old");
    std::fs::rename(&program, scene.daemon.plugins().join(".old")).expect("moved");
    let status = scene.client.stop_pod(&first).await.expect_err("its plugin is missing");
    assert!(status.message().contains("there is no such program in"), "{}", status.message());
    std::fs::rename(scene.daemon.plugins().join(".old"), &program).expect("moved back");
    scene.client.stop_pod(&first).await.expect("stopped");

    std::fs::remove_file(&program).expect("removed");
    let mut list = scene.list("1.0.0", &[serde_json::json!({ "type": "fake" })]);
    list["name"] = "another".into();
    scene.put("10-net.conflist", &list);
    scene.in_force("10-net.conflist", "another").await;
    scene.client.stop_pod(&second).await.expect("the plugin will not come back");
    assert!(scene.attached().is_empty());
    scene.end().await;
}

/// What could not be undone is undone later, without anybody asking.
#[tokio::test]
async fn a_pod_that_could_not_be_undone_is_undone_later() {
    let mut scene = Scene::fake("cni-undone", "1.0.0", &["fake"]).await;
    scene.on("ADD", "exit 1");
    scene.on("DEL", "exit 1");
    scene.run("pod").await.expect_err("ADD fails");
    assert!(scene.client.pods().await.expect("a list").is_empty());
    eventually("DEL is tried again", async || scene.count("DEL") >= 2).await;
    assert_eq!(scene.attached().len(), 1);
    scene.on("DEL", "");
    eventually("it is undone", async || scene.attached().is_empty()).await;
    scene.end().await;
}

/// The status of plugins is the node's, and asking for it holds nobody up.
#[tokio::test]
async fn the_status_of_plugins_is_the_network_s() {
    let mut scene = Scene::fake("cni-status", "1.1.0", &["fake"]).await;
    assert!(scene.count("STATUS") >= 1);
    scene.on("STATUS", r#"echo '{"code":50,"msg":"the agent is away"}'; exit 1"#);
    // A configuration that changes is asked for at once.
    let list = scene.list("1.1.0", &[serde_json::json!({ "type": "fake", "changed": 1 })]);
    scene.put("10-net.conflist", &list);
    scene.until("false", |is| !is.status && is.message.contains("STATUS: code 50: the agent is away")).await;
    let is = scene.condition().await;
    assert_eq!(is.reason, "NetworkPluginNotReady");
    scene.on("STATUS", "echo $$ > $here/asked; sleep 1000");
    written(&scene.daemon.plugins().join("asked")).await;
    assert!(!scene.condition().await.status, "it is answered while the plugin hangs");
    scene.until("late", |is| is.message.contains("STATUS: it did not end within 3 s")).await;
    scene.on("STATUS", "");
    scene.ready().await;
    scene.end().await;
}
