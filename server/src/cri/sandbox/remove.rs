//! `RemovePodSandbox`: ends and removes all of it. Can be said again; an unknown pod is removed already.

use std::sync::Arc;

use orlop_model::report::{Kind, Report};
use orlop_proto::runtime::v1::{RemovePodSandboxRequest, RemovePodSandboxResponse};

use crate::pods::Core;

pub(crate) async fn answer(
    core: Arc<Core>,
    request: RemovePodSandboxRequest,
) -> Result<RemovePodSandboxResponse, Report> {
    match core.table.pod(&request.pod_sandbox_id) {
        Ok(pod) => pod.remove(&core).await?,
        Err(report) if report.kind == Kind::NotFound => {}
        Err(report) => return Err(report),
    }
    Ok(RemovePodSandboxResponse {})
}
