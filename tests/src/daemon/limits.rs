//! Limits as the node's kernel has them, in the words of cgroup v1 whatever is mounted, so that one test reads both.
//!
//! *Invariant:* read from outside the container; where a value has another scale on v2, the expectation is translated, not the value.

use std::path::{Path, PathBuf};

use super::stage::Stage;
use super::traces::Traces;

const ROOT: &str = "/sys/fs/cgroup";

/// Whether cgroups are of version 2 alone.
#[must_use]
pub fn is_v2() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// Whether systemd makes the cgroups of a daemon that is told nothing else.
#[must_use]
pub fn is_systemd() -> bool {
    is_v2() && Path::new("/run/systemd/system").is_dir() && Path::new("/run/dbus/system_bus_socket").exists()
}

/// A pod's name for kubelet's cgroup: below the instance's own parent, as the driver wants it, and the path where that is.
#[must_use]
pub fn parent(traces: &Traces, name: &str) -> (String, String) {
    if is_systemd() {
        let unit = format!("{}-{name}.slice", traces.cgroup);
        let path = format!("/{}/{unit}", traces.slice().display());
        return (unit, path);
    }
    let path = format!("/{}/{name}", traces.cgroup);
    (path.clone(), path)
}

/// The directory of a container, or of its pod, in the hierarchy that has `controller`; `unified` on a hybrid machine.
#[must_use]
pub fn directory(stage: &Stage, controller: &str, id: Option<&str>) -> PathBuf {
    let (parent, pod) = (&stage.daemon.traces.cgroup, &stage.pod_id);
    let mut path = Path::new(ROOT).to_owned();
    if is_systemd() {
        path.extend([stage.daemon.traces.slice(), format!("{parent}-{pod}.slice").into()]);
        path.extend(id.map(|id| format!("orlop-{id}.scope")));
    } else {
        path.extend((!is_v2()).then_some(controller));
        path.extend([parent, pod]);
        path.extend(id);
    }
    path
}

/// What the file that holds the limit `file` of v1 says, as it is; on v2 its name there.
///
/// # Panics
/// If it is not there.
#[must_use]
pub fn raw(stage: &Stage, controller: &str, id: Option<&str>, file: &str) -> (String, String) {
    let name = match file {
        "cpu.shares" => "cpu.weight",
        "cpu.cfs_period_us" | "cpu.cfs_quota_us" => "cpu.max",
        "memory.limit_in_bytes" => "memory.max",
        "memory.memsw.limit_in_bytes" => "memory.swap.max",
        "memory.usage_in_bytes" => "memory.current",
        other => other,
    };
    let name = if is_v2() { name } else { file };
    let path = directory(stage, controller, id).join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (name.to_owned(), text.trim().to_owned())
}

/// The value of a file of v1; shares as [`shares`] has them.
///
/// # Panics
/// If it is not there.
#[must_use]
pub fn value(stage: &Stage, controller: &str, id: Option<&str>, file: &str) -> String {
    let (_, text) = raw(stage, controller, id, file);
    if !is_v2() {
        return text;
    }
    let word = |at: usize| text.split(' ').nth(at).unwrap_or_default().to_owned();
    let unlimited = |text: String| if text == "max" { "-1".into() } else { text };
    match file {
        "cpu.shares" => format!("weight {text}"),
        "cpu.cfs_period_us" => word(1),
        "cpu.cfs_quota_us" => unlimited(word(0)),
        "memory.memsw.limit_in_bytes" => {
            let memory: u64 = raw(stage, controller, id, "memory.limit_in_bytes").1.parse().unwrap_or(0);
            text.parse::<u64>().map_or("-1".into(), |swap| (memory + swap).to_string())
        }
        _ => unlimited(text),
    }
}

/// How [`value`] shows shares: on v2 the weight that they are there, by the curve that kubelet has since 1.35.
///
/// # Panics
/// If it is no number.
#[must_use]
pub fn shares(shares: &str) -> String {
    if !is_v2() {
        return shares.to_owned();
    }
    let log = shares.parse::<f64>().expect("a number").log2();
    let weight = 10_f64.powf((log * log + 125.0 * log) / 612.0 - 7.0 / 34.0);
    format!("weight {}", (weight - 1e-6).ceil())
}

/// The directory of a container that runs, wherever its pod is, in the hierarchy that has `controller`: by proc(5).
///
/// # Panics
/// If it does not run.
pub async fn of(stage: &Stage, id: &str, controller: &str) -> PathBuf {
    let pid = stage.daemon.client().await.facts(id).await.expect("facts")["pid"].as_i64().expect("a number");
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its cgroups");
    let wanted = |line: &&str| {
        let controllers = line.split(':').nth(1).unwrap_or_default();
        if is_v2() { controllers.is_empty() } else { controllers.split(',').any(|one| one == controller) }
    };
    let line = cgroups.lines().find(wanted).expect("it is in that hierarchy");
    let path = line.splitn(3, ':').nth(2).unwrap_or_default().trim_start_matches('/');
    let mount = if is_v2() { Path::new(ROOT).to_owned() } else { Path::new(ROOT).join(controller) };
    mount.join(path)
}

/// Takes away a parent of [`parent`], as kubelet would.
pub fn remove_parent(path: &str) {
    if is_systemd() {
        let unit = path.rsplit('/').next().unwrap_or_default();
        let _ = std::process::Command::new("systemctl").args(["stop", unit]).output();
    }
    let hierarchies = super::traces::entries(Path::new(ROOT)).into_iter().chain([Path::new(ROOT).to_owned()]);
    for hierarchy in hierarchies {
        let _ = std::fs::remove_dir(hierarchy.join(path.trim_start_matches('/')));
    }
}
