//! `PodSandboxStatus`: one pod and how its containers stand.

use std::collections::BTreeMap;

use orlop_model::report::{Kind, Report};
use orlop_proto::runtime::v1::{
    HugepageLimit, LinuxContainerResources, PodSandboxStatusRequest, PodSandboxStatusResponse,
};

use crate::cri::shape;
use crate::pods::{Core, Places, now};

pub(crate) fn answer(
    core: &Core,
    request: PodSandboxStatusRequest,
) -> Result<PodSandboxStatusResponse, Report> {
    let pod = core.table.pod(&request.pod_sandbox_id)?;
    let Some(state) = shape::pod_state(&pod.state()) else {
        return Err(Report::new(
            Kind::NotFound,
            "find",
            format!("pod sandbox \"{}\"", pod.id),
            "it is not made yet",
        ));
    };
    let containers = core.table.foremost_of(&pod.id);
    let mut info = BTreeMap::new();
    if request.verbose {
        let facts = serde_json::json!({
            "netns": (!pod.config.namespaces.host_network).then(|| Places::netns(&pod.id)),
            "init": pod.made().and_then(|made| made.init),
            "stagesMicroseconds": pod.made().map(|made| made.stages.clone()).unwrap_or_default(),
            "resources": pod.sums().resources.as_ref().map(limits),
            "overhead": pod.sums().overhead.as_ref().map(limits),
            "ledger": pod.ledger().as_ref().map(|ledger| ledger.standing().iter().map(ToString::to_string).collect::<Vec<_>>()),
        });
        info.insert("info".to_owned(), facts.to_string());
    }
    Ok(PodSandboxStatusResponse {
        status: Some(shape::pod_status(&pod, state)),
        info,
        containers_statuses: shape::statuses(containers.iter().filter_map(shape::container_status)),
        timestamp: now().0,
    })
}

/// A pod's sums, with the names that the interface's JSON has.
fn limits(limits: &LinuxContainerResources) -> serde_json::Value {
    let page = |page: &HugepageLimit| serde_json::json!({"pageSize": page.page_size, "limit": page.limit});
    serde_json::json!({
        "cpuPeriod": limits.cpu_period,
        "cpuQuota": limits.cpu_quota,
        "cpuShares": limits.cpu_shares,
        "memoryLimitInBytes": limits.memory_limit_in_bytes,
        "memorySwapLimitInBytes": limits.memory_swap_limit_in_bytes,
        "oomScoreAdj": limits.oom_score_adj,
        "cpusetCpus": limits.cpuset_cpus,
        "cpusetMems": limits.cpuset_mems,
        "hugepageLimits": limits.hugepage_limits.iter().map(page).collect::<Vec<_>>(),
        "unified": limits.unified,
    })
}
