//! The built-in network: a bridge of pods on one node.
//!
//! ```text
//!                     node                                pod
//!   outside --- uplink   lo   BRIDGE (gateway) --- ve0123... = eth0   lo
//!                 |                |                 veth pair
//!                 `-- inet orlop-BRIDGE --'
//! ```
//!
//! All calls are synchronous and short but for [`Bridge::detach`]; they take their own locks and may be made from any thread that
//! has not left the node's network namespace.
//!
//! *Invariant:* no program is started, no thread changes its namespace, nothing is polled or slept for.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

use crate::address::Mac;
use crate::ensure;
use crate::error::Error;
use crate::hostport::HostPorts;
use crate::lease::{Lease, Leases};
use crate::netlink::{Answer, Request, Socket};
use crate::nft::batch::Batch;
use crate::nft::ruleset;
use crate::pod::{self, PodAddress, PodSocket};
use crate::removal::Removals;
use crate::route::Pair;
use crate::settings::Settings;

/// A pod's network as it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The end of the veth pair on the node.
    pub host_ifname: String,
    /// The pod's link, always `eth0`.
    pub pod_ifname: &'static str,
    /// Hardware address of the pod's link.
    pub mac: Mac,
    /// The pod's addresses, IPv4 first.
    pub addresses: Vec<PodAddress>,
}

/// The link's name at the node's end for a pod: `ve` and the first 13 digits of its id.
#[must_use]
pub fn host_ifname(id: &str) -> String {
    format!("ve{}", id.chars().take(13).collect::<String>())
}

/// A bridge that is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) index: u32,
    pub(crate) mtu: u32,
}

/// The built-in bridge network.
#[derive(Debug)]
pub struct Bridge {
    pub(crate) settings: Settings,
    /// The node's network namespace: device and inode of its file.
    pub(crate) node: (u64, u64),
    pub(crate) routes: Socket,
    pub(crate) filter: Socket,
    pub(crate) table: String,
    leases: Leases,
    pub(crate) ports: Mutex<HostPorts>,
    pub(crate) ready: Mutex<Option<Ready>>,
    removals: Removals,
}

