//! Ids, tags and digests.

use orlop_proto::runtime::v1::{
    Image, ImageFilter, ImageSpec, ImageStatusRequest, ListImagesRequest, RemoveImageRequest,
};
use orlop_tests::busybox;
use orlop_tests::cri::Client;
use orlop_tests::daemon::stage::Stage;
use orlop_tests::daemon::{Daemon, eventually, stock};
use orlop_tests::image::Flavour;
use orlop_tests::layer::Packing;
use serde_json::json;
use tonic::Code;

fn spec(name: &str) -> ImageSpec {
    ImageSpec { image: name.into(), ..Default::default() }
}

async fn status(client: &mut Client, name: &str) -> Option<Image> {
    let request = ImageStatusRequest { image: Some(spec(name)), verbose: false };
    client.images.image_status(request).await.expect("an answer").into_inner().image
}

async fn list(client: &mut Client, name: &str) -> Vec<Image> {
    let filter = Some(ImageFilter { image: Some(spec(name)) });
    client.images.list_images(ListImagesRequest { filter }).await.expect("a list").into_inner().images
}

/// An image of the test's own, in two repositories of the registry; its tags, and its name by digest in the first.
fn push(what: &str) -> (Vec<String>, String) {
    let image = busybox::image(Flavour::Oci, Packing::Gzip).with("Labels", json!({ "test": what }));
    let registry = stock::registry();
    let digest = registry.push(what, "1", &image);
    registry.push(what, "2", &image);
    registry.push(&format!("{what}/other"), "1", &image);
    let at = &registry.address;
    let tags = ["1", "2"].map(|tag| format!("{at}/{what}:{tag}"));
    let other = format!("{at}/{what}/other:1");
    (tags.into_iter().chain([other]).collect(), format!("{at}/{what}@{digest}"))
}

#[tokio::test]
async fn one_image_has_one_id_wherever_it_is_told() {
    let mut stage = Stage::new("image-ids").await;
    let (tags, by_digest) = push("ids");
    let mut ids = Vec::new();
    for name in tags.iter().chain([&by_digest]) {
        ids.push(stage.client.pull(name).await.expect("pulled"));
    }
    let id = ids[0].clone();
    assert!(ids.iter().all(|other| *other == id), "{ids:?}");
    let hex = id.strip_prefix("sha256:").expect("an id is a digest");
    let image = status(&mut stage.client, &id).await.expect("it is there");
    let mut sorted = tags.clone();
    sorted.sort();
    assert_eq!((&image.id, &image.repo_tags), (&id, &sorted));
    assert!(image.repo_digests.contains(&by_digest), "{:?}", image.repo_digests);
    // By whichever name, or the beginning of its id, it is the same; and a list has it once.
    for name in tags.iter().map(String::as_str).chain([&*by_digest, &id, hex, &hex[..12]]) {
        assert_eq!(status(&mut stage.client, name).await.as_ref(), Some(&image), "{name}");
        assert_eq!(list(&mut stage.client, name).await, std::slice::from_ref(&image), "{name}");
    }
    let all = list(&mut stage.client, "").await;
    assert_eq!(all.iter().filter(|other| other.id == id).count(), 1);
    for absent in ["no/such:1", "feedfeedfeed", &id.replace(|digit: char| digit.is_ascii_digit(), "a")] {
        assert_eq!(status(&mut stage.client, absent).await, None, "{absent}");
        assert_eq!(list(&mut stage.client, absent).await, [], "{absent}");
    }
    // What a container runs is called the same: kubelet would collect the image otherwise.
    let mut config = stage.script("c", "exec sleep 1000");
    config.image =
        Some(ImageSpec { image: id.clone(), user_specified_image: tags[1].clone(), ..Default::default() });
    let container = stage.start(&config).await;
    let row = stage.client.containers().await.expect("a list").remove(0);
    let told = stage.client.status(&container).await.expect("its status");
    assert_eq!((&row.image_id, &row.image_ref, &told.image_id), (&id, &id, &id));
    assert!(image.repo_digests.contains(&told.image_ref), "{}", told.image_ref);
    for told in [row.image, told.image] {
        assert_eq!(told.expect("an image").image, tags[1], "as the user wrote it");
    }
    stage.end().await;
}

