//! Plans and deeds against the hierarchies of this machine; needs root.
//!
//! *Invariant:* each test works below a parent of its own, which goes with it; nobody else's processes are touched.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use orlop_cgroup::{Access, DeviceRule, Error, Hierarchies, Layout, act, plan, unsupported};
use orlop_model::container::Resources;
use orlop_wire::plan::Oom;

const PATIENCE: Duration = Duration::from_secs(10);

/// A parent in all hierarchies.
struct Parent {
    hierarchies: Hierarchies,
    path: String,
}

impl Parent {
    fn new(test: &str) -> Self {
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").expect("proc(5)");
        let hierarchies = Hierarchies::detect(&mountinfo, Path::new("/"));
        assert_ne!(hierarchies.layout(), Layout::Nothing, "this machine has cgroups");
        Parent { hierarchies, path: format!("/orlop-test-{}-{test}", std::process::id()) }
    }

    /// Plans and makes a container's cgroups; gives back its path.
    fn container(&self, resources: &Resources, devices: &[DeviceRule]) -> String {
        let path = format!("{}/pod/container", self.path);
        assert_eq!(unsupported(&self.hierarchies, resources), None);
        let planned = plan(&self.hierarchies, &path, resources, devices).expect("a plan");
        act::apply(&planned.cgroups).expect("the kernel takes it");
        path
    }

    fn directories(&self, path: &str) -> Vec<PathBuf> {
        self.hierarchies.directories(path).expect("a good path")
    }

    /// A shell that enters all hierarchies of `path` and then runs `script`.
    fn shell(&self, path: &str, script: &str) -> Child {
        let procs = self.hierarchies.procs(path, true).expect("a good path");
        let mut enter = String::new();
        for file in &procs {
            enter.push_str("echo $$ > ");
            enter.push_str(&file.to_string_lossy());
            enter.push_str(" && ");
        }
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!("{enter} {{ {script} ; }}")]).stdin(Stdio::null()).stderr(Stdio::null());
        shell.spawn().expect("a shell")
    }

    /// The value of a file in the container's directory of whichever hierarchy has it.
    fn value(&self, path: &str, file: &str) -> Option<String> {
        let found =
            self.directories(path).into_iter().find_map(|at| std::fs::read_to_string(at.join(file)).ok());
        found.map(|text| text.trim().to_owned())
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        for directory in self.directories(&self.path) {
            act::kill(&directory, PATIENCE).expect("killed");
            act::remove(&directory, PATIENCE).expect("removed");
            assert!(!act::exists(&directory));
        }
    }
}

/// Waits until `so`, and fails if it is not in good time.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn limits_that_were_planned_are_what_the_kernel_holds() {
    let parent = Parent::new("limits");
    let resources = Resources {
        cpu_period: 50_000,
        cpu_quota: 25_000,
        cpu_shares: 512,
        memory_limit: 64 << 20,
        memory_swap_limit: 64 << 20,
        cpuset_cpus: "0".into(),
        cpuset_mems: "0".into(),
        unified: [("pids.max".into(), "33".into())].into(),
        ..Resources::default()
    };
    let path = parent.container(&resources, &[]);
    let v2 = parent.hierarchies.layout() == Layout::V2;
    let limits = if v2 {
        [("cpu.weight", "59"), ("cpu.max", "25000 50000"), ("memory.max", "67108864")]
    } else {
        [("cpu.shares", "512"), ("cpu.cfs_quota_us", "25000"), ("memory.limit_in_bytes", "67108864")]
    };
    for (file, value) in
        limits.into_iter().chain([("cpuset.cpus", "0"), ("cpuset.mems", "0"), ("pids.max", "33")])
    {
        assert_eq!(parent.value(&path, file).as_deref(), Some(value), "{file}");
    }
    if let Some(swap) = parent.value(&path, "memory.memsw.limit_in_bytes") {
        assert_eq!(swap, "67108864");
    }
}

#[test]
fn a_process_enters_everything_even_where_no_cpus_were_asked_for() {
    let parent = Parent::new("enter");
    let path = parent.container(&Resources::default(), &[]);
    let mut child = parent.shell(&path, "exec sleep 1000");
    let pid = i32::try_from(child.id()).expect("a pid");
    for directory in parent.directories(&path) {
        until(&directory.display().to_string(), || act::processes(&directory).is_ok_and(|all| all == [pid]));
    }
    // The controllers are all entered: none of them shows the root any more.
    let entered = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("proc(5)");
    assert!(entered.lines().all(|line| line.ends_with("/pod/container")), "{entered}");
    child.kill().expect("killed");
    child.wait().expect("reaped");
}

#[test]
fn hugepages_are_limited_where_the_kernel_can() {
    let parent = Parent::new("hugetlb");
    let resources = Resources { hugepages: vec![("2MB".into(), 4 << 20)], ..Resources::default() };
    // A machine without the controller must say so; with it, it must hold the limit.
    if parent.hierarchies.has("hugetlb") {
        let path = parent.container(&resources, &[]);
        let file = if parent.hierarchies.in_unified("hugetlb") {
            "hugetlb.2MB.max"
        } else {
            "hugetlb.2MB.limit_in_bytes"
        };
        assert_eq!(parent.value(&path, file).as_deref(), Some("4194304"));
    } else {
        let report = unsupported(&parent.hierarchies, &resources).expect("refused");
        assert!(report.stage.ends_with("hugepage_limits"), "{report}");
    }
}

