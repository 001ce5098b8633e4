//! Every metric: its name, what it means, and where its samples come from.
//!
//! What cAdvisor shows only under a condition is shown under the same: throttling and quota with a quota, huge pages and pressure where
//! the kernel counts them, disks that were used, a limit of 0 for none.
//!
//! *Invariant:* a row gives each of its samples as many values as it has keys, and never two samples of the same values: the page would
//! not be shown at all.

use orlop_cgroup::count::{Detail, Disk as DiskUse, Memory, Operation, Stall, Throttling};
use orlop_model::time::Timestamp;
use orlop_network::Traffic;
use orlop_proto::runtime::v1::MetricType::{self, Counter, Gauge};

use crate::gauges::Reading;
use crate::gauges::disk::{Disk, Room};
use crate::gauges::layer::Count;
use crate::gauges::links::Links;
use crate::gauges::process::Processes;

/// Of whom samples are made: a container, or a pod's own cgroup.
pub(super) struct Subject<'a> {
    pub(super) reading: &'a Reading,
    pub(super) detail: &'a Detail,
    pub(super) processes: Option<Processes>,
    pub(super) most_open_files: Option<u64>,
    pub(super) disk: &'a Disk,
    pub(super) began: Timestamp,
    pub(super) seen: Timestamp,
    pub(super) links: Option<&'a Links>,
    pub(super) layer: Option<&'a Count>,
    pub(super) room: Option<Room>,
}

/// Samples: values of the row's own keys, and the figure.
type Samples = Vec<(Vec<String>, u64)>;

/// A metric.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: MetricType,
    /// Keys beside those that all have.
    pub(super) keys: &'static [&'static str],
    pub(super) of: fn(&Subject<'_>) -> Samples,
}

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;
/// Microseconds in a second.
const MICROSECONDS: u64 = 1_000_000;

const fn row(
    name: &'static str,
    kind: MetricType,
    keys: &'static [&'static str],
    help: &'static str,
    of: fn(&Subject<'_>) -> Samples,
) -> Row {
    Row { name, help, kind, keys, of }
}

fn one(value: Option<u64>) -> Samples {
    value.map(|value| (Vec::new(), value)).into_iter().collect()
}

fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.0).unwrap_or(0) / SECOND
}

fn memory(subject: &Subject<'_>, of: fn(&Memory) -> Option<u64>) -> Samples {
    one(subject.reading.usage.memory.as_ref().and_then(of))
}

/// Only where there is a quota.
fn throttling(subject: &Subject<'_>, of: fn(&Throttling) -> u64) -> Samples {
    let cpu = &subject.detail.cpu;
    one(cpu.quota.and(cpu.throttling.as_ref()).map(of))
}

fn stall(stall: Option<&Stall>, of: fn(&Stall) -> u64) -> Samples {
    one(stall.map(|stall| of(stall) / MICROSECONDS))
}

fn some(stall: &Stall) -> u64 {
    stall.some.total
}

fn full(stall: &Stall) -> u64 {
    stall.full.total
}

fn process(subject: &Subject<'_>, of: fn(&Processes) -> u64) -> Samples {
    one(subject.processes.as_ref().map(of))
}

/// Of the filesystem that containers write to.
fn filesystem(subject: &Subject<'_>, value: Option<u64>) -> Samples {
    value.map(|value| (vec![subject.disk.device().to_owned()], value)).into_iter().collect()
}

fn room(subject: &Subject<'_>, of: fn(&Room) -> u64) -> Samples {
    filesystem(subject, subject.room.as_ref().map(of))
}

fn disks(subject: &Subject<'_>, operation: Operation, of: fn(&DiskUse) -> u64) -> Samples {
    let used = subject.detail.disks.iter().filter(|disk| disk.operation == operation);
    used.map(|disk| (vec![subject.disk.name(disk.major, disk.minor)], of(disk))).collect()
}

fn devices(subject: &Subject<'_>) -> Samples {
    let labels = |disk: &DiskUse| {
        let operation = disk.operation.name().to_owned();
        vec![
            subject.disk.name(disk.major, disk.minor),
            disk.major.to_string(),
            disk.minor.to_string(),
            operation,
        ]
    };
    subject.detail.disks.iter().map(|disk| (labels(disk), disk.bytes)).collect()
}

