//! What of the node a container sees.

use std::path::{Path, PathBuf};
use std::process::Command;

use orlop_proto::runtime::v1::{ContainerConfig, Mount, MountPropagation};
use orlop_tests::daemon::stage::{Stage, security};
use rustix::mount::{MountPropagationFlags, mount_change};
use tonic::Code;

fn mount(host: &Path, inside: &str) -> Mount {
    Mount {
        host_path: host.to_str().expect("a plain path").into(),
        container_path: inside.into(),
        ..Default::default()
    }
}

fn with(stage: &Stage, name: &str, mounts: Vec<Mount>) -> ContainerConfig {
    let mut config = stage.script(name, "exec sleep 1000");
    config.mounts = mounts;
    config
}

/// A tmpfs on the node, shared with whoever has a slave or a peer of it. The instance's forced end unmounts it, too.
fn tmpfs(path: &Path) {
    std::fs::create_dir_all(path).expect("a directory");
    let done = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "test"]).arg(path).status();
    assert!(done.is_ok_and(|status| status.success()), "{} is mounted", path.display());
    mount_change(path, MountPropagationFlags::SHARED).expect("a shared mount");
}

fn unmount(path: &Path) {
    let done = Command::new("umount").arg(path).status();
    assert!(done.is_ok_and(|status| status.success()), "{} is unmounted", path.display());
}

fn is_mounted(path: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    table.lines().any(|line| line.split(' ').nth(4) == path.to_str())
}

#[tokio::test]
async fn directories_and_files_of_the_node_are_seen_as_asked() {
    let mut stage = Stage::new("binds").await;
    let place = stage.daemon.place();
    let file = place.put("volume/file", "of the node\n");
    let volume = place.join("volume");
    let link = place.join("link");
    std::os::unix::fs::symlink("volume", &link).expect("a link");
    let mut read_only = mount(&volume, "/ro");
    read_only.readonly = true;
    let mounts = vec![
        mount(&volume, "/deep/in/rw"),
        read_only,
        mount(&file, "/etc/a-file"),
        mount(&link, "/linked"),
        mount(&file, "/etc/passwd"),
    ];
    let config = with(&stage, "c", mounts.clone());
    let id = stage.start(&config).await;
    assert_eq!(stage.client.status(&id).await.expect("its status").mounts, mounts);
    for path in ["/deep/in/rw/file", "/ro/file", "/etc/a-file", "/linked/file", "/etc/passwd"] {
        assert_eq!(stage.client.sh(&id, &format!("cat {path}")).await, "of the node\n", "{path}");
    }
    stage.client.sh(&id, "echo written > /deep/in/rw/new").await;
    assert_eq!(std::fs::read_to_string(volume.join("new")).expect("a file"), "written\n");
    let refused = stage.client.sh(&id, "touch /ro/x 2>&1 || true").await;
    assert!(refused.contains("Read-only file system"), "{refused}");
    assert!(!volume.join("x").exists());
    stage.end().await;
}

#[tokio::test]
async fn a_volume_that_is_not_there_is_made_and_one_that_cannot_be_is_a_start_that_failed() {
    let mut stage = Stage::new("no-volume").await;
    // Kubernetes' hostPath without a type counts on it.
    let missing = stage.daemon.place().join("missing/below");
    let config = with(&stage, "made", vec![mount(&missing, "/volume")]);
    let id = stage.start(&config).await;
    assert!(missing.is_dir());
    assert_eq!(stage.client.sh(&id, "ls -A /volume").await, "");
    let file = stage.daemon.place().put("file", "in the way");
    let config = with(&stage, "not", vec![mount(&file.join("below"), "/volume")]);
    let id = stage.create(&config).await.expect("created");
    let error = stage.client.start(&id).await.expect_err("there is nothing to mount");
    assert!(error.message().contains("file/below"), "{error}");
    assert_eq!(stage.client.ended(&id).await.reason, "StartError");
    stage.end().await;
}

