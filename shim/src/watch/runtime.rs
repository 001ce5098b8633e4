//! A container that a runtime of others makes: its commands are children of this process, and so is what they leave.
//!
//! ```text
//!  create ─▶ ended: the first process ─▶ start ─▶ ended: it runs ... it ends, recorded, told ─▶ delete ─▶ over
//!  exec   ─▶ ended: the process          it runs ... it ends, told
//! ```
//!
//! *Invariant:* a process is known by the number that its runtime wrote down, once the command has ended well and before anything
//! else is waited for: no end of it is lost, however soon it comes.

use std::ffi::CStr;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use orlop_wire::message::Answer;
use orlop_wire::plan::{Handover, Operation, Runtime};
use orlop_wire::record::Failure;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitOptions, WaitStatus, pidfd_open, waitid};

use super::Shim;
use super::process::{Birth, Outcome, Seed, bear, explain};
use crate::record::failure;

/// As much of a runtime's log as an exit record has room for.
const SAID: u64 = 2048;

/// How far a runtime's commands have come.
#[derive(Default)]
pub(crate) struct Commands {
    step: Step,
    /// Ends of children that nobody has named yet: number, code, signal.
    strays: Vec<(i32, i32, i32)>,
    /// Where the container's terminal arrives.
    console: Option<OwnedFd>,
    master: Option<OwnedFd>,
}

/// Which command of the container's own is at work.
#[derive(Default)]
enum Step {
    /// None: the container is one of ours, or it runs, or it has ended.
    #[default]
    None,
    /// `create`, which is the first process as long as there is no other.
    Create,
    /// `start`.
    Start(Command),
    /// `delete`.
    Delete(Command),
}

struct Command {
    pid: i32,
    /// Held as long as it runs.
    pidfd: OwnedFd,
    birth: Birth,
}

/// Where a terminal arrives that a runtime opens.
pub(crate) fn console(leaves: &Handover) -> Result<Option<OwnedFd>, Failure> {
    let Some(path) = &leaves.console else { return Ok(None) };
    let listen = || -> Result<OwnedFd, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        remove(path);
        rustix::net::bind(&socket, &SocketAddrUnix::new(path.as_c_str())?)?;
        rustix::net::listen(&socket, 1)?;
        Ok(socket)
    };
    listen().map(Some).map_err(|errno| failure("console socket", path.to_string_lossy(), errno))
}

/// The terminal that was sent there.
fn terminal(console: &OwnedFd) -> Result<OwnedFd, Errno> {
    let peer = rustix::net::accept_with(console, SocketFlags::CLOEXEC)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 512];
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    rustix::net::recvmsg(&peer, &mut [IoSliceMut::new(&mut name)], &mut control, flags)?;
    let sent = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    sent.ok_or(Errno::NOTTY)
}

fn remove(path: &CStr) {
    let _ = rustix::fs::unlinkat(CWD, path, AtFlags::empty());
}

/// Takes away what a command needed.
pub(crate) fn forget(leaves: &Handover) {
    for path in leaves.console.iter().chain(&leaves.files).chain([&leaves.pid_file, &leaves.log]) {
        remove(path);
    }
}

