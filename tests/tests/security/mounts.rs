//! What is mounted, and how: by the container's mountinfo, read on the node.

use std::path::{Path, PathBuf};
use std::process::Command;

use orlop_proto::runtime::v1::{ContainerConfig, ImageSpec, Mount, MountPropagation};
use orlop_tests::daemon::stage::{Stage, security};
use rustix::mount::{MountPropagationFlags, mount_change};
use tonic::Code;

use crate::outside::{Mounted, Outside};

fn mount(host: &Path, inside: &str) -> Mount {
    Mount {
        host_path: host.to_str().expect("a plain path").into(),
        container_path: inside.into(),
        ..Mount::default()
    }
}

fn with(stage: &Stage, name: &str, mounts: Vec<Mount>) -> ContainerConfig {
    let mut config = stage.script(name, "exec sleep 1000");
    config.mounts = mounts;
    config
}

/// A tmpfs on the node, tied to others as `tie` says. The daemon's forced end unmounts it, too.
fn tmpfs(path: &Path, tie: MountPropagationFlags) {
    std::fs::create_dir_all(path).expect("a directory");
    let done = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "test"]).arg(path).status();
    assert!(done.is_ok_and(|status| status.success()), "{} is mounted", path.display());
    mount_change(path, tie).expect("its propagation");
}

fn unmount(path: &Path) {
    let done = Command::new("umount").arg(path).status();
    assert!(done.is_ok_and(|status| status.success()), "{} is unmounted", path.display());
}

async fn at(stage: &mut Stage, id: &str, point: &str) -> Mounted {
    Outside::of(stage, id).await.mount(point).unwrap_or_else(|| panic!("nothing is mounted at {point}"))
}

#[tokio::test]
async fn further_options_are_attributes_of_the_mount_or_of_all_below_it() {
    let mut stage = Stage::new("sec-options").await;
    let volume = stage.daemon.place().join("volume");
    tmpfs(&volume, MountPropagationFlags::PRIVATE);
    tmpfs(&volume.join("below"), MountPropagationFlags::PRIVATE);
    let asked = |inside: &str, options: &[&str]| {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        Mount { mount_options: options, ..mount(&volume, inside) }
    };
    // What is said, where it shows, and whether it shows on what is mounted below.
    let table: [(&str, &[&str], &[&str], bool); 8] = [
        ("/none", &[], &[], false),
        ("/noexec", &["noexec"], &["noexec"], false),
        ("/three", &["noexec", "nodev", "nosuid"], &["noexec", "nodev", "nosuid"], false),
        ("/deep", &["rnoexec", "rnosuid"], &["noexec", "nosuid"], true),
        ("/links", &["nosymfollow"], &["nosymfollow"], false),
        ("/noatime", &["noatime"], &["noatime"], false),
        ("/nodiratime", &["nodiratime"], &["nodiratime"], false),
        ("/strictatime", &["strictatime"], &[], false),
    ];
    let mounts: Vec<Mount> = table.iter().map(|(inside, options, ..)| asked(inside, options)).collect();
    let config = with(&stage, "c", mounts.clone());
    let id = stage.start(&config).await;
    assert_eq!(stage.client.status(&id).await.expect("its status").mounts, mounts);
    for (inside, options, shown, deep) in table {
        let (own, below) =
            (at(&mut stage, &id, inside).await, at(&mut stage, &id, &format!("{inside}/below")).await);
        for name in ["noexec", "nodev", "nosuid", "nosymfollow", "noatime", "nodiratime"] {
            let wanted = shown.contains(&name);
            assert_eq!(own.has(name), wanted, "{inside} {options:?}: {name} in {own:?}");
            assert_eq!(below.has(name), wanted && deep, "{inside} {options:?}: {name} in {below:?}");
        }
        assert_eq!(own.has("relatime"), !matches!(inside, "/noatime" | "/strictatime"), "{own:?}");
        assert!(own.has("rw"), "{own:?}");
    }
    // With a program there, which may not be run, and read-only beside it.
    std::fs::copy("/bin/busybox", volume.join("true")).expect("a program");
    let said = stage.client.sh(&id, "/none/true && /noexec/true 2>&1; true").await;
    assert!(said.contains("Permission denied"), "{said}");
    let mut both = asked("/both", &["noexec"]);
    both.readonly = true;
    let config = with(&stage, "both", vec![both]);
    let id = stage.start(&config).await;
    let both = at(&mut stage, &id, "/both").await;
    assert!(both.has("ro") && both.has("noexec"), "{both:?}");
    for id in stage.client.containers().await.expect("a list").into_iter().map(|one| one.id) {
        stage.client.remove(&id).await.expect("removed");
    }
    unmount(&volume.join("below"));
    unmount(&volume);
    stage.end().await;
}

