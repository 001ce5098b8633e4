//! What is asked of a pod.
//!
//! *Invariant:* as in the parent.

use orlop_model::pod::{Dns, HostPort, PidMode, PodNamespaces, Protocol, Seccomp};

use super::*;

type Change = fn(&mut v1::PodSandboxConfig);
type Bad = (&'static str, Change, &'static str);

fn linux(config: &mut v1::PodSandboxConfig) -> &mut v1::LinuxPodSandboxConfig {
    config.linux.as_mut().unwrap()
}

fn context(config: &mut v1::PodSandboxConfig) -> &mut v1::LinuxSandboxSecurityContext {
    linux(config).security_context.as_mut().unwrap()
}

fn metadata(config: &mut v1::PodSandboxConfig) -> &mut v1::PodSandboxMetadata {
    config.metadata.as_mut().unwrap()
}

fn options(config: &mut v1::PodSandboxConfig) -> &mut v1::NamespaceOption {
    context(config).namespace_options.get_or_insert_default()
}

fn port(config: &mut v1::PodSandboxConfig) -> &mut v1::PortMapping {
    let port = v1::PortMapping { protocol: 0, container_port: 80, host_port: 8080, host_ip: String::new() };
    config.port_mappings.push(port);
    config.port_mappings.last_mut().unwrap()
}

fn dns(config: &mut v1::PodSandboxConfig) -> &mut v1::DnsConfig {
    config.dns_config.get_or_insert_default()
}

fn sysctl(config: &mut v1::PodSandboxConfig, name: &str, value: &str) {
    linux(config).sysctls = map([(name, value)]);
}

fn int(value: i64) -> v1::Int64Value {
    v1::Int64Value { value }
}

