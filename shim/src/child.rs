//! Between clone and exec: a loop over the plan, one small function for each kind of operation.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`namespaces`] | joins, unshares, enters cgroups |
//! | [`root`] | makes the root, enters it, freezes it |
//! | [`mounts`] | mounts, binds, devices, links, masks |
//! | [`place`] | finds and makes paths inside the root |
//! | [`identity`] | user, capabilities, limits, filters |
//! | [`terminal`] | the container's terminal |
//!
//! *Invariant:* no decision is taken here. A failure is the number of the operation and the kernel's errno; what that means is
//! said by whoever reads the plan.

pub(crate) mod identity;
pub(crate) mod mounts;
mod namespaces;
mod place;
pub(crate) mod root;
pub(crate) mod terminal;

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use orlop_wire::plan::{BindHow, Operation, RESTORE_STREAMS};
use rustix::io::Errno;

use crate::birth::{self, Pointers};

/// What a child says before the first operation after which it may not be able to: all that can hang is done.
pub(crate) const NEARLY: &[u8] = b"ok";

/// What a child says that has cloned once more: a letter, and the other's number in four bytes; its pidfd comes along.
pub(crate) const AGAIN: &[u8; 5] = b"a\0\0\0\0";
/// What it says at an [`Operation::Pause`]; it goes on when it hears a byte.
pub(crate) const PAUSED: &[u8] = b"hook";

/// Which operation failed, and how: what a child says through its report socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed {
    /// Its index in the plan.
    pub(crate) operation: u32,
    /// What the kernel said.
    pub(crate) errno: i32,
}

impl Failed {
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.operation.to_ne_bytes());
        bytes[4..].copy_from_slice(&self.errno.to_ne_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: [u8; 8]) -> Self {
        let (operation, errno) = bytes.split_at(4);
        let four = |half: &[u8]| <[u8; 4]>::try_from(half).unwrap_or_default();
        Failed { operation: u32::from_ne_bytes(four(operation)), errno: i32::from_ne_bytes(four(errno)) }
    }
}

/// What the last operation needs, made ready before the clone.
pub(crate) struct Program<'a> {
    arguments: Pointers<'a>,
    environment: Pointers<'a>,
}

impl<'a> Program<'a> {
    /// Of the exec that ends `operations`; `None` if there is none.
    pub(crate) fn of(operations: &'a [Operation]) -> Option<Self> {
        match operations.last() {
            Some(
                Operation::Execute { arguments, environment, .. }
                | Operation::Restore { arguments, environment, .. },
            ) => {
                Some(Program { arguments: Pointers::new(arguments), environment: Pointers::new(environment) })
            }
            _ => None,
        }
    }
}

/// What a child has in its hands while it is being born.
pub(crate) struct Child<'a> {
    /// Descriptors that the launcher handed over.
    pub(crate) slots: &'a [OwnedFd],
    /// The container's first process, for an exec.
    pub(crate) container: Option<BorrowedFd<'a>>,
    /// Where a terminal's master is sent.
    pub(crate) report: BorrowedFd<'a>,
    /// What is executed at the end.
    pub(crate) program: &'a Program<'a>,
    /// stdin, stdout and stderr, unless a terminal serves all three.
    pub(crate) stdio: Option<[BorrowedFd<'a>; 3]>,
    /// The root, once it is made.
    pub(crate) root: Option<OwnedFd>,
    /// The terminal's own end, once it is opened.
    pub(crate) terminal: Option<OwnedFd>,
    /// What was made ready: by [`Operation::Prepare`]s, in their order.
    pub(crate) prepared: &'a [OwnedFd],
    /// What [`Operation::Bind`]s bind, in their order, once opened; with room for all of them.
    pub(crate) trees: Vec<Option<OwnedFd>>,
    /// How many of them are bound.
    pub(crate) bound: usize,
    /// The SELinux context of overlays, once it is said.
    pub(crate) context: Option<&'a CStr>,
}

