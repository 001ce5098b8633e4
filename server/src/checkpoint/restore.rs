//! The plan of a container that is restored: the root as any plan makes it, and CRIU in the place of the container's program.
//!
//! ```text
//!  join, cgroups, root, mounts, terminal, masks │ enter, identity, filter, exec      any container
//!  the same, but what is CRIU's own: /proc      │ CRIU, outside of the root          one that is restored
//! ```
//!
//! *Invariant:* what the request of today asks for and the checkpoint cannot be is refused here, before anything runs: other mounts,
//! another identity, other limits on what it may do.

use std::collections::BTreeSet;
use std::path::Path;

use orlop_model::report::{Kind, Report};
use orlop_wire::plan::{Operation, Plan, RESTORE_STREAMS};

use super::criu;
use super::note::{self, file, is_confinement};
use super::source::Source;
use crate::pods::Core;
use crate::pods::pod::Pod;

/// CRIU's log of a restore.
const LOG: &str = "restore.log";
/// Where CRIU leaves the number of the first process.
const PID: &str = "pid";

/// Whether a plan has to be the old one in more than a container needs to go on: program, arguments, environment, directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Likeness {
    /// A container of a new pod: what it was started with is of the past.
    Container,
    /// A pod that is restored as it was.
    Pod,
}

/// Makes `plan` one that restores the container from `source`. Blocks.
///
/// # Errors
/// What does not fit, by name; `Unsupported` if there is no CRIU that could.
pub(crate) fn restored(
    core: &Core,
    source: &Source,
    mut plan: Plan,
    likeness: Likeness,
) -> Result<Plan, Report> {
    fits(&source.plan, &plan, likeness)?;
    let program = core.criu.able()?;
    let place = plan.operations.iter().find_map(|operation| match operation {
        Operation::Overlay { place, .. } => Some(place.to_string_lossy().into_owned()),
        _ => None,
    });
    let missing = || Report::new(Kind::Failed, "plan", "restore", "the plan makes no root");
    let arguments = arguments(source, &place.ok_or_else(missing)?);
    let enter = plan.operations.iter().position(|operation| matches!(operation, Operation::Enter));
    plan.operations.truncate(enter.ok_or_else(missing)?);
    plan.operations.retain(|operation| !is_crius(operation));
    plan.operations.push(Operation::Restore {
        arguments: criu::arguments(&program, &arguments)?,
        program: orlop_spec::c_path(&program)?,
        environment: criu::environment(),
        pid_file: orlop_spec::c_path(&source.directory.join(PID))?,
    });
    orlop_wire::order::check(&plan.operations)
        .map_err(|why| Report::new(Kind::Failed, "plan", "restore", why))?;
    Ok(plan)
}

/// What CRIU makes itself: the `/proc` of the PID namespace that it makes, and what covers parts of it; what confines a program from its
/// next execve(2) on, which would be CRIU's own.
fn is_crius(operation: &Operation) -> bool {
    use Operation as O;
    match operation {
        O::Mount { target, .. } | O::Mask { target } | O::Freeze { target } => {
            target.to_bytes() == b"proc" || target.to_bytes().starts_with(b"proc/")
        }
        O::Attribute { .. } => true,
        _ => false,
    }
}

fn arguments(source: &Source, place: &str) -> Vec<String> {
    let path = |path: &Path| path.display().to_string();
    let mut all: Vec<String> =
        ["restore", "--restore-detached", "--restore-sibling", "--manage-cgroups=ignore"]
            .map(str::to_owned)
            .into();
    // Another pod has other addresses, and nobody there knows its old connections.
    all.extend(["--file-locks", "--tcp-close", "--ext-unix-sk", "-v4"].map(str::to_owned));
    for (option, value) in [
        ("--images-dir", path(&source.directory.join(file::IMAGES))),
        ("--work-dir", path(&source.directory)),
        ("--log-file", LOG.to_owned()),
        ("--pidfile", path(&source.directory.join(PID))),
        ("--root", place.to_owned()),
    ] {
        all.extend([option.to_owned(), value]);
    }
    let sight = &source.note.sight;
    for point in &sight.mounts {
        let covered = sight.nulls.contains(point) && point.starts_with("/proc/");
        let from = if covered { "/dev/null".to_owned() } else { format!("{place}{point}") };
        all.extend(["--external".to_owned(), format!("mnt[{point}]:{from}")]);
    }
    for (stream, number) in sight.streams.iter().zip(RESTORE_STREAMS) {
        if let Some(stream) = stream {
            let stream = stream.replacen("pipe[", "pipe:[", 1);
            all.extend(["--inherit-fd".to_owned(), format!("fd[{number}]:{stream}")]);
        }
    }
    all
}

