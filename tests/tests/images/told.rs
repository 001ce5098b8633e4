//! What is told of images.

use orlop_proto::runtime::v1::{FilesystemUsage, Image, ImageFsInfoRequest, ImageSpec, ImageStatusRequest};
use orlop_tests::cri::Client;
use orlop_tests::daemon::stage::Stage;
use orlop_tests::daemon::{Daemon, eventually, stock};
use orlop_tests::image::{Flavour, Image as Content};
use orlop_tests::layer::{Packing, Tree};
use serde_json::{Value, json};
use tonic::Code;

fn request(name: &str, verbose: bool) -> ImageStatusRequest {
    ImageStatusRequest { image: Some(ImageSpec { image: name.into(), ..Default::default() }), verbose }
}

/// Of three layers, the middle one with nothing in it.
fn content() -> Content {
    let layer = |tree: Tree| tree.pack(Packing::Gzip);
    let (one, three) = (Tree::new().file("a", 0o644, vec![b'a'; 9000]), Tree::new().file("b", 0o644, "b"));
    Content::new(Flavour::Oci, vec![layer(one), layer(Tree::new()), layer(three)])
        .with("User", json!("1002:7"))
        .with("Labels", json!({ "who": "told" }))
}

fn chain(layers: &[String]) -> String {
    let above =
        |below: String, layer: &String| orlop_tests::hash::digest(format!("{below} {layer}").as_bytes());
    layers[1..].iter().fold(layers[0].clone(), above)
}

#[tokio::test]
async fn a_verbose_status_says_what_an_image_is_made_of() {
    let mut daemon = Daemon::start("verbose").await;
    let mut client = daemon.client().await;
    let content = content();
    let manifest = stock::registry().push("told", "1", &content);
    let name = format!("{}/told:1", stock::registry().address);
    let id = client.pull(&name).await.expect("pulled");
    for restarted in [false, true] {
        if restarted {
            daemon.restart().await;
            client = daemon.client().await;
        }
        let quiet = client.images.image_status(request(&name, false)).await.expect("a status").into_inner();
        assert!(quiet.info.is_empty());
        let told = client.images.image_status(request(&name, true)).await.expect("a status").into_inner();
        assert_eq!(told.image, quiet.image);
        let image = told.image.expect("it is there");
        assert_eq!((image.uid.map(|uid| uid.value), &*image.username, image.pinned), (Some(1002), "", false));
        let info: Value = serde_json::from_str(&told.info["info"]).expect("JSON");
        let layers: Vec<String> = content.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        assert_eq!(info["imageSpec"]["config"]["Labels"]["who"], "told");
        assert_eq!(info["imageSpec"]["rootfs"]["diff_ids"], json!(layers));
        assert_eq!((info["config"].as_str(), info["manifest"].as_str()), (Some(&*id), Some(&*manifest)));
        assert_eq!(info["chainID"].as_str(), Some(&*chain(&layers)));
        let told: Vec<&str> =
            info["layers"].as_array().expect("a list").iter().filter_map(|l| l["diffID"].as_str()).collect();
        assert_eq!(told, layers);
        // Two files of 9000 and 1 bytes, and each layer's own directory.
        let sum: u64 =
            info["layers"].as_array().expect("a list").iter().filter_map(|l| l["bytes"].as_u64()).sum();
        assert!(sum >= 12288 + 4096 && info["layers"][0]["inodes"] == 2, "{info}");
        assert_eq!(info["size"].as_u64(), Some(image.size));
        assert!(image.size > sum);
    }
    let absent = client.images.image_status(request("no/such:1", true)).await.expect("no error").into_inner();
    assert!(absent.image.is_none() && absent.info.is_empty());
    drop(client);
    daemon.end().await;
}

async fn pinned(client: &mut Client) -> Vec<(Vec<String>, bool)> {
    let images = client.images.list_images(orlop_proto::runtime::v1::ListImagesRequest::default()).await;
    let row = |image: Image| (image.repo_tags, image.pinned);
    images.expect("a list").into_inner().images.into_iter().map(row).collect()
}

#[tokio::test]
async fn pinned_images_are_said_to_be_and_go_only_when_they_are_asked_for() {
    let at = &stock::registry().address;
    let image =
        |what: &str| Content::new(Flavour::Oci, vec![Tree::new().file("a", 0o644, what).pack(Packing::Gzip)]);
    let digest = stock::registry().push("pins", "digest", &image("digest"));
    stock::registry().push("pins", "tag", &image("tag"));
    stock::registry().push("pins", "none", &image("none"));
    let config = format!("[registry]\npinned = [\"{at}/pins:tag\", \"{at}/pins@{digest}\", \"absent:1\"]");
    // `[registry]` is in the file already: a drop-in may say more of it.
    let mut daemon = Daemon::build("pins").prepare();
    daemon.place().put("config.d/pins.toml", &config);
    daemon.spawn(&[]);
    assert!(daemon.answers().await, "{}", daemon.log());
    let mut client = daemon.client().await;
    for tag in ["tag", "digest", "none"] {
        client.pull(&format!("{at}/pins:{tag}")).await.expect("pulled");
    }
    let expected = |pins: [bool; 3]| {
        let rows = ["digest", "none", "tag"].into_iter().zip(pins);
        rows.map(|(tag, pin)| (vec![format!("{at}/pins:{tag}")], pin)).collect::<Vec<_>>()
    };
    let sorted = |mut rows: Vec<(Vec<String>, bool)>| {
        rows.sort();
        rows
    };
    assert_eq!(sorted(pinned(&mut client).await), expected([true, false, true]));
    let told = client.images.image_status(request(&format!("{at}/pins:tag"), false)).await.expect("a status");
    assert!(told.into_inner().image.expect("it is there").pinned);
    // By its name it is removed as any other; kubelet's collection passes it over by itself.
    client.remove_image(&format!("{at}/pins:tag")).await.expect("removed");
    client.pull(&format!("{at}/pins:tag")).await.expect("pulled");
    assert_eq!(sorted(pinned(&mut client).await), expected([true, false, true]));
    // The file is what counts, not what it was when the image came.
    daemon.kill9();
    std::fs::remove_file(daemon.place().join("config.d/pins.toml")).expect("removed");
    daemon.up().await;
    let mut client = daemon.client().await;
    assert_eq!(sorted(pinned(&mut client).await), expected([false; 3]));
    drop(client);
    daemon.end().await;
}

