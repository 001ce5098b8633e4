//! Values as the node's cgroups have them; the calls in short.

use orlop_proto::runtime::v1::{
    ContainerConfig, LinuxContainerResources, UpdateContainerResourcesRequest,
    UpdatePodSandboxResourcesRequest,
};
pub(crate) use orlop_tests::daemon::limits::{directory, shares, value};
use orlop_tests::daemon::stage::{Stage, resources};
use tonic::Status;

/// `UpdateContainerResources`.
pub(crate) async fn update(
    stage: &mut Stage,
    id: &str,
    change: impl FnOnce(&mut LinuxContainerResources),
) -> Result<(), Status> {
    let mut linux = LinuxContainerResources::default();
    change(&mut linux);
    let request = UpdateContainerResourcesRequest {
        container_id: id.into(),
        linux: Some(linux),
        ..UpdateContainerResourcesRequest::default()
    };
    stage.client.runtime.update_container_resources(request).await.map(drop)
}

/// `UpdatePodSandboxResources`.
pub(crate) async fn update_pod(
    stage: &mut Stage,
    id: &str,
    resources: Option<LinuxContainerResources>,
    overhead: Option<LinuxContainerResources>,
) -> Result<(), Status> {
    let request = UpdatePodSandboxResourcesRequest { pod_sandbox_id: id.into(), resources, overhead };
    stage.client.runtime.update_pod_sandbox_resources(request).await.map(drop)
}

/// The limits that a container's status shows.
pub(crate) async fn shown(stage: &mut Stage, id: &str) -> LinuxContainerResources {
    let status = stage.client.status(id).await.expect("its status");
    status.resources.and_then(|resources| resources.linux).unwrap_or_default()
}

/// A container with limits of every kind.
pub(crate) fn limited(stage: &Stage, name: &str) -> ContainerConfig {
    let mut config = stage.script(name, "exec sleep 1000");
    let limits = resources(&mut config);
    limits.cpu_shares = 512;
    limits.cpu_period = 50_000;
    limits.cpu_quota = 25_000;
    limits.memory_limit_in_bytes = 64 << 20;
    limits.memory_swap_limit_in_bytes = 64 << 20;
    limits.cpuset_cpus = "0".into();
    limits.oom_score_adj = 100;
    limits.unified.insert("pids.max".into(), "20".into());
    config
}

/// All that [`limited`] limits, as the kernel has it.
pub(crate) fn values(stage: &Stage, id: &str) -> Vec<String> {
    let table = [
        ("cpu", "cpu.shares"),
        ("cpu", "cpu.cfs_period_us"),
        ("cpu", "cpu.cfs_quota_us"),
        ("memory", "memory.limit_in_bytes"),
        ("memory", "memory.memsw.limit_in_bytes"),
        ("cpuset", "cpuset.cpus"),
        ("pids", "pids.max"),
    ];
    table.iter().map(|(controller, file)| value(stage, controller, Some(id), file)).collect()
}

/// What [`values`] are if the limits are these; the first are shares.
pub(crate) fn limits(of: [&str; 7]) -> Vec<String> {
    let mut all: Vec<String> = of.iter().map(|text| (*text).to_owned()).collect();
    all[0] = shares(of[0]);
    all
}
