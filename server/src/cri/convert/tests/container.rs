//! What is asked of a container.
//!
//! *Invariant:* as in the parent.

use orlop_model::container::{GroupsPolicy, PidNamespace, Propagation, User};
use orlop_model::pod::{PidMode, Seccomp};

use super::super::signal::{interface_number, stop_signal};
use super::*;

pub(super) fn context(config: &mut v1::ContainerConfig) -> &mut v1::LinuxContainerSecurityContext {
    config.linux.as_mut().unwrap().security_context.as_mut().unwrap()
}

pub(super) fn limits(config: &mut v1::ContainerConfig) -> &mut v1::LinuxContainerResources {
    config.linux.as_mut().unwrap().resources.as_mut().unwrap()
}

pub(super) fn options(config: &mut v1::ContainerConfig) -> &mut v1::NamespaceOption {
    context(config).namespace_options.get_or_insert_default()
}

pub(super) fn capabilities(config: &mut v1::ContainerConfig) -> &mut v1::Capability {
    context(config).capabilities.get_or_insert_default()
}

pub(super) fn mount(config: &mut v1::ContainerConfig) -> &mut v1::Mount {
    let (container_path, host_path) = ("/data".into(), "/srv/data".into());
    config.mounts.push(v1::Mount { container_path, host_path, ..Default::default() });
    config.mounts.last_mut().unwrap()
}

/// A mount of an image that has no name.
pub(super) fn image(config: &mut v1::ContainerConfig) -> &mut v1::Mount {
    let mount = mount(config);
    mount.host_path.clear();
    (mount.readonly, mount.image) = (true, Some(v1::ImageSpec::default()));
    mount
}

pub(super) fn device(config: &mut v1::ContainerConfig) -> &mut v1::Device {
    let (container_path, host_path) = ("/dev/fuse".into(), "/dev/fuse".into());
    config.devices.push(v1::Device { container_path, host_path, permissions: "rw".into() });
    config.devices.last_mut().unwrap()
}

pub(super) fn env(config: &mut v1::ContainerConfig, key: &str, value: &[u8]) {
    config.envs.push(v1::KeyValue { key: key.into(), value: value.into() });
}

pub(super) fn hugepages(config: &mut v1::ContainerConfig, page_size: &str, limit: u64) {
    limits(config).hugepage_limits.push(v1::HugepageLimit { page_size: page_size.into(), limit });
}

pub(super) fn profile(profile_type: i32, localhost_ref: &str) -> v1::SecurityProfile {
    v1::SecurityProfile { profile_type, localhost_ref: localhost_ref.into() }
}

pub(super) fn int(value: i64) -> v1::Int64Value {
    v1::Int64Value { value }
}

#[test]
fn a_container_that_says_little_is_taken() {
    let good = good_container();
    let config = v1::ContainerConfig { metadata: good.metadata, image: good.image, ..Default::default() };
    let container = container_config(&config, &pod(), NODE).unwrap();
    assert_eq!((container.name.name.as_str(), container.name.attempt), ("web", 1));
    assert_eq!(container.user_image, "nginx:1");
    assert_eq!(container.security, orlop_model::container::Security::default());
    assert_eq!(container.resources, orlop_model::container::Resources::default());
    assert_eq!(container.stop_signal, None);
}

#[test]
fn all_that_can_be_asked_for_arrives() {
    let mut config = good_container();
    config.command = vec!["/bin/sh".into(), "-c".into()];
    config.args = vec![String::new(), "line\nline".into()];
    config.working_dir = "/srv".into();
    env(&mut config, "A", b"1=2\xff");
    (config.stdin, config.stdin_once, config.tty) = (true, true, true);
    *mount(&mut config) = v1::Mount {
        container_path: "/a/./b//../c/".into(),
        host_path: "/srv/link/../data".into(),
        readonly: true,
        recursive_read_only: true,
        selinux_relabel: true,
        ..Default::default()
    };
    mount(&mut config).propagation = 2;
    device(&mut config).permissions = "mrr".into();
    *limits(&mut config) = v1::LinuxContainerResources {
        cpu_period: 100_000,
        cpu_quota: -1,
        cpu_shares: 2,
        memory_limit_in_bytes: 4096,
        oom_score_adj: -997,
        cpuset_cpus: "0-3,7".into(),
        cpuset_mems: "0".into(),
        unified: map([("memory.oom.group", "1")]),
        memory_swap_limit_in_bytes: -1,
        ..Default::default()
    };
    hugepages(&mut config, "2MB", 1 << 21);
    let container = container_config(&config, &pod(), NODE).unwrap();
    assert_eq!((container.command, container.args), (config.command, config.args));
    assert_eq!(container.working_dir, "/srv");
    assert_eq!(container.envs, [("A".to_owned(), b"1=2\xff".to_vec())]);
    assert!(container.stdin && container.stdin_once && container.tty);
    assert_eq!(container.log_path, "web/0.log");
    let first = &container.mounts[0];
    assert_eq!((first.container_path.as_str(), first.host_path.as_str()), ("/a/c", "/srv/link/../data"));
    assert!(first.readonly && first.recursive_read_only && first.propagation == Propagation::Private);
    assert_eq!(container.mounts[1].propagation, Propagation::Bidirectional);
    assert_eq!(container.devices[0].permissions, "rm");
    let limits = container.resources;
    assert_eq!((limits.cpu_period, limits.cpu_quota, limits.cpu_shares), (100_000, -1, 2));
    assert_eq!((limits.memory_limit, limits.memory_swap_limit, limits.oom_score_adj), (4096, -1, -997));
    assert_eq!((limits.cpuset_cpus.as_str(), limits.cpuset_mems.as_str()), ("0-3,7", "0"));
    assert_eq!(limits.hugepages, [("2MB".to_owned(), 1 << 21)]);
    assert_eq!(limits.unified, map([("memory.oom.group", "1")]));
}