const BAD: &[Bad] = &[
    ("config.metadata", |c| c.metadata = None, "missing"),
    ("config.metadata.name", |c| metadata(c).name.clear(), "empty"),
    ("config.metadata.name", |c| metadata(c).name = "a/b".into(), "a /"),
    ("config.metadata.name", |c| metadata(c).name = "..".into(), ".."),
    ("config.metadata.name", |c| metadata(c).name = "a\0b".into(), "control"),
    ("config.metadata.name", |c| metadata(c).name = "a".repeat(254), "254 bytes of 253"),
    ("config.metadata.namespace", |c| metadata(c).namespace.clear(), "empty"),
    ("config.metadata.namespace", |c| metadata(c).namespace = "a\nb".into(), "control"),
    ("config.metadata.uid", |c| metadata(c).uid.clear(), "empty"),
    ("config.metadata.uid", |c| metadata(c).uid = "../../etc".into(), "a /"),
    ("config.hostname", |c| c.hostname = "-web".into(), "no host name"),
    ("config.hostname", |c| c.hostname = "web_0".into(), "no host name"),
    ("config.hostname", |c| c.hostname = "web..x".into(), "no host name"),
    ("config.hostname", |c| c.hostname = "a".repeat(64), "no host name"),
    ("config.hostname", |c| c.hostname = format!("{}.bc", "a".repeat(62)), "65 bytes of 64"),
    ("config.hostname", |c| c.hostname = "web 0".into(), "no host name"),
    ("config.log_directory", |c| c.log_directory = "var/log".into(), "no absolute path"),
    ("config.log_directory", |c| c.log_directory = "/var/log/../../etc".into(), ".."),
    ("config.log_directory", |c| c.log_directory = format!("/{}", "x/".repeat(3000)), "4095"),
    ("config.log_directory", |c| c.log_directory = format!("/{}", "x".repeat(256)), "255"),
    ("config.dns_config.servers[0]", |c| dns(c).servers = vec!["ns.example".into()], "no IP address"),
    ("config.dns_config.servers[0]", |c| dns(c).servers = vec!["1.1.1.1\nsearch x".into()], "control"),
    ("config.dns_config.searches[1]", |c| dns(c).searches = vec!["a".into(), "b c".into()], "no domain"),
    ("config.dns_config.options[0]", |c| dns(c).options = vec![String::new()], "no option"),
    ("config.port_mappings[0].container_port", |c| port(c).container_port = 0, "1 to 65535"),
    ("config.port_mappings[0].container_port", |c| port(c).container_port = 65536, "1 to 65535"),
    ("config.port_mappings[0].host_port", |c| port(c).host_port = -1, "1 to 65535"),
    ("config.port_mappings[0].host_port", |c| port(c).host_port = 70000, "70000"),
    ("config.port_mappings[0].protocol", |c| port(c).protocol = 3, "SCTP (2)"),
    ("config.port_mappings[0].host_ip", |c| port(c).host_ip = "localhost".into(), "no IP address"),
    (
        "config.port_mappings[1].host_port",
        |c| {
            port(c);
            port(c).container_port = 81;
        },
        "another port of the pod",
    ),
    ("config.labels", |c| c.labels = map([("", "x")]), "a key is empty"),
    ("config.annotations", |c| c.annotations = map([("a", &"x".repeat(600_000))]), "524288 at most"),
    ("config.linux.cgroup_parent", |c| linux(c).cgroup_parent = "/a/../../b".into(), ".."),
    ("config.linux.cgroup_parent", |c| linux(c).cgroup_parent = "/a\nb".into(), "control"),
    ("config.linux.sysctls", |c| sysctl(c, "kernel.panic", "1"), "it is the node's"),
    ("config.linux.sysctls", |c| sysctl(c, "vm.swappiness", "1"), "allowed: kernel.shm*"),
    ("config.linux.sysctls", |c| sysctl(c, "kernel.semaphore", "1"), "it is the node's"),
    ("config.linux.sysctls", |c| sysctl(c, "network.x", "1"), "it is the node's"),
    ("config.linux.sysctls", |c| sysctl(c, "net", "1"), "it is the node's"),
    ("config.linux.sysctls", |c| sysctl(c, "net.", "1"), "no sysctl's name"),
    ("config.linux.sysctls", |c| sysctl(c, "net..x", "1"), "no sysctl's name"),
    ("config.linux.sysctls", |c| sysctl(c, "net.//.//.kernel.x", "1"), "no sysctl's name"),
    ("config.linux.sysctls", |c| sysctl(c, "net/../kernel/panic", "1"), "no sysctl's name"),
    ("config.linux.sysctls", |c| sysctl(c, "net.a b", "1"), "no sysctl's name"),
    ("config.linux.sysctls", |c| sysctl(c, "net.core.somaxconn", "1\n2"), "control character"),
    (
        "config.linux.sysctls",
        |c| linux(c).sysctls = map([("net.core.somaxconn", "1"), ("net/core/somaxconn", "2")]),
        "twice",
    ),
    (
        "config.linux.sysctls",
        |c| {
            options(c).network = 2;
            sysctl(c, "net.core.somaxconn", "1");
        },
        "the node's network",
    ),
    (
        "config.linux.sysctls",
        |c| {
            options(c).ipc = 2;
            sysctl(c, "kernel.shmmax", "1");
        },
        "the node's IPC namespace",
    ),
    (
        "config.linux.overhead.memory_limit_in_bytes",
        |c| linux(c).overhead.get_or_insert_default().memory_limit_in_bytes = -1,
        "0 to",
    ),
    (
        "config.linux.resources.cpu_shares",
        |c| linux(c).resources.get_or_insert_default().cpu_shares = 1,
        "2 to",
    ),
    (
        "config.linux.security_context.namespace_options.network",
        |c| options(c).network = 1,
        "allowed: POD, NODE",
    ),
    ("config.linux.security_context.namespace_options.network", |c| options(c).network = 3, "TARGET"),
    ("config.linux.security_context.namespace_options.network", |c| options(c).network = 17, "\"17\""),
    ("config.linux.security_context.namespace_options.ipc", |c| options(c).ipc = 1, "CONTAINER"),
    ("config.linux.security_context.namespace_options.pid", |c| options(c).pid = 3, "POD, CONTAINER, NODE"),
    ("config.linux.security_context.namespace_options.pid", |c| options(c).pid = -1, "\"-1\""),
    (
        "config.linux.security_context.namespace_options.target_id",
        |c| options(c).target_id = "ab".into(),
        "no target",
    ),
    (
        "config.linux.security_context.namespace_options.userns_options.mode",
        |c| options(c).userns_options = Some(v1::UserNamespace { mode: 1, ..Default::default() }),
        "allowed: POD, NODE",
    ),
    (
        "config.linux.security_context.namespace_options.userns_options",
        |c| {
            let uids = vec![v1::IdMapping { host_id: 1, container_id: 0, length: 1 }];
            options(c).userns_options = Some(v1::UserNamespace { mode: 2, uids, gids: vec![] });
        },
        "mappings belong to mode POD",
    ),
    (
        "config.linux.security_context.namespace_options.userns_options.uids",
        |c| options(c).userns_options = Some(v1::UserNamespace::default()),
        "exactly one mapping",
    ),
    (
        "config.linux.security_context.run_as_user",
        |c| context(c).run_as_user = Some(int(-1)),
        "0 to 4294967294",
    ),
    (
        "config.linux.security_context.run_as_group",
        |c| context(c).run_as_group = Some(int(5)),
        "it needs run_as_user",
    ),
    (
        "config.linux.security_context.supplemental_groups[1]",
        |c| context(c).supplemental_groups = vec![0, 1 << 32],
        "0 to 4294967294",
    ),
    (
        "config.linux.security_context.supplemental_groups_policy",
        |c| context(c).supplemental_groups_policy = 2,
        "Merge (0), Strict (1)",
    ),
    (
        "config.linux.security_context.seccomp.profile_type",
        |c| context(c).seccomp = Some(v1::SecurityProfile { profile_type: 3, ..Default::default() }),
        "Localhost (2)",
    ),
];

