//! `UpdatePodSandboxResources`: the sums of a pod's limits, as kubelet is about to write or has written them to the pod's cgroup.

use std::sync::Arc;

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{UpdatePodSandboxResourcesRequest, UpdatePodSandboxResourcesResponse};

use crate::nri;
use crate::pods::{Core, update};

pub(crate) async fn answer(
    core: Arc<Core>,
    request: UpdatePodSandboxResourcesRequest,
) -> Result<UpdatePodSandboxResourcesResponse, Report> {
    let pod = core.table.pod(&request.pod_sandbox_id)?;
    nri::pod::updates(&core, &pod, request.resources.as_ref(), request.overhead.as_ref()).await?;
    update::pod(&core, &pod, request.resources, request.overhead).await?;
    nri::pod::updated(&core, &pod).await;
    Ok(UpdatePodSandboxResourcesResponse {})
}
