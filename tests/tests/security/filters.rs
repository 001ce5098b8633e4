//! The default filter, by system calls that are really made: what it lets through gets the kernel's own answer, what it refuses gets
//! the filter's.
//!
//! Each call is made in four containers: with the usual capabilities and with all that the daemon has, each with the runtime's filter
//! and without one. What is expected is written down by hand here, from the profile that container engines have in common.
//!
//! *Invariant:* a row tells something only where the two answers differ; the test counts how many do.

use orlop_proto::runtime::v1::security_profile::ProfileType;
use orlop_proto::runtime::v1::{Capability, Mount, SecurityProfile};
use orlop_tests::daemon::stage::{Stage, security};

use crate::outside::Outside;
use crate::probe::{Call, Door, program, results};

const EPERM: i64 = -1;
const ENOSYS: i64 = -38;

/// Who may make a call.
#[derive(Clone, Copy)]
enum Who {
    /// Everybody.
    All,
    /// Nobody.
    None,
    /// Whoever has the capability of this number (capabilities(7)).
    With(u32),
    /// The same, and others are told that there is no such call.
    OrAbsent(u32),
    /// Nobody; there is no such call, they are told.
    Absent,
}

use Who::{Absent, All, None, OrAbsent, With};

const READ_SEARCH: u32 = 2;
const MODULE: u32 = 16;
const RAWIO: u32 = 17;
const CHROOT: u32 = 18;
const PTRACE: u32 = 19;
const PACCT: u32 = 20;
const ADMIN: u32 = 21;
const BOOT: u32 = 22;
const NICE: u32 = 23;
const TIME: u32 = 25;

/// What every engine grants a container that says nothing.
const USUAL: u64 = 0xa804_25fb;

/// Any first argument: the calls refuse it.
const ANY: u64 = u64::MAX;

/// 64-bit calls: name, number, first argument, who may.
const CALLS: &[(&str, u32, u64, Who)] = &[
    ("read", 0, ANY, All),
    ("open", 2, ANY, All),
    ("getuid", 102, ANY, All),
    ("ptrace", 101, ANY, All),
    ("process_vm_readv", 310, ANY, All),
    ("name_to_handle_at", 303, ANY, All),
    ("landlock_create_ruleset", 444, ANY, All),
    ("memfd_create", 319, ANY, All),
    ("fanotify_mark", 301, ANY, All),
    ("seccomp", 317, 99, All),
    ("socket INET", 41, 2, All),
    ("socket NETLINK", 41, 16, All),
    ("socket ALG", 41, 38, None),
    ("socket KCM", 41, 41, All),
    ("socket VSOCK", 41, 40, None),
    ("socket ALG in 32 bits", 41, 0x1_0000_0026, None),
    ("clone SIGHAND", 56, 0x800, All),
    ("clone NEWNS", 56, 0x2_0200, With(ADMIN)),
    ("clone NEWUSER", 56, 0x1000_0a00, With(ADMIN)),
    ("clone3", 435, ANY, OrAbsent(ADMIN)),
    ("personality, which", 135, 0xffff_ffff, All),
    ("personality Linux", 135, 0, All),
    ("personality without random addresses", 135, 0x4_0000, None),
    ("unshare", 272, ANY, With(ADMIN)),
    ("setns", 308, ANY, With(ADMIN)),
    ("mount", 165, ANY, With(ADMIN)),
    ("umount2", 166, ANY, With(ADMIN)),
    ("fsopen", 430, ANY, With(ADMIN)),
    ("open_tree", 428, ANY, With(ADMIN)),
    ("move_mount", 429, ANY, With(ADMIN)),
    ("mount_setattr", 442, ANY, With(ADMIN)),
    ("fanotify_init", 300, ANY, With(ADMIN)),
    ("sethostname", 170, ANY, With(ADMIN)),
    ("syslog", 103, ANY, With(ADMIN)),
    ("quotactl", 179, ANY, With(ADMIN)),
    ("bpf", 321, ANY, With(ADMIN)),
    ("perf_event_open", 298, ANY, With(ADMIN)),
    ("pivot_root", 155, ANY, None),
    ("chroot", 161, ANY, With(CHROOT)),
    ("open_by_handle_at", 304, ANY, With(READ_SEARCH)),
    ("delete_module", 176, ANY, With(MODULE)),
    ("finit_module", 313, ANY, With(MODULE)),
    ("iopl", 172, ANY, With(RAWIO)),
    ("ioperm", 173, ANY, With(RAWIO)),
    ("kcmp", 312, ANY, With(PTRACE)),
    ("pidfd_getfd", 438, ANY, With(PTRACE)),
    ("process_madvise", 440, ANY, With(PTRACE)),
    ("acct", 163, ANY, With(PACCT)),
    ("reboot", 169, ANY, With(BOOT)),
    ("get_mempolicy", 239, ANY, With(NICE)),
    ("mbind", 237, ANY, With(NICE)),
    ("set_mempolicy", 238, ANY, With(NICE)),
    ("settimeofday", 164, ANY, With(TIME)),
    ("clock_settime", 227, ANY, With(TIME)),
    ("keyctl", 250, ANY, None),
    ("add_key", 248, ANY, None),
    ("request_key", 249, ANY, None),
    ("userfaultfd", 323, ANY, None),
    ("io_uring_setup", 425, ANY, None),
    ("io_uring_enter", 426, ANY, None),
    ("io_uring_register", 427, ANY, None),
    ("swapon", 167, ANY, None),
    ("swapoff", 168, ANY, None),
    ("move_pages", 279, ANY, None),
    ("migrate_pages", 256, ANY, None),
    ("nfsservctl", 180, ANY, None),
    ("uselib", 134, ANY, None),
    ("ustat", 136, ANY, None),
    ("sysfs", 139, ANY, None),
    ("_sysctl", 156, ANY, None),
    ("a number between", 400, ANY, None),
    ("a number beyond", 1000, ANY, Absent),
];

