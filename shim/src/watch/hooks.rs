//! Hooks: programs of others that are run at points of the container's life.
//!
//! ```text
//!  the child pauses ─▶ its hooks, one after the other ─▶ it goes on     one fails, or is late: the child is killed, the start fails
//!  the program runs ─▶ on disk ─▶ poststart hooks ─▶ told              one fails: it is told, and the next is run
//!  it has ended     ─▶ on disk ─▶ poststop hooks  ─▶ marked, told      the same
//! ```
//!
//! *Invariant:* the loop waits for none of them: an end is a signal, a deadline a timeout of the loop. What is wrong with one is said
//! with its name. Where a plan has none, nothing here costs anything.

use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use orlop_wire::hook::{Hook, Hooks as Planned, Point};
use orlop_wire::message::News;
use orlop_wire::plan::Operation;
use orlop_wire::record::{Failure, file};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid};
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType};

use super::Shim;
use super::poll::Source;
use super::process::{Birth, Outcome, Seed, bear, explain};
use crate::record::failure;

/// What is kept of what a hook says: its end.
const KEPT: usize = 512;

/// Where the hooks of a container stand.
#[derive(Default)]
pub(crate) struct Hooks {
    /// The next one.
    next: usize,
    /// How often the child has paused.
    pauses: usize,
    /// Up to which point they are due.
    due: Option<Point>,
    running: Option<Running>,
    /// Whether those after the end have begun.
    last: bool,
}

/// One that runs.
struct Running {
    point: Point,
    path: String,
    pid: i32,
    pidfd: OwnedFd,
    birth: Birth,
    output: Option<OwnedFd>,
    said: Vec<u8>,
    until: Instant,
    patience: u64,
    late: bool,
    /// Nobody is interested any more.
    given_up: bool,
}

impl Hooks {
    /// How long the loop may sleep.
    pub(super) fn patience(&self) -> Option<Duration> {
        let running = self.running.as_ref().filter(|running| !running.late);
        running.map(|running| running.until.saturating_duration_since(Instant::now()))
    }

    /// Begins those after the end; whether they had not begun yet.
    pub(super) fn start_last(&mut self) -> bool {
        !std::mem::replace(&mut self.last, true)
    }

    /// Whether one runs, or is about to.
    pub(super) fn is_busy(&self) -> bool {
        self.running.is_some() || self.due.is_some()
    }
}

impl Running {
    fn kill(&self) {
        if let Some(pid) = Pid::from_raw(self.pid) {
            // It is not waited for yet, so its number is nobody else's. Before it has a group of its own it is killed alone.
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = orlop_sys::signal::send(self.pidfd.as_fd(), libc::SIGKILL);
        }
    }

