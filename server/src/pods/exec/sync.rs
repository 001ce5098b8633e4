//! A process run to its end, its output kept.
//!
//! *Invariant:* no more of the output is kept than [`MOST_OUTPUT`]. The answer comes when the process ends, whatever else holds its
//! output open; at the deadline all that it started is killed.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use orlop_model::report::{Kind, Report};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::net::unix::pipe::Receiver;

use super::{Process, Program, reach};
use crate::pods::container::Container;

/// Of both streams together: the answer has to fit into the 16 MiB that kubelet takes (CVE-2022-1708). What comes after is read and
/// dropped.
const MOST_OUTPUT: usize = (16 << 20) - 64;

/// What an exec came to.
pub(crate) struct Outcome {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// Exit code, or 128 and the signal's number.
    pub(crate) code: i32,
}

/// Runs `command` in the container to its end; `timeout` none: however long it takes.
///
/// # Errors
/// `WrongState` if the container does not run, `BadRequest` if the program cannot be executed, `TimedOut`.
pub(crate) async fn run(
    container: &Arc<Container>,
    command: Vec<String>,
    timeout: Option<Duration>,
) -> Result<Outcome, Report> {
    let (facts, link) = reach(container, "exec").await?;
    let deadline = timeout.map(|timeout| tokio::time::Instant::now() + timeout);
    let failed = |errno: Errno| Report::new(Kind::Exhausted, "exec", "pipes", errno);
    let input =
        rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    let (stdout, theirs_out) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    let (stderr, theirs_err) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    let program = Program { command, terminal: false };
    let stdio = vec![input, theirs_out, theirs_err];
    let (process, _) = Process::begin(&link, &facts, &program, stdio, deadline).await?;
    let outputs = Outputs { stdout: Output::new(stdout)?, stderr: Output::new(stderr)?, room: MOST_OUTPUT };
    finish(process, outputs, deadline).await
}

async fn finish(
    mut process: Process,
    mut outputs: Outputs,
    deadline: Option<tokio::time::Instant>,
) -> Result<Outcome, Report> {
    let expired = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(expired);
    let Outputs { stdout, stderr, room } = &mut outputs;
    let code = loop {
        tokio::select! {
            biased;
            code = process.end() => break code?,
            () = stdout.readable() => stdout.take(room),
            () = stderr.readable() => stderr.take(room),
            () = &mut expired => {
                process.kill().await;
                let cause = "the process did not end in time; it was killed with all that it started";
                return Err(Report::new(Kind::TimedOut, "exec", "", cause));
            }
        }
    };
    crate::failpoint::pass("exec.ended");
    // What it wrote before its end is in the pipes.
    stdout.drain(room);
    stderr.drain(room);
    Ok(Outcome { stdout: outputs.stdout.kept, stderr: outputs.stderr.kept, code })
}

struct Outputs {
    stdout: Output,
    stderr: Output,
    /// How many bytes more are kept.
    room: usize,
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

    /// Waits for more; for ever once the stream has ended.
    async fn readable(&self) {
        match &self.pipe {
            // An error shows when it is read.
            Some(pipe) => drop(pipe.readable().await),
            None => std::future::pending().await,
        }
    }

    /// Reads once.
    fn take(&mut self, room: &mut usize) {
        let Some(pipe) = &self.pipe else { return };
        let mut buffer = [0; 16 << 10];
        match pipe.try_read(&mut buffer) {
            Ok(count) if count > 0 => keep(&mut self.kept, &buffer[..count], room),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => self.pipe = None,
        }
    }

    /// Takes what is there now. The kernel is asked, not the runtime: that has not looked at a pipe whose writer ended at once.
    fn drain(&mut self, room: &mut usize) {
        let Some(pipe) = &self.pipe else { return };
        let mut buffer = [0; 16 << 10];
        // As much as a pipe can hold, in case somebody goes on writing.
        for _ in 0..64 {
            match rustix::io::read(pipe, &mut buffer) {
                Ok(count) if count > 0 => keep(&mut self.kept, &buffer[..count], room),
                Err(Errno::INTR) => {}
                _ => break,
            }
        }
    }
}

/// Keeps what there is room for.
fn keep(kept: &mut Vec<u8>, bytes: &[u8], room: &mut usize) {
    let taken = bytes.len().min(*room);
    kept.extend_from_slice(&bytes[..taken]);
    *room -= taken;
}