#[tokio::test]
async fn to_remove_one_name_is_to_remove_the_image() {
    let daemon = Daemon::start("image-removal").await;
    let mut client = daemon.client().await;
    let (tags, by_digest) = push("removal");
    let layers = daemon.root().join("images/layers");
    for way in 0..6 {
        let mut id = String::new();
        for tag in &tags {
            id = client.pull(tag).await.expect("pulled");
        }
        let name = match way {
            0..3 => tags[way].clone(),
            3 => by_digest.clone(),
            4 => id.clone(),
            _ => id["sha256:".len()..][..12].to_owned(),
        };
        client.remove_image(&name).await.expect("removed");
        for gone in tags.iter().chain([&by_digest, &id]) {
            assert_eq!(status(&mut client, gone).await, None, "{name}: {gone}");
            client.remove_image(gone).await.expect("removed again");
        }
        assert_eq!(list(&mut client, "").await, [], "{name}");
        assert_eq!(std::fs::read_dir(&layers).expect("layers").count(), 0, "{name}");
    }
    let error = client.images.remove_image(RemoveImageRequest::default()).await.expect_err("no name");
    assert_eq!(error.code(), Code::InvalidArgument);
    drop(client);
    daemon.end().await;
}

#[tokio::test]
async fn of_many_who_remove_one_image_each_finds_it_gone() {
    let daemon = Daemon::start("image-crowd").await;
    let (tags, _) = push("crowd");
    for _ in 0..5 {
        let mut client = daemon.client().await;
        let id = client.pull(&tags[0]).await.expect("pulled");
        let mut crowd = Vec::new();
        for name in [&id, &tags[0], &id, &tags[0], &id] {
            let (mut client, name, id) = (daemon.client().await, name.clone(), id.clone());
            crowd.push(tokio::spawn(async move {
                client.remove_image(&name).await.expect("removed");
                assert_eq!(status(&mut client, &id).await, None);
            }));
        }
        for one in crowd {
            one.await.expect("it was gone");
        }
    }
    daemon.end().await;
}

#[tokio::test]
async fn a_container_goes_on_without_the_name_of_its_image() {
    let mut stage = Stage::new("image-used").await;
    let (tags, _) = push("used");
    let id = stage.client.pull(&tags[0]).await.expect("pulled");
    let layers = stage.daemon.root().join("images/layers");
    let count = || std::fs::read_dir(&layers).expect("layers").count();
    let container = {
        let mut config = stage.script("c", "exec sleep 1000");
        config.image = Some(spec(&id));
        stage.start(&config).await
    };
    // The stage's own image shares its only layer: both have to go.
    let other = stage.image.clone();
    for name in [&tags[0], &other] {
        stage.client.remove_image(name).await.expect("removed");
        assert_eq!(status(&mut stage.client, name).await, None);
    }
    assert_eq!(count(), 1, "the layer is in use");
    let told = stage.client.status(&container).await.expect("its status");
    assert_eq!(told.image_id, id, "it goes on being called what it was");
    assert_eq!(stage.client.sh(&container, "cat /etc/hostname >/dev/null; echo on").await, "on\n");
    // Pulled again it is the same image, and is listed again.
    assert_eq!(stage.client.pull(&tags[0]).await.expect("pulled"), id);
    assert_eq!(list(&mut stage.client, "").await.len(), 1);
    stage.client.remove_image(&id).await.expect("removed");
    stage.client.remove(&container).await.expect("removed");
    eventually("the layer goes with the last who needs it", async || count() == 0).await;
    stage.end().await;
}
