//! A container from its plan to its exit record.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::Instant;

use orlop_wire::code::Wire;
use orlop_wire::message::News;
use orlop_wire::plan::{Oom, Operation, Plan, Runtime, Stdio};
use orlop_wire::record::{Exited, Failure, file};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::record::failure;
use crate::watch::Shim;
use crate::watch::hooks::Hooks;
use crate::watch::log::Log;
use crate::watch::poll::{Poll, Source};
use crate::watch::process::{First, Processes, Seed, bear};
use crate::watch::runtime::{self, Commands};

/// A burst that comes while the shim is not on a processor fits.
const PIPE: usize = 256 << 10;

/// Where the time of a start goes.
pub(crate) struct Stages {
    last: Instant,
    taken: Vec<(String, u64)>,
}

impl Stages {
    fn new() -> Self {
        Stages { last: Instant::now(), taken: Vec::new() }
    }

    /// What was done since the last mark.
    pub(crate) fn mark(&mut self, what: &str) {
        let took = u64::try_from(self.last.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.taken.push((what.into(), took));
        self.last = Instant::now();
    }

    pub(crate) fn taken(&self) -> Vec<(String, u64)> {
        self.taken.clone()
    }
}

/// Runs the container whose state directory is `directory`.
pub(crate) fn run(directory: &str) -> ExitCode {
    let mut control = None;
    match begin(directory, &mut control) {
        Ok(mut shim) => {
            shim.serve();
            crate::record::remove_socket();
            ExitCode::SUCCESS
        }
        Err(failure) => {
            report(failure, control);
            ExitCode::FAILURE
        }
    }
}

/// What a shim does at its end, for one that could not.
pub(crate) fn delete(directory: &str) -> ExitCode {
    let deleted = || -> Result<bool, Failure> {
        orlop_sys::signal::block_all().map_err(|errno| failure("block signals", "", errno))?;
        rustix::process::chdir(directory).map_err(|errno| failure("chdir", directory, errno))?;
        read_plan()?.runtime.map_or(Ok(true), |runtime| runtime::delete(&runtime))
    };
    if deleted().unwrap_or(false) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What failed before the clone ends like a container that never ran: on disk, then told.
fn report(failure: Failure, control: Option<OwnedFd>) {
    let exited = Exited {
        version: orlop_wire::VERSION,
        code: 128,
        signal: 0,
        oom_killed: false,
        at: crate::record::now(),
        failure: Some(failure),
    };
    let _ = crate::record::exited(&exited);
    crate::record::remove_socket();
    if let Some(control) = control {
        let news = orlop_wire::message::FromShim::News { news: News::Exited { exited } };
        let mut connection = crate::watch::connection::Connection::new(control);
        connection.send(0, &news, None);
    }
}

fn begin(directory: &str, control: &mut Option<OwnedFd>) -> Result<Shim, Failure> {
    let mut stages = Stages::new();
    orlop_sys::signal::block_all().map_err(|errno| failure("block signals", "", errno))?;
    // Until exec nothing of this process can be read or traced by what runs in the container (CVE-2019-5736).
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| failure("prctl", "dumpable", errno))?;
    rustix::process::chdir(directory).map_err(|errno| failure("chdir", directory, errno))?;
    let plan = read_plan()?;
    let mut handed = orlop_sys::process::take_handed(2 + plan.slots as usize)
        .map_err(|errno| failure("take descriptors", plan.slots.to_string(), errno))?;
    let slots = handed.split_off(2);
    // The lock on the life file lasts as long as this process.
    let life = handed.pop();
    std::mem::forget(life);
    *control = handed.pop();
    crate::cgroups::enter(&plan.shim_cgroups)?;
    crate::record::reserve()?;
    let listener = listen().map_err(|errno| failure("listen", file::SOCKET, errno))?;
    let signals =
        orlop_sys::signal::descriptor(&[libc::SIGCHLD]).map_err(|errno| failure("signalfd", "", errno))?;
    let poll = Poll::new().map_err(|errno| failure("epoll", "", errno))?;
    let log = open_log(&plan.stdio)?;
    stages.mark("shim");
    let console = begin_runtime(plan.runtime.as_ref())?;
    let oom_before = match plan.oom {
        Oom::Unit { .. } => crate::cgroups::oom_counts(&plan.oom),
        // Of a cgroup that is made now nothing was counted.
        Oom::Nowhere | Oom::V1 { .. } | Oom::V2 { .. } => (0, 0),
    };
    let born = launch(&plan, &slots, log, poll, &mut stages).inspect_err(|_| {
        crate::cgroups::remove_own(&plan);
    })?;
    let Launched { first, mut poll, log, stdin } = born;
    let commands = if plan.runtime.is_some() { Commands::begun(console) } else { Commands::default() };
    watch(&mut poll, &signals, &listener, &first).map_err(|errno| failure("epoll", "", errno))?;
    let processes = Processes { first, execs: std::collections::BTreeMap::new(), leftovers: Vec::new() };
    let mut shim = Shim {
        plan,
        poll,
        signals,
        listener,
        connections: Vec::new(),
        processes,
        log,
        stdin,
        master: None,
        born: None,
        born_told: false,
        hooks: Hooks::default(),
        ending: None,
        oom_before,
        stages,
        commands,
    };
    // Only the birth needs them: a namespace that is held by none but a shim should go.
    drop(slots);
    if let Some(control) = control.take() {
        shim.admit(control);
    }
    Ok(shim)
}

/// What a runtime of others leaves becomes this process's own, and what an earlier start left goes.
fn begin_runtime(runtime: Option<&Runtime>) -> Result<Option<OwnedFd>, Failure> {
    let Some(runtime) = runtime else { return Ok(None) };
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|errno| failure("prctl", "child subreaper", errno))?;
    runtime::forget(&runtime.create);
    runtime::console(&runtime.create)
}

