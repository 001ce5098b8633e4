//! An OCI runtime spec becomes a plan: a flat list of kernel operations with everything resolved.
//!
//! | room | what it is for |
//! | --- | --- |
//! | `refuse` | what a spec can say and no plan can do |
//! | `namespaces` | which are made, which are joined |
//! | [`options`] | mount options as attributes and filesystem parameters |
//! | `mounts` | mounts, masks, read-only paths |
//! | `cgroups` | the container's view of cgroups |
//! | `hooks` | programs of others that are run at points of its life |
//! | `nodes` | device nodes and the links beside them |
//! | `process` | limits, identity, filter, program |
//! | [`sysctl`] | which namespace a sysctl belongs to |
//! | [`user`] | what is otherwise in a user namespace |
//!
//! *Invariant:* a plan that comes out passes [`orlop_wire::order::check`]; what a spec asks for is in it, or the spec is refused.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use oci_spec::runtime::{Linux, Process, Spec};
use orlop_model::report::{Kind, Report};
use orlop_wire::hook::Point;
use orlop_wire::plan::{Cgroup, Oom, Operation, Plan, Stdio};

use crate::input::{CgroupLayout, DeviceNode};
use crate::seccomp::Filters;

mod cgroups;
mod hooks;
mod mounts;
mod namespaces;
mod nodes;
pub mod options;
mod process;
mod refuse;
pub mod sysctl;
pub mod user;

#[cfg(test)]
mod tests;

pub use hooks::listed as listed_hooks;
pub use namespaces::{kinds, paths};
pub use process::{ExecFacts, candidates, exec};

/// A descriptor that the launcher hands to the shim, standing for a path of the spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The path as the spec has it: of a namespace, or the source of a bind mount.
    pub path: PathBuf,
    /// The descriptor's place.
    pub number: u32,
}

/// Where a container's root comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// Layers.
    Overlay {
        /// Directories of the layers, the topmost first.
        lower: Vec<PathBuf>,
        /// The container's own layer.
        upper: PathBuf,
        /// overlayfs' scratch directory.
        work: PathBuf,
        /// Whether it is mounted without ever syncing.
        volatile: bool,
        /// Directory of the host where it is attached.
        place: PathBuf,
    },
    /// A directory of the host.
    Directory {
        /// The directory.
        source: PathBuf,
        /// Directory of the host where it is attached; may be `source`.
        place: PathBuf,
    },
}

/// What a spec does not say and a plan needs.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The container's id.
    pub container: String,
    /// Descriptors at hand.
    pub slots: &'a [Slot],
    /// Where its root comes from.
    pub root: Root,
    /// How cgroups are mounted on the node.
    pub layout: &'a CgroupLayout,
    /// Cgroups that the shim makes, with what is written to them.
    pub cgroups: Vec<Cgroup>,
    /// `tasks` (v1) or `cgroup.procs` files that the container's process enters by itself.
    pub enter: Vec<CString>,
    /// Directory of the unified hierarchy into which it is cloned.
    pub unified: Option<CString>,
    /// Where an out-of-memory kill is seen.
    pub oom: Oom,
    /// `tasks` (v1) or `cgroup.procs` files of the shim.
    pub shim_cgroups: Vec<CString>,
    /// Input and output; `terminal` is taken from the spec.
    pub stdio: Stdio,
    /// Whether a source of a bind mount that is missing is made as a directory.
    pub create_sources: bool,
    /// Directory of the host that hooks are told is the bundle, and where they begin.
    pub bundle: PathBuf,
    /// How long a hook may take that says nothing of that itself.
    pub hook_patience: Duration,
    /// Environment values that the spec could not hold: [`crate::oci::Composed::raw_environment`].
    pub raw_environment: &'a [(String, Vec<u8>)],
    /// Filters compiled before.
    pub filters: &'a Filters,
    /// The node's devices, as far as they are known: in a user namespace none can be made, they are bound.
    pub devices: &'a [DeviceNode],
}

impl Facts<'_> {
    /// The slot that stands for `path`.
    #[must_use]
    pub fn slot_of(&self, path: &Path) -> Option<u32> {
        self.slots.iter().find(|slot| slot.path == path).map(|slot| slot.number)
    }
}

