//! What we plan, write and enter, read back by somebody else's code: the `cgroups-rs` crate. Needs root.
//!
//! *Invariant:* that crate is asked, never told: it makes and removes nothing here.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::cpuset::CpuSetController;
use cgroups_rs::fs::memory::MemController;
use cgroups_rs::fs::pid::PidController;
use cgroups_rs::fs::{Cgroup, MaxValue, hierarchies};
use orlop_cgroup::{Hierarchies, Layout, act, plan};
use orlop_model::container::Resources;

#[test]
fn another_reader_sees_the_limits_and_the_process() {
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").expect("proc(5)");
    let ours = Hierarchies::detect(&mountinfo, Path::new("/"));
    let path = format!("/orlop-test-{}-second", std::process::id());
    let resources = Resources {
        cpu_period: 50_000,
        cpu_quota: 25_000,
        cpu_shares: 512,
        memory_limit: 64 << 20,
        cpuset_cpus: "0".into(),
        unified: [("pids.max".into(), "33".into())].into(),
        ..Resources::default()
    };
    act::apply(&plan(&ours, &path, &resources, &[]).expect("a plan").cgroups).expect("made");
    let mut child = Command::new("sleep").arg("1000").spawn().expect("sleep(1)");
    for directory in ours.directories(&path).expect("a good path") {
        act::enter(&directory, child.id()).expect("entered");
    }

    let theirs = Cgroup::load(hierarchies::auto(), path.trim_start_matches('/'));
    let cpu: &CpuController = theirs.controller_of().expect("cpu");
    let shares = if ours.layout() == Layout::V2 { 59 } else { 512 };
    let seen = (cpu.shares().ok(), cpu.cfs_quota().ok(), cpu.cfs_period().ok());
    let memory: &MemController = theirs.controller_of().expect("memory");
    let limit = memory.memory_stat().limit_in_bytes;
    let set: &CpuSetController = theirs.controller_of().expect("cpuset");
    let cpus = set.cpuset().cpus;
    let pids: &PidController = theirs.controller_of().expect("pids");
    let most = pids.get_pid_max();
    let inside: Vec<u64> = theirs.procs().iter().map(|process| process.pid).collect();
    let number = u64::from(child.id());

    child.kill().expect("killed");
    child.wait().expect("reaped");
    for directory in ours.directories(&path).expect("a good path") {
        act::remove(&directory, Duration::from_secs(10)).expect("removed");
    }
    assert_eq!(seen, (Some(shares), Some(25_000), Some(50_000)));
    assert_eq!((limit, cpus), (64 << 20, vec![(0, 0)]));
    assert!(matches!(most, Ok(MaxValue::Value(33))), "{most:?}");
    assert!(inside.contains(&number), "{inside:?}");
}
