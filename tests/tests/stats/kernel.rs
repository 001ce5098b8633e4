//! The kernel's own files of a process's cgroups, found by proc(5) alone.

use std::path::{Path, PathBuf};

/// Where a process is in each hierarchy.
pub(crate) struct Kernel {
    directories: Vec<PathBuf>,
}

impl Kernel {
    /// Of a container, by the process that its status names.
    pub(crate) async fn of(client: &mut orlop_tests::cri::Client, container: &str) -> Self {
        let pid = client.facts(container).await.expect("facts")["pid"].as_i64().expect("a pid");
        Self::of_process(pid)
    }

    fn of_process(pid: i64) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).expect("proc(5)");
        let mounts = read("/proc/self/mountinfo");
        let mount = |controllers: &str| {
            mounts.lines().find_map(|line| {
                let (mount, filesystem) = line.split_once(" - ")?;
                let mut filesystem = filesystem.split(' ');
                let kind = filesystem.next()?;
                let options = filesystem.nth(1)?;
                let first = controllers.split(',').next()?;
                let found = if controllers.is_empty() {
                    kind == "cgroup2"
                } else {
                    kind == "cgroup" && options.split(',').any(|option| option == first)
                };
                found.then(|| PathBuf::from(mount.split(' ').nth(4).unwrap_or_default()))
            })
        };
        let place = |line: &str| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            Some(mount(controllers)?.join(path.trim_start_matches('/')))
        };
        let lines = read(&format!("/proc/{pid}/cgroup"));
        Kernel { directories: lines.lines().filter_map(place).collect() }
    }

    /// The cgroups that these are in: the pod's.
    pub(crate) fn parent(&self) -> Self {
        let directories = self.directories.iter().filter_map(|at| at.parent()).map(Path::to_owned).collect();
        Kernel { directories }
    }

    /// What the first of these files says that is there.
    pub(crate) fn text(&self, names: &[&str]) -> Option<String> {
        let files = names.iter().flat_map(|name| self.directories.iter().map(move |at| at.join(name)));
        files.into_iter().find_map(|file| std::fs::read_to_string(file).ok())
    }

    /// The number that the first of these files holds; `max` is none.
    pub(crate) fn number(&self, names: &[&str]) -> Option<u64> {
        self.text(names)?.trim().parse().ok()
    }

    /// A line `KEY NUMBER` of `memory.stat`, the first of these that is there.
    pub(crate) fn memory(&self, keys: &[&str]) -> u64 {
        let text = self.text(&["memory.stat"]).expect("memory is counted");
        let line = |key: &&str| {
            text.lines().find_map(|line| line.strip_prefix(*key)?.strip_prefix(' ')?.parse::<u64>().ok())
        };
        keys.iter().find_map(line).unwrap_or_else(|| panic!("{keys:?} in {text}"))
    }

    /// How many processes are in it.
    pub(crate) fn processes(&self) -> u64 {
        self.text(&["cgroup.procs"]).map_or(0, |text| text.lines().count() as u64)
    }

    /// CPU time, nanoseconds.
    pub(crate) fn cpu(&self) -> u64 {
        self.number(&["cpuacct.usage"]).unwrap_or_else(|| {
            let text = self.text(&["cpu.stat"]).expect("time is counted");
            let time = text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse::<u64>().ok());
            time.expect("a time") * 1000
        })
    }

    /// Whether pressure is counted here.
    pub(crate) fn has_pressure(&self) -> bool {
        self.text(&["cpu.pressure"]).is_some_and(|text| text.starts_with("some "))
    }
}
