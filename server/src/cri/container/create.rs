//! `CreateContainer`: a container that can be started, or the one that has the name already.

use std::sync::Arc;

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{CreateContainerRequest, CreateContainerResponse};

use crate::cri::convert;
use crate::pods::{Core, create};

pub(crate) async fn answer(
    core: Arc<Core>,
    request: CreateContainerRequest,
) -> Result<CreateContainerResponse, Report> {
    let pod = core.table.pod(&request.pod_sandbox_id)?;
    let asked = request.config.unwrap_or_default();
    let config = convert::container_config(&asked, &pod.config, core.node.door)?;
    let image = asked.image.iter().map(|image| ("config.image".to_owned(), image));
    let volumes = asked.mounts.iter().enumerate();
    let volumes =
        volumes.filter_map(|(at, mount)| Some((format!("config.mounts[{at}].image"), mount.image.as_ref()?)));
    for (field, image) in image.chain(volumes) {
        core.handlers.find(&format!("{field}.runtime_handler"), &image.runtime_handler)?;
    }
    let container = create::run(&core, &pod, config, asked, create::From::Request).await?;
    Ok(CreateContainerResponse { container_id: container.id.to_string() })
}