fn read_plan() -> Result<Plan, Failure> {
    let bytes =
        std::fs::read(file::PLAN).map_err(|error| failure("read plan", error.to_string(), Errno::IO))?;
    let plan = Plan::from_bytes(&bytes)
        .map_err(|malformed| failure("read plan", malformed.to_string(), Errno::INVAL))?;
    if plan.version != orlop_wire::VERSION {
        let versions = format!("version {} for a shim of version {}", plan.version, orlop_wire::VERSION);
        return Err(failure("read plan", versions, Errno::INVAL));
    }
    let hooks = plan.hooks.iter().flat_map(|hooks| &hooks.all).map(|hook| &hook.operations);
    for operations in std::iter::once(&plan.operations).chain(hooks) {
        orlop_wire::order::check(operations)
            .map_err(|disorder| failure("read plan", disorder.to_string(), Errno::INVAL))?;
    }
    Ok(plan)
}

/// The path is relative, so that no directory is too deep for unix(7)'s 108 bytes.
fn listen() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    crate::record::remove_socket();
    rustix::net::bind(&socket, &SocketAddrUnix::new(file::SOCKET)?)?;
    rustix::net::listen(&socket, 16)?;
    Ok(socket)
}

fn open_log(stdio: &Stdio) -> Result<Log, Failure> {
    let path = || stdio.log.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    Log::open(stdio.log.clone(), stdio.log_cap).map_err(|errno| failure("open log", path(), errno))
}

struct Launched {
    first: First,
    poll: Poll,
    log: Log,
    stdin: Option<OwnedFd>,
}

fn launch(
    plan: &Plan,
    slots: &[OwnedFd],
    mut log: Log,
    mut poll: Poll,
    stages: &mut Stages,
) -> Result<Launched, Failure> {
    crate::cgroups::make(&plan.cgroups)?;
    stages.mark("cgroups");
    let mut stdin = None;
    let ends =
        ends(&plan.stdio, &mut log, &mut poll, &mut stdin).map_err(|errno| failure("pipes", "", errno))?;
    if let Some(slot) = plan.pid_slot {
        let held = slots.get(slot as usize).ok_or_else(|| failure("join namespace", "pid", Errno::BADF))?;
        let kind = Some(rustix::thread::LinkNameSpaceType::ProcessID);
        rustix::thread::move_into_link_name_space(held.as_fd(), kind)
            .map_err(|errno| failure("join namespace", "pid", errno))?;
    }
    let restoring = restoring(plan);
    // Whoever restores a container makes its PID namespace.
    let made_later = if restoring.is_some() { u64::from(libc::CLONE_NEWPID.cast_unsigned()) } else { 0 };
    let seed = Seed {
        namespaces: plan.clone_flags & !made_later,
        // A runtime of others is not to be charged to the container: it says itself where the first process goes.
        unified: plan.unified.as_deref().filter(|_| plan.runtime.is_none()),
        operations: &plan.operations,
        slots,
        container: None,
        stdio: ends.as_ref().map(|[input, output, error]| [input.as_fd(), output.as_fd(), error.as_fd()]),
    };
    let (pid, pidfd, birth) = bear(&seed)?;
    stages.mark("clone");
    Ok(Launched {
        first: First { pid, pidfd, birth: Some(birth), restoring, killed: false },
        poll,
        log,
        stdin,
    })
}

/// Where the number of the first process will be, if the container is restored.
fn restoring(plan: &Plan) -> Option<CString> {
    match plan.operations.last() {
        Some(Operation::Restore { pid_file, .. }) => Some(pid_file.clone()),
        _ => None,
    }
}

/// The container's ends of its three streams; ours go to the log and to `kept`.
fn ends(
    stdio: &Stdio,
    log: &mut Log,
    poll: &mut Poll,
    kept: &mut Option<OwnedFd>,
) -> Result<Option<[OwnedFd; 3]>, Errno> {
    if stdio.terminal {
        return Ok(None);
    }
    let input = if stdio.stdin {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        *kept = Some(ours);
        theirs
    } else {
        rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?
    };
    let mut output = |number| -> Result<OwnedFd, Errno> {
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        // Smaller is slower, not wrong.
        let _ = fcntl_setpipe_size(&theirs, PIPE);
        log.add(number, ours, poll)?;
        Ok(theirs)
    };
    let (out, error) = (output(0)?, output(1)?);
    Ok(Some([input, out, error]))
}

fn watch(poll: &mut Poll, signals: &OwnedFd, listener: &OwnedFd, first: &First) -> Result<(), Errno> {
    poll.add(signals, Source::Signals)?;
    poll.add(listener, Source::Listener)?;
    if let Some(birth) = &first.birth {
        poll.add(birth.descriptor(), Source::Report(None))?;
    }
    Ok(())
}
