//! Pods' networks, as the core asks for them.
//!
//! | room | what it is for |
//! | --- | --- |
//! | here | who makes networks, and the built-in bridge |
//! | `plugins` | the same by CNI plugins |
//! | `cidr` | the pod CIDR that kubelet was told |
//!
//! Whatever the mode, both know their way down: a pod that was made before the mode was changed is taken down as it was made.
//!
//! *Invariant:* the network's own sockets are asked on a thread that may block, never on one that serves calls.

mod cidr;
mod plugins;

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use orlop_model::id::PodId;
use orlop_model::pod::HostPort;
use orlop_model::report::{Kind, Report};
use orlop_network::cni::{Client, Condition};
use orlop_network::{Bridge, Lease, Net4, Net6, Settings, host_ifname};
use rustix::fs::OFlags;
use rustix::mount::mount_bind;

use crate::blocking::blocking;
use crate::config::{self, NetworkMode};
use crate::node::Node;
use crate::pods::Places;
use crate::room;

pub(crate) use cidr::PodCidr;

/// Who makes pods' networks.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    mode: NetworkMode,
    /// Locked for writing while its subnets are changed, for reading by all other work on it. None, if plugins make networks and
    /// there can be no bridge.
    bridge: Option<Arc<RwLock<Arc<Bridge>>>>,
    plugins: Arc<Client>,
    /// Where the bridge's records lie.
    directory: PathBuf,
}

impl Network {
    /// As configured. Makes nothing yet.
    ///
    /// # Errors
    /// A setting that cannot be.
    pub(crate) fn new(config: &config::Network, places: &Places, node: &Node) -> Result<Self, Report> {
        let directory = places.state.join("network");
        let mode = config.mode;
        let bridge = match (bridge(config, &places.state, &directory), mode) {
            (Ok(bridge), _) => Some(Arc::new(RwLock::new(Arc::new(bridge)))),
            (Err(report), NetworkMode::Bridge) => return Err(report),
            (Err(_), NetworkMode::Cni) => None,
        };
        let plugins = Arc::new(Client::new(plugins::settings(config, places, node)));
        Ok(Network { mode, bridge, plugins, directory })
    }

    /// Who makes networks of pods that come now.
    pub(crate) fn mode(&self) -> NetworkMode {
        self.mode
    }

    /// Whether pods can have a network, and why not. Never waits.
    pub(crate) fn condition(&self) -> Condition {
        match self.mode {
            NetworkMode::Bridge => Condition { ready: true, reason: String::new(), message: String::new() },
            NetworkMode::Cni => self.plugins.condition(),
        }
    }

    /// What else is known of it, for people.
    pub(crate) fn facts(&self) -> Option<serde_json::Value> {
        match self.mode {
            NetworkMode::Bridge => None,
            NetworkMode::Cni => Some(self.plugins.facts()),
        }
    }

    fn bridge(&self) -> Result<&Arc<RwLock<Arc<Bridge>>>, Report> {
        self.bridge.as_ref().ok_or_else(|| {
            Report::new(
                Kind::Failed,
                "network",
                "",
                "there is no built-in bridge: [network] has settings that it cannot have",
            )
        })
    }

