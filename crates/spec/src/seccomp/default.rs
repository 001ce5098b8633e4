//! The profile of `RuntimeDefault`: what containers may call where nobody says otherwise.
//!
//! It allows what the profiles of other container engines allow, so a program that runs there runs here: everything but what
//! reaches beyond the container (mounts, modules, keyrings, tracing of the kernel, io_uring, user faults, clocks), each of that with
//! the capability that the kernel asks for it. Two points are ours: socket families are compared by the 32 bits that the kernel
//! looks at, and the address families that nobody has a use for in a container but whose bugs reach the kernel (`AF_ALG`) or the
//! hypervisor (`AF_VSOCK`) stay refused whatever the upper bits are.
//!
//! *Invariant:* the table is the whole truth: what is not in it gets EPERM, or ENOSYS if it is newer than the table.

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArgBuilder, LinuxSeccompOperator as Operator,
    LinuxSyscall,
};

use super::table::Arch;
use crate::capability;

/// Allowed for everyone, by what they are about.
const ALLOWED: &[&str] = &[
    // Opening, reading, writing, closing.
    "open openat openat2 creat close close_range read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2",
    "lseek _llseek dup dup2 dup3 fcntl fcntl64 ioctl flock pipe pipe2 sendfile sendfile64 splice tee vmsplice copy_file_range",
    "sync syncfs fsync fdatasync sync_file_range readahead fadvise64 fadvise64_64 fallocate truncate truncate64 ftruncate",
    "ftruncate64 cachestat memfd_create memfd_secret",
    // Names, directories, what files are.
    "access faccessat faccessat2 stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx statfs statfs64 fstatfs",
    "fstatfs64 statmount listmount getdents getdents64 getcwd chdir fchdir mkdir mkdirat rmdir mknod mknodat link linkat symlink",
    "symlinkat readlink readlinkat rename renameat renameat2 unlink unlinkat umask name_to_handle_at",
    "chmod fchmod fchmodat fchmodat2 chown chown32 lchown lchown32 fchown fchown32 fchownat",
    "utime utimes futimesat utimensat utimensat_time64",
    "getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat listxattr llistxattr flistxattr listxattrat",
    "removexattr lremovexattr fremovexattr removexattrat",
    "inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark",
    // Waiting for many things.
    "select _newselect pselect6 pselect6_time64 poll ppoll ppoll_time64 epoll_create epoll_create1 epoll_ctl epoll_ctl_old",
    "epoll_wait epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2 signalfd signalfd4",
    "io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents io_pgetevents_time64",
    // Memory.
    "brk mmap mmap2 munmap mremap mprotect madvise msync mincore mlock mlock2 mlockall munlock munlockall remap_file_pages",
    "pkey_alloc pkey_free pkey_mprotect mseal map_shadow_stack membarrier process_mrelease",
    // Processes and threads; clone has rules of its own below.
    "fork vfork execve execveat exit exit_group wait4 waitid waitpid getpid getppid gettid getpgid getpgrp getsid setpgid setsid",
    "set_tid_address set_thread_area get_thread_area set_robust_list get_robust_list rseq prctl pause uretprobe",
    "futex futex_time64 futex_waitv futex_wait futex_wake futex_requeue restart_syscall",
    "pidfd_open pidfd_send_signal process_vm_readv process_vm_writev ptrace",
    "sched_yield sched_getaffinity sched_setaffinity sched_getparam sched_setparam sched_getscheduler sched_setscheduler",
    "sched_getattr sched_setattr sched_get_priority_max sched_get_priority_min sched_rr_get_interval",
    "sched_rr_get_interval_time64 getpriority setpriority ioprio_get ioprio_set getcpu",
    "getrlimit ugetrlimit setrlimit prlimit64 getrusage times sysinfo uname",
    // Who one is, and what one gives up.
    "getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32 getresgid getresgid32",
    "setuid setuid32 setreuid setreuid32 setresuid setresuid32 setfsuid setfsuid32",
    "setgid setgid32 setregid setregid32 setresgid setresgid32 setfsgid setfsgid32 getgroups getgroups32 setgroups setgroups32",
    "capget capset seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self getrandom",
    "lsm_get_self_attr lsm_set_self_attr lsm_list_modules",
    // Signals.
    "kill tkill tgkill sigaltstack sigprocmask sigreturn rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn",
    "rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo",
    // Time.
    "time gettimeofday clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64",
    "nanosleep alarm getitimer setitimer adjtimex clock_adjtime clock_adjtime64",
    "timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64",
    "timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64",
    // Sockets; socket itself has rules of its own below.
    "socketcall socketpair bind listen accept accept4 connect shutdown getsockname getpeername getsockopt setsockopt",
    "send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64",
    // System V IPC and POSIX message queues: in the container's own namespace.
    "ipc msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget",
    "mq_open mq_unlink mq_notify mq_getsetattr mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64",
];

