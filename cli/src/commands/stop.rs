//! `orlop stop`: ends containers, and pods with all that is in them.

use clap::Args;
use orlop_proto::runtime::v1::{StopContainerRequest, StopPodSandboxRequest};

use crate::args::Kind;
use crate::client::Daemon;
use crate::failure::Failure;
use crate::resolve::Catalogue;

/// Its flags.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Containers or pods
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// How many seconds a container has before it is killed
    #[arg(short, long, value_name = "SECONDS", default_value_t = 10)]
    time: u32,
    /// What is meant, where a name may mean both
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    kind: Option<super::Living>,
}

impl Stop {
    pub(super) async fn run(self, daemon: &Daemon) -> Result<u8, Failure> {
        let all = Catalogue::read(daemon, super::Living::kinds(self.kind)).await?;
        super::each(&self.ids, async |given| {
            let thing = all.find(given)?;
            let answer = match thing.kind {
                Kind::Pod => {
                    let request = StopPodSandboxRequest { pod_sandbox_id: thing.id };
                    daemon.runtime().stop_pod_sandbox(request).await.map(drop)
                }
                Kind::Container | Kind::Image => {
                    let request = StopContainerRequest { container_id: thing.id, timeout: self.time.into() };
                    daemon.runtime().stop_container(request).await.map(drop)
                }
            };
            answer.map_err(|status| daemon.refused(&format!("stop {given}"), &status))
        })
        .await
    }
}