fn received(subject: &Subject<'_>, of: fn(&Traffic) -> u64) -> Samples {
    let links = subject.links.iter().flat_map(|links| &links.links);
    links.map(|link| (vec![link.name.clone()], of(&link.received))).collect()
}

fn sent(subject: &Subject<'_>, of: fn(&Traffic) -> u64) -> Samples {
    let links = subject.links.iter().flat_map(|links| &links.links);
    links.map(|link| (vec![link.name.clone()], of(&link.sent))).collect()
}

/// Faults, as cAdvisor has them: of the cgroup itself and of all below it, which v2 does not tell apart.
fn failures(subject: &Subject<'_>) -> Samples {
    let Some(memory) = &subject.reading.usage.memory else { return Vec::new() };
    let (own, own_major) = memory.own_faults.unwrap_or((memory.faults, memory.major_faults));
    let all = [
        ("pgfault", "container", own),
        ("pgmajfault", "container", own_major),
        ("pgfault", "hierarchy", memory.faults),
        ("pgmajfault", "hierarchy", memory.major_faults),
    ];
    all.into_iter().map(|(kind, scope, count)| (vec![kind.to_owned(), scope.to_owned()], count)).collect()
}

/// A limit as cAdvisor writes it: none is 0.
fn limit(subject: &Subject<'_>, value: Option<u64>) -> Samples {
    one(subject.reading.usage.memory.map(|_| value.unwrap_or(0)))
}

/// Every metric, by what it is about.
pub(super) const TABLE: [&[Row]; 8] =
    [&CPU, &MEMORY, &PRESSURE, &LIMITS, &FILESYSTEM, &DISK, &NETWORK, &REST];

const CPU: [Row; 6] = [
    row("container_cpu_usage_seconds_total", Counter, &["cpu"], "CPU time used, in seconds.", |of| {
        let used = of.reading.usage.cpu.map(|time| (vec!["total".to_owned()], time / SECOND));
        used.into_iter().collect()
    }),
    row("container_cpu_user_seconds_total", Counter, &[], "CPU time used in user mode, in seconds.", |of| {
        one(of.detail.cpu.user.map(|time| time / SECOND))
    }),
    row(
        "container_cpu_system_seconds_total",
        Counter,
        &[],
        "CPU time used in the kernel, in seconds.",
        |of| one(of.detail.cpu.system.map(|time| time / SECOND)),
    ),
    row(
        "container_cpu_cfs_periods_total",
        Counter,
        &[],
        "Periods of the CPU quota that have passed.",
        |of| throttling(of, |it| it.periods),
    ),
    row(
        "container_cpu_cfs_throttled_periods_total",
        Counter,
        &[],
        "Periods in which the CPU quota was used up.",
        |of| throttling(of, |it| it.throttled),
    ),
    row(
        "container_cpu_cfs_throttled_seconds_total",
        Counter,
        &[],
        "Time in which tasks were held back by the CPU quota, in seconds.",
        |of| throttling(of, |it| it.time / SECOND),
    ),
];

const MEMORY: [Row; 12] = [
    row("container_memory_usage_bytes", Gauge, &[], "Memory charged, of whatever age, in bytes.", |of| {
        memory(of, |it| Some(it.usage))
    }),
    row(
        "container_memory_working_set_bytes",
        Gauge,
        &[],
        "Memory charged without inactive pages of files, in bytes.",
        |of| memory(of, |it| Some(it.working_set())),
    ),
    row("container_memory_rss", Gauge, &[], "Anonymous memory and swap cache, in bytes.", |of| {
        memory(of, |it| Some(it.rss))
    }),
    row("container_memory_cache", Gauge, &[], "Pages of files, in bytes.", |of| {
        memory(of, |it| Some(it.cache))
    }),
    row("container_memory_mapped_file", Gauge, &[], "Pages of files that are mapped, in bytes.", |of| {
        memory(of, |it| Some(it.mapped_file))
    }),
    row("container_memory_swap", Gauge, &[], "Memory in swap, in bytes.", |of| {
        memory(of, |it| Some(it.swap.unwrap_or(0)))
    }),
    row(
        "container_memory_kernel_usage",
        Gauge,
        &[],
        "Memory of the kernel: page tables, socket buffers, in bytes.",
        |of| one(of.detail.memory.kernel),
    ),
    row("container_memory_max_usage_bytes", Gauge, &[], "The most memory ever charged, in bytes.", |of| {
        one(of.detail.memory.most)
    }),
    row("container_memory_failcnt", Counter, &[], "How often the memory limit was met.", |of| {
        one(of.detail.memory.failures)
    }),
    row(
        "container_memory_failures_total",
        Counter,
        &["failure_type", "scope"],
        "Page faults; pgmajfault: those that waited for a disk.",
        failures,
    ),
    row("container_oom_events_total", Counter, &[], "Processes killed for want of memory.", |of| {
        one(of.detail.memory.oom_kills)
    }),
    row("container_hugetlb_usage_bytes", Gauge, &["pagesize"], "Huge pages used, in bytes.", |of| {
        of.detail.huge.iter().map(|(size, huge)| (vec![size.clone()], huge.usage)).collect()
    }),
];

