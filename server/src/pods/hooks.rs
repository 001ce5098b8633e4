//! Hooks that come after a container's end, where its shim did not come to run them.
//!
//! *Invariant:* each of them is run at least once before the container is removed: by its shim or, if that was killed, here. A mark in
//! its directory says that all have been.

use std::io::{Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use orlop_model::report::{Kind, Report};
use orlop_wire::code::Wire as _;
use orlop_wire::hook::{Hook, Hooks, Point};
use orlop_wire::plan::{Operation, Plan};
use orlop_wire::record::file;
use rustix::fs::MemfdFlags;
use rustix::pipe::{PipeFlags, pipe_with};

use super::Core;
use super::container::Container;
use super::ledger::Thing;

/// Between two looks at one that runs.
const PULSE: Duration = Duration::from_millis(5);
/// What is kept of what a hook says: its end.
const KEPT: usize = 512;

/// How long the hooks of a plan may take that come after the end; none if there are none.
pub(super) fn patience(plan: &Plan) -> Option<Duration> {
    let all = plan.hooks.iter().flat_map(|hooks| &hooks.all).filter(|hook| hook.point == Point::Poststop);
    let total = all.map(|hook| hook.patience).reduce(u64::saturating_add);
    total.map(Duration::from_millis)
}

/// Runs those that were not run. Its shim is gone.
pub(super) async fn after(core: &Arc<Core>, container: &Arc<Container>) {
    let due = |container: &Container| {
        container.life().ledger.as_ref().is_some_and(|ledger| ledger.standing().contains(&Thing::Poststop))
    };
    if !due(container) {
        return;
    }
    // One after the other, should the end of its shim and its removal come together.
    let _one = container.updating().await;
    let directory = core.places.container(&container.id);
    let id = container.id.short().to_owned();
    let work = move || {
        let done = directory.join(file::POSTSTOP);
        if done.exists() || crate::shims::is_locked(&directory) {
            return;
        }
        let plan = std::fs::read(directory.join(file::PLAN)).ok();
        let plan = plan.and_then(|bytes| Plan::from_bytes(&bytes).ok());
        let hooks = plan.and_then(|plan| plan.hooks);
        for hook in hooks.iter().flat_map(|hooks| &hooks.all).filter(|hook| hook.point == Point::Poststop) {
            if let Err(report) = hooks.as_ref().map_or(Ok(()), |hooks| run(hooks, hook, &directory)) {
                tracing::warn!(container = id, "{report}");
            }
        }
        if let Err(report) = super::record::put(&directory, file::POSTSTOP, &[]) {
            tracing::warn!(container = id, "{report}");
        }
    };
    // Each of them has a deadline of its own.
    if let Err(error) = tokio::task::spawn_blocking(work).await {
        tracing::error!(container = container.id.short(), "hooks: {error}");
    }
}

/// Runs one to its end, or kills it.
fn run(hooks: &Hooks, hook: &Hook, directory: &Path) -> Result<(), Report> {
    let stage = format!("{} hook", hook.point.name());
    let failed = |cause: String| Report::new(Kind::Failed, stage.clone(), hook.path(), cause);
    let io = |error: std::io::Error| failed(error.to_string());
    let Some(Operation::Execute { arguments, environment, .. }) = hook.operations.last() else {
        return Ok(());
    };
    let text = |string: &std::ffi::CString| {
        <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(string.as_bytes()).to_owned()
    };
    let mut command = Command::new(hook.path());
    command.env_clear().current_dir(directory).process_group(0);
    command.arg0(arguments.first().map(text).unwrap_or_default()).args(arguments.iter().skip(1).map(text));
    for entry in environment {
        let entry = entry.to_string_lossy().into_owned();
        let (name, value) = entry.split_once('=').unwrap_or((&entry, ""));
        command.env(name, value);
    }
    let mut input = std::fs::File::from(
        rustix::fs::memfd_create("state", MemfdFlags::CLOEXEC).map_err(|errno| io(errno.into()))?,
    );
    input.write_all(&hooks.state(hook.point, None)).and_then(|()| input.rewind()).map_err(io)?;
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| io(errno.into()))?;
    rustix::io::ioctl_fionbio(&ours, true).map_err(|errno| io(errno.into()))?;
    command.stdin(Stdio::from(input)).stdout(Stdio::from(theirs.try_clone().map_err(io)?)).stderr(theirs);
    let mut child = command.spawn().map_err(io)?;
    drop(command);
    let until = Instant::now() + Duration::from_millis(hook.patience);
    let mut said = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = rustix::io::read(&ours, &mut chunk) {
            said.extend_from_slice(&chunk[..count]);
            let beyond = said.len().saturating_sub(KEPT);
            said.drain(..beyond);
        }
        let shown = || String::from_utf8_lossy(&said).trim().to_owned();
        match child.try_wait().map_err(io)? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(failed(format!("{status}: {}", shown()))),
            None if Instant::now() >= until => {
                let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
                if let Some(pid) = pid {
                    // It is not waited for yet, so the number is its own.
                    let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
                }
                let _ = child.wait();
                return Err(failed(format!("it did not end within {} ms and was killed", hook.patience)));
            }
            None => std::thread::sleep(PULSE),
        }
    }
}
