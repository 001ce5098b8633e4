//! `StartContainer`: has it run, or joins its start.

use std::sync::Arc;

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{StartContainerRequest, StartContainerResponse};

use crate::pods::Core;

pub(crate) async fn answer(
    core: Arc<Core>,
    request: StartContainerRequest,
) -> Result<StartContainerResponse, Report> {
    core.table.container(&request.container_id)?.start(&core).await?;
    Ok(StartContainerResponse {})
}
