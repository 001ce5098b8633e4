//! Limits become directories and values, in an order that the kernel accepts.
//!
//! What the request asked for is required: a container that cannot have its limit does not run. What we write by ourselves is not,
//! except where a process could not enter without it (a new v1 cpuset has no CPUs).
//!
//! *Invariant:* a plan makes nothing. Of the machine it reads only what the parents already have: their CPUs and memory nodes (v1),
//! and which controllers they hand down (v2); a parent that has them is not written to, since whoever made it may have narrowed it.

mod v1;
mod v2;

pub use v2::weight;

use std::ffi::CString;
use std::fmt;
use std::path::{Path, PathBuf};

use orlop_model::container::{Further, Resources};
use orlop_model::report::{Kind, Report};
use orlop_wire::plan::{Cgroup, CgroupWrite, Oom};

use crate::Error;
use crate::devices::{DeviceRule, program};
use crate::hierarchy::{Hierarchies, c_path, relative};

/// What a container gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Directories with their values: parents that are to be kept, then the container's own, in the order of making.
    pub cgroups: Vec<Cgroup>,
    /// Files that the child enters by, in any order.
    pub procs: Vec<CString>,
    /// The directory that the clone puts the child into; it is among `cgroups`.
    pub unified: Option<CString>,
    /// Where an out-of-memory kill is seen.
    pub oom: Oom,
    /// What becomes of the device rules.
    pub devices: Devices,
}

/// What becomes of the device rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    /// They are among the values.
    Written,
    /// A program judges them, which is attached to the unified directory.
    Program,
    /// Nothing here can: there is no cgroup of either kind.
    Nowhere,
}

/// The cgroups of a container at `path` (`/parent/id`), with its limits.
///
/// On v1, `unified["pids.max"]` is understood too: its file has the same name and form there.
///
/// # Errors
/// [`Error::Path`], [`Error::Value`]; [`Error::Read`] if a parent's CPUs cannot be read. What no controller here can do is not an
/// error here but of [`unsupported`], which is to be asked first.
pub fn plan(
    hierarchies: &Hierarchies,
    path: &str,
    resources: &Resources,
    devices: &[DeviceRule],
) -> Result<Planned, Error> {
    let below = relative(path)?;
    let mut cgroups = Vec::new();
    let mut own = Vec::new();
    for (mount, controllers) in hierarchies.v1_mounts() {
        let mut writes = Vec::new();
        for controller in controllers {
            if controller == "cpuset" {
                let (parents, set) = v1::cpuset(mount, &below, resources)?;
                cgroups.extend(parents);
                writes.extend(set);
            } else {
                writes.extend(v1::writes(controller, resources, devices, hierarchies.counts_swap())?);
            }
        }
        own.push(cgroup(&mount.join(&below), writes, false)?);
    }
    let mut unified = None;
    if let Some(mount) = hierarchies.unified() {
        cgroups.extend(v2::parents(hierarchies, mount, &below, resources)?);
        let directory = mount.join(&below);
        unified = Some(c_path(&directory)?);
        let mut group = cgroup(&directory, v2::writes(hierarchies, resources)?, false)?;
        if hierarchies.v1("devices").is_none() {
            group.devices = program(devices);
        }
        own.push(group);
    }
    cgroups.append(&mut own);
    let devices = match (hierarchies.v1("devices"), &unified) {
        (Some(_), _) => Devices::Written,
        (None, Some(_)) => Devices::Program,
        (None, None) => Devices::Nowhere,
    };
    Ok(Planned {
        cgroups,
        procs: hierarchies.procs(path, false)?,
        unified,
        oom: oom(hierarchies, &below)?,
        devices,
    })
}

fn oom(hierarchies: &Hierarchies, below: &Path) -> Result<Oom, Error> {
    if let Some(memory) = hierarchies.v1("memory") {
        return Ok(Oom::V1 { directory: c_path(&memory.join(below))? });
    }
    match hierarchies.unified() {
        Some(unified) if hierarchies.in_unified("memory") => {
            let directory = c_path(&unified.join(below))?;
            match below.parent() {
                Some(above) if below.extension().is_some_and(|extension| extension == "scope") => {
                    Ok(Oom::Unit { directory, above: c_path(&unified.join(above))? })
                }
                Some(_) | None => Ok(Oom::V2 { directory }),
            }
        }
        Some(_) | None => Ok(Oom::Nowhere),
    }
}

/// The first limit asked for that this machine cannot give, by the field that asks for it.
#[must_use]
pub fn unsupported(hierarchies: &Hierarchies, resources: &Resources) -> Option<Report> {
    let pages = resources.hugepages.iter().find(|(_, bytes)| *bytes > 0);
    let asked = [
        ("cpu_shares", "cpu", resources.cpu_shares != 0),
        // A quota of -1 asks for no limit, and a period alone limits nothing.
        ("cpu_quota", "cpu", resources.cpu_quota > 0),
        ("memory_limit_in_bytes", "memory", resources.memory_limit > 0),
        ("cpuset_cpus", "cpuset", !resources.cpuset_cpus.is_empty()),
        ("cpuset_mems", "cpuset", !resources.cpuset_mems.is_empty()),
        // kubelet sends 0 for every page size of the machine; only more than 0 needs a controller.
        ("hugepage_limits", "hugetlb", pages.is_some()),
    ];
    for (field, controller, asked) in asked {
        if asked && !hierarchies.has(controller) {
            return Some(refuse(&format!("linux.resources.{field}"), hierarchies, controller));
        }
    }
    resources.unified.keys().find_map(|file| strange(hierarchies, file)).or_else(|| {
        let further = resources.further.as_deref()?;
        beyond(hierarchies, further)
    })
}

