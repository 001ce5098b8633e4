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
