//! `StopPodSandbox`: ends its containers, takes its network down. Can be said again; an unknown pod is stopped already.

use std::sync::Arc;

use orlop_model::report::{Kind, Report};
use orlop_proto::runtime::v1::{StopPodSandboxRequest, StopPodSandboxResponse};

use crate::pods::Core;

pub(crate) async fn answer(
    core: Arc<Core>,
    request: StopPodSandboxRequest,
) -> Result<StopPodSandboxResponse, Report> {
    match core.table.pod(&request.pod_sandbox_id) {
        Ok(pod) => pod.stop(&core).await?,
        Err(report) if report.kind == Kind::NotFound => {}
        Err(report) => return Err(report),
    }
    Ok(StopPodSandboxResponse {})
}
