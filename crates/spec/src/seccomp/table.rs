//! System calls by name and number, for each architecture.
//!
//! The table is `syscalls.tsv`: from the kernel's headers (`asm/unistd_64.h`, `unistd_32.h`, `unistd_x32.h`,
//! `asm-generic/unistd.h`), and by hand from the kernel's `syscall.tbl` files for what is newer than the headers.
//!
//! *Invariant:* names are sorted, and no two of one architecture share a number.

use std::sync::LazyLock;

use oci_spec::runtime::Arch as OciArch;

/// An architecture whose calls a filter can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86, by `int 0x80` or 32-bit programs.
    X86,
    /// 64-bit x86 with 32-bit pointers: the same `AUDIT_ARCH`, told apart by a bit of the number.
    X32,
    /// 64-bit ARM.
    Aarch64,
}

/// `__X32_SYSCALL_BIT` of asm/unistd.h.
pub const X32_BIT: u32 = 0x4000_0000;

impl Arch {
    /// The architecture that this program is compiled for.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Arch = Arch::X86_64;
    /// The architecture that this program is compiled for.
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Arch = Arch::Aarch64;

    /// `AUDIT_ARCH_*` of linux/audit.h, as `struct seccomp_data` holds it.
    #[must_use]
    pub fn audit(self) -> u32 {
        match self {
            Arch::X86_64 | Arch::X32 => 0xc000_003e,
            Arch::X86 => 0x4000_0003,
            Arch::Aarch64 => 0xc000_00b7,
        }
    }

    /// Added to every number of the table.
    #[must_use]
    pub fn base(self) -> u32 {
        if self == Arch::X32 { X32_BIT } else { 0 }
    }

    /// Architectures whose programs run on a kernel of this one, itself first.
    #[must_use]
    pub fn compatible(self) -> &'static [Arch] {
        match self {
            Arch::X86_64 => &[Arch::X86_64, Arch::X86, Arch::X32],
            Arch::X86 => &[Arch::X86],
            Arch::X32 => &[Arch::X32],
            Arch::Aarch64 => &[Arch::Aarch64],
        }
    }

    /// The architecture as Go programs call it, which is what profiles say under `includes` and `excludes`.
    #[must_use]
    pub fn go_name(self) -> &'static str {
        match self {
            Arch::X86_64 => "amd64",
            Arch::X86 => "x86",
            Arch::X32 => "x32",
            Arch::Aarch64 => "arm64",
        }
    }

    /// What the OCI spec calls it.
    #[must_use]
    pub fn oci(self) -> OciArch {
        match self {
            Arch::X86_64 => OciArch::ScmpArchX86_64,
            Arch::X86 => OciArch::ScmpArchX86,
            Arch::X32 => OciArch::ScmpArchX32,
            Arch::Aarch64 => OciArch::ScmpArchAarch64,
        }
    }

    /// The number of the call `name`, as `struct seccomp_data` holds it; none where the architecture lacks it.
    #[must_use]
    pub fn number(self, name: &str) -> Option<u32> {
        let row = ROWS.binary_search_by(|row| row.name.cmp(name)).ok()?;
        ROWS[row].numbers[self as usize].map(|number| number + self.base())
    }

    /// All calls of this architecture.
    pub fn calls(self) -> impl Iterator<Item = (&'static str, u32)> {
        ROWS.iter().filter_map(move |row| Some((row.name, row.numbers[self as usize]? + self.base())))
    }
}

struct Row {
    name: &'static str,
    /// In the order of [`Arch`].
    numbers: [Option<u32>; 4],
}

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let rows = include_str!("syscalls.tsv").lines().skip(1);
    rows.filter_map(|line| {
        let mut fields = line.split('\t');
        let name = fields.next()?;
        let mut numbers = [None; 4];
        for (number, field) in numbers.iter_mut().zip(fields) {
            *number = field.parse().ok();
        }
        Some(Row { name, numbers })
    })
    .collect()
});

/// Whether any architecture has a call of this name.
#[must_use]
pub fn is_known(name: &str) -> bool {
    ROWS.binary_search_by(|row| row.name.cmp(name)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_no_number_stands_twice() {
        assert!(ROWS.windows(2).all(|pair| pair[0].name < pair[1].name));
        for arch in [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64] {
            let mut numbers: Vec<u32> = arch.calls().map(|(_, number)| number).collect();
            let all = numbers.len();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), all, "{arch:?}");
        }
    }

    #[test]
    fn numbers_are_those_of_the_kernel() {
        let table = [
            ("read", Some(0), Some(3), Some(0), Some(63)),
            ("clone3", Some(435), Some(435), Some(435), Some(435)),
            ("execve", Some(59), Some(11), Some(520), Some(221)),
            ("socketcall", None, Some(102), None, None),
            ("file_setattr", Some(469), Some(469), Some(469), Some(469)),
            ("no_such_call", None, None, None, None),
        ];
        for (name, x86_64, x86, x32, aarch64) in table {
            assert_eq!(Arch::X86_64.number(name), x86_64, "{name}");
            assert_eq!(Arch::X86.number(name), x86, "{name}");
            assert_eq!(Arch::X32.number(name), x32.map(|number| number + X32_BIT), "{name}");
            assert_eq!(Arch::Aarch64.number(name), aarch64, "{name}");
        }
    }
}
