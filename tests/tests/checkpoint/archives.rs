//! What others read of an archive; CRIU is played by a script where what it writes does not matter.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use super::scene::{checkpoint, played, stage_with};

/// Writes one image, a log and figures, as CRIU does.
const WRITES: &str = "[ $1 = check ] && exit 0; \
    while [ $# -gt 0 ]; do case $1 in --images-dir) i=$2;; --work-dir) w=$2;; esac; shift; done; \
    echo image > $i/inventory.img; echo log > $w/dump.log; echo figures > $w/stats-dump";

/// The entries of an archive: whether it is a directory, and what is in it.
fn entries(bytes: &[u8]) -> BTreeMap<String, (bool, Vec<u8>)> {
    let mut archive = tar::Archive::new(bytes);
    let entry = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.expect("a good archive");
        let name = entry.path().expect("a path").to_string_lossy().trim_end_matches('/').to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("read");
        (name, (entry.header().entry_type().is_dir(), content))
    };
    archive.entries().expect("entries").map(entry).collect()
}

fn read(path: &Path) -> BTreeMap<String, (bool, Vec<u8>)> {
    entries(&std::fs::read(path).expect("an archive"))
}

/// By the rules of `checkpointctl` and of the engines that read each other's archives.
#[tokio::test]
async fn an_archive_has_the_form_that_others_read() {
    let criu = played("writes", WRITES);
    let mut stage = stage_with("form", criu.path()).await;
    let script = "echo said; echo new > /new; rm /etc/passwd; mkdir -p /d/e; ln -s x /d/link; ln /new /d/hard; \
                  chmod 4711 /new; mknod /d/pipe p; rm -r /usr; mkdir /usr; echo n > /usr/n; sleep 1000";
    let mut config = stage.script("c", script);
    config.annotations.insert("key".into(), "value".into());
    let id = stage.start(&config).await;
    orlop_tests::daemon::eventually("it has written", async || {
        stage
            .client
            .exec(&id, &["cat", "/usr/n"], 10)
            .await
            .is_ok_and(|answer| answer.stdout == b"n\n".as_slice())
    })
    .await;
    let path = stage.daemon.place().join("a.tar");
    checkpoint(&mut stage.client, &id, &path).await.expect("written down");
    assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o7777, 0o600);
    let all = read(&path);
    assert!(all["checkpoint"].0, "checkpointctl looks for this directory");
    assert_eq!(all["checkpoint/inventory.img"].1, b"image\n");
    for (name, content) in [("dump.log", "log\n"), ("stats-dump", "figures\n")] {
        assert_eq!(String::from_utf8_lossy(&all[name].1), content);
    }
    let json = |name: &str| -> Value { serde_json::from_slice(&all[name].1).expect(name) };
    let dumped = json("config.dump");
    assert_eq!((&dumped["id"], &dumped["name"]), (&Value::from(id.clone()), &Value::from("c")));
    assert_eq!(dumped["rootfsImage"], stage.image);
    let status = stage.client.status(&id).await.expect("its status");
    assert_eq!(dumped["rootfsImageRef"], status.image_id);
    for key in ["createdTime", "checkpointedTime", "restoredTime"] {
        let time = dumped[key].as_str().expect(key);
        assert!(time.len() >= 20 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{key}: {time}");
    }
    let spec = json("spec.dump");
    assert_eq!(spec["process"]["args"][2], script);
    let annotations = &spec["annotations"];
    assert_eq!(annotations["io.kubernetes.cri.container-name"], "c");
    assert_eq!(annotations["io.kubernetes.cri.sandbox-name"], "pod");
    assert_eq!(annotations["key"], "value");
    assert_eq!(json("status.dump")["metadata"]["name"], "c");
    assert!(json("status")["Pid"].as_u64().expect("a number") > 1);
    assert!(json("network.status").is_object() && json("bind.mounts").is_array());
    let log = String::from_utf8_lossy(&all["io.kubernetes.cri-o.LogPath"].1).into_owned();
    assert!(log.ends_with(" stdout F said\n"), "{log}");

    let deleted: Vec<String> = serde_json::from_value(json("deleted.files")).expect("a list");
    assert!(deleted.contains(&"/etc/passwd".to_owned()), "{deleted:?}");
    let changes = entries(&all["rootfs-diff.tar"].1);
    assert_eq!(changes["usr/n"].1, b"n\n");
    assert!(changes["d/e"].0 && changes.contains_key("d/link") && changes.contains_key("d/pipe"));
    // One of two names has the content, the other is a link to it.
    assert_eq!([&changes["new"].1, &changes["d/hard"].1].map(Vec::len).iter().sum::<usize>(), 4);
    assert!(!changes.contains_key("etc/passwd"));
    stage.end().await;
}

