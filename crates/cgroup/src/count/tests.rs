//! Each layout as files in a directory. What the kernel itself writes is read in `tests/count.rs`.

use std::fs;
use std::path::Path;

use super::*;
use crate::Hierarchies;

const V1: [(&str, &str); 5] =
    [("cpu", "cpu"), ("cpuacct", "cpuacct"), ("memory", "memory"), ("pids", "pids"), ("blkio", "blkio")];

/// A machine: v1 mounts, and whether there is a unified one with these controllers.
fn machine(root: &Path, v1: &[(&str, &str)], unified: Option<&str>) -> Hierarchies {
    let mount = |(name, controller): &(&str, &str)| {
        format!("1 2 0:1 / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{controller}\n")
    };
    let mut mounts: Vec<String> = v1.iter().map(mount).collect();
    if let Some(controllers) = unified {
        let point = if v1.is_empty() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/unified" };
        mounts.push(format!("1 2 0:9 / {point} rw - cgroup2 cgroup2 rw\n"));
        put(root, &format!("{}/cgroup.controllers", &point[1..]), controllers);
    }
    put(root, "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "0");
    put(root, "sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "0");
    Hierarchies::detect(&mounts.concat(), root)
}

fn put(root: &Path, file: &str, text: &str) {
    let file = root.join(file);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

fn put_v1(root: &Path) {
    for (file, text) in [
        ("cpuacct/a/b/cpuacct.usage", "123456789\n"),
        ("cpuacct/a/b/cpuacct.usage_user", "100000000\n"),
        ("cpuacct/a/b/cpuacct.usage_sys", "23456789\n"),
        (
            "cpu/a/b/cpu.stat",
            "nr_periods 10\nnr_throttled 4\nthrottled_time 7000\nnr_bursts 0\nburst_time 0\n",
        ),
        ("cpu/a/b/cpu.cfs_period_us", "100000\n"),
        ("cpu/a/b/cpu.cfs_quota_us", "20000\n"),
        ("cpu/a/b/cpu.shares", "512\n"),
        ("memory/a/b/memory.usage_in_bytes", "1000\n"),
        ("memory/a/b/memory.stat", "pgfault 1\ntotal_inactive_file 100\ntotal_pgfault 3\ntotal_swap 5\n"),
        ("memory/a/b/memory.limit_in_bytes", "4096\n"),
        ("memory/a/b/memory.soft_limit_in_bytes", "9223372036854771712\n"),
        ("memory/a/b/memory.max_usage_in_bytes", "2000\n"),
        ("memory/a/b/memory.failcnt", "6\n"),
        ("memory/a/b/memory.kmem.usage_in_bytes", "77\n"),
        ("memory/a/b/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
        ("pids/a/b/pids.current", "3\n"),
        ("pids/a/b/pids.max", "max\n"),
        (
            "blkio/a/b/blkio.throttle.io_service_bytes_recursive",
            "8:0 Read 4096\n8:0 Write 512\n8:0 Sync 1\n8:0 Total 4608\nTotal 4608\n",
        ),
        ("blkio/a/b/blkio.throttle.io_serviced_recursive", "8:0 Read 2\n8:0 Write 1\n8:0 Total 3\nTotal 3\n"),
    ] {
        put(root, &format!("sys/fs/cgroup/{file}"), text);
    }
}

const STALL: &str =
    "some avg10=1.00 avg60=0.00 avg300=0.00 total=50\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";

#[test]
fn v1_counts_in_a_hierarchy_for_each_controller() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", "0\n");
    put_v1(root.path());
    put(root.path(), "sys/fs/cgroup/memory/a/b/memory.memsw.limit_in_bytes", "5000\n");
    let here = machine(root.path(), &V1, None);
    let usage = Meter::open(&here, "/a/b").unwrap().usage().unwrap();
    let memory = usage.memory.unwrap();
    assert_eq!((usage.cpu, time(&here, "/a/b").unwrap()), (Some(123_456_789), Some(123_456_789)));
    assert_eq!((memory.usage, memory.working_set(), memory.limit), (1000, 900, Some(4096)));
    assert_eq!((memory.swap, memory.swap_limit, memory.swap_available()), (Some(5), Some(904), Some(899)));
    assert_eq!((memory.faults, memory.own_faults), (3, Some((1, 0))));
    assert_eq!(usage.pressure, Pressure::default());

    let detail = Detail::read(&here, "/a/b").unwrap();
    assert_eq!((detail.cpu.user, detail.cpu.system), (Some(100_000_000), Some(23_456_789)));
    assert_eq!(
        (detail.cpu.period, detail.cpu.quota, detail.cpu.shares),
        (Some(100_000), Some(20_000), Some(512))
    );
    assert_eq!(detail.cpu.throttling, Some(Throttling { periods: 10, throttled: 4, time: 7000 }));
    let memory = MemoryLimits {
        most: Some(2000),
        failures: Some(6),
        kernel: Some(77),
        reservation: None,
        swap_limit: Some(5000),
        oom_kills: Some(2),
    };
    assert_eq!(detail.memory, memory);
    assert_eq!(detail.tasks, Some(Tasks { current: 3, limit: None }));
    let disk = |operation, bytes, count| Disk { major: 8, minor: 0, operation, bytes, count };
    assert_eq!(detail.disks, [disk(Operation::Read, 4096, 2), disk(Operation::Write, 512, 1)]);
    assert_eq!(detail.huge, []);
}

#[test]
fn hybrid_has_pressure_in_the_unified_tree_and_what_controllers_are_left_there() {
    let root = tempfile::tempdir().unwrap();
    put_v1(root.path());
    for file in ["cpu.pressure", "memory.pressure", "io.pressure"] {
        put(root.path(), &format!("sys/fs/cgroup/unified/a/b/{file}"), STALL);
    }
    put(root.path(), "sys/fs/cgroup/unified/a/b/hugetlb.2MB.current", "2097152\n");
    // Time stands here, too; v1 has it to the nanosecond.
    put(root.path(), "sys/fs/cgroup/unified/a/b/cpu.stat", "usage_usec 1\nuser_usec 1\nsystem_usec 0\n");
    let here = machine(root.path(), &V1, Some("hugetlb"));
    let meter = Meter::open(&here, "/a/b").unwrap();
    // Time; usage, stat and limit of memory; three of pressure.
    assert_eq!(meter.files(), 7);
    let usage = meter.usage().unwrap();
    assert_eq!((usage.cpu, usage.memory.unwrap().usage), (Some(123_456_789), 1000));
    let stall = usage.pressure.io.unwrap();
    assert_eq!((stall.some.total, stall.full.total), (50, 5));
    let detail = Detail::read(&here, "/a/b").unwrap();
    assert_eq!(detail.huge, [("2MB".to_owned(), Huge { usage: 2 << 20, most: None })]);
}

#[test]
fn v2_counts_in_one_directory() {
    let root = tempfile::tempdir().unwrap();
    for (file, text) in [
        (
            "cpu.stat",
            "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 5\nnr_throttled 2\nthrottled_usec 9\n",
        ),
        ("cpu.max", "max 100000\n"),
        ("cpu.weight", "100\n"),
        ("memory.current", "1000\n"),
        ("memory.stat", "anon 300\nfile 400\nkernel 50\ninactive_file 100\npgfault 3\npgmajfault 1\n"),
        ("memory.max", "max\n"),
        ("memory.swap.current", "7\n"),
        ("memory.swap.max", "10\n"),
        ("memory.min", "0\n"),
        ("memory.peak", "1500\n"),
        ("memory.events", "low 0\nhigh 0\nmax 4\noom 1\noom_kill 1\n"),
        ("pids.current", "2\n"),
        ("pids.max", "33\n"),
        ("io.stat", "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n7:1\n"),
        ("cpu.pressure", STALL),
        ("hugetlb.1GB.current", "0\n"),
    ] {
        put(root.path(), &format!("sys/fs/cgroup/a/b/{file}"), text);
    }
    let here = machine(root.path(), &[], Some("cpu memory pids io hugetlb"));
    let usage = Meter::open(&here, "/a/b").unwrap().usage().unwrap();
    let memory = usage.memory.unwrap();
    assert_eq!(time(&here, "/a/b").unwrap(), Some(30_000));
    assert_eq!((usage.cpu, memory.working_set(), memory.rss, memory.cache), (Some(30_000), 900, 300, 400));
    assert_eq!((memory.limit, memory.available(), memory.swap_available()), (None, None, Some(3)));
    assert!(usage.pressure.cpu.is_some() && usage.pressure.memory.is_none());

    let detail = Detail::read(&here, "/a/b").unwrap();
    assert_eq!((detail.cpu.user, detail.cpu.system), (Some(20_000), Some(10_000)));
    assert_eq!((detail.cpu.period, detail.cpu.quota, detail.cpu.shares), (Some(100_000), None, Some(2597)));
    assert_eq!(detail.cpu.throttling, Some(Throttling { periods: 5, throttled: 2, time: 9000 }));
    let memory = MemoryLimits {
        most: Some(1500),
        failures: Some(4),
        kernel: Some(50),
        reservation: None,
        swap_limit: Some(10),
        oom_kills: Some(1),
    };
    assert_eq!(detail.memory, memory);
    assert_eq!(detail.tasks, Some(Tasks { current: 2, limit: Some(33) }));
    assert_eq!(
        detail.disks.iter().map(|disk| (disk.bytes, disk.count)).collect::<Vec<_>>(),
        [(10, 1), (20, 2), (0, 0)]
    );
    assert_eq!(detail.huge, [("1GB".to_owned(), Huge::default())]);
}

#[test]
fn a_cgroup_that_is_not_there_has_nothing() {
    let root = tempfile::tempdir().unwrap();
    for here in [machine(root.path(), &V1, Some("")), machine(root.path(), &[], Some("memory"))] {
        let meter = Meter::open(&here, "/gone").unwrap();
        assert_eq!(
            (meter.files(), meter.cpu().unwrap(), meter.usage().unwrap()),
            (0, None, Usage::default())
        );
        assert_eq!(time(&here, "/gone").unwrap(), None);
        assert_eq!(Detail::read(&here, "/gone").unwrap(), Detail::default());
        assert_eq!(processes(&here, "/gone").unwrap(), []);
        assert!(matches!(Meter::open(&here, "/a/../b"), Err(crate::Error::Path(_))));
    }
}