async fn filesystems(client: &mut Client) -> (FilesystemUsage, FilesystemUsage) {
    let mut all = client.images.image_fs_info(ImageFsInfoRequest {}).await.expect("figures").into_inner();
    assert_eq!((all.image_filesystems.len(), all.container_filesystems.len()), (1, 1));
    (all.image_filesystems.remove(0), all.container_filesystems.remove(0))
}

fn figures(filesystem: &FilesystemUsage) -> (u64, u64) {
    let value =
        |figure: &Option<orlop_proto::runtime::v1::UInt64Value>| figure.as_ref().expect("a figure").value;
    (value(&filesystem.used_bytes), value(&filesystem.inodes_used))
}

#[tokio::test]
async fn images_and_containers_are_counted_apart_where_they_lie() {
    let mut stage = Stage::new("fs-info").await;
    let (images, containers) = filesystems(&mut stage.client).await;
    let root = stage.daemon.root();
    let place = |filesystem: &FilesystemUsage| filesystem.fs_id.as_ref().expect("a place").mountpoint.clone();
    assert_eq!(place(&images), root.join("images").display().to_string());
    assert_eq!(place(&containers), root.join("containers").display().to_string());
    assert!(std::path::Path::new(&place(&containers)).is_dir());
    let before = figures(&images);
    assert!(before.0 > 1 << 20 && before.1 > 10, "{before:?}");
    stock::registry().push("fs-info", "1", &content());
    let name = format!("{}/fs-info:1", stock::registry().address);
    stage.client.pull(&name).await.expect("pulled");
    let (images, later) = filesystems(&mut stage.client).await;
    let after = figures(&images);
    // Two files, three directories, two documents at the least.
    assert!(after.0 >= before.0 + 12288 + 4096 && after.1 >= before.1 + 7, "{before:?} {after:?}");
    assert!(after.0 < before.0 + (1 << 20), "{before:?} {after:?}");
    assert!(later.timestamp > containers.timestamp && images.timestamp >= later.timestamp - 1_000_000_000);
    stage.client.remove_image(&name).await.expect("removed");
    assert_eq!(figures(&filesystems(&mut stage.client).await.0), before, "what went is counted no more");
    stage.end().await;
}

#[tokio::test]
async fn what_containers_have_written_is_the_sum_of_what_was_counted() {
    let mut stage = Stage::new("fs-written").await;
    let script = "head -c 3000000 /dev/zero > /written; touch /done; exec sleep 1000";
    let ids = [stage.run("one", script).await, stage.run("two", script).await];
    for id in &ids {
        let done = async |stage: &mut Stage| stage.client.exec(id, &["test", "-e", "/done"], 60).await;
        while done(&mut stage).await.expect("exec").exit_code != 0 {}
    }
    // Statistics have layers counted, behind the callers' backs; this only adds them up.
    eventually("both layers are counted", async || {
        let all = orlop_proto::runtime::v1::ListContainerStatsRequest::default();
        let counted =
            stage.client.runtime.list_container_stats(all).await.expect("figures").into_inner().stats;
        let sum = |part: fn(&FilesystemUsage) -> u64| -> u64 {
            counted.iter().filter_map(|one| one.writable_layer.as_ref()).map(part).sum()
        };
        let (bytes, inodes) = (sum(|layer| figures(layer).0), sum(|layer| figures(layer).1));
        let told = figures(&filesystems(&mut stage.client).await.1);
        told == (bytes, inodes) && bytes >= 6_000_000
    })
    .await;
    for id in &ids {
        stage.client.remove(id).await.expect("removed");
    }
    assert_eq!(figures(&filesystems(&mut stage.client).await.1), (0, 0));
    stage.end().await;
}

#[tokio::test]
async fn images_for_a_handler_that_is_not_here_are_not_looked_for() {
    let mut stage = Stage::new("handler").await;
    let image = |handler: &str| {
        let (image, runtime_handler) = (stage.image.clone(), handler.into());
        Some(ImageSpec { image, runtime_handler, ..Default::default() })
    };
    for handler in ["", "native"] {
        let request = ImageStatusRequest { image: image(handler), verbose: false };
        assert!(
            stage.client.images.image_status(request).await.expect("an answer").into_inner().image.is_some()
        );
    }
    let request = ImageStatusRequest { image: image("kata"), verbose: false };
    let error = stage.client.images.image_status(request).await.expect_err("no such handler");
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    assert!(error.message().starts_with("image.runtime_handler \"kata\""), "{error}");
    stage.end().await;
}
