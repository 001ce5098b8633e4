//! Births and deaths: the container's first process and execs.
//!
//! *Invariant:* every child is held by its pidfd and waited for; its report is read before its end is believed.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use orlop_wire::hook::Point;
use orlop_wire::message::{Answer, FromShim, News};
use orlop_wire::plan::{Cgroup, Handover, Operation};
use orlop_wire::record::{Born as BornRecord, Failure};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, waitid};

use super::Shim;
use super::poll::Source;
use crate::birth::{self, Born};
use crate::child::{Child, Failed, NEARLY, PAUSED, Program};
use crate::record::failure;

/// A process on its way to exec: where its report comes from.
pub(crate) struct Birth {
    report: OwnedFd,
    failed: Option<Failed>,
    nearly: bool,
    master: Option<OwnedFd>,
}

/// A death, and no operation.
const KILLED: Failed = Failed { operation: u32::MAX, errno: libc::EINTR };

/// What became of a birth.
pub(super) enum Outcome {
    /// Nothing yet.
    Waiting,
    /// It waits for hooks to be run.
    Paused,
    /// The program runs.
    Executed,
    /// An operation failed.
    Failed(Failed),
}

impl Birth {
    /// Waits until the child says whom it has cloned: the container's process, its number and pidfd.
    fn second(&self) -> Result<(i32, OwnedFd), Failed> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; 8];
        let mut pieces = [IoSliceMut::new(&mut bytes)];
        let got = rustix::net::recvmsg(&self.report, &mut pieces, &mut control, RecvFlags::CMSG_CLOEXEC)
            .map_err(|errno| Failed { operation: u32::MAX, errno: errno.raw_os_error() })?;
        let pidfd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        match (pidfd, got.bytes) {
            (Some(pidfd), 5) => {
                let number = bytes[1..5].try_into().map(i32::from_ne_bytes).unwrap_or_default();
                Ok((number, pidfd))
            }
            (_, 8) => Err(Failed::from_bytes(bytes)),
            _ => Err(KILLED),
        }
    }

    /// Reads what the child says: a terminal, a failure, or the end of the socket, which exec brings about.
    pub(super) fn hear(&mut self) -> Outcome {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut bytes = [0; 8];
        loop {
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let got =
                rustix::net::recvmsg(&self.report, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags);
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
                    self.master = descriptors.next();
                }
            }
            match got {
                Ok(message) if message.bytes == 8 => self.failed = Some(Failed::from_bytes(bytes)),
                Ok(message) if bytes[..message.bytes] == *NEARLY => self.nearly = true,
                Ok(message) if bytes[..message.bytes] == *PAUSED => return Outcome::Paused,
                Ok(message) if message.bytes != 0 => {}
                Ok(_) if self.nearly => return self.failed.map_or(Outcome::Executed, Outcome::Failed),
                Ok(_) => return Outcome::Failed(self.failed.unwrap_or(KILLED)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Outcome::Waiting,
                Err(errno) => {
                    return Outcome::Failed(Failed { operation: u32::MAX, errno: errno.raw_os_error() });
                }
            }
        }
    }
}

/// The container's first process.
pub(crate) struct First {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) birth: Option<Birth>,
    /// While what restores it runs in its stead: where the number of the first process will be.
    pub(crate) restoring: Option<CString>,
    /// Whether it was killed by [`orlop_wire::message::Request`]; then an old out-of-memory kill in it is not its cause of death.
    pub(crate) killed: bool,
}

/// A process beside the first.
pub(crate) struct Exec {
    pub(super) pid: i32,
    pub(crate) pidfd: OwnedFd,
    birth: Option<Birth>,
    pub(super) connection: u32,
    pub(super) asked: u32,
    pub(super) operations: Vec<Operation>,
    cgroups: Vec<Cgroup>,
    pub(crate) unified: Option<std::ffi::CString>,
    /// Whether whoever asked for it expects a terminal's master.
    terminal: bool,
    /// Whether it was said that it could not begin.
    pub(super) told: bool,
    /// What its command leaves, while the process is that command of a runtime.
    pub(super) leaves: Option<Handover>,
    /// Where its terminal arrives then.
    pub(super) console: Option<OwnedFd>,
    pub(crate) master: Option<OwnedFd>,
}