const PRESSURE: [Row; 6] = [
    row(
        "container_pressure_cpu_waiting_seconds_total",
        Counter,
        &[],
        "Time in which some task waited for a CPU, in seconds.",
        |of| stall(of.reading.usage.pressure.cpu.as_ref(), some),
    ),
    row(
        "container_pressure_cpu_stalled_seconds_total",
        Counter,
        &[],
        "Time in which all tasks waited for a CPU, in seconds.",
        |of| stall(of.reading.usage.pressure.cpu.as_ref(), full),
    ),
    row(
        "container_pressure_memory_waiting_seconds_total",
        Counter,
        &[],
        "Time in which some task waited for memory, in seconds.",
        |of| stall(of.reading.usage.pressure.memory.as_ref(), some),
    ),
    row(
        "container_pressure_memory_stalled_seconds_total",
        Counter,
        &[],
        "Time in which all tasks waited for memory, in seconds.",
        |of| stall(of.reading.usage.pressure.memory.as_ref(), full),
    ),
    row(
        "container_pressure_io_waiting_seconds_total",
        Counter,
        &[],
        "Time in which some task waited for a disk, in seconds.",
        |of| stall(of.reading.usage.pressure.io.as_ref(), some),
    ),
    row(
        "container_pressure_io_stalled_seconds_total",
        Counter,
        &[],
        "Time in which all tasks waited for a disk, in seconds.",
        |of| stall(of.reading.usage.pressure.io.as_ref(), full),
    ),
];

const LIMITS: [Row; 6] = [
    row(
        "container_spec_cpu_period",
        Gauge,
        &[],
        "Length of a period of the CPU quota, in microseconds.",
        |of| one(of.detail.cpu.period),
    ),
    row("container_spec_cpu_quota", Gauge, &[], "CPU time allowed in a period, in microseconds.", |of| {
        one(of.detail.cpu.quota)
    }),
    row("container_spec_cpu_shares", Gauge, &[], "Weight against others that want a CPU.", |of| {
        one(of.detail.cpu.shares)
    }),
    row("container_spec_memory_limit_bytes", Gauge, &[], "Memory limit in bytes; 0: none.", |of| {
        limit(of, of.reading.usage.memory.and_then(|memory| memory.limit))
    }),
    row(
        "container_spec_memory_reservation_limit_bytes",
        Gauge,
        &[],
        "Memory left to it when memory is short, in bytes; 0: none.",
        |of| limit(of, of.detail.memory.reservation),
    ),
    row(
        "container_spec_memory_swap_limit_bytes",
        Gauge,
        &[],
        "Limit of swap, with cgroup v1 of memory and swap together, in bytes; 0: none.",
        |of| limit(of, of.detail.memory.swap_limit),
    ),
];

