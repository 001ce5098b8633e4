//! A kubelet, unmodified and by itself: it reads pods from a directory, and runs them on an orlopd.
//!
//! The program is given by `KUBELET`; it is built of the Go module k8s.io/kubernetes.
//!
//! *Invariant:* its directories, its cgroup and its ports are the test's own; what it sets of this machine's sysctls is set back when
//! it ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::{http, port};

/// How long anything may take that kubelet has to notice first: its own pulses are seconds.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// What kubelet sets at its start, whatever it is told.
const SYSCTLS: [&str; 5] = [
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/panic_on_oom",
    "/proc/sys/kernel/panic",
    "/proc/sys/kernel/panic_on_oops",
    "/proc/sys/kernel/keys/root_maxkeys",
];

/// A kubelet that runs.
pub struct Kubelet {
    process: Option<Child>,
    place: PathBuf,
    cgroup: String,
    socket: PathBuf,
    port: u16,
    reading_port: u16,
    sysctls: Vec<(&'static str, String)>,
}

impl Kubelet {
    /// Starts it on this daemon.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(daemon: &Daemon) -> Self {
        let place = daemon.place().join("kubelet");
        for directory in ["pods", "logs", "root", "containers", "lib", "plugins"] {
            std::fs::create_dir_all(place.join(directory)).expect("a directory");
        }
        let sysctls =
            SYSCTLS.into_iter().filter_map(|path| Some((path, std::fs::read_to_string(path).ok()?)));
        let mut kubelet = Kubelet {
            process: None,
            cgroup: format!("{}-kubelet", daemon.traces.cgroup),
            socket: daemon.socket(),
            port: port::free(),
            reading_port: port::free(),
            sysctls: sysctls.collect(),
            place,
        };
        kubelet.make_cgroups();
        kubelet.share_root();
        std::fs::write(kubelet.place.join("config.json"), kubelet.config().to_string()).expect("a file");
        kubelet.up();
        kubelet
    }

