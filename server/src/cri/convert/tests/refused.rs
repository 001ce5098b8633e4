//! Containers that cannot be, and those that this version cannot do.
//!
//! *Invariant:* as in the parent.

use super::container::{
    capabilities, context, device, env, hugepages, image, int, limits, mount, options, profile,
};
use super::*;

type Bad = (&'static str, fn(&mut v1::ContainerConfig), &'static str);

fn cdi(container: &mut v1::ContainerConfig, name: &str) {
    container.cdi_devices.push(v1::CdiDevice { name: name.into() });
}

const PLAIN: &[Bad] = &[
    ("config.metadata", |c| c.metadata = None, "missing"),
    ("config.metadata.name", |c| c.metadata.as_mut().unwrap().name.clear(), "empty"),
    ("config.metadata.name", |c| c.metadata.as_mut().unwrap().name = "a/b".into(), "a /"),
    ("config.metadata.name", |c| c.metadata.as_mut().unwrap().name = "\u{1b}[31m".into(), "control"),
    ("config.image", |c| c.image = None, "missing"),
    ("config.image.image", |c| c.image.as_mut().unwrap().image.clear(), "no image's id or name"),
    ("config.image.image", |c| c.image.as_mut().unwrap().image = "a b".into(), "no image's id or name"),
    ("config.image.image", |c| c.image.as_mut().unwrap().image = "a".repeat(1025), "1024"),
    (
        "config.image.user_specified_image",
        |c| c.image.as_mut().unwrap().user_specified_image = "a\nb".into(),
        "control",
    ),
    ("config.command[0]", |c| c.command = vec!["a\0".into()], "NUL"),
    ("config.args[1]", |c| c.args = vec!["a".into(), "\0".into()], "NUL"),
    ("config.args[0]", |c| c.args = vec!["a".repeat(128 * 1024)], "131071 at most"),
    ("config.CDI_devices[0].name", |c| cdi(c, "gpu0"), "no full name of a device"),
    ("config.CDI_devices[0].name", |c| cdi(c, "v.org/=0"), "a class that"),
    ("config.CDI_devices[0].name", |c| cdi(c, ""), "no full name of a device"),
    (
        "config.annotations[\"cdi.k8s.io/x\"]",
        |c| drop(c.annotations.insert("cdi.k8s.io/x".into(), "v.org/gpu=0,gpu1".into())),
        "\"gpu1\" is no full name",
    ),
    ("config.working_dir", |c| c.working_dir = "srv".into(), "no absolute path"),
    ("config.working_dir", |c| c.working_dir = "/a\0".into(), "control"),
    ("config.envs[0].key", |c| env(c, "", b"x"), "empty"),
    ("config.envs[1].key", |c| (env(c, "A", b""), env(c, "B=C", b"x")).1, "a ="),
    ("config.envs[0].key", |c| env(c, "A\0B", b"x"), "NUL"),
    ("config.envs[0].value", |c| env(c, "A", b"x\0y"), "\"A\": the value has a NUL"),
    ("config.envs[0].value", |c| env(c, "A", &[b'x'; 131_070]), "128 KiB"),
    ("config.envs", |c| (0..20).for_each(|_| env(c, "A", &[b'x'; 120_000])), "2097152 at most"),
    ("config.labels", |c| c.labels = map([("", "")]), "a key is empty"),
    ("config.annotations", |c| c.annotations = map([(&"x".repeat(600_000), "")]), "at most"),
    ("config.log_path", |c| c.log_path = "/web/0.log".into(), "absolute"),
    ("config.log_path", |c| c.log_path = "web/../../0.log".into(), ".."),
    ("config.log_path", |c| c.log_path = "..".into(), ".."),
    ("config.log_path", |c| c.log_path = "web/".into(), "a directory"),
    ("config.log_path", |c| c.log_path = ".".into(), "a directory"),
    ("config.log_path", |c| c.log_path = "a\0".into(), "control"),
    ("config.mounts[0].container_path", |c| mount(c).container_path.clear(), "no absolute path"),
    (
        "config.mounts[1].container_path",
        |c| (mount(c).readonly = true, mount(c).container_path = "data".into()).1,
        "data",
    ),
    (
        "config.mounts[0].container_path",
        |c| mount(c).container_path = "/a/../..".into(),
        "the container's root",
    ),
    ("config.mounts[0].container_path", |c| mount(c).container_path = "/a\0".into(), "control"),
    ("config.mounts[0].host_path", |c| mount(c).host_path.clear(), "no absolute path"),
    ("config.mounts[0].host_path", |c| mount(c).host_path = "./data".into(), "no absolute path"),
    (
        "ImageVolumeMountFailed: config.mounts[0].host_path",
        |c| mount(c).image = Some(v1::ImageSpec::default()),
        "not of both",
    ),
    ("ImageVolumeMountFailed: config.mounts[0].readonly", |c| image(c).readonly = false, "read-only"),
    ("ImageVolumeMountFailed: config.mounts[0].propagation", |c| image(c).propagation = 2, "travel"),
    (
        "ImageVolumeMountFailed: config.mounts[0].image.image",
        |c| image(c).selinux_relabel = true,
        "no image's id or name",
    ),
    (
        "ImageVolumeMountFailed: config.mounts[0].image_sub_path",
        |c| {
            let mount = image(c);
            mount.image.get_or_insert_default().image = "i".into();
            mount.image_sub_path = "a/../b".into();
        },
        "..",
    ),
    ("config.mounts[0].image_sub_path", |c| mount(c).image_sub_path = "x".into(), "only a mount of an image"),
    ("config.mounts[0].propagation", |c| mount(c).propagation = 3, "PROPAGATION_BIDIRECTIONAL (2)"),
    ("config.mounts[0].recursive_read_only", |c| mount(c).recursive_read_only = true, "needs readonly"),
    (
        "config.mounts[0].recursive_read_only",
        |c| {
            let mount = mount(c);
            (mount.recursive_read_only, mount.readonly, mount.propagation) = (true, true, 1);
        },
        "propagation PRIVATE",
    ),
    ("config.mounts[0].mount_options[0]", |c| mount(c).mount_options = vec!["exec".into()], "would lift"),
    ("config.mounts[0].mount_options[0]", |c| mount(c).mount_options = vec!["ro".into()], "readonly"),
    (
        "config.mounts[0].mount_options[1]",
        |c| mount(c).mount_options = vec!["noexec".into(), "rshared".into()],
        "propagation",
    ),
    ("config.mounts[0].mount_options[0]", |c| mount(c).mount_options = vec!["size=1m".into()], "nosuid"),
    ("config.mounts[0].mount_options[0]", |c| mount(c).mount_options = vec![String::new()], "no option"),
    (
        "ImageVolumeMountFailed: config.mounts[0].mount_options[0]",
        |c| {
            let mount = image(c);
            mount.image.get_or_insert_default().image = "i".into();
            mount.mount_options = vec!["rnoexec".into()];
        },
        "allowed: noexec, nodev, nosuid",
    ),
    ("config.devices[0].container_path", |c| device(c).container_path = "fuse".into(), "no absolute path"),
    ("config.devices[0].host_path", |c| device(c).host_path = "fuse".into(), "no absolute path"),
    ("config.devices[0].permissions", |c| device(c).permissions.clear(), "r, w, m"),
    ("config.devices[0].permissions", |c| device(c).permissions = "rwx".into(), "\"rwx\""),
    ("config.stop_signal", |c| c.stop_signal = 66, "no such signal"),
    ("config.stop_signal", |c| c.stop_signal = -1, "no such signal"),
];

