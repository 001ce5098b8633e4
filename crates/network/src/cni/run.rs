//! One plugin's process.
//!
//! ```text
//!   start ──▶ configuration written, output read ──▶ ended ──▶ rest of the output read        done
//!                          │
//!                          ├─ deadline passed ──┐
//!                          └─ too much output ──┴──▶ killed, with its session and its cgroup   failed
//! ```
//!
//! *Invariant:* [`run`] comes back soon after the deadline, whatever the plugin does; what is read of it is bounded; and it has been
//! waited for, so that none becomes a zombie.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use orlop_sys::process::{Spawned, spawn};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid};

use super::failure::What;
use super::pen::{Pen, Pens};

/// A result of a pod with very many addresses has some hundred KiB.
pub(crate) const MOST_OUTPUT: usize = 1 << 20;
/// So much of the end of stderr is kept.
const MOST_ERRORS: usize = 4 << 10;
/// How long a process that was killed may take to end.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// What is to be run.
pub(crate) struct Call<'a> {
    pub(crate) program: &'a Path,
    /// `NAME=VALUE`.
    pub(crate) environment: &'a [String],
    /// For its stdin.
    pub(crate) input: &'a [u8],
    /// How long it may take.
    pub(crate) deadline: Duration,
}

/// What a plugin wrote, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) stdout: Vec<u8>,
    /// The end of it.
    pub(crate) stderr: Vec<u8>,
    pub(crate) end: Result<End, What>,
}

/// How a process ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Status(i32),
    Signal(i32),
}

/// Runs a plugin to its end, or to its deadline.
pub(crate) fn run(pens: Option<&Pens>, call: &Call<'_>) -> Ran {
    let pen = pens.and_then(Pens::pen);
    let process = match start(pen.as_ref(), call) {
        Ok(process) => process,
        Err(error) => {
            if let Some(pen) = pen {
                pen.leave();
            }
            let end = Err(What::NotStarted { cause: error.to_string() });
            return Ran { stdout: Vec::new(), stderr: Vec::new(), end };
        }
    };
    let mut talk = Talk::new(process, call.input);
    let end = talk.until(Instant::now() + call.deadline, call.deadline);
    let end =
        end.and_then(|()| reap(&talk.spawned).map_err(|errno| What::NotStarted { cause: errno.to_string() }));
    if end.is_err() {
        end_all(&talk.spawned, pen.as_ref());
    } else if let Some(pen) = &pen {
        pen.leave();
    }
    Ran { stdout: talk.stdout, stderr: talk.stderr, end }
}

struct Process {
    spawned: Spawned,
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

fn start(pen: Option<&Pen<'_>>, call: &Call<'_>) -> io::Result<Process> {
    let text =
        |bytes: &[u8]| CString::new(bytes).map_err(|_| io::Error::other("a NUL in a path or variable"));
    let program = text(call.program.as_os_str().as_bytes())?;
    let environment: Vec<CString> =
        call.environment.iter().map(|variable| text(variable.as_bytes())).collect::<Result<_, _>>()?;
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let ((child_in, stdin), (stdout, child_out), (stderr, child_err)) = (pipe()?, pipe()?, pipe()?);
    for own in [&stdin, &stdout, &stderr] {
        fcntl_setfl(own, fcntl_getfl(own)? | OFlags::NONBLOCK)?;
    }
    let start = || {
        let its = [child_in.as_fd(), child_out.as_fd(), child_err.as_fd()];
        let spawned = spawn(&program, std::slice::from_ref(&program), &environment, its, &[])?;
        Ok((spawned.pid, spawned))
    };
    let spawned = match pen {
        Some(pen) => pen.start(start)?,
        None => start()?.1,
    };
    Ok(Process { spawned, stdin, stdout, stderr })
}

/// What goes between this process and the plugin.
struct Talk<'a> {
    spawned: Spawned,
    stdin: Option<OwnedFd>,
    /// What it is still to be given.
    input: &'a [u8],
    out: Option<OwnedFd>,
    err: Option<OwnedFd>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl<'a> Talk<'a> {
    fn new(process: Process, input: &'a [u8]) -> Self {
        Talk {
            spawned: process.spawned,
            stdin: Some(process.stdin),
            input,
            out: Some(process.stdout),
            err: Some(process.stderr),
            stdout: Vec::new(),
            stderr: Vec::new(),
        }
    }

    /// Talks until it has ended.
    fn until(&mut self, deadline: Instant, given: Duration) -> Result<(), What> {
        loop {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return Err(What::Late { deadline: given });
            };
            let ended = self.wait(left);
            self.write();
            self.read()?;
            if ended {
                return Ok(());
            }
        }
    }

