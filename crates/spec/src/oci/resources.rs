//! Limits of a container as the OCI spec has them, for hooks, plugins and other runtimes. What is written to cgroups is made
//! elsewhere, from the request itself.
//!
//! *Invariant:* 0 and empty mean that nothing is asked for, and stay out of the spec.

use oci_spec::runtime::{
    LinuxCpu, LinuxDeviceCgroup, LinuxHugepageLimit, LinuxMemory, LinuxMemoryBuilder, LinuxResources,
};
use orlop_model::container::Resources;

pub(crate) fn resources(asked: &Resources, devices: Vec<LinuxDeviceCgroup>) -> LinuxResources {
    let mut all = LinuxResources::default();
    all.set_devices(Some(devices))
        .set_memory(memory(asked))
        .set_cpu(cpu(asked))
        .set_hugepage_limits(hugepages(asked))
        .set_unified(Some(asked.unified.clone().into_iter().collect()).filter(|_| !asked.unified.is_empty()));
    all
}

fn given(value: i64) -> Option<i64> {
    Some(value).filter(|value| *value != 0)
}

fn memory(asked: &Resources) -> Option<LinuxMemory> {
    let mut memory = LinuxMemoryBuilder::default();
    if let Some(limit) = given(asked.memory_limit) {
        memory = memory.limit(limit);
    }
    if let Some(limit) = given(asked.memory_swap_limit) {
        memory = memory.swap(limit);
    }
    memory.build().ok().filter(|memory| *memory != LinuxMemory::default())
}

fn cpu(asked: &Resources) -> Option<LinuxCpu> {
    let positive = |value: i64| given(value).and_then(|value| u64::try_from(value).ok());
    let text = |value: &String| Some(value.clone()).filter(|value| !value.is_empty());
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(positive(asked.cpu_shares))
        .set_quota(given(asked.cpu_quota))
        .set_period(positive(asked.cpu_period))
        .set_cpus(text(&asked.cpuset_cpus))
        .set_mems(text(&asked.cpuset_mems));
    Some(cpu).filter(|cpu| *cpu != LinuxCpu::default())
}

fn hugepages(asked: &Resources) -> Option<Vec<LinuxHugepageLimit>> {
    let limit = |(size, bytes): &(String, u64)| {
        let mut limit = LinuxHugepageLimit::default();
        limit.set_page_size(size.clone()).set_limit(i64::try_from(*bytes).unwrap_or(i64::MAX));
        limit
    };
    Some(asked.hugepages.iter().map(limit).collect()).filter(|all: &Vec<_>| !all.is_empty())
}
