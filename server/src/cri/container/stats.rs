//! `ContainerStats`, `ListContainerStats` and `StreamContainerStats`: what containers use.
//!
//! The lists have the containers that run, as the interface says. One that is asked for by its id is shown as long as it is there: what
//! it has written to its layer is there after its end.

use orlop_model::report::{Kind, Report};
use orlop_proto::runtime::v1::{
    ContainerStats, ContainerStatsFilter as Asked, ContainerStatsRequest, ContainerStatsResponse,
    ListContainerStatsRequest, ListContainerStatsResponse, StreamContainerStatsRequest,
    StreamContainerStatsResponse,
};
use tonic::codegen::BoxStream;

use crate::cri::convert::filter::{ContainerFacts, ContainerFilter};
use crate::cri::{figures, shape, stream};
use crate::gauges::read;
use crate::pods::Core;

pub(crate) fn answer(core: &Core, request: ContainerStatsRequest) -> Result<ContainerStatsResponse, Report> {
    let container = core.table.container(&request.container_id)?;
    if container.facts().is_none() {
        let what = format!("container \"{}\"", container.id);
        return Err(Report::new(Kind::NotFound, "find", what, "it is not created yet"));
    }
    let figures = read::container(core, &container)?;
    Ok(ContainerStatsResponse { stats: Some(figures::container(core, &figures)) })
}

pub(crate) fn list(
    core: &Core,
    request: ListContainerStatsRequest,
) -> Result<ListContainerStatsResponse, Report> {
    let stats = rows(core, request.filter.as_ref())?;
    stream::whole(ListContainerStatsResponse { stats }, "container stats", "StreamContainerStats")
}

pub(crate) fn streamed(
    core: &Core,
    request: StreamContainerStatsRequest,
) -> Result<BoxStream<StreamContainerStatsResponse>, Report> {
    let rows = rows(core, request.filter.as_ref())?.into_iter();
    Ok(stream::rows(rows, |container_stats| StreamContainerStatsResponse { container_stats }))
}

fn rows(core: &Core, filter: Option<&Asked>) -> Result<Vec<ContainerStats>, Report> {
    let filter = ContainerFilter::of_stats(filter);
    let mut rows = Vec::new();
    for container in core.table.containers() {
        let Some(state) = shape::container_state(&container.state()) else { continue };
        let labels = &container.asked.labels;
        let facts =
            ContainerFacts { id: container.id.as_str(), pod_id: container.pod.id.as_str(), state, labels };
        if filter.fits(facts)
            && let Some(figures) = read::running(core, &container)?
        {
            rows.push(figures::container(core, &figures));
        }
    }
    Ok(rows)
}
