//! Filters against what their profiles say, call by call, on a machine of our own.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator as Operator, LinuxSyscall};
use orlop_model::report::Kind;

use super::assemble::Instruction;
use super::compile::instructions;
use super::profile::{Profile, Subject};
use super::simulate::{Data, run, verify};
use super::table::{Arch, X32_BIT};
use super::{compile, default};
use crate::capability;

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KILL: u32 = 0x8000_0000;

/// What the profile says of a call: read straight off its rules, without any of the compiler's means.
struct Meaning<'a> {
    rules: Vec<&'a LinuxSyscall>,
    fallback: u32,
}

impl Meaning<'_> {
    fn of(profile: &LinuxSeccomp, arch: Arch, number: u32) -> Meaning<'_> {
        let rules = profile.syscalls().as_deref().unwrap_or_default();
        let number_of = |name: &String| arch.number(name);
        let last = rules.iter().flat_map(oci_spec::runtime::LinuxSyscall::names).filter_map(number_of).max();
        let default = profile.default_action().as_u32(Some(profile.default_errno_ret().unwrap_or(1)));
        let named = |rule: &&LinuxSyscall| rule.names().iter().any(|name| number_of(name) == Some(number));
        let fallback = if last < Some(number) { ENOSYS } else { default };
        Meaning { rules: rules.iter().filter(named).collect(), fallback }
    }

    fn has_conditions(&self) -> bool {
        self.rules.iter().any(|rule| rule.args().as_ref().is_some_and(|args| !args.is_empty()))
    }

    fn verdict(&self, arguments: [u64; 6]) -> u32 {
        let mut unconditional = None;
        for rule in &self.rules {
            let verdict = rule.action().as_u32(Some(rule.errno_ret().unwrap_or(1)));
            match rule.args().as_deref().unwrap_or_default() {
                [] => unconditional = unconditional.or(Some(verdict)),
                all if all.iter().all(|one| holds(one, arguments)) => return verdict,
                _ => {}
            }
        }
        unconditional.unwrap_or(self.fallback)
    }
}

fn holds(condition: &LinuxSeccompArg, arguments: [u64; 6]) -> bool {
    let (given, value) = (arguments[condition.index()], condition.value());
    match condition.op() {
        Operator::ScmpCmpNe => given != value,
        Operator::ScmpCmpLt => given < value,
        Operator::ScmpCmpLe => given <= value,
        Operator::ScmpCmpEq => given == value,
        Operator::ScmpCmpGe => given >= value,
        Operator::ScmpCmpGt => given > value,
        Operator::ScmpCmpMaskedEq => given & value == condition.value_two().unwrap_or(0),
    }
}

fn ask(program: &[Instruction], arch: Arch, number: u32, arguments: [u64; 6]) -> u32 {
    run(program, &Data { number, arch: arch.audit(), arguments }).0
}

/// Arguments around everything that the profile compares with.
fn interesting(profile: &LinuxSeccomp) -> Vec<u64> {
    let mut values = vec![0, 1, u64::MAX, 1 << 32, u64::from(u32::MAX), 1 << 63];
    let arguments = profile.syscalls().iter().flatten().flat_map(|rule| rule.args().iter().flatten());
    for value in arguments.flat_map(|one| [one.value(), one.value_two().unwrap_or(0)]) {
        values.extend([
            value,
            value.wrapping_add(1),
            value.wrapping_sub(1),
            value | 1 << 32,
            value << 32,
            !value,
        ]);
    }
    values.sort_unstable();
    values.dedup();
    values
}

/// Every number of every architecture, with every interesting argument where the number has conditions.
fn agrees(profile: &LinuxSeccomp, native: Arch, label: &str) {
    let program = instructions(profile, native).expect(label);
    verify(&program);
    let values = interesting(profile);
    for &arch in native.compatible() {
        let base = arch.base();
        let beyond = [base + 1000, base + 0x3fff_ffff];
        for number in (base..base + 600).chain(beyond) {
            let spoken_of =
                arch == native || profile.architectures().iter().flatten().any(|one| *one == arch.oci());
            let meaning = if spoken_of {
                Meaning::of(profile, arch, number)
            } else {
                Meaning { rules: Vec::new(), fallback: KILL }
            };
            let values = if meaning.has_conditions() { values.as_slice() } else { &[0, u64::MAX] };
            for &value in values {
                for at in [0, 1, 2] {
                    let mut arguments = [value.rotate_left(7); 6];
                    arguments[at] = value;
                    let (found, meant) = (ask(&program, arch, number, arguments), meaning.verdict(arguments));
                    assert_eq!(found, meant, "{label}: {arch:?} {number} {arguments:x?}");
                }
            }
        }
    }
}

