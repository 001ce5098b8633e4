//! `orlop rm`: removes containers, and pods with all that is in them.

use clap::Args;
use orlop_proto::runtime::v1::{RemoveContainerRequest, RemovePodSandboxRequest, StopPodSandboxRequest};
use tonic::Status;

use crate::args::Kind;
use crate::client::Daemon;
use crate::failure::Failure;
use crate::resolve::Catalogue;

/// Its flags.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Containers or pods
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Also what runs: it is ended first
    #[arg(short, long)]
    force: bool,
    /// What is meant, where a name may mean both
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    kind: Option<super::Living>,
}

impl Rm {
    pub(super) async fn run(self, daemon: &Daemon) -> Result<u8, Failure> {
        let all = Catalogue::read(daemon, super::Living::kinds(self.kind)).await?;
        super::each(&self.ids, async |given| {
            let thing = all.find(given)?;
            if thing.alive && !self.force {
                return Err(Failure::Alive { given: given.into() });
            }
            let answer = match thing.kind {
                Kind::Pod => pod(daemon, thing.id).await,
                Kind::Container | Kind::Image => {
                    let request = RemoveContainerRequest { container_id: thing.id };
                    daemon.runtime().remove_container(request).await.map(drop)
                }
            };
            answer.map_err(|status| daemon.refused(&format!("rm {given}"), &status))
        })
        .await
    }
}

/// A pod is stopped before it is removed, as CRI asks of its clients.
async fn pod(daemon: &Daemon, id: String) -> Result<(), Status> {
    let mut runtime = daemon.runtime();
    runtime.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: id.clone() }).await?;
    runtime.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: id }).await.map(drop)
}
