//! `ListContainers`: all containers that are created, from memory.

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{ListContainersRequest, ListContainersResponse};

use crate::cri::convert::filter::{ContainerFacts, ContainerFilter};
use crate::cri::shape;
use crate::pods::Core;

pub(crate) fn answer(core: &Core, request: ListContainersRequest) -> Result<ListContainersResponse, Report> {
    let filter = ContainerFilter::of_list(request.filter.as_ref())?;
    let containers = core.table.containers();
    let fitting = containers.iter().filter_map(|container| {
        let state = shape::container_state(&container.state())?;
        let labels = &container.asked.labels;
        let facts =
            ContainerFacts { id: container.id.as_str(), pod_id: container.pod.id.as_str(), state, labels };
        filter.fits(facts).then(|| shape::container(container, state)).flatten()
    });
    Ok(ListContainersResponse { containers: fitting.collect() })
}
