//! What a spec can say and no plan can do, yet.
//!
//! *Invariant:* nothing that isolates or restricts is passed over in silence.

use oci_spec::runtime::Spec;
use orlop_model::report::Report;

use super::cannot;

pub(super) fn unsupported(spec: &Spec) -> Result<(), Report> {
    let process = spec.process().as_ref();
    let linux = spec.linux().as_ref();
    let parts = [
        ("process.ioPriority", process.is_some_and(|process| process.io_priority().is_some())),
        ("process.scheduler", process.is_some_and(|process| process.scheduler().is_some())),
        ("process.execCPUAffinity", process.is_some_and(|process| process.exec_cpu_affinity().is_some())),
        ("linux.intelRdt", linux.is_some_and(|linux| linux.intel_rdt().is_some())),
        ("linux.personality", linux.is_some_and(|linux| linux.personality().is_some())),
        ("linux.memoryPolicy", linux.is_some_and(|linux| linux.memory_policy().is_some())),
        (
            "linux.netDevices",
            linux.is_some_and(|linux| linux.net_devices().iter().flatten().next().is_some()),
        ),
        (
            "linux.timeOffsets",
            linux.is_some_and(|linux| linux.time_offsets().iter().flatten().next().is_some()),
        ),
    ];
    parts
        .iter()
        .find(|(_, asked)| *asked)
        .map_or(Ok(()), |(part, _)| Err(cannot(part, "", "is not supported")))
}
