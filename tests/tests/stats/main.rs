//! What pods and containers use, as the interface tells it, against what the kernel says of the same.
//!
//! | room | what it is for |
//! | --- | --- |
//! | `kernel` | the kernel's own files of a container, found without the daemon |
//! | `containers` | time, memory, pressure; filters, lists and streams; ends and restarts |
//! | `pods` | a pod's own figures, its network and its processes |
//! | `layers` | what a container has written |
//! | `metrics` | the page that kubelet shows |
//! | `cost` | what it takes to ask |
//!
//! *Invariant:* each test has a daemon of its own, and ends with the proof that nothing is left.

mod containers;
mod cost;
mod kernel;
mod layers;
mod metrics;
mod pods;

use orlop_proto::runtime::v1::{
    ContainerStats, ContainerStatsFilter, ContainerStatsRequest, ListContainerStatsRequest,
    ListPodSandboxStatsRequest, PodSandboxStats, PodSandboxStatsFilter, PodSandboxStatsRequest, UInt64Value,
};
use orlop_tests::cri::Client;
use tonic::Status;

/// `ContainerStats`.
async fn of_container(client: &mut Client, id: &str) -> Result<ContainerStats, Status> {
    let request = ContainerStatsRequest { container_id: id.into() };
    let stats = client.runtime.container_stats(request).await?.into_inner().stats;
    stats.ok_or_else(|| Status::internal("an answer without figures"))
}

/// `ListContainerStats`.
async fn of_containers(
    client: &mut Client,
    filter: Option<ContainerStatsFilter>,
) -> Result<Vec<ContainerStats>, Status> {
    let request = ListContainerStatsRequest { filter };
    Ok(client.runtime.list_container_stats(request).await?.into_inner().stats)
}

/// `PodSandboxStats`.
async fn of_pod(client: &mut Client, id: &str) -> Result<PodSandboxStats, Status> {
    let request = PodSandboxStatsRequest { pod_sandbox_id: id.into() };
    let stats = client.runtime.pod_sandbox_stats(request).await?.into_inner().stats;
    stats.ok_or_else(|| Status::internal("an answer without figures"))
}

/// `ListPodSandboxStats`.
async fn of_pods(
    client: &mut Client,
    filter: Option<PodSandboxStatsFilter>,
) -> Result<Vec<PodSandboxStats>, Status> {
    let request = ListPodSandboxStatsRequest { filter };
    Ok(client.runtime.list_pod_sandbox_stats(request).await?.into_inner().stats)
}

/// A figure that has to be there.
#[track_caller]
fn known(value: Option<&UInt64Value>) -> u64 {
    value.expect("a figure is set").value
}

/// Nanoseconds since 1970.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_nanos()).expect("before 2262")
}
