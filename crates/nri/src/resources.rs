//! Limits: which are set, and one set of them laid over another.
//!
//! *Invariant:* what is absent, or an empty text, is not set. Rules of devices add up and have no owner.

use orlop_proto::nri::v1alpha1::{Field, LinuxResources};

use crate::entries::Claim;
use crate::owners::Conflict;

/// Claims every limit that `wanted` sets.
pub(crate) fn claim(wanted: &LinuxResources, claim: &mut Claim<'_>) -> Result<(), Conflict> {
    let memory = wanted.memory.unwrap_or_default();
    let cpu = wanted.cpu.clone().unwrap_or_default();
    let set = [
        (memory.limit.is_some(), Field::MemLimit),
        (memory.reservation.is_some(), Field::MemReservation),
        (memory.swap.is_some(), Field::MemSwapLimit),
        (memory.kernel.is_some(), Field::MemKernelLimit),
        (memory.kernel_tcp.is_some(), Field::MemTcpLimit),
        (memory.swappiness.is_some(), Field::MemSwappiness),
        (memory.disable_oom_killer.is_some(), Field::MemDisableOomKiller),
        (memory.use_hierarchy.is_some(), Field::MemUseHierarchy),
        (cpu.shares.is_some(), Field::CpuShares),
        (cpu.quota.is_some(), Field::CpuQuota),
        (cpu.period.is_some(), Field::CpuPeriod),
        (cpu.realtime_runtime.is_some(), Field::CpuRealtimeRuntime),
        (cpu.realtime_period.is_some(), Field::CpuRealtimePeriod),
        (!cpu.cpus.is_empty(), Field::CpuSetCpUs),
        (!cpu.mems.is_empty(), Field::CpuSetMems),
        (wanted.pids.is_some(), Field::PidsLimit),
        (wanted.blockio_class.is_some(), Field::BlockioClass),
        (wanted.rdt_class.is_some(), Field::RdtClass),
    ];
    for (_, field) in set.into_iter().filter(|(set, _)| *set) {
        claim.field(field)?;
    }
    for limit in &wanted.hugepage_limits {
        claim.entry(Field::HugepageLimits, &limit.page_size)?;
    }
    for file in wanted.unified.keys() {
        claim.entry(Field::CgroupsUnified, file)?;
    }
    Ok(())
}

macro_rules! lay {
    ($from:expr, $over:expr, $($field:ident),*) => {
        $(if $from.$field.is_some() { $over.$field.clone_from(&$from.$field); })*
    };
}

/// Puts what `wanted` sets in place of what `there` has.
pub(crate) fn lay_over(there: &mut LinuxResources, wanted: &LinuxResources) {
    if let Some(from) = &wanted.memory {
        let over = there.memory.get_or_insert_default();
        lay!(from, over, limit, reservation, swap, kernel, kernel_tcp, swappiness);
        lay!(from, over, disable_oom_killer, use_hierarchy);
    }
    if let Some(from) = &wanted.cpu {
        let over = there.cpu.get_or_insert_default();
        lay!(from, over, shares, quota, period, realtime_runtime, realtime_period);
        for (from, over) in [(&from.cpus, &mut over.cpus), (&from.mems, &mut over.mems)] {
            if !from.is_empty() {
                over.clone_from(from);
            }
        }
    }
    lay!(wanted, there, blockio_class, rdt_class, pids);
    there
        .hugepage_limits
        .retain(|old| wanted.hugepage_limits.iter().all(|new| new.page_size != old.page_size));
    there.hugepage_limits.extend(wanted.hugepage_limits.iter().cloned());
    there.unified.extend(wanted.unified.clone());
    there.devices.extend(wanted.devices.iter().cloned());
}