    fn config(&self) -> Value {
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "address": "127.0.0.1", "port": self.port, "readOnlyPort": self.reading_port, "healthzPort": 0,
            "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
            "authorization": {"mode": "AlwaysAllow"},
            "containerRuntimeEndpoint": format!("unix://{}", self.socket.display()),
            "staticPodPath": self.place.join("pods"), "podLogsDir": self.place.join("logs"),
            "cgroupRoot": format!("/{}", self.cgroup), "cgroupsPerQOS": true, "enforceNodeAllocatable": [],
            "cgroupDriver": "cgroupfs", "failCgroupV1": false, "failSwapOn": false,
            "evictionHard": {"nodefs.available": "0%"}, "imageGCHighThresholdPercent": 100,
            "fileCheckFrequency": "1s", "syncFrequency": "10s", "makeIPTablesUtilChains": false,
            "containerLogMaxSize": "1Mi", "containerLogMaxFiles": 5, "containerLogMonitorInterval": "3s",
            "runtimeRequestTimeout": "2m", "volumePluginDir": self.place.join("plugins"),
            "featureGates": {"PodAndContainerStatsFromCRI": true}, "maxPods": 200,
        })
    }

    /// kubelet wants the cgroup below which it works to be there.
    fn make_cgroups(&self) {
        for hierarchy in hierarchies() {
            let _ = std::fs::create_dir_all(hierarchy.join(&self.cgroup));
        }
    }

    /// Volumes lie below a mount of their own, whose mounts travel between the node and kubelet.
    fn share_root(&self) {
        let root = self.place.join("root");
        rustix::mount::mount_bind(&root, &root).expect("a bind mount");
        rustix::mount::mount_change(&root, rustix::mount::MountPropagationFlags::SHARED).expect("shared");
    }

    /// Starts it, in a mount namespace of its own: what it has under fixed names lies in the test's directory.
    ///
    /// # Panics
    /// If it cannot be started, or does not answer.
    pub fn up(&mut self) {
        let program = std::env::var("KUBELET").expect("KUBELET names the program kubelet");
        let log = std::fs::File::options().append(true).create(true).open(self.place.join("log"));
        let log = log.expect("a file");
        let place = self.place.display();
        // What it mounts for volumes is to be seen by the daemon, what is mounted over fixed names is not: of this machine's mounts the
        // one that those names are on is taken out of its peers, the test's own stays in.
        let script = format!(
            "mkdir -p /var/log/containers /var/lib/kubelet && mount --make-private / && \
             mount --bind {place}/containers /var/log/containers && mount --bind {place}/lib /var/lib/kubelet && \
             exec \"$0\" \"$@\""
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "unchanged", "sh", "-c", &script, &program]);
        command.arg("--config").arg(self.place.join("config.json"));
        command.arg("--root-dir").arg(self.place.join("root"));
        command.arg("--cert-dir").arg(self.place.join("pki"));
        command.args(["--hostname-override", "harbour", "-v", "4"]);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        self.process = Some(command.spawn().expect("unshare and kubelet"));
        self.eventually("kubelet answers", || self.get("/healthz").is_some());
    }

    /// Kills it; its pods go on.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Has it run this pod.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn put(&self, name: &str, spec: &Value) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "uid": format!("{name}-uid")}, "spec": spec,
        });
        let (hidden, file) = (self.place.join(format!(".{name}")), self.file(name));
        std::fs::write(&hidden, pod.to_string()).expect("a file");
        std::fs::rename(hidden, file).expect("a file");
    }

    /// Has it run this pod no longer.
    ///
    /// # Panics
    /// If there was none.
    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.file(name)).expect("a file");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.place.join("pods").join(format!("{name}.json"))
    }

    /// Where the logs of its pods are.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.place.join("logs")
    }

    /// What its plain port answers; `None` if it does not, or not well.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<String> {
        let answer = http::send(&format!("127.0.0.1:{}", self.reading_port), "GET", path, &[], b"").ok()?;
        (answer.status == 200).then(|| String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// What its own port answers to a POST, whatever the code: `/run` runs a command.
    ///
    /// # Panics
    /// If there is no curl.
    #[must_use]
    pub fn post(&self, path: &str) -> String {
        let url = format!("https://127.0.0.1:{}{path}", self.port);
        let output = Command::new("curl").args(["-sk", "--max-time", "60", "-X", "POST", &url]).output();
        String::from_utf8_lossy(&output.expect("curl").stdout).into_owned()
    }

    /// Its own port, which speaks TLS.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The status of a pod, as kubelet sees it; null while it knows none.
    #[must_use]
    pub fn status(&self, name: &str) -> Value {
        let pods: Value =
            self.get("/pods").and_then(|pods| serde_json::from_str(&pods).ok()).unwrap_or_default();
        let name = format!("{name}-harbour");
        let found =
            pods["items"].as_array().into_iter().flatten().find(|pod| pod["metadata"]["name"] == *name);
        found.map(|pod| pod["status"].clone()).unwrap_or_default()
    }

    /// Waits until this holds.
    ///
    /// # Panics
    /// If it does not within [`PATIENCE`].
    pub fn eventually(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until the pod is ready; its status.
    ///
    /// # Panics
    /// If it is not within [`PATIENCE`].
    #[must_use]
    pub fn ready(&self, name: &str) -> Value {
        let mut last = Value::Null;
        self.eventually(&format!("{name} is ready"), || {
            last = self.status(name);
            let conditions = last["conditions"].as_array().into_iter().flatten();
            conditions.into_iter().any(|is| is["type"] == "Ready" && is["status"] == "True")
        });
        last
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.place.join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().filter(|line| !line.starts_with('I')).collect();
            eprintln!("the end of kubelet's log:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
        self.kill();
        for (path, value) in &self.sysctls {
            let _ = std::fs::write(path, value);
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let its = format!(" {}/", self.place.display());
        for line in mounts.lines().rev().filter(|line| line.contains(&its)) {
            if let Some(path) = line.split(' ').nth(1) {
                let _ = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH);
            }
        }
        for hierarchy in hierarchies() {
            remove_tree(&hierarchy.join(&self.cgroup));
        }
    }
}

/// Every cgroup hierarchy that is mounted under the usual place.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let cgroups = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (path, kind) = (words.nth(1)?, words.next()?);
        kind.starts_with("cgroup").then(|| PathBuf::from(path))
    });
    cgroups.collect()
}

/// Removes cgroups that hold no process, from below.
fn remove_tree(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(directory);
}
