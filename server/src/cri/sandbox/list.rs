//! `ListPodSandbox` and `StreamPodSandboxes`: all pods that are made, from memory.

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{
    ListPodSandboxRequest, ListPodSandboxResponse, PodSandbox, PodSandboxFilter, StreamPodSandboxesRequest,
    StreamPodSandboxesResponse,
};
use tonic::codegen::BoxStream;

use crate::cri::convert::filter::{PodFacts, PodFilter};
use crate::cri::{shape, stream};
use crate::pods::Core;

pub(crate) fn answer(core: &Core, request: ListPodSandboxRequest) -> Result<ListPodSandboxResponse, Report> {
    let items = rows(core, request.filter.as_ref())?.collect();
    stream::whole(ListPodSandboxResponse { items }, "pod sandboxes", "StreamPodSandboxes")
}

pub(crate) fn streamed(
    core: &Core,
    request: StreamPodSandboxesRequest,
) -> Result<BoxStream<StreamPodSandboxesResponse>, Report> {
    let rows = rows(core, request.filter.as_ref())?;
    Ok(stream::rows(rows, |pod_sandboxes| StreamPodSandboxesResponse { pod_sandboxes }))
}

fn rows(
    core: &Core,
    filter: Option<&PodSandboxFilter>,
) -> Result<impl Iterator<Item = PodSandbox> + use<>, Report> {
    let filter = PodFilter::of_list(filter)?;
    Ok(core.table.pods().into_iter().filter_map(move |pod| {
        let state = shape::pod_state(&pod.state())?;
        let facts = PodFacts { id: pod.id.as_str(), state, labels: &pod.asked.labels };
        filter.fits(facts).then(|| shape::pod(&pod, state))
    }))
}
