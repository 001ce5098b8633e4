//! A process beside the first.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`sync`] | run to its end, its output kept: `ExecSync` |
//!
//! Here is what every exec shares, with streams or without: how it is asked for, and that it does not outlive whoever wants it.
//!
//! *Invariant:* its output comes to this process by pipes of its own, never through the shim. A [`Process`] that is dropped before
//! its end is killed, with all that it started.

pub(crate) mod sync;

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use orlop_model::life::container::State;
use orlop_model::report::{Kind, Report};
use orlop_wire::message::Request;
use orlop_wire::plan::{Cgroup, Operation};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::container::{Container, Facts};
use crate::shims::Link;

/// How long an exec may take to be gone once it is killed.
const DEATH: Duration = Duration::from_secs(5);
/// How long a program may take from the request to its exec.
const BIRTH: Duration = Duration::from_mins(1);

/// The number of the next exec or attachment. It goes on where no earlier daemon can have been: what such a one left running has its
/// cgroup still.
static NUMBER: LazyLock<AtomicU64> = LazyLock::new(|| {
    let milliseconds = super::now().0 / 1_000_000;
    AtomicU64::new(u64::try_from(milliseconds).unwrap_or_default() << 8)
});

/// A number that no other exec or attachment of any container has.
pub(crate) fn number() -> u64 {
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// What is run.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// Its name or path, and its arguments; not empty.
    pub(crate) command: Vec<String>,
    /// Whether it gets a terminal.
    pub(crate) terminal: bool,
}

/// A container that runs: what creating it brought, and its shim.
///
/// # Errors
/// `WrongState` if it does not run; why it could not be created.
pub(crate) async fn reach(
    container: &Arc<Container>,
    stage: &'static str,
) -> Result<(Arc<Facts>, Link), Report> {
    let facts = container.created().await?;
    let link = container.life().link.clone();
    let running = matches!(container.state(), State::Running | State::Stopping { .. });
    match link.filter(|_| running) {
        Some(link) => Ok((facts, link)),
        None => {
            Err(Report::new(Kind::WrongState, stage, container.id.short(), "the container is not running"))
        }
    }
}

/// One that runs.
pub(crate) struct Process {
    number: u64,
    link: Link,
    ended: oneshot::Receiver<i32>,
    over: bool,
}

impl Process {
    /// Has it run with these descriptors as stdin, stdout and stderr, none with a terminal, whose master then comes back.
    ///
    /// # Errors
    /// `BadRequest` if it cannot be executed; `TimedOut` if it is not by `until`, or within a minute.
    pub(crate) async fn begin(
        link: &Link,
        facts: &Facts,
        program: &Program,
        stdio: Vec<OwnedFd>,
        until: Option<Instant>,
    ) -> Result<(Self, Option<OwnedFd>), Report> {
        let number = number();
        let request = match &facts.bundle {
            None => request(facts, number, program)?,
            Some(bundle) => super::foreign::exec(facts, bundle, number, program).await?,
        };
        let (ended, hears_end) = oneshot::channel();
        let mut process = Process { number, link: link.clone(), ended: hears_end, over: false };
        crate::failpoint::pass("exec.begun");
        let asked = link.exec(number, request, stdio, ended);
        let latest = Instant::now() + BIRTH;
        let until = until.map_or(latest, |deadline| deadline.min(latest));
        match tokio::time::timeout_at(until, asked).await {
            Ok(Ok(master)) => {
                crate::failpoint::pass("exec.started");
                Ok((process, master))
            }
            Ok(Err(report)) => {
                process.over = true;
                Err(report)
            }
            Err(_) => {
                process.kill().await;
                let name = &program.command[0];
                Err(Report::new(Kind::TimedOut, "exec", name, "it did not begin in time"))
            }
        }
    }

    /// Its exit code, once it has ended.
    ///
    /// # Errors
    /// If it cannot be known any more.
    pub(crate) async fn end(&mut self) -> Result<i32, Report> {
        let ended = (&mut self.ended).await;
        self.over = true;
        ended.map_err(|_| {
            let cause = "the container ended, and the process with it, or its shim was lost";
            Report::new(Kind::WrongState, "exec", "", cause)
        })
    }

    /// Ends all that it started, and waits a while until it is gone.
    pub(crate) async fn kill(&mut self) {
        self.over = true;
        let kill = self.link.ask(Request::KillExec { exec: self.number }, Vec::new());
        let _ = tokio::time::timeout(DEATH, async { (kill.await, (&mut self.ended).await) }).await;
    }

    /// Its number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Outside of a runtime the daemon ends, and with its conversations the shims end their execs.
        if !self.over
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (link, exec) = (self.link.clone(), self.number);
            runtime.spawn(async move { link.ask(Request::KillExec { exec }, Vec::new()).await });
        }
    }
}

fn request(facts: &Facts, number: u64, program: &Program) -> Result<Request, Report> {
    let mut operations = facts.exec.clone();
    if let Some(Operation::Execute { candidates, arguments, environment }) = operations.last_mut() {
        let bad = |_| Report::field("cmd", "", "an argument holds a NUL byte");
        let command = &program.command;
        *arguments =
            command.iter().map(|part| CString::new(part.as_str()).map_err(bad)).collect::<Result<_, _>>()?;
        *candidates = orlop_spec::candidates(&command[0], environment)?;
        if program.terminal && !environment.iter().any(|entry| entry.as_bytes().starts_with(b"TERM=")) {
            environment.push(c"TERM=xterm".into());
        }
    }
    if program.terminal {
        // In a user namespace it is its root that opens terminals.
        let joined = operations
            .iter()
            .rposition(|one| matches!(one, Operation::JoinContainer { .. } | Operation::BecomeRoot));
        let terminal = Operation::Terminal { console: false, rows: 0, columns: 0 };
        operations.insert(joined.map_or(0, |at| at + 1), terminal);
    }
    // Where the hierarchy is unified an exec has a cgroup of its own below the container's, so that all that it starts can be
    // ended and nothing else is.
    let unified = facts.unified.as_ref().map(|unified| unified.join(format!("exec-{number}")));
    let unified = unified.map(|path| orlop_spec::c_path(&path)).transpose()?;
    let own = match &unified {
        Some(own) => Some(own.clone()),
        None => apart(facts, number, &mut operations)?,
    };
    let cgroups = own
        .iter()
        .map(|directory| Cgroup {
            directory: directory.clone(),
            writes: vec![],
            keep: false,
            devices: vec![],
        })
        .collect();
    Ok(Request::Exec { exec: number, cgroups, unified, terminal: program.terminal, operations, leaves: None })
}

/// Where there is no unified hierarchy, an exec's own cgroup is below the container's in the hierarchy by which processes are ended:
/// it enters that one instead.
fn apart(facts: &Facts, number: u64, operations: &mut [Operation]) -> Result<Option<CString>, Report> {
    let all: Vec<&Path> = facts.cgroups.iter().map(PathBuf::as_path).collect();
    let Some(directory) = orlop_cgroup::act::ending(None, &all) else { return Ok(None) };
    let own = directory.join(format!("exec-{number}"));
    let of_container = orlop_spec::c_path(&directory.join("tasks"))?;
    let entered = operations.iter_mut().find_map(|operation| match operation {
        Operation::EnterCgroup { procs } if *procs == of_container => Some(procs),
        _ => None,
    });
    let Some(procs) = entered else { return Ok(None) };
    *procs = orlop_spec::c_path(&own.join("tasks"))?;
    orlop_spec::c_path(&own).map(Some)
}
