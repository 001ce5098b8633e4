//! One container, which stands still, is written down into a directory of its own.
//!
//! ```text
//!  root/checkpoints/CONTAINER/     life        held locked by CRIU as long as it works
//!                                  checkpoint/ CRIU's images
//!                                  dump.log, stats-dump, rootfs-diff.tar, deleted.files, documents, the log, the note
//! ```
//!
//! *Invariant:* the container goes on as if nothing had been: nothing of it is changed, none of its connections is held back.

use std::fs::File;
use std::io::BufWriter;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use orlop_image::pack::{Changes, Pack};
use orlop_model::report::{Kind, Report};
use orlop_wire::code::Wire as _;
use orlop_wire::plan::Plan;
use serde_json::json;

use super::criu::{self, Run};
use super::cut::Cut;
use super::note::{Note, file};
use super::{documents, memory, sight};
use crate::pods::Core;
use crate::pods::container::{Container, Facts};
use crate::pods::ledger::Thing;

/// A file that is removed but open is in the images; a larger one is told.
const GHOSTS: &str = "512M";

/// What a dump needs of a container's pod.
#[derive(Default)]
pub(super) struct Around {
    /// Namespaces that it is in: network, IPC, UTS.
    pub(super) namespaces: Vec<OwnedFd>,
    /// Its `/dev/shm`.
    pub(super) shm: Option<OwnedFd>,
}

/// Writes `container` down; where that is. Blocks.
///
/// # Errors
/// What CRIU says, or the disk. What is there then is taken down by [`super::undo`].
pub(super) fn dump(
    core: &Core,
    container: &Container,
    program: &Path,
    cut: &Cut,
    around: &Around,
    deadline: Instant,
) -> Result<PathBuf, Report> {
    let directory = core.places.dump(&container.id);
    container.with_ledger(|ledger| ledger.will(Thing::Dump(directory.clone())))?;
    super::undo::remove(&directory)?;
    make(&directory)?;
    make(&directory.join(file::IMAGES))?;
    crate::failpoint::pass("checkpoint.directory");
    let gone = || Report::new(Kind::WrongState, "checkpoint", container.id.short(), "it has ended");
    let facts = container.facts().ok_or_else(gone)?;
    let (pid, shim) = container.life().born.as_ref().map(|born| (born.pid, born.shim)).ok_or_else(gone)?;
    let plan = plan(core, container)?;
    let freezer = cut.freezer(container).ok_or_else(gone)?;
    let processes = orlop_cgroup::act::processes(freezer).map_err(Report::from)?;
    let seen = sight::look(pid, &processes, shim, plan.stdio.terminal)?;
    let arguments = arguments(pid, &directory, freezer, &seen);
    let life = crate::shims::lock(&directory)
        .map_err(|errno| Report::new(Kind::Failed, "lock", directory.display().to_string(), errno))?;
    let run = Run {
        program,
        arguments: &arguments,
        namespaces: &around.namespaces,
        life: Some(life.as_fd()),
        deadline,
    };
    run.end().map_err(|report| explained(report, container, &directory))?;
    crate::failpoint::pass("checkpoint.dumped");
    let note = Note { sight: seen, terminal: plan.stdio.terminal, machine: std::env::consts::ARCH.into() };
    changes(core, container, &facts, &directory)?;
    if let Some(shm) = &around.shm {
        memory::pack(shm, &directory.join(file::SHARED))?;
    }
    log(&facts, &directory)?;
    documents::write(container, &facts, &plan, &directory)?;
    documents::put(&directory, file::NOTE, &note.to_json())?;
    let path = directory.join(file::PLAN);
    std::fs::write(&path, plan.to_bytes())
        .map_err(|error| Report::new(Kind::Failed, "write", path.display().to_string(), error))?;
    Ok(directory)
}

/// For root alone: it has all of the container's memory.
fn make(path: &Path) -> Result<(), Report> {
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(path);
    made.map_err(|error| Report::new(Kind::Failed, "make directory", path.display().to_string(), error))
}

