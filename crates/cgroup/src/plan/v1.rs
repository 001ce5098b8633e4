//! The files of cgroup v1.
//!
//! *Invariant:* values of one directory stand in an order that a directory just made accepts: the limit of memory before that of
//! memory and swap (which may not be lower), the period before the quota, memory nodes and CPUs before anything enters.
//!
//! Sources: `cgroup-v1/memory.rst`, `cpusets.rst`, `devices.rst`, `pids.rst`, `hugetlb.rst`; `scheduler/sched-bwc.rst`.

use std::fs;
use std::io;
use std::path::Path;

use orlop_model::container::Resources;
use orlop_wire::plan::{Cgroup, CgroupWrite};

use super::{cgroup, parents, write};
use crate::Error;
use crate::devices::DeviceRule;

/// What a container's directory gets for `controller`; cpuset is apart, in [`cpuset`].
pub(super) fn writes(
    controller: &str,
    resources: &Resources,
    devices: &[DeviceRule],
    swap: bool,
) -> Result<Vec<CgroupWrite>, Error> {
    match controller {
        "cpu" => cpu(resources),
        "memory" => memory(resources, swap),
        "pids" => pids(resources),
        "blkio" => blkio(resources),
        "rdma" => rdma(resources),
        "hugetlb" => hugetlb(resources),
        "devices" => devices.iter().map(device).collect(),
        // cpuacct, freezer, the named ones: entered for what they count and can do, without limits.
        _ => Ok(Vec::new()),
    }
}

fn cpu(resources: &Resources) -> Result<Vec<CgroupWrite>, Error> {
    let mut writes = Vec::new();
    if resources.cpu_shares > 0 {
        writes.push(write("cpu.shares", resources.cpu_shares, true)?);
    }
    if resources.cpu_period > 0 {
        writes.push(write("cpu.cfs_period_us", resources.cpu_period, true)?);
    }
    if resources.cpu_quota != 0 {
        // -1 is what a new directory has, and every negative number means it.
        writes.push(write("cpu.cfs_quota_us", resources.cpu_quota.max(-1), resources.cpu_quota > 0)?);
    }
    let Some(further) = &resources.further else { return Ok(writes) };
    // Not more than the quota, so after it.
    if let Some(burst) = further.cpu_burst {
        writes.push(write("cpu.cfs_burst_us", burst, true)?);
    }
    if further.cpu_realtime_period > 0 {
        writes.push(write("cpu.rt_period_us", further.cpu_realtime_period, true)?);
    }
    if further.cpu_realtime_runtime != 0 {
        writes.push(write("cpu.rt_runtime_us", further.cpu_realtime_runtime, true)?);
    }
    if let Some(idle) = further.cpu_idle {
        writes.push(write("cpu.idle", idle, true)?);
    }
    Ok(writes)
}

/// By the word of v2, too: the file has the same name and form.
fn pids(resources: &Resources) -> Result<Vec<CgroupWrite>, Error> {
    match (resources.unified.get("pids.max"), super::pids_limit(resources)) {
        (Some(value), _) => Ok(vec![write("pids.max", value, true)?]),
        (None, Some(limit)) => Ok(vec![write("pids.max", limit, true)?]),
        (None, None) => Ok(Vec::new()),
    }
}

fn blkio(resources: &Resources) -> Result<Vec<CgroupWrite>, Error> {
    let Some(further) = &resources.further else { return Ok(Vec::new()) };
    let io = &further.block_io;
    let mut writes = Vec::new();
    // The scheduler that weighs them gives the file its name: BFQ today, CFQ before Linux 5.0.
    for (file, weight) in [("blkio.bfq.weight", io.weight), ("blkio.leaf_weight", io.leaf_weight)] {
        if let Some(weight) = weight {
            writes.push(write(file, weight, true)?);
        }
    }
    for (major, minor, weight) in &io.weight_devices {
        let value = format_args!("{major}:{minor} {weight}").to_string();
        writes.push(write("blkio.bfq.weight_device", value, true)?);
    }
    for (file, devices) in [
        ("blkio.throttle.read_bps_device", &io.read_bps),
        ("blkio.throttle.write_bps_device", &io.write_bps),
        ("blkio.throttle.read_iops_device", &io.read_iops),
        ("blkio.throttle.write_iops_device", &io.write_iops),
    ] {
        for (major, minor, rate) in devices {
            writes.push(write(file, format_args!("{major}:{minor} {rate}"), true)?);
        }
    }
    Ok(writes)
}

