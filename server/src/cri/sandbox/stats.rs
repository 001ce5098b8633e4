//! `PodSandboxStats`, `ListPodSandboxStats` and `StreamPodSandboxStats`: what pods use, with their containers.
//!
//! The lists have the pods that are ready. One that is asked for by its id is shown as long as it is there.

use std::sync::Arc;

use orlop_model::report::{Kind, Report};
use orlop_proto::runtime::v1::{
    ListPodSandboxStatsRequest, ListPodSandboxStatsResponse, PodSandboxState, PodSandboxStats,
    PodSandboxStatsFilter as Asked, PodSandboxStatsRequest, PodSandboxStatsResponse,
    StreamPodSandboxStatsRequest, StreamPodSandboxStatsResponse,
};
use tonic::codegen::BoxStream;

use crate::cri::convert::filter::{PodFacts, PodFilter};
use crate::cri::{figures, shape, stream};
use crate::gauges::read;
use crate::pods::Core;
use crate::pods::pod::Pod;

pub(crate) fn answer(
    core: &Core,
    request: PodSandboxStatsRequest,
) -> Result<PodSandboxStatsResponse, Report> {
    let pod = core.table.pod(&request.pod_sandbox_id)?;
    if shape::pod_state(&pod.state()).is_none() {
        let what = format!("pod sandbox \"{}\"", pod.id);
        return Err(Report::new(Kind::NotFound, "find", what, "it is not made yet"));
    }
    let figures = read::pods(core, vec![pod])?;
    Ok(PodSandboxStatsResponse { stats: figures.first().map(|figures| figures::pod(core, figures)) })
}

pub(crate) fn list(
    core: &Core,
    request: ListPodSandboxStatsRequest,
) -> Result<ListPodSandboxStatsResponse, Report> {
    let stats = rows(core, request.filter.as_ref())?;
    stream::whole(ListPodSandboxStatsResponse { stats }, "pod stats", "StreamPodSandboxStats")
}

pub(crate) fn streamed(
    core: &Core,
    request: StreamPodSandboxStatsRequest,
) -> Result<BoxStream<StreamPodSandboxStatsResponse>, Report> {
    let rows = rows(core, request.filter.as_ref())?.into_iter();
    Ok(stream::rows(rows, |pod_sandbox_stats| StreamPodSandboxStatsResponse { pod_sandbox_stats }))
}

fn rows(core: &Core, filter: Option<&Asked>) -> Result<Vec<PodSandboxStats>, Report> {
    let filter = PodFilter::of_stats(filter);
    let figures = read::pods(core, ready(core, &filter))?;
    Ok(figures.iter().map(|figures| figures::pod(core, figures)).collect())
}

/// The ready pods that fit.
pub(super) fn ready(core: &Core, filter: &PodFilter) -> Vec<Arc<Pod>> {
    let state = PodSandboxState::SandboxReady;
    let fits = |pod: &Arc<Pod>| {
        let facts = PodFacts { id: pod.id.as_str(), state, labels: &pod.asked.labels };
        shape::pod_state(&pod.state()) == Some(state) && filter.fits(facts)
    };
    core.table.pods().into_iter().filter(fits).collect()
}
