//! A plugin of NRI that does what a script says: `tests/clients/nri`, on the protocol's own code in Go.
//!
//! *Invariant:* it is built once a test program; it knows nothing but its script. It ends with its [`Actor`].

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};

use serde_json::{Value, json};

use crate::daemon::{Daemon, eventually};

static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let place = tests.join("../var/clients");
    std::fs::create_dir_all(&place).expect("a directory");
    let program = place.join("nri-actor");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(".").current_dir(tests.join("clients/nri"));
    let built = build.env("CGO_ENABLED", "0").output().expect("go is on PATH: the feature says so");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    program
});

/// The program.
#[must_use]
pub fn program() -> &'static Path {
    &PROGRAM
}

/// The socket where a daemon of tests hears plugins.
#[must_use]
pub fn socket(daemon: &Daemon) -> PathBuf {
    daemon.state().join("nri.sock")
}

/// A plugin that plays its part.
pub struct Actor {
    process: Child,
    stdin: ChildStdin,
    said: Arc<Mutex<Vec<Value>>>,
}

impl Actor {
    /// Connects as `index-name` and does what `script` says.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(daemon: &Daemon, index: &str, name: &str, script: &Value) -> Self {
        let file = daemon.place().join(format!("nri-{index}-{name}.json"));
        std::fs::write(&file, script.to_string()).expect("a script");
        let mut command = Command::new(program());
        command.args([name, index]).arg(socket(daemon)).arg(file);
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a plugin is started");
        let stdin = process.stdin.take().expect("piped");
        let stdout = process.stdout.take().expect("piped");
        let said = Arc::new(Mutex::new(Vec::new()));
        let hearing = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or_else(|_| json!({ "event": line }));
                hearing.lock().expect("nobody panics here").push(value);
            }
        });
        Actor { process, stdin, said }
    }

    /// The same, and waits until the daemon asks it.
    ///
    /// # Panics
    /// If that does not come to be.
    pub async fn ready(daemon: &Daemon, index: &str, name: &str, script: &Value) -> Self {
        let actor = Self::start(daemon, index, name, script);
        let line = format!("an NRI plugin is asked from now on plugin={index}-{name}");
        eventually("the plugin is asked", async || plain(&daemon.log()).contains(&line)).await;
        actor
    }

    /// All that it has said.
    ///
    /// # Panics
    /// If the one who hears has.
    #[must_use]
    pub fn said(&self) -> Vec<Value> {
        self.said.lock().expect("nobody panics here").clone()
    }

    /// The events that it has heard of `name`, in order.
    #[must_use]
    pub fn heard(&self, name: &str) -> Vec<String> {
        let said = self.said();
        let of = said.iter().filter(|line| line["name"] == name);
        of.filter_map(|line| line["event"].as_str().map(str::to_owned)).collect()
    }

    /// What it was told when it heard `event` of `name`, where its script says `"whole": true`.
    ///
    /// # Panics
    /// If it has not heard of it.
    #[must_use]
    pub fn told(&self, event: &str, name: &str) -> Value {
        let said = self.said();
        let line = said.iter().find(|line| line["event"] == event && line["name"] == name);
        line.unwrap_or_else(|| panic!("{event} of {name}: {said:?}"))["heard"].clone()
    }

    /// Waits until it has heard `event` of `name`.
    ///
    /// # Panics
    /// If it does not.
    pub async fn hears(&self, event: &str, name: &str) {
        let heard = async || self.heard(name).iter().any(|one| one == event);
        eventually(&format!("{event} of {name}"), heard).await;
    }

    /// Has it ask for updates and evictions of its own accord: an `UpdateContainersRequest`.
    ///
    /// # Panics
    /// If it is gone.
    pub fn ask(&mut self, request: &Value) {
        writeln!(self.stdin, "{}", json!({ "update": request })).expect("it listens");
    }

    /// Stops its process where it is; it answers nothing more.
    ///
    /// # Panics
    /// If it is gone.
    pub fn freeze(&self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("it is there");
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A log without the colours of a terminal and without quotes.
fn plain(log: &str) -> String {
    log.replace('"', "")
}
