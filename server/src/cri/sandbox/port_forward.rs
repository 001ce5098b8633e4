//! `PortForward`: a URL at which a pod's ports can be connected to.

use std::sync::Arc;
use std::time::Instant;

use orlop_model::life::pod::State;
use orlop_model::report::{Kind, Report};
use orlop_proto::runtime::v1::{PortForwardRequest, PortForwardResponse};

use crate::pods::Core;
use crate::streams::tokens::Asked;

pub(crate) async fn answer(
    core: Arc<Core>,
    request: PortForwardRequest,
) -> Result<PortForwardResponse, Report> {
    let pod = core.table.pod(&request.pod_sandbox_id)?;
    let port = |(at, port): (usize, &i32)| {
        let number = u16::try_from(*port).ok().filter(|number| *number != 0);
        number.ok_or_else(|| Report::field(format!("port[{at}]"), port, "a port is a number from 1 to 65535"))
    };
    let ports = request.port.iter().enumerate().map(port).collect::<Result<_, _>>()?;
    pod.ready().await?;
    if pod.state() != State::Ready {
        return Err(Report::new(Kind::WrongState, "port-forward", pod.id.short(), "the pod is not ready"));
    }
    let asked = Asked::Ports { pod: pod.id.clone(), ports };
    Ok(PortForwardResponse { url: core.tokens.url(asked, Instant::now())? })
}