/// All children.
pub(crate) struct Processes {
    pub(crate) first: First,
    pub(crate) execs: BTreeMap<u64, Exec>,
    /// Cgroups of execs that left a process behind.
    pub(crate) leftovers: Vec<Cgroup>,
}

/// What a child is made of.
pub(crate) struct Seed<'a> {
    pub(crate) namespaces: u64,
    pub(crate) unified: Option<&'a std::ffi::CStr>,
    pub(crate) operations: &'a [Operation],
    pub(crate) slots: &'a [OwnedFd],
    pub(crate) container: Option<BorrowedFd<'a>>,
    pub(crate) stdio: Option<[BorrowedFd<'a>; 3]>,
}

/// Makes ready what the child will need, then clone3(2); the child carries out its operations, the caller gets what it holds it by.
pub(crate) fn bear(seed: &Seed<'_>) -> Result<(i32, OwnedFd, Birth), Failure> {
    let failed = |what: &'static str| move |errno| failure(what, "", errno);
    let prepared = crate::prepare::all(seed.operations, seed.slots, seed.stdio)?;
    let program = Program::of(seed.operations).ok_or_else(|| failure("plan", "no exec", Errno::INVAL))?;
    let binds =
        seed.operations.iter().filter(|operation| matches!(operation, Operation::Bind { .. })).count();
    let trees = Vec::with_capacity(binds);
    let cgroup = seed.unified.map(open_directory).transpose().map_err(failed("open cgroup"))?;
    let flags = rustix::net::SocketFlags::CLOEXEC;
    let kind = rustix::net::SocketType::SEQPACKET;
    let (heard, said) = rustix::net::socketpair(rustix::net::AddressFamily::UNIX, kind, flags, None)
        .map_err(failed("report socket"))?;
    match birth::clone(seed.namespaces, cgroup.as_ref().map(AsFd::as_fd)).map_err(failed("clone"))? {
        Born::Child => {
            drop(heard);
            let child = Child {
                slots: seed.slots,
                container: seed.container,
                report: said.as_fd(),
                program: &program,
                stdio: seed.stdio,
                root: None,
                terminal: None,
                prepared: &prepared,
                trees,
                bound: 0,
                context: None,
            };
            child.be_born(seed.operations)
        }
        Born::Parent(pid, pidfd) => {
            drop(said);
            let birth = Birth { report: heard, failed: None, nearly: false, master: None };
            if !seed.operations.iter().any(|operation| matches!(operation, Operation::Again { .. })) {
                return Ok((pid, pidfd, birth));
            }
            let second = birth.second();
            let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            let (pid, pidfd) = second.map_err(|failed| explain(seed.operations, failed))?;
            Ok((pid, pidfd, birth))
        }
    }
}

fn open_directory(path: &std::ffi::CStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// What an operation's failure means, in words.
pub(crate) fn explain(operations: &[Operation], failed: Failed) -> Failure {
    let what = operations.get(failed.operation as usize);
    Failure {
        stage: what.map_or("birth", Operation::name).into(),
        object: what.map(Operation::object).unwrap_or_default(),
        operation: Some(failed.operation),
        errno: failed.errno,
        detail: if failed == KILLED { "it was killed before its program ran".into() } else { String::new() },
    }
}

impl Birth {
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }
}

impl Shim {
    /// Something was heard of a birth.
    pub(crate) fn report(&mut self, exec: Option<u64>) {
        match exec {
            None => self.report_first(),
            Some(exec) => self.report_exec(exec),
        }
    }

    pub(super) fn report_first(&mut self) {
        let Some(birth) = &mut self.processes.first.birth else { return };
        match birth.hear() {
            Outcome::Waiting => {}
            Outcome::Paused => self.paused(),
            Outcome::Failed(failed) => {
                self.processes.first.birth = None;
                let failure = explain(&self.plan.operations, failed);
                self.never_ran(failure);
            }
            Outcome::Executed => {
                let master = birth.master.take();
                if self.processes.first.restoring.is_some() {
                    // Nothing of the container runs yet; the terminal is kept until it does.
                    self.master = master;
                } else if self.plan.runtime.is_none() {
                    self.first_runs(master);
                }
                self.processes.first.birth = None;
            }
        }
    }

