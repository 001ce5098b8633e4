//! Of a container with itself, its pod, its image, the node.

use std::process::Command;

use orlop_proto::runtime::v1::{
    Capability, ContainerConfig, Device, HugepageLimit, ImageSpec, Int64Value, Mount, NamespaceMode,
    NamespaceOption,
};
use orlop_tests::daemon::stage::{Stage, resources as limits, security as context};

use crate::{NO, NOT_HERE, Row, profile};

/// Stands for a directory of the test's own, which is known when the row is asked.
const PLACE: &str = "/PLACE";

/// What a row says in general becomes what it is here.
pub(crate) fn settle(stage: &Stage, config: &mut ContainerConfig) {
    let place = stage.daemon.place();
    let volume = place.join("volume");
    if !volume.exists() {
        std::fs::create_dir_all(volume.join("empty")).expect("a directory");
        place.put("volume/file", "no profile");
        let done = Command::new("mount").args(["--bind", "--make-private"]).args([&volume, &volume]).status();
        assert!(done.is_ok_and(|status| status.success()), "a private mount");
    }
    let volume = volume.display().to_string();
    let here = |path: &mut String| {
        if let Some(rest) = path.strip_prefix(PLACE) {
            *path = format!("{volume}{rest}");
        }
    };
    config.mounts.iter_mut().for_each(|mount| here(&mut mount.host_path));
    config.devices.iter_mut().for_each(|device| here(&mut device.host_path));
    let seccomp = config.linux.as_mut().and_then(|linux| linux.security_context.as_mut()?.seccomp.as_mut());
    if let Some(profile) = seccomp {
        here(&mut profile.localhost_ref);
    }
    for mount in &mut config.mounts {
        if let Some(image) = mount.image.as_mut().filter(|image| image.image.is_empty()) {
            image.image.clone_from(&stage.image);
        }
    }
}

/// What [`settle`] made is taken down.
pub(crate) fn unsettle(stage: &Stage) {
    let done = Command::new("umount").arg(stage.daemon.place().join("volume")).status();
    assert!(done.is_ok_and(|status| status.success()));
}

fn mount(config: &mut ContainerConfig) -> &mut Mount {
    let (container_path, host_path) = ("/data".into(), PLACE.into());
    config.mounts.push(Mount { container_path, host_path, ..Mount::default() });
    config.mounts.last_mut().expect("it was put there")
}

/// A good mount of an image.
fn image(config: &mut ContainerConfig) -> &mut Mount {
    let mount = mount(config);
    mount.host_path.clear();
    (mount.readonly, mount.image) = (true, Some(ImageSpec::default()));
    mount
}

fn option(config: &mut ContainerConfig, option: &str) {
    mount(config).mount_options = vec!["noexec".into(), option.into()];
}

fn device(config: &mut ContainerConfig) -> &mut Device {
    let (container_path, host_path) = ("/dev/x".into(), "/dev/null".into());
    config.devices.push(Device { container_path, host_path, permissions: "rw".into() });
    config.devices.last_mut().expect("it was put there")
}

fn capabilities(config: &mut ContainerConfig) -> &mut Capability {
    context(config).capabilities.get_or_insert_default()
}

fn options(config: &mut ContainerConfig) -> &mut NamespaceOption {
    let silent = || NamespaceOption { pid: NamespaceMode::Container.into(), ..NamespaceOption::default() };
    context(config).namespace_options.get_or_insert_with(silent)
}

fn user(config: &mut ContainerConfig, uid: i64) {
    context(config).run_as_user = Some(Int64Value { value: uid });
}

