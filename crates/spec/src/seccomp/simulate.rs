//! The kernel's BPF machine, as far as filters need it, for tests.
//!
//! *Invariant:* a program that the kernel would not load (bpf_check_classic, seccomp_check_filter) panics here.

use super::assemble::{AND, AT_LEAST, EQUAL, GREATER, Instruction, JUMP, LOAD, RETURN};

/// `struct seccomp_data` of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Data {
    pub(super) number: u32,
    pub(super) arch: u32,
    pub(super) arguments: [u64; 6],
}

impl Data {
    fn word(&self, offset: u32) -> u32 {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&self.number.to_ne_bytes());
        bytes.extend_from_slice(&self.arch.to_ne_bytes());
        bytes.extend_from_slice(&0x1234_5678_9abc_def0_u64.to_ne_bytes());
        for argument in self.arguments {
            bytes.extend_from_slice(&argument.to_ne_bytes());
        }
        assert_eq!(offset % 4, 0);
        let at = offset as usize;
        u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
    }
}

/// What the kernel would check at loading.
pub(super) fn verify(program: &[Instruction]) {
    assert!(!program.is_empty() && program.len() <= 4096);
    assert_eq!(program.last().map(|last| last.code), Some(RETURN), "the last instruction must return");
    for (at, instruction) in program.iter().enumerate() {
        match instruction.code {
            EQUAL | GREATER | AT_LEAST => {
                assert!(at + 1 + usize::from(instruction.jt.max(instruction.jf)) < program.len());
            }
            JUMP => assert!(at + 1 + (instruction.k as usize) < program.len()),
            LOAD => assert!(instruction.k < 64),
            AND | RETURN => {}
            other => panic!("code {other:#x}"),
        }
    }
}

/// The verdict, and after how many instructions.
pub(super) fn run(program: &[Instruction], data: &Data) -> (u32, usize) {
    let (mut accumulator, mut at, mut steps) = (0, 0, 0);
    loop {
        let instruction = program[at];
        at += 1;
        steps += 1;
        let jump = |holds: bool| usize::from(if holds { instruction.jt } else { instruction.jf });
        match instruction.code {
            LOAD => accumulator = data.word(instruction.k),
            AND => accumulator &= instruction.k,
            JUMP => at += instruction.k as usize,
            EQUAL => at += jump(accumulator == instruction.k),
            GREATER => at += jump(accumulator > instruction.k),
            AT_LEAST => at += jump(accumulator >= instruction.k),
            RETURN => return (instruction.k, steps),
            other => panic!("code {other:#x}"),
        }
    }
}
