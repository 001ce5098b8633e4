//! `ListContainers` and `StreamContainers`: all containers that are created, from memory.

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{
    Container, ContainerFilter as Asked, ListContainersRequest, ListContainersResponse,
    StreamContainersRequest, StreamContainersResponse,
};
use tonic::codegen::BoxStream;

use crate::cri::convert::filter::{ContainerFacts, ContainerFilter};
use crate::cri::{shape, stream};
use crate::pods::Core;

pub(crate) fn answer(core: &Core, request: ListContainersRequest) -> Result<ListContainersResponse, Report> {
    let containers = rows(core, request.filter.as_ref())?.collect();
    stream::whole(ListContainersResponse { containers }, "containers", "StreamContainers")
}

pub(crate) fn streamed(
    core: &Core,
    request: StreamContainersRequest,
) -> Result<BoxStream<StreamContainersResponse>, Report> {
    let rows = rows(core, request.filter.as_ref())?;
    Ok(stream::rows(rows, |containers| StreamContainersResponse { containers }))
}

fn rows(core: &Core, filter: Option<&Asked>) -> Result<impl Iterator<Item = Container> + use<>, Report> {
    let filter = ContainerFilter::of_list(filter)?;
    Ok(core.table.containers().into_iter().filter_map(move |container| {
        let state = shape::container_state(&container.state())?;
        let labels = &container.asked.labels;
        let facts =
            ContainerFacts { id: container.id.as_str(), pod_id: container.pod.id.as_str(), state, labels };
        filter.fits(facts).then(|| shape::container(&container, state)).flatten()
    }))
}
