//! What the kernel counts, of work that the test does; needs root.
//!
//! *Invariant:* each test works below a parent of its own, which goes with it; nobody else's processes are touched.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use orlop_cgroup::count::{Detail, Meter, processes};
use orlop_cgroup::{Hierarchies, act};

const PATIENCE: Duration = Duration::from_secs(20);

/// A cgroup in all hierarchies.
struct Own {
    hierarchies: Hierarchies,
    path: String,
}

impl Own {
    fn new(test: &str) -> Self {
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").expect("proc(5)");
        let hierarchies = Hierarchies::detect(&mountinfo, Path::new("/"));
        let path = format!("/orlop-test-count-{}-{test}", std::process::id());
        let planned = orlop_cgroup::plan(
            &hierarchies,
            &path,
            &orlop_model::container::Resources { memory_limit: 256 << 20, ..Default::default() },
            &[],
        );
        act::apply(&planned.expect("a plan").cgroups).expect("made");
        Own { hierarchies, path }
    }

    fn shell(&self, script: &str) -> Child {
        let procs = self.hierarchies.procs(&self.path, true).expect("a good path");
        let enter: Vec<_> =
            procs.iter().map(|file| format!("echo $$ > {} && ", file.to_string_lossy())).collect();
        let enter = enter.concat();
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!("{enter} {{ {script} ; }}")]).stdin(Stdio::null()).stderr(Stdio::null());
        shell.spawn().expect("a shell")
    }

    fn meter(&self) -> Meter {
        Meter::open(&self.hierarchies, &self.path).expect("opened")
    }

    fn end(&self) {
        for directory in self.hierarchies.directories(&self.path).expect("a good path") {
            act::kill(&directory, PATIENCE).expect("killed");
            act::remove(&directory, PATIENCE).expect("removed");
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits until `so`, and fails if it is not in good time.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_loop_uses_a_cpu_and_is_not_alone() {
    let own = Own::new("loop");
    let meter = own.meter();
    assert_eq!(meter.cpu().expect("read"), Some(0));
    let mut child = own.shell("sleep 1000 & while :; do :; done");
    until("time", || meter.cpu().expect("read").expect("counted") > 50_000_000);
    let (before, then) = (meter.cpu().expect("read").expect("counted"), Instant::now());
    std::thread::sleep(Duration::from_millis(300));
    let used = meter.cpu().expect("read").expect("counted") - before;
    let spent = then.elapsed();
    // One process that never waits: no more than one CPU's time, and some of it even on a busy machine.
    assert!(u128::from(used) < spent.as_nanos() * 11 / 10 && used > 1_000_000, "{used} ns in {spent:?}");
    let detail = Detail::read(&own.hierarchies, &own.path).expect("read");
    assert!(detail.cpu.user.expect("counted") > 1_000_000, "{:?}", detail.cpu);
    assert_eq!(detail.tasks.expect("counted").current, 2);
    let all = processes(&own.hierarchies, &own.path).expect("read");
    assert!(all.len() == 2 && all.contains(&i32::try_from(child.id()).expect("a pid")), "{all:?}");
    own.end();
    child.wait().expect("reaped");
}

#[test]
fn processes_of_cgroups_below_are_found() {
    let own = Own::new("below");
    let mut child = own.shell("exec sleep 1000");
    let pid = i32::try_from(child.id()).expect("a pid");
    until("the process", || processes(&own.hierarchies, &own.path).expect("read") == [pid]);
    // A cgroup below, without controllers of its own: a process may go there on v1 and v2 alike.
    let mount = own.hierarchies.unified().or_else(|| own.hierarchies.v1_mounts().into_keys().next());
    let below = mount.expect("a hierarchy").join(&own.path[1..]).join("below");
    act::make(&below).expect("made");
    act::enter(&below, child.id()).expect("entered");
    assert_eq!(processes(&own.hierarchies, &own.path).expect("read"), [pid]);
    own.end();
    child.wait().expect("reaped");
}

#[test]
fn memory_that_is_touched_is_in_the_working_set() {
    let own = Own::new("memory");
    let meter = own.meter();
    let before = meter.usage().expect("read").memory.expect("counted");
    // tail keeps what may be its last line, and none has come yet.
    let mut child = own.shell("{ head -c 32M /dev/zero; sleep 1000; } | tail -n 1");
    // Processors keep charges in hand, and the kernel sums up now and then: not the last byte.
    let touched = 30 << 20;
    let now = || meter.usage().expect("read").memory.expect("counted");
    until("memory", || now().working_set() > before.working_set() + touched && now().rss > touched);
    let now = now();
    assert!(now.faults > before.faults + 1000, "{before:?} {now:?}");
    assert_eq!((now.limit, now.available()), (Some(256 << 20), Some((256 << 20) - now.working_set())));
    // The kernel keeps the most for itself, where it does.
    let most = Detail::read(&own.hierarchies, &own.path).expect("read").memory.most;
    assert!(most.is_none_or(|most| most >= now.usage), "{most:?} {now:?}");
    own.end();
    child.wait().expect("reaped");
}

#[test]
fn open_files_do_not_keep_a_cgroup() {
    let own = Own::new("gone");
    let meter = own.meter();
    assert!(meter.files() >= 4, "{meter:?}");
    assert!(meter.usage().expect("read").memory.is_some());
    own.end();
    let usage = meter.usage().expect("no error");
    assert_eq!((usage.cpu, usage.memory), (None, None));
    assert_eq!(meter.cpu().expect("no error"), None);
}

#[test]
fn pressure_is_there_where_the_kernel_counts_it() {
    let own = Own::new("pressure");
    let Some(unified) = own.hierarchies.unified() else { return };
    let counted = std::fs::read_to_string(unified.join(&own.path[1..]).join("cpu.pressure"));
    let pressure = own.meter().usage().expect("read").pressure;
    assert_eq!(counted.is_ok_and(|text| text.starts_with("some ")), pressure.cpu.is_some());
}
