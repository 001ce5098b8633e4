//! `UpdateRuntimeConfig`: the pod CIDR, as kubelet hears it from the cluster. An empty one changes nothing.

use std::sync::Arc;

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{UpdateRuntimeConfigRequest, UpdateRuntimeConfigResponse};

use crate::cri::convert;
use crate::pods::Core;

pub(crate) async fn answer(
    core: Arc<Core>,
    request: UpdateRuntimeConfigRequest,
) -> Result<UpdateRuntimeConfigResponse, Report> {
    let network = request.runtime_config.and_then(|config| config.network_config).unwrap_or_default();
    if let Some(cidr) = convert::pod_cidr(&network.pod_cidr)? {
        core.network.set_pod_cidr(cidr).await?;
        tracing::info!(pod_cidr = %cidr, "taken over");
    }
    Ok(UpdateRuntimeConfigResponse {})
}
