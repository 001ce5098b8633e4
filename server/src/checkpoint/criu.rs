//! CRIU's program: found, asked what the kernel can do, run with a deadline.
//!
//! *Invariant:* it is never killed before its deadline, and not when the daemon ends: a process that it has in its hands it lets go of
//! by itself. Whoever holds the lock of its directory knows whether it is still at work.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use orlop_model::report::{Kind, Report};
use orlop_sys::process::{Spawned, spawn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};
use rustix::thread::move_into_link_name_space;

/// Where it finds the programs that it calls, and where it is looked for itself.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long it may take to look at the kernel.
const CHECK: Duration = Duration::from_secs(30);
/// How long it may take to be gone once it is killed.
const DEATH: Duration = Duration::from_secs(5);
/// What of its log is told: the lines that say what went wrong, the first ones.
const LINES: usize = 4;

/// The program, and what is known of it.
#[derive(Debug)]
pub(crate) struct Criu {
    program: PathBuf,
    /// How long a checkpoint may take where the request does not say.
    pub(crate) timeout: Duration,
    /// Where it was found able, and the file's time then.
    able: Mutex<Option<(PathBuf, Option<SystemTime>)>>,
}

/// A run of it.
pub(super) struct Run<'a> {
    /// The program.
    pub(super) program: &'a Path,
    /// What it is told, without its name.
    pub(super) arguments: &'a [String],
    /// Namespaces that it works in, besides the daemon's own.
    pub(super) namespaces: &'a [OwnedFd],
    /// A lock that it keeps as long as it lives.
    pub(super) life: Option<BorrowedFd<'a>>,
    /// When it is killed.
    pub(super) deadline: Instant,
}

impl Criu {
    /// As configured; nothing is looked at yet.
    pub(crate) fn new(config: &crate::config::Checkpoint) -> Self {
        Criu { program: config.criu.clone(), timeout: config.timeout, able: Mutex::default() }
    }

    /// Where it is, once it has said that this kernel has what it needs. It is asked once for each version of its file. Blocks.
    ///
    /// # Errors
    /// `Unsupported`: it is not there, or says what is missing.
    pub(super) fn able(&self) -> Result<PathBuf, Report> {
        let path = self.find()?;
        let stamp = std::fs::metadata(&path).and_then(|metadata| metadata.modified()).ok();
        let known = (path.clone(), stamp);
        if self.remembered().as_ref() == Some(&known) {
            return Ok(path);
        }
        let run = Run {
            program: &path,
            arguments: &["check".into()],
            namespaces: &[],
            life: None,
            deadline: Instant::now() + CHECK,
        };
        run.end().map_err(|mut report| {
            report.stage = "check CRIU".into();
            if report.kind == Kind::Failed {
                report.kind = Kind::Unsupported;
                report.cause = format!("it cannot work on this kernel: {}", report.cause);
            }
            report
        })?;
        *self.remembered() = Some(known);
        Ok(path)
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Option<(PathBuf, Option<SystemTime>)>> {
        self.able.lock().expect("invariant: nothing panics while it holds this")
    }

    fn find(&self) -> Result<PathBuf, Report> {
        let given = std::env::var("PATH").unwrap_or_else(|_| PATH.into());
        let mut places: Vec<PathBuf> = if self.program.is_absolute() {
            vec![self.program.clone()]
        } else {
            given.split(':').map(|directory| Path::new(directory).join(&self.program)).collect()
        };
        places.retain(|path| path.is_absolute() && is_program(path));
        places.into_iter().next().ok_or_else(|| {
            let cause = "there is no such program on this node";
            Report::new(Kind::Unsupported, "find CRIU", self.program.display().to_string(), cause)
                .advise("install CRIU, or set [checkpoint] criu")
        })
    }
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The environment that it is started with.
pub(super) fn environment() -> Vec<CString> {
    [format!("PATH={PATH}"), "LC_ALL=C".into()]
        .into_iter()
        .filter_map(|entry| CString::new(entry).ok())
        .collect()
}

/// Its arguments, the first one being its name.
///
/// # Errors
/// If one of them has a NUL in it.
pub(super) fn arguments(program: &Path, arguments: &[String]) -> Result<Vec<CString>, Report> {
    let all = std::iter::once(program.as_os_str().as_bytes().to_vec());
    let all = all.chain(arguments.iter().map(|argument| argument.clone().into_bytes()));
    all.map(|argument| {
        CString::new(argument).map_err(|error| Report::new(Kind::BadRequest, "run CRIU", "argument", error))
    })
    .collect()
}

impl Run<'_> {
    /// Runs it to its end.
    ///
    /// # Errors
    /// `TimedOut` if it had to be killed; what it says outside of its log if it failed.
    pub(super) fn end(&self) -> Result<(), Report> {
        let failed =
            |cause: String| Report::new(Kind::Failed, "run CRIU", self.program.display().to_string(), cause);
        // In memory: whoever dies here leaves no file.
        let output = rustix::fs::memfd_create("criu", rustix::fs::MemfdFlags::CLOEXEC);
        let output = output.map_err(|errno| failed(errno.to_string()))?;
        let spawned = self.start(&output)?;
        let status = self.wait(&spawned).map_err(|errno| failed(errno.to_string()))?;
        let words = said(&output);
        match status {
            None => {
                let cause = "it did not come to its end in time, and was killed";
                Err(Report::new(Kind::TimedOut, "run CRIU", self.program.display().to_string(), cause))
            }
            Some(status) if status.exit_status() == Some(0) => Ok(()),
            Some(status) => {
                let how = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => format!("it ended with code {code}"),
                    (None, signal) => format!("it was ended by signal {}", signal.unwrap_or_default()),
                };
                let words = errors(&words);
                Err(failed(if words.is_empty() { how } else { format!("{how}: {words}") }))
            }
        }
    }

