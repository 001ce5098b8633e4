//! What is asked of a container, once checked.

use std::collections::BTreeMap;

use crate::pod::{AppArmor, Seccomp, Selinux};

/// Who a container is within its pod. Two requests with both the same are the same request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerName {
    /// Its name.
    pub name: String,
    /// Which try it is, from 0.
    pub attempt: u32,
}

/// What is asked of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerConfig {
    /// Who it is.
    pub name: ContainerName,
    /// The image: id or reference, as kubelet resolved it.
    pub image: String,
    /// The image as the user wrote it, for status; may be empty.
    pub user_image: String,
    /// Replaces the image's entrypoint (and its command, then).
    pub command: Vec<String>,
    /// Replaces the image's command.
    pub args: Vec<String>,
    /// Working directory; empty: the image's.
    pub working_dir: String,
    /// Added to the image's environment, in order; a later one of a name wins. Values are bytes.
    pub envs: Vec<(String, Vec<u8>)>,
    /// What is mounted into it.
    pub mounts: Vec<Mount>,
    /// Devices of the node that it gets.
    pub devices: Vec<Device>,
    /// Devices that it gets by their CDI names.
    pub named_devices: Vec<NamedDevice>,
    /// For selection.
    pub labels: BTreeMap<String, String>,
    /// For information; given back unchanged.
    pub annotations: BTreeMap<String, String>,
    /// Log file, relative to the pod's log directory; empty: no log.
    pub log_path: String,
    /// Whether stdin can be attached to.
    pub stdin: bool,
    /// Whether stdin closes after the first attach.
    pub stdin_once: bool,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Limits.
    pub resources: Resources,
    /// What it may do.
    pub security: Security,
    /// Signal to stop it, by number; none: the image's, else SIGTERM.
    pub stop_signal: Option<i32>,
}

/// How mounts travel between node and container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Propagation {
    /// Not at all.
    #[default]
    Private,
    /// From the node into the container: rslave.
    HostToContainer,
    /// Both ways: rshared.
    Bidirectional,
}

/// A path of the node, or an image, that is mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "as the interface asks: each is a wish of its own")]
pub struct Mount {
    /// Where it is seen, absolute.
    pub container_path: String,
    /// What is seen, absolute; empty where it is an image.
    pub host_path: String,
    /// The image that is seen.
    pub image: Option<ImageVolume>,
    /// Whether it is read-only.
    pub readonly: bool,
    /// Whether the mounts below it are read-only too.
    pub recursive_read_only: bool,
    /// How mounts travel.
    pub propagation: Propagation,
    /// Whether files of it get the context that the container's files have.
    pub relabel: bool,
    /// Further options that restrict it, as mount(8) names them: `noexec`, `rnosuid`.
    pub options: Vec<String>,
    /// Whether its owners are mapped by the maps of the pod's user namespace.
    pub mapped: bool,
}

/// An image, or a directory of one, that is mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageVolume {
    /// The image: id or reference.
    pub image: String,
    /// Directory of it, relative to its root; empty: all of it.
    pub sub_path: String,
}

/// A device of the node that a container gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where it is seen.
    pub container_path: String,
    /// Which it is; a directory stands for all devices in it.
    pub host_path: String,
    /// Of r, w and m, those allowed.
    pub permissions: String,
}

/// A device that a container gets by its CDI name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedDevice {
    /// Which field of the request asks for it.
    pub field: String,
    /// Vendor, class and name: `vendor.com/class=name`.
    pub name: String,
}

/// Limits of a container: those that CRI gives, and those that only plugins and OCI specs know. 0, empty and none: not asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resources {
    /// CFS period, microseconds.
    pub cpu_period: i64,
    /// CFS quota, microseconds a period; -1 for no limit.
    pub cpu_quota: i64,
    /// Relative weight, 2 to 262144.
    pub cpu_shares: i64,
    /// Bytes.
    pub memory_limit: i64,
    /// Bytes of memory and swap together.
    pub memory_swap_limit: i64,
    /// -1000 to 1000.
    pub oom_score_adj: i64,
    /// CPUs, as `0-3,7`.
    pub cpuset_cpus: String,
    /// Memory nodes.
    pub cpuset_mems: String,
    /// Page size as the kernel names it (`2MB`), and bytes.
    pub hugepages: Vec<(String, u64)>,
    /// Files of cgroup v2 and their values.
    pub unified: BTreeMap<String, String>,
    /// What CRI has no word for; mostly there is none.
    pub further: Option<Box<Further>>,
}

