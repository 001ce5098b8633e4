//! What a pod may use, all in all: the sums of its containers' limits, and what it takes itself.
//!
//! *Invariant:* a sum of which a part has no limit has none; whoever sums has left such parts out, and then says 0.

use orlop_model::container::Resources;
use orlop_proto::runtime::v1::LinuxContainerResources as Limits;

/// As kubelet told them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sums {
    pub(crate) resources: Option<Limits>,
    pub(crate) overhead: Option<Limits>,
}

impl Sums {
    /// Both together, as a cgroup can have them.
    pub(super) fn total(&self) -> Resources {
        let resources = self.resources.clone().unwrap_or_default();
        let overhead = self.overhead.clone().unwrap_or_default();
        let sum = |sum: i64, more: i64| if sum > 0 { sum.saturating_add(more.max(0)) } else { 0 };
        let period = if resources.cpu_period > 0 { resources.cpu_period } else { PERIOD };
        let of = if overhead.cpu_period > 0 { overhead.cpu_period } else { PERIOD };
        // What it takes itself, in the period of the others.
        let more = i128::from(overhead.cpu_quota.max(0)) * i128::from(period) / i128::from(of);
        Resources {
            cpu_period: resources.cpu_period,
            cpu_quota: sum(resources.cpu_quota, i64::try_from(more).unwrap_or(i64::MAX)),
            cpu_shares: sum(resources.cpu_shares, overhead.cpu_shares).min(SHARES),
            memory_limit: sum(resources.memory_limit_in_bytes, overhead.memory_limit_in_bytes),
            memory_swap_limit: sum(
                resources.memory_swap_limit_in_bytes,
                overhead.memory_swap_limit_in_bytes.max(overhead.memory_limit_in_bytes),
            ),
            ..Resources::default()
        }
    }
}

/// The kernel's own period, microseconds.
const PERIOD: i64 = 100_000;
/// The most shares that there are.
const SHARES: i64 = 262_144;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_sum_and_none_stays_none() {
        let resources = Limits {
            cpu_period: 50_000,
            cpu_quota: 25_000,
            cpu_shares: 262_000,
            memory_limit_in_bytes: 100,
            ..Limits::default()
        };
        let overhead =
            Limits { cpu_quota: 10_000, cpu_shares: 1024, memory_limit_in_bytes: 20, ..Limits::default() };
        let sums = Sums { resources: Some(resources), overhead: Some(overhead.clone()) };
        let total = sums.total();
        assert_eq!((total.cpu_period, total.cpu_quota, total.cpu_shares), (50_000, 30_000, 262_144));
        assert_eq!((total.memory_limit, total.memory_swap_limit), (120, 0));
        assert_eq!(Sums { resources: None, overhead: Some(overhead) }.total(), Resources::default());
    }
}
