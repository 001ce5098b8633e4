//! A daemon of a test's own: `orlopd` with its shims in private directories, on a bridge, a network and cgroups that no other has.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`limits`] | limits as the kernel has them, on every layout of cgroups |
//! | [`number`] | what makes an instance's names and networks its own |
//! | [`traces`] | all that an instance has on this machine, and its removal by force |
//! | [`verbs`] | the calls of CRI in short |
//! | [`stage`] | a daemon, a pod and an image: what most tests begin with |
//! | [`stock`] | the registry that all tests of a program share, with its image of busybox |
//!
//! The programs are taken from `ORLOP_TEST_BIN`, else from `var/test/bin` of this checkout: `tests/all.sh` puts them there.
//!
//! *Invariant:* a test that fails leaves nothing: what it made is taken away when its [`Daemon`] is dropped. Only what bears the
//! instance's own names is ever touched.

pub mod limits;
pub mod number;
pub mod stage;
pub mod stock;
pub mod traces;
pub mod verbs;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use orlop_proto::runtime::v1::VersionRequest;

use crate::cri::Client;
use crate::leaks::Leaks;
use crate::place::Place;
use number::Number;
use traces::Traces;

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// [`PATIENCE`], times `ORLOP_TEST_PATIENCE` where that is set: for machines that are emulated.
#[must_use]
pub fn patience() -> Duration {
    let times = std::env::var("ORLOP_TEST_PATIENCE").ok().and_then(|times| times.parse::<u32>().ok());
    PATIENCE * times.unwrap_or(1)
}

/// The program `name` of those that are tested.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let directory = std::env::var_os("ORLOP_TEST_BIN")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../var/test/bin"), PathBuf::from);
    directory.join(name)
}

/// For the configuration: the runtime that `ORLOP_TEST_HANDLER` names by its path is that of all pods. So any suite can be run with
/// another's runtime.
fn default_handler() -> String {
    std::env::var("ORLOP_TEST_HANDLER").map_or_else(
        |_| String::new(),
        |path| format!("[handlers]\ndefault = \"other\"\n[handlers.other]\npath = {path:?}\n"),
    )
}

/// Waits until `holds`, asking again and again.
///
/// # Panics
/// If it does not within [`patience`].
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + patience();
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {:?}: {what}", patience());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What a daemon is to be started with.
pub struct Builder {
    name: String,
    config: String,
    environment: Vec<(String, String)>,
    root: Option<PathBuf>,
    level: String,
    plugins: Option<String>,
}

impl Builder {
    /// More for its configuration file: whole sections. `[registry]`, `[network]` and `[cgroup]` are there already.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self.config.push('\n');
        self
    }

    /// A variable of its environment, for the first start alone: `ORLOP_FAILPOINT`.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// In mode cni: with configurations in [`Daemon::net_d`], plugins in [`Daemon::plugins`] and those of Debian, each of which has
    /// `seconds`. A bridge of plugins is to have the name of the instance's own: it stays, as such bridges do, and is removed last.
    #[must_use]
    pub fn cni(mut self, seconds: u32) -> Self {
        self.plugins = Some(format!("cni_timeout = {seconds}"));
        self
    }

    /// The least important line that it logs; debug unless this says another.
    #[must_use]
    pub fn level(mut self, level: &str) -> Self {
        self.level = level.into();
        self
    }

    /// A directory whose content is copied to its `--root`: an image store that was filled before.
    #[must_use]
    pub fn root(mut self, from: &Path) -> Self {
        self.root = Some(from.to_owned());
        self
    }

    /// Starts it, and waits until it answers.
    ///
    /// # Panics
    /// If it does not.
    pub async fn start(self) -> Daemon {
        let environment = self.environment.clone();
        let mut daemon = self.prepare();
        daemon.spawn(&environment);
        assert!(daemon.answers().await, "orlopd ended:\n{}", daemon.log());
        daemon.leaks = Some(Leaks::before(&daemon));
        daemon
    }

    /// Makes all but the process: [`Daemon::spawn`] starts it.
    ///
    /// # Panics
    /// If a directory or a file cannot be made.
    #[must_use]
    pub fn prepare(self) -> Daemon {
        let number = Number::claim();
        let place = Place::new(&self.name);
        let mut traces = Traces::new(&number, place.path());
        // Of an instance whose test was killed.
        traces.remove();
        std::fs::create_dir_all(&traces.state).expect("a state directory");
        let root = place.join("root");
        std::fs::create_dir_all(&root).expect("a root");
        if let Some(from) = &self.root {
            let copied = Command::new("cp").arg("-a").arg(from.join(".")).arg(&root).status();
            assert!(copied.is_ok_and(|status| status.success()), "{} is copied", from.display());
        }
        let config = format!(
            "[registry]\ncerts_dir = \"{}\"\n\n[network]\nmode = \"bridge\"\nbridge = {:?}\nsubnet = {:?}\nsubnet6 = {:?}\n\n\
             [cgroup]\nparent = {:?}\n\n{}",
            stock::certs_directory().display(),
            traces.bridge,
            number.subnet(),
            number.subnet6(),
            traces.cgroup,
            self.config
        );
        place.put("config.toml", config + &default_handler());
        if let Some(more) = &self.plugins {
            traces.keeps_bridge = true;
            std::fs::create_dir_all(place.join("plugins")).expect("a directory");
            let (conf, bin) = (place.join("net.d"), place.join("plugins"));
            let text = format!(
                "[network]\nmode = \"cni\"\ncni_conf_dir = \"{}\"\ncni_bin_dirs = [\"{}\", \"/usr/lib/cni\"]\n{more}\n",
                conf.display(),
                bin.display()
            );
            place.put("config.d/cni.toml", text);
        }
        Daemon { place, traces, process: None, leaks: None, level: self.level, number }
    }
}