#[test]
fn what_cannot_be_is_refused_by_its_field() {
    for (field, change, words) in BAD {
        let mut config = good_pod();
        change(&mut config);
        let report = pod_config(&config, "", NODE).expect_err(field);
        assert_names(&report, Kind::BadRequest, field, words);
    }
    let report = pod_config(&good_pod(), "../native", NODE).unwrap_err();
    assert_names(&report, Kind::BadRequest, "runtime_handler", "a /");
}

#[test]
fn what_this_version_cannot_do_is_not_ignored() {
    let rows: &[(&str, Change)] =
        &[("config.windows", |c| c.windows = Some(v1::WindowsPodSandboxConfig::default()))];
    for (field, change) in rows {
        let mut config = good_pod();
        change(&mut config);
        let report = pod_config(&config, "", NODE).expect_err(field);
        assert_names(&report, Kind::Unsupported, field, "not supported by this version");
    }
    let mut config = good_pod();
    context(&mut config).apparmor =
        Some(v1::SecurityProfile { profile_type: 2, localhost_ref: "strict".into() });
    let report = pod_config(&config, "", NODE).unwrap_err();
    let field = "config.linux.security_context.apparmor.localhost_ref";
    assert_names(&report, Kind::Unsupported, field, "no AppArmor");
    let mut config = good_pod();
    context(&mut config).selinux_options.get_or_insert_default().level = "s0:c1,c2".into();
    let report = pod_config(&config, "", NODE).unwrap_err();
    assert_names(&report, Kind::Unsupported, "config.linux.security_context.selinux_options", "no SELinux");
    assert_eq!(pod_config(&config, "", Node { selinux: true, ..NODE }).unwrap().selinux.level, "s0:c1,c2");
}

