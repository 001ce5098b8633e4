//! `CheckpointContainer`: a container that runs is written to an archive, and runs on.

use std::sync::Arc;
use std::time::Duration;

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{CheckpointContainerRequest, CheckpointContainerResponse};

use crate::checkpoint::export;
use crate::cri::convert;
use crate::pods::Core;

pub(crate) async fn answer(
    core: Arc<Core>,
    request: CheckpointContainerRequest,
) -> Result<CheckpointContainerResponse, Report> {
    let container = core.table.container(&request.container_id)?;
    let location = convert::place("location", &request.location)?;
    let timeout = match u64::try_from(request.timeout) {
        Ok(0) => core.criu.timeout,
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            return Err(Report::field("timeout", request.timeout, "it is negative; 0 means the default"));
        }
    };
    if !location.parent().is_some_and(std::path::Path::is_dir) {
        let cause = "the directory that it is to be in is not there";
        return Err(Report::field("location", location.display(), cause));
    }
    if location.is_dir() {
        return Err(Report::field("location", location.display(), "it is a directory")
            .advise("name the file of the archive"));
    }
    export::container(&core, &container, location, timeout).await?;
    Ok(CheckpointContainerResponse {})
}
