//! `Exec`: a URL at which a command is run with the client's streams.

use std::sync::Arc;
use std::time::Instant;

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{ExecRequest, ExecResponse};
use orlop_stream::session::Streams;

use crate::cri::convert;
use crate::pods::{Core, exec};
use crate::streams::tokens::Asked;

pub(crate) async fn answer(core: Arc<Core>, request: ExecRequest) -> Result<ExecResponse, Report> {
    let container = core.table.container(&request.container_id)?;
    let command = convert::program("cmd", &request.cmd)?;
    let streams = super::checked(Streams {
        stdin: request.stdin,
        stdout: request.stdout,
        stderr: request.stderr,
        tty: request.tty,
    })?;
    exec::reach(&container, "exec").await?;
    let asked = Asked::Exec { container: container.id.clone(), command, streams };
    Ok(ExecResponse { url: core.tokens.url(asked, Instant::now())? })
}