#[tokio::test]
async fn what_the_node_forbids_of_a_mount_stays_forbidden() {
    let mut stage = Stage::new("sec-kept").await;
    let volume = stage.daemon.place().join("volume");
    std::fs::create_dir_all(&volume).expect("a directory");
    let done = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m,noexec,nosuid,nodev,ro", "test"])
        .arg(&volume)
        .status();
    assert!(done.is_ok_and(|status| status.success()));
    mount_change(&volume, MountPropagationFlags::PRIVATE).expect("private");
    let config = with(&stage, "c", vec![mount(&volume, "/volume")]);
    let id = stage.start(&config).await;
    let seen = at(&mut stage, &id, "/volume").await;
    for option in ["noexec", "nosuid", "nodev", "ro"] {
        assert!(seen.has(option), "{option} in {seen:?}");
    }
    stage.client.remove(&id).await.expect("removed");
    unmount(&volume);
    stage.end().await;
}

#[tokio::test]
async fn read_only_is_of_the_mount_or_of_all_below_it() {
    let mut stage = Stage::new("sec-rro").await;
    let volume = stage.daemon.place().join("volume");
    tmpfs(&volume, MountPropagationFlags::PRIVATE);
    tmpfs(&volume.join("below"), MountPropagationFlags::PRIVATE);
    let flat = Mount { readonly: true, ..mount(&volume, "/flat") };
    let deep = Mount { readonly: true, recursive_read_only: true, ..mount(&volume, "/deep") };
    let config = with(&stage, "c", vec![mount(&volume, "/plain"), flat, deep]);
    let id = stage.start(&config).await;
    for (inside, own, below) in [("/plain", "rw", "rw"), ("/flat", "ro", "rw"), ("/deep", "ro", "ro")] {
        assert!(at(&mut stage, &id, inside).await.has(own), "{inside} is {own}");
        assert!(
            at(&mut stage, &id, &format!("{inside}/below")).await.has(below),
            "below {inside} is {below}"
        );
    }
    stage.client.remove(&id).await.expect("removed");
    unmount(&volume.join("below"));
    unmount(&volume);
    stage.end().await;
}

/// The tie of the node's mount, the propagation asked for, and what the container's mount is tied by then; none: refused.
const TRAVEL: [(MountPropagationFlags, &str, MountPropagation, Option<&[&str]>); 9] = {
    use MountPropagation as Asked;
    let (private, slave, shared) =
        (MountPropagationFlags::PRIVATE, MountPropagationFlags::DOWNSTREAM, MountPropagationFlags::SHARED);
    [
        (private, "private", Asked::PropagationPrivate, Some(&[])),
        (private, "private", Asked::PropagationHostToContainer, None),
        (private, "private", Asked::PropagationBidirectional, None),
        (slave, "slave", Asked::PropagationPrivate, Some(&[])),
        (slave, "slave", Asked::PropagationHostToContainer, Some(&["master"])),
        (slave, "slave", Asked::PropagationBidirectional, None),
        (shared, "shared", Asked::PropagationPrivate, Some(&[])),
        (shared, "shared", Asked::PropagationHostToContainer, Some(&["master"])),
        (shared, "shared", Asked::PropagationBidirectional, Some(&["shared"])),
    ]
};

#[tokio::test]
async fn mounts_travel_where_the_node_s_mount_lets_them() {
    let mut stage = Stage::with("sec-travel", |pod| {
        pod.linux.get_or_insert_default().security_context.get_or_insert_default().privileged = true;
    })
    .await;
    let volume = stage.daemon.place().join("volume");
    // A slave needs somebody to follow.
    tmpfs(&volume, MountPropagationFlags::SHARED);
    let mut places: Vec<PathBuf> = Vec::new();
    for (number, (tie, word, propagation, expected)) in TRAVEL.into_iter().enumerate() {
        let place = volume.join(format!("{number}"));
        if word == "slave" {
            // A bind of a shared mount, which then only follows.
            std::fs::create_dir_all(&place).expect("a directory");
            let done =
                Command::new("mount").args(["--bind", "--make-slave"]).arg(&volume).arg(&place).status();
            assert!(done.is_ok_and(|status| status.success()));
        } else {
            tmpfs(&place, tie);
        }
        places.push(place.clone());
        // By a link, and below the mount: it is the mount behind the link that counts.
        std::fs::create_dir_all(place.join("sub")).expect("a directory");
        let link = stage.daemon.place().join(format!("link-{number}"));
        std::os::unix::fs::symlink(place.join("sub"), &link).expect("a link");
        let asked = Mount { propagation: propagation.into(), ..mount(&link, "/v") };
        let mut config = with(&stage, &format!("c{number}"), vec![asked]);
        security(&mut config).privileged = true;
        let label = format!("{} of a {word} mount", propagation.as_str_name());
        if let Some(ties) = expected {
            let id = stage.start(&config).await;
            assert_eq!(at(&mut stage, &id, "/v").await.ties(), ties, "{label}");
            stage.client.remove(&id).await.expect("removed");
        } else {
            let error = stage.create(&config).await.expect_err(&label);
            assert_eq!(error.code(), Code::InvalidArgument, "{label}: {error}");
            let words = ["config.mounts[0].propagation", propagation.as_str_name(), "not shared"];
            assert!(words.iter().all(|word| error.message().contains(word)), "{label}: {error}");
        }
    }
    assert!(stage.client.containers().await.expect("a list").is_empty());
    for place in places.iter().rev() {
        unmount(place);
    }
    unmount(&volume);
    stage.end().await;
}

