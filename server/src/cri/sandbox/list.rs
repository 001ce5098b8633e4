//! `ListPodSandbox`: all pods that are made, from memory.

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{ListPodSandboxRequest, ListPodSandboxResponse};

use crate::cri::convert::filter::{PodFacts, PodFilter};
use crate::cri::shape;
use crate::pods::Core;

pub(crate) fn answer(core: &Core, request: ListPodSandboxRequest) -> Result<ListPodSandboxResponse, Report> {
    let filter = PodFilter::of_list(request.filter.as_ref())?;
    let pods = core.table.pods();
    let items = pods.iter().filter_map(|pod| {
        let state = shape::pod_state(&pod.state())?;
        let facts = PodFacts { id: pod.id.as_str(), state, labels: &pod.asked.labels };
        filter.fits(facts).then(|| shape::pod(pod, state))
    });
    Ok(ListPodSandboxResponse { items: items.collect() })
}
