//! What is asked of a pod sandbox, once checked.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Who a pod is. Two requests with the same four are the same request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodName {
    /// Its name.
    pub name: String,
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// The pod object's UID.
    pub uid: String,
    /// Which try it is, from 0.
    pub attempt: u32,
}

/// What is asked of a pod sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodConfig {
    /// Who it is.
    pub name: PodName,
    /// Host name of its UTS namespace; empty: the node's.
    pub hostname: String,
    /// Directory of its containers' logs, absolute; empty: no logs.
    pub log_directory: String,
    /// What resolv.conf says; none: the node's.
    pub dns: Option<Dns>,
    /// Ports of the node that lead to it.
    pub ports: Vec<HostPort>,
    /// For selection.
    pub labels: BTreeMap<String, String>,
    /// For information; given back unchanged.
    pub annotations: BTreeMap<String, String>,
    /// The runtime class's handler; empty: the default.
    pub handler: String,
    /// Cgroup below which its containers live (cgroupfs: a path); empty: the daemon's own.
    pub cgroup_parent: String,
    /// Sysctls by dotted name.
    pub sysctls: BTreeMap<String, String>,
    /// Which namespaces it has for itself.
    pub namespaces: PodNamespaces,
    /// Whether its containers may be privileged.
    pub privileged: bool,
    /// The sandbox's own seccomp profile. Nothing of anybody's runs in a sandbox, so there is nothing that it could confine; containers
    /// have theirs.
    pub seccomp: Seccomp,
    /// The context of its containers, unless they have their own.
    pub selinux: Selinux,
}

/// Which namespaces a pod has for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PodNamespaces {
    /// Whether it lives in the node's network.
    pub host_network: bool,
    /// Whether it lives in the node's IPC namespace.
    pub host_ipc: bool,
    /// Whose PID namespace its containers use where they do not say otherwise.
    pub pid: PidMode,
    /// The maps of its user namespace; none: it lives in the node's.
    pub user: Option<UserMaps>,
}

/// The maps of a user namespace (user_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserMaps {
    /// Users.
    pub uids: IdMap,
    /// Groups.
    pub gids: IdMap,
}

/// Ids of a container from 0 on, and the node's that they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    /// The node's id of the container's 0.
    pub host: u32,
    /// How many.
    pub length: u32,
}

impl IdMap {
    /// The node's id of a container's; none: it is not mapped.
    #[must_use]
    pub fn of(self, id: u32) -> Option<u32> {
        if id < self.length { self.host.checked_add(id) } else { None }
    }
}

/// As the kernel writes a map: the container's first, the node's first, how many.
impl std::fmt::Display for IdMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "0 {} {}", self.host, self.length)
    }
}

/// Whose PID namespace a container uses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Copy)]
pub enum PidMode {
    /// One for all containers of the pod (CRI's default).
    #[default]
    Pod,
    /// One of its own.
    Container,
    /// The node's.
    Node,
}

/// What resolv.conf says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dns {
    /// Name servers' addresses.
    pub servers: Vec<String>,
    /// Search domains.
    pub searches: Vec<String>,
    /// Options, `ndots:5`.
    pub options: Vec<String>,
}

/// Transport protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A port of the node that leads to a port of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port in the pod.
    pub container_port: u16,
    /// Port of the node.
    pub host_port: u16,
    /// The node's address that it is bound to; none: all of them.
    pub host_ip: Option<IpAddr>,
}

/// A seccomp profile, as asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Seccomp {
    /// No filter. What an unset field means, too.
    #[default]
    Unconfined,
    /// The runtime's own profile.
    RuntimeDefault,
    /// A profile in a file of the node.
    Localhost(String),
}

/// An AppArmor profile, as asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AppArmor {
    /// Nothing is said: the runtime's own profile, where there can be one.
    #[default]
    Unsaid,
    /// None.
    Unconfined,
    /// The runtime's own profile.
    RuntimeDefault,
    /// One that is loaded on the node, by its name.
    Localhost(String),
}

/// A context of SELinux, as asked for: what is empty is the runtime's to say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selinux {
    /// Its user.
    pub user: String,
    /// Its role.
    pub role: String,
    /// Its type.
    pub kind: String,
    /// Its level: sensitivity and categories.
    pub level: String,
}
