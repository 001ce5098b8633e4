//! Runtime handlers: the same behaviours of the built-in one and of runtimes of others.
//!
//! | room | what it is for |
//! | --- | --- |
//! | `table` | all behaviours, and where a runtime differs with its reason |
//! | `lives` | starts, ends, signals, crashes |
//! | `streams` | logs, exec, attach, terminals |
//! | `confinement` | who it is and what it may do |
//! | `seen` | mounts, devices, namespaces |
//! | `limits` | what it may use |
//! | `known` | handlers that are not there, and what is told of those that are |
//!
//! *Invariant:* one list for all handlers. A runtime that is not on this machine has no test here: `tests/all.sh` says so.

mod confinement;
mod known;
mod limits;
mod lives;
mod seen;
mod streams;
mod table;

use std::path::PathBuf;

use orlop_proto::runtime::v1::{PodSandboxConfig, RunPodSandboxRequest};
use orlop_tests::cri::{self, Client};
use orlop_tests::daemon::stage::Stage;
use orlop_tests::daemon::{Builder, Daemon};
use tonic::Status;

/// A handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handler {
    Native,
    Runc,
    Crun,
}

impl Handler {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Handler::Native => "native",
            Handler::Runc => "runc",
            Handler::Crun => "crun",
        }
    }

    /// Its part of the configuration.
    pub(crate) fn config(self) -> String {
        match self {
            Handler::Native => String::new(),
            Handler::Runc | Handler::Crun => {
                format!(
                    "[handlers.{}]\ntype = \"oci\"\npath = \"{}\"\n",
                    self.name(),
                    peer(self.name()).display()
                )
            }
        }
    }
}

/// A program of others: below `PEERS`, else where Debian has it.
fn peer(name: &str) -> PathBuf {
    let below = std::env::var_os("PEERS").map(|peers| PathBuf::from(peers).join("bin"));
    let places = below
        .into_iter()
        .chain(["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"].map(PathBuf::from));
    let found = places.map(|place| place.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is below PEERS or installed: tests/all.sh has looked"))
}

/// A daemon that knows this handler.
pub(crate) fn daemon(handler: Handler, name: &str) -> Builder {
    Daemon::build(name).config(&handler.config())
}

/// `RunPodSandbox` by a handler; its id.
pub(crate) async fn run_pod(
    client: &mut Client,
    pod: &PodSandboxConfig,
    handler: &str,
) -> Result<String, Status> {
    let request = RunPodSandboxRequest { config: Some(pod.clone()), runtime_handler: handler.into() };
    Ok(client.runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id)
}

/// The stage with another pod of this handler.
pub(crate) async fn set(stage: &mut Stage, handler: Handler, name: &str, shape: fn(&mut PodSandboxConfig)) {
    stage.pod = cri::pod(name, &stage.daemon.logs(name));
    shape(&mut stage.pod);
    stage.pod_id = run_pod(&mut stage.client, &stage.pod, handler.name()).await.expect("a pod");
}

/// A stage without a pod yet.
pub(crate) async fn stage(daemon: Daemon) -> Stage {
    let image = daemon.pull_busybox().await;
    let client = daemon.client().await;
    Stage { daemon, client, image, pod: PodSandboxConfig::default(), pod_id: String::new() }
}

#[tokio::test]
async fn native_does_all_of_it() {
    Box::pin(table::run(Handler::Native)).await;
}

#[cfg(feature = "runc")]
#[tokio::test]
async fn runc_does_all_of_it() {
    Box::pin(table::run(Handler::Runc)).await;
}

#[cfg(feature = "crun")]
#[tokio::test]
async fn crun_does_all_of_it() {
    Box::pin(table::run(Handler::Crun)).await;
}
