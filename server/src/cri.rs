//! The edge: CRI v1, one verb a file.
//!
//! A verb parses its request, asks the core, shapes the answer. The two services below only say which verb serves which call.
//!
//! *Invariant:* a call that changes something is carried to its end by a task of its own ([`Edge::carry_out`]): tonic drops a
//! handler half-way when the client's deadline passes, and kubelet's deadlines do pass. A call that reads waits for nothing.
#![allow(
    clippy::unnecessary_wraps,
    clippy::needless_pass_by_value,
    reason = "every verb has one shape: a request in, an answer or a report out"
)]

pub(crate) mod container;
pub(crate) mod convert;
mod figures;
mod image;
mod runtime;
mod sandbox;
pub(crate) mod shape;
pub(crate) mod status;
mod stream;

use std::future::Future;
use std::sync::Arc;

use orlop_model::report::{Kind, Report};
use orlop_proto::runtime::v1::{
    self, image_service_server::ImageService, runtime_service_server::RuntimeService,
};
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use crate::blocking::blocking;
use crate::observe::{Calls, Watch};
use crate::pods::Core;

/// What serves the calls.
#[derive(Clone)]
pub(crate) struct Edge {
    core: Arc<Core>,
    calls: Arc<Calls>,
}

type Answer<T> = Result<Response<T>, Status>;

impl Edge {
    pub(crate) fn new(core: Arc<Core>, calls: Arc<Calls>) -> Self {
        Edge { core, calls }
    }

    /// Answers a call that reads: from memory, at once.
    fn look<T>(&self, call: &'static str, work: impl FnOnce() -> Result<T, Report>) -> Answer<T> {
        let watch = self.calls.begin(call);
        conclude(watch, call, work())
    }

    /// Answers a call that asks the kernel: on a thread that may block, so that no other call waits behind it.
    async fn measure<R: Send + 'static, T: Send + 'static>(
        &self,
        call: &'static str,
        request: Request<R>,
        work: fn(&Core, R) -> Result<T, Report>,
    ) -> Answer<T> {
        let watch = self.calls.begin(call);
        let core = Arc::clone(&self.core);
        let done = blocking(call, move || work(&core, request.into_inner())).await;
        conclude(watch, call, done.and_then(|done| done))
    }

    /// Answers a call that changes something: its work goes on if the client leaves.
    async fn carry_out<T: Send + 'static>(
        &self,
        call: &'static str,
        work: impl Future<Output = Result<T, Report>> + Send + 'static,
    ) -> Answer<T> {
        let watch = self.calls.begin(call);
        let done = tokio::spawn(work).await;
        let failed = |error| Err(Report::new(Kind::Failed, call, "", error));
        conclude(watch, call, done.unwrap_or_else(failed))
    }
}

/// Says once, here, what went wrong: what is refused or not there is the client's affair.
fn conclude<T>(watch: Watch<'_>, call: &'static str, outcome: Result<T, Report>) -> Answer<T> {
    let answer = outcome.map(Response::new).map_err(|report| {
        if report.kind == Kind::Failed {
            tracing::error!(call, "{report}");
        } else {
            tracing::debug!(call, "{report}");
        }
        status::status(&report)
    });
    watch.end(answer.as_ref().err().map_or(tonic::Code::Ok, Status::code));
    answer
}

#[tonic::async_trait]
impl RuntimeService for Edge {
    type StreamPodSandboxesStream = BoxStream<v1::StreamPodSandboxesResponse>;
    type StreamContainersStream = BoxStream<v1::StreamContainersResponse>;
    type StreamContainerStatsStream = BoxStream<v1::StreamContainerStatsResponse>;
    type StreamPodSandboxStatsStream = BoxStream<v1::StreamPodSandboxStatsResponse>;
    type StreamPodSandboxMetricsStream = BoxStream<v1::StreamPodSandboxMetricsResponse>;
    type GetContainerEventsStream = BoxStream<v1::ContainerEventResponse>;

    async fn version(&self, request: Request<v1::VersionRequest>) -> Answer<v1::VersionResponse> {
        self.look("Version", || runtime::version::answer(request.into_inner()))
    }

    async fn status(&self, request: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        self.look("Status", || runtime::status::answer(&self.core, request.into_inner()))
    }

    async fn runtime_config(
        &self,
        _: Request<v1::RuntimeConfigRequest>,
    ) -> Answer<v1::RuntimeConfigResponse> {
        self.look("RuntimeConfig", || runtime::config::answer(&self.core))
    }

