//! Images that a container sees as volumes.

use orlop_proto::runtime::v1::{ContainerConfig, ImageSpec, Mount, MountPropagation};
use orlop_tests::daemon::stage::{Stage, security};
use orlop_tests::daemon::stock;
use orlop_tests::image::{Flavour, Image};
use orlop_tests::layer::{Packing, Tree};
use tonic::Code;

/// What a row of a table changes of a good mount.
type Change = fn(&mut Mount);

/// An image of these layers, pulled; its name and its id.
async fn pulled(stage: &mut Stage, tag: &str, layers: Vec<Tree>) -> (String, String) {
    let layers = layers.into_iter().map(|tree| tree.pack(Packing::Gzip)).collect();
    stock::registry().push("volume", tag, &Image::new(Flavour::Oci, layers));
    let name = format!("{}/volume:{tag}", stock::registry().address);
    let id = stage.client.pull(&name).await.expect("pulled");
    (name, id)
}

fn mount(image: &str, inside: &str, part: &str) -> Mount {
    Mount {
        container_path: inside.into(),
        readonly: true,
        image: Some(ImageSpec { image: image.into(), ..Default::default() }),
        image_sub_path: part.into(),
        ..Default::default()
    }
}

fn with(stage: &Stage, name: &str, mounts: Vec<Mount>) -> ContainerConfig {
    let mut config = stage.script(name, "exec sleep 1000");
    config.mounts = mounts;
    config
}

fn one() -> Vec<Tree> {
    let tool = "#!/bin/sh\necho run\n";
    let tree = Tree::new().directory("srv", 0o755).directory("srv/data", 0o755).directory("bin", 0o755);
    vec![tree.file("bin/tool", 0o755, tool).file("srv/data/note", 0o644, "of the image\n")]
}

fn two() -> Vec<Tree> {
    let tree = || Tree::new().directory("srv", 0o755).directory("srv/data", 0o755);
    let lower = tree().file("srv/data/old", 0o644, "lower\n").file("srv/data/both", 0o644, "lower\n");
    let lower = lower.file("srv/data/gone", 0o644, "lower\n").symlink("data", "/srv/data");
    let upper = tree().file("srv/data/both", 0o644, "upper\n").without("srv/data/gone");
    let whole = Tree::new().directory("whole", 0o755).file("whole/x", 0o644, "x\n");
    vec![lower, upper, whole]
}

#[tokio::test]
async fn an_image_is_seen_read_only_and_its_programs_run() {
    let mut stage = Stage::new("image-volume").await;
    let (single, single_id) = pulled(&mut stage, "one", one()).await;
    let (many, many_id) = pulled(&mut stage, "two", two()).await;
    let host = std::fs::read_to_string("/proc/self/mountinfo").expect("the node's mounts");
    let mounts = vec![
        mount(&single, "/vol/one", ""),
        mount(&single_id, "/part", "srv/data"),
        mount(&many, "/vol/two", ""),
        mount(&many, "/merged", "srv/data"),
        mount(&many, "/linked", "data"),
        mount(&many, "/whole", "whole"),
    ];
    let config = with(&stage, "c", mounts.clone());
    let id = stage.start(&config).await;
    // What was asked for comes back, with the image that it is.
    let mut expected = mounts;
    for (mount, id) in
        expected.iter_mut().zip([&single_id, &single_id, &many_id, &many_id, &many_id, &many_id])
    {
        mount.image.as_mut().expect("an image").image_ref.clone_from(id);
    }
    assert_eq!(stage.client.status(&id).await.expect("its status").mounts, expected);
    let script = "/vol/one/bin/tool; cat /part/note; for d in /vol/two/srv/data /merged /linked; do \
                  cat $d/old $d/both; ls $d; done; cat /whole/x";
    let seen = "lower\nupper\nboth\nold\n".repeat(3);
    assert_eq!(stage.client.sh(&id, script).await, format!("run\nof the image\n{seen}x\n"));
    let script = "for d in /vol/one /part /vol/two /merged /whole; do touch $d/new 2>&1 || true; done; \
                  rm /part/note 2>&1 || true; mount -o remount,rw /part 2>&1 || true; touch /part/note 2>&1 || true";
    let said = stage.client.sh(&id, script).await;
    assert_eq!(said.matches("Read-only file system").count(), 7, "{said}");
    // The shim's own mount namespace had it all: the node has no mount more.
    let now = std::fs::read_to_string("/proc/self/mountinfo").expect("the node's mounts");
    let of_ours = |text: &str| text.lines().filter(|line| line.contains("overlay")).count();
    assert_eq!(of_ours(&now), of_ours(&host));
    // As root of the node, too, nothing is written.
    let mut config = with(&stage, "root", vec![mount(&single, "/vol", "")]);
    security(&mut config).readonly_rootfs = true;
    let id = stage.start(&config).await;
    assert_eq!(stage.client.sh(&id, "/vol/bin/tool").await, "run\n");
    stage.end().await;
}

