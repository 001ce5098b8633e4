//! OCI hooks: programs of others that are run at points of a container's life.
//!
//! | room | what it is for |
//! | --- | --- |
//! | `points` | when, where and with what each of the six kinds is run |
//! | `failing` | hooks that fail, that hang, that are not there |
//! | `last` | those after the end, whatever was killed |
//! | `chosen` | which containers get which |
//!
//! *Invariant:* hooks are scripts of the test's own, which write what they see into its own directory.

mod chosen;
mod failing;
mod last;
mod points;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use orlop_proto::runtime::v1::{ContainerConfig, Mount, PodSandboxConfig, StatusRequest};
use orlop_tests::cri::Client;
use orlop_tests::daemon::Daemon;
use orlop_tests::daemon::stage::Stage;
use orlop_tests::place::Place;
use serde_json::{Value, json};

/// All kinds, in the order of a life.
const POINTS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// Writes down what a hook sees, under the name that is its first argument.
const WITNESS: &str = r#"#!/bin/sh
out=${0%/*}/out
echo "$1" >> $out/order
cat > $out/$1.state
for kind in cgroup ipc mnt net pid uts; do echo "$kind $(readlink /proc/self/ns/$kind)"; done > $out/$1.ns
pwd > $out/$1.cwd
tr '\0' '\n' < /proc/self/environ > $out/$1.env
[ "$1" = poststop ] || cat ${BUNDLE:-.}/config.json > $out/$1.config 2>/dev/null
exit 0
"#;

/// A place with a directory of hooks, `hooks.d`, one of what they write, `out`, and the witness.
fn place(name: &str) -> Place {
    let place = Place::new(name);
    for directory in ["hooks.d", "out"] {
        std::fs::create_dir_all(place.join(directory)).expect("a directory");
    }
    script(&place, "witness", WITNESS);
    place
}

/// A program of a test's own.
fn script(place: &Place, name: &str, text: &str) -> PathBuf {
    place.put(name, text);
    let path = place.join(name);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    path
}

/// A hook for all containers.
fn hook(place: &Place, file: &str, hook: &Value, stages: &[&str]) {
    let text = json!({"version": "1.0.0", "hook": hook, "when": {"always": true}, "stages": stages});
    place.put(format!("hooks.d/{file}.json"), text.to_string());
}

/// The witness at a point.
fn witness(place: &Place, point: &str) {
    let hook_of = json!({"path": place.join("witness"), "args": ["witness", point], "env": ["ONLY=this"]});
    hook(place, &format!("50-{point}"), &hook_of, &[point]);
}

/// A stage whose daemon looks for hooks in the place.
async fn stage(place: &Place, change: impl FnOnce(&mut PodSandboxConfig)) -> Stage {
    let directory = place.join("hooks.d").display().to_string();
    let config = format!("[hooks]\ndirectories = [{directory:?}]\n[cdi]\ndirectories = [{directory:?}]");
    Stage::on(Daemon::build("hooks").config(&config).start().await, change).await
}

/// Shows the place's `out` at `/out` to a container.
fn show_out(place: &Place, config: &mut ContainerConfig) {
    let host_path = place.join("out").display().to_string();
    config.mounts.push(Mount { container_path: "/out".into(), host_path, ..Mount::default() });
}

/// What was written under a name; empty if nothing was.
fn said(place: &Place, name: &str) -> String {
    std::fs::read_to_string(place.join("out").join(name)).unwrap_or_default()
}

/// Which hooks have been run, in their order.
fn order(place: &Place) -> Vec<String> {
    said(place, "order").lines().map(str::to_owned).collect()
}

/// What the daemon says of its hooks.
async fn facts(client: &mut Client) -> Value {
    let status = client.runtime.status(StatusRequest { verbose: true }).await.expect("a status").into_inner();
    serde_json::from_str(&status.info["hooks"]).expect("JSON")
}

/// Whether there is such a process, and it is not only waited for.
fn lives(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}
