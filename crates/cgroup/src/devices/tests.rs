//! The program, run by an interpreter, against the rules' meaning, told a second time.
//!
//! *Invariant:* an instruction that the program may not have ends the test.

use super::*;

/// Runs the program on a question; its answer.
fn run(program: &[u8], block: bool, access: u8, major: u32, minor: u32) -> bool {
    if program.is_empty() {
        return true;
    }
    let context = [u32::from(access) << 16 | if block { 1 } else { 2 }, major, minor];
    let mut registers = [0_u64; 11];
    let (mut at, mut steps) = (0_usize, 0);
    loop {
        steps += 1;
        assert!(steps < 1 << 16, "it does not end");
        let instruction = &program[at * 8..at * 8 + 8];
        let (to, from) = (usize::from(instruction[1] & 15), usize::from(instruction[1] >> 4));
        let offset = i16::from_le_bytes([instruction[2], instruction[3]]);
        let number = u32::from_le_bytes([instruction[4], instruction[5], instruction[6], instruction[7]]);
        // Numbers are extended with their sign in 64 bits.
        let wide = i64::from(number.cast_signed()).cast_unsigned();
        at += 1;
        let mut jump = |so: bool| {
            assert!(offset >= 0, "only forward");
            at += if so { usize::try_from(offset).expect("forward") } else { 0 };
        };
        #[expect(clippy::cast_possible_truncation, reason = "it compares 32 bits")]
        let narrow = registers[to] as u32;
        match instruction[0] {
            0x61 => {
                assert_eq!(from, 1, "only the context is read");
                registers[to] = u64::from(context[usize::try_from(offset / 4).expect("in it")]);
            }
            0xb7 => registers[to] = wide,
            0xbf => registers[to] = registers[from],
            0x57 => registers[to] &= wide,
            0x77 => registers[to] >>= number,
            0x56 => jump(narrow != number),
            0x16 => jump(narrow == number),
            0x95 => return registers[0] == 1,
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn rule(allow: bool, text: &str) -> DeviceRule {
    let mut words = text.split(' ');
    let kind = words.next().expect("a type");
    if kind == "a" {
        return DeviceRule { allow, ..DeviceRule::NONE };
    }
    let (major, minor) = words.next().and_then(|numbers| numbers.split_once(':')).expect("numbers");
    let access = words.next().expect("access");
    let has = |letter| access.contains(letter);
    DeviceRule {
        allow,
        block: Some(kind == "b"),
        major: major.parse().ok(),
        minor: minor.parse().ok(),
        access: Access { read: has('r'), write: has('w'), make: has('m') },
    }
}

const MAKE: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;

#[test]
fn nothing_but_what_is_allowed() {
    let rules = [
        DeviceRule::NONE,
        rule(true, "c *:* m"),
        rule(true, "b *:* m"),
        rule(true, "c 1:3 rwm"),
        rule(true, "c 136:* rw"),
        rule(true, "b 8:0 r"),
    ];
    let program = program(&rules);
    for (block, access, major, minor, allowed) in [
        (false, MAKE, 7, 7, true),
        (true, MAKE, 7, 7, true),
        (false, READ, 7, 7, false),
        (false, READ | WRITE, 1, 3, true),
        (false, READ | WRITE | MAKE, 1, 3, true),
        (true, READ, 1, 3, false),
        (false, READ, 1, 4, false),
        (false, READ | WRITE, 136, 99, true),
        // One exception has to have all of it.
        (false, READ | MAKE, 136, 99, false),
        (true, READ, 8, 0, true),
        (true, READ | WRITE, 8, 0, false),
        (true, WRITE, 8, 0, false),
    ] {
        assert_eq!(run(&program, block, access, major, minor), allowed, "{block} {access} {major}:{minor}");
    }
}

#[test]
fn everything_but_what_is_denied() {
    let rules = [DeviceRule::EVERY, rule(false, "c 1:5 w"), rule(false, "b 8:* rwm")];
    let program = program(&rules);
    assert!(run(&program, false, READ, 1, 5) && run(&program, true, READ, 9, 0));
    // Any part of it denies.
    assert!(!run(&program, false, READ | WRITE, 1, 5) && !run(&program, true, MAKE, 8, 200));
    assert!(super::program(&[DeviceRule::EVERY]).is_empty() && super::program(&[]).is_empty());
}

#[test]
fn a_rule_takes_back_what_one_before_it_gave() {
    let given = [DeviceRule::NONE, rule(true, "c 1:3 rwm"), rule(false, "c 1:3 w")];
    let program = program(&given);
    assert!(run(&program, false, READ | MAKE, 1, 3) && !run(&program, false, WRITE, 1, 3));
    // As the controller of v1: only of the very same device.
    let wider = [DeviceRule::NONE, rule(true, "c 1:3 rwm"), rule(false, "c 1:* rwm")];
    assert!(run(&super::program(&wider), false, READ, 1, 3));
    let anew = [DeviceRule::NONE, rule(true, "c 1:3 rwm"), rule(false, "a")];
    assert!(!run(&super::program(&anew), false, READ, 1, 3));
}

/// What the rules mean, told without a list: of equal devices the last rule decides each kind of access, and `a` begins anew.
fn meant(rules: &[DeviceRule], block: bool, access: u8, major: u32, minor: u32) -> bool {
    let start = rules.iter().rposition(|rule| rule.block.is_none());
    let default = start.is_none_or(|at| rules[at].allow);
    let rules = &rules[start.map_or(0, |at| at + 1)..];
    let mut devices: Vec<(bool, Option<u32>, Option<u32>)> = Vec::new();
    for rule in rules {
        let device = (rule.block.expect("no a"), rule.major, rule.minor);
        if !devices.contains(&device) {
            devices.push(device);
        }
    }
    let mask = |device: &(bool, Option<u32>, Option<u32>)| {
        let given = |bit: u8| {
            let last = rules.iter().rev().find(|rule| {
                (rule.block.expect("no a"), rule.major, rule.minor) == *device
                    && rule.access.bits() & bit != 0
            });
            last.is_some_and(|rule| rule.allow != default)
        };
        [MAKE, READ, WRITE].into_iter().filter(|bit| given(*bit)).fold(0, |mask, bit| mask | bit)
    };
    let fits = |device: &&(bool, Option<u32>, Option<u32>)| {
        device.0 == block && device.1.is_none_or(|m| m == major) && device.2.is_none_or(|m| m == minor)
    };
    let mut masks = devices.iter().filter(fits).map(mask);
    if default {
        masks.all(|mask| mask & access == 0)
    } else {
        masks.any(|mask| mask != 0 && access & !mask == 0)
    }
}

#[test]
fn the_program_says_what_the_rules_mean_whatever_they_are() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u32::try_from(state % below).expect("small")
    };
    for _ in 0..2000 {
        let mut rules = Vec::new();
        for _ in 0..next(12) {
            let number = |random: u32| (random > 0).then_some(random);
            let bits = next(7) + 1;
            rules.push(DeviceRule {
                allow: next(2) == 0,
                block: [None, Some(true), Some(false), Some(false), Some(true), Some(true)][next(6) as usize],
                major: number(next(3)),
                minor: number(next(3)),
                access: Access { make: bits & 1 != 0, read: bits & 2 != 0, write: bits & 4 != 0 },
            });
        }
        let program = program(&rules);
        for access in 1..8 {
            for (block, major, minor) in
                [(true, 1, 1), (false, 1, 2), (false, 2, 1), (true, 9, 2), (false, 9, 9)]
            {
                let (said, meant) =
                    (run(&program, block, access, major, minor), meant(&rules, block, access, major, minor));
                assert_eq!(said, meant, "{block} {access} {major}:{minor} of {rules:?}");
            }
        }
    }
}
