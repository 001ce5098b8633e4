//! Plugins of NRI's own repository: `NRI_PLUGINS` names the directory where they are, built each under the name of its directory.
//!
//! *Invariant:* they are told nothing but the socket, and what a pod's annotations say.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use orlop_tests::daemon::stage::Stage;
use orlop_tests::daemon::{Daemon, eventually};
use orlop_tests::nri::socket;

use super::{daemon, sleeper};

/// A plugin of theirs that runs, with what it writes in a file.
struct Plugin {
    process: Child,
    out: PathBuf,
}

impl Plugin {
    async fn start(daemon: &Daemon, name: &str, arguments: &[&str]) -> Self {
        let directory = std::env::var_os("NRI_PLUGINS").expect("NRI_PLUGINS: the feature says so");
        let out = daemon.place().join(format!("{name}.out"));
        let file = std::fs::File::create(&out).expect("a file");
        let flag = if ["template", "ulimit-adjuster", "network-logger"].contains(&name) {
            "-socket"
        } else {
            "-socket-path"
        };
        let mut command = Command::new(PathBuf::from(directory).join(name));
        command.arg(flag).arg(socket(daemon)).args(arguments).stdin(Stdio::null());
        command.stdout(file.try_clone().expect("a descriptor")).stderr(file);
        let process = command.spawn().expect("a plugin is in NRI_PLUGINS");
        let plugin = Plugin { process, out };
        let before = daemon.log().matches("an NRI plugin is asked from now on").count();
        let joined = async || {
            daemon.log().matches("an NRI plugin is asked from now on").count() > before
                || daemon.log().contains(&format!("from now on plugin=10-{name}"))
        };
        eventually(&format!("{name} is asked: {}", plugin.text()), joined).await;
        plugin
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap_or_default()
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn logger_and_template_hear_of_all() {
    let daemon = daemon("theirs", "").await;
    let logger = Plugin::start(&daemon, "logger", &["-idx", "10", "-add-env", "LOGGED=yes"]).await;
    let template = Plugin::start(&daemon, "template", &["-idx", "20", "-name", "template"]).await;
    let network = Plugin::start(&daemon, "network-logger", &["-idx", "30"]).await;
    let mut stage = Stage::on(daemon, |_| {}).await;
    let id = stage.run("c", "exec sleep 1000").await;
    let said = stage.client.sh(&id, "env").await;
    assert!(said.contains("LOGGED"), "{said}");
    stage.client.remove(&id).await.expect("removed");
    for event in [
        "RunPodSandbox",
        "CreateContainer",
        "PostCreateContainer",
        "StartContainer",
        "StopContainer",
        "RemoveContainer",
    ] {
        eventually(event, async || logger.text().contains(event)).await;
    }
    let log = stage.daemon.log();
    assert!(!log.contains("is gone plugin="), "{}{}{}", logger.text(), template.text(), network.text());
    drop((logger, template, network));
    stage.end().await;
}

#[tokio::test]
async fn annotations_ask_for_devices_mounts_and_limits() {
    let shared = orlop_tests::place::Place::new("nri-theirs");
    shared.put("file", "from the node");
    let daemon = daemon("annotated-theirs", "").await;
    let devices = Plugin::start(&daemon, "device-injector", &["-idx", "10"]).await;
    let limits = Plugin::start(&daemon, "ulimit-adjuster", &["-idx", "20"]).await;
    let mount = format!(
        "- source: {}\n  destination: /shared\n  type: bind\n  options:\n    - rbind\n    - ro\n",
        shared.path().display()
    );
    let mut stage = Stage::on(daemon, |pod| {
        for (key, value) in [
            (
                "devices.noderesource.dev/container.c",
                "- path: /dev/own-null\n  type: c\n  major: 1\n  minor: 3\n",
            ),
            ("mounts.noderesource.dev/container.c", mount.as_str()),
            ("ulimits.noderesource.dev/container.c", "- type: RLIMIT_NOFILE\n  hard: 321\n  soft: 123\n"),
        ] {
            pod.annotations.insert(key.into(), value.into());
        }
    })
    .await;
    let config = sleeper(&stage, "c");
    let id = stage.start(&config).await;
    let facts = stage.client.facts(&id).await.expect("facts");
    let limit = std::fs::read_to_string(format!("/proc/{}/limits", facts["pid"])).expect("limits");
    let files = limit.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    assert_eq!(files.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["123", "321"]);
    let said = stage.client.sh(&id, "cat /shared/file; echo; echo x >/dev/own-null && echo null").await;
    assert_eq!(said.lines().collect::<Vec<_>>(), ["from the node", "null"], "{}", devices.text());
    // A container that no annotation names is left alone.
    let other = stage.run("d", "exec sleep 1000").await;
    assert_eq!(stage.client.sh(&other, "test -e /shared || echo none").await.trim(), "none");
    drop((devices, limits));
    stage.end().await;
}

#[tokio::test]
async fn differ_sees_what_another_changes() {
    let daemon = daemon("differ", "").await;
    let differ = Plugin::start(&daemon, "differ", &["-indices", "00,99"]).await;
    let logger = Plugin::start(&daemon, "logger", &["-idx", "10", "-add-env", "LOGGED=yes"]).await;
    let mut stage = Stage::on(daemon, |_| {}).await;
    let config = sleeper(&stage, "c");
    stage.create(&config).await.expect("created");
    eventually("the difference", async || differ.text().contains("LOGGED")).await;
    drop((differ, logger));
    stage.end().await;
}
