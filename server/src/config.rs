//! What the daemon was told: a file, its drop-ins, and the command line.
//!
//! ```text
//!   /etc/orlop/config.toml ──▶ /etc/orlop/config.d/*.toml, by name ──▶ command line
//!            a later one wins, key by key
//! ```
//!
//! | room | what it is for |
//! | --- | --- |
//! | `keys` | every key that a file may have, and what it sets |
//! | `value` | what a value may be |
//! | `file` | files found, read, and taken apart with their lines |
//! | `handlers` | runtimes of others, which have names of their own |
//! | `flags` | the command line |
//!
//! *Invariant:* nothing is ignored. A key that is not known or a value that cannot be is a [`Fault`] with file, line, key and what
//! is allowed; a daemon that starts has understood all that it was told.

mod file;
mod flags;
mod handlers;
mod keys;
#[cfg(test)]
mod tests;
mod value;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use orlop_model::reference::Reference;

pub(crate) use file::read;
pub(crate) use flags::Flags;
pub(crate) use handlers::{Handler, HandlerKind, Handlers, NATIVE};

/// Everything that can be set in a file. One field is one section, one field of that is one key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Config {
    pub(crate) registry: Registry,
    pub(crate) network: Network,
    pub(crate) streaming: Streaming,
    pub(crate) metrics: Metrics,
    pub(crate) cgroup: Cgroup,
    pub(crate) storage: Storage,
    pub(crate) log: Log,
    pub(crate) seccomp: Seccomp,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) shim: Shim,
    pub(crate) cdi: Cdi,
    pub(crate) hooks: Hooks,
    pub(crate) cli: Cli,
    pub(crate) nri: Nri,
    pub(crate) handlers: Handlers,
}

/// `[registry]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registry {
    /// Directory of `HOST/hosts.toml` files: mirrors, certificates, plain http.
    pub(crate) certs_dir: PathBuf,
    /// Names of images that kubelet is told not to collect.
    pub(crate) pinned: Vec<Reference>,
}

/// `[network]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Network {
    /// Who makes pods' networks.
    pub(crate) mode: NetworkMode,
    /// Name of the built-in network's bridge.
    pub(crate) bridge: String,
    /// Addresses of the built-in network.
    pub(crate) subnet: Subnet<Ipv4Addr>,
    /// Its IPv6 addresses; none: it has no IPv6.
    pub(crate) subnet6: Option<Subnet<Ipv6Addr>>,
    /// Where CNI configurations are.
    pub(crate) cni_conf_dir: PathBuf,
    /// Where CNI plugins are, the first that has one wins.
    pub(crate) cni_bin_dirs: Vec<PathBuf>,
    /// How long each CNI plugin may take; then it is killed.
    pub(crate) cni_timeout: Duration,
}

/// Who makes pods' networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NetworkMode {
    /// The daemon, on a bridge of its own: a node without Kubernetes, `make run`, the command line's containers.
    Bridge,
    /// CNI plugins as `cni_conf_dir` says: a Kubernetes node. Without a configuration there the network is not ready.
    Cni,
}

/// A network's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subnet<A> {
    /// The network's own address: no bit beyond the prefix is set.
    pub(crate) address: A,
    /// Bits that all its addresses share.
    pub(crate) prefix: u8,
}

/// `[streaming]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Streaming {
    /// Where exec, attach and port-forward are served; port 0: any.
    pub(crate) address: SocketAddr,
    /// PEM file of the certificate, and of those that it hangs on; none: plain http.
    pub(crate) tls_cert: Option<PathBuf>,
    /// PEM file of its key; set if the certificate is.
    pub(crate) tls_key: Option<PathBuf>,
}

/// `[metrics]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Metrics {
    /// Where metrics are served.
    pub(crate) address: Option<Listen>,
}

/// An address that is listened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listen {
    /// A socket of the filesystem.
    Unix(PathBuf),
    /// Address and port.
    Tcp(SocketAddr),
}

/// `[cgroup]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cgroup {
    /// Below which what is not a pod's lives, and pods that name no cgroup: a path from the root of every hierarchy, without a
    /// leading slash.
    pub(crate) parent: String,
    /// Who makes cgroups.
    pub(crate) driver: CgroupDriver,
}

/// Who makes cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum CgroupDriver {
    /// systemd where it is PID 1 and cgroups are of version 2 alone; else the daemon.
    #[default]
    Auto,
    /// The daemon, as directories.
    Cgroupfs,
    /// systemd, as units; the daemon below them.
    Systemd,
}

/// `[storage]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Storage {
    /// How a container's root is put together.
    pub(crate) driver: StorageDriver,
}

/// How a container's root is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StorageDriver {
    /// overlayfs.
    Overlay,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Log {
    /// The least important line that is written.
    pub(crate) level: Level,
    /// Bytes that a container's log file may have between two rotations; 0: any.
    pub(crate) container_cap: u64,
}

/// How important a line of the daemon's log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Level {
    /// Something failed.
    Error,
    /// Something is not as it should be.
    Warn,
    /// What was done.
    Info,
    /// How it was done.
    Debug,
    /// Every step.
    Trace,
}

impl Level {
    /// Its name, as it is written in a file and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

/// `[seccomp]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Seccomp {
    /// A profile in JSON that stands for the built-in one as `RuntimeDefault`.
    pub(crate) default_profile: Option<PathBuf>,
}

