//! What pods and containers use, as the interface shows it.
//!
//! kubelet takes a message that is there for one that is whole: it reads the links' default without looking whether it is set, and the
//! value of every sample. So what is not known is left out from the top: a pod without a link has no network.
//!
//! *Invariant:* a time stands beside each figure, that of the reading. What the kernel does not count is unset, not 0.

use orlop_cgroup::count::{Memory, Share, Stall};
use orlop_model::time::Timestamp;
use orlop_network::Counters;
use orlop_proto::runtime::v1::{
    ContainerAttributes, ContainerStats, CpuUsage, FilesystemIdentifier, FilesystemUsage, IoUsage,
    LinuxPodSandboxStats, MemoryUsage, NetworkInterfaceUsage, NetworkUsage, PodSandboxAttributes,
    PodSandboxStats, ProcessUsage, PsiData, PsiStats, SwapUsage, UInt64Value,
};

use crate::gauges::Reading;
use crate::gauges::layer::Count;
use crate::gauges::links::Links;
use crate::gauges::read::{ContainerFigures, PodFigures};
use crate::pods::Core;

fn value(value: u64) -> Option<UInt64Value> {
    Some(UInt64Value { value })
}

pub(super) fn container(core: &Core, figures: &ContainerFigures) -> ContainerStats {
    let ContainerFigures { container, reading, layer } = figures;
    let reading = reading.as_ref();
    ContainerStats {
        attributes: Some(ContainerAttributes {
            id: container.id.to_string(),
            metadata: container.asked.metadata.clone(),
            labels: container.asked.labels.clone(),
            annotations: container.asked.annotations.clone(),
        }),
        cpu: reading.and_then(cpu),
        memory: reading.and_then(memory),
        writable_layer: layer.as_ref().map(|count| writable(core, count)),
        swap: reading.and_then(swap),
        io: reading.and_then(io),
    }
}

pub(super) fn pod(core: &Core, figures: &PodFigures) -> PodSandboxStats {
    let PodFigures { pod, reading, links, containers, processes: (processes, counted) } = figures;
    PodSandboxStats {
        attributes: Some(PodSandboxAttributes {
            id: pod.id.to_string(),
            metadata: pod.asked.metadata.clone(),
            labels: pod.asked.labels.clone(),
            annotations: pod.asked.annotations.clone(),
        }),
        linux: Some(LinuxPodSandboxStats {
            cpu: cpu(reading),
            memory: memory(reading),
            network: links.as_ref().and_then(network),
            process: Some(ProcessUsage { timestamp: counted.0, process_count: value(*processes) }),
            containers: containers.iter().map(|one| container(core, one)).collect(),
            io: io(reading),
        }),
        windows: None,
    }
}

fn cpu(reading: &Reading) -> Option<CpuUsage> {
    Some(CpuUsage {
        timestamp: reading.at.0,
        usage_core_nano_seconds: value(reading.usage.cpu?),
        usage_nano_cores: value(reading.rate.unwrap_or(0)),
        psi: reading.usage.pressure.cpu.as_ref().map(pressure),
    })
}

fn memory(reading: &Reading) -> Option<MemoryUsage> {
    let memory: &Memory = reading.usage.memory.as_ref()?;
    Some(MemoryUsage {
        timestamp: reading.at.0,
        working_set_bytes: value(memory.working_set()),
        available_bytes: memory.available().and_then(value),
        usage_bytes: value(memory.usage),
        rss_bytes: value(memory.rss),
        page_faults: value(memory.faults),
        major_page_faults: value(memory.major_faults),
        psi: reading.usage.pressure.memory.as_ref().map(pressure),
    })
}

fn swap(reading: &Reading) -> Option<SwapUsage> {
    let memory = reading.usage.memory.as_ref()?;
    Some(SwapUsage {
        timestamp: reading.at.0,
        swap_available_bytes: memory.swap_available().and_then(value),
        swap_usage_bytes: value(memory.swap?),
    })
}

fn io(reading: &Reading) -> Option<IoUsage> {
    let stall = reading.usage.pressure.io.as_ref()?;
    Some(IoUsage { timestamp: reading.at.0, psi: Some(pressure(stall)) })
}

fn pressure(stall: &Stall) -> PsiStats {
    let data = |share: Share| PsiData {
        total: share.total.saturating_mul(1000),
        avg10: share.avg10,
        avg60: share.avg60,
        avg300: share.avg300,
    };
    PsiStats { full: Some(data(stall.full)), some: Some(data(stall.some)) }
}

fn writable(core: &Core, count: &Count) -> FilesystemUsage {
    FilesystemUsage {
        timestamp: count.at.0,
        // The one that ImageFsInfo names: kubelet looks both up.
        fs_id: Some(FilesystemIdentifier { mountpoint: core.images.store.root().display().to_string() }),
        used_bytes: value(count.bytes),
        inodes_used: value(count.inodes),
    }
}

fn network(links: &Links) -> Option<NetworkUsage> {
    let Timestamp(timestamp) = links.at;
    let mut all = links.links.iter().map(link);
    Some(NetworkUsage { timestamp, default_interface: Some(all.next()?), interfaces: all.collect() })
}

fn link(link: &Counters) -> NetworkInterfaceUsage {
    NetworkInterfaceUsage {
        name: link.name.clone(),
        rx_bytes: value(link.received.bytes),
        rx_errors: value(link.received.errors),
        tx_bytes: value(link.sent.bytes),
        tx_errors: value(link.sent.errors),
    }
}
