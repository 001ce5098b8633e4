//! The life of a pod, told on whatever happens to orlopd meanwhile.
//!
//! *Invariant:* a call that fails while orlopd lives is a failure of the test; one that fails since it died is said again.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;

use orlop_proto::runtime::v1::{ContainerConfig, ContainerState, PodSandboxConfig, PortMapping, Protocol};
use orlop_tests::cri::{self, Client};
use orlop_tests::daemon::{Daemon, PATIENCE, eventually, stock};
use orlop_tests::leaks::Leaks;
use tonic::{Code, Status};

/// What the first container does: it says when it can hear the stop signal, and ends by it.
const LONG: &str = "trap 'exit 9' TERM; echo begun; while :; do sleep 0.02; done";
/// Seconds that nobody needs who hears the signal.
const GRACE: i64 = 600;
/// A daemon does nothing more when it has nothing to do for this long.
const QUIET: std::time::Duration = std::time::Duration::from_millis(600);

/// Says it in the log of the tests, though the test may pass: how much was tried is part of what was proved.
pub(crate) fn say(text: &str) {
    use std::io::Write as _;
    // cargo's capture is of the macros only.
    let _ = writeln!(std::io::stderr(), "{text}");
}

pub(crate) struct Story {
    pub(crate) daemon: Daemon,
    leaks: Leaks,
    image: String,
    port: u16,
    /// What is to befall the daemons that come after a death: the value of `ORLOP_FAILPOINT`; none: nothing.
    pub(crate) fates: VecDeque<String>,
    /// Called with the number of each process that is started after a death.
    pub(crate) revived: Box<dyn FnMut(u32)>,
    /// Whether something is to befall the daemon that runs.
    doomed: bool,
    /// How often orlopd died.
    pub(crate) deaths: usize,
    /// Pods and containers that had a record when it died in the call that is under way.
    committed: BTreeSet<String>,
}

impl Story {
    pub(crate) async fn new(name: &str) -> Self {
        let mut daemon = Daemon::start(name).await;
        let leaks = Leaks::before(&daemon);
        daemon.kill9();
        let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
        let port = listener.local_addr().expect("its number").port();
        Story {
            daemon,
            leaks,
            image: stock::busybox(),
            port,
            fates: VecDeque::new(),
            revived: Box::new(drop),
            doomed: false,
            deaths: 0,
            committed: BTreeSet::new(),
        }
    }

    /// Starts the daemon, to which that is to happen.
    pub(crate) async fn begin(&mut self, fate: Option<String>) {
        self.deaths = 0;
        self.spawn(fate);
        if !self.daemon.answers().await {
            self.revive().await;
        }
    }

    fn spawn(&mut self, fate: Option<String>) {
        self.doomed = fate.is_some();
        let fate: Vec<_> = fate.map(|fate| ("ORLOP_FAILPOINT".to_owned(), fate)).into_iter().collect();
        self.daemon.spawn(&fate);
    }

    /// From the pull to the removal; `fresh`: of an image that is not there yet.
    pub(crate) async fn tell(&mut self, fresh: bool) {
        let image = self.image.clone();
        if fresh {
            self.call("remove image", async |client| client.remove_image(&image).await).await;
        }
        self.call("pull", async |client| client.pull(&image).await).await;
        let config = self.pod();
        let pod_id = self.call("run pod", async |client| client.run_pod(&config).await).await;
        self.is_committed(&pod_id, &[]);
        let pods = self.call("list", async |client| client.pods().await).await;
        assert_eq!(pods.iter().map(|row| &row.id).collect::<Vec<_>>(), [&pod_id], "one call, one pod");

        let first = cri::container("long", &image, &["sh", "-c", LONG]);
        let second = cri::container("short", &image, &["sh", "-c", "echo short; exit 4"]);
        let one = self.create(&pod_id, &config, &first, &[]).await;
        let two = self.create(&pod_id, &config, &second, &[&one]).await;
        let rows = self.call("list", async |client| client.containers().await).await;
        let ids: BTreeSet<&String> = rows.iter().map(|row| &row.id).collect();
        assert_eq!(ids, BTreeSet::from([&one, &two]), "two calls, two containers");

        self.start(&one).await;
        self.start(&two).await;
        let log = Path::new(&config.log_directory).join("long/0.log");
        eventually("it hears the signal", async || {
            std::fs::read_to_string(&log).is_ok_and(|text| text.ends_with("begun\n"))
        })
        .await;
        let command = ["sh", "-c", "echo hello; exit 5"];
        let answer = self.exec(&one, &command).await;
        assert_eq!((&*answer.0, answer.1), ("hello\n", 5));
        assert_eq!(self.exit_code(&two).await, 4);
        self.call("stop", async |client| client.stop(&one, GRACE).await).await;
        assert_eq!(self.exit_code(&one).await, 9);
        assert_eq!(self.exit_code(&two).await, 4, "and it stays so");

        for id in [&two, &one] {
            self.call("remove container", async |client| client.remove(id).await).await;
        }
        assert!(self.call("list", async |client| client.containers().await).await.is_empty());
        self.call("stop pod", async |client| client.stop_pod(&pod_id).await).await;
        self.call("remove pod", async |client| client.remove_pod(&pod_id).await).await;
        assert!(self.call("list", async |client| client.pods().await).await.is_empty());
    }

