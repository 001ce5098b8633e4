//! Mounts, devices, namespaces.

use std::path::Path;
use std::process::Command;

use orlop_proto::runtime::v1::{
    Device, Mount, MountPropagation, NamespaceMode, NamespaceOption, StatusRequest,
};
use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::{Stage, security};
use rustix::mount::{MountPropagationFlags, mount_change};
use tonic::Code;

use crate::Handler;

fn mount(host: &Path, inside: &str) -> Mount {
    Mount {
        host_path: host.to_str().expect("a plain path").into(),
        container_path: inside.into(),
        ..Default::default()
    }
}

/// A tmpfs on the node, with peers or without.
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

pub(crate) async fn mounts(stage: &mut Stage, _: Handler) {
    let before = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo").lines().count();
    let file = stage.daemon.place().put("volume/file", "of the node\n");
    let volume = stage.daemon.place().join("volume");
    let mut read_only = mount(&volume, "/ro");
    read_only.readonly = true;
    let mut config = stage.script("c", "exec sleep 1000");
    config.mounts = vec![mount(&volume, "/deep/in/rw"), read_only, mount(&file, "/etc/a-file")];
    let id = stage.start(&config).await;
    for path in ["/deep/in/rw/file", "/ro/file", "/etc/a-file"] {
        assert_eq!(stage.client.sh(&id, &format!("cat {path}")).await, "of the node\n", "{path}");
    }
    stage.client.sh(&id, "echo written > /deep/in/rw/new").await;
    assert_eq!(std::fs::read_to_string(volume.join("new")).expect("a file"), "written\n");
    let refused = stage.client.sh(&id, "touch /ro/x 2>&1 || true").await;
    assert!(refused.contains("Read-only file system"), "{refused}");
    let after = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let ours = stage.daemon.state().join("containers");
    assert!(!after.contains(ours.to_str().expect("a plain path")), "{before} mounts before: {after}");
}

pub(crate) async fn missing_source(stage: &mut Stage, _: Handler) {
    let missing = stage.daemon.place().join("missing/below");
    let mut config = stage.script("c", "ls -A /volume");
    config.mounts = vec![mount(&missing, "/volume")];
    assert_eq!(stage.to_end(&config).await.0.exit_code, 0);
    assert!(missing.is_dir());
    let file = stage.daemon.place().put("in-the-way", "");
    let mut config = stage.script("not", "true");
    config.mounts = vec![mount(&file.join("below"), "/volume")];
    let id = stage.create(&config).await.expect("created");
    let error = stage.client.start(&id).await.expect_err("there is nothing to mount");
    assert!(error.message().contains("in-the-way/below"), "{error}");
}

pub(crate) async fn recursive(stage: &mut Stage, handler: Handler) {
    let status = stage.client.runtime.status(StatusRequest::default()).await.expect("a status").into_inner();
    let own =
        status.runtime_handlers.iter().find(|one| one.name == handler.name()).and_then(|one| one.features);
    let can = own.expect("its features").recursive_read_only_mounts;
    let volume = stage.daemon.place().join("recursive");
    tmpfs(&volume);
    tmpfs(&volume.join("below"));
    let mut all = mount(&volume, "/all");
    (all.readonly, all.recursive_read_only) = (true, true);
    let mut one = mount(&volume, "/one");
    one.readonly = true;
    let mut config = stage.script("c", "exec sleep 1000");
    config.mounts = vec![all, one];
    if !can {
        // It says itself that it cannot: an old one.
        assert_eq!(stage.create(&config).await.expect_err("it cannot").code(), Code::InvalidArgument);
        unmount(&volume.join("below"));
        return unmount(&volume);
    }
    let id = stage.start(&config).await;
    let script = "for p in /all/x /all/below/x /one/x /one/below/x; do touch $p 2> /dev/null && echo yes || echo no; done";
    assert_eq!(stage.client.sh(&id, script).await, "no\nno\nno\nyes\n");
    stage.client.stop(&id, 0).await.expect("stopped");
    stage.client.remove(&id).await.expect("removed");
    unmount(&volume.join("below"));
    unmount(&volume);
}

pub(crate) async fn to_container(stage: &mut Stage, _: Handler) {
    let volume = stage.daemon.place().join("slave");
    tmpfs(&volume);
    let mut config = stage.script("c", "exec sleep 1000");
    let mut mounted = mount(&volume, "/v");
    mounted.set_propagation(MountPropagation::PropagationHostToContainer);
    let mut private = mount(&volume, "/p");
    private.set_propagation(MountPropagation::PropagationPrivate);
    config.mounts = vec![mounted, private];
    let id = stage.start(&config).await;
    std::fs::create_dir(volume.join("late")).expect("a directory");
    tmpfs(&volume.join("late"));
    std::fs::write(volume.join("late/file"), "late\n").expect("written");
    assert_eq!(stage.client.sh(&id, "cat /v/late/file; ls -A /p/late").await, "late\n");
    stage.client.stop(&id, 0).await.expect("stopped");
    stage.client.remove(&id).await.expect("removed");
    unmount(&volume.join("late"));
    unmount(&volume);
}

pub(crate) async fn to_node(stage: &mut Stage, _: Handler) {
    let volume = stage.daemon.place().join("shared");
    tmpfs(&volume);
    std::fs::create_dir(volume.join("made")).expect("a directory");
    let mut config = stage.script("c", "mount -t tmpfs none /v/made && echo mounted; exec sleep 1000");
    let mut mounted = mount(&volume, "/v");
    mounted.set_propagation(MountPropagation::PropagationBidirectional);
    config.mounts = vec![mounted];
    security(&mut config).privileged = true;
    let id = stage.start(&config).await;
    eventually("the node sees it", async || is_mounted(&volume.join("made"))).await;
    stage.client.stop(&id, 0).await.expect("stopped");
    stage.client.remove(&id).await.expect("removed");
    unmount(&volume.join("made"));
    unmount(&volume);
}