impl<'a> Child<'a> {
    /// Carries out `operations`; says what failed and ends the process if one of them did.
    pub(crate) fn be_born(mut self, operations: &'a [Operation]) -> ! {
        let Failed { operation, errno } = self.carry_out(operations);
        // If nobody hears it, the exit status says at least that it failed.
        let _ = rustix::io::write(self.report, &Failed { operation, errno }.to_bytes());
        birth::leave(127)
    }

    fn carry_out(&mut self, operations: &'a [Operation]) -> Failed {
        if let Err(errno) = identity::die_with_shim() {
            return Failed { operation: 0, errno: errno.raw_os_error() };
        }
        let mut nearly = false;
        for (operation, number) in operations.iter().zip(0..) {
            // Said while it can be: a filter may forbid it. The end of the socket then means exec, and not a death on the way to it.
            let is_near = matches!(
                operation,
                Operation::Seccomp { .. } | Operation::Execute { .. } | Operation::Restore { .. }
            );
            if !nearly && is_near {
                nearly = true;
                let _ = rustix::io::write(self.report, NEARLY);
            }
            // Before mounts stop travelling: a tree opened now keeps its tie to the host's, which a bind may ask for.
            if matches!(operation, Operation::Propagation { .. })
                && let Err(failed) = self.open_binds(operations)
            {
                return failed;
            }
            if let Err(errno) = self.perform(operation) {
                return Failed { operation: number, errno: errno.raw_os_error() };
            }
        }
        // A plan without an exec at its end is refused before the clone.
        Failed { operation: u32::MAX, errno: Errno::CANCELED.raw_os_error() }
    }

    fn open_binds(&mut self, operations: &[Operation]) -> Result<(), Failed> {
        for (operation, number) in operations.iter().zip(0..) {
            if let Operation::Bind { source, how, .. } = operation {
                let tree = mounts::source(source, *how)
                    .map_err(|errno| Failed { operation: number, errno: errno.raw_os_error() })?;
                self.trees.push(Some(tree));
            }
        }
        Ok(())
    }

    fn next_tree(&mut self) -> Result<OwnedFd, Errno> {
        let tree = self.trees.get_mut(self.bound).and_then(Option::take);
        self.bound += 1;
        tree.ok_or(Errno::BADF)
    }