    async fn run_pod_sandbox(
        &self,
        request: Request<v1::RunPodSandboxRequest>,
    ) -> Answer<v1::RunPodSandboxResponse> {
        self.carry_out("RunPodSandbox", sandbox::run::answer(self.core.clone(), request.into_inner())).await
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<v1::StopPodSandboxRequest>,
    ) -> Answer<v1::StopPodSandboxResponse> {
        self.carry_out("StopPodSandbox", sandbox::stop::answer(self.core.clone(), request.into_inner())).await
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<v1::RemovePodSandboxRequest>,
    ) -> Answer<v1::RemovePodSandboxResponse> {
        self.carry_out("RemovePodSandbox", sandbox::remove::answer(self.core.clone(), request.into_inner()))
            .await
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<v1::PodSandboxStatusRequest>,
    ) -> Answer<v1::PodSandboxStatusResponse> {
        self.look("PodSandboxStatus", || sandbox::status::answer(&self.core, request.into_inner()))
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<v1::ListPodSandboxRequest>,
    ) -> Answer<v1::ListPodSandboxResponse> {
        self.look("ListPodSandbox", || sandbox::list::answer(&self.core, request.into_inner()))
    }

    async fn create_container(
        &self,
        request: Request<v1::CreateContainerRequest>,
    ) -> Answer<v1::CreateContainerResponse> {
        self.carry_out("CreateContainer", container::create::answer(self.core.clone(), request.into_inner()))
            .await
    }

    async fn start_container(
        &self,
        request: Request<v1::StartContainerRequest>,
    ) -> Answer<v1::StartContainerResponse> {
        self.carry_out("StartContainer", container::start::answer(self.core.clone(), request.into_inner()))
            .await
    }

    async fn stop_container(
        &self,
        request: Request<v1::StopContainerRequest>,
    ) -> Answer<v1::StopContainerResponse> {
        self.carry_out("StopContainer", container::stop::answer(self.core.clone(), request.into_inner()))
            .await
    }

    async fn remove_container(
        &self,
        request: Request<v1::RemoveContainerRequest>,
    ) -> Answer<v1::RemoveContainerResponse> {
        self.carry_out("RemoveContainer", container::remove::answer(self.core.clone(), request.into_inner()))
            .await
    }

    async fn list_containers(
        &self,
        request: Request<v1::ListContainersRequest>,
    ) -> Answer<v1::ListContainersResponse> {
        self.look("ListContainers", || container::list::answer(&self.core, request.into_inner()))
    }

    async fn container_status(
        &self,
        request: Request<v1::ContainerStatusRequest>,
    ) -> Answer<v1::ContainerStatusResponse> {
        self.look("ContainerStatus", || container::status::answer(&self.core, request.into_inner()))
    }

    async fn exec_sync(&self, request: Request<v1::ExecSyncRequest>) -> Answer<v1::ExecSyncResponse> {
        self.carry_out("ExecSync", container::exec_sync::answer(self.core.clone(), request.into_inner()))
            .await
    }

    async fn reopen_container_log(
        &self,
        request: Request<v1::ReopenContainerLogRequest>,
    ) -> Answer<v1::ReopenContainerLogResponse> {
        self.carry_out("ReopenContainerLog", container::log::answer(self.core.clone(), request.into_inner()))
            .await
    }

    async fn stream_pod_sandboxes(
        &self,
        request: Request<v1::StreamPodSandboxesRequest>,
    ) -> Answer<Self::StreamPodSandboxesStream> {
        self.look("StreamPodSandboxes", || sandbox::list::streamed(&self.core, request.into_inner()))
    }

    async fn stream_containers(
        &self,
        request: Request<v1::StreamContainersRequest>,
    ) -> Answer<Self::StreamContainersStream> {
        self.look("StreamContainers", || container::list::streamed(&self.core, request.into_inner()))
    }

    async fn update_container_resources(
        &self,
        request: Request<v1::UpdateContainerResourcesRequest>,
    ) -> Answer<v1::UpdateContainerResourcesResponse> {
        let work = container::update::answer(self.core.clone(), request.into_inner());
        self.carry_out("UpdateContainerResources", work).await
    }

    async fn exec(&self, request: Request<v1::ExecRequest>) -> Answer<v1::ExecResponse> {
        self.carry_out("Exec", container::exec::answer(self.core.clone(), request.into_inner())).await
    }

    async fn attach(&self, request: Request<v1::AttachRequest>) -> Answer<v1::AttachResponse> {
        self.carry_out("Attach", container::attach::answer(self.core.clone(), request.into_inner())).await
    }

    async fn port_forward(
        &self,
        request: Request<v1::PortForwardRequest>,
    ) -> Answer<v1::PortForwardResponse> {
        self.carry_out("PortForward", sandbox::port_forward::answer(self.core.clone(), request.into_inner()))
            .await
    }

    async fn container_stats(
        &self,
        request: Request<v1::ContainerStatsRequest>,
    ) -> Answer<v1::ContainerStatsResponse> {
        self.measure("ContainerStats", request, container::stats::answer).await
    }

    async fn list_container_stats(
        &self,
        request: Request<v1::ListContainerStatsRequest>,
    ) -> Answer<v1::ListContainerStatsResponse> {
        self.measure("ListContainerStats", request, container::stats::list).await
    }

    async fn stream_container_stats(
        &self,
        request: Request<v1::StreamContainerStatsRequest>,
    ) -> Answer<Self::StreamContainerStatsStream> {
        self.measure("StreamContainerStats", request, container::stats::streamed).await
    }

