//! An OCI seccomp section becomes classic BPF.
//!
//! ```text
//! load arch ── x86_64? ── load number ── x32 bit? ── tree over x32's ranges ─┐
//!     │                                     └─────── tree over x86_64's ─────┼── verdict, or the call's own block:
//!     └── x86? ────────── load number ────────────── tree over x86's ────────┘   load argument, compare, ..., verdict
//!     └── else: kill
//! ```
//! Neighbouring numbers with one verdict are one range, and ranges are found by halving, so a call takes a dozen instructions.
//!
//! *Invariant:* for each call the first rule whose conditions hold decides; a rule without conditions decides after all that have
//! some; no rule, and the default action does.

use std::collections::{BTreeMap, HashMap};

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompFilterFlag, LinuxSyscall};
use orlop_model::report::{Kind, Report};

use super::assemble::{AT_LEAST, Assembly, EQUAL, Instruction, Place, to_bytes};
use super::table::{Arch, X32_BIT};

mod condition;

use condition::{Condition, Test};

/// `SECCOMP_RET_KILL_PROCESS`, for calls of an architecture that the profile does not speak of.
const FOREIGN: u32 = 0x8000_0000;
/// `SECCOMP_RET_ERRNO | ENOSYS`.
const NO_SUCH_CALL: u32 = 0x0005_0026;
/// Largest errno that a filter may return: `MAX_ERRNO` of linux/err.h.
const MOST_ERRNO: u32 = 4095;
/// Offsets in `struct seccomp_data` (seccomp(2)).
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// A filter, ready for seccomp(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// Classic BPF, 8 bytes an instruction.
    pub program: Vec<u8>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
}

/// What is done with a call.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Call {
    /// Conditions that must all hold, and the verdict then; in order.
    when: Vec<(Vec<Condition>, u32)>,
    /// The verdict where none of them does, if there is a rule for that.
    otherwise: Option<u32>,
}

/// Compiles the profile for a kernel of architecture `native`.
///
/// # Errors
/// A [`Report`] naming what in the profile cannot be done.
pub fn compile(profile: &LinuxSeccomp, native: Arch) -> Result<Compiled, Report> {
    let program = instructions(profile, native)?;
    Ok(Compiled { program: to_bytes(&program), flags: flags(profile)? })
}

/// As [`compile`], as instructions.
pub(super) fn instructions(profile: &LinuxSeccomp, native: Arch) -> Result<Vec<Instruction>, Report> {
    if profile.listener_path().is_some() {
        return Err(unsupported("listenerPath", "no listener is told of calls"));
    }
    let default = verdict(profile.default_action(), profile.default_errno_ret())?;
    let mut calls = Vec::new();
    for arch in architectures(profile, native) {
        calls.push((arch, calls_of(profile, arch)?));
    }
    let mut assembly = Assembly::default();
    let entry = dispatch(&mut assembly, &calls, default, unknown(profile, default));
    assembly.finish(entry).ok_or_else(|| {
        Report::new(
            Kind::BadRequest,
            "seccomp profile",
            "",
            "takes more than the 4096 instructions that the kernel allows",
        )
    })
}

fn unsupported(what: &str, why: &str) -> Report {
    Report::new(Kind::Unsupported, "seccomp profile", what, why)
}

fn flags(profile: &LinuxSeccomp) -> Result<u32, Report> {
    let mut bits = 0;
    for flag in profile.flags().iter().flatten() {
        bits |= match flag {
            // One thread: there is nobody to be in step with.
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 0,
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => 1 << 1,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => 1 << 2,
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
                return Err(unsupported(
                    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
                    "no listener is told of calls",
                ));
            }
        };
    }
    Ok(bits)
}

/// Architectures of the profile that exist under this kernel; always the kernel's own, which comes first.
fn architectures(profile: &LinuxSeccomp, native: Arch) -> Vec<Arch> {
    let asked = profile.architectures().as_deref().unwrap_or_default();
    let wanted = |arch: &Arch| *arch == native || asked.contains(&arch.oci());
    native.compatible().iter().copied().filter(wanted).collect()
}

