//! What privileged lifts, and which devices there are.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use orlop_proto::runtime::v1::security_profile::ProfileType;
use orlop_proto::runtime::v1::{ContainerConfig, Device, SecurityProfile};
use orlop_tests::daemon::stage::{Stage, security};

use crate::outside::Outside;

/// A pod whose containers may be privileged, and one of each kind in it: privileged, and not.
async fn both(name: &str, change: impl Fn(&mut ContainerConfig)) -> (Stage, Outside, Outside) {
    let mut stage = Stage::with(name, |pod| {
        pod.linux.get_or_insert_default().security_context.get_or_insert_default().privileged = true;
    })
    .await;
    let mut ids = Vec::new();
    for (name, privileged) in [("privileged", true), ("plain", false)] {
        let mut config = stage.script(name, "exec sleep 1000");
        change(&mut config);
        security(&mut config).privileged = privileged;
        ids.push(stage.start(&config).await);
    }
    let (privileged, plain) =
        (Outside::of(&mut stage, &ids[0]).await, Outside::of(&mut stage, &ids[1]).await);
    (stage, privileged, plain)
}

#[tokio::test]
async fn privileged_lifts_everything_that_confines() {
    let (stage, privileged, plain) = Box::pin(both("sec-privileged", |config| {
        let security = security(config);
        security.masked_paths = vec!["/proc/keys".into()];
        security.readonly_paths = vec!["/proc/sys".into()];
        let default =
            SecurityProfile { profile_type: ProfileType::RuntimeDefault.into(), ..Default::default() };
        security.seccomp = Some(default.clone());
        security.apparmor = Some(default);
        security.no_new_privs = true;
    }))
    .await;
    let own = Outside { pid: stage.daemon.pid().into() }.capabilities()[3];
    assert_eq!(privileged.capabilities()[1..4], [own; 3]);
    assert_ne!(plain.capabilities()[3], own);
    assert_eq!((privileged.status("Seccomp"), plain.status("Seccomp")), ("0".into(), "2".into()));
    assert_eq!((privileged.status("NoNewPrivs"), plain.status("NoNewPrivs")), ("0".into(), "1".into()));
    for path in ["/proc/keys", "/proc/sys"] {
        assert!(privileged.mount(path).is_none(), "{path}");
        assert!(plain.mount(path).is_some(), "{path}");
    }
    let word = |process: &Outside, point: &str| {
        let mounted = process.mount(point).unwrap_or_else(|| panic!("{point} is mounted"));
        if mounted.has("rw") { "rw" } else { "ro" }
    };
    for point in ["/proc", "/sys"] {
        assert_eq!(word(&privileged, point), "rw", "{point}");
    }
    assert_eq!(word(&plain, "/sys"), "ro");
    let cgroups = |process: &Outside| {
        let mounts = process.mounts();
        let below: Vec<_> =
            mounts.iter().filter(|one| one.point.starts_with("/sys/fs/cgroup")).cloned().collect();
        assert!(!below.is_empty());
        below
    };
    assert!(cgroups(&privileged).iter().all(|one| one.has("rw")), "{:?}", cgroups(&privileged));
    assert!(cgroups(&plain).iter().all(|one| one.has("ro")), "{:?}", cgroups(&plain));
    let profile = |process: &Outside| {
        std::fs::read_to_string(format!("/proc/{}/attr/apparmor/current", process.pid)).unwrap_or_default()
    };
    assert!(!profile(&privileged).contains("orlop"), "{}", profile(&privileged));
    stage.end().await;
}

/// Character and block devices of a directory, in it and below it: path, number.
fn devices(directory: &std::path::Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(place) = open.pop() {
        for entry in std::fs::read_dir(&place).into_iter().flatten().filter_map(Result::ok) {
            let Ok(data) = entry.path().symlink_metadata() else { continue };
            if data.is_dir() {
                open.push(entry.path());
            } else if data.file_type().is_char_device() || data.file_type().is_block_device() {
                let path = entry.path();
                let inside = path.strip_prefix(directory).expect("below it").display().to_string();
                found.push((inside, data.rdev()));
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_privileged_container_has_every_device_of_the_node_and_others_the_usual_ones() {
    let (stage, privileged, plain) = Box::pin(both("sec-devices", |_| {})).await;
    let node = devices(std::path::Path::new("/dev"));
    let there = devices(&privileged.within("/dev"));
    // Terminals, and what is mounted there, are each one's own.
    let own = |name: &str| {
        ["pts/", "shm/", "mqueue/", "console", "ptmx", "tty"].iter().any(|own| name.starts_with(own))
    };
    for device in node.iter().filter(|(name, _)| !own(name)) {
        assert!(there.contains(device), "{device:?} in {there:?}");
    }
    let names: Vec<String> = devices(&plain.within("/dev"))
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| !name.starts_with("pts/"))
        .collect();
    assert_eq!(names, ["full", "null", "random", "tty", "urandom", "zero"]);
    // All may be used, of whatever number: in version 1 the rule can be read.
    let rules = |process: &Outside| {
        let table = process.read("cgroup");
        let path =
            table.lines().find_map(|line| line.split_once(":devices:").map(|(_, path)| path.to_owned()));
        path.and_then(|path| {
            std::fs::read_to_string(format!("/sys/fs/cgroup/devices{path}/devices.list")).ok()
        })
    };
    if let (Some(all), Some(some)) = (rules(&privileged), rules(&plain)) {
        assert_eq!(all.trim(), "a *:* rwm");
        assert!(!some.contains("a *:*") && some.contains("c 1:3 rwm"), "{some}");
    }
    stage.end().await;
}

#[tokio::test]
async fn a_granted_device_is_a_node_with_the_node_s_number_mode_and_owner() {
    let mut stage = Stage::new("sec-device").await;
    let mut config = stage.script("c", "exec sleep 1000");
    let known = ["/dev/net/tun", "/dev/fuse", "/dev/kmsg"];
    let host = known.into_iter().find(|path| std::fs::metadata(path).is_ok()).expect("a device");
    let (host_path, container_path) = (host.to_owned(), "/dev/deep/device".to_owned());
    config.devices.push(Device { host_path, container_path, permissions: "rw".into() });
    let id = stage.start(&config).await;
    let process = Outside::of(&mut stage, &id).await;
    let seen = std::fs::metadata(process.within("/dev/deep/device")).expect("a node");
    let node = std::fs::metadata(host).expect("the node's");
    assert_eq!(
        (seen.rdev(), seen.mode(), seen.uid(), seen.gid()),
        (node.rdev(), node.mode(), node.uid(), node.gid())
    );
    stage.end().await;
}