/// The same file on both versions: `rdma.max`.
pub(super) fn rdma(resources: &Resources) -> Result<Vec<CgroupWrite>, Error> {
    let all = resources.further.iter().flat_map(|further| &further.rdma);
    let line = |(device, handles, objects): &(String, Option<u32>, Option<u32>)| {
        let part = |name: &str, limit: &Option<u32>| {
            limit.map(|limit| format!(" {name}={limit}")).unwrap_or_default()
        };
        let value = format!("{device}{}{}", part("hca_handle", handles), part("hca_object", objects));
        write("rdma.max", value, true)
    };
    all.map(line).collect()
}

fn memory(resources: &Resources, swap: bool) -> Result<Vec<CgroupWrite>, Error> {
    let mut writes = Vec::new();
    if resources.memory_limit != 0 {
        let limit = resources.memory_limit.max(-1);
        writes.push(write("memory.limit_in_bytes", limit, limit > 0)?);
    }
    // Where swap is not counted there is nothing to limit it by; kubelet sends this limit to every machine.
    if resources.memory_swap_limit != 0 && swap {
        let limit = resources.memory_swap_limit.max(-1);
        writes.push(write("memory.memsw.limit_in_bytes", limit, limit > 0)?);
    }
    let Some(further) = &resources.further else { return Ok(writes) };
    if further.memory_reservation != 0 {
        let limit = further.memory_reservation.max(-1);
        writes.push(write("memory.soft_limit_in_bytes", limit, limit > 0)?);
    }
    if let Some(swappiness) = further.memory_swappiness {
        writes.push(write("memory.swappiness", swappiness, true)?);
    }
    if further.memory_disable_oom_killer {
        writes.push(write("memory.oom_control", 1, true)?);
    }
    Ok(writes)
}

fn hugetlb(resources: &Resources) -> Result<Vec<CgroupWrite>, Error> {
    let mut writes = Vec::new();
    for (size, bytes) in &resources.hugepages {
        writes.push(write(format!("hugetlb.{size}.limit_in_bytes"), bytes, *bytes > 0)?);
        writes.push(write(format!("hugetlb.{size}.rsvd.limit_in_bytes"), bytes, false)?);
    }
    Ok(writes)
}

fn device(rule: &DeviceRule) -> Result<CgroupWrite, Error> {
    let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
    let value = match rule.block {
        None => "a".to_owned(),
        Some(block) => {
            let kind = if block { 'b' } else { 'c' };
            format!("{kind} {}:{} {}", number(rule.major), number(rule.minor), rule.access)
        }
    };
    write(if rule.allow { "devices.allow" } else { "devices.deny" }, value, true)
}

/// What a container gets of CPUs and memory nodes, and the parents that have to get theirs first: a cpuset without them takes
/// neither tasks nor children with any.
pub(super) fn cpuset(
    mount: &Path,
    below: &Path,
    resources: &Resources,
) -> Result<(Vec<Cgroup>, Vec<CgroupWrite>), Error> {
    let mut above = Vec::new();
    let mut own = Vec::new();
    for (file, asked) in [("cpuset.mems", &resources.cpuset_mems), ("cpuset.cpus", &resources.cpuset_cpus)] {
        let mut value = read(&mount.join(file))?.ok_or_else(|| missing(&mount.join(file)))?;
        for parent in parents(below) {
            let directory = mount.join(parent);
            match read(&directory.join(file))? {
                Some(has) if !has.is_empty() => value = has,
                Some(_) | None => above.push((directory, write(file, &value, true)?)),
            }
        }
        own.push(write(file, if asked.is_empty() { &value } else { asked }, true)?);
    }
    // The uppermost first, whichever file it lacks.
    above.sort_by_key(|(directory, _)| directory.components().count());
    let parents = above.into_iter().map(|(directory, write)| cgroup(&directory, vec![write], true));
    Ok((parents.collect::<Result<_, _>>()?, own))
}

/// What a file says; `None` if it is not there.
fn read(file: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read { file: file.to_owned(), source }),
    }
}

fn missing(file: &Path) -> Error {
    Error::Read { file: file.to_owned(), source: io::ErrorKind::NotFound.into() }
}