impl Bridge {
    /// Checks the settings and opens sockets in the calling thread's network namespace, which is the node's from here on. Changes
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Setting`] names the setting that cannot be; [`Error::Kernel`] if there are no sockets.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        settings.check()?;
        let open = |socket: Result<Socket, _>| {
            socket.map_err(Error::kernel("open a netlink socket for", &settings.bridge))
        };
        Ok(Bridge {
            node: ensure::network_namespace()?,
            routes: open(Socket::route())?,
            filter: open(Socket::netfilter())?,
            removals: Removals::new(open(Socket::route())?),
            table: ruleset::table_name(&settings.bridge),
            leases: Leases::new(settings.state_dir.clone(), settings.subnet, settings.subnet6),
            ports: Mutex::new(HostPorts::new(settings.state_dir.join("ports"))),
            ready: Mutex::new(None),
            settings,
        })
    }

    /// What it was made from.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The addresses of `owner`: those that it has, or new ones. Written down before it returns.
    ///
    /// # Errors
    /// [`Error::Exhausted`] if there are none; [`Error::File`].
    pub fn lease(&self, owner: &str) -> Result<Lease, Error> {
        self.leases.lease(owner)
    }

    /// Gives the addresses of `owner` back, if it has any.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn release(&self, owner: &str) -> Result<(), Error> {
        self.leases.release(owner)
    }

    /// All leases with their owners, by address.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn leases(&self) -> Result<Vec<(String, Lease)>, Error> {
        self.leases.all()
    }

    /// Connects a pod: makes the veth pair, with one end as `eth0` in the pod, up and with addresses and default routes. `netns` is
    /// the pod's network namespace, `pod` a socket in the same. May be called again for the same pod.
    ///
    /// # Errors
    /// What the kernel refused; what was made by then is taken down by [`Bridge::detach`].
    pub fn attach(
        &self,
        id: &str,
        lease: &Lease,
        netns: BorrowedFd<'_>,
        pod: &PodSocket,
    ) -> Result<Attached, Error> {
        crate::record::check_owner(id)?;
        let host = host_ifname(id);
        let kernel = |step| Error::kernel(step, &host);
        let new = self.pair(id, lease, netns)?;
        let mut link = pod.begin().map_err(kernel("look at the pod's end of"))?;
        if !new && link.as_ref().is_none_or(|link| link.mac != Some(lease.mac())) {
            // Left from an earlier try: its other end is elsewhere.
            self.detach(id)?;
            self.pair(id, lease, netns)?;
            link = pod.begin().map_err(kernel("look at the pod's end of"))?;
        }
        let gone =
            || Error::NotOurs { link: host.clone(), found: "its other end is not in the pod".to_owned() };
        let addresses = self.addresses(lease);
        pod.address(link.ok_or_else(gone)?.index, &addresses).map_err(kernel("set up the pod's end of"))?;
        Ok(Attached { host_ifname: host, pod_ifname: pod::LINK, mac: lease.mac(), addresses })
    }

    /// Makes the veth pair; false if there is one of its name.
    fn pair(&self, id: &str, lease: &Lease, netns: BorrowedFd<'_>) -> Result<bool, Error> {
        let mut ready = self.known()?;
        loop {
            let host = host_ifname(id);
            let alias = format!("{}{id}", self.alias());
            let Ready { index: bridge, mtu } = ready;
            let pair =
                Pair { host: &host, alias: &alias, bridge, netns, peer: pod::LINK, mac: lease.mac(), mtu };
            let made = self.routes.ask(Request::new().pair_new(&pair)).and_then(Answer::whole);
            match made {
                Ok(_) => return Ok(true),
                Err(refused) if refused.errno == Errno::EXIST => return Ok(false),
                Err(refused) => {
                    // Perhaps the bridge is another since it was looked at.
                    let now = self.ready()?;
                    if now.index == ready.index {
                        return Err(Error::kernel("create veth", host)(refused));
                    }
                    ready = now;
                }
            }
        }
    }

    /// What the alias of every pod's link begins with.
    pub(crate) fn alias(&self) -> String {
        format!("{}/{}/", self.settings.tag, self.settings.bridge)
    }

    fn addresses(&self, lease: &Lease) -> Vec<PodAddress> {
        let Settings { subnet, subnet6, .. } = &self.settings;
        let gateway = IpAddr::V4(subnet.gateway());
        let mut all = vec![PodAddress { address: IpAddr::V4(lease.v4), prefix: subnet.prefix(), gateway }];
        if let Some((v6, subnet6)) = lease.v6.zip(*subnet6) {
            let gateway = IpAddr::V6(subnet6.gateway());
            all.push(PodAddress { address: IpAddr::V6(v6), prefix: subnet6.prefix(), gateway });
        }
        all
    }

    /// Disconnects a pod, if it is connected. Takes some 20 ms in the kernel, so it belongs off any caller's path; calls that are
    /// made meanwhile by other threads share the next 20 ms.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn detach(&self, id: &str) -> Result<(), Error> {
        crate::record::check_owner(id)?;
        let link = host_ifname(id);
        self.removals.remove(&link).map_err(Error::kernel("delete veth", link))
    }

    /// Takes down rules, veth pairs and bridge, as far as they are there. Leases, host ports' records and the kernel's switches
    /// stay: they belong to others.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn teardown(&self) -> Result<(), Error> {
        let mut cached = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        *cached = None;
        let mut batch = Batch::new(&self.table);
        batch.table();
        batch.table_delete();
        batch.commit(&self.filter).map_err(Error::kernel("delete table", &self.table))?;
        let bridge = self.own_link()?.map(|link| link.name);
        let names: Vec<String> = self.pod_links()?.into_iter().map(|(name, _)| name).chain(bridge).collect();
        if !names.is_empty() {
            self.removals.remove_all(&names).map_err(Error::kernel("delete bridge", self.name()))?;
        }
        Ok(())
    }
}