#[tokio::test]
async fn targets_stay_within_the_container() {
    let mut stage = Stage::new("targets").await;
    let place = stage.daemon.place();
    place.put("volume/file", "inside\n");
    let outside = place.join("outside");
    std::fs::create_dir(&outside).expect("a directory");
    // A link in a volume leads out of it: in the container's own eyes it leads to the container's own place.
    let volume = place.join("volume");
    std::os::unix::fs::symlink(&outside, volume.join("leads-out")).expect("a link");
    let config = with(&stage, "c", vec![mount(&volume, "/v"), mount(&volume, "/v/leads-out")]);
    if let Ok(id) = stage.create(&config).await {
        // Mounted within, or refused.
        if stage.client.start(&id).await.is_ok() {
            let seen = stage.client.sh(&id, &format!("cat {}/file", outside.display())).await;
            assert_eq!(seen, "inside\n");
        }
    }
    assert!(!is_mounted(&outside), "nothing is mounted on the node");
    assert_eq!(std::fs::read_dir(&outside).expect("a directory").count(), 0);
    stage.end().await;
}

async fn propagation(mode: MountPropagation) -> (Stage, String, PathBuf) {
    let mut stage = Stage::new(&format!("propagation-{}", mode as i32)).await;
    let volume = stage.daemon.place().join("volume");
    tmpfs(&volume);
    tmpfs(&volume.join("before"));
    std::fs::write(volume.join("before/file"), "before\n").expect("a file");
    let mut asked = mount(&volume, "/volume");
    asked.propagation = mode.into();
    let mut config = with(&stage, "c", vec![asked]);
    security(&mut config).privileged = true;
    let pod = stage.pod.linux.get_or_insert_default();
    pod.security_context.get_or_insert_default().privileged = true;
    let privileged = stage.pod.clone();
    let other = stage.pod_id.clone();
    stage.client.remove_pod(&other).await.expect("removed");
    stage.pod_id = stage.client.run_pod(&privileged).await.expect("a pod");
    let id = stage.start(&config).await;
    // Bound with all that is mounted below.
    assert_eq!(stage.client.sh(&id, "cat /volume/before/file").await, "before\n");
    (stage, id, volume)
}

async fn finish(stage: Stage, volume: &Path) {
    for name in ["later", "inside", "before", "below"] {
        let path = volume.join(name);
        if is_mounted(&path) {
            unmount(&path);
        }
    }
    unmount(volume);
    stage.end().await;
}

#[tokio::test]
async fn a_private_volume_sees_no_later_mount() {
    let (mut stage, id, volume) = Box::pin(propagation(MountPropagation::PropagationPrivate)).await;
    tmpfs(&volume.join("later"));
    std::fs::write(volume.join("later/file"), "later\n").expect("a file");
    assert_eq!(stage.client.sh(&id, "ls /volume/later").await, "");
    stage.client.sh(&id, "mkdir /volume/inside && mount -t tmpfs none /volume/inside").await;
    assert!(!is_mounted(&volume.join("inside")));
    // And holds no mount of the node.
    unmount(&volume.join("later"));
    finish(stage, &volume).await;
}

#[tokio::test]
async fn a_slave_sees_what_is_mounted_and_unmounted_on_the_node() {
    let (mut stage, id, volume) = Box::pin(propagation(MountPropagation::PropagationHostToContainer)).await;
    tmpfs(&volume.join("later"));
    std::fs::write(volume.join("later/file"), "later\n").expect("a file");
    assert_eq!(stage.client.sh(&id, "cat /volume/later/file").await, "later\n");
    unmount(&volume.join("later"));
    assert_eq!(stage.client.sh(&id, "ls /volume/later").await, "");
    stage.client.sh(&id, "mkdir /volume/inside && mount -t tmpfs none /volume/inside").await;
    assert!(!is_mounted(&volume.join("inside")), "its own mounts stay its own");
    finish(stage, &volume).await;
}