/// Lowers a spec to a plan.
///
/// # Errors
/// A [`Report`] naming the part of the spec that cannot be, or that this version cannot do.
pub fn lower(spec: &Spec, facts: &Facts<'_>) -> Result<Plan, Report> {
    refuse::unsupported(spec)?;
    let process = spec.process().as_ref().ok_or_else(|| bad("process", "", "is missing"))?;
    let linux = spec.linux().as_ref().ok_or_else(|| bad("linux", "", "is missing"))?;
    let spaces = namespaces::namespaces(linux, facts)?;
    let user = user::of(linux, facts)?;
    let mapped = user::mapped(spec.mounts().as_deref().unwrap_or_default(), user::maps(linux)?)?;
    let mut plan = Plan {
        version: orlop_wire::VERSION,
        container: facts.container.clone(),
        clone_flags: spaces.clone_flags,
        pid_slot: spaces.pid_slot,
        slots: facts.slots.iter().map(|slot| slot.number + 1).max().unwrap_or(0),
        shim_cgroups: facts.shim_cgroups.clone(),
        cgroups: facts.cgroups.clone(),
        unified: facts.unified.clone(),
        oom: facts.oom.clone(),
        operations: process::birth(process)?,
        stdio: Stdio { terminal: process.terminal().unwrap_or(false), ..facts.stdio.clone() },
        runtime: None,
        hooks: hooks::hooks(spec, process, linux, facts)?,
    };
    let pause = |until: Point, before: Option<Point>| {
        let mut due = plan.hooks.iter().flat_map(|hooks| &hooks.all);
        due.any(|hook| hook.point <= until && Some(hook.point) > before).then_some(Operation::Pause { until })
    };
    let pauses =
        [pause(Point::CreateContainer, None), pause(Point::StartContainer, Some(Point::CreateContainer))];
    let [before_enter, before_exec] = pauses;
    let all = &mut plan.operations;
    all.extend(facts.enter.iter().map(|procs| Operation::EnterCgroup { procs: procs.clone() }));
    all.extend(spaces.operations);
    // Nothing made below may leave, whatever the spec says of its own root. Sources of binds are opened before this: they keep their
    // tie to the host, which each bind then keeps or cuts by itself.
    all.push(Operation::Propagation { flags: options::SLAVE | options::RECURSIVE });
    if let Some(label) = mounts::label(linux)? {
        all.push(Operation::MountContext { label });
    }
    all.push(root(&facts.root)?);
    filesystem(spec, process, linux, facts, before_enter, all)?;
    all.push(Operation::Enter);
    all.extend(mounts::root_propagation(linux)?.map(|flags| Operation::RootPropagation { flags }));
    all.push(process::directory(process)?);
    if spec.root().as_ref().and_then(oci_spec::runtime::Root::readonly).unwrap_or(false) {
        all.push(Operation::FreezeRoot);
    }
    all.extend(before_exec);
    let filter = linux.seccomp().as_ref().map(|profile| facts.filters.get(profile)).transpose()?;
    process::become_it(process, filter, facts.raw_environment, all)?;
    if let Some(user) = user {
        user::change(&mut plan, &user, process, &mapped, facts)?;
    }
    orlop_wire::order::check(&plan.operations)
        .map_err(|why| Report::new(Kind::Failed, "plan", &facts.container, why))?;
    Ok(plan)
}

/// What is made, covered and frozen under the root before it is entered.
fn filesystem(
    spec: &Spec,
    process: &Process,
    linux: &Linux,
    facts: &Facts<'_>,
    pause: Option<Operation>,
    all: &mut Vec<Operation>,
) -> Result<(), Report> {
    let mounted = spec.mounts().as_deref().unwrap_or_default();
    let frozen = mounts::mounts(mounted, linux, facts, all)?;
    nodes::nodes(mounted, linux, all)?;
    if process.terminal().unwrap_or(false) {
        let size = process.console_size().unwrap_or_default();
        let cells = |count: u64| u16::try_from(count).unwrap_or(u16::MAX);
        all.push(Operation::Terminal {
            console: true,
            rows: cells(size.height()),
            columns: cells(size.width()),
        });
    }
    namespaces::names(spec, linux, all)?;
    sysctl::operations(linux, all)?;
    all.extend(pause);
    for path in linux.masked_paths().iter().flatten() {
        all.push(Operation::Mask { target: inside("linux.maskedPaths", Path::new(path))? });
    }
    for path in linux.readonly_paths().iter().flatten() {
        all.push(Operation::Freeze { target: inside("linux.readonlyPaths", Path::new(path))? });
    }
    all.extend(frozen.into_iter().map(|target| Operation::Freeze { target }));
    Ok(())
}

pub(crate) fn root(root: &Root) -> Result<Operation, Report> {
    let path = |path: &PathBuf| string("root.path", path.as_os_str().as_bytes());
    Ok(match root {
        Root::Overlay { lower, upper, work, volatile, place } => Operation::Overlay {
            lower: lower.iter().map(path).collect::<Result<_, _>>()?,
            upper: path(upper)?,
            work: path(work)?,
            volatile: *volatile,
            place: path(place)?,
        },
        Root::Directory { source, place } => {
            Operation::Directory { source: path(source)?, place: path(place)? }
        }
    })
}

/// A path of the host as the kernel takes it.
///
/// # Errors
/// A [`Report`] if it holds a NUL.
pub fn c_path(path: &Path) -> Result<CString, Report> {
    string("path", path.as_os_str().as_bytes())
}

/// A part of a spec that cannot be.
fn bad(part: &str, value: impl std::fmt::Display, cause: impl std::fmt::Display) -> Report {
    Report::field(part, value, cause)
}

/// A part of a spec that this version cannot do.
fn cannot(part: &str, value: impl Into<String>, cause: impl std::fmt::Display) -> Report {
    Report::new(Kind::Unsupported, part, value, cause)
}

pub(crate) fn string(part: &str, bytes: impl Into<Vec<u8>>) -> Result<CString, Report> {
    CString::new(bytes).map_err(|error| bad(part, String::from_utf8_lossy(&error.into_vec()), "holds a NUL"))
}

/// A path in the container as plans have it: relative to the root, without `.` and `..`.
fn inside(part: &str, path: &Path) -> Result<CString, Report> {
    let mut clean: Vec<&[u8]> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name.as_bytes()),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if !path.is_absolute() || clean.is_empty() {
        return Err(bad(part, path.display(), "must be absolute and not the root"));
    }
    string(part, clean.join(&b'/'))
}