#[tokio::test]
async fn an_image_is_mounted_read_only_with_what_it_is_restricted_by() {
    let mut stage = Stage::new("sec-image").await;
    let image = |inside: &str, options: &[&str]| Mount {
        container_path: inside.into(),
        image: Some(ImageSpec { image: stage.image.clone(), ..ImageSpec::default() }),
        readonly: true,
        mount_options: options.iter().map(|&option| option.to_owned()).collect(),
        ..Mount::default()
    };
    let mounts = vec![image("/plain", &[]), image("/tight", &["noexec", "nosuid"])];
    let config = with(&stage, "c", mounts);
    let id = stage.start(&config).await;
    let (plain, tight) = (at(&mut stage, &id, "/plain").await, at(&mut stage, &id, "/tight").await);
    assert!(
        plain.kind == "overlay" && plain.has("ro") && plain.has("nodev") && !plain.has("noexec"),
        "{plain:?}"
    );
    assert!(tight.has("ro") && tight.has("noexec") && tight.has("nosuid"), "{tight:?}");
    stage.end().await;
}

#[tokio::test]
async fn masked_and_read_only_paths_are_mounts_and_without_them_nothing_is() {
    let mut stage = Stage::new("sec-masked").await;
    let words = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let masked = ["/proc/kcore", "/proc/keys", "/sys/firmware", "/no/such"];
    let read_only = ["/proc/sys", "/proc/bus", "/no/such"];
    let mut config = stage.script("covered", "exec sleep 1000");
    security(&mut config).masked_paths = words(&masked);
    security(&mut config).readonly_paths = words(&read_only);
    let covered = stage.start(&config).await;
    // What `procMount: Unmasked` asks for: two empty lists.
    let open = stage.run("open", "exec sleep 1000").await;
    let (covered, open) = (Outside::of(&mut stage, &covered).await, Outside::of(&mut stage, &open).await);
    for path in &masked[..3] {
        if !Path::new(path).exists() {
            continue;
        }
        let cover = covered.mount(path).unwrap_or_else(|| panic!("{path} is covered"));
        let place = std::fs::metadata(covered.within(path)).expect("a cover");
        if place.is_dir() {
            assert!(cover.kind == "tmpfs" && cover.has("ro"), "{cover:?}");
            assert_eq!(std::fs::read_dir(covered.within(path)).expect("a directory").count(), 0);
        } else {
            let null = std::os::unix::fs::MetadataExt::rdev(&place);
            assert_eq!(
                (rustix::fs::major(null), rustix::fs::minor(null)),
                (1, 3),
                "{path} is the null device"
            );
        }
    }
    for path in &read_only[..2] {
        assert!(covered.mount(path).is_some_and(|mounted| mounted.has("ro")), "{path} is read-only");
    }
    let below = |process: &Outside| {
        process
            .mounts()
            .iter()
            .filter(|one| one.point.starts_with("/proc/") || one.point == "/sys/firmware")
            .count()
    };
    assert!(below(&covered) >= 3 && below(&open) == 0, "{:?}", open.mounts());
    assert!(open.mount("/proc").is_some_and(|proc| proc.has("rw")));
    stage.end().await;
}

#[tokio::test]
async fn the_root_is_read_only_where_that_is_asked_for() {
    let mut stage = Stage::new("sec-root").await;
    for (name, asked, word) in [("open", false, "rw"), ("frozen", true, "ro")] {
        let mut config = stage.script(name, "exec sleep 1000");
        security(&mut config).readonly_rootfs = asked;
        let id = stage.start(&config).await;
        let process = Outside::of(&mut stage, &id).await;
        for point in ["/", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname"] {
            assert!(process.mount(point).is_some_and(|root| root.has(word)), "{name}: {point} is {word}");
        }
        assert!(process.mount("/dev/shm").is_some_and(|shm| shm.has("rw")));
    }
    stage.end().await;
}
