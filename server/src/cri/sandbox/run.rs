//! `RunPodSandbox`: makes a pod, or joins its making.

use std::sync::Arc;

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{RunPodSandboxRequest, RunPodSandboxResponse};

use crate::cri::convert;
use crate::pods::{Core, up};

pub(crate) async fn answer(
    core: Arc<Core>,
    request: RunPodSandboxRequest,
) -> Result<RunPodSandboxResponse, Report> {
    let asked = request.config.unwrap_or_default();
    let mut config = convert::pod_config(&asked, &request.runtime_handler, core.node.door)?;
    config.handler = core.handlers.named(config.handler);
    core.handlers.ready("runtime_handler", &config.handler).await?;
    if config.namespaces.user.is_some() && core.handlers.find("runtime_handler", &config.handler)?.is_some() {
        let field = "config.linux.security_context.namespace_options.userns_options";
        let cause = format!("pods of handler {} have the node's users", config.handler);
        return Err(Report::field(field, "POD", cause).advise("use the handler native"));
    }
    let pod = up::run(&core, config, asked).await?;
    Ok(RunPodSandboxResponse { pod_sandbox_id: pod.id.to_string() })
}
