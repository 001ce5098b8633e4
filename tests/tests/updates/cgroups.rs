//! Values as the node's cgroups have them; the calls in short.

use std::path::PathBuf;

use orlop_proto::runtime::v1::{
    ContainerConfig, LinuxContainerResources, UpdateContainerResourcesRequest,
    UpdatePodSandboxResourcesRequest,
};
use orlop_tests::daemon::stage::{Stage, resources};
use tonic::Status;

/// The value of a file of a container's cgroup of version 1; of the pod's without one.
pub(crate) fn value(stage: &Stage, controller: &str, id: Option<&str>, file: &str) -> String {
    let path = directory(stage, controller, id).join(file);
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .trim()
        .to_owned()
}

pub(crate) fn directory(stage: &Stage, controller: &str, id: Option<&str>) -> PathBuf {
    let (parent, pod) = (&stage.daemon.traces.cgroup, &stage.pod_id);
    let pod = PathBuf::from(format!("/sys/fs/cgroup/{controller}/{parent}/{pod}"));
    id.map_or(pod.clone(), |id| pod.join(id))
}

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
