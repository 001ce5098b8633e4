//! Limits: CRI's, the protocol's, the model's.
//!
//! *Invariant:* a limit that no cgroup can be given is refused by its name; nothing that is asked for is left out.

use orlop_model::container::{Further, Resources};
use orlop_model::report::{Kind, Report};
use orlop_proto::nri::v1alpha1::{
    HugepageLimit, LinuxCpu, LinuxMemory, LinuxResources, OptionalInt64, OptionalUInt64,
};
use orlop_proto::runtime::v1::{HugepageLimit as Page, LinuxContainerResources as Limits};

/// CRI's limits in the protocol's words; what is not asked for is absent.
pub(super) fn shown(limits: &Limits) -> LinuxResources {
    let signed = |value: i64| Some(value).filter(|value| *value != 0).map(|value| OptionalInt64 { value });
    let unsigned = |value: i64| {
        u64::try_from(value).ok().filter(|value| *value != 0).map(|value| OptionalUInt64 { value })
    };
    let page = |page: &Page| HugepageLimit { page_size: page.page_size.clone(), limit: page.limit };
    LinuxResources {
        memory: Some(LinuxMemory {
            limit: signed(limits.memory_limit_in_bytes),
            swap: signed(limits.memory_swap_limit_in_bytes),
            ..LinuxMemory::default()
        }),
        cpu: Some(LinuxCpu {
            shares: unsigned(limits.cpu_shares),
            quota: signed(limits.cpu_quota),
            period: unsigned(limits.cpu_period),
            cpus: limits.cpuset_cpus.clone(),
            mems: limits.cpuset_mems.clone(),
            ..LinuxCpu::default()
        }),
        hugepage_limits: limits.hugepage_limits.iter().map(page).collect(),
        unified: limits.unified.clone(),
        ..LinuxResources::default()
    }
}

/// The model's limits in CRI's words, for status and for later updates; what CRI has no word for is not in it.
pub(super) fn of_model(resources: &Resources) -> Limits {
    Limits {
        cpu_period: resources.cpu_period,
        cpu_quota: resources.cpu_quota,
        cpu_shares: resources.cpu_shares,
        memory_limit_in_bytes: resources.memory_limit,
        oom_score_adj: resources.oom_score_adj,
        cpuset_cpus: resources.cpuset_cpus.clone(),
        cpuset_mems: resources.cpuset_mems.clone(),
        hugepage_limits: resources
            .hugepages
            .iter()
            .map(|(size, limit)| Page { page_size: size.clone(), limit: *limit })
            .collect(),
        unified: resources.unified.clone(),
        memory_swap_limit_in_bytes: resources.memory_swap_limit,
    }
}

fn cannot(field: &str, value: impl std::fmt::Display, cause: &str) -> Report {
    Report::new(Kind::Unsupported, format!("NRI {field}"), value.to_string(), cause)
}

/// What no cgroup has a file for.
fn impossible(wanted: &LinuxResources) -> Result<(), Report> {
    let memory = wanted.memory.unwrap_or_default();
    for (field, value) in [("memory.kernel", memory.kernel), ("memory.kernel_tcp", memory.kernel_tcp)] {
        if let Some(OptionalInt64 { value }) = value.filter(|limit| limit.value > 0) {
            return Err(cannot(
                field,
                value,
                "kernels have no limit of their own for the kernel's memory any more",
            ));
        }
    }
    if memory.use_hierarchy.is_some_and(|flag| !flag.value) {
        return Err(cannot("memory.use_hierarchy", false, "cgroups are always hierarchical"));
    }
    for (field, class) in [("blockio_class", &wanted.blockio_class), ("rdt_class", &wanted.rdt_class)] {
        if let Some(class) = class.as_ref().filter(|class| !class.value.is_empty()) {
            return Err(cannot(field, &class.value, "this node has no classes"));
        }
    }
    Ok(())
}

