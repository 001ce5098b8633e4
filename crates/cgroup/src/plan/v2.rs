//! The files of cgroup v2, and what the unified tree of a hybrid machine can do.
//!
//! *Invariant:* a controller is handed down by every parent before a container's directory is written to.
//!
//! Source: `cgroup-v2.rst`; the weight of shares: as kubelet counts it from 1.35 on, and runc from 1.3.2 on.

use std::fs;
use std::path::Path;

use orlop_model::container::Resources;
use orlop_wire::plan::{Cgroup, CgroupWrite};

use super::{cgroup, parents as above, write};
use crate::Error;
use crate::hierarchy::{Hierarchies, Layout};

/// What containers get of the unified tree where it is the only one: to be limited by, or to be counted.
const WANTED: [&str; 7] = ["cpu", "cpuset", "hugetlb", "io", "memory", "pids", "rdma"];

/// `cpu.max`'s period where none is asked for, microseconds: the kernel's own default.
const PERIOD: i64 = 100_000;

/// Parents, each with the controllers that it has still to hand down.
pub(super) fn parents(
    hierarchies: &Hierarchies,
    mount: &Path,
    below: &Path,
    resources: &Resources,
) -> Result<Vec<Cgroup>, Error> {
    let wanted =
        WANTED.iter().filter(|name| hierarchies.in_unified(name) && wants(hierarchies, name, resources));
    let wanted: Vec<&str> = wanted.copied().collect();
    let mut cgroups = Vec::new();
    for parent in std::iter::once("".into()).chain(above(below)) {
        let directory = mount.join(parent);
        let has = fs::read_to_string(directory.join("cgroup.subtree_control")).unwrap_or_default();
        let missing = wanted.iter().filter(|name| !has.split_whitespace().any(|given| given == **name));
        // One write each: a controller that cannot be handed down does not hold back the others. Where a limit needs it, the
        // limit's own file is not there, and that is the error.
        let writes = missing.map(|name| write("cgroup.subtree_control", format_args!("+{name}"), false));
        let writes = writes.collect::<Result<Vec<_>, _>>()?;
        if !writes.is_empty() {
            cgroups.push(cgroup(&directory, writes, true)?);
        }
    }
    Ok(cgroups)
}

/// Where the tree is the only one, all of it is wanted; beside v1 only what is asked for.
fn wants(hierarchies: &Hierarchies, controller: &str, resources: &Resources) -> bool {
    let asked = match controller {
        "hugetlb" => !resources.hugepages.is_empty(),
        // Nothing is counted by it that anyone asks for.
        "rdma" => resources.further.as_ref().is_some_and(|further| !further.rdma.is_empty()),
        _ => false,
    };
    let named = || resources.unified.keys().any(|file| file.split('.').next() == Some(controller));
    let all = hierarchies.layout() == Layout::V2 && controller != "rdma";
    all || asked || named()
}

/// Whether a file of [`Resources::unified`] can be written here.
pub(super) fn takes(hierarchies: &Hierarchies, file: &str) -> bool {
    let controller = file.split('.').next().unwrap_or_default();
    hierarchies.unified().is_some() && (controller == "cgroup" || hierarchies.in_unified(controller))
        || (file == "pids.max" && hierarchies.has("pids"))
}

/// What a container's directory gets.
pub(super) fn writes(hierarchies: &Hierarchies, resources: &Resources) -> Result<Vec<CgroupWrite>, Error> {
    let mut writes = Vec::new();
    if hierarchies.in_unified("cpu") {
        cpu(resources, &mut writes)?;
    }
    if hierarchies.in_unified("memory") {
        memory(resources, &mut writes)?;
    }
    if hierarchies.in_unified("cpuset") {
        for (file, asked) in
            [("cpuset.mems", &resources.cpuset_mems), ("cpuset.cpus", &resources.cpuset_cpus)]
        {
            if !asked.is_empty() {
                writes.push(write(file, asked, true)?);
            }
        }
    }
    if hierarchies.in_unified("hugetlb") {
        for (size, bytes) in &resources.hugepages {
            writes.push(write(format!("hugetlb.{size}.max"), bytes, *bytes > 0)?);
            writes.push(write(format!("hugetlb.{size}.rsvd.max"), bytes, false)?);
        }
    }
    if hierarchies.in_unified("pids")
        && let Some(limit) = super::pids_limit(resources)
    {
        writes.push(write("pids.max", limit, true)?);
    }
    if hierarchies.in_unified("io") {
        io(hierarchies, resources, &mut writes)?;
    }
    if hierarchies.in_unified("rdma") {
        writes.extend(super::v1::rdma(resources)?);
    }
    for (file, value) in &resources.unified {
        // On a hybrid machine pids.max may be v1's.
        if file != "pids.max" || hierarchies.in_unified("pids") {
            writes.push(write(file, value, true)?);
        }
    }
    Ok(writes)
}

