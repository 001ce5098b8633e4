//! Nothing but the disk is left.

use orlop_proto::runtime::v1::{ImageFilter, ListImagesRequest};
use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::Stage;

#[tokio::test]
async fn after_a_reboot_there_are_images_and_no_pods() {
    let mut stage = Stage::new("reboot").await;
    let id = stage.run("c", "echo x > /file; exec sleep 1000").await;
    let layer = stage.daemon.root().join("containers").join(&id);
    assert!(layer.is_dir());
    // A reboot takes processes, mounts, links, cgroups and what is on a tmpfs.
    stage.daemon.kill9();
    stage.daemon.traces.remove();
    std::fs::create_dir(stage.daemon.state()).expect("a directory");
    std::fs::create_dir_all(stage.daemon.root().join("trash/left/upper")).expect("a directory");
    stage.daemon.up().await;
    stage.client = stage.daemon.client().await;
    assert!(stage.client.pods().await.expect("a list").is_empty());
    assert!(stage.client.containers().await.expect("a list").is_empty());
    eventually("layers of containers that are gone are removed", async || {
        let entries = |name| std::fs::read_dir(stage.daemon.root().join(name)).expect("a directory").count();
        entries("containers") == 0 && entries("trash") == 0
    })
    .await;
    let filter = ListImagesRequest { filter: Some(ImageFilter::default()) };
    let images = stage.client.images.list_images(filter).await.expect("a list").into_inner().images;
    assert_eq!(images.len(), 1);
    // And the image is whole: a container runs of it without a pull.
    stage.pod_id = stage.client.run_pod(&stage.pod).await.expect("a pod");
    let config = stage.script("again", "echo again");
    assert_eq!(stage.to_end(&config).await.1, "again\n");
    stage.end().await;
}

/// A state directory that is no tmpfs outlives a boot, with records of what does not.
#[tokio::test]
async fn records_of_an_earlier_boot_are_of_pods_that_have_stopped() {
    let mut stage = Stage::new("old-boot").await;
    let id = stage.run("c", "exec sleep 1000").await;
    stage.daemon.kill9();
    let aside = stage.daemon.root().join("aside");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
        assert!(copied.expect("cp").success());
    };
    std::fs::create_dir(&aside).expect("a directory");
    let records = ["pods", "containers", "network"];
    for name in records {
        copy(&stage.daemon.state().join(name), &aside);
    }
    stage.daemon.traces.remove();
    std::fs::create_dir_all(stage.daemon.state()).expect("a directory");
    for name in records {
        copy(&aside.join(name), stage.daemon.state());
    }
    std::fs::remove_dir_all(&aside).expect("removed");
    std::fs::write(stage.daemon.state().join("boot"), "another\n").expect("written");
    stage.daemon.up().await;
    stage.client = stage.daemon.client().await;
    let pods = stage.client.pods().await.expect("a list");
    assert_eq!(pods.len(), 1);
    assert_eq!(pods[0].state(), orlop_proto::runtime::v1::PodSandboxState::SandboxNotready);
    let status = stage.client.status(&id).await.expect("its status");
    assert_eq!(status.state(), orlop_proto::runtime::v1::ContainerState::ContainerExited);
    assert_eq!(status.exit_code, 137);
    stage.client.remove_pod(&stage.pod_id).await.expect("removed");
    // The same pod again, as kubelet asks after a reboot.
    stage.pod_id = stage.client.run_pod(&stage.pod).await.expect("a pod");
    let config = stage.script("again", "echo again");
    assert_eq!(stage.to_end(&config).await.1, "again\n");
    stage.end().await;
}