#[test]
fn the_default_filter_says_what_its_table_says() {
    for capabilities in [0, capability::DEFAULT, capability::EVERY, 1 << 21, 1 << 39] {
        for native in [Arch::X86_64, Arch::Aarch64] {
            agrees(
                &default::profile(capabilities, native),
                native,
                &format!("{capabilities:x} on {native:?}"),
            );
        }
    }
}

#[test]
fn the_default_profile_draws_the_known_lines() {
    let plain =
        instructions(&default::profile(capability::DEFAULT, Arch::X86_64), Arch::X86_64).expect("good");
    let admin = instructions(&default::profile(capability::EVERY, Arch::X86_64), Arch::X86_64).expect("good");
    let call = |name: &str| Arch::X86_64.number(name).expect("known");
    let table: [(&str, u64, u32, u32); 22] = [
        ("read", 0, ALLOW, ALLOW),
        ("chroot", 0, ALLOW, ALLOW),
        ("ptrace", 0, ALLOW, ALLOW),
        ("mount", 0, EPERM, ALLOW),
        ("unshare", 0, EPERM, ALLOW),
        ("setns", 0, EPERM, ALLOW),
        ("bpf", 0, EPERM, ALLOW),
        ("io_uring_setup", 0, EPERM, EPERM),
        ("keyctl", 0, EPERM, EPERM),
        ("add_key", 0, EPERM, EPERM),
        ("userfaultfd", 0, EPERM, EPERM),
        ("kexec_load", 0, EPERM, EPERM),
        ("clone3", 0, ENOSYS, ALLOW),
        ("clone", 0x0001_0f00, ALLOW, ALLOW),
        ("clone", 0x1000_0011, EPERM, ALLOW),
        ("socket", 2, ALLOW, ALLOW),
        ("socket", 16, ALLOW, ALLOW),
        ("socket", 38, EPERM, EPERM),
        ("socket", 40, EPERM, EPERM),
        // The kernel looks at 32 bits: this is AF_ALG, too.
        ("socket", 0x1_0000_0026, EPERM, EPERM),
        ("personality", 0xffff_ffff, ALLOW, ALLOW),
        ("personality", 0x0004_0000, EPERM, EPERM),
    ];
    for (name, argument, without, with) in table {
        let arguments = [argument, 0, 0, 0, 0, 0];
        assert_eq!(ask(&plain, Arch::X86_64, call(name), arguments), without, "{name} {argument:#x}");
        assert_eq!(
            ask(&admin, Arch::X86_64, call(name), arguments),
            with,
            "{name} {argument:#x} with all capabilities"
        );
    }
}

#[test]
fn every_name_of_the_default_profile_is_a_call_somewhere() {
    // These exist on ARM, PowerPC and others only; the field's profiles list them for all.
    let elsewhere = ["recv", "send", "sync_file_range2"];
    let profile = default::profile(capability::EVERY, Arch::Aarch64);
    for name in profile.syscalls().iter().flatten().flat_map(oci_spec::runtime::LinuxSyscall::names) {
        assert!(super::table::is_known(name) || elsewhere.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn a_foreign_architecture_kills() {
    let mut profile = default::profile(0, Arch::X86_64);
    let foreign = Data { number: 0, arch: Arch::Aarch64.audit(), arguments: [0; 6] };
    let program = instructions(&profile, Arch::X86_64).expect("good");
    assert_eq!(run(&program, &foreign).0, KILL);
    profile.set_architectures(None);
    let program = instructions(&profile, Arch::X86_64).expect("good");
    verify(&program);
    assert_eq!(ask(&program, Arch::X86_64, 0, [0; 6]), ALLOW);
    assert_eq!(ask(&program, Arch::X86, 3, [0; 6]), KILL);
    assert_eq!(ask(&program, Arch::X32, X32_BIT, [0; 6]), KILL);
}

#[test]
fn a_call_takes_few_instructions() {
    let program =
        instructions(&default::profile(capability::DEFAULT, Arch::X86_64), Arch::X86_64).expect("good");
    let steps =
        |(_, number)| run(&program, &Data { number, arch: Arch::X86_64.audit(), arguments: [0; 6] }).1;
    let worst = Arch::X86_64.calls().filter(|(name, _)| *name != "socket").map(steps).max();
    println!("{} instructions, at most {worst:?} a call", program.len());
    assert!(worst < Some(24), "{worst:?}");
}

fn localhost(json: &str) -> Result<LinuxSeccomp, orlop_model::report::Report> {
    let subject = Subject { capabilities: capability::DEFAULT, native: Arch::X86_64, kernel: (6, 1) };
    Profile::parse("test.json", json.as_bytes()).map(|profile| profile.resolve(subject))
}

#[test]
fn every_operator_compares_all_64_bits() {
    for operator in ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"] {
        for (value, second) in [
            (0_u64, 0_u64),
            (5, 5),
            (0xffff_ffff, 7),
            (0x1_0000_0000, 0),
            (0xdead_beef_0000_0001, 0xdead_beef_0000_0000),
            (u64::MAX, 3),
        ] {
            let json = format!(
                r#"{{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],"syscalls":[
                {{"names":["getpid"],"action":"SCMP_ACT_LOG","args":[{{"index":1,"value":{value},"valueTwo":{second},"op":"SCMP_CMP_{operator}"}}]}},
                {{"names":["getppid"],"action":"SCMP_ACT_ALLOW","args":[
                    {{"index":0,"value":{value},"valueTwo":{second},"op":"SCMP_CMP_{operator}"}},
                    {{"index":2,"value":3,"op":"SCMP_CMP_NE"}}]}}]}}"#
            );
            agrees(
                &localhost(&json).expect("good"),
                Arch::X86_64,
                &format!("{operator} {value:#x} {second:#x}"),
            );
        }
    }
}

