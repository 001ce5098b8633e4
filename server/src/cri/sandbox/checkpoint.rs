//! `CheckpointPod`: the containers of a pod that run are written down as they are at one moment, and run on.

use std::sync::Arc;
use std::time::Duration;

use orlop_model::life::pod::State;
use orlop_model::report::{Kind, Report};
use orlop_proto::runtime::v1::{CheckpointPodRequest, CheckpointPodResponse};
use tonic::Request;

use crate::checkpoint::export;
use crate::cri::convert;
use crate::pods::Core;
use crate::pods::container::Container;

pub(crate) async fn answer(
    core: Arc<Core>,
    request: CheckpointPodRequest,
    patience: Option<Duration>,
) -> Result<CheckpointPodResponse, Report> {
    let pod = core.table.pod(&request.pod_sandbox_id)?;
    convert::no_options(&request.options)?;
    let output = convert::place("output_path", &request.output_path)?;
    let is_empty = std::fs::read_dir(&output).map(|mut entries| entries.next().is_none());
    match is_empty {
        Ok(true) => {}
        Ok(false) => {
            return Err(Report::field("output_path", output.display(), "the directory is not empty"));
        }
        Err(error) => return Err(Report::field("output_path", output.display(), error)),
    }
    if pod.state() != State::Ready {
        return Err(Report::new(Kind::WrongState, "checkpoint pod", pod.id.short(), "it is not ready"));
    }
    let mut containers: Vec<Arc<Container>> = Vec::new();
    for (at, id) in request.container_ids.iter().enumerate() {
        let field = format!("container_ids[{at}]");
        let container = core.table.container(id).map_err(|report| Report::field(&field, id, report.cause))?;
        if container.pod.id != pod.id {
            return Err(Report::field(&field, id, "this container is of another pod"));
        }
        if containers.iter().any(|other| other.id == container.id) {
            return Err(Report::field(&field, id, "stands there twice"));
        }
        if containers.iter().any(|other| other.name.name == container.name.name) {
            return Err(Report::field(&field, id, "another container of the list has the same name"));
        }
        containers.push(container);
    }
    if containers.is_empty() {
        return Err(Report::field("container_ids", "", "names no container"));
    }
    let timeout = patience.unwrap_or(core.criu.timeout);
    export::pod(&core, &pod, containers, output, timeout).await?;
    Ok(CheckpointPodResponse {})
}

/// How long the client waits: gRPC over HTTP/2, `grpc-timeout`, at most eight digits and a unit. A little less, so that it hears why.
pub(crate) fn patience<T>(request: &Request<T>) -> Option<Duration> {
    let text = request.metadata().get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    let patience = match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    Some(patience / 10 * 9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_says_how_long_it_waits() {
        let said = |text: &'static str| {
            let mut request = Request::new(());
            request.metadata_mut().insert("grpc-timeout", text.parse().expect("ASCII"));
            patience(&request)
        };
        assert_eq!(said("10S").map(|patience| patience.as_secs_f32().round()), Some(9.0));
        assert_eq!(said("1000m").map(|patience| patience.as_millis()), Some(900));
        for wrong in ["", "S", "10", "10x", "123456789S", "-1S"] {
            assert_eq!(said(wrong), None, "{wrong}");
        }
        assert_eq!(patience(&Request::new(())), None);
    }
}
