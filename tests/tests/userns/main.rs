//! Pods with a user namespace, seen from the node: what owns what, and by which ids.
//!
//! | room | what it is for |
//! | --- | --- |
//! | `spaces` | namespaces, their owners, the maps, sysctls |
//! | `files` | layers, volumes, images, the pod's own files |
//! | `inside` | what a container's programs can and cannot |
//! | `lives` | restarts, crashes, what is told of it |
//! | `refused` | what no pod can have |
//!
//! *Invariant:* each test has a daemon of its own, and ends with the proof that nothing is left.

mod files;
mod inside;
mod lives;
mod refused;
mod spaces;

use orlop_proto::runtime::v1::{IdMapping, Mount, PodSandboxConfig, UserNamespace};
use orlop_tests::daemon::stage::{Stage, namespaces, security};

/// The node's ids of the container's 0: users and groups apart, so that none is taken for the other.
const UID: u32 = 196_608;
const GID: u32 = 393_216;
const LENGTH: u32 = 65_536;

/// One map.
fn map(host: u32) -> Vec<IdMapping> {
    vec![IdMapping { host_id: host, container_id: 0, length: LENGTH }]
}

/// A user namespace, as kubelet asks for it.
fn user() -> UserNamespace {
    UserNamespace { mode: 0, uids: map(UID), gids: map(GID) }
}

fn ask(pod: &mut PodSandboxConfig) {
    namespaces(pod).userns_options = Some(user());
}

/// A pod with a user namespace.
async fn stage(name: &str) -> Stage {
    Stage::with(name, ask).await
}

/// A volume of such a pod.
fn volume(host: &std::path::Path, inside: &str) -> Mount {
    Mount {
        host_path: host.to_str().expect("a plain path").into(),
        container_path: inside.into(),
        uid_mappings: map(UID),
        gid_mappings: map(GID),
        ..Default::default()
    }
}

/// The node's number of a container's first process.
async fn pid(stage: &mut Stage, id: &str) -> i64 {
    stage.client.facts(id).await.expect("facts")["pid"].as_i64().expect("it runs")
}

/// A script as this user of the container.
fn script_of(stage: &Stage, name: &str, uid: i64, script: &str) -> orlop_proto::runtime::v1::ContainerConfig {
    let mut config = stage.script(name, script);
    let own = security(&mut config);
    own.run_as_user = Some(orlop_proto::runtime::v1::Int64Value { value: uid });
    own.run_as_group = Some(orlop_proto::runtime::v1::Int64Value { value: uid });
    config
}
