//! Limits as systemd has them. It writes them to the kernel by itself, also when it is told to reload; the shim writes them once more,
//! exactly, and what systemd has no name for.
//!
//! *Invariant:* what is not asked for is not named, but for tasks, of which systemd would grant a part of the machine's.
//!
//! Source: systemd.resource-control(5), systemd 250.

use orlop_model::container::Resources;
use zbus::zvariant::Value;

use super::Properties;

/// No limit.
const INFINITY: u64 = u64::MAX;
/// The kernel's own period, microseconds.
const PERIOD: u64 = 100_000;

/// `scope`: of a container; its tasks are named in any case.
pub(super) fn of(limits: &Resources, scope: bool) -> Properties {
    let mut all = Properties::new();
    let mut put = |name: &'static str, value: u64| all.push((name, Value::from(value)));
    let further = limits.further.as_deref();
    if limits.cpu_shares > 0 && further.and_then(|further| further.cpu_idle).unwrap_or(0) == 0 {
        put("CPUWeight", u64::from(orlop_cgroup::plan::weight(limits.cpu_shares)));
    }
    let period = u64::try_from(limits.cpu_period).ok().filter(|period| *period > 0);
    match u64::try_from(limits.cpu_quota) {
        Ok(0) => {}
        Ok(quota) => {
            put("CPUQuotaPerSecUSec", per_second(quota, period.unwrap_or(PERIOD)));
            put("CPUQuotaPeriodUSec", period.unwrap_or(PERIOD));
        }
        Err(_) => put("CPUQuotaPerSecUSec", INFINITY),
    }
    let limit = |bytes: i64| match bytes {
        0 => None,
        bytes => Some(u64::try_from(bytes).unwrap_or(INFINITY)),
    };
    if let Some(bytes) = limit(limits.memory_limit) {
        put("MemoryMax", bytes);
    }
    match limits.memory_swap_limit {
        0 => {}
        both => put(
            "MemorySwapMax",
            u64::try_from(both).map_or(INFINITY, |both| {
                both.saturating_sub(u64::try_from(limits.memory_limit).unwrap_or(0))
            }),
        ),
    }
    if let Some(bytes) = further.and_then(|further| limit(further.memory_reservation)) {
        put("MemoryLow", bytes);
    }
    for (file, name) in [
        ("memory.max", "MemoryMax"),
        ("memory.high", "MemoryHigh"),
        ("memory.low", "MemoryLow"),
        ("memory.min", "MemoryMin"),
        ("memory.swap.max", "MemorySwapMax"),
        ("cpu.weight", "CPUWeight"),
        ("io.weight", "IOWeight"),
    ] {
        if let Some(value) = limits.unified.get(file).and_then(|text| number(text)) {
            put(name, value);
        }
    }
    let tasks = limits.unified.get("pids.max").and_then(|text| number(text));
    let tasks = tasks.or_else(|| {
        let limit = further?.pids_limit?;
        Some(u64::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(INFINITY))
    });
    if let Some(tasks) = tasks.or_else(|| scope.then_some(INFINITY)) {
        put("TasksMax", tasks);
    }
    for (list, name) in [(&limits.cpuset_cpus, "AllowedCPUs"), (&limits.cpuset_mems, "AllowedMemoryNodes")] {
        if !list.is_empty() {
            all.push((name, Value::from(mask(list))));
        }
    }
    // Of one name the last counts, and systemd reads them in order.
    all
}

/// Microseconds of each second, in the steps of 10 ms that systemd counts in: not less than was asked for.
fn per_second(quota: u64, period: u64) -> u64 {
    let exact = u128::from(quota) * 1_000_000 / u128::from(period.max(1));
    u64::try_from(exact.div_ceil(10_000) * 10_000).unwrap_or(INFINITY)
}

/// The number that a file is given; `max` is none.
fn number(text: &str) -> Option<u64> {
    match text.trim() {
        "max" => Some(INFINITY),
        // `default 100` is how weights may be said.
        text => text.strip_prefix("default ").unwrap_or(text).parse().ok(),
    }
}

/// `0-2,7` as a mask: bit n of byte n/8.
fn mask(list: &str) -> Vec<u8> {
    let mut bits = Vec::new();
    let numbers = |part: &str| {
        let (first, end) = part.split_once('-').unwrap_or((part, part));
        Some((first.parse::<usize>().ok()?, end.parse::<usize>().ok()?))
    };
    for (first, end) in list.split(',').filter_map(numbers) {
        for number in first..=end.min(1 << 16) {
            if bits.len() <= number / 8 {
                bits.resize(number / 8 + 1, 0);
            }
            bits[number / 8] |= 1 << (number % 8);
        }
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(limits: &Resources, scope: bool) -> Vec<(&'static str, String)> {
        let text = |value: Value<'_>| {
            value.downcast_ref::<u64>().map_or_else(|_| value.to_string(), |number| number.to_string())
        };
        of(limits, scope).into_iter().map(|(name, value)| (name, text(value))).collect()
    }

    #[test]
    fn nothing_asked_for_is_no_limit_of_tasks() {
        assert_eq!(shown(&Resources::default(), true), [("TasksMax", u64::MAX.to_string())]);
        assert_eq!(shown(&Resources::default(), false), []);
    }

    #[test]
    fn every_limit_that_systemd_has_a_name_for() {
        let mut limits = Resources {
            cpu_shares: 1024,
            cpu_quota: 25_001,
            cpu_period: 50_000,
            memory_limit: 100,
            memory_swap_limit: 150,
            cpuset_cpus: "0-2,9".into(),
            ..Resources::default()
        };
        for (file, value) in [("memory.high", "90"), ("memory.min", "max"), ("pids.max", "20")] {
            limits.unified.insert(file.into(), value.into());
        }
        let expected = [
            ("CPUWeight", "100".to_owned()),
            ("CPUQuotaPerSecUSec", "510000".into()),
            ("CPUQuotaPeriodUSec", "50000".into()),
            ("MemoryMax", "100".into()),
            ("MemorySwapMax", "50".into()),
            ("MemoryHigh", "90".into()),
            ("MemoryMin", u64::MAX.to_string()),
            ("TasksMax", "20".into()),
            ("AllowedCPUs", "[7, 2]".into()),
        ];
        assert_eq!(
            shown(&limits, true).iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            expected.iter().map(|(name, _)| *name).collect::<Vec<_>>()
        );
        assert_eq!(shown(&limits, true)[..8], expected[..8]);
        assert_eq!(mask("0-2,9"), [7, 2]);
        limits.cpu_quota = -1;
        assert!(shown(&limits, true).contains(&("CPUQuotaPerSecUSec", u64::MAX.to_string())));
    }
}