#[test]
fn a_pod_that_says_little_is_taken() {
    let config = v1::PodSandboxConfig { metadata: good_pod().metadata, ..Default::default() };
    let pod = pod_config(&config, "", NODE).unwrap();
    assert_eq!((pod.name.name.as_str(), pod.name.attempt), ("web-0", 2));
    assert_eq!(pod.namespaces, PodNamespaces::default());
    assert_eq!(pod.seccomp, Seccomp::Unconfined);
    assert_eq!(pod.dns, None);
}

#[test]
fn all_that_can_be_asked_for_arrives() {
    let mut config = good_pod();
    config.labels = map([("app", "web")]);
    config.annotations = map([("note", "any\nthing \0")]);
    *dns(&mut config) = v1::DnsConfig {
        servers: vec!["10.96.0.10".into(), "fe80::1%eth0".into()],
        searches: vec!["svc.cluster.local".into()],
        options: vec!["ndots:5".into()],
    };
    *port(&mut config) =
        v1::PortMapping { protocol: 1, container_port: 53, host_port: 5353, host_ip: "::1".into() };
    // The same again is the same; one that opens nothing is none.
    config.port_mappings.push(config.port_mappings[0].clone());
    port(&mut config).host_port = 0;
    linux(&mut config).cgroup_parent = "kubepods//pod1/".into();
    linux(&mut config).sysctls = map([
        ("kernel.shm_rmid_forced", "1"),
        ("net/ipv4/conf/eth0.1/rp_filter", "1"),
        ("net.core.x", "1\t2 3"),
    ]);
    let asked = context(&mut config);
    asked.privileged = true;
    asked.run_as_user = Some(int(1000));
    asked.run_as_group = Some(int(1000));
    asked.selinux_options = Some(v1::SeLinuxOption::default());
    asked.apparmor = Some(v1::SecurityProfile::default());
    asked.seccomp = Some(v1::SecurityProfile { profile_type: 2, localhost_ref: "/etc/p.json".into() });
    let userns_options = Some(v1::UserNamespace { mode: 2, ..Default::default() });
    *options(&mut config) = v1::NamespaceOption { pid: 1, userns_options, ..Default::default() };

    let pod = pod_config(&config, "native", NODE).unwrap();
    assert_eq!(pod.labels, map([("app", "web")]));
    assert_eq!(pod.annotations, config.annotations);
    let dns = config.dns_config.unwrap();
    assert_eq!(pod.dns, Some(Dns { servers: dns.servers, searches: dns.searches, options: dns.options }));
    let host_ip = Some("::1".parse().unwrap());
    let port = HostPort { protocol: Protocol::Udp, container_port: 53, host_port: 5353, host_ip };
    assert_eq!(pod.ports, [port]);
    assert_eq!(pod.cgroup_parent, "/kubepods/pod1");
    let names: Vec<_> = pod.sysctls.keys().map(String::as_str).collect();
    assert_eq!(names, ["kernel.shm_rmid_forced", "net.core.x", "net.ipv4.conf.eth0/1.rp_filter"]);
    assert_eq!(pod.handler, "native");
    assert!(pod.privileged);
    assert_eq!(pod.seccomp, Seccomp::Localhost("/etc/p.json".into()));
    let namespaces = PodNamespaces { pid: PidMode::Container, ..PodNamespaces::default() };
    assert_eq!(pod.namespaces, namespaces);
}

#[test]
fn a_pod_in_the_nodes_network_has_the_nodes_name_and_opens_no_port() {
    let mut config = good_pod();
    (options(&mut config).network, options(&mut config).ipc) = (2, 2);
    config.hostname = "Node_of.mine".into();
    port(&mut config).host_port = 80;
    let pod = pod_config(&config, "", NODE).unwrap();
    assert!(
        pod.namespaces.host_network
            && pod.namespaces.host_ipc
            && pod.hostname.is_empty()
            && pod.ports.is_empty()
    );
}
