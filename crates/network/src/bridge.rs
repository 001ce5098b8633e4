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
use std::os::linux::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use orlop_model::pod::HostPort;
use rustix::io::Errno;

use crate::address::{Mac, Net4, Net6};
use crate::conntrack;
use crate::error::{BadSetting, Error};
use crate::hostport::{self, HostPorts};
use crate::lease::{Lease, Leases};
use crate::netlink::{Answer, Request, Socket};
use crate::nft::batch::{self, Batch};
use crate::nft::map::Element;
use crate::nft::ruleset;
use crate::pod::{self, PodAddress, PodSocket};
use crate::removal::Removals;
use crate::route::Pair;
use crate::uplink;

/// What a bridge is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The link's name; its nftables table is `inet orlop-NAME`.
    pub bridge: String,
    /// Its IPv4 network. The first address is the gateway's.
    pub subnet: Net4,
    /// Its IPv6 network, at least as large; none: no IPv6.
    pub subnet6: Option<Net6>,
    /// Where leases and host ports are written down, absolute; for this bridge alone. Need not exist.
    pub state_dir: PathBuf,
    /// Whose bridge it is: stands in the links' aliases, so that two daemons never take each other's links for their own.
    pub tag: String,
}

impl Settings {
    fn check(&self) -> Result<(), Error> {
        let bad =
            |field, value: &dyn ToString, why| Err(Error::Setting { field, value: value.to_string(), why });
        let name = &self.bridge;
        let good = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
        if !(1..=15).contains(&name.len()) || !name.bytes().all(good) || name == "." || name == ".." {
            return bad("bridge", name, BadSetting::LinkName);
        }
        // The kernel takes them for all links and for those to come.
        if name == "all" || name == "default" {
            return bad("bridge", name, BadSetting::LinkName);
        }
        let tag = &self.tag;
        if !(1..=128).contains(&tag.len()) || tag.contains('/') || tag.contains(char::is_control) {
            return bad("tag", tag, BadSetting::Tag);
        }
        if let Some(subnet6) =
            self.subnet6.filter(|subnet6| 128 - subnet6.prefix() < 32 - self.subnet.prefix())
        {
            return bad("subnet6", &subnet6, BadSetting::Fewer);
        }
        if !self.state_dir.is_absolute() {
            return bad("state_dir", &self.state_dir.display(), BadSetting::Relative);
        }
        Ok(())
    }
}

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
struct Ready {
    index: u32,
    mtu: u32,
}

/// The built-in bridge network.
#[derive(Debug)]
pub struct Bridge {
    pub(crate) settings: Settings,
    /// The node's network namespace: device and inode of its file.
    node: (u64, u64),
    pub(crate) routes: Socket,
    pub(crate) filter: Socket,
    pub(crate) table: String,
    leases: Leases,
    ports: Mutex<HostPorts>,
    ready: Mutex<Option<Ready>>,
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
            node: network_namespace()?,
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

    /// Makes bridge, addresses, rules and switches, or finds that they are there. The first call puts the rules in place anew, with
    /// the host ports that the files tell of; later ones look whether link and table are still there.
    ///
    /// # Errors
    /// [`Error::NotOurs`], [`Error::Overlap`], [`Error::Elsewhere`], or what the kernel refused.
    pub fn ensure(&self) -> Result<(), Error> {
        self.ready().map(drop)
    }

    fn ready(&self) -> Result<Ready, Error> {
        let mut cached = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table_stands = false;
        if let Some(ready) = *cached {
            let link = self
                .routes
                .link_numbered(ready.index)
                .map_err(Error::kernel("look for bridge", self.name()))?;
            table_stands = batch::table_exists(&self.filter, &self.table)
                .map_err(Error::kernel("look for table", &self.table))?;
            if table_stands && link.is_some_and(|link| link.up && link.name == self.name()) {
                return Ok(ready);
            }
            // A firewall that reloads flushes all tables; somebody may delete the link.
            tracing::warn!(
                bridge = self.name(),
                table_stands,
                "the bridge or its rules were gone and are made again"
            );
        }
        *cached = None;
        if network_namespace()? != self.node {
            return Err(Error::Elsewhere);
        }
        let ready = self.link()?;
        crate::sysctl::forward_v4(self.name())?;
        if self.settings.subnet6.is_some() {
            crate::sysctl::forward_v6()?;
        }
        if !table_stands {
            self.rules()?;
        }
        *cached = Some(ready);
        Ok(ready)
    }

