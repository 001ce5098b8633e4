//! crictl, the tool of Kubernetes for a node, against orlopd: each verb, and what it says.
//!
//! | room | what it is for |
//! | --- | --- |
//! | `verbs` | pods, containers and images through their life |
//! | `streams` | exec, attach and port-forward, over SPDY and WebSocket |
//!
//! Built only with the feature `crictl`: `tests/all.sh` asks for it where crictl is on PATH, and says so where it is not.
//!
//! *Invariant:* crictl is told its endpoint by flags; no file of this machine's own is read or written.

mod streams;
mod verbs;

use std::process::{Command, Output};

use orlop_tests::daemon::Daemon;
use serde_json::Value;

/// crictl with its endpoint.
struct Crictl {
    endpoint: String,
}

impl Crictl {
    fn of(daemon: &Daemon) -> Self {
        Crictl { endpoint: format!("unix://{}", daemon.socket().display()) }
    }

    fn words<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        let mut words = vec!["crictl", "--config", "/dev/null", "--runtime-endpoint", &self.endpoint];
        words.extend(["--image-endpoint", &self.endpoint, "--timeout", "20s"]);
        words.extend(arguments);
        words
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let words = self.words(arguments);
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("crictl is on PATH: the feature says so")
    }

    /// What it says on standard output; it has to end well.
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "crictl {arguments:?}: {errors}");
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.says(arguments)).expect("JSON")
    }

    /// What it says on standard error when it fails.
    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "crictl {arguments:?} should have failed");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}
