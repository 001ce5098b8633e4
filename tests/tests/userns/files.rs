//! Layers, volumes, images and the pod's own files: whose they are inside, and whose on the node's disks.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use orlop_proto::runtime::v1::{ImageSpec, Mount};
use orlop_tests::daemon::stage::Stage;
use orlop_tests::daemon::stock;
use orlop_tests::image::{Flavour, Image};
use orlop_tests::layer::{Packing, Tree};
use tonic::Code;

use super::{GID, UID, map, pid, script_of, stage, volume};

/// Owner and group.
fn owner(path: impl AsRef<Path>) -> (u32, u32) {
    let path = path.as_ref();
    let metadata =
        std::fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (metadata.uid(), metadata.gid())
}

fn upper(stage: &Stage, id: &str) -> PathBuf {
    stage.daemon.root().join("containers").join(id).join("upper")
}

/// The options of a mount, as a process sees it.
fn mounted(pid: i64, point: &str) -> String {
    let table = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("it runs");
    let line = table.lines().rfind(|line| line.split(' ').nth(4) == Some(point));
    line.unwrap_or_else(|| panic!("nothing at {point}: {table}")).to_owned()
}

#[tokio::test]
async fn a_layer_is_seen_as_the_containers_and_never_changed() {
    let mut stage = stage("userns-layers").await;
    let id = stage.run("c", "exec sleep 1000").await;
    let layers: Vec<PathBuf> = std::fs::read_dir(stage.daemon.root().join("images/layers"))
        .or_else(|_| std::fs::read_dir(stage.daemon.root().join("layers")))
        .expect("layers")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    let before: Vec<_> = layers.iter().flat_map(|layer| tree(layer)).collect();
    assert!(before.iter().any(|(_, uid, _, _)| *uid == 0), "layers are the node's root's: {before:?}");
    // The image's files are root's; root of the container may change and remove all of them.
    let seen = stage
        .client
        .sh(&id, "stat -c '%u %g' / /bin /bin/busybox; echo mine > /bin/new; rm /bin/busybox || true")
        .await;
    assert_eq!(seen, "0 0\n0 0\n0 0\n");
    let own = upper(&stage, &id);
    assert_eq!(owner(&own), (UID, GID));
    assert_eq!(owner(own.join("bin/new")), (UID, GID), "its own files bear ids of the node");
    let after: Vec<_> = layers.iter().flat_map(|layer| tree(layer)).collect();
    assert_eq!(before, after, "no layer was touched");
    let root = mounted(pid(&mut stage, &id).await, "/");
    assert!(root.contains(" - overlay "), "{root}");
    stage.end().await;
}

/// All below a directory: path, owner, size, time of the last change.
fn tree(directory: &Path) -> Vec<(PathBuf, u32, u64, i64)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
        let metadata = std::fs::symlink_metadata(entry.path()).expect("it is there");
        all.push((entry.path(), metadata.uid(), metadata.size(), metadata.ctime_nsec()));
        if metadata.is_dir() {
            all.extend(tree(&entry.path()));
        }
    }
    all.sort();
    all
}

