//! Of a pod by itself.

use orlop_proto::runtime::v1::{
    Int64Value, LinuxContainerResources, LinuxSandboxSecurityContext, PodSandboxConfig, PortMapping,
};
use orlop_tests::daemon::stage::namespaces;

use crate::{NO, NOT_HERE, Row, profile};

/// An annotation that stands for the handler, which is beside the configuration.
pub(crate) const HANDLER: &str = "handler";

fn sysctl(pod: &mut PodSandboxConfig, name: &str, value: &str) {
    pod.linux.get_or_insert_default().sysctls.insert(name.into(), value.into());
}

fn context(pod: &mut PodSandboxConfig) -> &mut LinuxSandboxSecurityContext {
    pod.linux.get_or_insert_default().security_context.get_or_insert_default()
}

fn sums(pod: &mut PodSandboxConfig) -> &mut LinuxContainerResources {
    pod.linux.get_or_insert_default().resources.get_or_insert_default()
}

fn overhead(pod: &mut PodSandboxConfig) -> &mut LinuxContainerResources {
    pod.linux.get_or_insert_default().overhead.get_or_insert_default()
}

pub(crate) const ROWS: &[Row<PodSandboxConfig>] = &[
    (
        "a sysctl of the network in the node's network",
        |p| {
            namespaces(p).network = 2;
            sysctl(p, "net.ipv4.ip_forward", "1");
        },
        NO,
        &["config.linux.sysctls", "net.ipv4.ip_forward", "the node's"],
    ),
    (
        "a sysctl of shared memory in the node's IPC",
        |p| {
            namespaces(p).ipc = 2;
            sysctl(p, "kernel.shm_rmid_forced", "1");
        },
        NO,
        &["config.linux.sysctls", "kernel.shm_rmid_forced", "IPC"],
    ),
    (
        "a sysctl of queues in the node's IPC",
        |p| {
            namespaces(p).ipc = 2;
            sysctl(p, "fs.mqueue.msg_max", "9");
        },
        NO,
        &["config.linux.sysctls", "fs.mqueue.msg_max", "IPC"],
    ),
    (
        "a sysctl of all memory",
        |p| sysctl(p, "vm.overcommit_memory", "1"),
        NO,
        &["config.linux.sysctls", "vm.overcommit_memory"],
    ),
    (
        "a sysctl of all files",
        |p| sysctl(p, "fs.file-max", "1"),
        NO,
        &["config.linux.sysctls", "fs.file-max"],
    ),
    (
        "a sysctl of the kernel",
        |p| sysctl(p, "kernel.core_pattern", "|/x"),
        NO,
        &["config.linux.sysctls", "kernel.core_pattern"],
    ),
    (
        "one sysctl by two names",
        |p| {
            sysctl(p, "net.core.somaxconn", "1");
            sysctl(p, "net/core/somaxconn", "2");
        },
        NO,
        &["config.linux.sysctls", "twice"],
    ),
    (
        "a sysctl of no interface",
        |p| sysctl(p, "net.ipv4.conf.nowhere0.forwarding", "1"),
        NO,
        &["config.linux.sysctls", "nowhere0"],
    ),
    (
        "a port range backwards",
        |p| sysctl(p, "net.ipv4.ip_local_port_range", "9 1"),
        NO,
        &["config.linux.sysctls", "ip_local_port_range"],
    ),
    (
        "a queue of a negative length",
        |p| sysctl(p, "fs.mqueue.msg_max", "-5"),
        NO,
        &["config.linux.sysctls", "fs.mqueue.msg_max"],
    ),
    (
        "a group for nobody",
        |p| context(p).run_as_group = Some(Int64Value { value: 5 }),
        NO,
        &["security_context.run_as_group"],
    ),
    (
        "a named profile for the default",
        |p| context(p).seccomp = Some(profile(0, "/p.json")),
        NO,
        &["seccomp.localhost_ref"],
    ),
    (
        "no name for a named profile",
        |p| context(p).seccomp = Some(profile(2, "")),
        NO,
        &["seccomp.localhost_ref"],
    ),
    (
        "a context where there is none",
        |p| context(p).selinux_options.get_or_insert_default().r#type = "spc_t".into(),
        NOT_HERE,
        &["security_context.selinux_options", "spc_t"],
    ),
    (
        "less swap and memory than memory, all in all",
        |p| (sums(p).memory_limit_in_bytes, sums(p).memory_swap_limit_in_bytes) = (8 << 20, 4 << 20),
        NO,
        &["config.linux.resources.memory_swap_limit_in_bytes"],
    ),
    ("an overhead without a slice", |p| overhead(p).cpu_quota = 5, NO, &["config.linux.overhead.cpu_quota"]),
    (
        "one host port for two ports",
        |p| {
            let port =
                |container_port| PortMapping { container_port, host_port: 7, ..PortMapping::default() };
            p.port_mappings = vec![port(80), port(81)];
        },
        NO,
        &["config.port_mappings[1].host_port"],
    ),
    ("a target for a pod", |p| namespaces(p).target_id = "ab".into(), NO, &["namespace_options.target_id"]),
    ("a PID namespace of a target", |p| namespaces(p).pid = 3, NO, &["namespace_options.pid"]),
    ("a network for each container", |p| namespaces(p).network = 1, NO, &["namespace_options.network"]),
    ("an IPC for each container", |p| namespaces(p).ipc = 1, NO, &["namespace_options.ipc"]),
    (
        "a handler that is not there",
        |p| drop(p.annotations.insert(HANDLER.into(), "gvisor".into())),
        NO,
        &["runtime_handler", "gvisor"],
    ),
];
