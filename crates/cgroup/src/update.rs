//! Limits of a cgroup that is in use become others, all of them or none.
//!
//! *Invariant:* only what differs is written. Between two writes no value is one that the kernel refuses beside the others, and if it
//! refuses one, what was written before it is put back as it was read.
//!
//! Sources: `cgroup-v1/memory.rst` (memory and swap together are never less than memory), `scheduler/sched-bwc.rst` (a child's
//! part of the CPU is never more than its parent's), `cgroup-v2.rst` (`memory.max` below what is used ends in the OOM killer).

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use orlop_model::container::Resources;
use orlop_wire::plan::{Cgroup, CgroupWrite};

use crate::Error;
use crate::act;
use crate::hierarchy::Hierarchies;
use crate::plan::plan;

/// One value of a cgroup that becomes another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The file.
    pub file: PathBuf,
    /// What is written to it.
    pub value: String,
    /// Whether it is an error if it cannot be.
    pub required: bool,
}

/// What has to be written so that the limits of the container at `path` become `after`, in an order that the kernel accepts; and what
/// its parents need before, which can stay.
///
/// # Errors
/// As [`plan`].
pub fn changes(
    hierarchies: &Hierarchies,
    path: &str,
    before: &Resources,
    after: &Resources,
) -> Result<(Vec<Cgroup>, Vec<Change>), Error> {
    let had = plan(hierarchies, path, before, &[])?.cgroups;
    let (parents, own): (Vec<Cgroup>, Vec<Cgroup>) =
        plan(hierarchies, path, after, &[])?.cgroups.into_iter().partition(|cgroup| cgroup.keep);
    let mut all = Vec::new();
    for cgroup in own {
        let same = |write: &CgroupWrite| {
            had.iter().any(|had| had.directory == cgroup.directory && had.writes.contains(write))
        };
        let directory = Path::new(OsStr::from_bytes(cgroup.directory.as_bytes()));
        let change = |write: &CgroupWrite| Change {
            file: directory.join(OsStr::from_bytes(write.file.as_bytes())),
            value: write.value.to_string_lossy().into_owned(),
            required: write.required,
        };
        let mut its: Vec<Change> = cgroup.writes.iter().filter(|write| !same(write)).map(change).collect();
        order(&mut its);
        all.append(&mut its);
    }
    Ok((parents, all))
}

/// The number that a file has.
fn number(file: &Path) -> Option<i64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Puts two values that may not contradict each other into the order in which they never do.
fn order(changes: &mut [Change]) {
    let at = |name: &str| changes.iter().position(|change| change.file.ends_with(name));
    if let (Some(memory), Some(both)) = (at("memory.limit_in_bytes"), at("memory.memsw.limit_in_bytes")) {
        // More memory than memory and swap may have now: that first.
        let now = number(&changes[both].file).unwrap_or(i64::MAX);
        let more = changes[memory].value.parse().is_ok_and(|limit: i64| limit > now || limit < 0);
        if more == (memory < both) {
            changes.swap(memory, both);
        }
    }
    let at = |name: &str| changes.iter().position(|change| change.file.ends_with(name));
    if let (Some(period), Some(quota)) = (at("cpu.cfs_period_us"), at("cpu.cfs_quota_us")) {
        let value = |at: usize| changes[at].value.parse::<i64>().unwrap_or(-1);
        let now = |at: usize| number(&changes[at].file).unwrap_or(-1);
        // The part of a CPU that it would have between the two writes, by either order; without a quota all of it.
        let part = |quota: i64, period: i64| {
            if quota < 0 { i128::MAX } else { i128::from(quota) * 1_000_000 / i128::from(period.max(1)) }
        };
        let period_first = part(now(quota), value(period)) <= part(value(quota), now(period));
        if period_first != (period < quota) {
            changes.swap(period, quota);
        }
    }
}

/// What was before, to be put back.
#[derive(Debug, Default)]
#[must_use = "what follows a change may fail, and then it has to be undone"]
pub struct Undo {
    before: Vec<(PathBuf, String)>,
}

impl Undo {
    /// Puts back what was before, the last first. What the kernel does not take stays as it is.
    pub fn undo(self) {
        for (file, text) in self.before.iter().rev() {
            // A file of many lines takes them one by one.
            for line in text.lines() {
                let _ = act::put(file, line.as_bytes());
            }
        }
    }
}