    fn name(&self) -> &str {
        &self.settings.bridge
    }

    /// The link, up, with its addresses.
    fn link(&self) -> Result<Ready, Error> {
        let kernel = |step| Error::kernel(step, self.name());
        let uplink = uplink::look(&self.routes).map_err(kernel("look for the uplink of bridge"))?;
        if self.own_link()?.is_none() {
            self.check_overlap(&uplink)?;
            let request = Request::new().bridge_new(self.name(), self.mac(), uplink.mtu);
            self.routes.ask(request).and_then(Answer::whole).map_err(kernel("create bridge"))?;
        }
        let link = self.own_link()?.ok_or_else(|| Error::NotOurs {
            link: self.name().to_owned(),
            found: "it vanished while it was made".to_owned(),
        })?;
        if self.settings.subnet6.is_some() {
            crate::sysctl::enable_v6(self.name())?;
        }
        let mut request = Request::new().alias(self.name(), &self.settings.tag).up(link.index);
        if link.mtu != uplink.mtu {
            request = request.mtu(link.index, uplink.mtu);
        }
        for (gateway, prefix) in self.gateways() {
            request = request.address(link.index, gateway, prefix);
        }
        self.routes.ask(request).and_then(Answer::whole).map_err(kernel("set up bridge"))?;
        Ok(Ready { index: link.index, mtu: uplink.mtu })
    }

    /// The bridge's link, if it is there and ours.
    pub(crate) fn own_link(&self) -> Result<Option<crate::route::Link>, Error> {
        let found =
            self.routes.link_named(self.name()).map_err(Error::kernel("look for bridge", self.name()))?;
        let Some(link) = found else { return Ok(None) };
        let found = match &link.alias {
            _ if !link.is_bridge => "it is no bridge".to_owned(),
            Some(alias) if *alias == self.settings.tag => return Ok(Some(link)),
            // Made and not yet marked, by a daemon that was killed in between: its hardware address says so.
            None if link.mac == Some(self.mac()) => return Ok(Some(link)),
            Some(alias) => format!("its alias is \"{}\"", alias.escape_debug()),
            None => "it has no alias".to_owned(),
        };
        Err(Error::NotOurs { link: link.name, found })
    }

    fn mac(&self) -> Mac {
        Mac::of(self.settings.subnet.gateway())
    }

    fn check_overlap(&self, uplink: &uplink::Uplink) -> Result<(), Error> {
        let overlaps = |(to, prefix): (IpAddr, u8)| match to {
            IpAddr::V4(to) => {
                self.settings.subnet.overlaps(to, prefix).then(|| self.settings.subnet.to_string())
            }
            IpAddr::V6(to) => self
                .settings
                .subnet6
                .filter(|subnet| subnet.overlaps(to, prefix))
                .map(|subnet| subnet.to_string()),
        };
        let clash =
            uplink.routes.iter().find_map(|(to, prefix)| Some((overlaps((*to, *prefix))?, to, prefix)));
        match clash {
            Some((subnet, to, prefix)) => Err(Error::Overlap { subnet, route: format!("{to}/{prefix}") }),
            None => Ok(()),
        }
    }

    fn gateways(&self) -> impl Iterator<Item = (IpAddr, u8)> {
        let v4 = self.settings.subnet;
        let v6 = self.settings.subnet6.map(|subnet| (IpAddr::V6(subnet.gateway()), subnet.prefix()));
        std::iter::once((IpAddr::V4(v4.gateway()), v4.prefix())).chain(v6)
    }

