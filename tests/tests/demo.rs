//! `make run` and `make down`: the demonstration shows what it promises, and leaves nothing.
//!
//! *Invariant:* it has a name and a network of its own here, so one that somebody runs at the same time is not disturbed.

use std::path::Path;
use std::process::{Command, Output};

use orlop_tests::daemon::number::Number;
use orlop_tests::daemon::program;
use orlop_tests::tidy::root;

/// The demonstration's scripts, under this name.
struct Demo {
    name: String,
    number: Number,
}

impl Demo {
    fn run(&self, script: &str) -> (bool, String) {
        let mut command = Command::new(root().join("tests/demo").join(script));
        command.env("DEMO", &self.name).env("DEMO_SUBNET", self.number.subnet());
        command.env("ORLOP_TEST_BIN", program("orlopd").parent().expect("a directory"));
        let Output { status, stdout, stderr } = command.output().expect("bash");
        (
            status.success(),
            format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)),
        )
    }

    /// What there is of it.
    fn left(&self) -> Vec<String> {
        let places = [root().join("var").join(&self.name), Path::new("/run").join(&self.name)];
        let mut left: Vec<String> =
            places.iter().filter(|path| path.exists()).map(|path| path.display().to_string()).collect();
        let bridge = Path::new("/sys/class/net").join(&self.name);
        left.extend(bridge.exists().then(|| bridge.display().to_string()));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        left.extend(mounts.lines().filter(|line| line.contains(&self.name)).map(str::to_owned));
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten() {
            let group = hierarchy.path().join(&self.name);
            left.extend(group.exists().then(|| group.display().to_string()));
        }
        for entry in std::fs::read_dir("/proc").expect("processes").flatten() {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            left.extend(line.contains(&self.name).then_some(line));
        }
        left
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Where the test failed half-way.
        self.run("down.sh");
    }
}

#[test]
fn the_demonstration_shows_a_pod_and_goes_without_a_trace() {
    let number = Number::claim();
    let demo = Demo { name: format!("orlopdemo{}", number.value()), number };
    assert_eq!(demo.left(), [""; 0]);
    let (well, said) = demo.run("run.sh");
    assert!(well, "{said}");
    let page = "orlop serves this page from a container";
    assert!(said.matches(page).count() >= 2, "once in the log, once from the node:\n{said}");
    for word in [
        "verified, unpacked",
        "default",
        "running",
        "uid=0(root)",
        "container web",
        "its own",
        "shared in the pod",
        "start: ",
        "What to type next:",
        "make down",
    ] {
        assert!(said.contains(word), "{word:?} is not in\n{said}");
    }
    let (again, said) = demo.run("run.sh");
    assert!(!again && said.contains("make down"), "a second one over the first is refused:\n{said}");

    // What it made is taken away even if its daemon was killed.
    let file = root().join("var").join(&demo.name).join("orlopd.pid");
    let pid: i32 = std::fs::read_to_string(file).expect("a file").trim().parse().expect("a number");
    let pid = rustix::process::Pid::from_raw(pid).expect("a process's number");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs");
    let (well, said) = demo.run("down.sh");
    assert!(well && said.ends_with("all gone\n"), "{said}");
    assert_eq!(demo.left(), [""; 0]);
    let (well, said) = demo.run("down.sh");
    assert!(well && said == "nothing is there\n", "{said}");
}
