//! BPF instructions and jumps that reach.
//!
//! A program is written from its end to its beginning: jumps of classic BPF only go forward, so a jump's target is always written
//! already and its distance known. Where an 8-bit distance does not reach, the jump goes over a long one.
//!
//! *Invariant:* every jump lands on an instruction of the program, and no instruction is reached by falling that was not meant to be.

use std::collections::HashMap;

/// `BPF_MAXINSNS` of linux/bpf_common.h.
pub(super) const MOST: usize = 4096;

/// `struct sock_filter` of linux/filter.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    /// What to do.
    pub code: u16,
    /// How many to skip if true.
    pub jt: u8,
    /// How many to skip if false.
    pub jf: u8,
    /// The constant.
    pub k: u32,
}

/// `BPF_LD | BPF_W | BPF_ABS`: load a word of `struct seccomp_data`.
pub(super) const LOAD: u16 = 0x20;
/// `BPF_ALU | BPF_AND | BPF_K`.
pub(super) const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JA`.
pub(super) const JUMP: u16 = 0x05;
/// `BPF_JMP | BPF_JEQ | BPF_K`.
pub(super) const EQUAL: u16 = 0x15;
/// `BPF_JMP | BPF_JGT | BPF_K`.
pub(super) const GREATER: u16 = 0x25;
/// `BPF_JMP | BPF_JGE | BPF_K`.
pub(super) const AT_LEAST: u16 = 0x35;
/// `BPF_RET | BPF_K`.
pub(super) const RETURN: u16 = 0x06;

/// A place in the program: the number of instructions from there to the end, itself included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place(usize);

/// A program on its way, last instruction first.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    reversed: Vec<Instruction>,
    returns: HashMap<u32, Place>,
}

impl Assembly {
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Place {
        self.reversed.push(Instruction { code, jt, jf, k });
        Place(self.reversed.len())
    }

    /// Instructions between one that is written next and `target`.
    fn distance(&self, target: Place) -> usize {
        self.reversed.len() - target.0
    }

    /// A place that returns `value`, near enough for a short jump from here (with room for the other branch's return).
    pub(super) fn verdict(&mut self, value: u32) -> Place {
        if let Some(&place) = self.returns.get(&value)
            && self.distance(place) < 250
        {
            return place;
        }
        let place = self.push(RETURN, 0, 0, value);
        self.returns.insert(value, place);
        place
    }

    /// Compares the accumulator with `k` and goes on at `yes` or `no`.
    pub(super) fn branch(&mut self, code: u16, k: u32, yes: Place, no: Place) -> Place {
        if yes == no {
            return yes;
        }
        let no = self.within_reach(no, 1);
        let yes = self.within_reach(yes, 0);
        let short = |distance: usize| {
            u8::try_from(distance).expect("invariant: a place within reach is less than 256 away")
        };
        let (jt, jf) = (short(self.distance(yes)), short(self.distance(no)));
        self.push(code, jt, jf, k)
    }

    /// `target` itself or a long jump to it, such that it is reached when at most `more` instructions come between.
    fn within_reach(&mut self, target: Place, more: usize) -> Place {
        let distance = self.distance(target);
        if u8::try_from(distance + more).is_ok() {
            return target;
        }
        // Programs end at 4096 instructions, so a distance fits 32 bits; what is longer is refused by `finish`.
        let k = u32::try_from(distance).unwrap_or(u32::MAX);
        self.push(JUMP, 0, 0, k)
    }

    /// Loads the word at `offset` of `struct seccomp_data`, masks it unless the mask is full, and goes on at `next`.
    pub(super) fn load(&mut self, offset: u32, mask: u32, next: Place) -> Place {
        let mut next = next;
        if next.0 != self.reversed.len() {
            let k = u32::try_from(self.distance(next)).unwrap_or(u32::MAX);
            next = self.push(JUMP, 0, 0, k);
        }
        if mask != u32::MAX {
            next = self.push(AND, 0, 0, mask);
        }
        let _ = next;
        self.push(LOAD, 0, 0, offset)
    }

    /// The program that begins at `entry`, as instructions; none if it is longer than the kernel takes.
    #[must_use]
    pub(super) fn finish(mut self, entry: Place) -> Option<Vec<Instruction>> {
        self.reversed.truncate(entry.0);
        self.reversed.reverse();
        (self.reversed.len() <= MOST).then_some(self.reversed)
    }
}

/// A program as the kernel takes it: 8 bytes an instruction, in this machine's order.
#[must_use]
pub(super) fn to_bytes(program: &[Instruction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for instruction in program {
        bytes.extend_from_slice(&instruction.code.to_ne_bytes());
        bytes.extend_from_slice(&[instruction.jt, instruction.jf]);
        bytes.extend_from_slice(&instruction.k.to_ne_bytes());
    }
    bytes
}
