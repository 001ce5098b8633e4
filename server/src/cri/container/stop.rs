//! `StopContainer`: its stop signal, then the kill when the grace is over. Can be said again, with a shorter grace; an unknown
//! container is stopped already.

use std::sync::Arc;
use std::time::Duration;

use orlop_model::report::{Kind, Report};
use orlop_proto::runtime::v1::{StopContainerRequest, StopContainerResponse};

use crate::pods::Core;

pub(crate) async fn answer(
    core: Arc<Core>,
    request: StopContainerRequest,
) -> Result<StopContainerResponse, Report> {
    let grace = u32::try_from(request.timeout.clamp(0, i64::from(u32::MAX))).unwrap_or(u32::MAX);
    match core.table.container(&request.container_id) {
        Ok(container) => container.stop(&core, Duration::from_secs(grace.into())).await,
        Err(report) if report.kind == Kind::NotFound => {}
        Err(report) => return Err(report),
    }
    Ok(StopContainerResponse {})
}