/// Writes the changes, in order.
///
/// # Errors
/// [`Error::InUse`] if a limit of memory is below what cannot be given up (v2 would kill for it); [`Error::Write`] for a value that
/// is required. All is as it was before, then.
pub fn change(changes: &[Change]) -> Result<Undo, Error> {
    for change in changes.iter().filter(|change| change.file.ends_with("memory.max")) {
        check_in_use(change)?;
    }
    let mut undo = Undo::default();
    for change in changes {
        let before = fs::read_to_string(&change.file);
        match act::put(&change.file, change.value.as_bytes()).and_then(|()| act::holds(&change.file)) {
            Ok(()) => undo.before.extend(before.ok().map(|before| (change.file.clone(), before))),
            Err(_) if !change.required => {}
            Err(source) => {
                undo.undo();
                let (file, value) = (change.file.clone(), change.value.clone());
                return Err(Error::Write { file, value, source });
            }
        }
    }
    Ok(undo)
}

/// Whether memory that is in use and cannot be given up has room below a new `memory.max`.
fn check_in_use(change: &Change) -> Result<(), Error> {
    let (Some(directory), Ok(limit)) = (change.file.parent(), change.value.parse::<u64>()) else {
        return Ok(());
    };
    let Some(used) = number(&directory.join("memory.current")).and_then(|used| u64::try_from(used).ok())
    else {
        return Ok(());
    };
    let stat = fs::read_to_string(directory.join("memory.stat")).unwrap_or_default();
    let of = |name: &str| {
        let line = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
    };
    // Files' pages can be given up, those of tmpfs among them cannot.
    let kept = used.saturating_sub(of("file").saturating_sub(of("shmem")));
    if kept > limit {
        return Err(Error::InUse { directory: directory.to_owned(), used: kept, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[(&str, &str)]) -> tempfile::TempDir {
        let place = tempfile::tempdir().expect("a directory");
        for (name, text) in names {
            fs::write(place.path().join(name), text).expect("written");
        }
        place
    }

    fn ordered(place: &Path, changes: &[(&str, &str)]) -> Vec<String> {
        let mut all: Vec<Change> = changes
            .iter()
            .map(|(name, value)| Change { file: place.join(name), value: (*value).into(), required: true })
            .collect();
        order(&mut all);
        all.iter()
            .map(|change| change.file.file_name().unwrap_or_default().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn memory_is_never_more_than_memory_and_swap() {
        let (memory, both) = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes");
        let place = files(&[(memory, "100"), (both, "200")]);
        for (new, first) in [((300, 300), both), ((50, 50), memory), ((150, 150), memory), ((250, 400), both)]
        {
            let (limit, sum) = (new.0.to_string(), new.1.to_string());
            for changes in [[(memory, &*limit), (both, &*sum)], [(both, &*sum), (memory, &*limit)]] {
                assert_eq!(ordered(place.path(), &changes)[0], first, "{new:?}");
            }
        }
    }

    #[test]
    fn the_part_of_a_cpu_is_between_two_writes_the_less_of_both() {
        let (period, quota) = ("cpu.cfs_period_us", "cpu.cfs_quota_us");
        let place = files(&[(period, "100000"), (quota, "50000")]);
        for (new, first) in [
            (("50000", "25000"), quota),
            (("200000", "100000"), period),
            (("100000", "-1"), period),
            (("10000", "1000"), quota),
        ] {
            for changes in [[(period, new.0), (quota, new.1)], [(quota, new.1), (period, new.0)]] {
                assert_eq!(ordered(place.path(), &changes)[0], first, "{new:?}");
            }
        }
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let place = files(&[("one", "1\n"), ("two", "2\n")]);
        let change_of = |name: &str, value: &str, required| Change {
            file: place.path().join(name),
            value: value.into(),
            required,
        };
        // "missing" stands for a file that the kernel refuses.
        let all =
            [change_of("one", "9", true), change_of("missing", "9", false), change_of("two", "9", true)];
        let undo = change(&all).expect("it is not required");
        undo.undo();
        let text = |name: &str| fs::read_to_string(place.path().join(name)).expect("a file");
        assert_eq!((&text("one")[..1], &text("two")[..1]), ("1", "2"));
        let all = [change_of("one", "9", true), change_of("missing", "9", true), change_of("two", "9", true)];
        assert!(matches!(change(&all), Err(Error::Write { file, .. }) if file.ends_with("missing")));
        assert_eq!((&text("one")[..1], &text("two")[..1]), ("1", "2"));
    }

    #[test]
    fn memory_that_cannot_be_given_up_is_not_killed_for() {
        let place = files(&[
            ("memory.max", "max"),
            ("memory.current", "1000\n"),
            ("memory.stat", "anon 300\nfile 700\nshmem 100\nfile_mapped 5\n"),
        ]);
        let limit = |value: &str| {
            [Change { file: place.path().join("memory.max"), value: value.into(), required: true }]
        };
        assert!(matches!(change(&limit("399")), Err(Error::InUse { used: 400, limit: 399, .. })));
        assert_eq!(fs::read_to_string(place.path().join("memory.max")).expect("a file"), "max");
        assert!(change(&limit("400")).is_ok() && change(&limit("max")).is_ok());
    }
}