#[tokio::test]
async fn an_archive_takes_the_place_of_one_that_is_there() {
    let criu = played("writes-again", WRITES);
    let mut stage = stage_with("again", criu.path()).await;
    let id = stage.run("c", "sleep 1000").await;
    let path = stage.daemon.place().join("a.tar");
    std::fs::write(&path, "an older one").expect("written");
    checkpoint(&mut stage.client, &id, &path).await.expect("written down");
    assert!(read(&path).contains_key("config.dump"));
    let beside: Vec<_> = std::fs::read_dir(stage.daemon.place().path())
        .expect("a directory")
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert_eq!(beside, Vec::<String>::new());
    stage.end().await;
}

/// The tool itself, where there is one.
#[cfg(feature = "checkpointctl")]
#[tokio::test]
async fn checkpointctl_shows_an_archive_of_criu() {
    let tool = std::env::var("CHECKPOINTCTL").expect("CHECKPOINTCTL names a program");
    let mut stage = stage_with("ctl", &super::scene::criu()).await;
    let id = stage.run("counter", "while :; do sleep 1; done").await;
    let path = stage.daemon.place().join("a.tar");
    checkpoint(&mut stage.client, &id, &path).await.expect("written down");
    for (arguments, words) in [
        (&["show"][..], &["counter", &id[..12], "orlop"][..]),
        (
            &["inspect", "--all"],
            &["counter", "Process tree", "[PIPE 1]", "CRIU dump statistics", "sandbox-name: pod"],
        ),
        (&["memparse"], &["sh"]),
    ] {
        let ran = std::process::Command::new(&tool).args(arguments).arg(&path).output().expect("it runs");
        let said = String::from_utf8_lossy(&ran.stdout);
        let errors = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{arguments:?}: {errors}");
        for word in words {
            assert!(said.contains(word), "{arguments:?}: no {word:?} in {said}");
        }
    }
    stage.end().await;
}

/// An image made of an archive, as Kubernetes' documentation has buildah make one.
#[cfg(feature = "criu")]
#[tokio::test]
async fn a_container_goes_on_from_an_image_that_is_made_of_an_archive() {
    use orlop_proto::runtime::v1::ImageSpec;
    use orlop_tests::daemon::stock;
    use orlop_tests::image::{Flavour, Image};
    use orlop_tests::layer::{Packing, Tree};

    use super::scene::{counted, criu, numbers, started};

    let mut stage = stage_with("packed", &criu()).await;
    let config =
        stage.script("one", "echo kept > /kept; i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done");
    let id = stage.start(&config).await;
    counted(&stage, "one", 4).await;
    let path = stage.daemon.place().join("a.tar");
    checkpoint(&mut stage.client, &id, &path).await.expect("written down");
    let mut layer = Tree::new();
    for (name, (directory, content)) in read(&path) {
        layer = if directory { layer.directory(&name, 0o700) } else { layer.file(&name, 0o600, content) };
    }
    let image = Image::new(Flavour::Oci, vec![layer.pack(Packing::Gzip)]);
    let registry = stock::registry();
    for (at, key) in ["org.criu.checkpoint.container.name", "io.kubernetes.cri-o.annotations.checkpoint.name"]
        .into_iter()
        .enumerate()
    {
        let repository = format!("checkpoint{at}");
        registry.push_blobs(&repository, &image);
        let mut manifest: Value = serde_json::from_slice(&image.manifest()).expect("JSON");
        manifest["annotations"] = serde_json::json!({key: "one"});
        let manifest = manifest.to_string();
        registry.push_manifest(&repository, "1", Flavour::Oci.manifest(), manifest.as_bytes());
        let name = format!("{}/{repository}:1", registry.address);
        stage.client.pull(&name).await.expect("pulled");
        let own = format!("two{at}");
        let mut again = super::scene::from_archive(&config, &own, &path);
        again.image = Some(ImageSpec { image: name, ..ImageSpec::default() });
        let two = stage.create(&again).await.expect("created");
        started(&mut stage, &two).await;
        counted(&stage, &own, 8).await;
        assert_eq!(numbers(&stage, &own)[0], 1, "the log is continued");
        assert_eq!(stage.client.sh(&two, "cat /kept").await, "kept\n");
    }
    stage.end().await;
}