    /// Whether the bridge has anything here: always in its own mode, else only if it was that before.
    fn has_bridge(&self) -> bool {
        match self.mode {
            NetworkMode::Bridge => true,
            NetworkMode::Cni => self.bridge.is_some() && self.directory.join("leases").exists(),
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        stage: &'static str,
        work: impl FnOnce(&Bridge) -> Result<T, orlop_network::Error> + Send + 'static,
    ) -> Result<T, Report> {
        let bridge = Arc::clone(self.bridge()?);
        let work = move || work(&bridge.read().unwrap_or_else(PoisonError::into_inner));
        blocking(stage, work).await?.map_err(Report::from)
    }

    /// Takes a pod CIDR over: pods that come get their addresses of it.
    ///
    /// # Errors
    /// `WrongState` if pods of the built-in bridge have addresses of another; a subnet that the bridge cannot have.
    pub(crate) async fn set_pod_cidr(&self, cidr: PodCidr) -> Result<(), Report> {
        let (bridge, directory) = (self.bridge.clone(), self.directory.clone());
        let bridge = bridge.filter(|_| self.mode == NetworkMode::Bridge);
        let change = move || match bridge {
            Some(bridge) => cidr::change(&bridge, &directory, cidr),
            None => cidr.record(&directory),
        };
        blocking("pod CIDR", change).await?
    }

    /// The pod CIDR that was taken over last, also by an earlier daemon; empty: none.
    fn pod_cidr(&self) -> PodCidr {
        PodCidr::recorded(&self.directory)
    }

    /// Has the bridge and its rules ready. Cheap once they are.
    pub(crate) async fn ready(&self) -> Result<(), Report> {
        self.ask("network", Bridge::ensure).await
    }

    /// The pod's addresses.
    pub(crate) async fn lease(&self, pod: &PodId) -> Result<Lease, Report> {
        let pod = pod.clone();
        self.ask("lease", move |bridge| bridge.lease(pod.as_str())).await
    }

    /// Gives them back. Idempotent.
    pub(crate) async fn release(&self, pod: &PodId) -> Result<(), Report> {
        let pod = pod.clone();
        self.ask("release lease", move |bridge| bridge.release(pod.as_str())).await
    }

    /// The name of the host's end of the pod's veth pair, where this daemon gives it.
    pub(crate) fn veth(&self, pod: &PodId) -> Option<String> {
        (self.mode == NetworkMode::Bridge).then(|| host_ifname(pod.as_str()))
    }

    /// Connects the pod.
    pub(crate) async fn attach(
        &self,
        pod: &PodId,
        lease: &Lease,
        network: room::Network,
    ) -> Result<(), Report> {
        let (pod, lease) = (pod.clone(), *lease);
        self.ask("attach", move |bridge| {
            bridge.attach(pod.as_str(), &lease, network.namespace.as_fd(), &network.socket).map(drop)
        })
        .await
    }

    /// Disconnects the pod. Idempotent; slow.
    pub(crate) async fn detach(&self, pod: &PodId) -> Result<(), Report> {
        let pod = pod.clone();
        self.ask("detach", move |bridge| bridge.detach(pod.as_str())).await
    }

    /// Leads ports of the node to the pod.
    pub(crate) async fn open_ports(
        &self,
        pod: &PodId,
        lease: &Lease,
        ports: &[HostPort],
    ) -> Result<(), Report> {
        let (pod, lease, ports) = (pod.clone(), *lease, ports.to_vec());
        self.ask("host ports", move |bridge| bridge.host_ports_add(pod.as_str(), &lease, &ports)).await
    }

    /// Closes the pod's ports. Idempotent.
    pub(crate) async fn close_ports(&self, pod: &PodId) -> Result<(), Report> {
        let pod = pod.clone();
        self.ask("host ports", move |bridge| bridge.host_ports_remove(pod.as_str())).await
    }

    /// Takes bridge and rules down: for a daemon that leaves no pod.
    pub(crate) async fn teardown(&self) -> Result<(), Report> {
        if let Some(pens) = &self.plugins.settings().pens {
            pens.remove();
        }
        if !self.has_bridge() {
            return Ok(());
        }
        self.ask("network", Bridge::teardown).await
    }

    /// What the kernel and the files have of it.
    pub(crate) async fn audit(&self) -> Result<orlop_network::Audit, Report> {
        if !self.has_bridge() {
            return Ok(orlop_network::Audit::default());
        }
        self.ask("audit", Bridge::audit).await
    }
}

/// The built-in bridge, with the subnets that were taken over last.
fn bridge(config: &config::Network, state: &Path, directory: &Path) -> Result<Bridge, Report> {
    let bad = |error| Report::new(Kind::BadRequest, "[network] subnet", "", error);
    let subnet6 = config.subnet6.map(|net| Net6::new(net.address, net.prefix)).transpose().map_err(bad)?;
    let mut settings = Settings {
        bridge: config.bridge.clone(),
        subnet: Net4::new(config.subnet.address, config.subnet.prefix).map_err(bad)?,
        subnet6,
        state_dir: directory.to_owned(),
        tag: tag(state),
    };
    PodCidr::recorded(directory).put_into(&mut settings);
    Ok(Bridge::new(settings)?)
}

/// Whose links are whose: two daemons have two state directories.
fn tag(state: &Path) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    // Of fixed keys: the same directory has the same tag for every daemon that works there.
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    format!("orlop:{:016x}", hasher.finish())
}

/// The lease's addresses, IPv4 first.
pub(crate) fn addresses(lease: &Lease) -> Vec<IpAddr> {
    std::iter::once(IpAddr::V4(lease.v4)).chain(lease.v6.map(IpAddr::V6)).collect()
}

/// Pins a network namespace at `path`.
pub(crate) fn pin(namespace: BorrowedFd<'_>, path: &Path) -> Result<(), Report> {
    let failed = |errno| Report::new(Kind::Failed, "pin netns", path.display().to_string(), errno);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::CLOEXEC;
    drop(rustix::fs::open(path, flags, rustix::fs::Mode::from_raw_mode(0o444)).map_err(failed)?);
    mount_bind(format!("/proc/self/fd/{}", namespace.as_raw_fd()), path).map_err(failed)
}
