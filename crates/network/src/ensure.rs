//! Making sure of the bridge: link, addresses, switches, rules.
//!
//! *Invariant:* what stands is found standing and left so; links, routes and rules of others are never changed.

use std::net::IpAddr;
use std::os::linux::fs::MetadataExt;
use std::sync::PoisonError;

use crate::address::Mac;
use crate::bridge::{Bridge, Ready};
use crate::error::Error;
use crate::netlink::{Answer, Request};
use crate::nft::batch::{self, Batch};
use crate::nft::map::Element;
use crate::nft::ruleset;
use crate::route::Link;
use crate::settings::Settings;
use crate::uplink::{self, Uplink};

impl Bridge {
    /// Makes bridge, addresses, rules and switches, or finds that they are there. The first call puts the rules in place anew, with
    /// the host ports that the files tell of; later ones look whether link and table are still there.
    ///
    /// # Errors
    /// [`Error::NotOurs`], [`Error::Overlap`], [`Error::Elsewhere`], or what the kernel refused.
    pub fn ensure(&self) -> Result<(), Error> {
        self.ready().map(drop)
    }

    /// The bridge as it was last seen, if its table is there still. A link that is gone shows itself when a pod is to be attached;
    /// to look for it would wait for every other change of links on this node.
    pub(crate) fn known(&self) -> Result<Ready, Error> {
        let cached = *self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        match cached {
            Some(ready) if self.table_stands()? => Ok(ready),
            _ => self.ready(),
        }
    }

    pub(crate) fn table_stands(&self) -> Result<bool, Error> {
        batch::table_exists(&self.filter, &self.table).map_err(Error::kernel("look for table", &self.table))
    }

    pub(crate) fn ready(&self) -> Result<Ready, Error> {
        let mut cached = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table_stands = false;
        if let Some(ready) = *cached {
            let link = self
                .routes
                .link_numbered(ready.index)
                .map_err(Error::kernel("look for bridge", self.name()))?;
            table_stands = self.table_stands()?;
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

    pub(crate) fn name(&self) -> &str {
        &self.settings.bridge
    }

    /// The link, up, with its addresses.
    fn link(&self) -> Result<Ready, Error> {
        let kernel = |step| Error::kernel(step, self.name());
        let uplink = uplink::look(&self.routes).map_err(kernel("look for the uplink of bridge"))?;
        let new = self.own_link()?.is_none();
        if new {
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
        if new {
            // A bridge that was deleted leaves its pods' links behind.
            request =
                self.pod_links()?.iter().fold(request, |request, (name, _)| request.adopt(name, link.index));
        }
        self.routes.ask(request).and_then(Answer::whole).map_err(kernel("set up bridge"))?;
        Ok(Ready { index: link.index, mtu: uplink.mtu })
    }

    /// The bridge's link, if it is there and ours.
    pub(crate) fn own_link(&self) -> Result<Option<Link>, Error> {
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

    fn check_overlap(&self, uplink: &Uplink) -> Result<(), Error> {
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
}

/// Device and inode of the calling thread's network namespace.
pub(crate) fn network_namespace() -> Result<(u64, u64), Error> {
    let path = "/proc/thread-self/ns/net";
    let file = std::fs::metadata(path).map_err(Error::file("look at", path))?;
    Ok((file.st_dev(), file.st_ino()))
}
