//! A shim and its container, made and spoken to by hand.
//!
//! *Invariant:* what is awaited comes within 20 s, or the test fails.

use std::ffi::CString;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use orlop_wire::code::Wire as _;
use orlop_wire::message::{Answer, FromShim, News, Request, frame, unframe};
use orlop_wire::plan::{Oom, Operation, Plan, Stdio};
use orlop_wire::record::{Exited, file};

pub(crate) fn c(text: &str) -> CString {
    CString::new(text).expect("no NUL")
}

/// A shim, its container, and the directory of both.
pub(crate) struct Trial {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) control: UnixStream,
    pub(crate) received: Vec<u8>,
    /// The last descriptor that came.
    pub(crate) handed: Option<OwnedFd>,
    pub(crate) shim: orlop_sys::process::Spawned,
    pub(crate) sequence: u32,
}

pub(crate) fn path(directory: &Path, name: &str) -> String {
    directory.join(name).display().to_string()
}

/// Mounts a root of busybox and becomes `command`.
pub(crate) fn operations(directory: &Path, command: &[&str], middle: Vec<Operation>) -> Vec<Operation> {
    let mut all = vec![
        Operation::Session,
        Operation::Propagation { flags: libc::MS_SLAVE | libc::MS_REC },
        Operation::Overlay {
            lower: vec![c(&path(directory, "layer"))],
            upper: c(&path(directory, "upper")),
            work: c(&path(directory, "work")),
            volatile: true,
            place: c(&path(directory, "root")),
        },
        Operation::Mount {
            kind: c("proc"),
            source: c("proc"),
            target: c("proc"),
            attributes: orlop_sys::mount::NO_SUID,
            options: vec![],
        },
    ];
    all.extend(middle);
    all.push(Operation::Enter);
    all.push(execute(command));
    all
}

pub(crate) fn execute(command: &[&str]) -> Operation {
    Operation::Execute {
        candidates: vec![c(command[0])],
        arguments: command.iter().map(|part| c(part)).collect(),
        environment: vec![c("PATH=/bin")],
    }
}

pub(crate) fn busybox(directory: &Path) {
    for name in ["layer/bin", "layer/proc", "upper", "work", "root", "state"] {
        std::fs::create_dir_all(directory.join(name)).expect("made");
    }
    std::fs::copy("/bin/busybox", directory.join("layer/bin/busybox")).expect("Debian's busybox-static");
    for applet in ["sh", "sleep", "cat", "true", "echo", "yes", "head"] {
        std::os::unix::fs::symlink("busybox", directory.join("layer/bin").join(applet)).expect("linked");
    }
}