fn verdict(action: Action, errno: Option<u32>) -> Result<u32, Report> {
    let errno_given = errno.unwrap_or(1);
    if matches!(action, Action::ScmpActErrno | Action::ScmpActTrace) && errno_given > MOST_ERRNO {
        return Err(Report::new(
            Kind::BadRequest,
            "seccomp profile",
            format!("errnoRet {errno_given}"),
            "must be at most 4095",
        ));
    }
    match action {
        Action::ScmpActNotify => Err(unsupported("SCMP_ACT_NOTIFY", "no listener is told of calls")),
        Action::ScmpActTrap => Ok(0x0003_0000),
        Action::ScmpActErrno | Action::ScmpActTrace => Ok(action.as_u32(Some(errno_given))),
        Action::ScmpActKill
        | Action::ScmpActKillThread
        | Action::ScmpActKillProcess
        | Action::ScmpActLog
        | Action::ScmpActAllow => Ok(action.as_u32(None)),
    }
}

/// What a call gets that is newer than anything the profile speaks of: ENOSYS where it would be refused, so that a C library falls
/// back as it does on an older kernel.
fn unknown(profile: &LinuxSeccomp, default: u32) -> u32 {
    match profile.default_action() {
        Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace => default,
        Action::ScmpActKill
        | Action::ScmpActKillThread
        | Action::ScmpActKillProcess
        | Action::ScmpActTrap
        | Action::ScmpActErrno
        | Action::ScmpActNotify => NO_SUCH_CALL,
    }
}

/// What the profile says of each call of an architecture, by number.
fn calls_of(profile: &LinuxSeccomp, arch: Arch) -> Result<BTreeMap<u32, Call>, Report> {
    let mut calls: BTreeMap<u32, Call> = BTreeMap::new();
    for rule in profile.syscalls().iter().flatten() {
        let verdict = verdict(rule.action(), rule.errno_ret())?;
        let alternatives = alternatives(rule)?;
        for name in rule.names() {
            if let Some(number) = arch.number(name) {
                add(calls.entry(number).or_default(), &alternatives, verdict);
            }
            // 32-bit x86 has two doors to a socket: the call itself, and a number given to socketcall(2); likewise ipc(2).
            if arch == Arch::X86
                && alternatives.is_empty()
                && let Some((door, which)) = multiplexed(name)
                && let Some(number) = arch.number(door)
            {
                let condition =
                    Condition { argument: 0, test: Test::Equal { mask: u64::from(u32::MAX), value: which } };
                add(calls.entry(number).or_default(), &[vec![condition]], verdict);
            }
        }
    }
    Ok(calls)
}

fn add(call: &mut Call, alternatives: &[Vec<Condition>], verdict: u32) {
    if alternatives.is_empty() {
        call.otherwise.get_or_insert(verdict);
    } else {
        call.when.extend(alternatives.iter().map(|all| (all.clone(), verdict)));
    }
}

/// The rule's conditions: none, or alternatives of which one must hold. Conditions on different arguments must all hold; where one
/// argument stands twice each condition is an alternative of its own, as runc has always read it.
fn alternatives(rule: &LinuxSyscall) -> Result<Vec<Vec<Condition>>, Report> {
    let mut conditions = Vec::new();
    for argument in rule.args().iter().flatten() {
        let condition = Condition::of(argument).ok_or_else(|| {
            let what = format!("args of {}", rule.names().first().map_or("", String::as_str));
            Report::new(Kind::BadRequest, "seccomp profile", what, "index must be 0 to 5")
        })?;
        conditions.push(condition);
    }
    let twice =
        |at: usize, one: &Condition| conditions[..at].iter().any(|other| other.argument == one.argument);
    if conditions.iter().enumerate().any(|(at, one)| twice(at, one)) {
        return Ok(conditions.into_iter().map(|one| vec![one]).collect());
    }
    Ok(if conditions.is_empty() { Vec::new() } else { vec![conditions] })
}

/// The call behind which `name` hides on 32-bit x86, and its number there (linux/net.h, linux/ipc.h).
fn multiplexed(name: &str) -> Option<(&'static str, u64)> {
    const SOCKET: [&str; 20] = [
        "socket",
        "bind",
        "connect",
        "listen",
        "accept",
        "getsockname",
        "getpeername",
        "socketpair",
        "send",
        "recv",
        "sendto",
        "recvfrom",
        "shutdown",
        "setsockopt",
        "getsockopt",
        "sendmsg",
        "recvmsg",
        "accept4",
        "recvmmsg",
        "sendmmsg",
    ];
    const IPC: [(&str, u64); 12] = [
        ("semop", 1),
        ("semget", 2),
        ("semctl", 3),
        ("semtimedop", 4),
        ("msgsnd", 11),
        ("msgrcv", 12),
        ("msgget", 13),
        ("msgctl", 14),
        ("shmat", 21),
        ("shmdt", 22),
        ("shmget", 23),
        ("shmctl", 24),
    ];
    if let Some(at) = SOCKET.iter().position(|known| *known == name) {
        return Some(("socketcall", at as u64 + 1));
    }
    IPC.iter().find(|(known, _)| *known == name).map(|(_, which)| ("ipc", *which))
}

