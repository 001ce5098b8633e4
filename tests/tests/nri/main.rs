//! Plugins of NRI, on the protocol's own code in Go, over the real daemon.
//!
//! Built only with the feature `nri`: `tests/all.sh` asks for it where Go is on PATH, and says so where it is not.
//!
//! *Invariant:* what a plugin changed is read where it takes effect: in the kernel, or in what a program in the container sees.

mod fields;
mod life;
mod required;
#[cfg(feature = "nri-plugins")]
mod theirs;
mod trouble;

use orlop_proto::runtime::v1::{ContainerConfig, LinuxContainerResources, UpdateContainerResourcesRequest};
use orlop_tests::cri::Client;
use orlop_tests::daemon::Daemon;
use orlop_tests::daemon::stage::Stage;
use orlop_tests::nri::Actor;
use serde_json::{Value, json};

/// A daemon, and a pod on it; plugins that it is to know are started on the daemon before.
async fn daemon(name: &str, config: &str) -> Daemon {
    Daemon::build(name).config(config).start().await
}

/// A script that adjusts the container of this name.
fn adjusting(container: &str, adjust: &Value) -> Value {
    json!({ "on": { "CreateContainer": [{ "name": container, "answer": { "adjust": adjust } }] } })
}

/// A stage with one plugin that adjusts the container `c`.
async fn adjusted(name: &str, adjust: &Value) -> (Stage, Actor) {
    let daemon = daemon(name, "").await;
    let actor = Actor::ready(&daemon, "10", "actor", &adjusting("c", adjust)).await;
    (Stage::on(daemon, |_| {}).await, actor)
}

fn sleeper(stage: &Stage, name: &str) -> ContainerConfig {
    stage.script(name, "exec sleep 1000")
}

async fn shares(client: &mut Client, id: &str) -> i64 {
    let resources = client.status(id).await.expect("a status").resources.expect("limits");
    resources.linux.expect("of Linux").cpu_shares
}

async fn update(client: &mut Client, id: &str, cpu_shares: i64) -> Result<(), tonic::Status> {
    let linux = Some(LinuxContainerResources { cpu_shares, ..LinuxContainerResources::default() });
    let request = UpdateContainerResourcesRequest { container_id: id.into(), linux, ..Default::default() };
    client.runtime.update_container_resources(request).await.map(drop)
}
