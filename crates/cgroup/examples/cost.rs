//! What it takes to read a cgroup's figures: CPU time of this process for each of many cgroups, which it makes and removes. Needs root.
//!
//! `cargo run --release -p orlop-cgroup --example cost -- 200`

use std::path::Path;
use std::time::Duration;

use orlop_cgroup::count::{Detail, Meter, processes, time};
use orlop_cgroup::{Hierarchies, act};

fn main() {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(200);
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").expect("proc(5)");
    let hierarchies = Hierarchies::detect(&mountinfo, Path::new("/"));
    let parent = format!("/orlop-cost-{}", std::process::id());
    let paths: Vec<String> = (0..count).map(|number| format!("{parent}/{number}")).collect();
    for directory in paths.iter().flat_map(|path| hierarchies.directories(path).expect("a good path")) {
        act::make(&directory).expect("made");
    }
    let meters: Vec<Meter> =
        paths.iter().map(|path| Meter::open(&hierarchies, path).expect("opened")).collect();
    println!("{} cgroups, {} files each, microseconds of CPU time for one:", count, meters[0].files());
    measure("all figures, files open", &meters, |meter| _ = meter.usage().expect("read"));
    measure("time, file open", &meters, |meter| _ = meter.cpu().expect("read"));
    measure("all figures, files opened for it", &paths, |path| {
        _ = Meter::open(&hierarchies, path).expect("opened").usage().expect("read");
    });
    measure("time, file opened for it", &paths, |path| _ = time(&hierarchies, path).expect("read"));
    measure("details", &paths, |path| _ = Detail::read(&hierarchies, path).expect("read"));
    measure("processes", &paths, |path| _ = processes(&hierarchies, path).expect("read"));
    for directory in hierarchies.directories(&parent).expect("a good path") {
        act::remove(&directory, Duration::from_secs(5)).expect("removed");
    }
}

fn measure<T>(what: &str, all: &[T], work: impl Fn(&T)) {
    const ROUNDS: u32 = 20;
    let before = spent();
    for _ in 0..ROUNDS {
        all.iter().for_each(&work);
    }
    let count = u32::try_from(all.len()).expect("not that many") * ROUNDS;
    let spent = spent().saturating_sub(before);
    println!("  {what}: {:.1}", spent.as_secs_f64() * 1e6 / f64::from(count));
}

/// CPU time of this process, which has one thread.
fn spent() -> Duration {
    let text = std::fs::read_to_string("/proc/self/schedstat").expect("proc(5)");
    let nanoseconds = text.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}
