//! A process beside the first.
//!
//! *Invariant:* its output comes to this process by pipes of its own, never through the shim, and no more of it is kept than
//! [`MOST_OUTPUT`]. The answer comes when the process ends, whatever else holds its output open; at the deadline all that it
//! started is killed.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use orlop_model::life::container::State;
use orlop_model::report::{Kind, Report};
use orlop_wire::message::Request;
use orlop_wire::plan::{Cgroup, Operation};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;

use super::container::{Container, Facts};
use crate::shims::Link;

/// Of each stream, as kubelet and containerd have it; what comes after is read and dropped.
const MOST_OUTPUT: usize = 16 << 20;
/// How long an exec may take to be gone once it is killed.
const DEATH: Duration = Duration::from_secs(5);
/// How long a program may take from the request to its exec.
const BIRTH: Duration = Duration::from_mins(1);

/// What an exec came to.
pub(crate) struct Outcome {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// Exit code, or 128 and the signal's number.
    pub(crate) code: i32,
}

/// The number of the next exec. It goes on where no earlier daemon can have been: what such a one left running has its cgroup still.
static NUMBER: LazyLock<AtomicU64> = LazyLock::new(|| {
    let milliseconds = super::now().0 / 1_000_000;
    AtomicU64::new(u64::try_from(milliseconds).unwrap_or_default() << 8)
});

/// Runs `command` in the container to its end; `timeout` none: however long it takes.
///
/// # Errors
/// `WrongState` if the container does not run, `BadRequest` if the program cannot be executed, `TimedOut`.
pub(crate) async fn run(
    container: &Arc<Container>,
    command: &[String],
    timeout: Option<Duration>,
) -> Result<Outcome, Report> {
    let facts = container.created().await?;
    let link = container.life().link.clone();
    let running = matches!(container.state(), State::Running | State::Stopping { .. });
    let Some(link) = link.filter(|_| running) else {
        return Err(Report::new(
            Kind::WrongState,
            "exec",
            container.id.short(),
            "the container is not running",
        ));
    };
    let deadline = timeout.map(|timeout| tokio::time::Instant::now() + timeout);
    let started = start(&link, &facts, command, deadline).await?;
    finish(&link, started, deadline).await
}

struct Started {
    number: u64,
    stdout: Output,
    stderr: Output,
    ended: oneshot::Receiver<i32>,
}

async fn start(
    link: &Link,
    facts: &Facts,
    command: &[String],
    deadline: Option<tokio::time::Instant>,
) -> Result<Started, Report> {
    let failed = |errno: Errno| Report::new(Kind::Exhausted, "exec", "pipes", errno);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let input =
        rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    let (stdout, theirs_out) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    let (stderr, theirs_err) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    let request = request(facts, number, command)?;
    let (ended, hears_end) = oneshot::channel();
    crate::failpoint::pass("exec.begun");
    let asked = link.exec(request, vec![input, theirs_out, theirs_err], ended);
    let latest = tokio::time::Instant::now() + BIRTH;
    let until = deadline.map_or(latest, |deadline| deadline.min(latest));
    match tokio::time::timeout_at(until, asked).await {
        Ok(Ok(())) => crate::failpoint::pass("exec.started"),
        Ok(Err(report)) => return Err(report),
        Err(_) => {
            let _ =
                tokio::time::timeout(DEATH, link.ask(Request::KillExec { exec: number }, Vec::new())).await;
            return Err(Report::new(Kind::TimedOut, "exec", &command[0], "it did not begin in time"));
        }
    }
    Ok(Started { number, stdout: Output::new(stdout)?, stderr: Output::new(stderr)?, ended: hears_end })
}

