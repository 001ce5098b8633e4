//! What the kernel and the files have of a bridge, for `orlop audit` and for tests.
//!
//! *Invariant:* looks and changes nothing.

use crate::bridge::Bridge;
use crate::error::Error;
use crate::lease::Lease;
use crate::nft::batch;
use crate::nft::map::{Element, Map};

/// All that there is of a bridge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Whether the bridge's link is there.
    pub bridge: bool,
    /// Whether its table is there.
    pub table: bool,
    /// This bridge's links of pods, whether they are on it or not, and the pods' ids.
    pub links: Vec<(String, String)>,
    /// Leases: owner and addresses. An owner that could not be read is empty.
    pub leases: Vec<(String, Lease)>,
    /// Host ports: owner and port, as they are written down.
    pub ports: Vec<(String, Element)>,
    /// Host ports that the kernel has and nobody wrote down.
    pub unknown_ports: Vec<Element>,
    /// Host ports that are written down and that the kernel has not: [`Bridge::ensure`] brings back those of a table that is gone.
    pub missing_ports: Vec<(String, Element)>,
}

impl Bridge {
    /// Looks at all that there is of this bridge.
    ///
    /// # Errors
    /// [`Error::NotOurs`] if a link of its name is somebody else's; what the kernel refused; [`Error::File`].
    pub fn audit(&self) -> Result<Audit, Error> {
        let link = self.own_link()?;
        let table = self.table_stands()?;
        let mut known = self.ports();
        let ports: Vec<(String, Element)> = known
            .all()?
            .iter()
            .flat_map(|(owner, elements)| elements.iter().map(|element| (owner.clone(), *element)))
            .collect();
        let mut kernel = Vec::new();
        for map in Map::ALL {
            let some = batch::elements(&self.filter, &self.table, map);
            kernel.extend(some.map_err(Error::kernel("read host ports of", &self.table))?);
        }
        drop(known);
        Ok(Audit {
            bridge: link.is_some(),
            table,
            links: self.pod_links()?,
            leases: self.leases()?,
            unknown_ports: kernel
                .iter()
                .filter(|element| ports.iter().all(|(_, known)| known != *element))
                .copied()
                .collect(),
            missing_ports: ports.iter().filter(|(_, known)| !kernel.contains(known)).cloned().collect(),
            ports,
        })
    }

    /// This bridge's links of pods, on it or not, with the pods' ids.
    pub(crate) fn pod_links(&self) -> Result<Vec<(String, String)>, Error> {
        let links = self.routes.links().map_err(Error::kernel("list the links of", self.name()))?;
        let alias = self.alias();
        let own = links.into_iter().filter_map(|link| {
            let id = link.alias.as_deref()?.strip_prefix(&alias)?.to_owned();
            Some((link.name, id))
        });
        Ok(own.collect())
    }
}