/// Limits that CRI has no word for: of plugins, of OCI specs. 0, empty and none: not asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Further {
    /// CPU time for real-time tasks, microseconds a period.
    pub cpu_realtime_runtime: i64,
    /// Its period.
    pub cpu_realtime_period: u64,
    /// CPU time that may be saved up and used at once, microseconds.
    pub cpu_burst: Option<u64>,
    /// Whether it runs only where nobody else wants the CPU (`cpu.idle`): 1, or 0.
    pub cpu_idle: Option<i64>,
    /// Bytes below which memory is not taken from it while there is other.
    pub memory_reservation: i64,
    /// 0 to 100: how willingly it is swapped out (v1).
    pub memory_swappiness: Option<u64>,
    /// Whether a container that is over its limit waits instead of being killed (v1).
    pub memory_disable_oom_killer: bool,
    /// Processes and threads; -1 for no limit.
    pub pids_limit: Option<i64>,
    /// Input and output of block devices.
    pub block_io: BlockIo,
    /// Of an RDMA device by name: handles and objects.
    pub rdma: Vec<(String, Option<u32>, Option<u32>)>,
}

/// Limits of input and output; devices by major and minor number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockIo {
    /// Relative weight, 10 to 1000.
    pub weight: Option<u16>,
    /// Relative weight against its children, 10 to 1000 (v1).
    pub leaf_weight: Option<u16>,
    /// Relative weights by device.
    pub weight_devices: Vec<(u64, u64, u16)>,
    /// Bytes read a second.
    pub read_bps: Vec<(u64, u64, u64)>,
    /// Bytes written a second.
    pub write_bps: Vec<(u64, u64, u64)>,
    /// Reads a second.
    pub read_iops: Vec<(u64, u64, u64)>,
    /// Writes a second.
    pub write_iops: Vec<(u64, u64, u64)>,
}

/// Who runs a container's program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum User {
    /// The image's, else root.
    #[default]
    Image,
    /// By number.
    Id(u32),
    /// By name, in the container's own /etc/passwd.
    Name(String),
}

/// How groups of /etc/group count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GroupsPolicy {
    /// Those asked for, and those of the image's /etc/group.
    #[default]
    Merge,
    /// Only those asked for.
    Strict,
}

/// Whose PID namespace a container uses, with the target where it is another container's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PidNamespace {
    /// The pod's.
    #[default]
    Pod,
    /// Its own.
    Container,
    /// The node's.
    Node,
    /// That of a container of the same pod: its id, or how it begins, as it was asked for.
    Target(String),
}

/// What a container may do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Security {
    /// Everything that the daemon itself may do.
    pub privileged: bool,
    /// Whose PID namespace.
    pub pid: PidNamespace,
    /// Who runs its program.
    pub user: User,
    /// The primary group; none: as /etc/passwd says.
    pub group: Option<u32>,
    /// Further groups.
    pub supplemental_groups: Vec<u32>,
    /// How those of /etc/group count.
    pub groups_policy: GroupsPolicy,
    /// Whether its root is read-only.
    pub readonly_rootfs: bool,
    /// Whether no program may gain privileges.
    pub no_new_privs: bool,
    /// Capabilities over the default ones, by name without `CAP_`, or `ALL`.
    pub add_capabilities: Vec<String>,
    /// Capabilities taken away, or `ALL`.
    pub drop_capabilities: Vec<String>,
    /// Capabilities that a non-root program keeps over exec.
    pub ambient_capabilities: Vec<String>,
    /// Covered paths.
    pub masked_paths: Vec<String>,
    /// Read-only paths.
    pub readonly_paths: Vec<String>,
    /// Its filter of system calls.
    pub seccomp: Seccomp,
    /// Its AppArmor profile.
    pub apparmor: AppArmor,
    /// Its context of SELinux; all empty: its pod's.
    pub selinux: Selinux,
}