#[tokio::test]
async fn files_on_a_volume_have_the_ids_that_the_container_sees() {
    let mut stage = stage("userns-volume").await;
    let place = stage.daemon.place().join("volume");
    std::fs::create_dir(&place).expect("a directory");
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o777)).expect("everybody's");
    std::fs::write(place.join("given"), "of 42\n").expect("written");
    chown(place.join("given"), Some(42), Some(43)).expect("as root");
    std::fs::write(place.join("beyond"), "").expect("written");
    chown(place.join("beyond"), Some(UID), Some(GID)).expect("as root");
    let mut read_only = volume(&place, "/ro");
    read_only.readonly = true;
    let mut config = script_of(&stage, "user", 1000, "id > /data/made; exec sleep 1000");
    config.mounts = vec![volume(&place, "/data"), read_only];
    let user = stage.start(&config).await;
    let mut config = stage.script("root", "touch /data/roots; chown 7:8 /data/given; exec sleep 1000");
    config.mounts = vec![volume(&place, "/data")];
    let root = stage.start(&config).await;
    orlop_tests::daemon::eventually("both have written", async || {
        place.join("roots").exists() && owner(place.join("given")) == (7, 8) && place.join("made").exists()
    })
    .await;
    assert_eq!(owner(place.join("made")), (1000, 1000), "no shift on the disk");
    assert_eq!(owner(place.join("roots")), (0, 0));
    let seen =
        stage.client.sh(&user, "stat -c '%n %u %g' /data/made /data/roots /data/given /data/beyond").await;
    // One that bears an id of the node's that the map does not give is nobody's.
    assert_eq!(seen, "/data/made 1000 1000\n/data/roots 0 0\n/data/given 7 8\n/data/beyond 65534 65534\n");
    let refused = stage.client.exec(&user, &["touch", "/ro/x"], 10).await.expect("it ran");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Read-only"), "{refused:?}");
    let number = pid(&mut stage, &root).await;
    let seen = mounted(number, "/data");
    assert!(seen.split(' ').nth(5).is_some_and(|options| options.contains("idmapped")), "{seen}");
    stage.end().await;
}

#[tokio::test]
async fn a_volume_without_a_map_keeps_the_nodes_ids() {
    let mut stage = stage("userns-plain").await;
    let place = stage.daemon.place().join("volume");
    std::fs::create_dir(&place).expect("a directory");
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o777)).expect("everybody's");
    let mut config = stage.script("c", "stat -c '%u %g' /data; touch /data/x");
    config.mounts = vec![Mount { uid_mappings: vec![], gid_mappings: vec![], ..volume(&place, "/data") }];
    let (status, said) = stage.to_end(&config).await;
    assert_eq!((status.exit_code, said.as_str()), (0, "65534 65534\n"));
    assert_eq!(owner(place.join("x")), (UID, GID));
    stage.end().await;
}

/// A secret or a projected volume is a tmpfs; the node's kernel has mapped those since 6.3.
#[tokio::test]
async fn a_volume_in_memory_is_mapped_or_refused_by_its_name() {
    let mut stage = stage("userns-tmpfs").await;
    let place = stage.daemon.place().join("secret");
    std::fs::create_dir(&place).expect("a directory");
    let done =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m,mode=755", "test"]).arg(&place).status();
    assert!(done.is_ok_and(|status| status.success()));
    std::fs::write(place.join("token"), "secret\n").expect("written");
    std::fs::set_permissions(place.join("token"), std::fs::Permissions::from_mode(0o600)).expect("root's");
    let mut config = stage.script("c", "cat /secret/token; stat -c '%u' /secret/token");
    config.mounts = vec![volume(&place, "/secret")];
    let id = stage.create(&config).await.expect("created");
    match stage.client.start(&id).await {
        Ok(()) => {
            stage.client.ended(&id).await;
            let said = orlop_tests::daemon::stage::text(&stage.log("c"), "stdout");
            assert_eq!(said, "secret\n0\n");
        }
        Err(refused) => {
            assert!(!maps_tmpfs(), "{refused}");
            let words = format!("the filesystem tmpfs at {} cannot map owners", place.display());
            assert!(refused.message().contains(&words), "{refused}");
        }
    }
    unmount(&place);
    stage.end().await;
}

fn unmount(path: &Path) {
    let done = Command::new("umount").arg(path).status();
    assert!(done.is_ok_and(|status| status.success()), "{} is unmounted", path.display());
}

fn maps_tmpfs() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let mut numbers =
        release.split(|letter: char| !letter.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(3))
}

#[tokio::test]
async fn a_filesystem_that_cannot_map_is_refused_by_its_name_and_path() {
    let mut stage = stage("userns-cannot").await;
    // Itself, and below what is mapped.
    let place = stage.daemon.place().join("volume");
    std::fs::create_dir_all(place.join("below")).expect("a directory");
    let done = Command::new("mount").args(["-t", "proc", "proc"]).arg(place.join("below")).status();
    assert!(done.is_ok_and(|status| status.success()));
    for (number, (source, at)) in
        [(place.join("below"), place.join("below")), (place.clone(), place.join("below"))]
            .into_iter()
            .enumerate()
    {
        let mut config = stage.script(&format!("c{number}"), "true");
        config.mounts = vec![volume(&source, "/data")];
        let id = stage.create(&config).await.expect("created");
        let refused = stage.client.start(&id).await.expect_err("proc");
        let words = format!("the filesystem proc at {} cannot map owners", at.display());
        assert!(refused.message().contains(&words), "{refused}");
        assert!(refused.message().contains(source.to_str().expect("a plain path")), "{refused}");
        stage.client.remove(&id).await.expect("removed");
    }
    unmount(&place.join("below"));
    stage.end().await;
}

