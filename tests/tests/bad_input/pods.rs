//! Pods that cannot be.

use orlop_proto::runtime::v1::*;
use orlop_tests::cri;
use orlop_tests::daemon::Daemon;
use orlop_tests::daemon::stage::namespaces;
use orlop_tests::port;
use tonic::Code;

use crate::call::Call;
use crate::row::{Row, judge};

type Change = fn(&mut PodSandboxConfig);
type Bad = (&'static str, Change, &'static [&'static str]);

fn metadata(pod: &mut PodSandboxConfig) -> &mut PodSandboxMetadata {
    pod.metadata.as_mut().expect("metadata")
}

fn linux(pod: &mut PodSandboxConfig) -> &mut LinuxPodSandboxConfig {
    pod.linux.as_mut().expect("of Linux")
}

fn security(pod: &mut PodSandboxConfig) -> &mut LinuxSandboxSecurityContext {
    linux(pod).security_context.as_mut().expect("a context")
}

fn port(pod: &mut PodSandboxConfig) -> &mut PortMapping {
    pod.port_mappings.push(PortMapping { container_port: 80, ..PortMapping::default() });
    pod.port_mappings.last_mut().expect("it was put there")
}

fn dns(pod: &mut PodSandboxConfig) -> &mut DnsConfig {
    pod.dns_config.get_or_insert_default()
}

fn sysctl(pod: &mut PodSandboxConfig, name: &str, value: &str) {
    linux(pod).sysctls.insert(name.into(), value.into());
}

fn profile(number: i32, reference: &str) -> SecurityProfile {
    SecurityProfile { profile_type: number, localhost_ref: reference.into() }
}

const INVALID: &[Bad] = &[
    ("no metadata", |p| p.metadata = None, &["config.metadata"]),
    ("an empty name", |p| metadata(p).name.clear(), &["config.metadata.name", "empty"]),
    ("an empty namespace", |p| metadata(p).namespace.clear(), &["config.metadata.namespace", "empty"]),
    ("an empty uid", |p| metadata(p).uid.clear(), &["config.metadata.uid", "empty"]),
    ("a name with a slash", |p| metadata(p).name = "../x".into(), &["config.metadata.name", "\"../x\""]),
    ("a uid that climbs", |p| metadata(p).uid = "..".into(), &["config.metadata.uid"]),
    (
        "a name with an escape",
        |p| metadata(p).name = "\u{1b}[2J".into(),
        &["config.metadata.name", "control"],
    ),
    ("a name that is too long", |p| metadata(p).name = "x".repeat(254), &["config.metadata.name", "253"]),
    ("a host name of two words", |p| p.hostname = "a b".into(), &["config.hostname", "\"a b\""]),
    ("a host name of 65 bytes", |p| p.hostname = "x".repeat(65), &["config.hostname", "64"]),
    ("a relative log directory", |p| p.log_directory = "logs".into(), &["config.log_directory", "absolute"]),
    ("a log directory that climbs", |p| p.log_directory = "/a/../b".into(), &["config.log_directory", ".."]),
    ("a NUL in a path", |p| p.log_directory = "/a\0b".into(), &["config.log_directory", "control"]),
    ("a name server by name", |p| dns(p).servers = vec!["dns".into()], &["config.dns_config.servers[0]"]),
    (
        "a search domain of two lines",
        |p| dns(p).searches = vec!["a".into(), "b\nnameserver 1.1.1.1".into()],
        &["config.dns_config.searches[1]"],
    ),
    ("an empty option of DNS", |p| dns(p).options = vec![String::new()], &["config.dns_config.options[0]"]),
    ("port 0", |p| port(p).container_port = 0, &["config.port_mappings[0].container_port", "65535"]),
    ("port 65536", |p| port(p).host_port = 65536, &["config.port_mappings[0].host_port", "65535"]),
    ("port -1", |p| port(p).host_port = -1, &["config.port_mappings[0].host_port", "\"-1\""]),
    ("protocol 3", |p| port(p).protocol = 3, &["config.port_mappings[0].protocol", "SCTP (2)"]),
    ("a host IP by name", |p| port(p).host_ip = "localhost".into(), &["config.port_mappings[0].host_ip"]),
    (
        "one host port for two ports",
        |p| {
            port(p).host_port = 7;
            *port(p) = PortMapping { container_port: 81, host_port: 7, ..PortMapping::default() };
        },
        &["config.port_mappings[1].host_port", "\"7\""],
    ),
    ("network CONTAINER", |p| namespaces(p).network = 1, &["namespace_options.network", "POD, NODE"]),
    ("network 7", |p| namespaces(p).network = 7, &["namespace_options.network", "\"7\""]),
    ("ipc TARGET", |p| namespaces(p).ipc = 3, &["namespace_options.ipc", "TARGET"]),
    ("pid TARGET", |p| namespaces(p).pid = 3, &["namespace_options.pid", "POD, CONTAINER, NODE"]),
    ("pid -1", |p| namespaces(p).pid = -1, &["namespace_options.pid", "\"-1\""]),
    ("a target", |p| namespaces(p).target_id = "ab".into(), &["namespace_options.target_id"]),
    (
        "a user namespace of no ids",
        |p| namespaces(p).userns_options = Some(UserNamespace::default()),
        &["userns_options.uids"],
    ),
    (
        "user namespace mode 9",
        |p| namespaces(p).userns_options = Some(UserNamespace { mode: 9, ..UserNamespace::default() }),
        &["userns_options.mode", "\"9\""],
    ),
    ("a sysctl of the node", |p| sysctl(p, "vm.swappiness", "1"), &["config.linux.sysctls", "vm.swappiness"]),
    ("a host name by sysctl", |p| sysctl(p, "kernel.hostname", "x"), &["config.linux.sysctls"]),
    ("a sysctl that climbs", |p| sysctl(p, "net/../kernel/panic", "1"), &["config.linux.sysctls"]),
    ("a sysctl without a name", |p| sysctl(p, "", "1"), &["config.linux.sysctls"]),
    ("a sysctl that nobody has", |p| sysctl(p, "net.no.such", "1"), &["config.linux.sysctls", "net.no.such"]),
    (
        "a value that is none",
        |p| sysctl(p, "net.core.somaxconn", "many"),
        &["config.linux.sysctls", "net.core.somaxconn"],
    ),
    (
        "a value of two lines",
        |p| sysctl(p, "net.core.somaxconn", "1\n2"),
        &["config.linux.sysctls", "control"],
    ),
    (
        "a sysctl of the network without one",
        |p| {
            namespaces(p).network = 2;
            sysctl(p, "net.core.somaxconn", "128");
        },
        &["config.linux.sysctls", "the node's network"],
    ),
    (
        "a sysctl of IPC without one",
        |p| {
            namespaces(p).ipc = 2;
            sysctl(p, "kernel.msgmax", "8192");
        },
        &["config.linux.sysctls", "IPC"],
    ),
    (
        "a cgroup that climbs",
        |p| linux(p).cgroup_parent = "/a/../../b".into(),
        &["config.linux.cgroup_parent"],
    ),
    ("user -1", |p| security(p).run_as_user = Some(Int64Value { value: -1 }), &["run_as_user", "\"-1\""]),
    ("group 2^33", |p| security(p).supplemental_groups = vec![1 << 33], &["supplemental_groups[0]"]),
    ("policy 9", |p| security(p).supplemental_groups_policy = 9, &["supplemental_groups_policy"]),
    ("a profile of kind 9", |p| security(p).seccomp = Some(profile(9, "")), &["seccomp.profile_type"]),
    ("a profile without a path", |p| security(p).seccomp = Some(profile(2, "")), &["seccomp.localhost_ref"]),
    ("a relative profile", |p| security(p).seccomp = Some(profile(2, "p.json")), &["seccomp.localhost_ref"]),
    (
        "an overhead that cannot be",
        |p| linux(p).overhead = Some(LinuxContainerResources { cpu_period: 1, ..Default::default() }),
        &["config.linux.overhead.cpu_period"],
    ),
    (
        "resources that cannot be",
        |p| {
            linux(p).resources =
                Some(LinuxContainerResources { memory_limit_in_bytes: -1, ..Default::default() });
        },
        &["config.linux.resources.memory_limit_in_bytes"],
    ),
    ("a label without a key", |p| p.labels = [(String::new(), String::new())].into(), &["config.labels"]),
    (
        "annotations of 600 kB",
        |p| p.annotations = [("a".into(), "x".repeat(600_000))].into(),
        &["config.annotations", "at most"],
    ),
];

const UNSUPPORTED: &[Bad] = &[
    ("a pod of Windows", |p| p.windows = Some(WindowsPodSandboxConfig::default()), &["config.windows"]),
    (
        "an SELinux label",
        |p| {
            security(p).selinux_options =
                Some(SeLinuxOption { r#type: "spc_t".into(), ..Default::default() });
        },
        &["selinux_options"],
    ),
    (
        "an AppArmor profile",
        |p| security(p).apparmor = Some(profile(2, "strict")),
        &["apparmor.localhost_ref"],
    ),
];

fn run(config: PodSandboxConfig, handler: &str) -> Call {
    Call::RunPod(Box::new(RunPodSandboxRequest { config: Some(config), runtime_handler: handler.into() }))
}

#[tokio::test]
async fn pods_that_cannot_be_are_refused() {
    let daemon = Daemon::start("badpods").await;
    let mut client = daemon.client().await;
    let good = cri::pod("bad", &daemon.logs("bad"));
    let changed = |change: &Change| {
        let mut config = good.clone();
        change(&mut config);
        config
    };
    let mut rows = vec![
        Row::new(
            "no configuration",
            Call::RunPod(Box::default()),
            Code::InvalidArgument,
            &["config.metadata"],
        ),
        Row::new(
            "no such handler",
            run(good.clone(), "kata"),
            Code::InvalidArgument,
            &["runtime_handler", "kata"],
        ),
        Row::new(
            "a handler's path",
            run(good.clone(), "../kata"),
            Code::InvalidArgument,
            &["runtime_handler"],
        ),
    ];
    let invalid = INVALID.iter().map(|(name, change, words)| (name, change, words, Code::InvalidArgument));
    let unsupported =
        UNSUPPORTED.iter().map(|(name, change, words)| (name, change, words, Code::Unimplemented));
    for (name, change, words, code) in invalid.chain(unsupported) {
        rows.push(Row::new(*name, run(changed(change), ""), code, words));
    }
    let state = PodSandboxStateValue { state: 9 };
    let filter = PodSandboxFilter { state: Some(state), ..PodSandboxFilter::default() };
    rows.push(Row::new("state 9", Call::Pods(filter), Code::InvalidArgument, &["filter.state", "\"9\""]));
    judge(&daemon, &mut client, rows).await;
    drop(client);
    daemon.end().await;
}

#[tokio::test]
async fn a_host_port_leads_to_one_pod() {
    let daemon = Daemon::start("badports").await;
    let mut client = daemon.client().await;
    let host_port = i32::from(port::free());
    let with_port = |name: &str| {
        let mut config = cri::pod(name, &daemon.logs(name));
        port(&mut config).host_port = host_port;
        config
    };
    let first = client.run_pod(&with_port("first")).await.expect("a pod with a host port");
    let taken = run(with_port("second"), "");
    let words = [host_port.to_string()];
    let row = Row::new("a host port that is taken", taken, Code::FailedPrecondition, &[words[0].as_str()]);
    judge(&daemon, &mut client, vec![row]).await;
    // It is free again when its pod is stopped.
    client.stop_pod(&first).await.expect("stopped");
    client.run_pod(&with_port("second")).await.expect("a pod with the port of another before it");
    drop(client);
    daemon.end().await;
}