#[test]
fn the_first_rule_that_holds_decides_and_plain_ones_come_last() {
    let json = r#"{"defaultAction":"SCMP_ACT_KILL_PROCESS","syscalls":[
        {"names":["socket","bind"],"action":"SCMP_ACT_ALLOW"},
        {"names":["socket"],"action":"SCMP_ACT_ERRNO","errnoRet":97,"args":[{"index":0,"value":38,"op":"SCMP_CMP_EQ"}]},
        {"names":["socket"],"action":"SCMP_ACT_TRAP","args":[{"index":0,"value":30,"op":"SCMP_CMP_GE"}]}]}"#;
    let profile = localhost(json).expect("good");
    agrees(&profile, Arch::X86_64, "order");
    let program = instructions(&profile, Arch::X86_64).expect("good");
    let socket = |family| ask(&program, Arch::X86_64, 41, [family, 0, 0, 0, 0, 0]);
    assert_eq!([socket(2), socket(38), socket(39)], [ALLOW, 0x0005_0061, 0x0003_0000]);
}

#[test]
fn an_argument_named_twice_makes_alternatives() {
    let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["getpid"],"action":"SCMP_ACT_ALLOW","args":[
        {"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":0,"value":7,"op":"SCMP_CMP_EQ"},{"index":1,"value":9,"op":"SCMP_CMP_GT"}]}]}"#;
    let program = instructions(&localhost(json).expect("good"), Arch::X86_64).expect("good");
    let getpid = |first, second| ask(&program, Arch::X86_64, 39, [first, second, 0, 0, 0, 0]);
    assert_eq!([getpid(1, 0), getpid(7, 0), getpid(2, 10), getpid(2, 9)], [ALLOW, ALLOW, ALLOW, EPERM]);
}

#[test]
fn socketcall_and_ipc_are_the_other_doors_of_32_bit_programs() {
    let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86"],
        "syscalls":[{"names":["connect","shmat"],"action":"SCMP_ACT_ALLOW"}]}"#;
    let program = instructions(&localhost(json).expect("good"), Arch::X86_64).expect("good");
    let x86 = |name: &str, which| {
        ask(&program, Arch::X86, Arch::X86.number(name).expect("known"), [which, 0, 0, 0, 0, 0])
    };
    assert_eq!([x86("connect", 0), x86("socketcall", 3), x86("socketcall", 1)], [ALLOW, ALLOW, EPERM]);
    assert_eq!([x86("ipc", 21), x86("ipc", 1)], [ALLOW, EPERM]);
}

