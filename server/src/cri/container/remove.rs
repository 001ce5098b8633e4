//! `RemoveContainer`: kills it if it runs, and removes it. Can be said again; an unknown container is removed already.

use std::sync::Arc;

use orlop_model::report::{Kind, Report};
use orlop_proto::runtime::v1::{RemoveContainerRequest, RemoveContainerResponse};

use crate::pods::Core;

pub(crate) async fn answer(
    core: Arc<Core>,
    request: RemoveContainerRequest,
) -> Result<RemoveContainerResponse, Report> {
    match core.table.container(&request.container_id) {
        Ok(container) => container.remove(&core).await?,
        Err(report) if report.kind == Kind::NotFound => {}
        Err(report) => return Err(report),
    }
    Ok(RemoveContainerResponse {})
}