    pub(super) fn first_runs(&mut self, master: Option<OwnedFd>) {
        self.stages.mark("birth");
        if let Some(master) = master
            && let Ok(copy) = master.try_clone()
            && self.log.add(0, copy, &mut self.poll).is_ok()
        {
            self.master = Some(master);
        }
        // Execs are born into the container's PID namespace: from here on this process's children are.
        if self.plan.makes_pid_namespace() {
            let kind = rustix::thread::ThreadNameSpaceType::PROCESS_ID;
            // Fails only if the process is gone already, and then there will be no exec.
            let _ = rustix::thread::move_into_thread_name_spaces(self.processes.first.pidfd.as_fd(), kind);
        }
        let born = BornRecord {
            version: orlop_wire::VERSION,
            pid: self.processes.first.pid,
            shim: rustix::process::getpid().as_raw_nonzero().get(),
            at: crate::record::now(),
            stages: self.stages.taken(),
        };
        // A record that no disk took is told all the same; after a restart the server asks for it.
        let _ = crate::record::born(&born);
        self.born = Some(born);
        if self.has_hooks(Point::Poststart) {
            self.run_hooks(Point::Poststart);
        } else {
            self.tell_born();
        }
    }

    /// Tells that the program runs, once.
    pub(super) fn tell_born(&mut self) {
        if let Some(born) = self.born.clone().filter(|_| !std::mem::replace(&mut self.born_told, true)) {
            self.tell_all(&News::Born { born });
        }
    }

    pub(super) fn report_exec(&mut self, number: u64) {
        let Some(exec) = self.processes.execs.get_mut(&number) else { return };
        let Some(birth) = &mut exec.birth else { return };
        let (connection, asked) = (exec.connection, exec.asked);
        match birth.hear() {
            // An exec has no hooks.
            Outcome::Waiting | Outcome::Paused => {}
            Outcome::Failed(failed) => {
                exec.birth = None;
                exec.told = true;
                let failure = explain(&exec.operations, failed);
                self.answer(connection, asked, Answer::Refused { failure }, None);
            }
            Outcome::Executed => {
                exec.master = birth.master.take();
                exec.birth = None;
                if exec.leaves.is_some() {
                    // The command runs; the process is heard of at its end.
                    return;
                }
                let master = exec.master.as_ref().and_then(|master| master.try_clone().ok());
                if exec.terminal && master.is_none() {
                    self.kill_exec(number);
                    let failure = failure("exec", "terminal", Errno::MFILE);
                    return self.answer(connection, asked, Answer::Refused { failure }, None);
                }
                exec.operations = Vec::new();
                let pid = exec.pid;
                self.answer(connection, asked, Answer::ExecStarted { pid }, master);
            }
        }
    }

