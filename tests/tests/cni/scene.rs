//! A daemon in mode cni, configurations, a plugin of our own.
//!
//! The plugin writes down every call and what it was given, and does what the file `do-COMMAND` beside it says, if there is one;
//! else it answers well. It makes no interface.
//!
//! *Invariant:* a configuration appears whole unless a test says otherwise; a network's name is the instance's own.

use std::path::{Path, PathBuf};

use orlop_proto::runtime::v1::{RuntimeCondition, StatusRequest};
use orlop_tests::cri::{self, Client};
use orlop_tests::daemon::{Builder, Daemon, eventually};
use serde_json::{Value, json};

/// Seconds that a plugin has.
pub(crate) const DEADLINE: u32 = 3;

const PLUGIN: &str = r#"#!/bin/sh
here=${0%/*}; name=${0##*/}
config=$(cat)
printf '%s\n' "$name $CNI_COMMAND ${CNI_CONTAINERID:--} ${CNI_NETNS:--}" >> "$here/calls"
printf '%s\n' "{\"plugin\":\"$name\",\"command\":\"$CNI_COMMAND\",\"args\":\"$CNI_ARGS\",\"config\":$config}" >> "$here/told"
[ -e "$here/do-$CNI_COMMAND" ] && . "$here/do-$CNI_COMMAND"
case $CNI_COMMAND in
VERSION) echo '{"cniVersion":"1.1.0","supportedVersions":["0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}' ;;
ADD) echo '{"interfaces":[{"name":"eth0","sandbox":"'"$CNI_NETNS"'"}],"ips":[{"address":"10.9.8.7/24","interface":0}]}' ;;
esac
"#;

/// A daemon in mode cni.
pub(crate) struct Scene {
    pub(crate) daemon: Daemon,
    pub(crate) client: Client,
}

/// What a plugin was told in one call.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) plugin: String,
    pub(crate) command: String,
    pub(crate) args: String,
    pub(crate) config: Value,
}

pub(crate) fn build(name: &str) -> Builder {
    Daemon::build(name).cni(DEADLINE)
}

impl Scene {
    /// Without a configuration.
    pub(crate) async fn empty(name: &str) -> Self {
        let daemon = build(name).start().await;
        install(&daemon, "fake");
        let client = daemon.client().await;
        Scene { daemon, client }
    }

    /// With these plugins of our own in a list of this version, ready.
    pub(crate) async fn fake(name: &str, version: &str, plugins: &[&str]) -> Self {
        let mut scene = Scene::empty(name).await;
        for plugin in plugins {
            install(&scene.daemon, plugin);
        }
        let plugins: Vec<Value> = plugins.iter().map(|plugin| json!({ "type": plugin })).collect();
        scene.put("10-net.conflist", &scene.list(version, &plugins));
        scene.ready().await;
        scene
    }

    /// The network's name.
    pub(crate) fn network(&self) -> String {
        format!("net{}-{}", self.daemon.number.value(), std::process::id())
    }

    /// A list of these plugins.
    pub(crate) fn list(&self, version: &str, plugins: &[Value]) -> Value {
        json!({ "cniVersion": version, "name": self.network(), "plugins": plugins })
    }

    /// Puts a configuration into the directory, whole.
    pub(crate) fn put(&self, name: &str, list: &Value) {
        let directory = self.daemon.net_d();
        std::fs::create_dir_all(&directory).expect("a directory");
        let hidden = directory.join(format!(".{name}"));
        std::fs::write(&hidden, list.to_string()).expect("a file");
        std::fs::rename(hidden, directory.join(name)).expect("a file");
    }

    /// Has the plugins do this, as shell, when they are asked for that; an empty script: nothing special any more.
    pub(crate) fn on(&self, command: &str, script: &str) {
        let (hidden, file) =
            (self.daemon.plugins().join(".do"), self.daemon.plugins().join(format!("do-{command}")));
        std::fs::write(&hidden, format!("{script}\n")).expect("a file");
        std::fs::rename(hidden, file).expect("a file");
    }

