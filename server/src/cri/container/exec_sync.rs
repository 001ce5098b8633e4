//! `ExecSync`: runs a command to its end and gives back what it wrote.

use std::sync::Arc;
use std::time::Duration;

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{ExecSyncRequest, ExecSyncResponse};

use crate::cri::convert;
use crate::pods::{Core, exec};

pub(crate) async fn answer(core: Arc<Core>, request: ExecSyncRequest) -> Result<ExecSyncResponse, Report> {
    let container = core.table.container(&request.container_id)?;
    let command = convert::program("cmd", &request.cmd)?;
    // 0, and by courtesy a negative one, mean: however long it takes.
    let timeout =
        u64::try_from(request.timeout).ok().filter(|seconds| *seconds != 0).map(Duration::from_secs);
    let outcome = exec::sync::run(&container, command, timeout).await?;
    Ok(ExecSyncResponse { stdout: outcome.stdout, stderr: outcome.stderr, exit_code: outcome.code })
}