    /// Waits for every child that has ended.
    pub(crate) fn reap(&mut self) {
        let mut drain = [0; 512];
        while rustix::io::read(&self.signals, &mut drain).is_ok() {}
        if self.plan.runtime.is_some() {
            return self.reap_all();
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        // Once waited for, it answers ECHILD.
        while let Ok(Some(status)) = waitid(WaitId::PidFd(self.processes.first.pidfd.as_fd()), options) {
            self.report_first();
            let (code, signal) = code(&status);
            if self.is_restored(code) {
                continue;
            }
            self.first_ended(code, signal);
        }
        self.reap_hook();
        let ended: Vec<(u64, i32)> = self
            .processes
            .execs
            .iter()
            .filter_map(|(number, exec)| {
                let status = waitid(WaitId::PidFd(exec.pidfd.as_fd()), options).ok()??;
                Some((*number, code(&status).0))
            })
            .collect();
        for (number, code) in ended {
            self.exec_ended(number, code);
        }
    }

    /// What restored the container has ended: if it did well, the first process is another from now on.
    fn is_restored(&mut self, code: i32) -> bool {
        let Some(file) = self.processes.first.restoring.take() else { return false };
        let taken = || {
            let text = std::fs::read_to_string(OsStr::from_bytes(file.to_bytes())).ok()?;
            let pid = Pid::from_raw(text.trim().parse().ok()?)?;
            // A child of this process, not waited for yet: its number cannot have gone to another.
            Some((pid, pidfd_open(pid, PidfdFlags::empty()).ok()?))
        };
        let restored = if code == 0 { taken() } else { None };
        let Some((pid, pidfd)) = restored else {
            let detail = format!("CRIU ended with code {code}");
            self.never_ran(Failure {
                stage: "restore".into(),
                object: String::new(),
                operation: None,
                errno: 0,
                detail,
            });
            return false;
        };
        (self.processes.first.pid, self.processes.first.pidfd) = (pid.as_raw_nonzero().get(), pidfd);
        let master = self.master.take();
        self.first_runs(master);
        true
    }

    pub(super) fn exec_ended(&mut self, number: u64, code: i32) {
        // What it said at its birth comes before its end.
        self.report_exec(number);
        let Some(mut exec) = self.processes.execs.remove(&number) else { return };
        if code == 137 {
            // If it was for want of memory, that is its own.
            self.oom_before = crate::cgroups::oom_counts(&self.plan.oom);
        }
        if exec.birth.is_none() && exec.operations.is_empty() {
            let news = FromShim::News { news: News::ExecEnded { exec: number, code } };
            if let Some(connection) = self.connection(exec.connection) {
                connection.send(0, &news, None);
            }
        }
        // A process that it left in the background keeps its cgroup; it is tried again when another exec ends.
        self.processes.leftovers.append(&mut exec.cgroups);
        self.processes.leftovers.retain(|cgroup| !crate::cgroups::remove(std::slice::from_ref(cgroup)));
    }

    /// Runs a process beside the first.
    pub(crate) fn exec(&mut self, connection: u32, asked: u32, request: ExecRequest) -> Result<(), Failure> {
        if self.born.is_none() || self.ending.is_some() {
            return Err(failure("exec", "the container is not running", Errno::SRCH));
        }
        if self.processes.execs.contains_key(&request.number) {
            return Err(failure("exec", "number in use", Errno::EXIST));
        }
        crate::cgroups::make(&request.cgroups)?;
        let stdio = request
            .stdio
            .as_ref()
            .map(|[input, output, error]| [input.as_fd(), output.as_fd(), error.as_fd()]);
        let console = request.leaves.as_ref().map_or(Ok(None), super::runtime::console)?;
        // A command of a runtime is not to be charged to the container: it says itself where the process goes.
        let unified = request.unified.as_deref().filter(|_| request.leaves.is_none());
        let seed = Seed {
            namespaces: 0,
            unified,
            operations: &request.operations,
            slots: &[],
            container: Some(self.processes.first.pidfd.as_fd()),
            stdio,
        };
        let (pid, pidfd, birth) = bear(&seed).inspect_err(|_| {
            crate::cgroups::remove(&request.cgroups);
        })?;
        self.poll
            .add(birth.descriptor(), Source::Report(Some(request.number)))
            .map_err(|errno| failure("epoll", "", errno))?;
        let exec = Exec {
            pid,
            pidfd,
            birth: Some(birth),
            connection,
            asked,
            operations: request.operations,
            cgroups: request.cgroups,
            unified: request.unified,
            terminal: request.stdio.is_none(),
            told: false,
            leaves: request.leaves,
            console,
            master: None,
        };
        self.processes.execs.insert(request.number, exec);
        Ok(())
    }

    /// Ends all that an exec has started.
    pub(crate) fn kill_exec(&mut self, number: u64) {
        if let Some(exec) = self.processes.execs.get(&number) {
            crate::cgroups::kill_all(exec.unified.as_deref(), &exec.cgroups);
            // A command of a runtime is only killed; what it left is ended as the runtime has it.
            let signal = if exec.leaves.is_some() { libc::SIGKILL } else { self.killing() };
            let _ = orlop_sys::signal::send(exec.pidfd.as_fd(), signal);
        }
    }

    /// A peer has gone: nobody waits for its execs.
    pub(crate) fn kill_execs_of(&mut self, connection: u32) {
        let its: Vec<u64> = self
            .processes
            .execs
            .iter()
            .filter(|(_, exec)| exec.connection == connection)
            .map(|(n, _)| *n)
            .collect();
        for number in its {
            self.kill_exec(number);
        }
    }
}

/// What is asked of an exec.
pub(crate) struct ExecRequest {
    pub(crate) number: u64,
    pub(crate) cgroups: Vec<Cgroup>,
    pub(crate) unified: Option<std::ffi::CString>,
    pub(crate) operations: Vec<Operation>,
    pub(crate) stdio: Option<[OwnedFd; 3]>,
    pub(crate) leaves: Option<Handover>,
}

/// Exit code as shells count it, and the signal, 0 for none.
pub(crate) fn code(status: &WaitIdStatus) -> (i32, i32) {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => (code, 0),
        (None, Some(signal)) => (128 + signal, signal),
        (None, None) => (255, 0),
    }
}
