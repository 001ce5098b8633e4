//! The pod CIDR that kubelet was told by the cluster: from which subnets this node's pods get their addresses.
//!
//! The built-in bridge takes it for its own subnets. It can do so while no pod has an address; afterwards the pods that there are
//! would be cut off. With CNI it is only recorded: the configuration in the CNI directory decides, or a template that asks for it.
//!
//! *Invariant:* what was accepted is recorded, and a successor of this daemon begins with it.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use orlop_model::report::{Kind, Report};
use orlop_network::{Bridge, Net4, Net6, Settings};

use crate::pods::record;

/// The file's name, in the network's state directory.
const FILE: &str = "pod-cidr";

/// A subnet of each family, or of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PodCidr {
    pub(crate) v4: Option<Net4>,
    pub(crate) v6: Option<Net6>,
}

impl fmt::Display for PodCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gap = if self.v4.is_some() && self.v6.is_some() { "," } else { "" };
        if let Some(v4) = self.v4 {
            write!(f, "{v4}{gap}")?;
        }
        self.v6.map_or(Ok(()), |v6| write!(f, "{v6}"))
    }
}

impl PodCidr {
    /// As [`fmt::Display`] writes it; what cannot be read is none.
    fn read(text: &str) -> Self {
        let parts = || text.trim().split(',');
        PodCidr {
            v4: parts().find_map(|part| part.parse().ok()),
            v6: parts().find_map(|part| part.parse().ok()),
        }
    }

    /// What was recorded in the network's state directory.
    pub(super) fn recorded(directory: &Path) -> Self {
        Self::read(&std::fs::read_to_string(directory.join(FILE)).unwrap_or_default())
    }

    pub(super) fn record(&self, directory: &Path) -> Result<(), Report> {
        std::fs::create_dir_all(directory).map_err(|error| {
            Report::new(Kind::Failed, "make directory", directory.display().to_string(), error)
        })?;
        record::put(directory, FILE, format!("{self}\n").as_bytes())
    }

    /// A bridge's settings with these subnets in place of its own, of each family that is named here.
    pub(super) fn put_into(&self, settings: &mut Settings) {
        settings.subnet = self.v4.unwrap_or(settings.subnet);
        settings.subnet6 = self.v6.or(settings.subnet6);
    }
}

/// Changes a bridge's subnets, and records them; nothing is done if they are its subnets already. Blocks.
///
/// # Errors
/// `WrongState` while a pod has an address; what the bridge says of subnets that it cannot have: then it has those that it had.
pub(super) fn change(bridge: &RwLock<Arc<Bridge>>, directory: &Path, cidr: PodCidr) -> Result<(), Report> {
    const FIELD: &str = "runtime_config.network_config.pod_cidr";
    let mut bridge = bridge.write().unwrap_or_else(PoisonError::into_inner);
    let mut settings = bridge.settings().clone();
    cidr.put_into(&mut settings);
    if settings == *bridge.settings() {
        return cidr.record(directory);
    }
    let leased = bridge.leases().map_err(Report::from)?.len();
    if leased > 0 {
        let now = PodCidr { v4: Some(bridge.settings().subnet), v6: bridge.settings().subnet6 };
        let cause =
            format!("the built-in bridge's pods have addresses of {now}, and {leased} of them are there");
        return Err(Report::new(Kind::WrongState, FIELD, format!("\"{cidr}\""), cause)
            .advise("remove the pods of this node first, or set [network] subnet to it and start anew"));
    }
    let refused = |error: orlop_network::Error| Report::field(FIELD, cidr, error);
    let next = Bridge::new(settings).map_err(refused)?;
    bridge.teardown().map_err(Report::from)?;
    if let Err(error) = next.ensure() {
        // The one before is made again by the next pod.
        let _ = next.teardown();
        return Err(refused(error));
    }
    cidr.record(directory)?;
    *bridge = Arc::new(next);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let v4 = Some("10.1.0.0/24".parse().expect("a net"));
        let v6 = Some("fd00:1::/64".parse().expect("a net"));
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(PodCidr::recorded(directory.path()), PodCidr::default());
        for cidr in [PodCidr { v4, v6 }, PodCidr { v4, v6: None }, PodCidr { v4: None, v6 }] {
            cidr.record(directory.path()).expect("recorded");
            assert_eq!(PodCidr::recorded(directory.path()), cidr);
        }
    }
}