/// Whether what was written down can go on under the plan of today.
fn fits(old: &Plan, new: &Plan, likeness: Likeness) -> Result<(), Report> {
    let refused = |field: &str, cause: String| Err(Report::new(Kind::WrongState, field, "", cause));
    if new
        .operations
        .iter()
        .any(|operation| matches!(operation, Operation::BecomeRoot | Operation::Again { .. }))
    {
        return refused(
            "config.linux.security_context.namespace_options.userns_options",
            "what is restored is in no user namespace".into(),
        );
    }
    if old.stdio.terminal != new.stdio.terminal {
        let had = if old.stdio.terminal { "has a terminal" } else { "has no terminal" };
        return refused("config.tty", format!("what is restored {had}"));
    }
    if old.clone_flags != new.clone_flags || new.pid_slot.is_some() {
        let cause = "what is restored has a PID namespace of its own, and has to get one".to_owned();
        return refused("config.linux.security_context.namespace_options.pid", cause);
    }
    for (field, of) in [
        ("config.mounts", mounted as fn(&Operation) -> Option<String>),
        ("config.linux.security_context", covered),
    ] {
        let all = |plan: &Plan| plan.operations.iter().filter_map(of).collect::<BTreeSet<String>>();
        let (had, gets) = (all(old), all(new));
        let shown = |names: Vec<&String>| names.into_iter().take(8).cloned().collect::<Vec<_>>().join(", ");
        let (lost, more) = (shown(had.difference(&gets).collect()), shown(gets.difference(&had).collect()));
        if !lost.is_empty() {
            return refused(field, format!("what is restored has {lost}, and the request has not"));
        }
        if !more.is_empty() {
            return refused(field, format!("the request has {more}, and what is restored has not"));
        }
    }
    let alike = |which: fn(&Operation) -> bool| {
        let all = |plan: &Plan| plan.operations.iter().filter(|one| which(one)).cloned().collect::<Vec<_>>();
        all(old) == all(new)
    };
    if !alike(is_confinement) {
        let cause =
            "user, capabilities, no_new_privs or seccomp are not those of what is restored".to_owned();
        return refused("config.linux.security_context", cause);
    }
    if likeness == Likeness::Pod && !alike(is_program) {
        let cause = "they are not those of what is restored".to_owned();
        return refused("config.command, args, envs and working_dir", cause);
    }
    Ok(())
}

fn is_program(operation: &Operation) -> bool {
    matches!(operation, Operation::Execute { .. } | Operation::Chdir { .. })
}

fn mounted(operation: &Operation) -> Option<String> {
    use Operation as O;
    match operation {
        O::Mount { target, .. }
        | O::Bind { target, .. }
        | O::BindSlot { target, .. }
        | O::Layers { target, .. } => Some(format!("a mount at /{}", target.to_string_lossy())),
        _ => None,
    }
}

fn covered(operation: &Operation) -> Option<String> {
    match operation {
        Operation::Mask { target } => Some(format!("/{} masked", target.to_string_lossy())),
        Operation::Freeze { target } => Some(format!("/{} read-only", target.to_string_lossy())),
        Operation::FreezeRoot => Some("a read-only root".into()),
        _ => None,
    }
}

/// Puts into the pod's `/dev/shm` what was there. Blocks.
///
/// # Errors
/// If the archive is damaged, or the memory does not take it.
pub(crate) fn put_shared(core: &Core, source: &Source, pod: &Pod) -> Result<(), Report> {
    let handles = tokio::runtime::Handle::current().block_on(core.room.handles(&pod.id))?;
    let Some(held) = handles.shm else { return Ok(()) };
    super::memory::unpack(core, &source.directory, &source.directory, &held)
}

/// Why a restore failed: what CRIU wrote of it.
pub(crate) fn explain(layer: &Path, mut report: Report) -> Report {
    let directory = layer.join(super::source::DIRECTORY);
    let log = note::open(&directory, LOG).ok().flatten();
    let text = log.and_then(|log| {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        log.take(64 << 20).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    });
    let errors = criu::errors(&text.unwrap_or_default());
    if !errors.is_empty() {
        report.cause = format!("{}: {errors}", report.cause);
    }
    report
}