fn request(facts: &Facts, number: u64, command: &[String]) -> Result<Request, Report> {
    let mut operations = facts.exec.clone();
    if let Some(Operation::Execute { candidates, arguments, environment }) = operations.last_mut() {
        let bad = |_| Report::field("cmd", "", "an argument holds a NUL byte");
        *arguments =
            command.iter().map(|part| CString::new(part.as_str()).map_err(bad)).collect::<Result<_, _>>()?;
        *candidates = orlop_spec::candidates(&command[0], environment)?;
    }
    // Where the hierarchy is unified an exec has a cgroup of its own below the container's, so that all that it starts can be
    // ended and nothing else is.
    let own = facts.unified.as_ref().map(|unified| unified.join(format!("exec-{number}")));
    let own = own.map(|path| orlop_spec::c_path(&path)).transpose()?;
    let cgroups = own
        .iter()
        .map(|directory| Cgroup { directory: directory.clone(), writes: vec![], keep: false })
        .collect();
    Ok(Request::Exec { exec: number, cgroups, unified: own, terminal: false, operations })
}

async fn finish(
    link: &Link,
    mut started: Started,
    deadline: Option<tokio::time::Instant>,
) -> Result<Outcome, Report> {
    let gone = || Report::new(Kind::WrongState, "exec", "", "the container ended, and the process with it");
    let expired = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(expired);
    let code = loop {
        tokio::select! {
            biased;
            code = &mut started.ended => break code.map_err(|_| gone())?,
            () = started.stdout.more() => {}
            () = started.stderr.more() => {}
            () = &mut expired => {
                let kill = link.ask(Request::KillExec { exec: started.number }, Vec::new());
                let _ = tokio::time::timeout(DEATH, async { (kill.await, started.ended.await) }).await;
                let cause = "the process did not end in time; it was killed with all that it started";
                return Err(Report::new(Kind::TimedOut, "exec", "", cause));
            }
        }
    };
    crate::failpoint::pass("exec.ended");
    // What it wrote before its end is in the pipes.
    started.stdout.drain();
    started.stderr.drain();
    Ok(Outcome { stdout: started.stdout.kept, stderr: started.stderr.kept, code })
}

/// One stream on its way here.
struct Output {
    pipe: Option<Receiver>,
    kept: Vec<u8>,
}

impl Output {
    fn new(pipe: OwnedFd) -> Result<Self, Report> {
        let pipe = Receiver::from_owned_fd(pipe)
            .map_err(|error| Report::new(Kind::Exhausted, "exec", "pipes", error))?;
        Ok(Output { pipe: Some(pipe), kept: Vec::new() })
    }

    /// Waits for more and takes it; never ends once the stream has.
    async fn more(&mut self) {
        let Some(pipe) = &self.pipe else { return std::future::pending().await };
        if pipe.readable().await.is_err() || matches!(take(pipe, &mut self.kept), Some(0)) {
            self.pipe = None;
        }
    }

    /// Takes what is there now. The kernel is asked, not the runtime: that has not looked at a pipe whose writer ended at once.
    fn drain(&mut self) {
        let Some(pipe) = &self.pipe else { return };
        let mut buffer = [0; 16 << 10];
        // As much as a pipe can hold, in case somebody goes on writing.
        for _ in 0..64 {
            match rustix::io::read(pipe, &mut buffer) {
                Ok(count) if count > 0 => keep(&mut self.kept, &buffer[..count]),
                Err(Errno::INTR) => {}
                _ => break,
            }
        }
    }
}

/// Keeps what there is room for.
fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    let room = MOST_OUTPUT.saturating_sub(kept.len()).min(bytes.len());
    kept.extend_from_slice(&bytes[..room]);
}

/// Reads once; how much came, whether it was kept or not, 0 at the end; `None` if there is nothing now.
fn take(pipe: &Receiver, kept: &mut Vec<u8>) -> Option<usize> {
    let mut buffer = [0; 16 << 10];
    match pipe.try_read(&mut buffer) {
        Ok(count) => {
            keep(kept, &buffer[..count]);
            Some(count)
        }
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
        Err(_) => Some(0),
    }
}