#[tokio::test]
async fn a_part_that_is_not_there_is_refused_and_no_link_leads_out() {
    let mut stage = Stage::new("image-parts").await;
    // What the node has and the image has not.
    let (outside, up) = ("/etc", format!("{}etc", "../".repeat(25)));
    assert!(std::path::Path::new(outside).is_dir());
    let links =
        Tree::new().directory("dir", 0o755).file("file", 0o644, "x").file("dir/secret", 0o644, "own\n");
    let links =
        links.symlink("absolute", outside).symlink("relative", &up).symlink("process", "/proc/1/root");
    let links = links.symlink("loop", "loop").symlink("inside", "/../dir");
    let (image, _) = pulled(&mut stage, "links", vec![links]).await;
    let word = "ImageVolumeMountFailed: config.mounts[1].image_sub_path";
    for (part, code) in [
        ("none", Code::InvalidArgument),
        ("dir/none", Code::InvalidArgument),
        ("file", Code::InvalidArgument),
        ("file/x", Code::InvalidArgument),
        ("absolute", Code::InvalidArgument),
        ("relative", Code::InvalidArgument),
        ("process", Code::InvalidArgument),
        ("../etc", Code::InvalidArgument),
        ("dir/../../etc", Code::InvalidArgument),
        ("/dir", Code::InvalidArgument),
        ("loop", Code::DataLoss),
    ] {
        let config = with(&stage, "c", vec![mount(&image, "/good", "dir"), mount(&image, "/bad", part)]);
        let error = stage.create(&config).await.expect_err(part);
        let said = error.message();
        assert_eq!(error.code(), code, "{part}: {said}");
        assert!(
            if code == Code::DataLoss {
                said.starts_with("ImageVolumeMountFailed: config.mounts[1]")
            } else {
                said.starts_with(word)
            },
            "{part}: {said}"
        );
    }
    let config = with(&stage, "inside", vec![mount(&image, "/v", "inside")]);
    let id = stage.start(&config).await;
    assert_eq!(stage.client.sh(&id, "cat /v/secret").await, "own\n");
    stage.end().await;
}

#[tokio::test]
async fn what_no_image_can_be_is_refused_by_its_field() {
    let mut stage = Stage::new("image-fields").await;
    let (image, _) = pulled(&mut stage, "one", one()).await;
    let other = format!("{}/volume:absent", stock::registry().address);
    let table: [(&str, Code, Change); 5] = [
        ("readonly", Code::InvalidArgument, |m| m.readonly = false),
        ("host_path", Code::InvalidArgument, |m| m.host_path = "/tmp".into()),
        ("propagation", Code::InvalidArgument, |m| {
            m.propagation = MountPropagation::PropagationBidirectional.into();
        }),
        ("image.image", Code::InvalidArgument, |m| m.image = Some(ImageSpec::default())),
        ("image.image", Code::NotFound, |_| {}),
    ];
    for (field, code, change) in table {
        let mut asked = mount(if code == Code::NotFound { &other } else { &image }, "/v", "");
        change(&mut asked);
        let config = with(&stage, "c", vec![asked]);
        let error = stage.create(&config).await.expect_err(field);
        assert_eq!(error.code(), code, "{field}: {error}");
        let word = format!("ImageVolumeMountFailed: config.mounts[0].{field}");
        assert!(error.message().starts_with(&word), "{field}: {error}");
    }
    assert!(stage.client.containers().await.expect("a list").is_empty());
    stage.end().await;
}

#[tokio::test]
async fn a_mounted_image_is_kept_while_it_is_used_also_over_a_restart() {
    let mut stage = Stage::new("image-kept").await;
    let (image, id) = pulled(&mut stage, "kept", one()).await;
    let layers = stage.daemon.root().join("images/layers");
    let count = || std::fs::read_dir(&layers).expect("layers").count();
    let before = count();
    let config = with(&stage, "c", vec![mount(&image, "/v", "")]);
    let container = stage.start(&config).await;
    stage.client.remove_image(&image).await.expect("removed");
    assert_eq!(count(), before);
    stage.daemon.restart().await;
    stage.client = stage.daemon.client().await;
    let status = stage.client.status(&container).await.expect("its status");
    assert_eq!(status.mounts[0].image.as_ref().expect("an image").image_ref, id);
    // Whatever else is tidied away meanwhile.
    let (other, _) = pulled(&mut stage, "other", two()).await;
    stage.client.remove_image(&other).await.expect("removed");
    assert_eq!(count(), before);
    assert_eq!(stage.client.sh(&container, "/v/bin/tool").await, "run\n");
    // It starts once more from what is held.
    let error =
        stage.create(&with(&stage, "late", vec![mount(&image, "/v", "")])).await.expect_err("it is gone");
    assert_eq!(error.code(), Code::NotFound);
    stage.client.remove(&container).await.expect("removed");
    orlop_tests::daemon::eventually("its layer goes with the last who needs it", async || count() < before)
        .await;
    stage.end().await;
}
