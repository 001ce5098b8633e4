//! A container as a flat list of kernel operations, in the order in which they are carried out.
//!
//! *Invariant:* plain data. Everything is resolved: the shim looks up no name, chooses no default, computes nothing. What may not
//! come before what is checked by [`crate::order`] where a plan is made.
//!
//! Paths under the container's root are relative to it, without a leading slash, and are resolved inside it (`RESOLVE_IN_ROOT`);
//! all others are paths of the host. *Slots* are descriptors that the launcher hands to the shim: the pod's namespaces, its
//! `/dev/shm`; a plan names them by their position.

use std::ffi::CString;

use crate::code::wire;
use crate::hook::{Hooks, Point};

mod bind;
mod name;
mod preparation;
mod runtime;

pub use bind::BindHow;
pub use preparation::{OwnLayer, Preparation};
pub use runtime::{Handover, Runtime};

wire! {
/// Everything that a shim has to know of its container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// [`crate::VERSION`] of whoever made it.
    pub version: u16,
    /// The container's id.
    pub container: String,
    /// Namespaces that the clone makes: `CLONE_NEW*` of clone(2).
    pub clone_flags: u64,
    /// A PID namespace to be born in, where the clone makes none.
    pub pid_slot: Option<u32>,
    /// How many slots the plan speaks of.
    pub slots: u32,
    /// `tasks` files (cgroup v1) by which the shim leaves whatever cgroup it was started in; it is in no pod's in any case.
    pub shim_cgroups: Vec<CString>,
    /// Made by the shim before the clone, removed by it after the container's end; the child enters them by operations.
    pub cgroups: Vec<Cgroup>,
    /// Directory of the unified hierarchy that the clone puts the child into, and whose `cgroup.kill` ends all of the container.
    pub unified: Option<CString>,
    /// Where an out-of-memory kill of the container is seen.
    pub oom: Oom,
    /// What the child does, from its birth to exec.
    pub operations: Vec<Operation>,
    /// Where its input comes from and its output goes.
    pub stdio: Stdio,
    /// The runtime of others that makes the container, if one does: then the program that ends `operations` is its first command.
    pub runtime: Option<Runtime>,
    /// Programs of others that are run at points of its life; mostly there are none.
    pub hooks: Option<Hooks>,
}}

wire! {
/// A directory of a cgroup hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    /// Its path; missing parents are made (and kept).
    pub directory: CString,
    /// Values to write once it is there, in this order.
    pub writes: Vec<CgroupWrite>,
    /// Whether it stays when the container has gone: a parent, which others share.
    pub keep: bool,
    /// Judges devices in it: eBPF, 8 bytes an instruction as `struct bpf_insn`; empty: nothing does. Of the unified hierarchy only.
    pub devices: Vec<u8>,
}}

wire! {
/// One value of a cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupWrite {
    /// File name in the directory.
    pub file: CString,
    /// What to write.
    pub value: CString,
    /// Whether the container may not run without it; `false` for what only some kernels have.
    pub required: bool,
}}

wire! {
/// Where an out-of-memory kill is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Oom {
    /// Nowhere: no memory controller.
    0 => Nowhere,
    /// cgroup v1: `oom_kill` in `memory.oom_control` of this directory.
    1 => V1 {
        /// The container's directory in the memory hierarchy.
        directory: CString,
    },
    /// cgroup v2: `oom_kill` in `memory.events` of this directory.
    2 => V2 {
        /// The container's directory.
        directory: CString,
    },
    /// The same of a unit of systemd, which takes the directory away as soon as nobody is in it; then in `memory.events` of the one
    /// above, which counts what is below.
    3 => Unit {
        /// The container's directory.
        directory: CString,
        /// The pod's.
        above: CString,
    },
}}

wire! {
/// Input and output of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stdio {
    /// Whether a terminal serves all three.
    pub terminal: bool,
    /// Whether stdin stays open for attaching; else it is `/dev/null`.
    pub stdin: bool,
    /// Whether stdin closes after the first attach.
    pub stdin_once: bool,
    /// The log file in CRI format; none: output is read and dropped.
    pub log: Option<CString>,
    /// Bytes that the log file may have until it is opened anew; what comes beyond is dropped and counted. 0: no such limit.
    pub log_cap: u64,
}}