#[test]
fn a_kill_for_want_of_memory_is_counted() {
    let parent = Parent::new("oom");
    let resources = Resources { memory_limit: 16 << 20, memory_swap_limit: 16 << 20, ..Resources::default() };
    let path = parent.container(&resources, &[]);
    let planned = plan(&parent.hierarchies, &path, &resources, &[]).expect("a plan");
    let (Oom::V1 { directory } | Oom::V2 { directory }) = planned.oom else { panic!("no memory controller") };
    let directory = PathBuf::from(directory.to_str().expect("UTF-8"));
    assert_eq!(act::oom_kills(&directory).expect("read"), 0);
    // tail keeps a line without end in memory.
    let status = parent.shell(&path, "exec tail /dev/zero").wait().expect("reaped");
    assert!(!status.success());
    assert!(act::oom_kills(&directory).expect("read") >= 1);
}

const NULL: DeviceRule = DeviceRule {
    allow: true,
    block: Some(false),
    major: Some(1),
    minor: Some(3),
    access: Access { read: true, write: true, make: false },
};
const ZERO: DeviceRule = DeviceRule { minor: Some(5), ..NULL };

#[test]
fn a_device_that_is_denied_cannot_be_opened() {
    let parent = Parent::new("devices");
    let path = parent.container(&Resources::default(), &[DeviceRule::NONE, NULL]);
    let runs = |script: &str| parent.shell(&path, script).wait().expect("reaped").success();
    assert!(runs("true < /dev/null"));
    assert!(!runs("true < /dev/zero"));
}

#[test]
fn a_program_judges_devices_where_there_is_a_unified_tree_and_is_replaced_at_once() {
    let parent = Parent::new("program");
    let path = parent.container(&Resources::default(), &[DeviceRule::EVERY]);
    let unified = parent.hierarchies.unified().expect("this machine has a unified tree").join(&path[1..]);
    let judge = |rules: &[DeviceRule]| act::judge(&unified, &orlop_cgroup::devices::program(rules));
    let runs = |script: &str| parent.shell(&path, script).wait().expect("reaped").success();
    assert!(runs("true < /dev/null && true < /dev/zero"));
    judge(&[DeviceRule::NONE, NULL]).expect("the kernel takes it");
    assert!(runs("true < /dev/null") && !runs("true < /dev/zero"));
    // In the place of the other: both together would allow neither.
    judge(&[DeviceRule::NONE, ZERO]).expect("the kernel takes it");
    assert!(runs("true < /dev/zero") && !runs("true < /dev/null"));
    // Of cgroups below, too.
    let below = format!("{path}/below");
    for directory in parent.directories(&below) {
        act::make(&directory).expect("made");
        for file in ["cpuset.mems", "cpuset.cpus"] {
            if let Ok(value) = std::fs::read_to_string(directory.with_file_name(file)) {
                let _ = std::fs::write(directory.join(file), value);
            }
        }
    }
    let runs = |script: &str| parent.shell(&below, script).wait().expect("reaped").success();
    assert!(runs("true < /dev/zero") && !runs("true < /dev/null"));
}

#[test]
fn a_limit_that_the_kernel_refuses_is_named_with_its_file() {
    let parent = Parent::new("refused");
    let path = format!("{}/c", parent.path);
    let resources = Resources { cpuset_cpus: "4000".into(), ..Resources::default() };
    let planned = plan(&parent.hierarchies, &path, &resources, &[]).expect("a plan");
    match act::apply(&planned.cgroups) {
        Err(Error::Write { file, value, .. }) => {
            assert!(file.ends_with("c/cpuset.cpus"), "{}", file.display());
            assert_eq!(value, "4000");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn killing_ends_all_below_even_what_forks_and_removing_leaves_nothing() {
    let parent = Parent::new("kill");
    let path = parent.container(&Resources::default(), &[]);
    // On v1 the list of processes is what is killed, on v2 the kernel does it: both ways, whichever there are.
    for directory in parent.directories(&path) {
        let below = directory.join("below");
        act::make(&below).expect("made");
        if let Some(set) = parent.hierarchies.v1("cpuset").filter(|set| directory.starts_with(set)) {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                std::fs::copy(set.join(file), below.join(file)).expect("filled");
            }
        }
        let mut child = Command::new("/bin/sh")
            .args(["-c", "read go; while :; do sleep 1000 & sleep 0.01; done"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell");
        act::enter(&below, child.id()).expect("entered");
        std::io::Write::write_all(&mut child.stdin.take().expect("piped"), b"\n").expect("told");
        until("forks", || act::processes(&below).is_ok_and(|all| all.len() >= 3));
        assert!(matches!(act::remove(&directory, Duration::ZERO), Err(Error::Alive { .. })));
        // The shell's own end is not seen by the loop while it is a zombie, nor does it keep the directory.
        act::kill(&directory, PATIENCE).expect("killed");
        assert_eq!(act::processes(&below).expect("read"), [0; 0]);
        act::remove(&directory, PATIENCE).expect("removed");
        assert!(!child.wait().expect("reaped").success());
    }
}

#[test]
fn everything_can_be_said_again() {
    let parent = Parent::new("again");
    let planned = plan(&parent.hierarchies, &format!("{}/c", parent.path), &Resources::default(), &[]);
    let planned = planned.expect("a plan");
    act::apply(&planned.cgroups).expect("made");
    act::apply(&planned.cgroups).expect("made again");
    for directory in parent.directories(&format!("{}/c", parent.path)) {
        assert!(act::exists(&directory));
        for _ in 0..2 {
            act::remove(&directory, PATIENCE).expect("removed");
            act::kill(&directory, PATIENCE).expect("nothing to kill");
            assert_eq!(act::processes(&directory).expect("none"), [0; 0]);
            assert_eq!(act::oom_kills(&directory).expect("none"), 0);
            assert!(!act::exists(&directory));
        }
    }
}
