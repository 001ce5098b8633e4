//! orlopd is killed, the node is started anew.

use std::path::Path;

use orlop_tests::cri;
use orlop_tests::daemon::{Daemon, eventually};

use super::scene::{Scene, build, install, lives, written};

/// A reboot takes all but the disk: what plugins hold on it is given back, from what was written down.
#[tokio::test]
async fn after_a_reboot_every_attachment_is_undone() {
    let mut scene = Scene::fake("cni-reboot", "1.0.0", &["fake"]).await;
    let ids = [scene.run("a").await.expect("a pod"), scene.run("b").await.expect("a pod")];
    scene.daemon.kill9();
    scene.daemon.traces.remove();
    std::fs::create_dir(scene.daemon.state()).expect("a directory");
    // The configuration may be another, or none, by then.
    std::fs::remove_dir_all(scene.daemon.net_d()).expect("removed");
    scene.daemon.up().await;
    scene.client = scene.daemon.client().await;
    eventually("they are undone", async || scene.attached().is_empty()).await;
    let mut undone = scene.calls(&["DEL"]);
    undone.sort();
    let mut expected = ids.map(|id| ("fake DEL".to_owned(), id, "-".to_owned()));
    expected.sort();
    assert_eq!(undone, expected, "and the plugins are told that the namespaces are gone");
    assert_eq!(scene.told(&["DEL"])[0].config["prevResult"]["ips"][0]["address"], "10.9.8.7/24");
    scene.end().await;
}

/// A state directory that outlives a boot has pods that are taken down as such; their namespaces are gone all the same.
#[tokio::test]
async fn a_pod_of_an_earlier_boot_is_undone_without_its_namespace() {
    let mut scene = Scene::fake("cni-old-boot", "1.0.0", &["fake"]).await;
    let id = scene.run("a").await.expect("a pod");
    scene.daemon.kill9();
    let aside = scene.daemon.place().join("aside");
    let copy = |from: &Path, to: &Path| {
        let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
        assert!(copied.expect("cp").success());
    };
    std::fs::create_dir(&aside).expect("a directory");
    copy(&scene.daemon.state().join("pods"), &aside);
    scene.daemon.traces.remove();
    std::fs::create_dir_all(scene.daemon.state()).expect("a directory");
    copy(&aside.join("pods"), scene.daemon.state());
    std::fs::write(scene.daemon.state().join("boot"), "another\n").expect("written");
    scene.daemon.up().await;
    scene.client = scene.daemon.client().await;
    eventually("it is undone", async || scene.attached().is_empty()).await;
    assert_eq!(scene.calls(&["DEL"]), [("fake DEL".to_owned(), id.clone(), "-".to_owned())]);
    scene.client.remove_pod(&id).await.expect("removed");
    scene.end().await;
}

/// Whatever is killed when: nothing is left, and who asks again gets a pod.
#[tokio::test]
async fn death_at_any_point_leaves_no_attachment() {
    for point in [
        "pod.will.attachment",
        "pod.made.network",
        "pod.made.record",
        "pod.decide.stop",
        "pod.gone.attachment",
        "pod.gone.netns",
    ] {
        let mut daemon = build("cni-killed").environment("ORLOP_FAILPOINT", point).prepare();
        install(&daemon, "fake");
        std::fs::create_dir(daemon.net_d()).expect("a directory");
        let list = serde_json::json!({ "cniVersion": "1.0.0", "name": "n", "plugins": [{ "type": "fake" }] });
        std::fs::write(daemon.net_d().join("1.conflist"), list.to_string()).expect("a file");
        daemon.spawn(&[("ORLOP_FAILPOINT".to_owned(), point.to_owned())]);
        assert!(daemon.answers().await);
        let config = cri::pod("a", &daemon.logs("a"));
        live(&daemon, &config).await;
        eventually("it has died", async || daemon.ended().is_some()).await;
        assert!(daemon.log().contains(&format!("failpoint {point} ")), "{point}");
        daemon.kill9();
        daemon.up().await;
        let client = daemon.client().await;
        let mut scene = Scene { daemon, client };
        // One that was made is known yet, and goes as kubelet has it go.
        for pod in scene.client.pods().await.expect("a list") {
            scene.client.stop_pod(&pod.id).await.expect(point);
            scene.client.remove_pod(&pod.id).await.expect(point);
        }
        let id = scene.client.run_pod(&config).await.expect(point);
        eventually("nothing is left but it", async || scene.attached() == [id.clone()]).await;
        scene.end().await;
    }
}

/// The life of a pod, as far as the daemon lives.
async fn live(daemon: &Daemon, config: &orlop_proto::runtime::v1::PodSandboxConfig) {
    let mut client = daemon.client().await;
    if let Ok(id) = client.run_pod(config).await {
        let _ = client.stop_pod(&id).await;
        let _ = client.remove_pod(&id).await;
    }
}

/// A plugin that works on when its daemon is dead would do so beside the next one's DEL: it is ended first.
#[tokio::test]
async fn a_plugin_of_a_daemon_that_was_killed_is_ended_before_it_is_asked_to_undo() {
    let mut scene = Scene::fake("cni-orphan", "1.0.0", &["fake"]).await;
    scene.on("ADD", "echo $$ > $here/itself; sleep 1000");
    scene.on("DEL", "grep -q '^State:.*[RSD] (' /proc/$(cat $here/itself)/status && echo alive > $here/met");
    let config = cri::pod("a", &scene.daemon.logs("a"));
    let mut other = scene.client.clone();
    let call = tokio::spawn(async move { other.run_pod(&config).await });
    let itself = written(&scene.daemon.plugins().join("itself")).await;
    scene.daemon.kill9();
    call.await.expect("a call").expect_err("the daemon is gone");
    assert!(lives(&itself), "it works on");
    scene.daemon.up().await;
    scene.client = scene.daemon.client().await;
    eventually("it is undone", async || scene.attached().is_empty() && scene.count("DEL") == 1).await;
    assert!(!lives(&itself));
    assert!(!scene.daemon.plugins().join("met").exists(), "they met");
    scene.end().await;
}