/// A daemon, and all that belongs to it.
pub struct Daemon {
    place: Place,
    /// What it has on this machine.
    pub traces: Traces,
    process: Option<Child>,
    leaks: Option<Leaks>,
    level: String,
    /// Held as long as anything bears the instance's names; let go last.
    /// What its networks follow from.
    pub number: Number,
}

impl Daemon {
    /// One with nothing special to it, that answers.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(name: &str) -> Self {
        Self::build(name).start().await
    }

    /// One that is to be told more; `name` is part of the names of its directories.
    #[must_use]
    pub fn build(name: &str) -> Builder {
        Builder {
            name: name.into(),
            config: String::new(),
            environment: Vec::new(),
            root: None,
            level: "debug".into(),
            plugins: None,
        }
    }

    /// A client with a connection of its own.
    ///
    /// # Panics
    /// If nobody listens.
    pub async fn client(&self) -> Client {
        let socket = self.socket();
        Client::connect(socket.to_str().expect("a plain path")).await.expect("orlopd listens")
    }

    /// `orlop`, told of this daemon and nothing else.
    #[must_use]
    pub fn orlop(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("orlop"));
        command.arg("--host").arg(format!("unix://{}", self.socket().display())).args(arguments);
        command.env_remove("ORLOP_PASSWORD").stdin(Stdio::null());
        command
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.traces.state.join("orlop.sock")
    }

    /// Its `--root`.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.place.join("root")
    }

    /// Its `--state`.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.traces.state
    }

    /// Where its CNI configurations are, once somebody makes the directory.
    #[must_use]
    pub fn net_d(&self) -> PathBuf {
        self.place.join("net.d")
    }

    /// Where it looks for CNI plugins first.
    #[must_use]
    pub fn plugins(&self) -> PathBuf {
        self.place.join("plugins")
    }

    /// A directory of the test's own that goes with it.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Where its pods' logs are, by the name of the pod.
    #[must_use]
    pub fn logs(&self, pod: &str) -> String {
        self.place.join("logs").join(pod).display().to_string()
    }

    /// Its process.
    ///
    /// # Panics
    /// If it is not running.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("orlopd was started").id()
    }

    /// What it has logged, of all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.place.join("log")).unwrap_or_default()).into_owned()
    }

    /// Starts its process with these variables too, and waits for nothing.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn spawn(&mut self, environment: &[(String, String)]) {
        self.traces.note();
        let log = std::fs::File::options().append(true).create(true).open(self.place.join("log"));
        let log = log.expect("a file");
        let mut command = Command::new(program("orlopd"));
        command.arg("--config").arg(self.place.join("config.toml")).arg("--root").arg(self.root());
        command.arg("--state").arg(&self.traces.state).arg("--socket").arg(self.socket());
        command.args(["--log-level", &self.level]).env_remove("ORLOP_FAILPOINT");
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        self.process =
            Some(command.spawn().expect("orlopd is in ORLOP_TEST_BIN or var/test/bin: tests/all.sh"));
    }

    /// Waits until it answers; false if it ended instead.
    ///
    /// # Panics
    /// If it does neither.
    pub async fn answers(&mut self) -> bool {
        let socket = self.socket().display().to_string();
        let deadline = Instant::now() + patience();
        loop {
            if let Ok(mut client) = Client::connect(&socket).await
                && client.runtime.version(VersionRequest::default()).await.is_ok()
            {
                return true;
            }
            if self.ended().is_some() {
                return false;
            }
            assert!(Instant::now() < deadline, "orlopd does not answer:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How its process ended, if it has.
    ///
    /// # Panics
    /// If it cannot be asked for.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().and_then(|process| process.try_wait().expect("its own child"))
    }

    /// Kills it, as a crash would; its shims go on.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        self.traces.note();
    }

    /// Starts it after its end, and waits until it answers.
    ///
    /// # Panics
    /// If it does not.
    pub async fn up(&mut self) {
        self.spawn(&[]);
        assert!(self.answers().await, "orlopd ended:\n{}", self.log());
    }

    /// Kills it and starts it again.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn restart(&mut self) {
        self.kill9();
        self.up().await;
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    ///
    /// # Panics
    /// If it does not end, or not well.
    pub fn stop(&mut self) {
        let pid = rustix::process::Pid::from_raw(self.pid().cast_signed()).expect("a process's number");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("its own child");
        let deadline = Instant::now() + patience();
        let status = loop {
            if let Some(status) = self.ended() {
                break status;
            }
            assert!(Instant::now() < deadline, "orlopd does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        };
        self.process = None;
        self.traces.note();
        assert!(status.success(), "{status}:\n{}", self.log());
    }

    /// Pulls the image of busybox; gives back its name.
    ///
    /// # Panics
    /// If it cannot be pulled.
    pub async fn pull_busybox(&self) -> String {
        let name = stock::busybox();
        self.client().await.pull(&name).await.expect("busybox is pulled");
        name
    }

    /// The end of a test: removes all pods, waits until what goes on behind callers' backs is done, ends the daemon, and proves at
    /// each step that nothing is left.
    ///
    /// # Panics
    /// If something is.
    pub async fn end(mut self) {
        let leaks = self.leaks.take().unwrap_or_else(|| Leaks::before(&self));
        leaks.after(&mut self).await;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the end of orlopd's log:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
        self.kill9();
        self.traces.remove();
    }
}
