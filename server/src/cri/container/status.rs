//! `ContainerStatus`: one container, all that is known of it.

use std::collections::BTreeMap;

use orlop_model::report::{Kind, Report};
use orlop_proto::runtime::v1::{ContainerStatusRequest, ContainerStatusResponse};

use crate::cri::{convert, shape};
use crate::pods::Core;

pub(crate) fn answer(
    core: &Core,
    request: ContainerStatusRequest,
) -> Result<ContainerStatusResponse, Report> {
    let container = core.table.container(&request.container_id)?;
    let Some(status) = shape::container_status(&container) else {
        let what = format!("container \"{}\"", container.id);
        return Err(Report::new(Kind::NotFound, "find", what, "it is not created yet"));
    };
    let mut info = BTreeMap::new();
    if request.verbose {
        let life = container.life();
        let facts = serde_json::json!({
            "sandboxID": container.pod.id.as_str(),
            "pid": life.born.as_ref().map(|born| born.pid),
            "shim": life.born.as_ref().map(|born| born.shim),
            "stagesMicroseconds": life.born.as_ref().map(|born| born.stages.clone()).unwrap_or_default(),
            "cdiDevices": convert::cdi_devices(&container.asked),
            "ledger": life.ledger.as_ref().map(|ledger| ledger.standing().iter().map(ToString::to_string).collect::<Vec<_>>()),
        });
        info.insert("info".to_owned(), facts.to_string());
    }
    Ok(ContainerStatusResponse { status: Some(status), info })
}