/// The process that a command left, by the number that it wrote down.
fn left(leaves: &Handover) -> Result<i32, Errno> {
    let file =
        rustix::fs::openat(CWD, leaves.pid_file.as_c_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = [0; 32];
    let length = rustix::io::read(&file, &mut text)?;
    let text = std::str::from_utf8(&text[..length]).map_err(|_| Errno::INVAL)?;
    text.trim().parse().ok().filter(|pid| *pid > 0).ok_or(Errno::INVAL)
}

/// The end of what a runtime has said, as it said it.
fn said(log: &CStr) -> String {
    let read = || -> Result<Vec<u8>, Errno> {
        let file = rustix::fs::openat(CWD, log, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let length = u64::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or_default();
        let mut bytes = vec![0; usize::try_from(SAID).unwrap_or_default()];
        let count = rustix::io::pread(&file, &mut bytes, length.saturating_sub(SAID))?;
        bytes.truncate(count);
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

fn set_score(pid: i32, score: i32) {
    let path = format!("/proc/{pid}/oom_score_adj");
    if let Ok(file) = rustix::fs::openat(CWD, path.as_str(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
    {
        let _ = rustix::io::write(&file, score.to_string().as_bytes());
    }
}

/// Why a command failed that ended so.
fn refused(what: &str, runtime: &Runtime, log: &CStr, code: i32) -> Failure {
    let detail = said(log);
    let detail =
        if detail.is_empty() { format!("it ended with code {code} and said nothing") } else { detail };
    Failure {
        stage: format!("runtime {what}"),
        object: runtime.name.clone(),
        operation: None,
        errno: 0,
        detail,
    }
}

/// Starts a command that leaves no process.
fn run(operations: &[Operation]) -> Result<Command, Failure> {
    let seed = Seed { namespaces: 0, unified: None, operations, slots: &[], container: None, stdio: None };
    let (pid, pidfd, birth) = bear(&seed)?;
    Ok(Command { pid, pidfd, birth })
}

/// Has it delete the container, and waits; whether it did.
pub(crate) fn delete(runtime: &Runtime) -> Result<bool, Failure> {
    let command = run(&runtime.delete)?;
    let ended = waitid(WaitId::PidFd(command.pidfd.as_fd()), WaitIdOptions::EXITED);
    Ok(ended.ok().flatten().and_then(|status| status.exit_status()) == Some(0))
}

impl Command {
    /// Why it failed, if an operation before its program did.
    fn failed(&mut self, operations: &[Operation]) -> Option<Failure> {
        match self.birth.hear() {
            Outcome::Failed(failed) => Some(explain(operations, failed)),
            Outcome::Waiting | Outcome::Paused | Outcome::Executed => None,
        }
    }
}

/// Exit code as shells count it, and the signal, 0 for none.
fn code(status: WaitStatus) -> (i32, i32) {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => (code, 0),
        (None, Some(signal)) => (128 + signal, signal),
        (None, None) => (255, 0),
    }
}

impl Commands {
    /// Of a container whose first command has been started.
    pub(crate) fn begun(console: Option<OwnedFd>) -> Self {
        Commands { step: Step::Create, console, ..Commands::default() }
    }

    /// Whether the first process is still the command that makes it.
    pub(super) fn makes_first(&self) -> bool {
        matches!(self.step, Step::Create)
    }

    /// Whether nothing of the container's own is at work.
    pub(super) fn are_done(&self) -> bool {
        matches!(self.step, Step::None)
    }
}

impl Shim {
    /// The signal that ends whatever the container's processes are.
    pub(super) fn killing(&self) -> i32 {
        self.plan.runtime.as_ref().map_or(libc::SIGKILL, |runtime| runtime.kill)
    }

    /// Waits for every child that has ended, those that were orphaned to this process too.
    pub(super) fn reap_all(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let (code, signal) = code(status);
            self.ended(pid.as_raw_nonzero().get(), code, signal);
        }
        if self.commands.are_done() && self.processes.execs.values().all(|exec| exec.leaves.is_none()) {
            // Nobody will name them any more.
            self.commands.strays.clear();
        }
    }

    fn ended(&mut self, pid: i32, code: i32, signal: i32) {
        match std::mem::take(&mut self.commands.step) {
            Step::Create if pid == self.processes.first.pid => return self.created(code, signal),
            Step::Start(command) if pid == command.pid => return self.started(command, code),
            Step::Delete(command) if pid == command.pid => return,
            step => self.commands.step = step,
        }
        if pid == self.processes.first.pid && self.commands.are_done() {
            self.report_first();
            return self.first_ended(code, signal);
        }
        let exec = self.processes.execs.iter().find(|(_, exec)| exec.pid == pid);
        match exec.map(|(number, exec)| (*number, exec.leaves.is_some())) {
            Some((number, true)) => self.executed(number, code),
            Some((number, false)) => self.exec_ended(number, code),
            None => self.commands.strays.push((pid, code, signal)),
        }
    }

    /// The process with this number is a child now; its end, if it has come already.
    fn adopt(&mut self, pid: i32) -> Result<Result<OwnedFd, (i32, i32)>, Errno> {
        if let Some(at) = self.commands.strays.iter().position(|stray| stray.0 == pid) {
            let (_, code, signal) = self.commands.strays.swap_remove(at);
            return Ok(Err((code, signal)));
        }
        let pid = Pid::from_raw(pid).ok_or(Errno::INVAL)?;
        pidfd_open(pid, PidfdFlags::empty()).map(Ok)
    }

    /// `create` has ended.
    fn created(&mut self, code: i32, signal: i32) {
        self.report_first();
        let Some(runtime) = self.plan.runtime.clone() else { return };
        if code != 0 || self.ending.is_some() {
            if self.ending.is_none() {
                self.never_ran(refused("create", &runtime, &runtime.create.log, code));
            }
            return self.first_ended(code, signal);
        }
        self.stages.mark("create");
        if let Err(failure) = self.take_first(&runtime) {
            self.never_ran(failure);
            self.first_ended(128, 0);
        }
    }

    /// The first process is the one that `create` left; it is started, unless it is to be killed.
    fn take_first(&mut self, runtime: &Runtime) -> Result<(), Failure> {
        let failed = |what: &'static str| move |errno| failure(what, "first process", errno);
        let pid = left(&runtime.create).map_err(failed("runtime pid file"))?;
        match self.adopt(pid).map_err(failed("runtime pid file"))? {
            Ok(pidfd) => {
                self.processes.first.pid = pid;
                self.processes.first.pidfd = pidfd;
            }
            Err(_) => return Err(refused("create", runtime, &runtime.create.log, 0)),
        }
        if let Some(console) = self.commands.console.take() {
            self.commands.master = Some(terminal(&console).map_err(failed("console socket"))?);
        }
        if self.processes.first.killed {
            let _ = orlop_sys::signal::send(self.processes.first.pidfd.as_fd(), runtime.kill);
            let killed = failed("runtime create")(Errno::INTR);
            self.never_ran(Failure { detail: "it was killed before its program ran".into(), ..killed });
            return Ok(());
        }
        self.commands.step = Step::Start(run(&runtime.start)?);
        Ok(())
    }

    /// `start` has ended.
    fn started(&mut self, mut command: Command, code: i32) {
        let Some(runtime) = self.plan.runtime.clone() else { return };
        let failed = if code == 0 { None } else { command.failed(&runtime.start) };
        drop(command);
        if code == 0 {
            self.stages.mark("start");
            let master = self.commands.master.take();
            self.first_runs(master);
        } else {
            let failed = failed.unwrap_or_else(|| refused("start", &runtime, &runtime.create.log, code));
            self.never_ran(failed);
            let _ = orlop_sys::signal::send(self.processes.first.pidfd.as_fd(), runtime.kill);
        }
        let pid = self.processes.first.pid;
        if let Some(at) = self.commands.strays.iter().position(|stray| stray.0 == pid) {
            let (_, code, signal) = self.commands.strays.swap_remove(at);
            self.first_ended(code, signal);
        }
    }

    /// The runtime takes away what it has of the container.
    pub(super) fn delete(&mut self) {
        let Some(runtime) = &self.plan.runtime else { return };
        // If it cannot be run, the server sees to it when the container is removed.
        if let Ok(command) = run(&runtime.delete) {
            self.commands.step = Step::Delete(command);
        }
    }

    /// The command of an exec has ended.
    fn executed(&mut self, number: u64, code: i32) {
        // What its child said before its program comes before its end.
        self.report_exec(number);
        let Some(runtime) = self.plan.runtime.clone() else { return };
        let Some(exec) = self.processes.execs.get_mut(&number) else { return };
        let Some(leaves) = exec.leaves.take() else { return };
        let (connection, asked, told) = (exec.connection, exec.asked, exec.told);
        if told {
            // It could not begin, and that was said.
            forget(&leaves);
            return self.exec_ended(number, code);
        }
        let taken = if code == 0 {
            self.take_exec(number, &leaves)
        } else {
            Err(refused("exec", &runtime, &leaves.log, code))
        };
        match taken {
            Ok((pid, master, ended)) => {
                if let Some(exec) = self.processes.execs.get_mut(&number) {
                    exec.operations = Vec::new();
                }
                self.answer(connection, asked, Answer::ExecStarted { pid }, master);
                if let Some(code) = ended {
                    self.exec_ended(number, code);
                }
            }
            Err(failure) => {
                self.answer(connection, asked, Answer::Refused { failure }, None);
                self.kill_exec(number);
                self.exec_ended(number, code);
            }
        }
        forget(&leaves);
    }

    /// The exec's process is the one that the command left: its number, its terminal, its code if it has ended already.
    fn take_exec(
        &mut self,
        number: u64,
        leaves: &Handover,
    ) -> Result<(i32, Option<OwnedFd>, Option<i32>), Failure> {
        let failed = |what: &'static str| move |errno| failure(what, "exec", errno);
        let pid = left(leaves).map_err(failed("runtime pid file"))?;
        let adopted = self.adopt(pid).map_err(failed("runtime pid file"))?;
        let exec = self.processes.execs.get_mut(&number).ok_or(Errno::SRCH).map_err(failed("exec"))?;
        exec.pid = pid;
        let ended = match adopted {
            Ok(pidfd) => {
                exec.pidfd = pidfd;
                None
            }
            Err((code, _)) => Some(code),
        };
        for operation in &exec.operations {
            if let Operation::OomScoreAdj { score } = operation {
                // A runtime may have given it the one that the container began with. It may have ended.
                set_score(pid, *score);
            }
        }
        if let Some(console) = exec.console.take() {
            exec.master = Some(terminal(&console).map_err(failed("console socket"))?);
        }
        let master = exec.master.as_ref().and_then(|master| master.try_clone().ok());
        Ok((pid, master, ended))
    }
}