#[test]
fn all_security_that_can_be_asked_for_arrives() {
    let mut config = good_container();
    let asked = context(&mut config);
    asked.privileged = true;
    asked.run_as_username = "www-data".into();
    asked.run_as_group = Some(int(33));
    asked.supplemental_groups = vec![0, 4_294_967_294];
    asked.supplemental_groups_policy = 1;
    (asked.readonly_rootfs, asked.no_new_privs) = (true, true);
    asked.masked_paths = vec!["/proc//kcore".into()];
    asked.readonly_paths = vec!["/proc/sys".into()];
    asked.selinux_options = Some(v1::SeLinuxOption::default());
    *capabilities(&mut config) = v1::Capability {
        add_capabilities: vec!["cap_net_admin".into(), "All".into()],
        drop_capabilities: vec!["MKNOD".into()],
        add_ambient_capabilities: vec!["CAP_BPF".into()],
    };
    let mut pod = pod();
    pod.privileged = true;
    let security = container_config(&config, &pod, NODE).unwrap().security;
    assert!(security.privileged && security.readonly_rootfs && security.no_new_privs);
    assert_eq!((security.user, security.group), (User::Name("www-data".into()), Some(33)));
    assert_eq!(security.supplemental_groups, [0, 4_294_967_294]);
    assert_eq!(security.groups_policy, GroupsPolicy::Strict);
    assert_eq!(security.add_capabilities, ["NET_ADMIN", "ALL"]);
    assert_eq!(security.drop_capabilities, ["MKNOD"]);
    assert_eq!(security.ambient_capabilities, ["BPF"]);
    assert_eq!(security.masked_paths, ["/proc/kcore"]);
    assert_eq!(security.readonly_paths, ["/proc/sys"]);
}

#[test]
fn a_container_uses_the_pid_namespace_that_it_or_its_pod_says() {
    let target = "0f".repeat(32);
    let table = [
        (PidMode::Pod, 0, PidNamespace::Pod),
        (PidMode::Pod, 1, PidNamespace::Container),
        (PidMode::Pod, 3, PidNamespace::Target(target.clone())),
        (PidMode::Container, 0, PidNamespace::Container),
        (PidMode::Container, 1, PidNamespace::Container),
        (PidMode::Node, 0, PidNamespace::Node),
        (PidMode::Node, 1, PidNamespace::Container),
        (PidMode::Node, 2, PidNamespace::Node),
    ];
    for (of_pod, asked, expected) in table {
        let mut pod = pod();
        pod.namespaces.pid = of_pod;
        let mut config = good_container();
        options(&mut config).pid = asked;
        if asked == 3 {
            options(&mut config).target_id.clone_from(&target);
        }
        let pid = container_config(&config, &pod, NODE).unwrap().security.pid;
        assert_eq!(pid, expected, "{of_pod:?} {asked}");
    }
}

#[test]
#[expect(deprecated, reason = "older clients set the older form of a profile")]
fn the_newer_form_of_a_profile_wins() {
    let path = || Seccomp::Localhost("/p.json".into());
    let table = [
        (None, "", Seccomp::Unconfined),
        (None, "unconfined", Seccomp::Unconfined),
        (None, "runtime/default", Seccomp::RuntimeDefault),
        (None, "docker/default", Seccomp::RuntimeDefault),
        (None, "localhost//p.json", path()),
        (Some(profile(0, "")), "unconfined", Seccomp::RuntimeDefault),
        (Some(profile(1, "")), "runtime/default", Seccomp::Unconfined),
        (Some(profile(2, "/p.json")), "nonsense", path()),
    ];
    for (new, old, expected) in table {
        let mut config = good_container();
        context(&mut config).seccomp = new;
        context(&mut config).seccomp_profile_path = old.into();
        let seccomp = container_config(&config, &pod(), NODE).unwrap().security.seccomp;
        assert_eq!(seccomp, expected, "{old}");
    }
}

#[test]
fn every_signal_of_the_interface_is_one_of_the_kernel() {
    assert_eq!(stop_signal("x", 0), Ok(None));
    let numbers: Vec<_> = (1..=65).map(|number| stop_signal("x", number).unwrap()).collect();
    assert!(numbers.iter().all(Option::is_some));
    // From signal(7): SIGABRT, SIGCHLD, SIGCLD, SIGKILL, SIGTERM, SIGRTMIN, SIGRTMIN+15, SIGRTMAX-14, SIGRTMAX.
    for (interface, kernel) in
        [(1, 6), (4, 17), (5, 17), (13, 9), (23, 15), (35, 34), (50, 49), (51, 50), (65, 64)]
    {
        assert_eq!(numbers[interface - 1], Some(kernel), "{interface}");
    }
    assert_eq!(interface_number(15), v1::Signal::Sigterm);
    assert_eq!(interface_number(17), v1::Signal::Sigchld);
    assert_eq!(interface_number(37), v1::Signal::Sigrtminplus3);
    assert_eq!(interface_number(0), v1::Signal::RuntimeDefault);
    assert_eq!(interface_number(32), v1::Signal::RuntimeDefault);
}