/// Allowed on some architectures only.
const ALLOWED_ON: &[(Arch, &str)] = &[
    (Arch::X86_64, "arch_prctl modify_ldt"),
    (Arch::X86, "modify_ldt"),
    (Arch::X32, "arch_prctl modify_ldt"),
    (Arch::Aarch64, "sync_file_range2"),
];

/// Allowed for who has the capability.
const ALLOWED_WITH: &[(&str, &str)] = &[
    ("DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount",
    ),
    (
        "SYS_ADMIN",
        "open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("SYS_BOOT", "reboot"),
    ("SYS_CHROOT", "chroot"),
    ("SYS_MODULE", "delete_module init_module finit_module"),
    ("SYS_PACCT", "acct"),
    ("SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    ("SYS_RAWIO", "iopl ioperm"),
    ("SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("SYS_TTY_CONFIG", "vhangup"),
    ("SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("SYSLOG", "syslog"),
    ("BPF", "bpf"),
    ("PERFMON", "perf_event_open"),
];

/// Execution domains of personality(2) that are harmless: Linux itself, 32-bit Linux, each with `UNAME26` or without, and the
/// question which one it is.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// `CLONE_NEW*` of clone(2): namespaces are for who may administrate.
const NEW_NAMESPACES: u64 = 0x7e02_0000;

/// Socket families that socket(2) refuses: `AF_ALG`, `AF_VSOCK`.
const REFUSED_FAMILIES: [u64; 2] = [38, 40];
/// The last family that the kernel knows: `AF_MCTP`.
const LAST_FAMILY: u64 = 45;

/// `ENOSYS`.
const ENOSYS: u32 = 38;

/// The default profile for a process whose bounding set is `capabilities`, on a kernel of architecture `native`.
#[must_use]
pub fn profile(capabilities: u64, native: Arch) -> LinuxSeccomp {
    let has = |name: &str| capability::bit(name).is_some_and(|bit| capabilities & bit != 0);
    let mut names = words(ALLOWED.iter().copied());
    names.extend(words(
        ALLOWED_WITH.iter().filter(|(capability, _)| has(capability)).map(|(_, names)| *names),
    ));
    // By name the sister architectures' calls are the same; one that an architecture lacks is nothing there.
    names.extend(words(ALLOWED_ON.iter().filter(|(arch, _)| *arch == native).map(|(_, names)| *names)));
    let mut rules = vec![rule(names, Action::ScmpActAllow, None)];
    let allow =
        |name: &str, mask, value| rule(vec![name.to_owned()], Action::ScmpActAllow, Some((mask, value)));
    let families = (0..=LAST_FAMILY).filter(|family| !REFUSED_FAMILIES.contains(family));
    rules.extend(families.map(|family| allow("socket", u64::from(u32::MAX), family)));
    rules.extend(PERSONALITIES.iter().map(|value| allow("personality", u64::MAX, *value)));
    if !has("SYS_ADMIN") {
        rules.push(allow("clone", NEW_NAMESPACES, 0));
        // Its flags lie in memory, where no filter looks: the C library is told to fall back to clone.
        let mut clone3 = rule(vec!["clone3".to_owned()], Action::ScmpActErrno, None);
        clone3.set_errno_ret(Some(ENOSYS));
        rules.push(clone3);
    }
    let mut profile = LinuxSeccomp::default();
    profile
        .set_default_action(Action::ScmpActErrno)
        .set_default_errno_ret(Some(1))
        .set_architectures(Some(native.compatible().iter().map(|arch| arch.oci()).collect()))
        .set_flags(None)
        .set_syscalls(Some(rules));
    profile
}

fn words<'a>(lists: impl Iterator<Item = &'a str>) -> Vec<String> {
    lists.flat_map(str::split_ascii_whitespace).map(str::to_owned).collect()
}

fn rule(names: Vec<String>, action: Action, masked: Option<(u64, u64)>) -> LinuxSyscall {
    let argument = |(mask, value)| {
        let builder = LinuxSeccompArgBuilder::default().index(0_usize);
        // Full masks are plain equality: the shorter form for whoever reads the spec.
        let builder = if mask == u64::MAX {
            builder.op(Operator::ScmpCmpEq).value(value)
        } else {
            builder.op(Operator::ScmpCmpMaskedEq).value(mask).value_two(value)
        };
        vec![builder.build().expect("invariant: every field of an argument has a default")]
    };
    let mut rule = LinuxSyscall::default();
    rule.set_names(names).set_action(action).set_args(masked.map(argument));
    rule
}
