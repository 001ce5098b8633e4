//! A pod gets its network: by the built-in bridge, or by CNI plugins.
//!
//! *Invariant:* the ledger has each thing before it is made.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use orlop_model::report::{Kind, Report};

use super::ledger::Thing;
use super::pod::Pod;
use super::up::Steps;
use super::{Core, Places};
use crate::blocking::blocking;
use crate::config::NetworkMode;
use crate::room::Network;

/// Pins the network namespace and gives it an interface, addresses, ports of the node.
pub(super) async fn connect(
    core: &Arc<Core>,
    pod: &Arc<Pod>,
    network: Network,
    steps: &mut Steps<'_>,
) -> Result<Vec<IpAddr>, Report> {
    let pin = Places::netns(&pod.id);
    pod.with_ledger(|ledger| ledger.will(Thing::Netns(pin.clone())))?;
    crate::network::pin(network.namespace.as_fd(), &pin)?;
    steps.mark("netns")?;
    match core.network.mode() {
        NetworkMode::Bridge => by_bridge(core, pod, network, steps).await,
        NetworkMode::Cni => by_plugins(core, pod, network, steps).await,
    }
}

async fn by_bridge(
    core: &Arc<Core>,
    pod: &Arc<Pod>,
    network: Network,
    steps: &mut Steps<'_>,
) -> Result<Vec<IpAddr>, Report> {
    core.network.ready().await?;
    pod.with_ledger(|ledger| ledger.will(Thing::Lease))?;
    let lease = core.network.lease(&pod.id).await?;
    let veth = core.network.veth(&pod.id).unwrap_or_default();
    pod.with_ledger(|ledger| ledger.will(Thing::Veth(veth)))?;
    core.network.attach(&pod.id, &lease, network).await?;
    steps.mark("network")?;

    if !pod.config.ports.is_empty() {
        pod.with_ledger(|ledger| ledger.will(Thing::HostPorts))?;
        open_ports(core, pod, &lease).await?;
        steps.mark("hostports")?;
    }
    Ok(crate::network::addresses(&lease))
}

/// Plugins make the interface and lead ports to it. Loopback is ours.
async fn by_plugins(
    core: &Arc<Core>,
    pod: &Arc<Pod>,
    network: Network,
    steps: &mut Steps<'_>,
) -> Result<Vec<IpAddr>, Report> {
    blocking("loopback", move || network.socket.loopback_up()).await??;
    pod.with_ledger(|ledger| ledger.will(Thing::Attachment))?;
    let addresses = core.network.join(&pod.id, &pod.config, Places::netns(&pod.id)).await?;
    steps.mark("network")?;
    Ok(addresses)
}

/// Leads ports of the node to the pod. One may be held yet by what is being undone: an attempt that this one supersedes, or a pod that
/// an earlier daemon left half made.
async fn open_ports(core: &Arc<Core>, pod: &Arc<Pod>, lease: &orlop_network::Lease) -> Result<(), Report> {
    let ports = &pod.config.ports;
    match core.network.open_ports(&pod.id, lease, ports).await {
        Err(report) if report.kind == Kind::WrongState => {
            let others = core.table.attempts(&pod.config.name);
            for other in others.iter().filter(|other| other.is_superseded()) {
                // Whether it was made or not: it is no longer being made.
                let _ = other.ready().await;
            }
            drop(core.undoing.write().await);
            core.network.open_ports(&pod.id, lease, ports).await
        }
        done => done,
    }
}
