//! What is seen where.

use std::path::{Path, PathBuf};

use orlop_model::container::{ImageVolume, Mount, Propagation};

use super::{linux, refused, spec};
use crate::scene::{Scene, mount};

fn destinations(scene: &Scene) -> Vec<String> {
    let mounts = spec(scene).mounts().clone().expect("set");
    mounts.iter().map(|mount| mount.destination().display().to_string()).collect()
}

pub(super) fn options_of(scene: &Scene, path: &str) -> Vec<String> {
    let mounts = spec(scene).mounts().clone().expect("set");
    let found = mounts.iter().find(|mount| mount.destination() == Path::new(path));
    found.and_then(|mount| mount.options().clone()).unwrap_or_default()
}

const DEFAULTS: [&str; 10] = [
    "/proc",
    "/dev",
    "/sys",
    "/dev/pts",
    "/dev/mqueue",
    "/dev/shm",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/sys/fs/cgroup",
];

#[test]
fn an_image_is_an_overlay_of_its_directories() {
    let mut scene = Scene::new();
    let volume = |image: &str| Some(ImageVolume { image: image.into(), sub_path: String::new() });
    scene.config.mounts = vec![
        Mount { image: volume("one"), ..mount("/one", "") },
        mount("/between", "/host"),
        Mount { image: volume("two"), ..mount("/two", "") },
    ];
    scene.images = vec![vec!["/l/a:b".into(), "/none".into()], vec!["/l/2".into(), "/l/1".into()]];
    assert_eq!(options_of(&scene, "/one"), ["ro", "nodev", "lowerdir=/l/a\\:b:/none"]);
    assert_eq!(options_of(&scene, "/two"), ["ro", "nodev", "lowerdir=/l/2:/l/1"]);
    assert_eq!(options_of(&scene, "/between"), ["rbind", "rprivate"]);
    scene.images.pop();
    assert!(scene.compose().expect_err("not at hand").to_string().contains("two"));
}

#[test]
fn mounts_are_sorted_so_that_parents_come_first() {
    let mut scene = Scene::new();
    scene.config.mounts =
        vec![mount("/a/b/c", "/1"), mount("/a", "/2"), mount("/a/b", "/3"), mount("//z/../y/.", "/4")];
    let found = destinations(&scene);
    assert_eq!(
        found,
        [
            "/proc",
            "/dev",
            "/sys",
            "/a",
            "/y",
            "/dev/pts",
            "/dev/mqueue",
            "/dev/shm",
            "/etc/hostname",
            "/etc/hosts",
            "/etc/resolv.conf",
            "/a/b",
            "/sys/fs/cgroup",
            "/a/b/c"
        ]
    );
}

#[test]
fn a_mount_that_is_asked_for_replaces_default_ones() {
    let without = |gone: &[&str]| -> Vec<String> {
        let mut left: Vec<String> =
            DEFAULTS.iter().filter(|path| !gone.contains(path)).map(|&path| path.to_owned()).collect();
        left.sort();
        left
    };
    let table: [(&str, &[&str]); 8] = [
        ("/etc/hosts", &[]),
        ("/dev/shm", &[]),
        ("/proc", &[]),
        ("/dev", &["/dev/pts", "/dev/mqueue"]),
        ("/sys", &["/sys/fs/cgroup"]),
        ("/sys/fs", &["/sys/fs/cgroup"]),
        ("/sys/fs/cgroup", &[]),
        ("/etc", &[]),
    ];
    for (asked, gone) in table {
        let mut scene = Scene::new();
        scene.config.mounts = vec![mount(asked, "/host")];
        let mut found = destinations(&scene);
        found.sort();
        let mut expected = without(gone);
        if !DEFAULTS.contains(&asked) {
            expected.push(asked.to_owned());
            expected.sort();
        }
        assert_eq!(found, expected, "{asked}");
        let mounts = spec(&scene).mounts().clone().expect("set");
        let at = mounts.iter().find(|mount| mount.destination() == Path::new(asked)).expect("there");
        assert_eq!(at.source().as_deref(), Some(Path::new("/host")), "{asked}");
    }
}

#[test]
fn of_two_mounts_at_one_path_the_last_is_seen() {
    let mut scene = Scene::new();
    scene.config.mounts = vec![mount("/a", "/1"), mount("/a/", "/2")];
    let mounts = spec(&scene).mounts().clone().expect("set");
    let sources: Vec<_> = mounts
        .iter()
        .filter(|mount| mount.destination() == Path::new("/a"))
        .map(|mount| mount.source().clone())
        .collect();
    assert_eq!(sources, [Some(PathBuf::from("/2"))]);
}

#[test]
fn access_and_propagation_become_options() {
    use Propagation::{Bidirectional, HostToContainer, Private};
    let table = [
        (false, false, Private, &["rbind", "rprivate"][..], None),
        (true, false, Private, &["rbind", "rprivate", "ro"], None),
        (true, true, Private, &["rbind", "rprivate", "rro"], None),
        (true, false, HostToContainer, &["rbind", "rslave", "ro"], Some("rslave")),
        (false, false, Bidirectional, &["rbind", "rshared"], Some("rshared")),
    ];
    for (readonly, recursive_read_only, propagation, options, root) in table {
        let mut scene = Scene::new();
        let asked = Mount { readonly, recursive_read_only, propagation, ..mount("/v", "/host") };
        scene.config.mounts = vec![asked];
        assert_eq!(options_of(&scene, "/v"), options);
        assert_eq!(linux(&scene).rootfs_propagation().as_deref(), root);
    }
    let mut scene = Scene::new();
    scene.config.security.readonly_rootfs = true;
    assert!(options_of(&scene, "/etc/hosts").contains(&"ro".to_owned()));
}

#[test]
fn mounts_that_cannot_be_are_refused_by_their_field() {
    let with = |change: fn(&mut Mount)| {
        refused(|scene| {
            let mut asked = mount("/v", "/host");
            change(&mut asked);
            scene.config.mounts = vec![asked];
        })
    };
    assert_eq!(with(|asked| asked.container_path = "v".into()), "config.mounts.container_path");
    assert_eq!(with(|asked| asked.container_path = "/v/..".into()), "config.mounts.container_path");
    assert_eq!(with(|asked| asked.host_path = "host".into()), "config.mounts.host_path");
    assert_eq!(with(|asked| asked.host_path = "/a\0".into()), "config.mounts.host_path");
    assert_eq!(with(|asked| asked.recursive_read_only = true), "config.mounts.recursive_read_only");
    let slave = |asked: &mut Mount| {
        (asked.readonly, asked.recursive_read_only) = (true, true);
        asked.propagation = Propagation::HostToContainer;
    };
    assert_eq!(with(slave), "config.mounts.recursive_read_only");
}
