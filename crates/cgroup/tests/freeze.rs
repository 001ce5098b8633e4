//! Processes that are frozen stand still, in each hierarchy that can do it; needs root.
//!
//! *Invariant:* each test works below directories of its own, which go with it; nobody else's processes are touched.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use orlop_cgroup::freeze::{freeze, freezer, is_frozen, thaw};
use orlop_cgroup::{Hierarchies, act};

const PATIENCE: Duration = Duration::from_secs(20);

/// A process that counts in a file, in a cgroup of one hierarchy.
struct Counter {
    directory: PathBuf,
    file: tempfile::NamedTempFile,
    process: Child,
}

impl Counter {
    fn new(directory: PathBuf) -> Self {
        act::make(&directory).expect("made");
        let file = tempfile::NamedTempFile::new().expect("a file");
        let script = "i=0; while :; do i=$((i+1)); echo $i > $0; done";
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script]).arg(file.path()).stdin(Stdio::null());
        let process = shell.spawn().expect("a shell");
        act::enter(&directory, process.id()).expect("entered");
        Counter { directory, file, process }
    }

    fn count(&self) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // It may be just being written.
            let text = std::fs::read_to_string(self.file.path()).expect("read");
            if let Ok(count) = text.trim().parse() {
                return count;
            }
            assert!(Instant::now() < deadline, "it counts");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn goes_on(&self) {
        let (before, deadline) = (self.count(), Instant::now() + PATIENCE);
        while self.count() == before {
            assert!(Instant::now() < deadline, "it goes on");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        let _ = thaw(&self.directory);
        let _ = act::kill(&self.directory, PATIENCE);
        let _ = self.process.wait();
        let _ = act::remove(&self.directory, PATIENCE);
    }
}

/// The directories of this machine's freezers, one in each hierarchy that has one.
fn freezers(name: &str) -> Vec<PathBuf> {
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").expect("proc(5)");
    let hierarchies = Hierarchies::detect(&mountinfo, Path::new("/"));
    let both = [hierarchies.v1("freezer"), hierarchies.unified()];
    both.into_iter()
        .flatten()
        .map(|at| at.join(format!("orlop-test-{name}-{}", std::process::id())))
        .collect()
}

#[test]
fn what_is_frozen_stands_still_until_it_is_thawed() {
    let all = freezers("frozen");
    assert!(!all.is_empty(), "a kernel with a freezer");
    for directory in all {
        let counter = Counter::new(directory.clone());
        counter.goes_on();
        assert_eq!(
            freezer(None, std::slice::from_ref(&directory)).is_some(),
            directory.join("freezer.state").exists()
        );
        assert_eq!(freezer(Some(&directory), &[]).is_some(), directory.join("cgroup.freeze").exists());
        for _ in 0..2 {
            freeze(&directory, PATIENCE).expect("frozen");
            assert!(is_frozen(&directory).expect("read"), "{}", directory.display());
        }
        let before = std::fs::read_to_string(counter.file.path()).expect("read");
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(std::fs::read_to_string(counter.file.path()).expect("read"), before);
        thaw(&directory).expect("thawed");
        counter.goes_on();
        assert!(!is_frozen(&directory).expect("read"));
    }
}

#[test]
fn what_is_not_there_cannot_be_frozen_and_need_not_be_thawed() {
    let nowhere = Path::new("/sys/fs/cgroup/orlop-test-nowhere");
    assert!(freeze(nowhere, Duration::ZERO).is_err());
    thaw(nowhere).expect("nothing to do");
}
