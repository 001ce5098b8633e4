//! `Attach`: a URL at which a container's own streams are the client's.

use std::sync::Arc;
use std::time::Instant;

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{AttachRequest, AttachResponse};
use orlop_stream::session::Streams;

use crate::pods::{Core, exec};
use crate::streams::tokens::Asked;

pub(crate) async fn answer(core: Arc<Core>, request: AttachRequest) -> Result<AttachResponse, Report> {
    let container = core.table.container(&request.container_id)?;
    let streams = super::checked(Streams {
        stdin: request.stdin,
        stdout: request.stdout,
        stderr: request.stderr,
        tty: request.tty,
    })?;
    if request.tty && !container.asked.tty {
        return Err(Report::field("tty", true, "the container has no terminal").advise("attach without tty"));
    }
    exec::reach(&container, "attach").await?;
    let asked = Asked::Attach { container: container.id.clone(), streams };
    Ok(AttachResponse { url: core.tokens.url(asked, Instant::now())? })
}