/// Input and output: weights by whichever of both weighers is there, rates by `io.max`.
fn io(hierarchies: &Hierarchies, resources: &Resources, writes: &mut Vec<CgroupWrite>) -> Result<(), Error> {
    let Some(further) = &resources.further else { return Ok(()) };
    let io = &further.block_io;
    // BFQ counts from 1 to 1000, the other from 1 to 10000.
    let bfq = hierarchies.is_writable("io.bfq.weight") == Some(true);
    let file = if bfq { "io.bfq.weight" } else { "io.weight" };
    let scaled = |weight: u16| {
        let weight = u32::from(weight);
        if bfq { weight } else { 1 + weight.saturating_sub(10) * 9999 / 990 }
    };
    if let Some(weight) = io.weight {
        writes.push(write(file, scaled(weight), true)?);
    }
    for (major, minor, weight) in &io.weight_devices {
        writes.push(write(file, format_args!("{major}:{minor} {}", scaled(*weight)), true)?);
    }
    for (key, devices) in
        [("rbps", &io.read_bps), ("wbps", &io.write_bps), ("riops", &io.read_iops), ("wiops", &io.write_iops)]
    {
        for (major, minor, rate) in devices {
            writes.push(write("io.max", format_args!("{major}:{minor} {key}={rate}"), true)?);
        }
    }
    Ok(())
}

fn cpu(resources: &Resources, writes: &mut Vec<CgroupWrite>) -> Result<(), Error> {
    let further = resources.further.as_deref();
    let idle = further.and_then(|further| further.cpu_idle);
    // A cgroup that is idle has no weight, and takes none.
    if resources.cpu_shares > 0 && idle.unwrap_or(0) == 0 {
        writes.push(write("cpu.weight", weight(resources.cpu_shares), true)?);
    }
    if resources.cpu_quota != 0 || resources.cpu_period > 0 {
        let period = if resources.cpu_period > 0 { resources.cpu_period } else { PERIOD };
        let value = match resources.cpu_quota {
            1.. => format!("{} {period}", resources.cpu_quota),
            _ => format!("max {period}"),
        };
        writes.push(write("cpu.max", value, resources.cpu_quota > 0)?);
    }
    if let Some(burst) = further.and_then(|further| further.cpu_burst) {
        writes.push(write("cpu.max.burst", burst, true)?);
    }
    if let Some(idle) = idle {
        writes.push(write("cpu.idle", idle, true)?);
    }
    Ok(())
}

fn memory(resources: &Resources, writes: &mut Vec<CgroupWrite>) -> Result<(), Error> {
    let limit = resources.memory_limit;
    match limit {
        0 => {}
        1.. => writes.push(write("memory.max", limit, true)?),
        _ => writes.push(write("memory.max", "max", false)?),
    }
    // The request counts memory and swap together, v2 counts swap alone. Not required: without swap in the kernel the file is
    // not there and the limit holds by itself.
    match resources.memory_swap_limit {
        0 => {}
        both @ 1.. => writes.push(write("memory.swap.max", (both - limit.max(0)).max(0), false)?),
        _ => writes.push(write("memory.swap.max", "max", false)?),
    }
    match resources.further.as_ref().map_or(0, |further| further.memory_reservation) {
        0 => {}
        low @ 1.. => writes.push(write("memory.low", low, true)?),
        _ => writes.push(write("memory.low", 0, false)?),
    }
    Ok(())
}

/// v1 shares (2 to 262144, 1024 by default) as v2 weight (1 to 10000, 100 by default).
///
/// ceil(10^((l² + 125 l) / 612 - 7 / 34)) with l = log2(shares): the curve through the ends and the defaults of both scales.
#[must_use]
pub fn weight(shares: i64) -> u16 {
    #[expect(clippy::cast_precision_loss, reason = "at most 262144, which a double holds exactly")]
    let l = (shares.clamp(2, 262_144) as f64).log2();
    let weight = 10_f64.powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0);
    // Where the curve meets a whole number, the last bits of a double may lie above it.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1 to 10000")]
    let weight = (weight - 1e-6).ceil().clamp(1.0, 10_000.0) as u16;
    weight
}
