//! Whether anything is left of pods that are gone, and of a daemon that ended.
//!
//! *Invariant:* what an instance may have while it is idle is written down here, kind by kind; all else is a leak.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use crate::daemon::traces::{Trace, entries};
use crate::daemon::{Daemon, patience};

/// The most memory (PSS, bytes) that a daemon may have in any test: far more than it needs, far less than what a leak comes to.
const MEMORY: u64 = 64 << 20;

/// What a daemon had open before the test.
pub struct Leaks {
    open: BTreeMap<String, usize>,
}

impl Leaks {
    /// Looks at a daemon that answers and has no pod.
    #[must_use]
    pub fn before(daemon: &Daemon) -> Self {
        Leaks { open: open_files(daemon.pid()) }
    }

    /// Removes all pods, waits until nothing is left of them, ends the daemon, and sees that nothing is left of it.
    ///
    /// # Panics
    /// If a pod cannot be removed, or something is left.
    pub async fn after(&self, daemon: &mut Daemon) {
        daemon.traces.note();
        let mut client = daemon.client().await;
        for pod in client.pods().await.expect("a list of pods") {
            client.stop_pod(&pod.id).await.expect("a pod is stopped");
            client.remove_pod(&pod.id).await.expect("a pod is removed");
        }
        drop(client);
        // The runtime closes the connections that were dropped: orlopd's end waits for those that are open.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        daemon.traces.read(&daemon.log());
        let memory = memory(daemon.pid());
        assert!(memory <= MEMORY, "orlopd has {} MiB of memory", memory >> 20);
        self.settle("its pods are gone", || self.of_pods(daemon)).await;
        daemon.stop();
        self.settle("orlopd has ended", || of_daemon(daemon)).await;
    }

    async fn settle(&self, since: &str, look: impl Fn() -> Vec<String>) {
        let deadline = Instant::now() + patience();
        loop {
            let left = look();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left after {since}:\n  {}", left.join("\n  "));
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// What is there that an idle daemon has not.
    fn of_pods(&self, daemon: &Daemon) -> Vec<String> {
        let idle = |trace: &Trace| match trace {
            // The room's pin, and the directory that it needs.
            Trace::Mount(path) => [daemon.state().join("ns"), daemon.state().join("ns/room")].contains(path),
            Trace::Link(name) => *name == daemon.traces.bridge,
            Trace::Table(_) => true,
            Trace::Cgroup(path) => {
                let of_daemon = path.ends_with("shims") || path.ends_with("cni");
                daemon.traces.is_parent(path)
                    || (of_daemon && path.parent().is_some_and(|above| daemon.traces.is_parent(above)))
            }
            Trace::Process(pid, _) => *pid == daemon.pid(),
            Trace::Netns(_) | Trace::File(_) => false,
        };
        let mut left: Vec<String> = daemon
            .traces
            .find()
            .into_iter()
            .filter(|trace| !idle(trace))
            .map(|trace| trace.to_string())
            .collect();
        left.extend(files(daemon).into_iter().map(|trace| trace.to_string()));
        left.extend(children(daemon.pid()).into_iter().map(|pid| format!("child of orlopd {pid}")));
        for (what, count) in open_files(daemon.pid()) {
            let before = self.open.get(&what).copied().unwrap_or_default();
            if count > before {
                left.push(format!("{count} open {what}, {before} before"));
            }
        }
        left
    }
}

/// What is there that a daemon without pods leaves nobody.
fn of_daemon(daemon: &Daemon) -> Vec<String> {
    let traces = daemon.traces.find();
    let bridge = Trace::Link(daemon.traces.bridge.clone());
    let others = traces.iter().filter(|trace| !(daemon.traces.keeps_bridge && **trace == bridge));
    let mut left: Vec<String> = others.map(ToString::to_string).collect();
    left.extend(files(daemon).iter().map(ToString::to_string));
    if daemon.socket().exists() {
        left.push("its socket".into());
    }
    left
}

/// Files of pods, containers, and layers on their way in or out.
fn files(daemon: &Daemon) -> Vec<Trace> {
    let (state, root) = (daemon.state(), daemon.root());
    let directories = [
        state.join("pods"),
        state.join("containers"),
        root.join("containers"),
        root.join("trash"),
        root.join("images/ingest"),
        // Attachments to networks of CNI plugins.
        root.join("cni"),
    ];
    directories.iter().flat_map(|directory| entries(directory)).map(Trace::File).collect()
}

/// Processes that `pid` has started and that are there still, be it as zombies.
fn children(pid: u32) -> Vec<String> {
    let tasks = entries(&Path::new("/proc").join(pid.to_string()).join("task"));
    let listed = tasks.iter().filter_map(|task| std::fs::read_to_string(task.join("children")).ok());
    listed.flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// How much memory is a process's own, with its part of what it shares, in bytes (proc_pid_smaps(5), Pss).
///
/// # Panics
/// If it is gone.
#[must_use]
pub fn memory(pid: u32) -> u64 {
    rollup(pid, "Pss:")
}

/// How much of a process's memory is no file's, in bytes (proc_pid_smaps(5), Pss_Anon): its program's pages, which it shares with
/// whoever runs the same program at the moment, do not count.
///
/// # Panics
/// If it is gone.
#[must_use]
pub fn own_memory(pid: u32) -> u64 {
    rollup(pid, "Pss_Anon:")
}

fn rollup(pid: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the process is there");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("smaps_rollup has it");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") << 10
}

/// What a process has open, by kind, and how many of each. Connections to clients and registries are theirs to close.
fn open_files(pid: u32) -> BTreeMap<String, usize> {
    let own = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let others: Vec<String> = ["tcp", "tcp6"]
        .iter()
        .flat_map(|name| {
            let table = std::fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default();
            table
                .lines()
                .filter_map(|line| line.split_whitespace().nth(9).map(str::to_owned))
                .collect::<Vec<_>>()
        })
        .collect();
    let served = own.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // With a path: those that a client is connected to.
        (words.len() > 7).then(|| words[6].to_owned())
    });
    let others: Vec<String> = others.into_iter().chain(served).collect();
    let mut kinds = BTreeMap::new();
    for entry in entries(&Path::new("/proc").join(pid.to_string()).join("fd")) {
        let Ok(target) = std::fs::read_link(entry) else { continue };
        let target = target.to_string_lossy().into_owned();
        let kind = match target.split_once(":[") {
            Some(("socket", inode)) if others.iter().any(|other| other == inode.trim_end_matches(']')) => {
                continue;
            }
            Some((kind, _)) => kind.to_owned(),
            // A program that was installed anew meanwhile.
            None => target.trim_end_matches(" (deleted)").to_owned(),
        };
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}