    /// Reads what it has said; whether more may come.
    fn listen(&mut self) -> bool {
        let Some(output) = &self.output else { return false };
        let mut chunk = [0; 4096];
        loop {
            match rustix::io::read(output, &mut chunk) {
                Ok(0) => return false,
                Ok(count) => {
                    self.said.extend_from_slice(&chunk[..count]);
                    let beyond = self.said.len().saturating_sub(KEPT);
                    self.said.drain(..beyond);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
    }

    /// What became of it.
    fn verdict(&mut self, status: &WaitIdStatus, operations: &[Operation]) -> Result<(), Failure> {
        self.listen();
        let said = String::from_utf8_lossy(&self.said);
        let said = said.trim();
        let with = |what: String| if said.is_empty() { what } else { format!("{what}: {said}") };
        let wrong = |errno: i32, detail: String| Failure {
            stage: format!("{} hook", self.point.name()),
            object: self.path.clone(),
            operation: None,
            errno,
            detail,
        };
        if self.late {
            return Err(wrong(0, with(format!("it did not end within {} ms and was killed", self.patience))));
        }
        if let Outcome::Failed(failed) = self.birth.hear() {
            let why = explain(operations, failed);
            return Err(wrong(why.errno, format!("{} {}", why.stage, why.detail).trim().to_owned()));
        }
        match super::process::code(status) {
            (0, _) => Ok(()),
            (code, 0) => Err(wrong(0, with(format!("it ended with exit code {code}")))),
            (_, signal) => Err(wrong(0, with(format!("it was ended by signal {signal}")))),
        }
    }
}

impl Shim {
    fn planned(&self) -> Option<&Planned> {
        self.plan.hooks.as_ref()
    }

    /// Whether there are hooks of this point.
    pub(super) fn has_hooks(&self, point: Point) -> bool {
        self.planned().is_some_and(|hooks| hooks.all.iter().any(|hook| hook.point == point))
    }

    /// The child has come to a pause.
    pub(super) fn paused(&mut self) {
        let pause = |operation: &Operation| match operation {
            Operation::Pause { until } => Some(*until),
            _ => None,
        };
        let until = self.plan.operations.iter().filter_map(pause).nth(self.hooks.pauses);
        self.hooks.pauses += 1;
        self.run_hooks(until.unwrap_or(Point::StartContainer));
    }

    /// Runs all hooks up to a point that were not run yet.
    pub(super) fn run_hooks(&mut self, until: Point) {
        self.hooks.due = Some(until);
        self.next_hook();
    }

    fn next_hook(&mut self) {
        while let Some(due) = self.hooks.due
            && self.hooks.running.is_none()
        {
            let number = self.hooks.next;
            let hook =
                self.planned().and_then(|hooks| hooks.all.get(number)).filter(|hook| hook.point <= due);
            let Some(hook) = hook else {
                self.hooks.due = None;
                return self.hooks_done(due);
            };
            let (point, path) = (hook.point, hook.path());
            self.hooks.next += 1;
            match self.start_hook(number) {
                Ok(running) => self.hooks.running = Some(running),
                Err(why) => {
                    let detail = format!("{} {} {}", why.stage, why.object, why.detail).trim().to_owned();
                    let stage = format!("{} hook", point.name());
                    self.hook_failed(
                        point,
                        Failure { stage, object: path, operation: None, errno: why.errno, detail },
                    );
                }
            }
        }
    }

    fn start_hook(&mut self, number: usize) -> Result<Running, Failure> {
        let planned = self.planned().ok_or_else(|| failure("hooks", "", Errno::INVAL))?;
        let Hook { point, operations, patience } = &planned.all[number];
        let first = &self.processes.first;
        let pid = match point {
            _ if self.ending.is_some() => None,
            // As the container sees it.
            point if point.is_inside() => Some(pid_inside(first.pid).unwrap_or(first.pid)),
            _ => Some(first.pid),
        };
        let input = stdin(&planned.state(*point, pid)).map_err(|errno| failure("stdin", "", errno))?;
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failure("pipe", "", errno))?;
        rustix::io::ioctl_fionbio(&ours, true).map_err(|errno| failure("pipe", "", errno))?;
        let seed = Seed {
            namespaces: 0,
            unified: self.plan.unified.as_deref().filter(|_| point.is_inside()),
            operations,
            slots: &[],
            container: Some(first.pidfd.as_fd()),
            stdio: Some([input.as_fd(), theirs.as_fd(), theirs.as_fd()]),
        };
        let children = |own: bool| if own { to_own() } else { to_containers(first.pidfd.as_fd()) };
        children(!point.is_inside()).map_err(|errno| failure("join namespace", "pid", errno))?;
        let born = bear(&seed);
        // What comes next, the program or an exec, is the container's; where that is gone nothing comes next.
        let _ = children(false);
        let (pid, pidfd, birth) = born?;
        let until = Instant::now() + Duration::from_millis(*patience);
        let (point, path, patience) = (*point, planned.all[number].path(), *patience);
        let output = self.poll.add(ours.as_fd(), Source::Hook).is_ok().then_some(ours);
        let said = Vec::new();
        Ok(Running {
            point,
            path,
            pid,
            pidfd,
            birth,
            output,
            said,
            until,
            patience,
            late: false,
            given_up: false,
        })
    }

    /// A hook has said something.
    pub(super) fn hear_hook(&mut self) {
        if let Some(running) = &mut self.hooks.running
            && !running.listen()
        {
            running.output = None;
        }
    }

    /// Waits for the hook that runs, if it has ended.
    pub(super) fn reap_hook(&mut self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let Some(running) = &self.hooks.running else { return };
        let Ok(Some(status)) = waitid(WaitId::PidFd(running.pidfd.as_fd()), options) else { return };
        let Some(mut running) = self.hooks.running.take() else { return };
        if !running.given_up {
            let number = self.hooks.next.saturating_sub(1);
            let operations =
                self.planned().and_then(|hooks| hooks.all.get(number)).map(|hook| &hook.operations);
            let verdict = running.verdict(&status, operations.map_or(&[], Vec::as_slice));
            if let Err(failure) = verdict {
                self.hook_failed(running.point, failure);
            }
        }
        self.next_hook();
    }

    /// Ends one whose time is over.
    pub(super) fn time_hook(&mut self) {
        if let Some(running) = &mut self.hooks.running
            && !running.late
            && Instant::now() >= running.until
        {
            running.late = true;
            running.kill();
        }
    }

    /// The first process is gone: hooks that were to come before its program come no more.
    pub(super) fn give_up_hooks(&mut self) {
        let Some(planned) = self.planned() else { return };
        let first =
            planned.all.iter().position(|hook| hook.point >= Point::Poststart).unwrap_or(planned.all.len());
        if let Some(running) = self.hooks.running.as_mut().filter(|running| running.point < Point::Poststart)
        {
            running.given_up = true;
            running.kill();
        }
        if self.hooks.due.is_some_and(|due| due < Point::Poststart) {
            self.hooks.due = None;
        }
        self.hooks.next = self.hooks.next.max(first);
        if self.born.is_none() {
            self.skip_to_poststop();
        }
    }

    fn skip_to_poststop(&mut self) {
        let all = self.planned().map_or(&[][..], |planned| &planned.all);
        let last = all.iter().position(|hook| hook.point == Point::Poststop).unwrap_or(all.len());
        self.hooks.next = self.hooks.next.max(last);
    }

    fn hook_failed(&mut self, point: Point, failure: Failure) {
        if point >= Point::Poststart {
            return self.tell_all(&News::HookFailed { failure });
        }
        // What its child says now is that it was killed, and not why.
        self.processes.first.birth = None;
        self.processes.first.killed = true;
        self.hooks.due = None;
        self.never_ran(failure);
        let _ = orlop_sys::signal::send(self.processes.first.pidfd.as_fd(), libc::SIGKILL);
    }

    fn hooks_done(&mut self, due: Point) {
        match due {
            Point::Prestart | Point::CreateRuntime | Point::CreateContainer | Point::StartContainer => {
                if let Some(birth) = &self.processes.first.birth {
                    // One that is gone meanwhile is seen by its end.
                    let go_on = [IoSlice::new(b"g")];
                    let _ = rustix::net::sendmsg(
                        birth.descriptor(),
                        &go_on,
                        &mut rustix::net::SendAncillaryBuffer::default(),
                        SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
                    );
                }
            }
            Point::Poststart => self.tell_born(),
            Point::Poststop => {
                let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
                // Where it cannot be made they are run once more.
                let _ = rustix::fs::openat(CWD, file::POSTSTOP, flags, Mode::from_raw_mode(0o600));
            }
        }
    }
}

/// The state as a file: who does not read it holds nobody up.
fn stdin(state: &[u8]) -> Result<OwnedFd, Errno> {
    let held = rustix::fs::memfd_create("state", MemfdFlags::CLOEXEC)?;
    let mut left = state;
    while !left.is_empty() {
        left = &left[rustix::io::write(&held, left)?..];
    }
    rustix::fs::seek(&held, rustix::fs::SeekFrom::Start(0))?;
    Ok(held)
}

/// Children are born into this process's own PID namespace.
fn to_own() -> Result<(), Errno> {
    let own = rustix::fs::openat(CWD, "/proc/self/ns/pid", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::thread::move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::ProcessID))
}

/// Children are born into the container's.
fn to_containers(first: std::os::fd::BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::thread::move_into_thread_name_spaces(first, ThreadNameSpaceType::PROCESS_ID)
}

/// The number of a process in its own PID namespace: the last of `NSpid` in `proc_pid_status(5)`.
fn pid_inside(pid: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().last()?.parse().ok()
}