    /// The calls of these commands so far: `plugin COMMAND`, `id` and namespace (`-`: none).
    pub(crate) fn calls(&self, commands: &[&str]) -> Vec<(String, String, String)> {
        let text = std::fs::read_to_string(self.daemon.plugins().join("calls")).unwrap_or_default();
        let call = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let [plugin, command, id, netns] = words[..] else { panic!("no call: {line:?}") };
            let is_one = commands.contains(&command);
            is_one.then(|| (format!("{plugin} {command}"), id.to_owned(), netns.to_owned()))
        };
        text.lines().filter_map(call).collect()
    }

    /// How often this was called.
    pub(crate) fn count(&self, command: &str) -> usize {
        self.calls(&[command]).len()
    }

    /// What the plugins were told in these commands.
    pub(crate) fn told(&self, commands: &[&str]) -> Vec<Told> {
        let text = std::fs::read_to_string(self.daemon.plugins().join("told")).unwrap_or_default();
        let told = |line: &str| {
            let value: Value = serde_json::from_str(line).expect("JSON");
            let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
            let told = Told {
                plugin: text("plugin"),
                command: text("command"),
                args: text("args"),
                config: value["config"].clone(),
            };
            commands.contains(&told.command.as_str()).then_some(told)
        };
        text.lines().filter_map(told).collect()
    }

    /// `NetworkReady`.
    pub(crate) async fn condition(&mut self) -> RuntimeCondition {
        let answer = self.client.runtime.status(StatusRequest { verbose: false }).await.expect("a status");
        let conditions = answer.into_inner().status.expect("a status").conditions;
        conditions.into_iter().find(|is| is.r#type == "NetworkReady").expect("NetworkReady")
    }

    /// What is told of the configuration to people.
    pub(crate) async fn facts(&mut self) -> Value {
        let answer = self.client.runtime.status(StatusRequest { verbose: true }).await.expect("a status");
        serde_json::from_str(&answer.into_inner().info["cni"]).expect("JSON")
    }

    /// Waits until `NetworkReady` is so.
    pub(crate) async fn until(&mut self, what: &str, mut holds: impl FnMut(&RuntimeCondition) -> bool) {
        let mut last = RuntimeCondition::default();
        let told = std::cell::RefCell::new(String::new());
        eventually(&format!("NetworkReady: {what}; see {}", self.daemon.net_d().display()), async || {
            last = self.condition().await;
            *told.borrow_mut() = format!("{last:?}");
            holds(&last)
        })
        .await;
    }

    /// Waits until pods can be run.
    pub(crate) async fn ready(&mut self) {
        self.until("true", |is| is.status).await;
    }

    /// Waits until the configuration in force is of this file and network.
    pub(crate) async fn in_force(&mut self, file: &str, network: &str) {
        eventually(&format!("{file} is in force"), async || {
            let facts = self.facts().await;
            facts["inForce"]["file"] == file
                && facts["inForce"]["network"] == network
                && facts["ready"] == true
        })
        .await;
    }

    /// Runs a pod of this name.
    pub(crate) async fn run(&mut self, name: &str) -> Result<String, tonic::Status> {
        let config = cri::pod(name, &self.daemon.logs(name));
        self.client.run_pod(&config).await
    }

    /// The records of attachments, by pod.
    pub(crate) fn attached(&self) -> Vec<String> {
        files(&self.daemon.root().join("cni"))
    }

    /// The end of the test: nothing may be left.
    pub(crate) async fn end(self) {
        drop(self.client);
        self.daemon.end().await;
    }
}

/// Puts a plugin of our own of this name where the daemon looks.
pub(crate) fn install(daemon: &Daemon, name: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let (hidden, file) = (daemon.plugins().join(format!(".{name}")), daemon.plugins().join(name));
    std::fs::write(&hidden, PLUGIN).expect("a file");
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o755)).expect("executable");
    std::fs::rename(hidden, file).expect("a file");
}

/// The names in a directory, in order; none, if it is not there.
pub(crate) fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A process whose number a plugin wrote into a file, once it is there.
pub(crate) async fn written(file: &Path) -> PathBuf {
    let mut number = String::new();
    eventually(&format!("{} has a number", file.display()), async || {
        number = std::fs::read_to_string(file).unwrap_or_default();
        number.ends_with('\n')
    })
    .await;
    Path::new("/proc").join(number.trim())
}

/// Whether a process is there that is no zombie.
pub(crate) fn lives(process: &Path) -> bool {
    let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}
