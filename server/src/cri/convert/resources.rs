//! Limits.
//!
//! What the kernel's files would refuse is refused here; what they take is left to them.
//!
//! *Invariant:* the same for a new container, an update, and a pod's sums.

use std::collections::{BTreeMap, HashSet};

use orlop_model::container::Resources;
use orlop_model::report::Report;
use orlop_proto::runtime::v1::LinuxContainerResources;

use super::{check, unsupported};

/// More CPUs or memory nodes than any kernel is built for.
const CPUSET_MAX: u32 = 65535;

/// CPUs or memory nodes as cpuset(7) lists them: `0-3,7`.
fn cpuset(field: &str, text: &str) -> Result<String, Report> {
    let number = |digits: &str| {
        let plain = (1..=5).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<u32>().ok()).flatten().filter(|number| *number <= CPUSET_MAX)
    };
    let range = |part: &str| match part.split_once('-') {
        None => number(part).is_some(),
        Some((first, last)) => matches!((number(first), number(last)), (Some(a), Some(b)) if a <= b),
    };
    check::text(field, text, 4096)?;
    if text.is_empty() || text.split(',').all(range) {
        Ok(text.to_owned())
    } else {
        Err(Report::field(field, text, "it is no list of numbers and ranges").advise("as 0-3,7"))
    }
}

/// A huge page's size as the kernel's files name it: `2MB`.
fn page_size(text: &str) -> bool {
    let digits = ["KB", "MB", "GB"].iter().find_map(|unit| text.strip_suffix(unit)).unwrap_or_default();
    (1..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0')
}

/// A file of a cgroup v2 that holds a limit: `memory.high`. Those of the cgroup's own core move, freeze and kill processes.
fn unified_key(key: &str) -> bool {
    key.split_once('.').is_some_and(|(controller, file)| {
        !controller.is_empty()
            && !file.is_empty()
            && controller != "cgroup"
            && key.len() <= 255
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_'))
            && !key.contains("..")
    })
}

fn hugepages(field: &str, asked: &LinuxContainerResources) -> Result<Vec<(String, u64)>, Report> {
    let mut seen = HashSet::new();
    let mut limits = Vec::new();
    for (at, limit) in asked.hugepage_limits.iter().enumerate() {
        let field = format!("{field}.hugepage_limits[{at}]");
        let size = limit.page_size.as_str();
        if !page_size(size) {
            let cause = "it is no size of a page";
            return Err(Report::field(format!("{field}.page_size"), size, cause).advise("as 2MB or 1GB"));
        }
        if !seen.insert(size) {
            return Err(Report::field(format!("{field}.page_size"), size, "it is there twice"));
        }
        if limit.limit > i64::MAX as u64 {
            return Err(Report::field(format!("{field}.limit"), limit.limit, "no machine has so many bytes"));
        }
        limits.push((size.to_owned(), limit.limit));
    }
    Ok(limits)
}

/// What `asked` names, and `now` for the rest: 0, empty and absent mean unchanged; of page sizes and files each by itself.
pub(crate) fn merged(
    now: &LinuxContainerResources,
    asked: &LinuxContainerResources,
) -> LinuxContainerResources {
    let number = |now: i64, asked: i64| if asked == 0 { now } else { asked };
    let text = |now: &String, asked: &String| if asked.is_empty() { now.clone() } else { asked.clone() };
    let mut pages = now.hugepage_limits.clone();
    pages.retain(|page| asked.hugepage_limits.iter().all(|new| new.page_size != page.page_size));
    pages.extend(asked.hugepage_limits.iter().cloned());
    let mut unified = now.unified.clone();
    unified.extend(asked.unified.clone());
    LinuxContainerResources {
        cpu_period: number(now.cpu_period, asked.cpu_period),
        cpu_quota: number(now.cpu_quota, asked.cpu_quota),
        cpu_shares: number(now.cpu_shares, asked.cpu_shares),
        memory_limit_in_bytes: number(now.memory_limit_in_bytes, asked.memory_limit_in_bytes),
        oom_score_adj: number(now.oom_score_adj, asked.oom_score_adj),
        cpuset_cpus: text(&now.cpuset_cpus, &asked.cpuset_cpus),
        cpuset_mems: text(&now.cpuset_mems, &asked.cpuset_mems),
        hugepage_limits: pages,
        unified,
        memory_swap_limit_in_bytes: number(now.memory_swap_limit_in_bytes, asked.memory_swap_limit_in_bytes),
    }
}

/// What stands beside the limits in an update.
///
/// # Errors
/// If it is one of Windows, or annotations are too large.
pub(crate) fn update_of_linux(windows: bool, annotations: &BTreeMap<String, String>) -> Result<(), Report> {
    if windows {
        return Err(unsupported("windows", "a container of Windows"));
    }
    check::map("annotations", annotations).map(drop)
}

/// The limits, if the kernel can have them.
///
/// # Errors
/// A report that names the first field below `field` that cannot be.
pub(crate) fn resources(field: &str, asked: &LinuxContainerResources) -> Result<Resources, Report> {
    let of = |name: &str| format!("{field}.{name}");
    let unless_zero = |name: &str, number: i64, range| match number {
        0 => Ok(0),
        other => check::within(&of(name), other, range),
    };
    let cpu_quota = match asked.cpu_quota {
        -1 => -1,
        // The kernel's shortest slice is a millisecond.
        other => unless_zero("cpu_quota", other, 1000..=i64::MAX / 1000)?,
    };
    let memory_limit =
        check::within(&of("memory_limit_in_bytes"), asked.memory_limit_in_bytes, 0..=i64::MAX)?;
    let swap = asked.memory_swap_limit_in_bytes;
    check::within(&of("memory_swap_limit_in_bytes"), swap, -1..=i64::MAX)?;
    if swap > 0 && swap < memory_limit {
        let cause = format_args!("it counts memory too, and that is {memory_limit}").to_string();
        return Err(Report::field(of("memory_swap_limit_in_bytes"), swap, cause));
    }
    for (key, value) in &asked.unified {
        if !unified_key(key) {
            let cause = "it is no file of a controller";
            return Err(Report::field(of("unified"), key, cause).advise("as memory.high"));
        }
        if value.len() > 4096 || value.contains('\0') {
            return Err(Report::field(of("unified"), key, "its value is too long or has a NUL in it"));
        }
    }
    Ok(Resources {
        cpu_period: unless_zero("cpu_period", asked.cpu_period, 1000..=1_000_000)?,
        cpu_quota,
        cpu_shares: unless_zero("cpu_shares", asked.cpu_shares, 2..=262_144)?,
        memory_limit,
        memory_swap_limit: swap,
        oom_score_adj: check::within(&of("oom_score_adj"), asked.oom_score_adj, -1000..=1000)?,
        cpuset_cpus: cpuset(&of("cpuset_cpus"), &asked.cpuset_cpus)?,
        cpuset_mems: cpuset(&of("cpuset_mems"), &asked.cpuset_mems)?,
        hugepages: hugepages(field, asked)?,
        unified: asked.unified.clone(),
        further: None,
    })
}