#[test]
fn includes_and_excludes_are_decided() {
    let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":13,
        "archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]},{"architecture":"SCMP_ARCH_AARCH64","subArchitectures":null}],
        "syscalls":[
        {"names":["read"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_NET_RAW"]}},
        {"names":["write"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
        {"names":["open"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_SYS_ADMIN"]}},
        {"names":["close"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["arm64","amd64"]},"comment":"yes"},
        {"names":["stat"],"action":"SCMP_ACT_ALLOW","excludes":{"arches":["amd64"]}},
        {"names":["poll"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
        {"names":["lseek"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"6.10"}},
        {"name":"mmap","action":"SCMP_ACT_ALLOW","args":null},
        {"names":["sched_yield"],"action":"SCMP_ACT_ERRNO"}]}"#;
    let profile = localhost(json).expect("good");
    let program = instructions(&profile, Arch::X86_64).expect("good");
    let verdicts = ["read", "write", "open", "close", "stat", "poll", "lseek", "mmap", "sched_yield"]
        .map(|name| ask(&program, Arch::X86_64, Arch::X86_64.number(name).expect("known"), [0; 6]));
    let refused = 0x0005_000d;
    assert_eq!(verdicts, [ALLOW, refused, ALLOW, ALLOW, refused, ALLOW, refused, ALLOW, EPERM]);
    assert_eq!(ask(&program, Arch::X32, X32_BIT, [0; 6]), KILL);
}

#[test]
fn bad_profiles_are_refused_by_what_is_wrong() {
    let table = [
        ("", "EOF"),
        ("[]", "invalid"),
        (r#"{"syscalls":[]}"#, "defaultAction"),
        (r#"{"defaultAction":"SCMP_ACT_MAYBE"}"#, "SCMP_ACT_MAYBE"),
        (r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_VAX"]}"#, "SCMP_ARCH_VAX"),
        (r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_WISH"]}"#, "FLAG_WISH"),
        (r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"SCMP_ACT_LOG"}]}"#, "no names"),
        (r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"]}]}"#, "action"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG","args":[{"index":9,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
            "0 to 5",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG","args":[{"index":0,"value":0,"op":"SCMP_CMP_IS"}]}]}"#,
            "SCMP_CMP_IS",
        ),
        (r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":4096}"#, "4095"),
        (r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "SCMP_ACT_NOTIFY"),
        (r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/run/a.sock"}"#, "listenerPath"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86"}]}"#,
            "both",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG","includes":{"caps":["CAP_FLY"]}}]}"#,
            "CAP_FLY",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG","includes":{"minKernel":"new"}}]}"#,
            "minKernel",
        ),
    ];
    for (json, word) in table {
        let refused = localhost(json).and_then(|profile| compile(&profile, Arch::X86_64)).expect_err(json);
        assert!(refused.to_string().contains(word), "{json}: {refused}");
        assert!(matches!(refused.kind, Kind::BadRequest | Kind::Unsupported), "{json}");
    }
    assert!(Profile::parse("long", &vec![b' '; (1 << 20) + 1]).is_err());
}

#[test]
fn a_filter_that_no_kernel_takes_is_refused() {
    let rule = |value: u32| {
        format!(
            r#"{{"names":["getpid"],"action":"SCMP_ACT_ALLOW","args":[{{"index":0,"value":{value},"op":"SCMP_CMP_GT"}}]}}"#
        )
    };
    let rules: Vec<String> = (0..2000).map(rule).collect();
    let json = format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{}]}}"#, rules.join(","));
    let refused = compile(&localhost(&json).expect("well formed"), Arch::X86_64).expect_err("too long");
    assert!(refused.to_string().contains("4096"), "{refused}");
}

#[test]
fn long_programs_jump_far_enough() {
    // 300 calls, each with a block of its own: nothing lies within 255 instructions of everything.
    let rule = |(name, number): (&str, u32)| {
        format!(
            r#"{{"names":["{name}"],"action":"SCMP_ACT_ALLOW","args":[{{"index":0,"value":{number},"op":"SCMP_CMP_GE"}}]}}"#
        )
    };
    let rules: Vec<String> = Arch::X86_64.calls().take(300).map(rule).collect();
    let json = format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{}]}}"#, rules.join(","));
    let profile = localhost(&json).expect("good");
    let program = instructions(&profile, Arch::X86_64).expect("good");
    verify(&program);
    for (_, number) in Arch::X86_64.calls() {
        for value in [u64::from(number), u64::from(number).wrapping_sub(1), u64::MAX, 0] {
            let arguments = [value, 0, 0, 0, 0, 0];
            let meant = Meaning::of(&profile, Arch::X86_64, number).verdict(arguments);
            assert_eq!(ask(&program, Arch::X86_64, number, arguments), meant, "{number} {value:#x}");
        }
    }
}

#[test]
fn compiling_is_quick() {
    let profile = default::profile(capability::DEFAULT, Arch::NATIVE);
    let before = std::time::Instant::now();
    for _ in 0..100 {
        compile(&profile, Arch::NATIVE).expect("good");
    }
    println!("the default profile compiles in {:?}", before.elapsed() / 100);
}