    fn rules(&self) -> Result<(), Error> {
        let Settings { bridge, subnet, subnet6, .. } = &self.settings;
        let mut ports = self.ports();
        let elements: Vec<Element> = ports.all()?.values().flatten().copied().collect();
        let mut batch = Batch::new(&self.table);
        ruleset::Rules { bridge, subnet: *subnet, subnet6: *subnet6 }.replace(&mut batch, &elements);
        batch.commit(&self.filter).map_err(Error::kernel("write table", &self.table))
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
        let ready = self.ready()?;
        let (host, mac) = (host_ifname(id), lease.mac());
        let alias = format!("{}/{id}", self.settings.tag);
        let pair = Pair {
            host: &host,
            alias: &alias,
            bridge: ready.index,
            netns,
            peer: pod::LINK,
            mac,
            mtu: ready.mtu,
        };
        let kernel = |step| Error::kernel(step, &host);
        let made = self.routes.ask(Request::new().pair_new(&pair)).map_err(kernel("create veth"))?;
        let was_there = made.refused.iter().any(|refused| refused.errno == Errno::EXIST);
        made.except(Errno::EXIST).map_err(kernel("create veth"))?;
        let mut link = pod.begin().map_err(kernel("look at the pod's end of"))?;
        if was_there && link.as_ref().is_none_or(|link| link.mac != Some(mac)) {
            // Left from an earlier try: its other end is elsewhere.
            self.detach(id)?;
            let made = self.routes.ask(Request::new().pair_new(&pair)).and_then(Answer::whole);
            made.map_err(kernel("create veth"))?;
            link = pod.begin().map_err(kernel("look at the pod's end of"))?;
        }
        let gone =
            || Error::NotOurs { link: host.clone(), found: "its other end is not in the pod".to_owned() };
        let addresses = self.addresses(lease);
        pod.address(link.ok_or_else(gone)?.index, &addresses).map_err(kernel("set up the pod's end of"))?;
        Ok(Attached { host_ifname: host, pod_ifname: pod::LINK, mac, addresses })
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

    /// Opens ports of the node to a pod, and closes others that it had. May be called again.
    ///
    /// # Errors
    /// [`Error::PortTaken`] names the port and who has it; [`Error::Port`]; what the kernel refused.
    pub fn host_ports_add(&self, id: &str, lease: &Lease, ports: &[HostPort]) -> Result<(), Error> {
        crate::record::check_owner(id)?;
        let wanted = hostport::elements(id, lease, ports)?;
        if wanted.is_empty() {
            return self.host_ports_remove(id);
        }
        self.ready()?;
        let mut all = self.ports();
        let had = all.of(id)?;
        if had != wanted && !had.is_empty() {
            self.close(id, &mut all)?;
        }
        all.put(id, wanted.clone())?;
        let mut batch = Batch::new(&self.table);
        batch.elements(&wanted);
        batch.commit(&self.filter).map_err(Error::kernel("open host ports for", id))?;
        drop(all);
        conntrack::forget(&self.filter, &wanted).map_err(Error::kernel("forget UDP connections for", id))
    }

    /// Closes all ports of the node that lead to a pod, if there are any. Works from what is written down, so also after a restart.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn host_ports_remove(&self, id: &str) -> Result<(), Error> {
        crate::record::check_owner(id)?;
        self.close(id, &mut self.ports())
    }

    fn close(&self, id: &str, all: &mut HostPorts) -> Result<(), Error> {
        let elements = all.of(id)?;
        if !elements.is_empty() {
            let mut batch = Batch::new(&self.table);
            batch.elements_delete(&elements);
            match batch.commit(&self.filter) {
                // No table: no elements.
                Err(refused) if refused.errno == Errno::NOENT => {}
                result => result.map_err(Error::kernel("close host ports of", id))?,
            }
            conntrack::forget(&self.filter, &elements)
                .map_err(Error::kernel("forget UDP connections of", id))?;
        }
        all.remove(id)
    }

    pub(crate) fn ports(&self) -> MutexGuard<'_, HostPorts> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
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
        if let Some(link) = self.own_link()? {
            let mut names: Vec<String> =
                self.own_ports(link.index)?.into_iter().map(|(name, _)| name).collect();
            names.push(link.name);
            self.removals.remove_all(&names).map_err(Error::kernel("delete bridge", self.name()))?;
        }
        Ok(())
    }
}

/// Device and inode of the calling thread's network namespace.
fn network_namespace() -> Result<(u64, u64), Error> {
    let path = "/proc/thread-self/ns/net";
    let file = std::fs::metadata(path).map_err(Error::file("look at", path))?;
    Ok((file.st_dev(), file.st_ino()))
}
