//! Configurations come, change and go, in each way of writing a file.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::scene::Scene;

/// A list of a network of this name.
fn list(network: &str) -> Value {
    json!({ "cniVersion": "1.0.0", "name": network, "plugins": [{ "type": "fake" }] })
}

/// Without a directory, with an empty one, with none but broken files: not ready, and the message says so.
#[tokio::test]
async fn what_is_missing_is_said() {
    let mut scene = Scene::empty("cni-missing").await;
    let directory = scene.daemon.net_d();
    let named = directory.display().to_string();
    scene.until("no directory", |is| !is.status && is.message.contains(&named)).await;
    assert_eq!(scene.condition().await.reason, "NetworkPluginNotReady");
    fs::create_dir(&directory).expect("a directory");
    scene.until("empty", |is| is.message == format!("no CNI configuration in {named}")).await;
    fs::write(directory.join("1.conflist"), "{\"name\": \"n\"").expect("a file");
    scene.until("broken", |is| is.message.contains("1.conflist: EOF while parsing")).await;
    // A plugin that is not there, or does not know the version.
    scene
        .put("1.conflist", &json!({ "cniVersion": "1.0.0", "name": "n", "plugins": [{ "type": "absent" }] }));
    scene
        .until("plugin", |is| !is.status && is.message.contains("1.conflist: its plugin absent is not in"))
        .await;
    scene.put(
        "1.conflist",
        &json!({ "cniVersion": "1.1.0", "name": "n", "plugins": [{ "type": "host-local" }] }),
    );
    scene
        .until("version", |is| {
            !is.status && is.message.contains("its cniVersion is 1.1.0, and its plugin host-local")
        })
        .await;
    assert!(scene.condition().await.message.contains("1.0.0"), "what it knows");
    scene.put("1.conflist", &list("n"));
    scene.ready().await;
    scene.run("pod").await.expect("a pod");
    fs::remove_dir_all(&directory).expect("removed");
    scene.until("gone", |is| !is.status).await;
    scene.end().await;
}

#[tokio::test]
async fn each_way_of_writing_is_seen() {
    let mut scene = Scene::empty("cni-ways").await;
    let directory = scene.daemon.net_d();
    scene.until("no directory", |is| !is.status).await;
    // The directory is made later, and the file with it.
    fs::create_dir(&directory).expect("a directory");
    fs::write(directory.join("10-a.conflist"), list("made").to_string()).expect("a file");
    scene.in_force("10-a.conflist", "made").await;
    // Renamed into place.
    scene.put("10-a.conflist", &list("renamed"));
    scene.in_force("10-a.conflist", "renamed").await;
    // Written in place, in two halves: what was there before is in force until it is whole.
    let text = list("halves").to_string();
    let mut file = fs::File::create(directory.join("10-a.conflist")).expect("a file");
    file.write_all(&text.as_bytes()[..20]).expect("written");
    file.sync_all().expect("written");
    drop(file);
    scene
        .until("kept", |is| is.status && is.message.contains("last good configuration of 10-a.conflist"))
        .await;
    let mut file = fs::File::options().append(true).open(directory.join("10-a.conflist")).expect("a file");
    file.write_all(&text.as_bytes()[20..]).expect("written");
    drop(file);
    scene.in_force("10-a.conflist", "halves").await;
    assert_eq!(scene.condition().await.message, "");
    // The first by name wins; a plugin by itself is a list of one.
    fs::write(
        directory.join("05-b.conf"),
        json!({"cniVersion":"0.4.0","name":"first","type":"fake"}).to_string(),
    )
    .expect("a file");
    scene.in_force("05-b.conf", "first").await;
    fs::remove_file(directory.join("05-b.conf")).expect("removed");
    scene.in_force("10-a.conflist", "halves").await;
    // A symbolic link that is exchanged, as volumes of Kubernetes do it.
    for (version, network) in [("v1", "linked1"), ("v2", "linked2")] {
        fs::create_dir(directory.join(version)).expect("a directory");
        fs::write(directory.join(version).join("net.json"), list(network).to_string()).expect("a file");
        let _ = fs::remove_file(directory.join("..new"));
        symlink(version, directory.join("..new")).expect("a link");
        fs::rename(directory.join("..new"), directory.join("..data")).expect("exchanged");
        if version == "v1" {
            symlink("..data/net.json", directory.join("01-net.json")).expect("a link");
        }
        scene.in_force("01-net.json", network).await;
    }
    // The whole directory is exchanged.
    let other = scene.daemon.place().join("other.d");
    fs::create_dir(&other).expect("a directory");
    fs::write(other.join("10-a.conflist"), list("exchanged").to_string()).expect("a file");
    fs::rename(&directory, scene.daemon.place().join("old.d")).expect("moved");
    symlink(&other, &directory).expect("a link");
    scene.in_force("10-a.conflist", "exchanged").await;
    // What the link leads to is seen, too.
    fs::write(other.join("10-a.conflist"), list("behind").to_string()).expect("a file");
    scene.in_force("10-a.conflist", "behind").await;
    scene.end().await;
}

/// A broken file takes the network of a node away neither when it is new nor when it is old.
#[tokio::test]
async fn a_broken_file_leaves_what_was_good_in_force() {
    let mut scene = Scene::empty("cni-broken").await;
    scene.put("10-a.conflist", &list("good"));
    scene.ready().await;
    let directory = scene.daemon.net_d();
    fs::write(directory.join("00-new.conflist"), "{").expect("a file");
    scene.until("said", |is| is.status && is.message.contains("00-new.conflist: EOF")).await;
    scene.run("a").await.expect("a pod");
    fs::write(directory.join("10-a.conflist"), "{}").expect("a file");
    scene.put("20-b.conflist", &list("second"));
    scene.until("kept", |is| is.status && is.message.contains("10-a.conflist: it has no name")).await;
    scene.run("b").await.expect("a pod");
    assert!(scene.told(&["ADD"]).iter().all(|told| told.config["name"] == "good"));
    // It is not there any more: the next one.
    fs::remove_file(directory.join("10-a.conflist")).expect("removed");
    scene.in_force("20-b.conflist", "second").await;
    scene.run("c").await.expect("a pod");
    assert_eq!(scene.told(&["ADD"])[2].config["name"], "second");
    fs::remove_file(directory.join("20-b.conflist")).expect("removed");
    scene.until("nothing left", |is| !is.status && is.message.contains("00-new.conflist: EOF")).await;
    // Pods go as they came.
    scene.end().await;
}