#[tokio::test]
async fn a_peer_s_mounts_are_the_node_s_too() {
    let (mut stage, id, volume) = Box::pin(propagation(MountPropagation::PropagationBidirectional)).await;
    tmpfs(&volume.join("later"));
    assert!(stage.client.sh(&id, "grep ' /volume/later ' /proc/mounts").await.contains("tmpfs"));
    stage
        .client
        .sh(&id, "mkdir /volume/inside && mount -t tmpfs none /volume/inside && touch /volume/inside/x")
        .await;
    assert!(is_mounted(&volume.join("inside")) && volume.join("inside/x").exists());
    stage.client.remove(&id).await.expect("removed");
    assert!(is_mounted(&volume.join("inside")), "what it mounted on the node outlives it");
    finish(stage, &volume).await;
}

#[tokio::test]
async fn read_only_is_of_one_mount_or_of_all_below_it() {
    let mut stage = Stage::new("recursive").await;
    let volume = stage.daemon.place().join("volume");
    tmpfs(&volume);
    tmpfs(&volume.join("below"));
    let mut flat = mount(&volume, "/flat");
    flat.readonly = true;
    let mut deep = mount(&volume, "/deep");
    (deep.readonly, deep.recursive_read_only) = (true, true);
    let config = with(&stage, "c", vec![flat, deep.clone()]);
    let id = stage.start(&config).await;
    let script = "for path in /flat /flat/below /deep /deep/below; do touch $path/x 2>/dev/null && echo $path; done; true";
    assert_eq!(stage.client.sh(&id, script).await, "/flat/below\n");
    // What cannot be is refused: a writable mount, or one that others may change.
    for (readonly, propagation) in
        [(false, MountPropagation::PropagationPrivate), (true, MountPropagation::PropagationHostToContainer)]
    {
        let mut asked = deep.clone();
        (asked.readonly, asked.propagation) = (readonly, propagation.into());
        let config = with(&stage, "refused", vec![asked]);
        assert_eq!(stage.create(&config).await.expect_err("refused").code(), Code::InvalidArgument);
    }
    stage.client.remove(&id).await.expect("removed");
    finish(stage, &volume).await;
}

#[tokio::test]
async fn a_read_only_root_has_writable_places_for_what_needs_them() {
    let mut stage = Stage::new("read-only").await;
    let volume = stage.daemon.place().join("volume");
    std::fs::create_dir(&volume).expect("a directory");
    let mut config = with(&stage, "c", vec![mount(&volume, "/volume")]);
    security(&mut config).readonly_rootfs = true;
    let id = stage.start(&config).await;
    let script = "for path in / /etc /tmp /bin; do touch $path/x 2>/dev/null && echo $path; done; \
                  touch /volume/x /dev/shm/x && echo written";
    assert_eq!(stage.client.sh(&id, script).await, "written\n");
    stage.end().await;
}

#[tokio::test]
async fn the_mounts_that_every_container_has_are_there_and_no_other() {
    let mut stage = Stage::new("default-mounts").await;
    let id = stage.run("c", "exec sleep 1000").await;
    let seen = stage.client.sh(&id, "awk '{ print $2, $3 }' /proc/mounts | grep -v cgroup | sort").await;
    let expected = [
        "/ overlay",
        "/dev tmpfs",
        "/dev/mqueue mqueue",
        "/dev/pts devpts",
        "/dev/shm tmpfs",
        "/proc proc",
        "/sys sysfs",
    ];
    let places: Vec<&str> = seen.lines().filter(|line| !line.starts_with("/etc/")).collect();
    assert_eq!(places, expected, "{seen}");
    let files: Vec<&str> = seen
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|path| path.starts_with("/etc/"))
        .collect();
    assert_eq!(files, ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"]);
    let nodes = stage.client.sh(&id, "ls /dev").await;
    let nodes: Vec<&str> = nodes.split_whitespace().collect();
    let known = [
        "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
        "tty", "urandom", "zero",
    ];
    assert_eq!(nodes, known);
    assert_eq!(stage.client.sh(&id, "echo x > /sys/kernel/x 2>/dev/null || echo refused").await, "refused\n");
    stage.end().await;
}
