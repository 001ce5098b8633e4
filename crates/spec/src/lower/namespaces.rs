//! Which namespaces are made, which are joined.
//!
//! *Invariant:* a container never gets the node's mount namespace, and never renames what is not its own.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxNamespace, LinuxNamespaceType as Kind, Spec};
use orlop_model::report::Report;
use orlop_wire::plan::Operation;

use super::{Facts, bad, cannot, string};

/// Namespaces of a plan.
pub(super) struct Namespaces {
    pub(super) clone_flags: u64,
    pub(super) pid_slot: Option<u32>,
    pub(super) operations: Vec<Operation>,
}

/// `CLONE_NEW*` of a kind; the spec's numbers are those of clone(2).
fn flag(kind: Kind) -> u64 {
    u64::from(kind as u32)
}

fn all(linux: &Linux) -> &[LinuxNamespace] {
    linux.namespaces().as_deref().unwrap_or_default()
}

fn find(linux: &Linux, kind: Kind) -> Option<&LinuxNamespace> {
    all(linux).iter().find(|one| one.typ() == kind)
}

/// Whether the spec gives the container a namespace of this kind, its own or another's, instead of the node's.
pub(super) fn has(linux: &Linux, kind: Kind) -> bool {
    find(linux, kind).is_some()
}

/// The `CLONE_NEW*` kinds that an exec has to join.
#[must_use]
pub fn kinds(linux: &Linux) -> u64 {
    all(linux).iter().fold(0, |kinds, one| kinds | flag(one.typ()))
}

/// Namespaces that the spec names by a path: the launcher opens them and gives each a slot.
#[must_use]
pub fn paths(linux: &Linux) -> Vec<PathBuf> {
    all(linux)
        .iter()
        .filter_map(|one| one.path().clone())
        .filter(|path| !path.as_os_str().is_empty())
        .collect()
}

/// The slot of a namespace that the spec names by its path.
fn held(path: &Path, facts: &Facts<'_>) -> Result<u32, Report> {
    let missing = || bad("linux.namespaces", path.display(), "is not at hand as a descriptor");
    facts.slot_of(path).ok_or_else(missing)
}

/// The slot of the namespace of this kind that is joined, if one is.
pub(super) fn slot(linux: &Linux, kind: Kind, facts: &Facts<'_>) -> Result<Option<u32>, Report> {
    let path = find(linux, kind).and_then(|one| one.path().as_ref());
    path.filter(|path| !path.as_os_str().is_empty()).map(|path| held(path, facts)).transpose()
}

pub(super) fn namespaces(linux: &Linux, facts: &Facts<'_>) -> Result<Namespaces, Report> {
    let mut result = Namespaces { clone_flags: 0, pid_slot: None, operations: Vec::new() };
    for (at, one) in all(linux).iter().enumerate() {
        let kind = one.typ();
        if all(linux)[..at].iter().any(|earlier| earlier.typ() == kind) {
            return Err(bad("linux.namespaces", kind, "stands there twice"));
        }
        let path = one.path().as_ref().filter(|path| !path.as_os_str().is_empty());
        match (kind, path.map(|path| held(path, facts)).transpose()?) {
            // All the plan is changed for it once it is whole.
            (Kind::User, _) => {}
            (Kind::Mount, Some(_)) => {
                return Err(cannot(
                    "linux.namespaces",
                    "mount",
                    "another's mount namespace cannot hold a root of its own",
                ));
            }
            (Kind::Pid, Some(slot)) => result.pid_slot = Some(slot),
            (Kind::Network | Kind::Ipc | Kind::Uts | Kind::Cgroup | Kind::Time, Some(slot)) => {
                result.operations.push(Operation::Join { slot, kind: flag(kind) });
            }
            // Made once the process is in its cgroups: where it is then becomes the root of its view (cgroup_namespaces(7)).
            (Kind::Cgroup, None) => result.operations.push(Operation::Unshare { flags: flag(kind) }),
            (Kind::Mount | Kind::Pid | Kind::Network | Kind::Ipc | Kind::Uts | Kind::Time, None) => {
                result.clone_flags |= flag(kind);
            }
        }
    }
    if !has(linux, Kind::Mount) {
        return Err(bad("linux.namespaces", "", "a container needs a mount namespace of its own"));
    }
    Ok(result)
}

/// Host and domain name.
pub(super) fn names(spec: &Spec, linux: &Linux, all: &mut Vec<Operation>) -> Result<(), Report> {
    let given = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    let (host, domain) = (given(spec.hostname()), given(spec.domainname()));
    if (host.is_some() || domain.is_some()) && !has(linux, Kind::Uts) {
        return Err(bad("hostname", "", "needs a UTS namespace: it would be the node's name"));
    }
    if let Some(name) = host {
        all.push(Operation::Hostname { name: string("hostname", name)? });
    }
    if let Some(name) = domain {
        all.push(Operation::Domainname { name: string("domainname", name)? });
    }
    Ok(())
}
