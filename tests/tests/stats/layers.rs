//! What a container has written.

use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::{Stage, security};

use super::{known, now, of_container};

#[tokio::test]
async fn what_was_written_is_counted_once_somebody_asks() {
    let mut stage = Stage::new("stats-layer").await;
    let before = now();
    let id = stage.run("one", "sleep 1000").await;
    let script =
        "mkdir -p /a/b; head -c 10m /dev/zero > /a/b/file; ln /a/b/file /a/link; ln -s / /a/root; sync";
    stage.client.sh(&id, script).await;
    let mut last = before;
    eventually("it is counted", async || {
        let layer = of_container(&mut stage.client, &id).await.expect("figures").writable_layer;
        let layer = layer.expect("a layer");
        assert!(layer.timestamp >= last && layer.timestamp < now(), "{layer:?} {last}");
        last = layer.timestamp;
        let (bytes, inodes) = (known(layer.used_bytes.as_ref()), known(layer.inodes_used.as_ref()));
        // Until then it is what it was when it was made: empty.
        assert!(bytes == 0 || (10 << 20..12 << 20).contains(&bytes), "{bytes}");
        bytes > 0 && inodes >= 4
    })
    .await;
    // Which is what another who counts finds: directories and files, the hard link once.
    let layer = stage.daemon.root().join("containers").join(&id).join("upper");
    let du = |arguments: &[&str]| {
        let output = std::process::Command::new("du").args(arguments).arg(&layer).output().expect("du");
        let text = String::from_utf8(output.stdout).expect("text");
        text.split_whitespace().next().expect("a number").parse::<u64>().expect("a number")
    };
    let (bytes, inodes) = (du(&["-s", "--block-size=1"]), du(&["-s", "--inodes"]));
    let own = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&layer).expect("a layer")) * 512;
    let layer = of_container(&mut stage.client, &id).await.expect("figures").writable_layer.expect("a layer");
    // The layer's own directory is the daemon's.
    assert_eq!(
        (known(layer.used_bytes.as_ref()), known(layer.inodes_used.as_ref())),
        (bytes - own, inodes - 1)
    );
    assert_eq!(layer.timestamp, last, "it is not counted for every question");
    stage.end().await;
}

#[tokio::test]
async fn a_root_that_cannot_be_written_has_next_to_nothing() {
    let mut stage = Stage::new("stats-readonly").await;
    let mut config = stage.script("one", "sleep 1000");
    security(&mut config).readonly_rootfs = true;
    let id = stage.start(&config).await;
    let made = of_container(&mut stage.client, &id).await.expect("figures").writable_layer.expect("a layer");
    eventually("it is counted", async || {
        let layer = of_container(&mut stage.client, &id).await.expect("figures").writable_layer;
        let layer = layer.expect("a layer");
        assert!(known(layer.used_bytes.as_ref()) < 1 << 20, "{layer:?}");
        layer.timestamp > made.timestamp
    })
    .await;
    stage.end().await;
}