    async fn pod_sandbox_stats(
        &self,
        request: Request<v1::PodSandboxStatsRequest>,
    ) -> Answer<v1::PodSandboxStatsResponse> {
        self.measure("PodSandboxStats", request, sandbox::stats::answer).await
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<v1::ListPodSandboxStatsRequest>,
    ) -> Answer<v1::ListPodSandboxStatsResponse> {
        self.measure("ListPodSandboxStats", request, sandbox::stats::list).await
    }

    async fn stream_pod_sandbox_stats(
        &self,
        request: Request<v1::StreamPodSandboxStatsRequest>,
    ) -> Answer<Self::StreamPodSandboxStatsStream> {
        self.measure("StreamPodSandboxStats", request, sandbox::stats::streamed).await
    }

    async fn update_runtime_config(
        &self,
        request: Request<v1::UpdateRuntimeConfigRequest>,
    ) -> Answer<v1::UpdateRuntimeConfigResponse> {
        let work = runtime::update_config::answer(self.core.clone(), request.into_inner());
        self.carry_out("UpdateRuntimeConfig", work).await
    }

    async fn checkpoint_container(
        &self,
        request: Request<v1::CheckpointContainerRequest>,
    ) -> Answer<v1::CheckpointContainerResponse> {
        let work = container::checkpoint::answer(self.core.clone(), request.into_inner());
        self.carry_out("CheckpointContainer", work).await
    }

    async fn checkpoint_pod(
        &self,
        request: Request<v1::CheckpointPodRequest>,
    ) -> Answer<v1::CheckpointPodResponse> {
        let patience = sandbox::checkpoint::patience(&request);
        let work = sandbox::checkpoint::answer(self.core.clone(), request.into_inner(), patience);
        self.carry_out("CheckpointPod", work).await
    }

    async fn restore_pod(&self, request: Request<v1::RestorePodRequest>) -> Answer<v1::RestorePodResponse> {
        let work = Box::pin(sandbox::restore::answer(self.core.clone(), request.into_inner()));
        self.carry_out("RestorePod", work).await
    }

    async fn get_container_events(
        &self,
        _: Request<v1::GetEventsRequest>,
    ) -> Answer<Self::GetContainerEventsStream> {
        self.look("GetContainerEvents", || container::events::answer(&self.core))
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<v1::ListMetricDescriptorsRequest>,
    ) -> Answer<v1::ListMetricDescriptorsResponse> {
        self.look("ListMetricDescriptors", sandbox::metrics::descriptors)
    }

    async fn list_pod_sandbox_metrics(
        &self,
        request: Request<v1::ListPodSandboxMetricsRequest>,
    ) -> Answer<v1::ListPodSandboxMetricsResponse> {
        self.measure("ListPodSandboxMetrics", request, sandbox::metrics::list).await
    }

    async fn stream_pod_sandbox_metrics(
        &self,
        request: Request<v1::StreamPodSandboxMetricsRequest>,
    ) -> Answer<Self::StreamPodSandboxMetricsStream> {
        self.measure("StreamPodSandboxMetrics", request, sandbox::metrics::streamed).await
    }

    async fn update_pod_sandbox_resources(
        &self,
        request: Request<v1::UpdatePodSandboxResourcesRequest>,
    ) -> Answer<v1::UpdatePodSandboxResourcesResponse> {
        let work = sandbox::update::answer(self.core.clone(), request.into_inner());
        self.carry_out("UpdatePodSandboxResources", work).await
    }
}

#[tonic::async_trait]
impl ImageService for Edge {
    type StreamImagesStream = BoxStream<v1::StreamImagesResponse>;

    async fn list_images(&self, request: Request<v1::ListImagesRequest>) -> Answer<v1::ListImagesResponse> {
        self.look("ListImages", || image::list::answer(&self.core, request.into_inner()))
    }

    async fn stream_images(
        &self,
        request: Request<v1::StreamImagesRequest>,
    ) -> Answer<Self::StreamImagesStream> {
        self.look("StreamImages", || image::list::streamed(&self.core, request.into_inner()))
    }

    async fn image_status(
        &self,
        request: Request<v1::ImageStatusRequest>,
    ) -> Answer<v1::ImageStatusResponse> {
        self.look("ImageStatus", || image::status::answer(&self.core, request.into_inner()))
    }

    async fn pull_image(&self, request: Request<v1::PullImageRequest>) -> Answer<v1::PullImageResponse> {
        self.carry_out("PullImage", image::pull::answer(self.core.clone(), request.into_inner())).await
    }

    async fn remove_image(
        &self,
        request: Request<v1::RemoveImageRequest>,
    ) -> Answer<v1::RemoveImageResponse> {
        self.carry_out("RemoveImage", image::remove::answer(self.core.clone(), request.into_inner())).await
    }

    async fn image_fs_info(&self, _: Request<v1::ImageFsInfoRequest>) -> Answer<v1::ImageFsInfoResponse> {
        self.look("ImageFsInfo", || image::fs_info::answer(&self.core))
    }
}