/// 32-bit calls, by their own numbers.
const CALLS_32: &[(&str, u32, u64, Who)] = &[
    ("read", 3, 0xffff_ffff, All),
    ("getuid", 24, 0, All),
    ("chroot", 61, 0xffff_ffff, With(CHROOT)),
    ("ptrace", 26, 0xffff_ffff, All),
    ("socketcall socket", 102, 1, All),
    ("ipc", 117, 99, All),
    ("socket INET", 359, 2, All),
    ("socket ALG", 359, 38, None),
    ("socket VSOCK", 359, 40, None),
    ("clone SIGHAND", 120, 0x800, All),
    ("clone NEWNS", 120, 0x2_0200, With(ADMIN)),
    ("clone3", 435, 0xffff_ffff, OrAbsent(ADMIN)),
    ("personality without random addresses", 136, 0x4_0000, None),
    ("mount", 21, 0xffff_ffff, With(ADMIN)),
    ("umount", 22, 0xffff_ffff, With(ADMIN)),
    ("umount2", 52, 0xffff_ffff, With(ADMIN)),
    ("unshare", 310, 0xffff_ffff, With(ADMIN)),
    ("setns", 346, 0xffff_ffff, With(ADMIN)),
    ("bpf", 357, 0xffff_ffff, With(ADMIN)),
    ("stime", 25, 0xffff_ffff, With(TIME)),
    ("settimeofday", 79, 0xffff_ffff, With(TIME)),
    ("clock_settime64", 404, 0xffff_ffff, With(TIME)),
    ("iopl", 110, 0xffff_ffff, With(RAWIO)),
    ("ioperm", 101, 0xffff_ffff, With(RAWIO)),
    ("reboot", 88, 0xffff_ffff, With(BOOT)),
    ("delete_module", 129, 0xffff_ffff, With(MODULE)),
    ("swapon", 87, 0xffff_ffff, None),
    ("keyctl", 288, 0xffff_ffff, None),
    ("add_key", 286, 0xffff_ffff, None),
    ("userfaultfd", 374, 0xffff_ffff, None),
    ("io_uring_setup", 425, 0xffff_ffff, None),
    ("vm86old", 113, 0xffff_ffff, None),
    ("vm86", 166, 0xffff_ffff, None),
    ("nfsservctl", 169, 0xffff_ffff, None),
    ("a number beyond", 1000, 0xffff_ffff, Absent),
];