    fn perform(&mut self, operation: &'a Operation) -> Result<(), Errno> {
        use Operation as O;
        match operation {
            O::Join { slot, kind } => namespaces::join(self.slot(*slot)?, *kind),
            O::JoinContainer { kinds } => {
                namespaces::join_container(self.container.ok_or(Errno::SRCH)?, *kinds)
            }
            O::EnterCgroup { procs } => namespaces::enter_cgroup(procs),
            O::Unshare { flags } => orlop_sys::namespace::unshare(*flags),
            O::Propagation { flags } | O::RootPropagation { flags } => {
                root::propagate(rustix::fs::CWD, c"/", *flags)
            }
            O::MountContext { label } => {
                self.context = Some(label);
                Ok(())
            }
            O::Overlay { lower, upper, work, volatile, place } => {
                let own = root::Own { upper, work, volatile: *volatile };
                self.root = Some(root::overlay(lower, own, self.context, place)?);
                Ok(())
            }
            O::Directory { source, place } => {
                self.root = Some(root::directory(source, place)?);
                Ok(())
            }
            O::Mount { kind, source, target, attributes, options } => {
                mounts::fresh(self.root()?, kind, source, target, *attributes, options)
            }
            O::Layers { lower, target, attributes } => {
                mounts::layers(self.root()?, lower, self.context, target, *attributes)
            }
            O::Bind { target, how, .. } => {
                let tree = self.next_tree()?;
                mounts::bind(self.root()?, tree.as_fd(), target, *how)
            }
            O::BindSlot { slot, target, how } => mounts::bind(self.root()?, self.slot(*slot)?, target, *how),
            // By the shim, before the clone.
            O::Prepare { .. } => Ok(()),
            O::Put { tree, target, how } => mounts::bind(self.root()?, self.prepared(*tree)?, target, *how),
            O::PutRoot { tree, place } => {
                let tree = rustix::io::fcntl_dupfd_cloexec(self.prepared(*tree)?, 0)?;
                self.root = Some(root::attach(tree, place)?);
                Ok(())
            }
            O::Again { flags } => self.again(*flags),
            O::BecomeRoot => identity::become_root().and_then(|()| identity::die_with_shim()),
            O::BindNamespace { slot, target } => {
                let tree = mounts::namespace(self.slot(*slot)?)?;
                mounts::bind(self.root()?, tree.as_fd(), target, BindHow::default())
            }
            O::Symlink { at, to } => mounts::symlink(self.root()?, at, to),
            O::Device { target, mode, major, minor, uid, gid } => {
                mounts::device(self.root()?, target, *mode, (*major, *minor), (*uid, *gid))
            }
            O::MakeDirectory { target, mode } => place::directory(self.root()?, target, *mode).map(drop),
            O::Terminal { console, rows, columns } => self.open_terminal(*console, *rows, *columns),
            O::Sysctl { name, value } => mounts::sysctl(name, value),
            O::Hostname { name } => rustix::system::sethostname(name.to_bytes()),
            O::Domainname { name } => rustix::system::setdomainname(name.to_bytes()),
            O::Label { target, label } => mounts::label(self.root()?, target, label),
            O::Mask { target } => mounts::mask(self.root()?, target),
            O::Freeze { target } => mounts::freeze(self.root()?, target),
            O::FreezeRoot => root::freeze(),
            O::Pause { .. } => self.pause(),
            O::Enter => root::enter(self.root()?),
            O::Hide { path } => root::hide(path),
            other => self.perform_last(other),
        }
    }

    /// What is done once the root stands.
    fn perform_last(&mut self, operation: &Operation) -> Result<(), Errno> {
        use Operation as O;
        match operation {
            O::Rlimit { resource, soft, hard } => identity::limit(*resource, *soft, *hard),
            O::OomScoreAdj { score } => identity::oom_score_adj(*score),
            O::Chdir { path, create } => place::change_directory(path, *create),
            O::Umask { mask } => {
                rustix::process::umask(rustix::fs::Mode::from_raw_mode(*mask));
                Ok(())
            }
            O::Bounding { keep } => identity::bound(*keep),
            O::Become { uid, gid, groups } => {
                self.give_streams(*uid);
                identity::become_user(*uid, *gid, groups)
            }
            O::Capabilities { effective, permitted, inheritable, ambient } => {
                identity::capabilities(*effective, *permitted, *inheritable, *ambient)?;
                identity::die_with_shim()
            }
            O::NoNewPrivileges => rustix::thread::set_no_new_privs(true),
            O::Seccomp { program, flags } => orlop_sys::security::set_filter(program, *flags),
            O::Session => rustix::process::setsid().map(drop),
            O::Attribute { name, value } => identity::attribute(name, value),
            O::Keyring { name } => orlop_sys::security::join_session_keyring(name),
            O::Execute { candidates, .. } => self.execute(candidates),
            O::Restore { program, .. } => self.restore(program),
            // All others were performed by the caller of this.
            _ => Err(Errno::INVAL),
        }
    }

    /// Says that hooks are due, and waits until they have been run.
    fn pause(&self) -> Result<(), Errno> {
        rustix::io::write(self.report, PAUSED)?;
        match rustix::io::read(self.report, &mut [0; 1]) {
            Ok(1) => Ok(()),
            Ok(_) => Err(Errno::CANCELED),
            Err(errno) => Err(errno),
        }
    }

