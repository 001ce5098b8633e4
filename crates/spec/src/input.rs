//! What has to be known to make a container's spec, gathered by whoever may ask the machine.
//!
//! *Invariant:* values only. Paths are names here; nobody in this crate opens them.

use std::path::PathBuf;

use oci_spec::image::Config as ImageConfig;
use orlop_model::container::ContainerConfig;
use orlop_model::id::{ContainerId, PodId};
use orlop_model::pod::PodConfig;

use crate::accounts::Identity;
use crate::selinux::Labels;

/// All that a container's spec is made of.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The container's id.
    pub container: &'a ContainerId,
    /// What was asked of the pod.
    pub pod: &'a PodConfig,
    /// What the pod became.
    pub facts: &'a PodFacts,
    /// What is asked of the container.
    pub config: &'a ContainerConfig,
    /// What the image says; none where its configuration has no such part.
    pub image: Option<&'a ImageConfig>,
    /// Who runs its program: [`crate::accounts::resolve`].
    pub identity: &'a Identity,
    /// What the node has.
    pub node: &'a Node,
    /// The devices that `config.devices` asks for, looked up (a directory stands for all in it).
    pub devices: &'a [Granted],
    /// Of each mount of `config.mounts` that is of an image, in their order: the directories whose overlay it is, topmost first; two
    /// at least.
    pub images: &'a [Vec<PathBuf>],
    /// The content of the seccomp profile: of the file that the request names or, for `RuntimeDefault`, the node's own default where
    /// its configuration names one.
    pub seccomp_profile: Option<&'a [u8]>,
    /// The AppArmor profile that confines it, by its name; none: none does.
    pub apparmor: Option<&'a str>,
    /// Its contexts of SELinux; none: the kernel has no SELinux.
    pub labels: Option<&'a Labels>,
    /// The PID namespace of the container that `PidNamespace::Target` names.
    pub target_pid: Option<&'a PathBuf>,
    /// The container's cgroup, as the OCI spec's `cgroupsPath` has it; may be empty.
    pub cgroups_path: &'a str,
}

/// What a pod became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodFacts {
    /// Its id.
    pub id: PodId,
    /// Host name in its UTS namespace: the pod's or, in the node's network, the node's.
    pub hostname: String,
    /// Its user namespace; none: the node's.
    pub user: Option<PathBuf>,
    /// Its network namespace, pinned; none: the node's.
    pub net: Option<PathBuf>,
    /// Its IPC namespace; none: the node's.
    pub ipc: Option<PathBuf>,
    /// Its UTS namespace; none: the node's.
    pub uts: Option<PathBuf>,
    /// Its PID namespace, where its containers share one.
    pub pid: Option<PathBuf>,
    /// Its `/dev/shm`; none: the node's.
    pub shm: Option<PathBuf>,
    /// The file that its containers see as `/etc/resolv.conf`.
    pub resolv_conf: Option<PathBuf>,
    /// As `/etc/hosts`.
    pub hosts: Option<PathBuf>,
    /// As `/etc/hostname`.
    pub hostname_file: Option<PathBuf>,
}

/// What a node has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The bounding set of the daemon: no container gets more.
    pub capabilities: u64,
    /// How cgroups are mounted.
    pub cgroups: CgroupLayout,
    /// All devices of /dev, for privileged containers.
    pub devices: Vec<DeviceNode>,
    /// The kernel's version: major, minor.
    pub kernel: (u32, u32),
    /// The lowest `oom_score_adj` that the daemon may set: its own, unless it has `CAP_SYS_RESOURCE` (proc(5)).
    pub oom_floor: i32,
    /// Whether it can mount a cgroup namespace's own view.
    pub cgroup_namespaces: bool,
}

/// How cgroups are mounted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CgroupLayout {
    /// Not at all.
    #[default]
    Nowhere,
    /// Version 1, each hierarchy at its place; a version 2 beside it (hybrid) is for the runtime alone.
    V1(Vec<Hierarchy>),
    /// Version 2 at this place.
    V2(PathBuf),
}

/// A version 1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted on the node, `/sys/fs/cgroup/cpu,cpuacct`.
    pub mountpoint: PathBuf,
    /// Its controllers: `cpu`, `cpuacct`; or its name: `name=systemd`.
    pub options: Vec<String>,
}

/// What a device node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A FIFO.
    Fifo,
}

/// A device of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceNode {
    /// Its path on the node.
    pub path: PathBuf,
    /// What it is.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A device that a container gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Which.
    pub node: DeviceNode,
    /// Where the container sees it, absolute.
    pub container_path: String,
    /// Of r, w and m, those allowed.
    pub permissions: String,
}