wire! {
/// What a child can do to itself. One variant, one function in the shim, one manual page or two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// setns(2) into the namespace held in a slot.
    0 => Join {
        /// Which slot.
        slot: u32,
        /// `CLONE_NEW*` kind, or 0 for whatever it is.
        kind: u64,
    },
    /// setns(2) into these namespaces of the container's first process: how an exec gets in.
    1 => JoinContainer {
        /// `CLONE_NEW*` kinds.
        kinds: u64,
    },
    /// Enter a cgroup by writing 0 to its `tasks` (v1) or `cgroup.procs`.
    2 => EnterCgroup {
        /// The file's path.
        procs: CString,
    },
    /// unshare(2): the cgroup namespace is made once the child is in its cgroups.
    3 => Unshare {
        /// `CLONE_NEW*` kinds.
        flags: u64,
    },
    /// `mount_setattr(2)` of `/`, recursively, so that nothing made below travels to the host.
    4 => Propagation {
        /// `MS_SLAVE`, `MS_PRIVATE` or `MS_SHARED`.
        flags: u64,
    },
    /// Make the root: an overlay, known to this mount namespace only, attached at `place`.
    5 => Overlay {
        /// Layer directories of the host, the topmost first.
        lower: Vec<CString>,
        /// The container's own layer.
        upper: CString,
        /// overlayfs' scratch directory, on the filesystem of `upper`.
        work: CString,
        /// Whether it may be mounted without ever syncing the upper filesystem (overlayfs' `volatile`).
        volatile: bool,
        /// Directory of the host where it is attached until [`Operation::Enter`].
        place: CString,
    },
    /// Make the root of a directory of the host: what OCI bundles have.
    6 => Directory {
        /// The directory.
        source: CString,
        /// Directory of the host where it is attached until [`Operation::Enter`]; may be `source` itself.
        place: CString,
    },
    /// Mount a fresh filesystem at a path under the root, which is made if it is missing.
    7 => Mount {
        /// `proc`, `sysfs`, `tmpfs`, `devpts`, `mqueue`, `cgroup`, `cgroup2`, ...
        kind: CString,
        /// What /proc/self/mountinfo shows as its source.
        source: CString,
        /// Where, under the root.
        target: CString,
        /// `MOUNT_ATTR_*` of mount_setattr(2).
        attributes: u64,
        /// `fsconfig(2)` keys and values; a key without value is a flag.
        options: Vec<(CString, Option<CString>)>,
    },
    /// Bind a path of the host at a path under the root, which is made (file or directory, like the source) if it is missing.
    8 => Bind {
        /// Host path; its last symlink is followed.
        source: CString,
        /// Where, under the root.
        target: CString,
        /// How.
        how: BindHow,
    },
    /// Bind what a slot holds (a detached mount, or an open file or directory) at a path under the root.
    9 => BindSlot {
        /// Which slot.
        slot: u32,
        /// Where, under the root.
        target: CString,
        /// How.
        how: BindHow,
    },
    /// Bind a directory of the container's own root elsewhere under it: the cgroup v1 links of `/sys/fs/cgroup`, for one.
    10 => Symlink {
        /// Where, under the root.
        at: CString,
        /// What it says.
        to: CString,
    },
    /// mknod(2) under the root, as a device, with mode and owner.
    11 => Device {
        /// Where, under the root.
        target: CString,
        /// `S_IFCHR`, `S_IFBLK` or `S_IFIFO` with permission bits.
        mode: u32,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// Make a directory under the root, with its parents, unless it is there.
    12 => MakeDirectory {
        /// Where, under the root.
        target: CString,
        /// Permission bits.
        mode: u32,
    },
    /// Open a terminal in the container's devpts, send its master to the shim, make the other end stdin, stdout, stderr and the
    /// controlling terminal; with `console`, bind it at /dev/console too (before [`Operation::Enter`] only).
    13 => Terminal {
        /// Whether /dev/console is made.
        console: bool,
        /// Rows and columns, 0 for unknown.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// Write a value below the mounted /proc/sys, as the sysctl of the pod's or container's namespaces.
    14 => Sysctl {
        /// Path under /proc/sys, with slashes.
        name: CString,
        /// The value.
        value: CString,
    },
    /// sethostname(2).
    15 => Hostname {
        /// The name.
        name: CString,
    },
    /// setdomainname(2).
    16 => Domainname {
        /// The name.
        name: CString,
    },
    /// Cover a path under the root: a file by /dev/null, a directory by an empty read-only tmpfs. A path that is not there is left.
    17 => Mask {
        /// Where, under the root.
        target: CString,
    },
    /// Make a path under the root read-only, with what is mounted below it as it is. A path that is not there is left.
    18 => Freeze {
        /// Where, under the root.
        target: CString,
    },
    /// Make the root mount itself read-only, the mounts on it as they are.
    19 => FreezeRoot,
    /// Make the root the root and let go of the host's mounts: pivot_root(2).
    20 => Enter,
    /// The root's propagation, once entered: `MS_*` flags with `MS_REC` or not.
    21 => RootPropagation {
        /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`, each with `MS_REC` or without.
        flags: u64,
    },
    /// setrlimit(2).
    22 => Rlimit {
        /// `RLIMIT_*`.
        resource: u32,
        /// Soft limit.
        soft: u64,
        /// Hard limit.
        hard: u64,
    },
    /// Write `oom_score_adj` of proc(5), by way of the host's /proc, before [`Operation::Enter`].
    23 => OomScoreAdj {
        /// -1000 to 1000.
        score: i32,
    },
    /// chdir(2) inside the root; after it getcwd(2) must lie inside.
    24 => Chdir {
        /// Absolute, in the container.
        path: CString,
        /// Whether it is made if it is missing.
        create: bool,
    },
    /// umask(2).
    25 => Umask {
        /// The mask.
        mask: u32,
    },
    /// Drop capabilities from the bounding set: prctl(2), `PR_CAPBSET_DROP`.
    26 => Bounding {
        /// Mask of those that stay; bit n is capability n of capabilities(7).
        keep: u64,
    },
    /// setgroups(2), setresgid(2), setresuid(2); capabilities survive it until [`Operation::Capabilities`].
    27 => Become {
        /// User id, in the container's user namespace.
        uid: u32,
        /// Group id.
        gid: u32,
        /// Supplementary groups.
        groups: Vec<u32>,
    },
    /// capset(2), and the ambient set by prctl(2).
    28 => Capabilities {
        /// Effective.
        effective: u64,
        /// Permitted.
        permitted: u64,
        /// Inheritable.
        inheritable: u64,
        /// Ambient.
        ambient: u64,
    },
    /// prctl(2), `PR_SET_NO_NEW_PRIVS`.
    29 => NoNewPrivileges,
    /// seccomp(2), `SECCOMP_SET_MODE_FILTER`.
    30 => Seccomp {
        /// Classic BPF, 8 bytes an instruction as `struct sock_filter`.
        program: Vec<u8>,
        /// `SECCOMP_FILTER_FLAG_*`.
        flags: u32,
    },
    /// execve(2) of the first of `candidates` that is there. Always last.
    31 => Execute {
        /// Paths in the container, tried in order while the error is ENOENT, EACCES or ENOTDIR.
        candidates: Vec<CString>,
        /// Arguments, the first one being the program's name as it was asked for.
        arguments: Vec<CString>,
        /// `NAME=value`.
        environment: Vec<CString>,
    },
    /// setsid(2).
    32 => Session,
    /// keyctl(2), `KEYCTL_JOIN_SESSION_KEYRING`: a keyring of its own.
    33 => Keyring {
        /// Its name.
        name: CString,
    },
    /// An overlay of directories of the host, with nothing to write to, at a path under the root, which is made if it is missing:
    /// what a volume of an image is.
    34 => Layers {
        /// The topmost first; two at least.
        lower: Vec<CString>,
        /// Where, under the root.
        target: CString,
        /// `MOUNT_ATTR_*` of `mount_setattr(2)`; of the first four alone.
        attributes: u64,
    },
    /// Make ready what needs the node's privileges, before the child is cloned: in a user namespace it has them no longer. What comes
    /// of it is a *tree*, a detached mount, where [`Preparation::is_tree`] says so; trees are numbered in the order of the list.
    35 => Prepare {
        /// What.
        what: Preparation,
    },
    /// Bind a tree at a path under the root, which is made (file or directory, like the tree) if it is missing.
    36 => Put {
        /// Which tree.
        tree: u32,
        /// Where, under the root.
        target: CString,
        /// How; of it `recursive` and `create_source` mean nothing here.
        how: BindHow,
    },
    /// Make the root of a tree.
    37 => PutRoot {
        /// Which tree.
        tree: u32,
        /// Directory of the host where it is attached until [`Operation::Enter`].
        place: CString,
    },
    /// Clone once more, into fresh namespaces of these kinds, as a child of the shim: it goes on with what follows in the list, and
    /// whoever made it ends. So namespaces are owned by a user namespace that was joined (user_namespaces(7)).
    38 => Again {
        /// `CLONE_NEW*` kinds.
        flags: u64,
    },
    /// Become root of the user namespace that was joined: until then the process is the node's root, which that namespace does not
    /// know, and what it makes would be nobody's.
    39 => BecomeRoot,
    /// Write one of the process's security attributes (`proc_pid_attr(5)`), by way of the host's /proc: what a program is confined by
    /// from the next execve(2) on, for one.
    40 => Attribute {
        /// File below `/proc/thread-self/attr`: `apparmor/exec`, `exec`.
        name: CString,
        /// What is written.
        value: CString,
    },
    /// Say that hooks are due, and wait until all up to this point have been run: who pauses is killed where one of them fails.
    45 => Pause {
        /// Up to which.
        until: Point,
    },
    /// The SELinux context that all files of overlays have that are mounted afterwards: the root, images.
    41 => MountContext {
        /// The context.
        label: CString,
    },
    /// Set the SELinux context of a path under the root: lsetxattr(2), `security.selinux`.
    42 => Label {
        /// Where, under the root.
        target: CString,
        /// The context.
        label: CString,
    },
    /// umount2(2), `MNT_DETACH`, of a path of the host, in a mount namespace of the child's own: what a runtime of others is not to see.
    57 => Hide {
        /// Where; a path at which nothing is mounted is left.
        path: CString,
    },
    /// Bind the namespace that a slot holds at a path under the root: where a runtime of others finds it.
    58 => BindNamespace {
        /// Which slot.
        slot: u32,
        /// Where, under the root.
        target: CString,
    },
    /// execve(2) of CRIU, outside of the root that was made: it restores processes under that root, the first of them as a child of
    /// the shim, and ends. Instead of everything from [`Operation::Enter`] on; always last. The container's streams are its
    /// descriptors [`RESTORE_STREAMS`], its own are /dev/null.
    53 => Restore {
        /// The program, a path of the host.
        program: CString,
        /// Its arguments, the first one being its name.
        arguments: Vec<CString>,
        /// `NAME=value`.
        environment: Vec<CString>,
        /// Path of the host where it leaves the number of the container's first process, once it has ended well.
        pid_file: CString,
    },
}}

/// The numbers that the container's stdin, stdout and stderr have in a program that restores it.
pub const RESTORE_STREAMS: [i32; 3] = [100, 101, 102];

impl Plan {
    /// Whether the container has a PID namespace of its own.
    #[must_use]
    pub fn makes_pid_namespace(&self) -> bool {
        // CLONE_NEWPID of clone(2).
        const PID: u64 = 0x2000_0000;
        let again = self.operations.iter().map(|operation| match operation {
            Operation::Again { flags } => *flags,
            _ => 0,
        });
        again.fold(self.clone_flags, |all, flags| all | flags) & PID != 0
    }
}