fn plan(core: &Core, container: &Container) -> Result<Plan, Report> {
    let path = core.places.container(&container.id).join(orlop_wire::record::file::PLAN);
    let failed = |cause: String| Report::new(Kind::Failed, "read plan", path.display().to_string(), cause);
    let bytes = std::fs::read(&path).map_err(|error| failed(error.to_string()))?;
    Plan::from_bytes(&bytes).map_err(|malformed| failed(malformed.to_string()))
}

fn arguments(pid: i32, directory: &Path, freezer: &Path, seen: &sight::Sight) -> Vec<String> {
    let path = |path: &Path| path.display().to_string();
    let mut all: Vec<String> =
        ["dump", "--leave-running", "--manage-cgroups=ignore", "--file-locks", "--ext-unix-sk"]
            .map(str::to_owned)
            .into();
    // A connection's other end knows nothing of this: it stays as it is, and a copy of it would be told from it by nobody.
    all.extend(["--tcp-close", "--skip-in-flight", "--enable-external-masters", "-v4"].map(str::to_owned));
    all.push(format!("--ghost-limit={GHOSTS}"));
    for (option, value) in [
        ("--tree", pid.to_string()),
        ("--images-dir", path(&directory.join(file::IMAGES))),
        ("--work-dir", path(directory)),
        ("--log-file", file::LOG.to_owned()),
        ("--freeze-cgroup", path(freezer)),
    ] {
        all.extend([option.to_owned(), value]);
    }
    let streams = seen.streams.iter().flatten().filter(|stream| !stream.starts_with("pipe"));
    let outside = seen.mounts.iter().map(|point| format!("mnt[{point}]:{point}")).chain(streams.cloned());
    all.extend(outside.flat_map(|outside| ["--external".to_owned(), outside]));
    all
}

/// With what CRIU wrote to its log.
fn explained(mut report: Report, container: &Container, directory: &Path) -> Report {
    let log = std::fs::read(directory.join(file::LOG)).unwrap_or_default();
    let errors = criu::errors(&String::from_utf8_lossy(&log));
    if !errors.is_empty() {
        report.cause = format!("{}: {errors}", report.cause);
    }
    Report { stage: "checkpoint container".into(), object: container.id.short().to_owned(), ..report }
}

/// What the container has changed in its root.
fn changes(core: &Core, container: &Container, facts: &Facts, directory: &Path) -> Result<(), Report> {
    let path = directory.join(file::CHANGES);
    let failed =
        |error: std::io::Error| Report::new(Kind::Failed, "write", path.display().to_string(), error);
    let upper = core.places.layer(&container.id).join("upper");
    let out = File::options().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
    let mut pack = Pack::new(BufWriter::new(out), &path);
    let changes = Changes::new(&upper, &facts.layers).map_err(Report::from)?;
    let hidden = changes.pack(&mut pack).map_err(Report::from)?;
    pack.end().map_err(Report::from)?;
    let name = |path: Vec<u8>| {
        String::from_utf8(path).map(|path| format!("/{path}")).map_err(|error| {
            let name: String = error.as_bytes().iter().take(80).map(|byte| char::from(*byte)).collect();
            let cause = "a file was removed whose name is no UTF-8, and the list of those is JSON";
            Report::new(Kind::Unsupported, "checkpoint", name.escape_debug().to_string(), cause)
        })
    };
    let deleted = hidden.into_iter().map(name).collect::<Result<Vec<_>, _>>()?;
    documents::put(directory, file::DELETED, &json!(deleted))
}

/// The container's log so far. What is no regular file is no log.
fn log(facts: &Facts, directory: &Path) -> Result<(), Report> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(log) = rustix::fs::open(Path::new(&facts.log_path), flags, Mode::empty()) else { return Ok(()) };
    let mut log = File::from(log);
    if !log.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Ok(());
    }
    let path = directory.join(file::OUTPUT);
    let copied = File::options().write(true).create_new(true).mode(0o600).open(&path);
    copied
        .and_then(|mut copy| std::io::copy(&mut log, &mut copy))
        .map(drop)
        .map_err(|error| Report::new(Kind::Failed, "copy log", path.display().to_string(), error))
}