/// A file of [`Resources::unified`] that cannot be written here.
fn strange(hierarchies: &Hierarchies, file: &str) -> Option<Report> {
    let field = format!("linux.resources.unified[{file:?}]");
    if !v2::takes(hierarchies, file) {
        let controller = file.split('.').next().unwrap_or_default();
        return Some(refuse(&field, hierarchies, controller));
    }
    let cause = match hierarchies.is_writable(file) {
        Some(false) => "this file says something and takes nothing",
        None if hierarchies.knows_files_like(file) => "the kernel's controller has no such file",
        Some(true) | None => return None,
    };
    Some(Report::new(Kind::BadRequest, field, "", cause))
}

/// The first of what CRI has no word for that cannot be had here.
fn beyond(hierarchies: &Hierarchies, further: &Further) -> Option<Report> {
    let io = &further.block_io;
    let rates = [&io.read_bps, &io.write_bps, &io.read_iops, &io.write_iops];
    let limited = rates.iter().any(|devices| !devices.is_empty());
    let any_io = limited || io.weight.is_some() || !io.weight_devices.is_empty();
    let v1 = |controller: &str| hierarchies.v1(controller).is_some();
    let either = |v1_name: &str, name: &str| v1(v1_name) || hierarchies.in_unified(name);
    let realtime = further.cpu_realtime_runtime != 0 || further.cpu_realtime_period != 0;
    let asked = [
        ("cpu.realtimeRuntime", "cpu", realtime, v1("cpu")),
        ("cpu.burst", "cpu", further.cpu_burst.is_some(), hierarchies.has("cpu")),
        ("cpu.idle", "cpu", further.cpu_idle.is_some(), hierarchies.has("cpu")),
        ("memory.reservation", "memory", further.memory_reservation > 0, hierarchies.has("memory")),
        ("memory.swappiness", "memory", further.memory_swappiness.is_some(), v1("memory")),
        ("memory.disableOOMKiller", "memory", further.memory_disable_oom_killer, v1("memory")),
        ("pids.limit", "pids", further.pids_limit.is_some(), hierarchies.has("pids")),
        ("blockIO", "io", any_io, either("blkio", "io")),
        ("blockIO.leafWeight", "blkio", io.leaf_weight.is_some(), v1("blkio")),
        ("rdma", "rdma", !further.rdma.is_empty(), hierarchies.has("rdma")),
    ];
    let (field, controller, ..) = asked.into_iter().find(|(_, _, asked, can)| *asked && !can)?;
    let field = format!("linux.resources.{field}");
    if hierarchies.in_unified(controller) && controller != "blkio" {
        let cause = format!("the {controller} controller of cgroup v2 has no such limit");
        return Some(Report::new(Kind::Unsupported, field, "", cause).advise("drop it"));
    }
    Some(refuse(&field, hierarchies, controller))
}

/// `pids.max` by [`Further`]; 0 and less: no limit.
fn pids_limit(resources: &Resources) -> Option<String> {
    let limit = resources.further.as_ref()?.pids_limit?;
    Some(if limit > 0 { limit.to_string() } else { "max".into() })
}

fn refuse(field: &str, hierarchies: &Hierarchies, controller: &str) -> Report {
    let cause = match hierarchies.v1(controller) {
        Some(mount) => {
            format!("the {controller} controller is a cgroup v1 one here, at {}", mount.display())
        }
        None => format!("no cgroup hierarchy of this machine has a {controller} controller"),
    };
    let layout = hierarchies.layout().name();
    Report::new(Kind::Unsupported, field, "", cause)
        .advise(format!("the cgroups here are {layout}; drop the limit or change how the machine boots"))
}

fn cgroup(directory: &Path, writes: Vec<CgroupWrite>, keep: bool) -> Result<Cgroup, Error> {
    Ok(Cgroup { directory: c_path(directory)?, writes, keep, devices: Vec::new() })
}

fn write(file: impl Into<String>, value: impl fmt::Display, required: bool) -> Result<CgroupWrite, Error> {
    let file = file.into();
    let value = value.to_string();
    if file.is_empty() || file.contains('/') {
        return Err(Error::Value(file));
    }
    Ok(CgroupWrite {
        file: CString::new(file.clone()).map_err(|_| Error::Value(file))?,
        value: CString::new(value.clone()).map_err(|_| Error::Value(value))?,
        required,
    })
}

/// The cgroups above `below` within a mount, the uppermost first, without the mount itself.
fn parents(below: &Path) -> Vec<PathBuf> {
    let mut above: Vec<PathBuf> = below.ancestors().skip(1).map(Path::to_owned).collect();
    above.pop();
    above.reverse();
    above
}

#[cfg(test)]
mod tests;