const LIMITS: &[Bad] = &[
    ("config.linux.resources.cpu_period", |c| limits(c).cpu_period = 999, "1000 to 1000000"),
    ("config.linux.resources.cpu_period", |c| limits(c).cpu_period = 1_000_001, "1000 to 1000000"),
    ("config.linux.resources.cpu_period", |c| limits(c).cpu_period = -1, "1000 to"),
    ("config.linux.resources.cpu_quota", |c| limits(c).cpu_quota = -2, "1000 to"),
    ("config.linux.resources.cpu_quota", |c| limits(c).cpu_quota = 999, "1000 to"),
    ("config.linux.resources.cpu_quota", |c| limits(c).cpu_quota = i64::MAX, "1000 to"),
    ("config.linux.resources.cpu_shares", |c| limits(c).cpu_shares = -1, "2 to 262144"),
    ("config.linux.resources.cpu_shares", |c| limits(c).cpu_shares = 262_145, "2 to 262144"),
    ("config.linux.resources.memory_limit_in_bytes", |c| limits(c).memory_limit_in_bytes = -1, "0 to"),
    (
        "config.linux.resources.memory_swap_limit_in_bytes",
        |c| limits(c).memory_swap_limit_in_bytes = -2,
        "-1 to",
    ),
    (
        "config.linux.resources.memory_swap_limit_in_bytes",
        |c| (limits(c).memory_limit_in_bytes, limits(c).memory_swap_limit_in_bytes) = (2 << 20, 1 << 20),
        "it counts memory too",
    ),
    ("config.linux.resources.oom_score_adj", |c| limits(c).oom_score_adj = 1001, "-1000 to 1000"),
    ("config.linux.resources.oom_score_adj", |c| limits(c).oom_score_adj = -1001, "-1000 to 1000"),
    ("config.linux.resources.cpuset_cpus", |c| limits(c).cpuset_cpus = "0-".into(), "as 0-3,7"),
    ("config.linux.resources.cpuset_cpus", |c| limits(c).cpuset_cpus = "3-1".into(), "as 0-3,7"),
    ("config.linux.resources.cpuset_cpus", |c| limits(c).cpuset_cpus = "+1".into(), "as 0-3,7"),
    ("config.linux.resources.cpuset_cpus", |c| limits(c).cpuset_cpus = "0,,1".into(), "as 0-3,7"),
    ("config.linux.resources.cpuset_cpus", |c| limits(c).cpuset_cpus = "99999".into(), "as 0-3,7"),
    ("config.linux.resources.cpuset_mems", |c| limits(c).cpuset_mems = "zero".into(), "as 0-3,7"),
    ("config.linux.resources.cpuset_mems", |c| limits(c).cpuset_mems = "0\n1".into(), "control"),
    ("config.linux.resources.hugepage_limits[0].page_size", |c| hugepages(c, "2M", 0), "as 2MB"),
    ("config.linux.resources.hugepage_limits[0].page_size", |c| hugepages(c, "../../x.2MB", 0), "as 2MB"),
    ("config.linux.resources.hugepage_limits[0].page_size", |c| hugepages(c, "MB", 0), "as 2MB"),
    (
        "config.linux.resources.hugepage_limits[1].page_size",
        |c| (hugepages(c, "2MB", 0), hugepages(c, "2MB", 1)).1,
        "twice",
    ),
    ("config.linux.resources.hugepage_limits[0].limit", |c| hugepages(c, "1GB", u64::MAX), "so many bytes"),
    ("config.linux.resources.unified", |c| limits(c).unified = map([("../memory.max", "1")]), "memory.high"),
    ("config.linux.resources.unified", |c| limits(c).unified = map([("memory", "1")]), "memory.high"),
    ("config.linux.resources.unified", |c| limits(c).unified = map([("cgroup.kill", "1")]), "memory.high"),
    ("config.linux.resources.unified", |c| limits(c).unified = map([("memory..max", "1")]), "memory.high"),
    ("config.linux.resources.unified", |c| limits(c).unified = map([("memory.max", "1\0")]), "NUL"),
];