impl Trial {
    pub(crate) fn new(command: &[&str], change: impl FnOnce(&mut Plan, &Path)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        busybox(directory.path());
        let mut plan = Plan {
            version: orlop_wire::VERSION,
            container: "c".into(),
            clone_flags: u64::from(
                (libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC).cast_unsigned(),
            ),
            pid_slot: None,
            slots: 0,
            shim_cgroups: vec![],
            cgroups: vec![],
            unified: None,
            oom: Oom::Nowhere,
            operations: operations(directory.path(), command, vec![]),
            stdio: Stdio {
                terminal: false,
                stdin: false,
                stdin_once: false,
                log_cap: 0,
                log: Some(c(&path(directory.path(), "log"))),
            },
            runtime: None,
            hooks: None,
        };
        change(&mut plan, directory.path());
        let state = directory.path().join("state");
        std::fs::write(state.join(file::PLAN), plan.to_bytes()).expect("written");
        let life = std::fs::File::create(state.join(file::LIFE)).expect("made");
        let life = OwnedFd::from(life);
        rustix::fs::flock(&life, rustix::fs::FlockOperation::NonBlockingLockExclusive).expect("locked");
        let (control, theirs) = UnixStream::pair().expect("a pair");
        let null =
            OwnedFd::from(std::fs::File::options().read(true).write(true).open("/dev/null").expect("null"));
        let program = c(env!("CARGO_BIN_EXE_orlop-shim"));
        let arguments = [c("orlop-shim"), c("run"), c(&state.display().to_string())];
        let shim = orlop_sys::process::spawn(
            &program,
            &arguments,
            &[],
            [null.as_fd(); 3],
            &[theirs.as_fd(), life.as_fd()],
        )
        .expect("started");
        control.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        Trial { directory, control, received: Vec::new(), handed: None, shim, sequence: 0 }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).expect("a log")
    }

    pub(crate) fn hear(&mut self) -> (u32, FromShim) {
        loop {
            if let Some((length, sequence, message)) = unframe(&self.received).expect("well formed") {
                self.received.drain(..length);
                return (sequence, message);
            }
            let mut buffer = [0; 4096];
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
            let flags = rustix::net::RecvFlags::CMSG_CLOEXEC;
            let mut into = [std::io::IoSliceMut::new(&mut buffer)];
            let got = rustix::net::recvmsg(&self.control, &mut into, &mut control, flags);
            for message in control.drain() {
                if let rustix::net::RecvAncillaryMessage::ScmRights(mut descriptors) = message {
                    self.handed = descriptors.next();
                }
            }
            let count = got.expect("heard in time").bytes;
            assert_ne!(count, 0, "the shim has closed its end");
            self.received.extend_from_slice(&buffer[..count]);
        }
    }

    pub(crate) fn news(&mut self) -> News {
        match self.hear() {
            (0, FromShim::News { news }) => news,
            other => panic!("no news: {other:?}"),
        }
    }

    pub(crate) fn born(&mut self) -> i32 {
        match self.news() {
            News::Born { born } => born.pid,
            other => panic!("not born: {other:?}"),
        }
    }

    pub(crate) fn exited(&mut self) -> Exited {
        let exited = match self.news() {
            News::Exited { exited } => exited,
            other => panic!("not exited: {other:?}"),
        };
        let bytes = std::fs::read(self.state().join(file::EXIT)).expect("on disk before it is told");
        assert_eq!(Exited::from_bytes(&bytes).as_ref(), Ok(&exited));
        exited
    }

    pub(crate) fn send(&mut self, request: &Request) {
        self.sequence += 1;
        self.control.write_all(&frame(self.sequence, request)).expect("sent");
    }

    pub(crate) fn exec(&mut self, number: u64, command: &[&str], stdio: [&OwnedFd; 3]) -> Answer {
        let kinds = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC;
        let request = Request::Exec {
            exec: number,
            cgroups: vec![],
            unified: None,
            terminal: false,
            operations: vec![
                Operation::JoinContainer { kinds: u64::from((kinds & !libc::CLONE_NEWPID).cast_unsigned()) },
                execute(command),
            ],
            leaves: None,
        };
        self.ask(&request, &stdio).0
    }

    /// Asks with descriptors: the answer, and the descriptor that comes with it.
    pub(crate) fn ask(&mut self, request: &Request, handed: &[&OwnedFd]) -> (Answer, Option<OwnedFd>) {
        self.sequence += 1;
        let bytes = frame(self.sequence, request);
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
        let handed: Vec<_> = handed.iter().map(|descriptor| descriptor.as_fd()).collect();
        control.push(rustix::net::SendAncillaryMessage::ScmRights(&handed));
        let flags = rustix::net::SendFlags::empty();
        let sent = rustix::net::sendmsg(&self.control, &[std::io::IoSlice::new(&bytes)], &mut control, flags);
        assert_eq!(sent, Ok(bytes.len()));
        match self.hear() {
            (sequence, FromShim::Answer { answer }) if sequence == self.sequence => {
                (answer, self.handed.take())
            }
            other => panic!("no answer: {other:?}"),
        }
    }

    /// Attaches these pipes; the container's stdin, if it comes.
    pub(crate) fn attach(&mut self, number: u64, stdin: bool, [out, error]: [OwnedFd; 2]) -> Option<OwnedFd> {
        let request = Request::Attach { attachment: number, stdin, stdout: true, stderr: true };
        let (answer, input) = self.ask(&request, &[&out, &error]);
        assert_eq!(answer, Answer::Attached { stdin: input.is_some() });
        input
    }

    /// The shim has ended by itself.
    pub(crate) fn gone(&self) {
        let began = Instant::now();
        let id = || rustix::process::WaitId::PidFd(self.shim.pidfd.as_fd());
        let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOHANG;
        while rustix::process::waitid(id(), options).expect("waited for").is_none() {
            assert!(began.elapsed() < Duration::from_secs(20), "the shim stays");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!self.state().join(file::SOCKET).exists(), "its socket is gone");
    }
}