pub(crate) async fn devices(stage: &mut Stage, _: Handler) {
    // A device that no driver of this machine need have: what may not be opened is refused before that is seen.
    let node = stage.daemon.place().join("node");
    let made = Command::new("mknod").arg(&node).args(["c", "10", "229"]).status();
    assert!(made.is_ok_and(|status| status.success()), "{}", node.display());
    let mut config = stage.script("c", "exec sleep 1000");
    for (inside, host, permissions) in
        [("/dev/deep/nothing", Path::new("/dev/null"), "rw"), ("/dev/to-read", &node, "r")]
    {
        config.devices.push(Device {
            container_path: inside.into(),
            host_path: host.display().to_string(),
            permissions: permissions.into(),
        });
    }
    let id = stage.start(&config).await;
    let script = "echo x > /dev/deep/nothing && head -c 4 /dev/zero | wc -c; (: < /dev/to-read) 2>&1; true";
    let said = stage.client.sh(&id, script).await;
    assert!(said.starts_with("4\n") && !said.contains("not permitted"), "{said}");
    let script = "(: > /dev/to-read) 2>&1; mknod /tmp/mem c 1 1 && head -c 1 /tmp/mem 2>&1; true";
    let said = stage.client.sh(&id, script).await;
    assert_eq!(said.matches("Operation not permitted").count(), 2, "{said}");
}

pub(crate) async fn sysctls(stage: &mut Stage, _: Handler) {
    let id = stage.run("c", "exec sleep 1000").await;
    let script = "cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/kernel/shm_rmid_forced";
    assert_eq!(stage.client.sh(&id, script).await, "20000\t20100\n1\n");
}

pub(crate) async fn pod_files(stage: &mut Stage, _: Handler) {
    let id = stage.run("c", "exec sleep 1000").await;
    let name = stage.pod.hostname.clone();
    let said = stage
        .client
        .sh(&id, "hostname; cat /etc/hostname; grep -c . /etc/resolv.conf > /dev/null; cat /etc/hosts")
        .await;
    assert!(said.starts_with(&format!("{name}\n{name}\n")), "{said}");
    let ip = stage.client.pod_status(&stage.pod_id).await.expect("a status").network.expect("a network").ip;
    assert!(said.contains(&ip), "{ip} in {said}");
    assert!(stage.client.sh(&id, "ip addr show eth0").await.contains(&ip));
}

pub(crate) async fn shared_memory(stage: &mut Stage, _: Handler) {
    let one = stage.run("one", "echo shared > /dev/shm/file; exec sleep 1000").await;
    let two = stage.run("two", "exec sleep 1000").await;
    eventually("the other sees it", async || {
        stage.client.sh(&two, "cat /dev/shm/file 2> /dev/null || true").await == "shared\n"
    })
    .await;
    let script = "for kind in net ipc uts; do readlink /proc/self/ns/$kind; done";
    assert_eq!(stage.client.sh(&one, script).await, stage.client.sh(&two, script).await);
    for kind in ["pid", "mnt"] {
        let script = format!("readlink /proc/self/ns/{kind}");
        assert_ne!(stage.client.sh(&one, &script).await, stage.client.sh(&two, &script).await);
    }
}

pub(crate) async fn host_network(stage: &mut Stage, _: Handler) {
    let id = stage.run("c", "exec sleep 1000").await;
    let own = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
    assert_eq!(Some(stage.client.sh(&id, "readlink /proc/self/ns/net").await.trim()), own.to_str());
}

pub(crate) async fn shared_pid(stage: &mut Stage, _: Handler) {
    let one = stage.run("one", "exec sleep 1001").await;
    let two = stage.run("two", "exec sleep 1002").await;
    let seen = stage.client.sh(&one, "ps -o pid,args").await;
    assert!(seen.contains("sleep 1001") && seen.contains("sleep 1002"), "{seen}");
    stage
        .client
        .sh(&one, "kill -9 $(ps -o pid,args | awk '$2 == \"sleep\" && $3 == 1002 { print $1 }')")
        .await;
    assert_eq!(stage.client.ended(&two).await.exit_code, 137);
    // Who is left behind ends with its container.
    stage.client.sh(&one, "sh -c 'setsid sleep 2000 &'").await;
    stage.client.stop(&one, 0).await.expect("stopped");
    let three = stage.run("three", "exec sleep 1003").await;
    let seen = stage.client.sh(&three, "ps -o stat,args").await;
    assert!(!seen.contains("sleep 2000") && !seen.contains("sleep 1001"), "{seen}");
}

pub(crate) async fn target_pid(stage: &mut Stage, _: Handler) {
    let target = stage.run("target", "exec sleep 1001").await;
    let mut config = stage.script("debug", "ps -o args; exec sleep 1002");
    security(&mut config).namespace_options = Some(NamespaceOption {
        pid: NamespaceMode::Target.into(),
        target_id: target.clone(),
        ..NamespaceOption::default()
    });
    let id = stage.start(&config).await;
    let seen = stage.client.sh(&id, "ps -o pid,args").await;
    assert!(seen.lines().any(|line| line.trim() == "1 sleep 1001"), "{seen}");
    stage.client.stop(&id, 0).await.expect("stopped");
    assert!(!stage.client.sh(&target, "ps -o args").await.contains("sleep 1002"));
}