const SECURITY: &[Bad] = &[
    (
        "config.linux.security_context.privileged",
        |c| context(c).privileged = true,
        "its pod is not privileged",
    ),
    (
        "config.linux.security_context.run_as_user",
        |c| context(c).run_as_user = Some(int(-1)),
        "0 to 4294967294",
    ),
    (
        "config.linux.security_context.run_as_user",
        |c| context(c).run_as_user = Some(int(u32::MAX.into())),
        "4294967295",
    ),
    ("config.linux.security_context.run_as_user", |c| context(c).run_as_user = Some(int(1 << 32)), "0 to"),
    (
        "config.linux.security_context.run_as_group",
        |c| context(c).run_as_group = Some(int(1)),
        "it needs run_as_user",
    ),
    (
        "config.linux.security_context.run_as_group",
        |c| (context(c).run_as_user, context(c).run_as_group) = (Some(int(1)), Some(int(-1))),
        "0 to",
    ),
    (
        "config.linux.security_context.run_as_username",
        |c| {
            context(c).run_as_user = Some(int(1));
            context(c).run_as_username = "web".into();
        },
        "only one",
    ),
    ("config.linux.security_context.run_as_username", |c| context(c).run_as_username = "a:b".into(), "no :"),
    (
        "config.linux.security_context.run_as_username",
        |c| context(c).run_as_username = "a\0".into(),
        "control",
    ),
    (
        "config.linux.security_context.run_as_username",
        |c| context(c).run_as_username = "a".repeat(257),
        "256",
    ),
    (
        "config.linux.security_context.supplemental_groups[0]",
        |c| context(c).supplemental_groups = vec![-5],
        "0 to 4294967294",
    ),
    (
        "config.linux.security_context.supplemental_groups",
        |c| context(c).supplemental_groups = vec![1; 65537],
        "65536 groups",
    ),
    (
        "config.linux.security_context.supplemental_groups_policy",
        |c| context(c).supplemental_groups_policy = 9,
        "Merge (0), Strict (1)",
    ),
    (
        "config.linux.security_context.capabilities.add_capabilities[1]",
        |c| capabilities(c).add_capabilities = vec!["NET_ADMIN".into(), "FLY".into()],
        "\"FLY\": there is no such capability",
    ),
    (
        "config.linux.security_context.capabilities.drop_capabilities[0]",
        |c| capabilities(c).drop_capabilities = vec![String::new()],
        "no such capability",
    ),
    (
        "config.linux.security_context.capabilities.add_ambient_capabilities[0]",
        |c| capabilities(c).add_ambient_capabilities = vec!["ALL".into()],
        "no such capability",
    ),
    (
        "config.linux.security_context.masked_paths[0]",
        |c| context(c).masked_paths = vec!["proc/kcore".into()],
        "no absolute path",
    ),
    (
        "config.linux.security_context.readonly_paths[1]",
        |c| context(c).readonly_paths = vec!["/proc/sys".into(), "/a\0".into()],
        "control",
    ),
    (
        "config.linux.security_context.seccomp.localhost_ref",
        |c| context(c).seccomp = Some(profile(2, "")),
        "needs it",
    ),
    (
        "config.linux.security_context.seccomp.localhost_ref",
        |c| context(c).seccomp = Some(profile(2, "p.json")),
        "absolute",
    ),
    (
        "config.linux.security_context.seccomp.localhost_ref",
        |c| context(c).seccomp = Some(profile(2, "/a/../b")),
        "..",
    ),
    (
        "config.linux.security_context.seccomp.localhost_ref",
        |c| context(c).seccomp = Some(profile(1, "/a")),
        "only Localhost",
    ),
    (
        "config.linux.security_context.seccomp.profile_type",
        |c| context(c).seccomp = Some(profile(3, "")),
        "allowed",
    ),
    (
        "config.linux.security_context.apparmor.profile_type",
        |c| context(c).apparmor = Some(profile(-1, "")),
        "allowed",
    ),
    (
        "config.linux.security_context.namespace_options.network",
        |c| options(c).network = 3,
        "allowed: POD, NODE",
    ),
    (
        "config.linux.security_context.namespace_options.network",
        |c| options(c).network = 2,
        "a namespace of its own",
    ),
    ("config.linux.security_context.namespace_options.ipc", |c| options(c).ipc = 1, "allowed: POD, NODE"),
    ("config.linux.security_context.namespace_options.ipc", |c| options(c).ipc = 2, "a namespace of its own"),
    ("config.linux.security_context.namespace_options.pid", |c| options(c).pid = 17, "\"17\""),
    (
        "config.linux.security_context.namespace_options.pid",
        |c| options(c).pid = 2,
        "does not use the node's",
    ),
    (
        "config.linux.security_context.namespace_options.target_id",
        |c| options(c).pid = 3,
        "TARGET needs the id",
    ),
    (
        "config.linux.security_context.namespace_options.target_id",
        |c| (options(c).pid, options(c).target_id) = (3, "../1".into()),
        "TARGET needs the id",
    ),
    (
        "config.linux.security_context.namespace_options.target_id",
        |c| (options(c).pid, options(c).target_id) = (3, "a".repeat(65)),
        "64 at most",
    ),
    (
        "config.linux.security_context.namespace_options.target_id",
        |c| (options(c).pid, options(c).target_id) = (1, "ab".into()),
        "only mode TARGET",
    ),
    (
        "config.linux.security_context.namespace_options.userns_options.mode",
        |c| options(c).userns_options = Some(v1::UserNamespace { mode: 3, ..Default::default() }),
        "allowed: POD, NODE",
    ),
];

