//! `RunPodSandbox`: makes a pod, or joins its making.

use std::sync::Arc;

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{RunPodSandboxRequest, RunPodSandboxResponse};

use crate::cri::convert;
use crate::node;
use crate::pods::{Core, up};

pub(crate) async fn answer(
    core: Arc<Core>,
    request: RunPodSandboxRequest,
) -> Result<RunPodSandboxResponse, Report> {
    let asked = request.config.unwrap_or_default();
    let config = convert::pod_config(&asked, &request.runtime_handler, core.node.door)?;
    node::can_run("runtime_handler", &config.handler)?;
    let pod = up::run(&core, config, asked).await?;
    Ok(RunPodSandboxResponse { pod_sandbox_id: pod.id.to_string() })
}
