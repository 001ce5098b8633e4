//! What the ledgers say against what the kernel and the disk have, both ways.
//!
//! *Invariant:* only what bears our names and lies in our places is looked at; what is somebody else's is never taken down. Without
//! `fix` nothing is changed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use orlop_model::life::pod::State;
use orlop_model::report::Report;
use orlop_proto::orlop::v1::{AuditResponse, Difference, DifferenceKind};

use crate::pods::Core;
use crate::pods::ledger::Thing;

/// Compares, and takes down what no ledger has if `fix`.
///
/// # Errors
/// If what is there could not be looked at.
pub(crate) async fn audit(core: &Arc<Core>, fix: bool) -> Result<AuditResponse, Report> {
    let mut audit = Audit { differences: Vec::new(), checked: 0, fix };
    let network = core.network.audit().await?;
    let room = core.room.pods().await?;
    let attached = core.network.attached();
    audit.ledgers(core, &network, &room, &attached);
    audit.attachments(core, &attached).await;
    audit.foreign_in_room(core, &room).await;
    audit.foreign_in_network(core, &network).await;
    audit.foreign_layers(core);
    Ok(AuditResponse { differences: audit.differences, things_checked: audit.checked })
}

struct Audit {
    differences: Vec<Difference>,
    checked: i64,
    fix: bool,
}

impl Audit {
    fn say(&mut self, kind: DifferenceKind, owner: &str, thing: &str, fixed: bool, detail: &str) {
        self.differences.push(Difference {
            owner: owner.into(),
            thing: thing.into(),
            kind: kind.into(),
            fixed,
            detail: detail.into(),
        });
    }

    /// Each entry of each ledger is there.
    fn ledgers(&mut self, core: &Core, network: &orlop_network::Audit, room: &[String], attached: &[String]) {
        for pod in core.table.pods() {
            let standing =
                pod.ledger().as_ref().map(crate::pods::ledger::Ledger::standing).unwrap_or_default();
            for thing in standing {
                self.checked += 1;
                let id = pod.id.as_str();
                let there = match &thing {
                    Thing::Room => room.iter().any(|name| name == id),
                    Thing::Netns(path) => path.exists(),
                    Thing::Lease => network.leases.iter().any(|(owner, _)| owner == id),
                    Thing::Veth(name) => network.links.iter().any(|(link, _)| link == name),
                    Thing::HostPorts => network.ports.iter().any(|(owner, _)| owner == id),
                    Thing::Attachment => attached.iter().any(|owner| owner == id),
                    Thing::Init => crate::shims::is_locked(&core.places.pod(&pod.id)),
                    // Made with its first container; not there before.
                    Thing::Group(_)
                    | Thing::Layer(_)
                    | Thing::Image(_)
                    | Thing::Cgroup(_)
                    | Thing::Poststop
                    | Thing::Shim
                    | Thing::Runtime
                    | Thing::Frozen(_)
                    | Thing::Dump(_)
                    | Thing::Partial(_) => true,
                };
                if !there {
                    self.say(
                        DifferenceKind::Missing,
                        id,
                        &thing.to_string(),
                        false,
                        "the ledger has it, the kernel has not",
                    );
                }
            }
        }
        for container in core.table.containers() {
            let standing = container
                .life()
                .ledger
                .as_ref()
                .map(crate::pods::ledger::Ledger::standing)
                .unwrap_or_default();
            let ended = container.state().has_ended();
            for thing in standing {
                self.checked += 1;
                let there = match &thing {
                    Thing::Layer(path) => path.exists(),
                    // Gone with the container's end, and struck from the ledger when it is removed.
                    Thing::Cgroup(path) => ended || orlop_cgroup::act::exists(path),
                    Thing::Shim => ended || crate::shims::is_locked(&core.places.container(&container.id)),
                    _ => true,
                };
                if !there {
                    let detail = "the ledger has it, the kernel has not";
                    self.say(
                        DifferenceKind::Missing,
                        container.id.as_str(),
                        &thing.to_string(),
                        false,
                        detail,
                    );
                }
            }
        }
    }

    /// Each attachment is of a pod, and as its plugins made it.
    async fn attachments(&mut self, core: &Arc<Core>, attached: &[String]) {
        let mut checks = tokio::task::JoinSet::new();
        for id in attached {
            self.checked += 1;
            if let Ok(pod) = core.table.pod(id) {
                if pod.state() == State::Ready {
                    let core = Arc::clone(core);
                    checks.spawn(async move { (pod.id.to_string(), core.network.check(&pod.id).await) });
                }
            } else if !core.places.state.join("pods").join(id).exists() {
                let fixed = self.fix && core.network.leave(id).await.is_ok();
                self.say(DifferenceKind::Foreign, id, "attachment", fixed, "of no known pod");
            }
        }
        while let Some(checked) = checks.join_next().await {
            if let Ok((id, Err(report))) = checked {
                self.say(DifferenceKind::Missing, &id, "attachment", false, &report.to_string());
            }
        }
    }

    async fn foreign_in_room(&mut self, core: &Arc<Core>, room: &[String]) {
        for name in room {
            self.checked += 1;
            if core.table.pod(name).is_ok() {
                continue;
            }
            let fixed = match name.parse() {
                Ok(pod) if self.fix => core.room.unmake(&pod).await.is_ok(),
                _ => false,
            };
            self.say(DifferenceKind::Foreign, name, "room", fixed, "namespaces of no known pod");
        }
    }

    async fn foreign_in_network(&mut self, core: &Arc<Core>, network: &orlop_network::Audit) {
        let owners: BTreeSet<(&str, &str)> = network
            .links
            .iter()
            .map(|(_, owner)| (owner.as_str(), "veth"))
            .chain(network.leases.iter().map(|(owner, _)| (owner.as_str(), "lease")))
            .chain(network.ports.iter().map(|(owner, _)| (owner.as_str(), "hostports")))
            .collect();
        for (owner, thing) in owners {
            self.checked += 1;
            // A pod that was removed a moment ago may have its veth still: then its directory is there.
            if core.table.pod(owner).is_ok() || core.places.state.join("pods").join(owner).exists() {
                continue;
            }
            let fixed = match owner.parse() {
                Ok(pod) if self.fix => match thing {
                    "veth" => core.network.detach(&pod).await.is_ok(),
                    "lease" => core.network.release(&pod).await.is_ok(),
                    _ => core.network.close_ports(&pod).await.is_ok(),
                },
                _ => false,
            };
            self.say(DifferenceKind::Foreign, owner, thing, fixed, "of no known pod");
        }
        for port in &network.unknown_ports {
            self.say(
                DifferenceKind::Foreign,
                "",
                &format!("host port {port:?}"),
                false,
                "nobody wrote it down",
            );
        }
    }

    fn foreign_layers(&mut self, core: &Core) {
        let directory = core.places.root.join("containers");
        for entry in std::fs::read_dir(&directory).into_iter().flatten().filter_map(Result::ok) {
            self.checked += 1;
            let name = entry.file_name().to_string_lossy().into_owned();
            if core.table.container(&name).is_ok() {
                continue;
            }
            let fixed = self.fix && std::fs::remove_dir_all(entry.path()).is_ok();
            self.say(
                DifferenceKind::Foreign,
                &name,
                &shown(&entry.path()),
                fixed,
                "layer of no known container",
            );
        }
    }
}

fn shown(path: &Path) -> String {
    format!("layer {}", path.display())
}
