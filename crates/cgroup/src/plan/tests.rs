//! The planner against trees that are only described: mountinfo as text, a directory with the few files that it reads.
//!
//! *Invariant:* needs no cgroup and no root; what the kernel says of such plans is in `tests/kernel.rs`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use super::*;
use crate::devices::Access;
use orlop_model::container::BlockIo;

const V1: [&str; 5] = ["cpu", "cpuset", "memory", "devices", "pids"];

/// A machine's /sys/fs/cgroup with these files, in a directory that goes with it.
struct Machine {
    root: PathBuf,
    hierarchies: Hierarchies,
}

impl Machine {
    fn new(name: &str, v1: &[&str], unified: Option<&str>, files: &[(&str, &str)]) -> Self {
        let root = std::env::temp_dir().join(format!("orlop-cgroup-{}-{name}", std::process::id()));
        let mut mountinfo = String::new();
        let mut all = Vec::new();
        for controller in v1 {
            writeln!(mountinfo, "1 1 0:1 / /cg/{controller} rw - cgroup cgroup rw,{controller}").unwrap();
            all.push((format!("{controller}/tasks"), ""));
        }
        if let Some(controllers) = unified {
            mountinfo += "1 1 0:1 / /cg/unified rw - cgroup2 cgroup2 rw\n";
            all.push(("unified/cgroup.controllers".into(), controllers));
        }
        all.extend(files.iter().map(|(file, value)| ((*file).to_owned(), *value)));
        for (file, value) in all {
            let file = root.join("cg").join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, value).unwrap();
        }
        Machine { hierarchies: Hierarchies::detect(&mountinfo, &root), root }
    }

    fn hybrid(name: &str, files: &[(&str, &str)]) -> Self {
        let set = [("cpuset/cpuset.cpus", "0-3\n"), ("cpuset/cpuset.mems", "0\n")];
        Machine::new(name, &V1, Some("hugetlb\n"), &[&set, files].concat())
    }

    fn v2(name: &str, files: &[(&str, &str)]) -> Self {
        Machine::new(name, &[], Some("cpuset cpu io memory hugetlb pids rdma\n"), files)
    }

    fn plan(&self, path: &str, resources: &Resources, devices: &[DeviceRule]) -> Planned {
        plan(&self.hierarchies, path, resources, devices).unwrap()
    }

    /// A line for a directory (`+` if it is kept), a line for a write (`!` if it is required).
    fn shown(&self, planned: &Planned) -> String {
        let mut text = String::new();
        let root = format!("{}/cg/", self.root.display());
        for cgroup in &planned.cgroups {
            let keep = if cgroup.keep { " +" } else { "" };
            writeln!(text, "{}{keep}", cgroup.directory.to_str().unwrap().replace(&root, "")).unwrap();
            for write in &cgroup.writes {
                let required = if write.required { " !" } else { "" };
                let (file, value) = (write.file.to_str().unwrap(), write.value.to_str().unwrap());
                writeln!(text, "  {file} = {value}{required}").unwrap();
            }
        }
        text
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn limits() -> Resources {
    Resources {
        cpu_period: 50_000,
        cpu_quota: 25_000,
        cpu_shares: 512,
        memory_limit: 64 << 20,
        memory_swap_limit: 96 << 20,
        oom_score_adj: 0,
        cpuset_cpus: "1-2".into(),
        cpuset_mems: String::new(),
        hugepages: vec![("2MB".into(), 4 << 20), ("1GB".into(), 0)],
        unified: BTreeMap::new(),
        further: None,
    }
}

const NULL: DeviceRule = DeviceRule {
    allow: true,
    block: Some(false),
    major: Some(1),
    minor: Some(3),
    access: Access { read: true, write: true, make: false },
};

#[test]
fn v1_limits_stand_in_the_order_that_the_kernel_takes() {
    let machine = Machine::hybrid("v1-order", &[("memory/memory.memsw.limit_in_bytes", "9")]);
    let planned = machine.plan("/pods/a", &limits(), &[DeviceRule::NONE, NULL]);
    let expected = "\
cpuset/pods +
  cpuset.mems = 0 !
cpuset/pods +
  cpuset.cpus = 0-3 !
unified/ +
  cgroup.subtree_control = +hugetlb
unified/pods +
  cgroup.subtree_control = +hugetlb
cpu/pods/a
  cpu.shares = 512 !
  cpu.cfs_period_us = 50000 !
  cpu.cfs_quota_us = 25000 !
cpuset/pods/a
  cpuset.mems = 0 !
  cpuset.cpus = 1-2 !
devices/pods/a
  devices.deny = a !
  devices.allow = c 1:3 rw !
memory/pods/a
  memory.limit_in_bytes = 67108864 !
  memory.memsw.limit_in_bytes = 100663296 !
pids/pods/a
unified/pods/a
  hugetlb.2MB.max = 4194304 !
  hugetlb.2MB.rsvd.max = 4194304
  hugetlb.1GB.max = 0
  hugetlb.1GB.rsvd.max = 0
";
    assert_eq!(machine.shown(&planned), expected);
    assert_eq!((planned.procs.len(), planned.devices), (V1.len(), Devices::Written));
    assert!(matches!(planned.oom, Oom::V1 { directory } if directory.to_bytes().ends_with(b"memory/pods/a")));
    assert!(planned.unified.unwrap().to_bytes().ends_with(b"unified/pods/a"));
}

#[test]
fn nothing_asked_for_is_nothing_written_but_what_entering_takes() {
    let machine = Machine::hybrid("v1-nothing", &[]);
    let planned = machine.plan("/a", &Resources::default(), &[]);
    let expected = "cpu/a\ncpuset/a\n  cpuset.mems = 0 !\n  cpuset.cpus = 0-3 !\ndevices/a\nmemory/a\npids/a\nunified/a\n";
    assert_eq!(machine.shown(&planned), expected);
}

#[test]
fn a_parent_that_has_cpus_is_not_written_to_and_its_children_get_them() {
    let files = [
        ("cpuset/pods/cpuset.cpus", "2\n"),
        ("cpuset/pods/cpuset.mems", "0\n"),
        ("cpuset/pods/empty/cpuset.cpus", "\n"),
        ("cpuset/pods/empty/cpuset.mems", "0\n"),
    ];
    let machine = Machine::hybrid("v1-narrow", &files);
    let shown = machine.shown(&machine.plan("/pods/empty/new/a", &Resources::default(), &[]));
    let parents = "\
cpuset/pods/empty +
  cpuset.cpus = 2 !
cpuset/pods/empty/new +
  cpuset.mems = 0 !
cpuset/pods/empty/new +
  cpuset.cpus = 2 !
";
    assert!(shown.starts_with(parents), "{shown}");
    assert!(shown.contains("cpuset/pods/empty/new/a\n  cpuset.mems = 0 !\n  cpuset.cpus = 2 !\n"), "{shown}");
}

#[test]
fn swap_is_limited_only_where_it_is_counted() {
    let machine = Machine::hybrid("v1-noswap", &[]);
    let shown = machine.shown(&machine.plan("/a", &limits(), &[]));
    assert!(shown.contains("memory.limit_in_bytes") && !shown.contains("memsw"), "{shown}");
}

#[test]
fn no_limit_asked_for_in_words_is_not_required() {
    let machine = Machine::hybrid("v1-minus", &[("memory/memory.memsw.limit_in_bytes", "9")]);
    let resources =
        Resources { cpu_quota: -1, memory_limit: -1, memory_swap_limit: -1, ..Resources::default() };
    let shown = machine.shown(&machine.plan("/a", &resources, &[]));
    for line in
        ["cpu.cfs_quota_us = -1\n", "memory.limit_in_bytes = -1\n", "memory.memsw.limit_in_bytes = -1\n"]
    {
        assert!(shown.contains(line), "{line} in {shown}");
    }
}

#[test]
fn v2_limits_are_translated_and_controllers_handed_down_from_the_root() {
    let files = [("unified/cgroup.subtree_control", "cpu memory pids\n")];
    let machine = Machine::v2("v2", &files);
    let mut resources = limits();
    resources.unified.insert("memory.high".into(), "50000000".into());
    resources.unified.insert("pids.max".into(), "100".into());
    let planned = machine.plan("/pods/a", &resources, &[DeviceRule::NONE]);
    let expected = "\
unified/ +
  cgroup.subtree_control = +cpuset
  cgroup.subtree_control = +hugetlb
  cgroup.subtree_control = +io
unified/pods +
  cgroup.subtree_control = +cpu
  cgroup.subtree_control = +cpuset
  cgroup.subtree_control = +hugetlb
  cgroup.subtree_control = +io
  cgroup.subtree_control = +memory
  cgroup.subtree_control = +pids
unified/pods/a
  cpu.weight = 59 !
  cpu.max = 25000 50000 !
  memory.max = 67108864 !
  memory.swap.max = 33554432
  cpuset.cpus = 1-2 !
  hugetlb.2MB.max = 4194304 !
  hugetlb.2MB.rsvd.max = 4194304
  hugetlb.1GB.max = 0
  hugetlb.1GB.rsvd.max = 0
  memory.high = 50000000 !
  pids.max = 100 !
";
    assert_eq!(machine.shown(&planned), expected);
    assert_eq!((planned.procs.len(), planned.devices), (0, Devices::Program));
    assert!(matches!(planned.oom, Oom::V2 { .. }));
}

#[test]
fn v2_has_words_for_no_limit() {
    let machine = Machine::v2("v2-max", &[]);
    let resources =
        Resources { cpu_quota: -1, memory_limit: -1, memory_swap_limit: -1, ..Resources::default() };
    let shown = machine.shown(&machine.plan("/a", &resources, &[]));
    for line in ["cpu.max = max 100000\n", "memory.max = max\n", "memory.swap.max = max\n"] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
}

#[test]
fn weights_are_those_that_runc_counts() {
    // Ends and defaults of both scales; the others computed apart, from the formula.
    let known = [(0, 1), (2, 1), (102, 17), (256, 35), (512, 59), (1024, 100), (2048, 174), (4096, 303)];
    for (shares, weight) in known.into_iter().chain([(65_536, 3_023), (262_144, 10_000), (i64::MAX, 10_000)])
    {
        assert_eq!(v2::weight(shares), weight, "{shares}");
    }
    let all: Vec<u16> = (2..=262_144).map(v2::weight).collect();
    assert!(all.is_sorted(), "more shares are never less weight");
}

#[test]
fn what_no_controller_can_do_is_named() {
    let bare = Machine::new("bare", &["freezer"], None, &[]);
    let field = |resources: &Resources| unsupported(&bare.hierarchies, resources).map(|report| report.stage);
    let none = Resources::default();
    assert_eq!(field(&none), None);
    for (resources, name) in [
        (Resources { cpu_shares: 2, ..none.clone() }, "cpu_shares"),
        (Resources { cpu_quota: 9, ..none.clone() }, "cpu_quota"),
        (Resources { memory_limit: 9, ..none.clone() }, "memory_limit_in_bytes"),
        (Resources { cpuset_cpus: "0".into(), ..none.clone() }, "cpuset_cpus"),
        (Resources { cpuset_mems: "0".into(), ..none.clone() }, "cpuset_mems"),
        (Resources { hugepages: vec![("2MB".into(), 1)], ..none.clone() }, "hugepage_limits"),
        (
            Resources { unified: [("memory.high".into(), "1".into())].into(), ..none.clone() },
            "unified[\"memory.high\"]",
        ),
    ] {
        assert_eq!(field(&resources), Some(format!("linux.resources.{name}")));
    }
    assert_eq!(
        field(&Resources { hugepages: vec![("2MB".into(), 0)], ..none.clone() }),
        None,
        "kubelet sends zeros"
    );

    let hybrid = Machine::hybrid("supported", &[]);
    assert_eq!(unsupported(&hybrid.hierarchies, &limits()), None);
    let unified =
        |file: &str| Resources { unified: [(file.to_owned(), "1".to_owned())].into(), ..none.clone() };
    let report = unsupported(&hybrid.hierarchies, &unified("memory.high")).unwrap();
    assert!(report.cause.contains("memory controller is a cgroup v1 one"), "{report}");
    for file in ["pids.max", "hugetlb.2MB.max", "cgroup.max.depth"] {
        assert_eq!(unsupported(&hybrid.hierarchies, &unified(file)), None, "{file}");
    }
}

#[test]
fn pids_are_limited_on_v1_by_the_same_name() {
    let machine = Machine::hybrid("pids", &[]);
    let resources = Resources { unified: [("pids.max".into(), "7".into())].into(), ..Resources::default() };
    assert!(
        machine.shown(&machine.plan("/a", &resources, &[])).contains("pids/a\n  pids.max = 7 !\nunified/a\n")
    );
}

#[test]
fn a_file_name_that_leads_elsewhere_is_refused() {
    let machine = Machine::v2("v2-escape", &[]);
    for file in ["cgroup/../../x", ""] {
        let resources = Resources { unified: [(file.into(), "1".into())].into(), ..Resources::default() };
        assert!(matches!(plan(&machine.hierarchies, "/a", &resources, &[]), Err(Error::Value(_))), "{file}");
    }
    let nul = Resources { unified: [("memory.high".into(), "1\0".into())].into(), ..Resources::default() };
    assert!(matches!(plan(&machine.hierarchies, "/a", &nul, &[]), Err(Error::Value(_))));
}

/// What a row of a table asks for.
type Ask = fn(&mut Further);

/// What CRI has no word for, all of it.
fn further() -> Resources {
    let block_io = BlockIo {
        weight: Some(500),
        leaf_weight: None,
        weight_devices: vec![(8, 0, 10)],
        read_bps: vec![(8, 0, 1000)],
        write_bps: vec![(8, 0, 2000)],
        read_iops: vec![(8, 16, 30)],
        write_iops: vec![(8, 16, 40)],
    };
    let further = Further {
        cpu_burst: Some(5000),
        cpu_idle: Some(0),
        memory_reservation: 4096,
        pids_limit: Some(9),
        block_io,
        rdma: vec![("mlx5_1".into(), Some(2), None), ("mlx5_2".into(), Some(1), Some(7))],
        ..Further::default()
    };
    Resources { cpu_quota: 20_000, further: Some(Box::new(further)), ..Resources::default() }
}

/// The values of the container's own directories.
fn own(planned: &Planned) -> Vec<String> {
    let writes = planned.cgroups.iter().filter(|cgroup| !cgroup.keep).flat_map(|cgroup| &cgroup.writes);
    let shown = |write: &CgroupWrite| {
        assert!(write.required, "{:?}", write.file);
        format!("{} = {}", write.file.to_str().unwrap(), write.value.to_str().unwrap())
    };
    writes.map(shown).collect()
}

#[test]
fn what_cri_has_no_word_for_is_written_on_v2() {
    let machine = Machine::v2("further-v2", &[]);
    assert_eq!(unsupported(&machine.hierarchies, &further()), None);
    let planned = machine.plan("/pods/a", &further(), &[]);
    let expected = [
        "cpu.max = 20000 100000",
        "cpu.max.burst = 5000",
        "cpu.idle = 0",
        "memory.low = 4096",
        "pids.max = 9",
        "io.weight = 4950",
        "io.weight = 8:0 1",
        "io.max = 8:0 rbps=1000",
        "io.max = 8:0 wbps=2000",
        "io.max = 8:16 riops=30",
        "io.max = 8:16 wiops=40",
        "rdma.max = mlx5_1 hca_handle=2",
        "rdma.max = mlx5_2 hca_handle=1 hca_object=7",
    ];
    assert_eq!(own(&planned), expected);
    // BFQ, where a cgroup shows that it weighs.
    let bfq = Machine::v2("further-bfq", &[("unified/init.scope/io.bfq.weight", "default 100\n")]);
    let planned = bfq.plan("/pods/a", &further(), &[]);
    assert!(own(&planned).contains(&"io.bfq.weight = 500".into()), "{:?}", own(&planned));
    // Of an idle one a weight cannot be.
    let mut idle = Resources { cpu_shares: 512, ..further() };
    idle.further.as_mut().unwrap().cpu_idle = Some(1);
    let planned = machine.plan("/pods/a", &idle, &[]);
    assert!(own(&planned).iter().all(|line| !line.starts_with("cpu.weight")));
}

#[test]
fn what_cri_has_no_word_for_is_written_on_v1() {
    let machine = Machine::new("further-v1", &["cpu", "memory", "pids", "blkio", "rdma"], None, &[]);
    let mut resources = further();
    let more = resources.further.as_mut().unwrap();
    (more.memory_swappiness, more.memory_disable_oom_killer) = (Some(10), true);
    (more.cpu_realtime_period, more.cpu_realtime_runtime) = (1_000_000, 900);
    (more.pids_limit, more.block_io.leaf_weight) = (Some(-1), Some(20));
    assert_eq!(unsupported(&machine.hierarchies, &resources), None);
    let mut lines = own(&{
        let mut planned = machine.plan("/pods/a", &resources, &[]);
        planned
            .cgroups
            .iter_mut()
            .flat_map(|cgroup| &mut cgroup.writes)
            .for_each(|write| write.required = true);
        planned
    });
    lines.sort();
    let mut expected = [
        "blkio.bfq.weight = 500",
        "blkio.leaf_weight = 20",
        "blkio.bfq.weight_device = 8:0 10",
        "blkio.throttle.read_bps_device = 8:0 1000",
        "blkio.throttle.write_bps_device = 8:0 2000",
        "blkio.throttle.read_iops_device = 8:16 30",
        "blkio.throttle.write_iops_device = 8:16 40",
        "cpu.cfs_quota_us = 20000",
        "cpu.cfs_burst_us = 5000",
        "cpu.rt_period_us = 1000000",
        "cpu.rt_runtime_us = 900",
        "cpu.idle = 0",
        "memory.soft_limit_in_bytes = 4096",
        "memory.swappiness = 10",
        "memory.oom_control = 1",
        "pids.max = max",
        "rdma.max = mlx5_1 hca_handle=2",
        "rdma.max = mlx5_2 hca_handle=1 hca_object=7",
    ];
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

#[test]
fn what_a_version_has_not_is_refused_by_its_name() {
    let (v1, v2) = (Machine::new("not-v1", &["cpu"], None, &[]), Machine::v2("not-v2", &[]));
    let table: [(&Machine, Ask, &str); 8] = [
        (&v2, |more| more.cpu_realtime_runtime = 1, "cpu.realtimeRuntime"),
        (&v2, |more| more.memory_swappiness = Some(1), "memory.swappiness"),
        (&v2, |more| more.memory_disable_oom_killer = true, "memory.disableOOMKiller"),
        (&v2, |more| more.block_io.leaf_weight = Some(10), "blockIO.leafWeight"),
        (&v1, |more| more.block_io.read_bps = vec![(8, 0, 1)], "blockIO"),
        (&v1, |more| more.rdma = vec![("a".into(), None, None)], "rdma"),
        (&v1, |more| more.pids_limit = Some(1), "pids.limit"),
        (&v1, |more| more.memory_reservation = 1, "memory.reservation"),
    ];
    for (machine, ask, field) in table {
        let mut more = Further::default();
        ask(&mut more);
        let resources = Resources { further: Some(Box::new(more)), ..Resources::default() };
        let report = unsupported(&machine.hierarchies, &resources).expect(field);
        assert_eq!(report.stage, format!("linux.resources.{field}"), "{report}");
        assert_eq!(report.kind, Kind::Unsupported);
    }
}

#[test]
fn a_file_of_unified_has_to_be_one_that_takes_something() {
    let machine = Machine::v2(
        "strange",
        &[("unified/init.scope/memory.high", "max\n"), ("unified/init.scope/memory.current", "1\n")],
    );
    let directory = machine.root.join("cg/unified/init.scope");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o444);
    std::fs::set_permissions(directory.join("memory.current"), mode).unwrap();
    let mountinfo = "1 1 0:1 / /cg/unified rw - cgroup2 cgroup2 rw\n";
    let hierarchies = Hierarchies::detect(mountinfo, &machine.root);
    let ask = |file: &str| {
        let unified = BTreeMap::from([(file.to_owned(), "1".to_owned())]);
        unsupported(&hierarchies, &Resources { unified, ..Resources::default() })
    };
    assert_eq!(ask("memory.high"), None);
    assert!(ask("memory.current").unwrap().cause.contains("takes nothing"));
    assert!(ask("memory.hihg").unwrap().cause.contains("no such file"));
    // Of a controller that shows no file here the kernel decides.
    assert_eq!(ask("io.latency"), None);
    assert_eq!(ask("turbo.max").unwrap().kind, Kind::Unsupported);
}

#[test]
fn devices_are_judged_by_a_program_where_there_is_no_controller_for_them() {
    let machine = Machine::v2("judged", &[]);
    let planned = machine.plan("/pods/a", &Resources::default(), &[DeviceRule::NONE, NULL]);
    let with: Vec<bool> = planned.cgroups.iter().map(|cgroup| !cgroup.devices.is_empty()).collect();
    assert_eq!((planned.devices, with.iter().filter(|with| **with).count()), (Devices::Program, 1));
    assert_eq!(with.last(), Some(&true));
    let planned =
        Machine::hybrid("judged-v1", &[]).plan("/pods/a", &Resources::default(), &[DeviceRule::NONE]);
    assert!(planned.cgroups.iter().all(|cgroup| cgroup.devices.is_empty()));
}

#[test]
fn a_unit_is_looked_for_above_itself_when_it_is_gone() {
    let machine = Machine::v2("unit", &[]);
    let planned = machine.plan("/a.slice/orlop-1.scope", &Resources::default(), &[]);
    assert!(matches!(planned.oom, Oom::Unit { above, .. } if above.to_bytes().ends_with(b"/a.slice")));
}
