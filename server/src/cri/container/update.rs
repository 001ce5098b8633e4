//! `UpdateContainerResources`: other limits for a container; what is 0 or empty stays as it is. Annotations are taken and say
//! nothing to this runtime.

use std::sync::Arc;

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{UpdateContainerResourcesRequest, UpdateContainerResourcesResponse};

use crate::cri::convert;
use crate::nri;
use crate::pods::{Core, update};

pub(crate) async fn answer(
    core: Arc<Core>,
    request: UpdateContainerResourcesRequest,
) -> Result<UpdateContainerResourcesResponse, Report> {
    let container = core.table.container(&request.container_id)?;
    convert::update_of_linux(request.windows.is_some(), &request.annotations)?;
    let asked = nri::container::updates(&core, &container, request.linux.unwrap_or_default()).await?;
    update::container(&core, &container, &asked).await?;
    nri::container::updated(&core, &container).await;
    Ok(UpdateContainerResourcesResponse {})
}