/// Takes what CRI has words for into its limits, for an update.
///
/// # Errors
/// The field that an update cannot change.
pub(super) fn update(wanted: &LinuxResources) -> Result<Limits, Report> {
    impossible(wanted)?;
    let memory = wanted.memory.unwrap_or_default();
    let cpu = wanted.cpu.clone().unwrap_or_default();
    let only_at_creation = [
        ("memory.reservation", memory.reservation.is_some_and(|limit| limit.value != 0)),
        ("memory.swappiness", memory.swappiness.is_some()),
        ("memory.disable_oom_killer", memory.disable_oom_killer.is_some_and(|flag| flag.value)),
        ("cpu.realtime_runtime", cpu.realtime_runtime.is_some_and(|limit| limit.value != 0)),
        ("cpu.realtime_period", cpu.realtime_period.is_some_and(|limit| limit.value != 0)),
        ("pids", wanted.pids.is_some_and(|pids| pids.limit != 0)),
        ("devices", !wanted.devices.is_empty()),
    ];
    if let Some((field, _)) = only_at_creation.iter().find(|(_, asked)| *asked) {
        return Err(cannot(field, "", "it can be set when a container is created, not afterwards"));
    }
    let mut resources = Resources::default();
    lay(&mut resources, wanted);
    Ok(of_model(&resources))
}

/// Takes all of it into a container's limits, at its creation.
///
/// # Errors
/// The field that no cgroup can be given.
pub(super) fn apply(resources: &mut Resources, wanted: &LinuxResources) -> Result<(), Report> {
    impossible(wanted)?;
    lay(resources, wanted);
    let mut further = resources.further.take().map(|further| *further).unwrap_or_default();
    if let Some(memory) = &wanted.memory {
        if let Some(limit) = &memory.reservation {
            further.memory_reservation = limit.value;
        }
        if let Some(swappiness) = &memory.swappiness {
            further.memory_swappiness = Some(swappiness.value);
        }
        if let Some(disable) = &memory.disable_oom_killer {
            further.memory_disable_oom_killer = disable.value;
        }
    }
    if let Some(cpu) = &wanted.cpu {
        if let Some(runtime) = &cpu.realtime_runtime {
            further.cpu_realtime_runtime = runtime.value;
        }
        if let Some(period) = &cpu.realtime_period {
            further.cpu_realtime_period = period.value;
        }
    }
    if let Some(pids) = &wanted.pids {
        further.pids_limit = Some(pids.limit);
    }
    resources.further = Some(further).filter(|further| *further != Further::default()).map(Box::new);
    Ok(())
}

fn lay(resources: &mut Resources, wanted: &LinuxResources) {
    if let Some(memory) = &wanted.memory {
        if let Some(limit) = &memory.limit {
            resources.memory_limit = limit.value;
        }
        match &memory.swap {
            Some(swap) => resources.memory_swap_limit = swap.value,
            // It counts memory, too: one that was enough before may not be any more.
            None if resources.memory_swap_limit > 0 && memory.limit.is_some() => {
                resources.memory_swap_limit = resources.memory_swap_limit.max(resources.memory_limit);
            }
            None => {}
        }
    }
    if let Some(cpu) = &wanted.cpu {
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        if let Some(shares) = &cpu.shares {
            resources.cpu_shares = signed(shares.value);
        }
        if let Some(quota) = &cpu.quota {
            resources.cpu_quota = quota.value;
        }
        if let Some(period) = &cpu.period {
            resources.cpu_period = signed(period.value);
        }
        for (from, to) in [(&cpu.cpus, &mut resources.cpuset_cpus), (&cpu.mems, &mut resources.cpuset_mems)] {
            if !from.is_empty() {
                to.clone_from(from);
            }
        }
    }
    resources.hugepages.retain(|(size, _)| wanted.hugepage_limits.iter().all(|page| page.page_size != *size));
    resources
        .hugepages
        .extend(wanted.hugepage_limits.iter().map(|page| (page.page_size.clone(), page.limit)));
    resources.unified.extend(wanted.unified.clone());
}