    /// Waits for a death that may be still to come.
    pub(crate) async fn settle(&mut self, time: std::time::Duration) {
        tokio::time::sleep(time).await;
        if self.daemon.ended().is_some() {
            self.revive().await;
        }
    }

    /// Nothing is left, neither of the pod nor of the daemon, which ends.
    pub(crate) async fn end(&mut self) {
        // What goes on behind the callers' backs may kill it yet.
        loop {
            let pods = self.daemon.state().join("pods");
            let mut died = false;
            eventually("the pod's directory is gone", async || {
                died = self.daemon.ended().is_some();
                died || std::fs::read_dir(&pods).is_ok_and(|mut entries| entries.next().is_none())
            })
            .await;
            if !died && self.doomed {
                // Stop and Remove both look after the veth pair: the second look comes when all is gone.
                tokio::time::sleep(QUIET).await;
                died = self.daemon.ended().is_some();
            }
            if !died {
                break;
            }
            self.revive().await;
        }
        self.leaks.after(&mut self.daemon).await;
    }

    fn pod(&self) -> PodSandboxConfig {
        let mut config = cri::pod("pod", &self.daemon.logs("pod"));
        let _ = std::fs::remove_dir_all(&config.log_directory);
        // All that a pod can have: an init process of its own PID namespace, a port of the node.
        config.linux = None;
        config.port_mappings = vec![PortMapping {
            protocol: Protocol::Tcp.into(),
            container_port: 80,
            host_port: self.port.into(),
            host_ip: String::new(),
        }];
        config
    }

    async fn create(
        &mut self,
        pod: &str,
        config: &PodSandboxConfig,
        container: &ContainerConfig,
        known: &[&String],
    ) -> String {
        let id = self.call("create", async |client| client.create(pod, config, container).await).await;
        let known: Vec<&str> = known.iter().map(|id| id.as_str()).chain([pod]).collect();
        self.is_committed(&id, &known);
        id
    }

    /// What had a record is what the retry leads to.
    fn is_committed(&self, id: &str, known: &[&str]) {
        for other in self.committed.iter().filter(|other| !known.contains(&other.as_str())) {
            assert_eq!(other, id, "it was committed, and the retry made another");
        }
    }

    async fn start(&mut self, id: &str) {
        let deaths = self.deaths;
        let mut ran = false;
        self.call("start", async |client| match client.start(id).await {
            // It was started before the daemon died, and has ended since.
            Err(status) if status.code() == Code::FailedPrecondition => {
                ran = true;
                Ok(())
            }
            other => other,
        })
        .await;
        assert!(!ran || self.deaths > deaths, "nobody has started it before");
    }

    /// A shim is heard by the next daemon a moment after its start: until then it cannot be asked for an exec.
    async fn exec(&mut self, id: &str, command: &[&str]) -> (String, i32) {
        let mut answer = None;
        let deadline = std::time::Instant::now() + PATIENCE;
        while answer.is_none() {
            answer = self
                .call("exec", async |client| match client.exec(id, command, 60).await {
                    Ok(answer) => {
                        Ok(Some((String::from_utf8_lossy(&answer.stdout).into_owned(), answer.exit_code)))
                    }
                    Err(status) if status.code() == Code::FailedPrecondition => Ok(None),
                    Err(status) => Err(status),
                })
                .await;
            assert!(answer.is_some() || self.deaths > 0, "a container that runs is exec'd into");
            assert!(std::time::Instant::now() < deadline, "no exec within {PATIENCE:?}");
        }
        answer.expect("an answer")
    }

    async fn exit_code(&mut self, id: &str) -> i32 {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let status = self.call("status", async |client| client.status(id).await).await;
            if status.state() == ContainerState::ContainerExited {
                return status.exit_code;
            }
            assert!(std::time::Instant::now() < deadline, "it does not end: {status:?}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// Asks, and asks again as often as the daemon dies of it.
    async fn call<T>(&mut self, what: &str, mut ask: impl AsyncFnMut(&mut Client) -> Result<T, Status>) -> T {
        self.committed.clear();
        loop {
            let socket = self.daemon.socket().display().to_string();
            let failed = match Client::connect(&socket).await {
                Ok(mut client) => match ask(&mut client).await {
                    Ok(answer) => return answer,
                    Err(status) => status.to_string(),
                },
                Err(error) => error.to_string(),
            };
            assert!(self.has_died().await, "{what}: {failed}");
            self.revive().await;
        }
    }

    async fn has_died(&mut self) -> bool {
        // Its clients hear of its death before its parent does.
        for _ in 0..200 {
            if self.daemon.ended().is_some() {
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        false
    }

    async fn revive(&mut self) {
        loop {
            self.deaths += 1;
            self.daemon.kill9();
            for kind in ["pods", "containers"] {
                let entries = std::fs::read_dir(self.daemon.state().join(kind)).expect("a directory");
                let recorded =
                    entries.filter_map(Result::ok).filter(|entry| entry.path().join("record").exists());
                self.committed.extend(recorded.map(|entry| entry.file_name().to_string_lossy().into_owned()));
            }
            let fate = self.fates.pop_front();
            self.spawn(fate);
            (self.revived)(self.daemon.pid());
            if self.daemon.answers().await {
                return;
            }
        }
    }
}
