//! Capabilities by name, number and mask.
//!
//! *Invariant:* a mask never holds a bit that no name stands for.

use oci_spec::runtime::{Capabilities, Capability};

/// All capabilities of capabilities(7), each at the place of its number.
const ALL: [(&str, Capability); 41] = [
    ("CHOWN", Capability::Chown),
    ("DAC_OVERRIDE", Capability::DacOverride),
    ("DAC_READ_SEARCH", Capability::DacReadSearch),
    ("FOWNER", Capability::Fowner),
    ("FSETID", Capability::Fsetid),
    ("KILL", Capability::Kill),
    ("SETGID", Capability::Setgid),
    ("SETUID", Capability::Setuid),
    ("SETPCAP", Capability::Setpcap),
    ("LINUX_IMMUTABLE", Capability::LinuxImmutable),
    ("NET_BIND_SERVICE", Capability::NetBindService),
    ("NET_BROADCAST", Capability::NetBroadcast),
    ("NET_ADMIN", Capability::NetAdmin),
    ("NET_RAW", Capability::NetRaw),
    ("IPC_LOCK", Capability::IpcLock),
    ("IPC_OWNER", Capability::IpcOwner),
    ("SYS_MODULE", Capability::SysModule),
    ("SYS_RAWIO", Capability::SysRawio),
    ("SYS_CHROOT", Capability::SysChroot),
    ("SYS_PTRACE", Capability::SysPtrace),
    ("SYS_PACCT", Capability::SysPacct),
    ("SYS_ADMIN", Capability::SysAdmin),
    ("SYS_BOOT", Capability::SysBoot),
    ("SYS_NICE", Capability::SysNice),
    ("SYS_RESOURCE", Capability::SysResource),
    ("SYS_TIME", Capability::SysTime),
    ("SYS_TTY_CONFIG", Capability::SysTtyConfig),
    ("MKNOD", Capability::Mknod),
    ("LEASE", Capability::Lease),
    ("AUDIT_WRITE", Capability::AuditWrite),
    ("AUDIT_CONTROL", Capability::AuditControl),
    ("SETFCAP", Capability::Setfcap),
    ("MAC_OVERRIDE", Capability::MacOverride),
    ("MAC_ADMIN", Capability::MacAdmin),
    ("SYSLOG", Capability::Syslog),
    ("WAKE_ALARM", Capability::WakeAlarm),
    ("BLOCK_SUSPEND", Capability::BlockSuspend),
    ("AUDIT_READ", Capability::AuditRead),
    ("PERFMON", Capability::Perfmon),
    ("BPF", Capability::Bpf),
    ("CHECKPOINT_RESTORE", Capability::CheckpointRestore),
];

/// Every capability there is.
pub const EVERY: u64 = (1 << ALL.len()) - 1;

/// What a container has where nobody says otherwise: the fourteen that every container engine gives.
pub const DEFAULT: u64 = mask_of(&[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
]);

const fn equal(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// The mask of capabilities known by name when this is compiled; a name that is none does not compile.
const fn mask_of(names: &[&str]) -> u64 {
    let mut mask = 0;
    let mut name = 0;
    while name < names.len() {
        let mut bit = 0;
        while !equal(ALL[bit].0.as_bytes(), names[name].as_bytes()) {
            bit += 1;
        }
        mask |= 1 << bit;
        name += 1;
    }
    mask
}

/// The bit of the capability called `name`, with `CAP_` or without, in any case.
#[must_use]
pub fn bit(name: &str) -> Option<u64> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    ALL.iter().position(|(known, _)| *known == bare).map(|at| 1 << at)
}

/// The capabilities of a mask as the OCI spec lists them.
#[must_use]
pub fn set(mask: u64) -> Capabilities {
    ALL.iter()
        .enumerate()
        .filter(|(at, _)| mask >> at & 1 == 1)
        .map(|(_, (_, capability))| *capability)
        .collect()
}

/// The mask of a list of the OCI spec.
#[must_use]
pub fn mask(set: &Capabilities) -> u64 {
    ALL.iter()
        .enumerate()
        .filter(|(_, (_, capability))| set.contains(capability))
        .fold(0, |mask, (at, _)| mask | 1 << at)
}

/// The names of a mask, in the order of their numbers.
#[must_use]
pub fn names(mask: u64) -> Vec<&'static str> {
    ALL.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1).map(|(_, (name, _))| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_kernel() {
        // From linux/capability.h: one at either end and some between.
        for (name, number) in
            [("CHOWN", 0), ("NET_RAW", 13), ("SYS_ADMIN", 21), ("SETFCAP", 31), ("CHECKPOINT_RESTORE", 40)]
        {
            assert_eq!(bit(name), Some(1 << number), "{name}");
        }
        assert_eq!(EVERY, 0x1ff_ffff_ffff);
        assert_eq!(DEFAULT, 0xa804_25fb);
    }

    #[test]
    fn names_are_read_with_and_without_prefix() {
        assert_eq!(bit("cap_net_raw"), bit("NET_RAW"));
        assert_eq!(bit("CAP_CAP_NET_RAW"), None);
        assert_eq!(bit("ALL"), None);
        assert_eq!(bit(""), None);
    }

    #[test]
    fn a_mask_survives_its_list() {
        for mask_given in [0, DEFAULT, EVERY, 1 << 40] {
            assert_eq!(mask(&set(mask_given)), mask_given);
        }
        assert_eq!(names(1 << 21 | 1), ["CHOWN", "SYS_ADMIN"]);
    }
}
