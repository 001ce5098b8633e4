//! What most tests begin with: a daemon, a client of it, the image of busybox, a pod that is ready.
//!
//! *Invariant:* containers have the names that tests give them; a name's log is that container's.

use orlop_proto::runtime::v1::{
    ContainerConfig, ContainerStatus, LinuxContainerConfig, LinuxContainerResources,
    LinuxContainerSecurityContext, NamespaceOption, PodSandboxConfig,
};
use tonic::Status;

use super::Daemon;
use crate::cri::{self, Client};

/// A daemon with a pod.
pub struct Stage {
    /// The daemon.
    pub daemon: Daemon,
    /// A client of it.
    pub client: Client,
    /// The name of the image of busybox, which is there.
    pub image: String,
    /// As the pod was asked for.
    pub pod: PodSandboxConfig,
    /// The pod's id.
    pub pod_id: String,
}

/// A line of a container's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When, as it stands there.
    pub time: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Whether it is whole, or goes on in the next of its stream.
    pub whole: bool,
    /// What the container wrote.
    pub text: String,
}

impl Stage {
    /// With a pod as kubelet would ask for it.
    ///
    /// # Panics
    /// If it cannot be set.
    pub async fn new(name: &str) -> Self {
        Self::with(name, |_| {}).await
    }

    /// With a pod that is changed before it is asked for.
    ///
    /// # Panics
    /// If it cannot be set.
    pub async fn with(name: &str, change: impl FnOnce(&mut PodSandboxConfig)) -> Self {
        Self::on(Daemon::start(name).await, change).await
    }

    /// The same on a daemon that is there already.
    ///
    /// # Panics
    /// If it cannot be set.
    pub async fn on(daemon: Daemon, change: impl FnOnce(&mut PodSandboxConfig)) -> Self {
        let image = daemon.pull_busybox().await;
        let mut client = daemon.client().await;
        let mut pod = cri::pod("pod", &daemon.logs("pod"));
        change(&mut pod);
        let pod_id = client.run_pod(&pod).await.expect("a pod");
        Stage { daemon, client, image, pod, pod_id }
    }

    /// A container that runs this shell script; to be changed and created.
    #[must_use]
    pub fn script(&self, name: &str, script: &str) -> ContainerConfig {
        cri::container(name, &self.image, &["sh", "-c", script])
    }

    /// Creates it in the pod.
    ///
    /// # Errors
    /// As the daemon answers.
    pub async fn create(&mut self, config: &ContainerConfig) -> Result<String, Status> {
        self.client.create(&self.pod_id, &self.pod, config).await
    }

    /// Creates it and starts it.
    ///
    /// # Panics
    /// If either fails.
    pub async fn start(&mut self, config: &ContainerConfig) -> String {
        let id = self.create(config).await.expect("a container is created");
        self.client.start(&id).await.expect("a container is started");
        id
    }

    /// Runs this script in a container; the container's id.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn run(&mut self, name: &str, script: &str) -> String {
        let config = self.script(name, script);
        self.start(&config).await
    }

    /// Runs a container to its end: how that was, and what it wrote to stdout.
    ///
    /// # Panics
    /// If it does not start or does not end.
    pub async fn to_end(&mut self, config: &ContainerConfig) -> (ContainerStatus, String) {
        let id = self.start(config).await;
        let status = self.client.ended(&id).await;
        (status, self.output(config, "stdout"))
    }

    /// The log of a container, by its name.
    ///
    /// # Panics
    /// If it is not there or a line of it is malformed.
    #[must_use]
    pub fn log(&self, name: &str) -> Vec<Line> {
        let path = format!("{}/{name}/0.log", self.pod.log_directory);
        lines(&std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}")))
    }

    fn output(&self, config: &ContainerConfig, stream: &str) -> String {
        let name = &config.metadata.as_ref().expect("a name").name;
        text(&self.log(name), stream)
    }

    /// The end of the test: nothing may be left.
    ///
    /// # Panics
    /// If something is.
    pub async fn end(self) {
        drop(self.client);
        self.daemon.end().await;
    }
}

/// The lines of a log file.
///
/// # Panics
/// If one is malformed.
#[must_use]
pub fn lines(log: &[u8]) -> Vec<Line> {
    let log = String::from_utf8_lossy(log);
    let line = |line: &str| {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let [time, stream @ ("stdout" | "stderr"), tag @ ("F" | "P"), text] = words[..] else {
            panic!("no line of a log: {line:?}");
        };
        Line { time: time.into(), stream: stream.into(), whole: tag == "F", text: text.into() }
    };
    assert!(log.is_empty() || log.ends_with('\n'), "the last line of a log is cut");
    log.split_terminator('\n').map(line).collect()
}

/// What was written to a stream, put together again; an end without a newline gets one.
#[must_use]
pub fn text(lines: &[Line], stream: &str) -> String {
    let its = lines.iter().filter(|line| line.stream == stream);
    its.flat_map(|line| [&*line.text, if line.whole { "\n" } else { "" }]).collect()
}

/// What a container may do, to be changed.
#[must_use]
pub fn security(config: &mut ContainerConfig) -> &mut LinuxContainerSecurityContext {
    linux(config).security_context.get_or_insert_default()
}

/// What a container may use, to be changed.
#[must_use]
pub fn resources(config: &mut ContainerConfig) -> &mut LinuxContainerResources {
    linux(config).resources.get_or_insert_default()
}

fn linux(config: &mut ContainerConfig) -> &mut LinuxContainerConfig {
    config.linux.get_or_insert_default()
}

/// The namespaces of a pod, to be changed.
#[must_use]
pub fn namespaces(pod: &mut PodSandboxConfig) -> &mut NamespaceOption {
    let linux = pod.linux.get_or_insert_default();
    linux.security_context.get_or_insert_default().namespace_options.get_or_insert_default()
}
