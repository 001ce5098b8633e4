//! Containers of a runtime that is not ours: what is written for it, and its last word.
//!
//! A shim keeps them as it keeps ours: see `crates/spec/src/bundle.rs` for what it is told, `shim/src/watch/runtime.rs` for what it
//! does. To the rest of the daemon they are containers like any other.
//!
//! *Invariant:* the files that a runtime reads are written before the plan that has them read. What a runtime has of a container is
//! in the ledger from its start on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use orlop_model::container::Resources;
use orlop_model::report::{Kind, Report};
use orlop_spec::bundle::{self, Asked, Foreign, file};
use orlop_spec::input::CgroupLayout;
use orlop_spec::lower::Facts as LowerFacts;
use orlop_spec::oci::Composed;
use orlop_wire::message::Request;
use orlop_wire::plan::{Cgroup, Operation, Plan};

use super::Core;
use super::container::Facts;
use super::exec::Program;
use super::plan::Making;
use super::record::put;
use crate::handlers::Handler;

/// How long a runtime may take to take away what it has of a container; its hooks run then.
const DELETION: Duration = Duration::from_secs(10);

/// A plan, an exec's pattern, and the files that go with them.
pub(super) type Lowered = (Plan, Vec<Operation>, Vec<(&'static str, Vec<u8>)>);

impl Making<'_> {
    /// The container's plan for this handler.
    pub(super) fn bundle(
        &self,
        handler: &Handler,
        composed: &Composed,
        facts: &LowerFacts<'_>,
    ) -> Result<Lowered, Report> {
        let features = handler.features();
        for mount in self.config.mounts.iter().filter(|mount| mount.recursive_read_only) {
            if !features.recursive_read_only_mounts {
                let cause = format!("handler {} cannot mount so", handler.name);
                return Err(Report::field("config.mounts.recursive_read_only", &mount.container_path, cause));
            }
        }
        let state = self.core.places.container(&self.container.id);
        let node = &self.core.node;
        let hybrid = matches!(node.layout, CgroupLayout::V1(_));
        let foreign = Foreign {
            name: &handler.name,
            program: &handler.path,
            arguments: &handler.arguments,
            state: &state,
            hidden: node.hierarchies.unified().filter(|_| hybrid),
        };
        let pod = &self.container.pod;
        let annotations = [
            ("io.kubernetes.cri.container-type", "container".to_owned()),
            ("io.kubernetes.cri.container-name", self.container.name.name.clone()),
            ("io.kubernetes.cri.sandbox-id", pod.id.to_string()),
            ("io.kubernetes.cri.sandbox-name", pod.config.name.name.clone()),
            ("io.kubernetes.cri.sandbox-namespace", pod.config.name.namespace.clone()),
            ("io.kubernetes.cri.sandbox-uid", pod.config.name.uid.clone()),
        ];
        let made = bundle::bundle(&composed.spec, &annotations, facts, &foreign)?;
        Ok((made.plan, made.exec, vec![(file::CONFIG, made.config), (file::PROCESS, made.process)]))
    }
}

/// Writes a bundle's files.
pub(super) fn write(directory: &Path, files: &[(&'static str, Vec<u8>)]) -> Result<(), Report> {
    if files.is_empty() {
        return Ok(());
    }
    let mounts = bundle::mounts(directory);
    std::fs::create_dir(&mounts)
        .map_err(|error| Report::new(Kind::Failed, "make directory", mounts.display().to_string(), error))?;
    files.iter().try_for_each(|(name, bytes)| put(directory, name, bytes))
}

/// The directory of the container's bundle, if a runtime of others has it.
pub(super) fn bundle_of(directory: &Path) -> Option<PathBuf> {
    // A container of ours has a configuration, too, where hooks ask for one.
    directory.join(file::PROCESS).exists().then(|| directory.to_owned())
}

/// The request for an exec by the runtime of the bundle in `directory`.
pub(super) async fn exec(
    facts: &Facts,
    directory: &Path,
    number: u64,
    program: &Program,
) -> Result<Request, Report> {
    let (pattern, directory, program) = (facts.exec.clone(), directory.to_owned(), program.clone());
    let own = facts.unified.as_ref().map(|unified| unified.join(format!("exec-{number}")));
    let own = own.map(|path| orlop_spec::c_path(&path)).transpose()?;
    crate::blocking::blocking("exec", move || {
        let path = directory.join(file::PROCESS);
        let process = std::fs::read(&path)
            .map_err(|error| Report::new(Kind::Failed, "read", path.display().to_string(), error))?;
        let container = directory.file_name().unwrap_or_default().to_string_lossy();
        let asked = Asked {
            number,
            container: &container,
            command: &program.command,
            terminal: program.terminal,
            cgroup: own.as_deref(),
        };
        let made = bundle::exec(&process, &pattern, &asked)?;
        put(&directory, &made.file, &made.process)?;
        let cgroups = own.iter().map(|directory| Cgroup {
            directory: directory.clone(),
            writes: vec![],
            keep: false,
            devices: vec![],
        });
        Ok(Request::Exec {
            exec: number,
            cgroups: cgroups.collect(),
            unified: own.clone(),
            terminal: program.terminal,
            operations: made.operations,
            leaves: Some(made.leaves),
        })
    })
    .await?
}

/// Other limits, for what is started from now on.
pub(super) fn update(directory: &Path, limits: &Resources, score: i32) -> Result<(), Report> {
    let read = |name: &str| {
        let path = directory.join(name);
        std::fs::read(&path)
            .map_err(|error| Report::new(Kind::Failed, "read", path.display().to_string(), error))
    };
    let (config, process) = bundle::updated(&read(file::CONFIG)?, &read(file::PROCESS)?, limits, score)?;
    put(directory, file::PROCESS, &process)?;
    put(directory, file::CONFIG, &config)
}

/// Has a runtime take away what a container's shim could not have it take away, since it was killed. Blocks.
///
/// # Errors
/// If it does not.
pub(super) fn delete(core: &Arc<Core>, directory: &Path) -> Result<(), Report> {
    let records = directory.join(file::RECORDS);
    let left = || std::fs::read_dir(&records).is_ok_and(|mut entries| entries.next().is_some());
    if !left() {
        return Ok(());
    }
    let failed = |cause: &dyn std::fmt::Display| {
        Report::new(Kind::Failed, "delete by runtime", directory.display().to_string(), cause)
    };
    let spawned = core.shim.start(&["delete", &directory.to_string_lossy()], &[])?;
    let until = Instant::now() + DELETION;
    loop {
        let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOHANG;
        let process = std::os::fd::AsFd::as_fd(&spawned.pidfd);
        match rustix::process::waitid(rustix::process::WaitId::PidFd(process), options) {
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                let _ = orlop_sys::signal::send(process, libc::SIGKILL);
                let _ = rustix::process::waitid(
                    rustix::process::WaitId::PidFd(process),
                    rustix::process::WaitIdOptions::EXITED,
                );
                return Err(failed(&"it does not end"));
            }
            Ok(Some(status)) if status.exit_status() == Some(0) => return Ok(()),
            Ok(Some(_)) => {
                let log = std::fs::read_to_string(directory.join(file::LOG)).unwrap_or_default();
                return Err(failed(&bundle::last_said(&log)));
            }
            Err(errno) => return Err(failed(&errno)),
        }
    }
}