#[test]
fn what_cannot_be_is_refused_by_its_field() {
    for (field, change, words) in [PLAIN, LIMITS, SECURITY].concat() {
        let mut config = good_container();
        change(&mut config);
        let report = container_config(&config, &pod(), NODE).expect_err(field);
        assert_names(&report, Kind::BadRequest, field, words);
    }
}

#[test]
#[expect(deprecated, reason = "older clients set the older form of a profile")]
fn older_forms_of_profiles_are_checked_too() {
    let rows: &[(&str, &str, Kind)] = &[
        ("runtime-default", "is no profile", Kind::BadRequest),
        ("localhost/", "is no profile", Kind::BadRequest),
        ("localhost/p.json", "no absolute path", Kind::BadRequest),
    ];
    for (text, words, kind) in rows {
        let mut config = good_container();
        context(&mut config).seccomp_profile_path = (*text).into();
        let report = container_config(&config, &pod(), NODE).expect_err(text);
        assert_names(&report, *kind, "config.linux.security_context.seccomp_profile_path", words);
    }
    let mut config = good_container();
    context(&mut config).apparmor_profile = "localhost/strict".into();
    let report = container_config(&config, &pod(), NODE).unwrap_err();
    let field = "config.linux.security_context.apparmor_profile";
    assert_names(&report, Kind::Unsupported, field, "AppArmor");
}