/// Calls of x32, by the numbers that they have beyond the bit: most kernels have none of them, and say so.
const CALLS_X32: &[(&str, u32, u64, Who)] = &[
    ("read", 0, ANY, All),
    ("socket INET", 41, 2, All),
    ("socket ALG", 41, 38, None),
    ("mount", 165, ANY, With(ADMIN)),
    ("unshare", 272, ANY, With(ADMIN)),
    ("keyctl", 250, ANY, None),
    ("io_uring_setup", 425, ANY, None),
];

/// What the filter says; none: nothing, the kernel answers.
fn verdict(who: Who, capabilities: u64) -> Option<i64> {
    let has = |number: u32| capabilities >> number & 1 == 1;
    match who {
        All => Option::None,
        None => Some(EPERM),
        Absent => Some(ENOSYS),
        With(number) => (!has(number)).then_some(EPERM),
        OrAbsent(number) => (!has(number)).then_some(ENOSYS),
    }
}

#[tokio::test]
#[cfg(target_arch = "x86_64")]
async fn the_default_filter_answers_as_its_profile_says() {
    let mut stage = Stage::new("sec-calls").await;
    let own = Outside { pid: stage.daemon.pid().into() }.capabilities()[3];
    let rows: Vec<(String, Call, Who)> = [
        ("x86_64", Door::Syscall, 0, CALLS),
        ("x86", Door::Int80, 0, CALLS_32),
        ("x32", Door::Syscall, 0x4000_0000, CALLS_X32),
    ]
    .into_iter()
    .flat_map(|(arch, door, bit, calls)| {
        calls.iter().map(move |(name, number, first, who)| {
            (format!("{arch} {name}"), Call { door, number: bit | number, first: *first }, *who)
        })
    })
    .collect();
    let calls: Vec<Call> = rows.iter().map(|(_, call, _)| *call).collect();
    let file = stage.daemon.place().put("probe/probe", program(&calls));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&file, mode).expect("a program");
    let directory = file.parent().expect("its directory").display().to_string();
    let mut answers = Vec::new();
    for (name, all, filtered) in
        [("usual", false, true), ("all", true, true), ("usual-open", false, false), ("all-open", true, false)]
    {
        let mut config = stage.script(name, "exec sleep 1000");
        config.mounts.push(Mount {
            host_path: directory.clone(),
            container_path: "/probe".into(),
            readonly: true,
            ..Mount::default()
        });
        if all {
            let add = vec!["ALL".into()];
            security(&mut config).capabilities =
                Some(Capability { add_capabilities: add, ..Capability::default() });
        }
        if filtered {
            let profile_type = ProfileType::RuntimeDefault.into();
            security(&mut config).seccomp =
                Some(SecurityProfile { profile_type, ..SecurityProfile::default() });
        }
        let id = stage.start(&config).await;
        let answer = stage.client.exec(&id, &["/probe/probe"], 60).await.expect("exec");
        assert_eq!(answer.exit_code, 0, "{name}: {}", String::from_utf8_lossy(&answer.stderr));
        answers.push(results(&calls, &answer.stdout));
    }
    let mut told = 0;
    for (at, (name, _, who)) in rows.iter().enumerate() {
        for (which, capabilities) in [(0, USUAL), (1, own)] {
            let (filtered, open) = (answers[which][at], answers[which + 2][at]);
            match verdict(*who, capabilities) {
                Some(refused) => {
                    assert_eq!(filtered, refused, "{name} is refused; without a filter: {open}");
                    told += usize::from(refused != open);
                }
                Option::None => assert_eq!(filtered, open, "{name} is the kernel's to answer"),
            }
        }
    }
    println!("{told} refusals that the kernel would not have made");
    assert!(told >= 60, "{told} refusals only are seen to be the filter's");
    stage.end().await;
}
