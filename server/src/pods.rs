//! The core: pods and containers, what is done to them, and how they come back after a restart.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`table`] | who exists, by id, prefix and name |
//! | [`pod`], [`container`] | one pod, one container: its state, and what waits for it |
//! | [`up`], [`connect`] | a pod is made, and gets its network |
//! | [`spaces`] | a user namespace, and those that it owns |
//! | [`create`], [`plan`], [`volumes`], [`travel`] | a container is made: request, OCI spec, plan |
//! | [`devices`] | devices of the node, and rules about them |
//! | [`confine`] | AppArmor profiles, chosen and loaded |
//! | [`context`], [`relabel`] | SELinux: contexts, and files that get them |
//! | [`edits`] | those who may change a container between spec and plan |
//! | [`foreign`] | containers of a runtime that is not ours |
//! | [`deeds`] | a container is launched, asked to end, killed |
//! | [`hooks`] | programs of others that are run after the end |
//! | [`exec`] | a process beside the first |
//! | [`update`], [`sums`] | limits become others |
//! | [`down`] | what was made is unmade: the one walk of rollback, stop, remove and recovery |
//! | [`ledger`] | what was made and must come down |
//! | [`record`] | what a successor of this daemon needs to know |
//! | [`recover`] | the successor reads it |
//!
//! A call travels so: the edge parses; the core tells a pod or container an event; its state changes by a pure function
//! ([`orlop_model::life`]) under its own lock, at once; the deed that follows from it runs as a task of its own and comes back as an
//! event; the call waits for the *state*, not for its own work. So a retry joins by itself, a caller that leaves takes nothing with
//! it, and a read is a look at the last state.
//!
//! *Invariant:* no handler owns anything. No lock is held while something is waited for.

pub(crate) mod confine;
mod connect;
pub(crate) mod container;
pub(crate) mod context;
pub(crate) mod create;
mod deeds;
mod devices;
pub(crate) mod down;
pub(crate) mod edits;
pub(crate) mod exec;
mod foreign;
mod hooks;
pub(crate) mod ledger;
pub(crate) mod plan;
pub(crate) mod pod;
pub(crate) mod record;
pub(crate) mod recover;
mod relabel;
mod spaces;
pub(crate) mod sums;
pub(crate) mod table;
mod travel;
pub(crate) mod up;
pub(crate) mod update;
mod volumes;

use std::path::{Path, PathBuf};

use orlop_model::id::{ContainerId, PodId};
use orlop_model::report::{Kind, Report};
use orlop_model::time::Timestamp;

use crate::cdi::Cdi;
use crate::checkpoint::criu::Criu;
use crate::events::Events;
use crate::gauges::Gauges;
use crate::hooks::Hooks;
use crate::images::Images;
use crate::later::Later;
use crate::network::Network;
use crate::node::Node;
use crate::room::Room;
use crate::shims::Program;
use crate::units::Units;
use table::Table;

/// Everything that a deed may need.
pub(crate) struct Core {
    pub(crate) places: Places,
    pub(crate) room: Room,
    pub(crate) network: Network,
    pub(crate) images: Images,
    pub(crate) node: Node,
    pub(crate) units: Units,
    pub(crate) shim: Program,
    pub(crate) handlers: std::sync::Arc<crate::handlers::Handlers>,
    pub(crate) seccomp: plan::Profiles,
    pub(crate) apparmor: confine::Loader,
    pub(crate) cdi: Cdi,
    pub(crate) contexts: context::Contexts,
    pub(crate) hooks: Hooks,
    pub(crate) table: Table,
    pub(crate) tokens: crate::streams::tokens::Tokens,
    pub(crate) events: Events,
    pub(crate) later: Later,
    pub(crate) criu: Criu,
    pub(crate) gauges: Gauges,
    pub(crate) nri: crate::nri::Nri,
    /// Held for reading while pods of an earlier daemon are undone that it left half made: who needs what they hold waits for it.
    pub(crate) undoing: std::sync::Arc<tokio::sync::RwLock<()>>,
}

impl Core {
    /// The cgroup that a pod's containers are in; empty: the root.
    pub(crate) fn pod_cgroup(&self, pod: &pod::Pod) -> String {
        if let Some(path) = pod.cgroup.get() {
            return path.clone();
        }
        let parent = pod.config.cgroup_parent.trim_end_matches('/');
        if parent.is_empty() && pod.config.cgroup_parent.is_empty() {
            self.node.pod_cgroup(&pod.id)
        } else {
            parent.to_owned()
        }
    }

    /// A container's own cgroup.
    pub(crate) fn container_cgroup(&self, container: &container::Container) -> String {
        let pod = self.pod_cgroup(&container.pod);
        match self.scope(container) {
            Some(scope) => format!("{pod}/{scope}"),
            None => format!("{pod}/{}", container.id),
        }
    }

    /// The unit of systemd that a container is in, where its pod is in a slice.
    pub(crate) fn scope(&self, container: &container::Container) -> Option<String> {
        let slice = orlop_cgroup::slice::is_slice(&self.pod_cgroup(&container.pod));
        slice.then(|| format!("orlop-{}.scope", container.id))
    }
}

/// Where things lie.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// What outlives a boot.
    pub(crate) root: PathBuf,
    /// What does not.
    pub(crate) state: PathBuf,
}

impl Places {
    /// A pod's records, ledger, and files that its containers see.
    pub(crate) fn pod(&self, pod: &PodId) -> PathBuf {
        self.state.join("pods").join(pod.as_str())
    }

    /// A container's records, ledger, and its shim's socket.
    pub(crate) fn container(&self, container: &ContainerId) -> PathBuf {
        self.state.join("containers").join(container.as_str())
    }

    /// Containers' own layers.
    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// A container's own layer.
    pub(crate) fn layer(&self, container: &ContainerId) -> PathBuf {
        self.layers().join(container.as_str())
    }

    /// Where containers are written down.
    pub(crate) fn dumps(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// Where a container is written down.
    pub(crate) fn dump(&self, container: &ContainerId) -> PathBuf {
        self.dumps().join(container.as_str())
    }

    /// Layers on their way out.
    pub(crate) fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    /// The pin of a pod's network namespace: where CNI plugins and `ip netns` look.
    pub(crate) fn netns(pod: &PodId) -> PathBuf {
        Path::new("/run/netns").join(pod.as_str())
    }

    /// Makes the directories that are not there. Those of pods and containers are for root alone, whatever lies in them: a plan has a
    /// container's environment, and a layer may have programs that run as whoever owns them.
    pub(crate) fn make(&self) -> Result<(), Report> {
        use std::os::unix::fs::PermissionsExt as _;
        let state = ["pods", "containers"].map(|name| self.state.join(name));
        let all = state.into_iter().chain([self.layers(), self.trash(), self.dumps()]);
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |error: std::io::Error| Report::new(Kind::Failed, "make directory", path, error)
        };
        for directory in all {
            std::fs::create_dir_all(&directory)
                .and_then(|()| std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700)))
                .map_err(failed(&directory))?;
        }
        let pins = Path::new("/run/netns");
        std::fs::create_dir_all(pins).map_err(failed(pins))
    }
}

/// The time, as CRI counts it.
pub(crate) fn now() -> Timestamp {
    Timestamp::of(std::time::SystemTime::now())
}

/// 32 random bytes, for an id.
pub(crate) fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        // getrandom(2) of so few bytes fails only before the kernel has any randomness at all.
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(_) => std::thread::yield_now(),
        }
    }
    bytes
}