#[tokio::test]
async fn an_image_as_a_volume_is_seen_by_its_own_ids() {
    let mut stage = stage("userns-image").await;
    let tree = |name: &str| {
        Tree::new().directory("srv", 0o755).file(&format!("srv/{name}"), 0o600, "of the image\n")
    };
    let layers = vec![tree("one").pack(Packing::Gzip), tree("two").pack(Packing::Gzip)];
    stock::registry().push("volume", "userns", &Image::new(Flavour::Oci, layers));
    let name = format!("{}/volume:userns", stock::registry().address);
    stage.client.pull(&name).await.expect("pulled");
    let mut config = stage.script(
        "c",
        "cat /vol/srv/one /part/two; stat -c '%u %g' /vol/srv/one; touch /vol/srv/x; touch /part/x",
    );
    let image = |inside: &str, part: &str| Mount {
        container_path: inside.into(),
        readonly: true,
        image: Some(ImageSpec { image: name.clone(), ..Default::default() }),
        image_sub_path: part.into(),
        uid_mappings: map(UID),
        gid_mappings: map(GID),
        ..Default::default()
    };
    config.mounts = vec![image("/vol", ""), image("/part", "srv")];
    let (_, said) = stage.to_end(&config).await;
    assert_eq!(said, "of the image\nof the image\n0 0\n");
    let errors = orlop_tests::daemon::stage::text(&stage.log("c"), "stderr");
    assert_eq!(errors.matches("Read-only file system").count(), 2, "{errors}");
    stage.end().await;
}

#[tokio::test]
async fn the_pods_own_files_are_its_roots() {
    let mut stage = stage("userns-own").await;
    let one = stage.run("one", "exec sleep 1000").await;
    let two = stage.run("two", "exec sleep 1000").await;
    let owners = "stat -c '%n %u %g' /etc/hosts /etc/hostname /etc/resolv.conf /dev/shm /dev/mqueue /dev/pts /dev/pts/ptmx /proc/1/status";
    let said = stage.client.sh(&one, owners).await;
    assert!(said.lines().all(|line| line.ends_with(" 0 0")), "{said}");
    stage.client.sh(&one, "echo '1.2.3.4 elsewhere' >> /etc/hosts; echo shared > /dev/shm/x").await;
    assert_eq!(
        stage.client.sh(&two, "grep -c elsewhere /etc/hosts; cat /dev/shm/x; stat -c %u /dev/shm/x").await,
        "1\nshared\n0\n"
    );
    let shm = format!("/proc/{}/root/dev/shm/x", pid(&mut stage, &one).await);
    assert_eq!(owner(shm), (UID, GID));
    stage.end().await;
}

#[tokio::test]
async fn a_missing_volume_is_made_as_the_containers_own() {
    let mut stage = stage("userns-made").await;
    let place = stage.daemon.place().join("not/there");
    let mut config = stage.script("c", "stat -c '%u' /data; touch /data/x");
    config.mounts = vec![volume(&place, "/data")];
    let (status, said) = stage.to_end(&config).await;
    assert_eq!((status.exit_code, said.as_str()), (0, "0\n"));
    assert_eq!(owner(place.join("x")), (0, 0));
    let mut config = stage.script("file", "true");
    config.mounts = vec![volume(&place.join("x/under"), "/data")];
    let id = stage.create(&config).await.expect("created");
    let refused = stage.client.start(&id).await.expect_err("a file is in the way");
    assert_ne!(refused.code(), Code::Ok);
    assert!(refused.message().contains("not/there/x/under"), "{refused}");
    stage.end().await;
}