/// `[checkpoint]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// CRIU's program: a path, or a name that is looked for in PATH.
    pub(crate) criu: PathBuf,
    /// How long a checkpoint may take where the request does not say.
    pub(crate) timeout: Duration,
}

/// `[shim]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Shim {
    /// The shim's program; none: `orlop-shim` beside the daemon's own.
    pub(crate) path: Option<PathBuf>,
}

/// `[cdi]`: devices by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cdi {
    /// Where files are that describe devices; a later one's stand for an earlier one's of the same name. None: there are no such
    /// devices.
    pub(crate) directories: Vec<PathBuf>,
}

/// `[hooks]`: programs of others that are run at points of containers' lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hooks {
    /// Where files are that say which programs; one of a later directory stands for one of the same name in an earlier one. None:
    /// there are no such hooks.
    pub(crate) directories: Vec<PathBuf>,
    /// How long a hook may take that does not say how long.
    pub(crate) timeout: Duration,
}

/// `[cli]`: containers of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cli {
    /// Below which their cgroups are, written as [`Cgroup::parent`].
    pub(crate) cgroup_parent: String,
    /// Who their root is on the node: `USER` or `USER:GROUP` of /etc/subuid and /etc/subgid; none: root itself.
    pub(crate) userns_remap: Option<String>,
}

/// `[nri]`: plugins of the node resource interface.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own")]
pub(crate) struct Nri {
    /// Whether there are any.
    pub(crate) enabled: bool,
    /// Whether they may come by themselves, over the socket.
    pub(crate) external: bool,
    /// That socket; none: /var/run/nri/nri.sock, or nri.sock in `--state` where that is set.
    pub(crate) socket: Option<PathBuf>,
    /// Those that the daemon starts.
    pub(crate) plugin_path: PathBuf,
    /// What they are told.
    pub(crate) plugin_config_path: PathBuf,
    /// How long one may take to say who it is.
    pub(crate) registration_timeout: Duration,
    /// How long one may take to answer.
    pub(crate) request_timeout: Duration,
    /// Those without whom no pod and no container is made.
    pub(crate) required_plugins: Vec<String>,
    /// An annotation by which a pod does without them; none: there is none.
    pub(crate) tolerate_missing_annotation: Option<String>,
    /// What plugins may not do.
    pub(crate) reject_oci_hooks: bool,
    pub(crate) reject_runtime_default_seccomp: bool,
    pub(crate) reject_unconfined_seccomp: bool,
    pub(crate) reject_custom_seccomp: bool,
    pub(crate) reject_namespaces: bool,
    pub(crate) reject_sysctls: bool,
}

impl Default for Registry {
    fn default() -> Self {
        Registry { certs_dir: "/etc/orlop/certs.d".into(), pinned: Vec::new() }
    }
}

impl Default for Network {
    fn default() -> Self {
        Network {
            mode: NetworkMode::Bridge,
            bridge: "orlop0".into(),
            subnet: Subnet { address: Ipv4Addr::new(10, 88, 0, 0), prefix: 16 },
            subnet6: None,
            cni_conf_dir: "/etc/cni/net.d".into(),
            cni_bin_dirs: vec!["/opt/cni/bin".into()],
            cni_timeout: Duration::from_mins(1),
        }
    }
}

impl Default for Streaming {
    fn default() -> Self {
        Streaming { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), tls_cert: None, tls_key: None }
    }
}

impl Default for Cgroup {
    fn default() -> Self {
        Cgroup { parent: "orlop".into(), driver: CgroupDriver::Auto }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Storage { driver: StorageDriver::Overlay }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log { level: Level::Info, container_cap: 0 }
    }
}

impl Default for Cdi {
    fn default() -> Self {
        Cdi { directories: vec!["/etc/cdi".into(), "/var/run/cdi".into()] }
    }
}

impl Default for Nri {
    fn default() -> Self {
        Nri {
            enabled: true,
            external: true,
            socket: None,
            plugin_path: "/opt/nri/plugins".into(),
            plugin_config_path: "/etc/nri/conf.d".into(),
            registration_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(2),
            required_plugins: Vec::new(),
            tolerate_missing_annotation: None,
            reject_oci_hooks: false,
            reject_runtime_default_seccomp: false,
            reject_unconfined_seccomp: false,
            reject_custom_seccomp: false,
            reject_namespaces: false,
            reject_sysctls: false,
        }
    }
}

impl Default for Checkpoint {
    fn default() -> Self {
        Checkpoint { criu: "criu".into(), timeout: Duration::from_mins(5) }
    }
}

impl Default for Hooks {
    fn default() -> Self {
        let directories = ["/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d"];
        Hooks { directories: directories.map(PathBuf::from).into(), timeout: Duration::from_secs(30) }
    }
}

impl Default for Cli {
    fn default() -> Self {
        Cli { cgroup_parent: "orlop".into(), userns_remap: None }
    }
}

/// Why a configuration is not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Which file.
    pub(crate) file: PathBuf,
    /// Which line of it, from 1; none where it is about the file as a whole.
    pub(crate) line: Option<usize>,
    /// Which key, `section.name`; empty where there is none.
    pub(crate) key: String,
    /// What is wrong.
    pub(crate) cause: String,
    /// What would be right; empty where that goes without saying.
    pub(crate) allowed: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.cause)?;
        if !self.allowed.is_empty() {
            write!(f, "; allowed: {}", self.allowed)?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}