/// Where a range leads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Verdict(u32),
    Block(Place),
}

/// Numbers from here to the next range.
struct Range {
    from: u32,
    to: Target,
}

fn dispatch(
    assembly: &mut Assembly,
    calls: &[(Arch, BTreeMap<u32, Call>)],
    default: u32,
    unknown: u32,
) -> Place {
    let mut blocks = HashMap::new();
    let mut next = assembly.verdict(FOREIGN);
    let mut x32 = None;
    // Written backwards: the kernel's own architecture is the first of the list, so it is written last and asked first.
    for (arch, calls) in calls.iter().rev() {
        let ranges = ranges(assembly, &mut blocks, *arch, calls, default, unknown);
        let tree = tree(assembly, &ranges);
        let numbered = match arch {
            // Reached through its 64-bit sister, whose AUDIT_ARCH it has and which stands before it in the list.
            Arch::X32 => {
                x32 = Some(tree);
                continue;
            }
            Arch::X86_64 => {
                let x32 = x32.unwrap_or_else(|| assembly.verdict(FOREIGN));
                assembly.branch(AT_LEAST, X32_BIT, x32, tree)
            }
            Arch::X86 | Arch::Aarch64 => tree,
        };
        let here = assembly.load(NUMBER, u32::MAX, numbered);
        next = assembly.branch(EQUAL, arch.audit(), here, next);
    }
    assembly.load(ARCH, u32::MAX, next)
}

/// The ranges of an architecture, neighbours of one verdict put together.
fn ranges(
    assembly: &mut Assembly,
    blocks: &mut HashMap<Call, Place>,
    arch: Arch,
    calls: &BTreeMap<u32, Call>,
    default: u32,
    unknown: u32,
) -> Vec<Range> {
    let plain = |value| Call { when: Vec::new(), otherwise: Some(value) };
    let mut starts: Vec<(u32, Call)> = vec![(arch.base(), plain(default))];
    let mut put = |from: u32, call: Call| {
        if starts.last().is_some_and(|last| last.0 == from) {
            starts.pop();
        }
        starts.push((from, call));
    };
    for (&number, call) in calls {
        put(number, Call { otherwise: Some(call.otherwise.unwrap_or(default)), ..call.clone() });
        put(number + 1, plain(default));
    }
    if let Some((&last, _)) = calls.last_key_value() {
        put(last + 1, plain(unknown));
    }
    starts.dedup_by(|later, earlier| later.1 == earlier.1);
    let target = |(from, call): (u32, Call)| {
        let to = if call.when.is_empty() {
            Target::Verdict(call.otherwise.unwrap_or(default))
        } else {
            let write = || block(assembly, &call, default);
            Target::Block(blocks.get(&call).copied().unwrap_or_else(write))
        };
        if let Target::Block(place) = to {
            blocks.insert(call, place);
        }
        Range { from, to }
    };
    starts.into_iter().map(target).collect()
}

/// Finds the range of the number in the accumulator by halving.
fn tree(assembly: &mut Assembly, ranges: &[Range]) -> Place {
    let place = |assembly: &mut Assembly, target: Target| match target {
        Target::Verdict(value) => assembly.verdict(value),
        Target::Block(place) => place,
    };
    match ranges {
        // Every number lies in some range: there is always one that starts at the architecture's first.
        [] => assembly.verdict(FOREIGN),
        [only] => place(assembly, only.to),
        [low, one, high] if low.to == high.to && high.from == one.from + 1 => {
            let no = place(assembly, low.to);
            let yes = place(assembly, one.to);
            assembly.branch(EQUAL, one.from, yes, no)
        }
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let above = tree(assembly, high);
            let below = tree(assembly, low);
            assembly.branch(AT_LEAST, high[0].from, above, below)
        }
    }
}

/// Tests the arguments of a call.
fn block(assembly: &mut Assembly, call: &Call, default: u32) -> Place {
    let mut next = assembly.verdict(call.otherwise.unwrap_or(default));
    let mut left = call.when.as_slice();
    while let Some((rest, group)) = condition::last_group(left) {
        next = condition::write(assembly, group, next);
        left = rest;
    }
    next
}