    /// On a thread of its own, which is in the namespaces that it starts in.
    fn start(&self, output: &OwnedFd) -> Result<Spawned, Report> {
        let failed = |cause: String| {
            Report::new(Kind::Failed, "start CRIU", self.program.display().to_string(), cause)
        };
        let program =
            CString::new(self.program.as_os_str().as_bytes()).map_err(|error| failed(error.to_string()))?;
        let arguments = arguments(self.program, self.arguments)?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| failed(errno.to_string()))?;
        let started = std::thread::scope(|scope| {
            let start = || {
                for namespace in self.namespaces {
                    move_into_link_name_space(namespace.as_fd(), None)?;
                }
                let stdio = [null.as_fd(), output.as_fd(), output.as_fd()];
                spawn(&program, &arguments, &environment(), stdio, self.life.as_slice())
            };
            std::thread::Builder::new()
                .name("criu".into())
                .spawn_scoped(scope, start)
                .map(std::thread::ScopedJoinHandle::join)
        });
        match started {
            Ok(Ok(spawned)) => spawned.map_err(|errno| failed(errno.to_string())),
            Ok(Err(_)) => Err(failed("its thread ended".into())),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// How it ended; `None` if it was killed for being late.
    fn wait(&self, spawned: &Spawned) -> rustix::io::Result<Option<WaitIdStatus>> {
        let in_time = has_ended(&spawned.pidfd, self.deadline.saturating_duration_since(Instant::now()))?;
        if !in_time {
            let _ = orlop_sys::signal::send(spawned.pidfd.as_fd(), libc::SIGKILL);
            has_ended(&spawned.pidfd, DEATH)?;
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let status = waitid(WaitId::PidFd(spawned.pidfd.as_fd()), options)?;
        Ok(status.filter(|_| in_time))
    }
}

/// What it has said, as far as anyone reads it.
fn said(output: &OwnedFd) -> String {
    let mut bytes = vec![0; 64 << 10];
    let length = rustix::io::pread(output, &mut bytes, 0).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

fn has_ended(process: &OwnedFd, patience: Duration) -> rustix::io::Result<bool> {
    let until = Instant::now() + patience;
    loop {
        let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).ok();
        match poll(&mut [PollFd::new(process, PollFlags::IN)], left.as_ref()) {
            Ok(count) => return Ok(count != 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// What a log says went wrong. The first errors are the cause, those after them what followed from it.
pub(super) fn errors(log: &str) -> String {
    // It says so on each run in a machine that keeps the limit of descriptors low, and goes on.
    let is_error = |line: &&str| line.contains("Error (") && !line.contains("Can't setup RLIMIT_NOFILE");
    let said = |line: &str| line.split_once("Error ").map_or(line, |(_, words)| words).to_owned();
    let lines: Vec<String> = log.lines().filter(is_error).take(LINES).map(said).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn criu(program: &Path) -> Criu {
        Criu::new(&crate::config::Checkpoint { criu: program.into(), timeout: CHECK })
    }

    fn script(directory: &Path, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = directory.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
        path
    }

    #[test]
    fn a_program_that_is_not_there_or_cannot_says_so() {
        let directory = tempfile::tempdir().expect("a directory");
        let report = criu(Path::new("no-such-criu")).able().expect_err("not there");
        assert_eq!((report.kind, report.stage.as_str()), (Kind::Unsupported, "find CRIU"));
        let cannot =
            script(directory.path(), "cannot", "echo 'Error (criu/cr-check.c:1): no map_files'; exit 1");
        let report = criu(&cannot).able().expect_err("it cannot");
        assert_eq!(report.kind, Kind::Unsupported);
        assert!(report.to_string().contains("no map_files"), "{report}");
    }

    #[test]
    fn a_program_is_asked_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let program =
            script(directory.path(), "can", &format!("echo x >> {}/asked", directory.path().display()));
        let criu = criu(&program);
        for _ in 0..3 {
            assert_eq!(criu.able().expect("it can"), program);
        }
        assert_eq!(std::fs::read_to_string(directory.path().join("asked")).expect("read"), "x\n");
    }

    #[test]
    fn one_that_is_late_is_killed() {
        let directory = tempfile::tempdir().expect("a directory");
        let program = script(directory.path(), "late", "exec sleep 1000");
        let run =
            Run { program: &program, arguments: &[], namespaces: &[], life: None, deadline: Instant::now() };
        assert_eq!(run.end().expect_err("killed").kind, Kind::TimedOut);
    }

    #[test]
    fn a_log_says_its_first_errors() {
        let log = "(00.1) Error (criu/util.c:1): rlimit: Can't setup RLIMIT_NOFILE for self\n(00.2) ok\n\
                   (00.3) Error (criu/a.c:1): first\n(00.4) Error (criu/b.c:2): second\n";
        assert_eq!(errors(log), "(criu/a.c:1): first; (criu/b.c:2): second");
        assert_eq!(errors("nothing"), "");
    }
}
