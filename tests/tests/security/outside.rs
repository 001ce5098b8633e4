//! What the kernel says of a container's first process, read on the node.
//!
//! *Invariant:* nothing is run in the container for it.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use orlop_tests::daemon::stage::Stage;

/// A process of a container, as the node sees it.
pub(crate) struct Outside {
    pub(crate) pid: i64,
}

/// A mount, as mountinfo has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mounted {
    pub(crate) point: String,
    pub(crate) options: Vec<String>,
    pub(crate) ties: Vec<String>,
    pub(crate) kind: String,
}

impl Mounted {
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|one| one == option)
    }

    /// `shared`, `master`: without the group's number.
    pub(crate) fn ties(&self) -> Vec<&str> {
        self.ties.iter().filter_map(|tie| tie.split(':').next()).collect()
    }
}

impl Outside {
    /// The first process of a container.
    pub(crate) async fn of(stage: &mut Stage, id: &str) -> Self {
        let pid = stage.client.facts(id).await.expect("facts")["pid"].as_i64().expect("a process");
        Outside { pid }
    }

    /// A process beside the first, by an argument that no other has.
    pub(crate) fn with_argument(word: &str) -> Option<Self> {
        let processes = std::fs::read_dir("/proc").expect("a list").filter_map(Result::ok);
        let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i64>().ok());
        let has = |pid: &i64| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|&byte| byte == 0).nth(1) == Some(word.as_bytes())
        };
        pids.find(has).map(|pid| Outside { pid })
    }

    pub(crate) fn read(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.pid);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// A line of its status (`proc_pid_status(5)`), its words with one space between.
    pub(crate) fn status(&self, name: &str) -> String {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.expect("a line").split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Its sets of capabilities: inheritable, permitted, effective, bounding, ambient.
    pub(crate) fn capabilities(&self) -> [u64; 5] {
        ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
            .map(|name| u64::from_str_radix(&self.status(name), 16).expect("a mask"))
    }

    /// All that it sees mounted (`proc_pid_mountinfo(5)`).
    pub(crate) fn mounts(&self) -> Vec<Mounted> {
        let table = self.read("mountinfo");
        let row = |line: &str| {
            let (left, right) = line.split_once(" - ").expect("two halves");
            let left: Vec<&str> = left.split(' ').collect();
            Mounted {
                point: left[4].to_owned(),
                options: left[5].split(',').map(str::to_owned).collect(),
                ties: left[6..].iter().map(|&tie| tie.to_owned()).collect(),
                kind: right.split(' ').next().unwrap_or_default().to_owned(),
            }
        };
        table.lines().map(row).collect()
    }

    /// What is mounted at a place, the last if there are several.
    pub(crate) fn mount(&self, point: &str) -> Option<Mounted> {
        self.mounts().into_iter().rfind(|mounted| mounted.point == point)
    }

    /// The number of its namespace of a kind.
    pub(crate) fn namespace(&self, kind: &str) -> u64 {
        inode(&format!("/proc/{}/ns/{kind}", self.pid))
    }

    /// A path in its root, as the node reaches it.
    pub(crate) fn within(&self, path: &str) -> PathBuf {
        format!("/proc/{}/root{path}", self.pid).into()
    }

    /// A sysctl of its own namespaces: read by a program of the node's that joins them and no other.
    pub(crate) fn sysctl(&self, name: &str) -> String {
        let pid = self.pid.to_string();
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        let mut read = std::process::Command::new("nsenter");
        let said = read.args(["-t", &pid, "-n", "-i", "-u", "cat", &path]).output().expect("nsenter");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8_lossy(&said.stdout).trim().to_owned()
    }
}

/// The number of a namespace.
pub(crate) fn inode(path: &str) -> u64 {
    std::fs::metadata(path).unwrap_or_else(|error| panic!("{path}: {error}")).ino()
}