/// In every pod, privileged or not.
pub(crate) const ANYWHERE: &[Row<ContainerConfig>] = &[
    // Mounts.
    (
        "all below read-only, itself not",
        |c| mount(c).recursive_read_only = true,
        NO,
        &["config.mounts[0].recursive_read_only", "readonly"],
    ),
    (
        "all below read-only, and more to come",
        |c| {
            let mount = mount(c);
            (mount.readonly, mount.recursive_read_only, mount.propagation) = (true, true, 1);
        },
        NO,
        &["config.mounts[0].recursive_read_only", "PRIVATE"],
    ),
    (
        "all below read-only, and shared",
        |c| {
            let mount = mount(c);
            (mount.readonly, mount.recursive_read_only, mount.propagation) = (true, true, 2);
        },
        NO,
        &["config.mounts[0].recursive_read_only", "PRIVATE"],
    ),
    (
        "mounts from a private mount",
        |c| mount(c).propagation = 1,
        NO,
        &["config.mounts[0].propagation", "not shared or slave"],
    ),
    (
        "mounts to a private mount",
        |c| mount(c).propagation = 2,
        NO,
        &["config.mounts[0].propagation", "not shared"],
    ),
    (
        "mounts from what is below a private mount",
        |c| {
            let mount = mount(c);
            (mount.host_path, mount.propagation) = (format!("{PLACE}/later/still"), 1);
        },
        NO,
        &["config.mounts[0].propagation"],
    ),
    ("programs allowed again", |c| option(c, "exec"), NO, &["config.mounts[0].mount_options[1]", "\"exec\""]),
    ("devices allowed again", |c| option(c, "dev"), NO, &["config.mounts[0].mount_options[1]", "\"dev\""]),
    ("writing by an option", |c| option(c, "rw"), NO, &["config.mounts[0].mount_options[1]", "readonly"]),
    (
        "all below read-only by an option",
        |c| option(c, "rro"),
        NO,
        &["config.mounts[0].mount_options[1]", "recursive_read_only"],
    ),
    (
        "propagation by an option",
        |c| option(c, "rshared"),
        NO,
        &["config.mounts[0].mount_options[1]", "propagation"],
    ),
    (
        "a parameter of a filesystem",
        |c| option(c, "size=1m"),
        NO,
        &["config.mounts[0].mount_options[1]", "size=1m"],
    ),
    (
        "a mount of something else",
        |c| option(c, "remount"),
        NO,
        &["config.mounts[0].mount_options[1]", "remount"],
    ),
    ("an option without a name", |c| option(c, ""), NO, &["config.mounts[0].mount_options[1]"]),
    (
        "a path and an image",
        |c| image(c).host_path = PLACE.into(),
        NO,
        &["config.mounts[0].host_path", "not of both"],
    ),
    ("an image to write to", |c| image(c).readonly = false, NO, &["config.mounts[0].readonly"]),
    ("an image that mounts travel from", |c| image(c).propagation = 2, NO, &["config.mounts[0].propagation"]),
    (
        "an image without times of access",
        |c| image(c).mount_options = vec!["noatime".into()],
        NO,
        &["config.mounts[0].mount_options[0]"],
    ),
    (
        "a part that the image has not",
        |c| image(c).image_sub_path = "no/such".into(),
        NO,
        &["config.mounts[0].image_sub_path", "no/such"],
    ),
    (
        "a part that is a file",
        |c| image(c).image_sub_path = "bin/sh".into(),
        NO,
        &["config.mounts[0].image_sub_path"],
    ),
    (
        "a part that climbs out",
        |c| image(c).image_sub_path = "bin/../..".into(),
        NO,
        &["config.mounts[0].image_sub_path", ".."],
    ),
    (
        "a part of a path",
        |c| mount(c).image_sub_path = "empty".into(),
        NO,
        &["config.mounts[0].image_sub_path"],
    ),
    (
        "the root, a long way round",
        |c| mount(c).container_path = "/proc/../sys/..".into(),
        NO,
        &["config.mounts[0].container_path", "root"],
    ),
    // Devices.
    (
        "a directory without devices",
        |c| device(c).host_path = format!("{PLACE}/empty"),
        NO,
        &["config.devices[0].host_path", "no device"],
    ),
    (
        "a file as a device",
        |c| device(c).host_path = format!("{PLACE}/file"),
        NO,
        &["config.devices[0].host_path", "no device"],
    ),
    ("a device of nothing", |c| device(c).permissions.clear(), NO, &["config.devices[0].permissions"]),
    (
        "a second device that is not there",
        |c| {
            device(c);
            device(c).host_path = "/dev/no-such".into();
        },
        NO,
        &["config.devices[1].host_path", "/dev/no-such"],
    ),
    // Who it is.
    (
        "a user by number and by name",
        |c| {
            user(c, 0);
            context(c).run_as_username = "root".into();
        },
        NO,
        &["security_context.run_as_username", "only one"],
    ),
    (
        "a group of nobody",
        |c| context(c).run_as_group = Some(Int64Value { value: 0 }),
        NO,
        &["security_context.run_as_group"],
    ),
    (
        "a user that the image has not",
        |c| context(c).run_as_username = "neptune".into(),
        NO,
        &["security_context.run_as_username", "neptune"],
    ),
    (
        "groups that are none",
        |c| {
            user(c, 1);
            context(c).supplemental_groups = vec![1, i64::from(u32::MAX)];
        },
        NO,
        &["security_context.supplemental_groups[1]"],
    ),
    (
        "a policy that is none",
        |c| context(c).supplemental_groups_policy = 2,
        NO,
        &["security_context.supplemental_groups_policy"],
    ),
    // Capabilities.
    (
        "a capability that is none, beside all",
        |c| capabilities(c).add_capabilities = vec!["ALL".into(), "FLY".into()],
        NO,
        &["capabilities.add_capabilities[1]", "FLY"],
    ),
    (
        "one to drop that is none",
        |c| capabilities(c).drop_capabilities = vec!["CAP_".into()],
        NO,
        &["capabilities.drop_capabilities[0]"],
    ),
    (
        "all as ambient",
        |c| capabilities(c).add_ambient_capabilities = vec!["ALL".into()],
        NO,
        &["capabilities.add_ambient_capabilities[0]"],
    ),
    // Profiles.
    (
        "a file for the default filter",
        |c| context(c).seccomp = Some(profile(0, PLACE)),
        NO,
        &["seccomp.localhost_ref", "only Localhost"],
    ),
    (
        "a file for no filter",
        |c| context(c).seccomp = Some(profile(1, PLACE)),
        NO,
        &["seccomp.localhost_ref", "only Localhost"],
    ),
    (
        "a filter without a file",
        |c| context(c).seccomp = Some(profile(2, "")),
        NO,
        &["seccomp.localhost_ref"],
    ),
    (
        "a name for the default profile",
        |c| context(c).apparmor = Some(profile(0, "strict")),
        NO,
        &["apparmor.localhost_ref", "only Localhost"],
    ),
    (
        "no name for a named profile",
        |c| context(c).apparmor = Some(profile(2, "")),
        NO,
        &["apparmor.localhost_ref"],
    ),
    #[expect(deprecated, reason = "older clients set it")]
    (
        "an older word that is none",
        |c| context(c).apparmor_profile = "strict".into(),
        NO,
        &["security_context.apparmor_profile", "strict"],
    ),
    #[expect(deprecated, reason = "older clients set it")]
    (
        "an older path that is relative",
        |c| context(c).seccomp_profile_path = "localhost/p.json".into(),
        NO,
        &["security_context.seccomp_profile_path"],
    ),
    (
        "a context where there is none",
        |c| context(c).selinux_options.get_or_insert_default().level = "s0:c1".into(),
        NOT_HERE,
        &["security_context.selinux_options", "s0:c1"],
    ),
    // Resources.
    (
        "more memory than memory and swap",
        |c| (limits(c).memory_limit_in_bytes, limits(c).memory_swap_limit_in_bytes) = (9 << 20, 8 << 20),
        NO,
        &["resources.memory_swap_limit_in_bytes", "9437184"],
    ),
    (
        "one size of pages twice",
        |c| {
            let page = || HugepageLimit { page_size: "2MB".into(), limit: 0 };
            limits(c).hugepage_limits = vec![page(), page()];
        },
        NO,
        &["resources.hugepage_limits[1].page_size", "twice"],
    ),
    (
        "a slice longer than a second",
        |c| (limits(c).cpu_quota, limits(c).cpu_period) = (1000, 1_000_001),
        NO,
        &["resources.cpu_period"],
    ),
    (
        "a slice of no length",
        |c| (limits(c).cpu_quota, limits(c).cpu_period) = (999, 100_000),
        NO,
        &["resources.cpu_quota"],
    ),
    ("processors backwards", |c| limits(c).cpuset_cpus = "1-0".into(), NO, &["resources.cpuset_cpus", "1-0"]),
    (
        "a file of no controller",
        |c| drop(limits(c).unified.insert("memory".into(), "1".into())),
        NO,
        &["resources.unified", "memory"],
    ),
    // Namespaces.
    ("a network of its own", |c| options(c).network = 1, NO, &["namespace_options.network"]),
    ("an IPC of its own", |c| options(c).ipc = 1, NO, &["namespace_options.ipc"]),
    ("a network of a target", |c| options(c).network = 3, NO, &["namespace_options.network"]),
    (
        "a target without its mode",
        |c| options(c).target_id = "abc".into(),
        NO,
        &["namespace_options.target_id", "TARGET"],
    ),
    (
        "a target that is nobody",
        |c| (options(c).pid, options(c).target_id) = (3, "abcdef".into()),
        NO,
        &["namespace_options.target_id", "abcdef"],
    ),
    // Programs.
    ("a signal that is none", |c| c.stop_signal = 66, NO, &["config.stop_signal"]),
    (
        "a user's file for a handler's image",
        |c| c.image.get_or_insert_default().runtime_handler = "gvisor".into(),
        NO,
        &["config.image.runtime_handler", "gvisor"],
    ),
];

/// In a pod that is not privileged, with namespaces of its own.
pub(crate) const IN_A_PLAIN_POD: &[Row<ContainerConfig>] = &[
    ("privileged, its pod is not", |c| context(c).privileged = true, NO, &["security_context.privileged"]),
    ("the node's network", |c| options(c).network = 2, NO, &["namespace_options.network", "NODE"]),
    ("the node's IPC", |c| options(c).ipc = 2, NO, &["namespace_options.ipc", "NODE"]),
    ("the node's processes", |c| options(c).pid = 2, NO, &["namespace_options.pid", "NODE"]),
];

/// In a pod that has the node's namespaces.
pub(crate) const IN_A_NODE_S_POD: &[Row<ContainerConfig>] = &[
    (
        "privileged, its pod has only namespaces",
        |c| context(c).privileged = true,
        NO,
        &["security_context.privileged"],
    ),
    (
        "a target in the node's",
        |c| (options(c).pid, options(c).target_id) = (3, "abcdef".into()),
        NO,
        &["namespace_options.target_id"],
    ),
];
