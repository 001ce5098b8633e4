//! Limits become directories and values, in an order that the kernel accepts.
//!
//! What the request asked for is required: a container that cannot have its limit does not run. What we write by ourselves is not,
//! except where a process could not enter without it (a new v1 cpuset has no CPUs).
//!
//! *Invariant:* a plan makes nothing. Of the machine it reads only what the parents already have: their CPUs and memory nodes (v1),
//! and which controllers they hand down (v2); a parent that has them is not written to, since whoever made it may have narrowed it.

mod v1;
mod v2;

use std::ffi::CString;
use std::fmt;
use std::path::{Path, PathBuf};

use orlop_model::container::Resources;
use orlop_model::report::{Kind, Report};
use orlop_wire::plan::{Cgroup, CgroupWrite, Oom};

use crate::Error;
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
    /// Here a BPF program has to be attached to the unified directory (`BPF_CGROUP_DEVICE`); the plan does not hold it.
    NeedProgram,
}

/// What may be done to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Read from.
    pub read: bool,
    /// Written to.
    pub write: bool,
    /// Made by mknod(2).
    pub make: bool,
}

impl Access {
    /// All three.
    pub const ALL: Access = Access { read: true, write: true, make: true };
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (letter, given) in [("r", self.read), ("w", self.write), ("m", self.make)] {
            f.write_str(if given { letter } else { "" })?;
        }
        Ok(())
    }
}

/// A rule of the device controller; of several, the last that fits decides. Begin with [`DeviceRule::NONE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    /// Whether it allows or denies.
    pub allow: bool,
    /// A block device, or a character device; none: both, and then every number and access is meant.
    pub block: Option<bool>,
    /// Major number; none: any.
    pub major: Option<u32>,
    /// Minor number; none: any.
    pub minor: Option<u32>,
    /// What of it.
    pub access: Access,
}

impl DeviceRule {
    /// No device at all.
    pub const NONE: DeviceRule =
        DeviceRule { allow: false, block: None, major: None, minor: None, access: Access::ALL };
    /// Every device: what privileged containers have.
    pub const EVERY: DeviceRule =
        DeviceRule { allow: true, block: None, major: None, minor: None, access: Access::ALL };
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
        own.push(cgroup(&directory, v2::writes(hierarchies, resources)?, false)?);
    }
    cgroups.append(&mut own);
    let devices = if hierarchies.v1("devices").is_some() { Devices::Written } else { Devices::NeedProgram };
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
            Ok(Oom::V2 { directory: c_path(&unified.join(below))? })
        }
        Some(_) | None => Ok(Oom::Nowhere),
    }
}

/// The first limit asked for that no controller of this machine can give.
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
    let strange = resources.unified.keys().find(|file| !v2::takes(hierarchies, file))?;
    let controller = strange.split('.').next().unwrap_or_default();
    Some(refuse(&format!("linux.resources.unified[{strange:?}]"), hierarchies, controller))
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
    Ok(Cgroup { directory: c_path(directory)?, writes, keep })
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
