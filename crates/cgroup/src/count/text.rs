//! The kernel's files, taken apart.
//!
//! *Invariant:* a line that is not understood is passed over: newer kernels have more of them.

use super::{Memory, Share, Stall};

/// A limit above this is none: `PAGE_COUNTER_MAX` in bytes, rounded as the kernel's page size has it.
const NO_LIMIT: u64 = 1 << 62;

/// A file of one number.
pub(super) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A file of one number, or `max` or what amounts to it: no limit.
pub(super) fn limit(text: &str) -> Option<u64> {
    number(text).filter(|limit| *limit <= NO_LIMIT)
}

/// The number behind `key` in a file of lines `KEY NUMBER`.
pub(super) fn field(text: &str, key: &str) -> Option<u64> {
    lines(text).find(|(found, _)| *found == key).map(|(_, value)| value)
}

/// Lines `KEY NUMBER`.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, value.trim().parse().ok()?))
    })
}

/// `memory.stat` of v1, whose `total_` lines include the cgroups below.
pub(super) fn memory_v1(text: &str, usage: u64) -> Memory {
    let mut memory = Memory { usage, ..Memory::default() };
    let (mut faults, mut major) = (0, 0);
    for (key, value) in lines(text) {
        match key {
            "pgfault" => faults = value,
            "pgmajfault" => major = value,
            "total_inactive_file" => memory.inactive_file = value,
            "total_active_file" => memory.active_file = value,
            "total_rss" => memory.rss = value,
            "total_cache" => memory.cache = value,
            "total_mapped_file" => memory.mapped_file = value,
            "total_pgfault" => memory.faults = value,
            "total_pgmajfault" => memory.major_faults = value,
            "total_swap" => memory.swap = Some(value),
            _ => {}
        }
    }
    memory.own_faults = Some((faults, major));
    memory
}

/// `memory.stat` of v2, whose lines include the cgroups below.
pub(super) fn memory_v2(text: &str, usage: u64) -> Memory {
    let mut memory = Memory { usage, ..Memory::default() };
    for (key, value) in lines(text) {
        match key {
            "anon" => memory.rss = value,
            "file" => memory.cache = value,
            "file_mapped" => memory.mapped_file = value,
            "inactive_file" => memory.inactive_file = value,
            "active_file" => memory.active_file = value,
            "pgfault" => memory.faults = value,
            "pgmajfault" => memory.major_faults = value,
            "kernel" => memory.kernel = Some(value),
            _ => {}
        }
    }
    memory
}

/// A pressure file: `some avg10=0.12 avg60=... avg300=... total=123`, and a line `full` likewise.
pub(super) fn stall(text: &str) -> Option<Stall> {
    let mut stall = None;
    for line in text.lines() {
        let Some((kind, rest)) = line.split_once(' ') else { continue };
        let share = share(rest);
        match kind {
            "some" => stall.get_or_insert_with(Stall::default).some = share,
            "full" => stall.get_or_insert_with(Stall::default).full = share,
            _ => {}
        }
    }
    stall
}

fn share(text: &str) -> Share {
    let mut share = Share::default();
    for (key, value) in text.split(' ').filter_map(|pair| pair.split_once('=')) {
        let average = || value.parse().unwrap_or_default();
        match key {
            "avg10" => share.avg10 = average(),
            "avg60" => share.avg60 = average(),
            "avg300" => share.avg300 = average(),
            "total" => share.total = value.parse().unwrap_or_default(),
            _ => {}
        }
    }
    share
}

/// v2's weight as v1's shares, the way kubelet's own conversion goes: 1 to 10000 onto 2 to 262144.
pub(super) fn shares(weight: u64) -> u64 {
    2 + weight.saturating_sub(1) * 262_142 / 9999
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_v1_is_that_of_the_whole_tree() {
        let text = "cache 1\nrss 2\npgfault 7\npgmajfault 1\ninactive_file 5\nhierarchical_memory_limit 4096\n\
                    total_cache 100\ntotal_rss 200\ntotal_mapped_file 30\ntotal_swap 4\ntotal_pgfault 70\n\
                    total_pgmajfault 10\ntotal_inactive_file 50\ntotal_active_file 51\nstrange line\n";
        let memory = memory_v1(text, 1000);
        assert_eq!(
            memory,
            Memory {
                usage: 1000,
                inactive_file: 50,
                active_file: 51,
                rss: 200,
                cache: 100,
                mapped_file: 30,
                faults: 70,
                major_faults: 10,
                own_faults: Some((7, 1)),
                swap: Some(4),
                ..Memory::default()
            }
        );
        assert_eq!(memory.working_set(), 950);
        assert_eq!(memory.available(), None);
        assert_eq!(Memory { limit: Some(2000), ..memory }.available(), Some(1050));
        assert_eq!(Memory { swap_limit: Some(10), ..memory }.swap_available(), Some(6));
        assert_eq!(Memory { usage: 20, limit: Some(0), ..memory }.available(), Some(0));
    }

    #[test]
    fn memory_of_v2() {
        let text = "anon 10\nfile 20\nkernel 3\nfile_mapped 4\ninactive_anon 99\ninactive_file 5\nactive_file 6\n\
                    pgfault 7\npgmajfault 8\n";
        let memory = memory_v2(text, 40);
        assert_eq!(
            (memory.rss, memory.cache, memory.mapped_file, memory.working_set(), memory.kernel),
            (10, 20, 4, 35, Some(3))
        );
        assert_eq!((memory.faults, memory.major_faults, memory.swap, memory.own_faults), (7, 8, None, None));
    }

    #[test]
    fn pressure() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.03 total=123456\nfull avg10=0.50 avg60=0.00 avg300=0.01 total=99\n";
        let stall = stall(text).unwrap();
        assert_eq!(stall.some, Share { avg10: 1.5, avg60: 0.25, avg300: 0.03, total: 123_456 });
        assert_eq!(stall.full, Share { avg10: 0.5, avg60: 0.0, avg300: 0.01, total: 99 });
        // Kernels before 5.13 have no second line for the CPU.
        assert_eq!(super::stall("some avg10=0.00 total=1\n").unwrap().full, Share::default());
        assert_eq!(super::stall("\nnonsense\n"), None);
    }

    #[test]
    fn limits() {
        assert_eq!(limit("max\n"), None);
        assert_eq!(limit("9223372036854771712\n"), None);
        assert_eq!(limit("67108864\n"), Some(67_108_864));
        assert_eq!(limit("-1\n"), None);
        assert_eq!(field("a 1\nab 2\n", "ab"), Some(2));
        assert_eq!(field("a 1\n", "b"), None);
    }

    #[test]
    fn a_weight_is_shares() {
        assert_eq!((shares(1), shares(100), shares(10_000)), (2, 2597, 262_144));
    }
}