    fn root(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.root.as_ref().map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    fn prepared(&self, number: u32) -> Result<BorrowedFd<'_>, Errno> {
        self.prepared.get(number as usize).map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    /// The new process goes on; this one says who that is, and ends.
    fn again(&self, kinds: u64) -> Result<(), Errno> {
        match birth::clone(kinds | u64::from(libc::CLONE_PARENT.cast_unsigned()), None)? {
            birth::Born::Child => identity::die_with_shim(),
            birth::Born::Parent(pid, pidfd) => {
                let mut message = *AGAIN;
                message[1..].copy_from_slice(&pid.to_ne_bytes());
                terminal::send(self.report, &message, pidfd.as_fd())?;
                birth::leave(0)
            }
        }
    }

    fn slot(&self, number: u32) -> Result<BorrowedFd<'_>, Errno> {
        self.slots.get(number as usize).map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    fn open_terminal(&mut self, console: bool, rows: u16, columns: u16) -> Result<(), Errno> {
        let (master, own) = terminal::open(self.root.as_ref().map(AsFd::as_fd), rows, columns)?;
        if console {
            terminal::bind_console(self.root()?, own.as_fd())?;
        }
        terminal::send(self.report, b"t", master.as_fd())?;
        self.terminal = Some(own);
        Ok(())
    }

    /// Makes its pipes and its terminal the user's: a program that is not root's may then open `/dev/stdout` anew. A device like
    /// /dev/null is everybody's and stays. Where it cannot be, it is as without.
    fn give_streams(&self, uid: u32) {
        let is_pipe = |stream: BorrowedFd<'_>| {
            let stat = rustix::fs::fstat(stream);
            stat.is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_fifo())
        };
        let pipes = self.stdio.into_iter().flatten().filter(|stream| is_pipe(*stream));
        for stream in pipes.chain(self.terminal.as_ref().map(AsFd::as_fd)) {
            let _ = rustix::fs::fchown(stream, Some(rustix::process::Uid::from_raw(uid)), None);
        }
    }

    /// The container's streams where whoever restores it looks for them, then that program, on the host.
    fn restore(&self, program: &CStr) -> Result<(), Errno> {
        orlop_sys::process::close_on_exec_from(3)?;
        let stdio = self.terminal.as_ref().map(|own| [own.as_fd(); 3]).or(self.stdio);
        for (stream, number) in stdio.into_iter().flatten().zip(RESTORE_STREAMS) {
            let kept = rustix::io::fcntl_dupfd_cloexec(stream, number)?;
            if kept.as_raw_fd() != number {
                return Err(Errno::BADF);
            }
            rustix::io::fcntl_setfd(&kept, rustix::io::FdFlags::empty())?;
            // Its number is what the program is told of.
            std::mem::forget(kept);
        }
        orlop_sys::signal::reset();
        Err(birth::execute(program, &self.program.arguments, &self.program.environment))
    }

    /// Descriptors in place, signals as a program expects them, then the first candidate that is there.
    fn execute(&self, candidates: &[std::ffi::CString]) -> Result<(), Errno> {
        if let Some(own) = &self.terminal {
            rustix::process::ioctl_tiocsctty(own)?;
        }
        let stdio = self.terminal.as_ref().map(|own| [own.as_fd(); 3]).or(self.stdio);
        if let Some([input, output, error]) = stdio {
            rustix::stdio::dup2_stdin(input)?;
            rustix::stdio::dup2_stdout(output)?;
            rustix::stdio::dup2_stderr(error)?;
        }
        orlop_sys::process::close_on_exec_from(3)?;
        orlop_sys::signal::reset();
        let mut worst = Errno::NOENT;
        for candidate in candidates {
            match birth::execute(candidate, &self.program.arguments, &self.program.environment) {
                Errno::NOENT | Errno::NOTDIR => {}
                // Remembered: a later directory of PATH may have one that may be run.
                Errno::ACCESS => worst = Errno::ACCESS,
                errno => return Err(errno),
            }
        }
        Err(worst)
    }
}