    /// Waits until something can be done; whether it has ended.
    fn wait(&self, left: Duration) -> bool {
        let mut of = vec![PollFd::new(&self.spawned.pidfd, PollFlags::IN)];
        of.extend(self.out.iter().chain(&self.err).map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        of.extend(self.stdin.iter().map(|pipe| PollFd::new(pipe, PollFlags::OUT)));
        let left = rustix::time::Timespec::try_from(left).ok();
        // Interrupted, or out of time: the caller looks again.
        let _ = poll(&mut of, left.as_ref());
        of.first().is_some_and(|pidfd| !pidfd.revents().is_empty())
    }

    fn write(&mut self) {
        let Some(pipe) = &self.stdin else { return };
        while !self.input.is_empty() {
            match rustix::io::write(pipe, self.input) {
                Ok(count) => self.input = self.input.get(count..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // It does not want to hear more: what it makes of that it says itself.
                Err(_) => break,
            }
        }
        self.stdin = None;
    }

    fn read(&mut self) -> Result<(), What> {
        let limit = MOST_OUTPUT;
        take(&mut self.out, &mut self.stdout, |all| all.len() <= limit)?;
        take(&mut self.err, &mut self.stderr, |all| {
            if all.len() > 2 * MOST_ERRORS {
                all.drain(..all.len() - MOST_ERRORS);
            }
            true
        })
    }
}

/// Reads what is there; `keep` bounds it. Not without an end: who writes all the time is looked after by the deadline.
fn take(
    pipe: &mut Option<OwnedFd>,
    all: &mut Vec<u8>,
    mut keep: impl FnMut(&mut Vec<u8>) -> bool,
) -> Result<(), What> {
    let mut buffer = [0; 16 << 10];
    for _ in 0..64 {
        let Some(open) = pipe.as_ref() else { return Ok(()) };
        match rustix::io::read(open, &mut buffer) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(()),
            Ok(0) | Err(_) => *pipe = None,
            Ok(count) => {
                all.extend_from_slice(buffer.get(..count).unwrap_or_default());
                if !keep(all) {
                    return Err(What::Endless { limit: MOST_OUTPUT });
                }
            }
        }
    }
    Ok(())
}

/// Takes the status of a process that has ended.
fn reap(spawned: &Spawned) -> Result<End, Errno> {
    loop {
        match waitid(WaitId::PidFd(spawned.pidfd.as_fd()), WaitIdOptions::EXITED) {
            Ok(status) => return Ok(how(status.as_ref())),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn how(status: Option<&WaitIdStatus>) -> End {
    let Some(status) = status else { return End::Status(0) };
    match status.terminating_signal() {
        Some(signal) => End::Signal(signal),
        None => End::Status(status.exit_status().unwrap_or(-1)),
    }
}

/// Kills the plugin, its session's processes as far as they are in its group, and all that is in its cgroup; waits for its end.
fn end_all(spawned: &Spawned, pen: Option<&Pen<'_>>) {
    if let Some(pid) = Pid::from_raw(spawned.pid) {
        // Not waited for yet, so the number is still its own, and its group's.
        let _ = kill_process_group(pid, Signal::KILL);
    }
    if let Some(pen) = pen {
        pen.kill();
    }
    let mut of = [PollFd::new(&spawned.pidfd, PollFlags::IN)];
    let patience = rustix::time::Timespec::try_from(END_PATIENCE).ok();
    if matches!(poll(&mut of, patience.as_ref()), Ok(1)) {
        let _ = reap(spawned);
        return;
    }
    tracing::error!(pid = spawned.pid, "a plugin was killed and does not end; it waits in the kernel");
    // It is waited for elsewhere, so that it leaves no zombie when it can end.
    if let Ok(pidfd) = spawned.pidfd.try_clone() {
        let wait = move || {
            let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
        };
        let _ = std::thread::Builder::new().name("cni-reap".into()).spawn(wait);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use orlop_cgroup::Hierarchies;

    use super::*;

    /// Pens in a v1 hierarchy and in the unified one, as far as this machine has them; made for the test, gone with it.
    fn pens(test: &str) -> Vec<(&'static str, Pens)> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let unified: Vec<&str> = mounts.lines().filter(|line| line.contains(" - cgroup2 ")).collect();
        let parent = format!("/orlop-{test}-test-{}", std::process::id());
        let of = |table: &str| Pens::new(&Hierarchies::detect(table, Path::new("/")), &parent);
        let both = [("v1", of(&mounts)), ("unified", of(&unified.join("\n")))];
        both.into_iter().filter_map(|(name, pens)| Some((name, pens?))).collect()
    }

    fn remove(pens: &Pens) {
        pens.remove();
        let parent = pens.directory().parent().unwrap();
        std::fs::remove_dir(parent).unwrap_or_else(|error| panic!("{}: {error}", parent.display()));
    }

    struct Script(PathBuf);

    impl Script {
        fn new(name: &str, text: &str) -> Self {
            use std::os::unix::fs::PermissionsExt as _;
            let directory = std::env::temp_dir().join(format!("orlop-run-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(
                directory.join("plugin.new"),
                format!("#!/bin/sh\ncd {}\n{text}\n", directory.display()),
            )
            .unwrap();
            std::fs::set_permissions(directory.join("plugin.new"), std::fs::Permissions::from_mode(0o755))
                .unwrap();
            std::fs::rename(directory.join("plugin.new"), directory.join("plugin")).unwrap();
            Script(directory)
        }

        fn run(&self, pens: Option<&Pens>, input: &[u8], deadline: Duration) -> Ran {
            let environment = ["PATH=/usr/bin:/bin".to_owned()];
            run(pens, &Call { program: &self.0.join("plugin"), environment: &environment, input, deadline })
        }

        fn lives(&self, name: &str) -> bool {
            let pid = std::fs::read_to_string(self.0.join(name)).unwrap_or_default();
            let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap_or_default();
            status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
        }
    }

    impl Drop for Script {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn at_its_deadline_all_that_a_plugin_started_is_killed() {
        for (name, pens) in pens("deadline") {
            // Two generations away, in another session, with nothing of ours open or in its environment.
            let script = Script::new(
                name,
                "read x; setsid sh -c 'setsid env -i sh -c \"echo \\$\\$ > far; exec /bin/sleep 1000\" <&- >&- 2>&- &'; \
                 until [ -s far ]; do sleep 0.01; done; echo $$ > near; sleep 1000",
            );
            let ran = script.run(Some(&pens), b"x\n", Duration::from_secs(1));
            assert!(matches!(ran.end, Err(What::Late { .. })), "{name}: {:?}", ran.end);
            assert!(script.0.join("far").exists() && script.0.join("near").exists(), "{name}");
            assert!(!script.lives("far") && !script.lives("near"), "{name}");
            remove(&pens);
        }
    }

    #[test]
    fn what_a_plugin_leaves_when_it_ends_well_is_let_be() {
        for (name, pens) in pens("left") {
            let name = format!("left-{name}");
            let script = Script::new(
                &name,
                "read x; sh -c 'echo $$ > far; exec sleep 1000' <&- >&- 2>&- & until [ -s far ]; do sleep 0.01; done; echo done",
            );
            let ran = script.run(Some(&pens), b"x\n", Duration::from_secs(20));
            assert_eq!((ran.end, ran.stdout.as_slice()), (Ok(End::Status(0)), &b"done\n"[..]), "{name}");
            pens.sweep();
            assert!(script.lives("far"), "{name}: not even by the next daemon");
            let pid = std::fs::read_to_string(script.0.join("far")).unwrap().trim().parse().ok();
            let pid = pid.and_then(Pid::from_raw).unwrap();
            rustix::process::kill_process(pid, Signal::KILL).unwrap();
            while script.lives("far") {
                std::thread::sleep(Duration::from_millis(1));
            }
            remove(&pens);
        }
    }

    #[test]
    fn output_is_bounded_and_nobody_is_waited_for_who_holds_it() {
        // A child that keeps the output open, and ends by itself.
        let script = Script::new("holds", "cat > /dev/null; sleep 3 & echo well; echo ill >&2");
        let begun = Instant::now();
        let large = vec![b'x'; 4 << 20];
        let ran = script.run(None, &large, Duration::from_secs(20));
        assert_eq!(
            (ran.end, ran.stdout.as_slice(), ran.stderr.as_slice()),
            (Ok(End::Status(0)), &b"well\n"[..], &b"ill\n"[..])
        );
        assert!(begun.elapsed() < Duration::from_secs(3));
        let script = Script::new("much", "head -c 3000000 /dev/zero >&2; head -c 1048577 /dev/zero");
        let ran = script.run(None, b"", Duration::from_secs(20));
        assert!(matches!(ran.end, Err(What::Endless { .. })), "{:?}", ran.end);
        assert!(ran.stderr.len() <= 2 * MOST_ERRORS && ran.stdout.len() <= MOST_OUTPUT + (16 << 10));
        let script = Script::new("deaf", "exec <&-; exit 4");
        assert_eq!(script.run(None, &large, Duration::from_secs(20)).end, Ok(End::Status(4)));
        let none = Script(script.0.join("none"));
        assert!(matches!(none.run(None, b"", Duration::from_secs(1)).end, Err(What::NotStarted { .. })));
    }

    /// `cargo test --release -p orlop-network --lib how_long -- --nocapture` prints it.
    #[test]
    fn how_long_a_plugin_takes_that_does_nothing() {
        let script = Script::new("nothing", "exit 0");
        let median = |pens: Option<&Pens>| {
            let mut all: Vec<Duration> = (0..50)
                .map(|_| {
                    let begun = Instant::now();
                    assert_eq!(script.run(pens, b"", Duration::from_secs(20)).end, Ok(End::Status(0)));
                    begun.elapsed()
                })
                .collect();
            all.sort();
            all[25]
        };
        println!("without a cgroup: {:?}", median(None));
        for (name, pens) in pens("nothing") {
            println!("in a cgroup, {name}: {:?}", median(Some(&pens)));
            remove(&pens);
        }
    }
}
