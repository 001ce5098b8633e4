//! Opening and closing ports of the node: first the file, then the kernel's map, then what it remembers.
//!
//! *Invariant:* an element in the kernel stands in a file.

use std::sync::{MutexGuard, PoisonError};

use orlop_model::pod::HostPort;
use rustix::io::Errno;

use crate::bridge::Bridge;
use crate::conntrack;
use crate::error::Error;
use crate::hostport::{self, HostPorts};
use crate::lease::Lease;
use crate::nft::batch::Batch;
use crate::nft::map::Element;

impl Bridge {
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
        let mut all = self.ports();
        let had = all.of(id)?;
        if had != wanted && !had.is_empty() {
            self.close(id, &mut all)?;
        }
        all.put(id, wanted.clone())?;
        let mut batch = Batch::new(&self.table);
        batch.elements(&wanted);
        let opened = batch.commit(&self.filter);
        drop(all);
        match opened {
            // No table: it is made, with all that the files tell of.
            Err(refused) if refused.errno == Errno::NOENT => self.ensure()?,
            opened => opened.map_err(Error::kernel("open host ports for", id))?,
        }
        self.forget(&wanted);
        Ok(())
    }

    /// A port works without this, but for who met it otherwise before.
    fn forget(&self, elements: &[Element]) {
        if let Err(error) = conntrack::forget(&self.filter, elements) {
            tracing::warn!(%error, "UDP connections to host ports that changed cannot be forgotten");
        }
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
            self.forget(&elements);
        }
        all.remove(id)
    }

    pub(crate) fn ports(&self) -> MutexGuard<'_, HostPorts> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