#[test]
fn what_this_version_cannot_do_is_not_ignored() {
    let rows: &[Bad] = &[("config.windows", |c| c.windows = Some(v1::WindowsContainerConfig::default()), "")];
    for (field, change, _) in rows {
        let mut config = good_container();
        change(&mut config);
        let report = container_config(&config, &pod(), NODE).expect_err(field);
        assert_names(&report, Kind::Unsupported, field, "not supported by this version");
    }
}

type ChangeLabel = fn(&mut v1::SeLinuxOption);

#[test]
fn a_label_needs_a_kernel_that_has_it_and_parts_that_can_be() {
    let asked = |change: fn(&mut v1::SeLinuxOption), selinux| {
        let mut config = good_container();
        change(context(&mut config).selinux_options.get_or_insert_default());
        container_config(&config, &pod(), Node { selinux, ..NODE }).map(|config| config.security.selinux)
    };
    assert_eq!(asked(|_| {}, false), Ok(Selinux::default()));
    let report = asked(|label| label.r#type = "spc_t".into(), false).unwrap_err();
    let field = "config.linux.security_context.selinux_options";
    assert_names(&report, Kind::Unsupported, field, "\"spc_t\": the kernel of this node has no SELinux");
    let kind = Selinux { kind: "spc_t".into(), ..Selinux::default() };
    assert_eq!(asked(|label| label.r#type = "spc_t".into(), true), Ok(kind));
    let table: [(&str, ChangeLabel); 4] = [
        ("user", |label| label.user = "a:b".into()),
        ("role", |label| label.role = "a b".into()),
        ("type", |label| label.r#type = "a\n".into()),
        ("level", |label| label.level = "c1,c2".into()),
    ];
    for (part, change) in table {
        let report = asked(change, true).expect_err(part);
        assert_names(&report, Kind::BadRequest, &format!("{field}.{part}"), "");
    }
}

#[test]
fn a_named_apparmor_profile_needs_a_kernel_that_has_it() {
    let asked = |kind, name: &str, node| {
        let mut config = good_container();
        context(&mut config).apparmor = Some(profile(kind, name));
        container_config(&config, &pod(), node).map(|config| config.security.apparmor)
    };
    let has = Node { apparmor: true, ..NODE };
    // The runtime's own is nothing where the kernel has none.
    for node in [NODE, has] {
        assert_eq!(asked(0, "", node), Ok(AppArmor::RuntimeDefault));
        assert_eq!(asked(1, "", node), Ok(AppArmor::Unconfined));
    }
    assert_eq!(asked(2, "strict", has), Ok(AppArmor::Localhost("strict".into())));
    let report = asked(2, "strict", NODE).unwrap_err();
    let field = "config.linux.security_context.apparmor.localhost_ref";
    assert_names(&report, Kind::Unsupported, field, "\"strict\": the kernel of this node has no AppArmor");
    let mut config = good_container();
    assert_eq!(container_config(&config, &pod(), has).unwrap().security.apparmor, AppArmor::Unsaid);
    // The newer field counts where both are set.
    #[expect(deprecated, reason = "older clients set the older form of a profile")]
    {
        context(&mut config).apparmor_profile = "localhost/old".into();
    }
    assert_eq!(
        container_config(&config, &pod(), has).unwrap().security.apparmor,
        AppArmor::Localhost("old".into())
    );
    context(&mut config).apparmor = Some(profile(2, "new"));
    assert_eq!(
        container_config(&config, &pod(), has).unwrap().security.apparmor,
        AppArmor::Localhost("new".into())
    );
}

#[test]
fn a_value_of_an_environment_is_in_no_report() {
    for value in [b"canary\0".to_vec(), b"canary".repeat(1 << 15)] {
        let mut config = good_container();
        env(&mut config, "TOKEN", &value);
        let report = container_config(&config, &pod(), NODE).unwrap_err().to_string();
        assert!(report.contains("TOKEN") && !report.contains("canary"), "{report}");
    }
}