const FILESYSTEM: [Row; 4] = [
    row(
        "container_fs_usage_bytes",
        Gauge,
        &["device"],
        "What it has written to its own layer, when that was last counted, in bytes.",
        |of| filesystem(of, of.layer.map(|count| count.bytes)),
    ),
    row("container_fs_limit_bytes", Gauge, &["device"], "Size of its layer's filesystem, in bytes.", |of| {
        room(of, |room| room.bytes)
    }),
    row("container_fs_inodes_total", Gauge, &["device"], "Inodes of its layer's filesystem.", |of| {
        room(of, |room| room.inodes)
    }),
    row("container_fs_inodes_free", Gauge, &["device"], "Free inodes of its layer's filesystem.", |of| {
        room(of, |room| room.inodes_free)
    }),
];

const DISK: [Row; 5] = [
    row("container_fs_reads_bytes_total", Counter, &["device"], "Read from disks, in bytes.", |of| {
        disks(of, Operation::Read, |disk| disk.bytes)
    }),
    row("container_fs_reads_total", Counter, &["device"], "Reads from disks.", |of| {
        disks(of, Operation::Read, |disk| disk.count)
    }),
    row("container_fs_writes_bytes_total", Counter, &["device"], "Written to disks, in bytes.", |of| {
        disks(of, Operation::Write, |disk| disk.bytes)
    }),
    row("container_fs_writes_total", Counter, &["device"], "Writes to disks.", |of| {
        disks(of, Operation::Write, |disk| disk.count)
    }),
    row(
        "container_blkio_device_usage_total",
        Counter,
        &["device", "major", "minor", "operation"],
        "Went to and from each disk, in bytes.",
        devices,
    ),
];

const NETWORK: [Row; 8] = [
    row("container_network_receive_bytes_total", Counter, &["interface"], "Received, in bytes.", |of| {
        received(of, |it| it.bytes)
    }),
    row("container_network_receive_packets_total", Counter, &["interface"], "Packets received.", |of| {
        received(of, |it| it.packets)
    }),
    row("container_network_receive_errors_total", Counter, &["interface"], "Bad packets received.", |of| {
        received(of, |it| it.errors)
    }),
    row(
        "container_network_receive_packets_dropped_total",
        Counter,
        &["interface"],
        "Packets dropped that came in.",
        |of| received(of, |it| it.dropped),
    ),
    row("container_network_transmit_bytes_total", Counter, &["interface"], "Sent, in bytes.", |of| {
        sent(of, |it| it.bytes)
    }),
    row("container_network_transmit_packets_total", Counter, &["interface"], "Packets sent.", |of| {
        sent(of, |it| it.packets)
    }),
    row("container_network_transmit_errors_total", Counter, &["interface"], "Errors in sending.", |of| {
        sent(of, |it| it.errors)
    }),
    row(
        "container_network_transmit_packets_dropped_total",
        Counter,
        &["interface"],
        "Packets dropped that were to go out.",
        |of| sent(of, |it| it.dropped),
    ),
];

const REST: [Row; 9] = [
    row("container_processes", Gauge, &[], "Processes.", |of| process(of, |it| it.count)),
    row("container_threads", Gauge, &[], "Threads.", |of| one(of.detail.tasks.map(|tasks| tasks.current))),
    row("container_threads_max", Gauge, &[], "Threads that there may be; 0: any number.", |of| {
        one(of.detail.tasks.map(|tasks| tasks.limit.unwrap_or(0)))
    }),
    row("container_file_descriptors", Gauge, &[], "Open descriptors.", |of| process(of, |it| it.descriptors)),
    row("container_sockets", Gauge, &[], "Open sockets.", |of| process(of, |it| it.sockets)),
    row("container_ulimits_soft", Gauge, &["ulimit"], "Soft limits of its first process.", |of| {
        let most = of.most_open_files.map(|most| (vec!["max_open_files".to_owned()], most));
        most.into_iter().collect()
    }),
    row(
        "container_hugetlb_max_usage_bytes",
        Gauge,
        &["pagesize"],
        "The most huge pages ever used, in bytes.",
        |of| {
            let most =
                of.detail.huge.iter().filter_map(|(size, huge)| Some((vec![size.clone()], huge.most?)));
            most.collect()
        },
    ),
    row("container_start_time_seconds", Gauge, &[], "When it began, in seconds since 1970.", |of| {
        one(Some(seconds(of.began)))
    }),
    row("container_last_seen", Gauge, &[], "When this was read, in seconds since 1970.", |of| {
        one(Some(seconds(of.seen)))
    }),
];
