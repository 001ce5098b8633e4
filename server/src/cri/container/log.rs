//! `ReopenContainerLog`: after a rotation. The new file is there when the answer comes.

use std::sync::Arc;

use orlop_model::report::{Kind, Report};
use orlop_proto::runtime::v1::{ReopenContainerLogRequest, ReopenContainerLogResponse};
use orlop_wire::message::Request;

use crate::pods::Core;

pub(crate) async fn answer(
    core: Arc<Core>,
    request: ReopenContainerLogRequest,
) -> Result<ReopenContainerLogResponse, Report> {
    let container = core.table.container(&request.container_id)?;
    let link = container.life().link.clone();
    let Some(link) = link.filter(|_| !container.state().has_ended()) else {
        let cause = "the container is not running, so nothing writes its log";
        return Err(Report::new(Kind::WrongState, "reopen log", container.id.short(), cause));
    };
    link.ask(Request::Reopen, Vec::new()).await?;
    Ok(ReopenContainerLogResponse {})
}
