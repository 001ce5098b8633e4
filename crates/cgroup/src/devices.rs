//! Which devices may be used: rules, the list that the kernel's v1 controller makes of them, and the program that judges by that list
//! where there is no such controller.
//!
//! ```text
//!  rules ─▶ a default and exceptions from it ─▶ eBPF: type, numbers, access of what is asked ─▶ 1 or 0
//! ```
//!
//! *Invariant:* list and program say what the v1 controller says of the same rules: by default nothing, an exception has to allow
//! all of what is asked at once; by default everything, an exception that has any part of it denies.
//!
//! Sources: `cgroup-v1/devices.rst`, `security/device_cgroup.c` (how a rule changes the list), `bpf-cgroup` in `cgroup-v2.rst`,
//! `instruction-set.rst` of the kernel; `struct bpf_cgroup_dev_ctx` of linux/bpf.h.

use std::fmt;

/// What may be done to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Read from.
    pub read: bool,
    /// Written to.
    pub write: bool,
    /// Made by mknod(2).
    pub make: bool,
}

impl Access {
    /// All three.
    pub const ALL: Access = Access { read: true, write: true, make: true };

    /// `BPF_DEVCG_ACC_*`.
    fn bits(self) -> u8 {
        u8::from(self.make) | u8::from(self.read) << 1 | u8::from(self.write) << 2
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (letter, given) in [("r", self.read), ("w", self.write), ("m", self.make)] {
            f.write_str(if given { letter } else { "" })?;
        }
        Ok(())
    }
}

/// A rule of the device controller, as `devices.allow` and `devices.deny` take it. Begin with [`DeviceRule::NONE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    /// Whether it allows or denies.
    pub allow: bool,
    /// A block device, or a character device; none: both, and then every number and access is meant.
    pub block: Option<bool>,
    /// Major number; none: any.
    pub major: Option<u32>,
    /// Minor number; none: any.
    pub minor: Option<u32>,
    /// What of it.
    pub access: Access,
}

impl DeviceRule {
    /// No device at all.
    pub const NONE: DeviceRule =
        DeviceRule { allow: false, block: None, major: None, minor: None, access: Access::ALL };
    /// Every device: what privileged containers have.
    pub const EVERY: DeviceRule =
        DeviceRule { allow: true, block: None, major: None, minor: None, access: Access::ALL };
}

/// An exception from the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Exception {
    block: bool,
    major: Option<u32>,
    minor: Option<u32>,
    access: u8,
}

/// What the rules come to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct List {
    /// What holds for a device that no exception is for.
    allow: bool,
    exceptions: Vec<Exception>,
}

impl List {
    /// A new cgroup has what its parent has, which judges by itself: it begins with everything.
    fn of(rules: &[DeviceRule]) -> Self {
        let mut list = List { allow: true, exceptions: Vec::new() };
        for rule in rules {
            match rule.block {
                None => list = List { allow: rule.allow, exceptions: Vec::new() },
                Some(block) => list.take(
                    rule.allow != list.allow,
                    Exception { block, major: rule.major, minor: rule.minor, access: rule.access.bits() },
                ),
            }
        }
        list
    }

    /// An exception more, or a part of one less; of the very same device.
    fn take(&mut self, more: bool, one: Exception) {
        let same =
            |other: &Exception| (other.block, other.major, other.minor) == (one.block, one.major, one.minor);
        match self.exceptions.iter_mut().find(|other| same(other)) {
            Some(other) if more => other.access |= one.access,
            Some(other) => other.access &= !one.access,
            None if more => self.exceptions.push(one),
            None => {}
        }
        self.exceptions.retain(|exception| exception.access != 0);
    }
}

/// A program that judges by these rules; empty if they allow everything.
#[must_use]
pub fn program(rules: &[DeviceRule]) -> Vec<u8> {
    let list = List::of(rules);
    if list.allow && list.exceptions.is_empty() {
        return Vec::new();
    }
    let mut code = Code::default();
    // Type, access, major, minor; what the context lies behind is not needed afterwards.
    code.put(LOAD, 2, CONTEXT, 0, 0);
    code.put(MOVE_REGISTER, 3, 2, 0, 0);
    code.put(AND, 2, 0, 0, 0xffff);
    code.put(SHIFT_RIGHT, 3, 0, 0, 16);
    code.put(LOAD, 4, CONTEXT, 4, 0);
    code.put(LOAD, 5, CONTEXT, 8, 0);
    for exception in &list.exceptions {
        code.exception(exception, list.allow);
    }
    code.verdict(list.allow);
    code.bytes
}

/// Instructions, by their operation code: of 64 bits, with a number; jumps compare 32 bits.
const LOAD: u8 = 0x61;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_UNLESS: u8 = 0x56;
const JUMP_IF: u8 = 0x16;
const EXIT: u8 = 0x95;
/// The register that holds the context's address.
const CONTEXT: u8 = 1;
/// `BPF_DEVCG_DEV_*`.
const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;

#[derive(Default)]
struct Code {
    bytes: Vec<u8>,
}

impl Code {
    fn put(&mut self, operation: u8, to: u8, from: u8, offset: i16, number: u32) {
        self.bytes.extend([operation, from << 4 | to]);
        self.bytes.extend(offset.to_le_bytes());
        self.bytes.extend(number.to_le_bytes());
    }

    /// Decides if the exception is for what is asked, else goes on behind itself.
    fn exception(&mut self, exception: &Exception, allow: bool) {
        let numbers = [(4, exception.major), (5, exception.minor)];
        let mut tests = vec![(JUMP_UNLESS, 2, if exception.block { BLOCK } else { CHARACTER })];
        tests.extend(
            numbers.iter().filter_map(|(register, number)| number.map(|n| (JUMP_UNLESS, *register, n))),
        );
        let access = u32::from(exception.access);
        // By default everything: any part of it denies. By default nothing: nothing may be asked beyond it.
        let (mask, jump) = if allow { (access, JUMP_IF) } else { (!access & 7, JUMP_UNLESS) };
        // A mask of nothing lets all pass, and needs no test.
        let masked = usize::from(allow || mask != 0);
        let mut left = tests.len() + 3 * masked + 2;
        let mut skip = || {
            left -= 1;
            i16::try_from(left).unwrap_or(i16::MAX)
        };
        for (operation, register, number) in tests {
            self.put(operation, register, 0, skip(), number);
        }
        if masked == 1 {
            skip();
            self.put(MOVE_REGISTER, 1, 3, 0, 0);
            skip();
            self.put(AND, 1, 0, 0, mask);
            self.put(jump, 1, 0, skip(), 0);
        }
        self.verdict(!allow);
    }

    fn verdict(&mut self, allow: bool) {
        self.put(MOVE, 0, 0, 0, u32::from(allow));
        self.put(EXIT, 0, 0, 0, 0);
    }
}

#[cfg(test)]
mod tests;
