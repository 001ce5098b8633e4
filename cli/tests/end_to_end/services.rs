//! The daemon's calls: those that the command line makes, by hand; the others are not served.

use std::collections::BTreeMap;

use orlop_proto::orlop::v1::orlop_server::Orlop;
use orlop_proto::orlop::v1::{
    AuditRequest, AuditResponse, Event, EventsRequest, ExplainRequest, ExplainResponse, PullProgress,
    PullRequest,
};
use orlop_proto::runtime::v1::image_service_server::ImageService;
use orlop_proto::runtime::v1::runtime_service_server::RuntimeService;
use orlop_proto::runtime::v1::*;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use crate::daemon::{Served, status};

type Answer<T> = Result<Response<T>, Status>;

impl Served {
    /// Remembers that `what` was asked of `id`.
    fn do_to(&self, what: &str, id: &str) -> Result<(), Status> {
        let mut world = self.world();
        world.asked.push(format!("{what} {}", id.trim_end_matches('0')));
        if world.stuck.iter().any(|stuck| stuck == id) {
            return Err(Status::internal("it is\nstuck\u{1b}[2J"));
        }
        Ok(())
    }
}

/// A service with calls written by hand, and others that are not served.
macro_rules! service {
    ($service:ident; { $($written:tt)* } $($name:ident: $request:ty => $answer:ty,)*) => {
        #[tonic::async_trait]
        impl $service for Served {
            $($written)*
            $(async fn $name(&self, _: Request<$request>) -> Answer<$answer> {
                Err(Status::unimplemented(stringify!($name)))
            })*
        }
    };
}

service! { RuntimeService; {
    type StreamPodSandboxesStream = BoxStream<StreamPodSandboxesResponse>;
    type StreamContainersStream = BoxStream<StreamContainersResponse>;
    type StreamContainerStatsStream = BoxStream<StreamContainerStatsResponse>;
    type StreamPodSandboxStatsStream = BoxStream<StreamPodSandboxStatsResponse>;
    type StreamPodSandboxMetricsStream = BoxStream<StreamPodSandboxMetricsResponse>;
    type GetContainerEventsStream = BoxStream<ContainerEventResponse>;

    async fn version(&self, _: Request<VersionRequest>) -> Answer<VersionResponse> {
        Ok(Response::new(VersionResponse {
            version: "0.1.0".into(),
            runtime_name: "orlop\u{1b}".into(),
            runtime_version: "9.8.7".into(),
            runtime_api_version: "v1".into(),
        }))
    }

    async fn list_pod_sandbox(&self, _: Request<ListPodSandboxRequest>) -> Answer<ListPodSandboxResponse> {
        Ok(Response::new(ListPodSandboxResponse { items: self.world().pods.clone() }))
    }

    async fn list_containers(&self, _: Request<ListContainersRequest>) -> Answer<ListContainersResponse> {
        Ok(Response::new(ListContainersResponse { containers: self.world().containers.clone() }))
    }

    async fn container_status(&self, request: Request<ContainerStatusRequest>) -> Answer<ContainerStatusResponse> {
        let (mut world, request) = (self.world(), request.into_inner());
        if let Some(refused) = world.refused_statuses.pop() {
            return Err(refused);
        }
        let container = world.containers.iter().find(|container| container.id == request.container_id);
        let container = container.ok_or_else(|| Status::not_found("it is gone"))?;
        let info = request.verbose.then(|| ("info".to_owned(), r#"{"pid": 7}"#.to_owned()));
        let status = Some(status(container, &world.log_path));
        Ok(Response::new(ContainerStatusResponse { status, info: info.into_iter().collect() }))
    }

    async fn pod_sandbox_status(&self, request: Request<PodSandboxStatusRequest>) -> Answer<PodSandboxStatusResponse> {
        let (world, id) = (self.world(), request.into_inner().pod_sandbox_id);
        let pod = world.pods.iter().find(|pod| pod.id == id).cloned();
        let pod = pod.ok_or_else(|| Status::not_found("it is gone"))?;
        let network = PodSandboxNetworkStatus { ip: "10.88.0.2".into(), ..PodSandboxNetworkStatus::default() };
        let status = PodSandboxStatus {
            id,
            state: pod.state,
            metadata: pod.metadata,
            network: Some(network),
            ..PodSandboxStatus::default()
        };
        Ok(Response::new(PodSandboxStatusResponse { status: Some(status), ..PodSandboxStatusResponse::default() }))
    }

    async fn exec_sync(&self, request: Request<ExecSyncRequest>) -> Answer<ExecSyncResponse> {
        let (mut world, request) = (self.world(), request.into_inner());
        let id = request.container_id.trim_end_matches('0');
        world.asked.push(format!("exec {id} {:?} for {} s", request.cmd, request.timeout));
        world.exec.clone().map(Response::new)
    }

    async fn stop_container(&self, request: Request<StopContainerRequest>) -> Answer<StopContainerResponse> {
        let request = request.into_inner();
        self.do_to(&format!("stop within {} s:", request.timeout), &request.container_id)?;
        Ok(Response::new(StopContainerResponse {}))
    }

    async fn remove_container(&self, request: Request<RemoveContainerRequest>) -> Answer<RemoveContainerResponse> {
        self.do_to("remove", &request.into_inner().container_id)?;
        Ok(Response::new(RemoveContainerResponse {}))
    }

    async fn stop_pod_sandbox(&self, request: Request<StopPodSandboxRequest>) -> Answer<StopPodSandboxResponse> {
        self.do_to("stop pod", &request.into_inner().pod_sandbox_id)?;
        Ok(Response::new(StopPodSandboxResponse {}))
    }

    async fn remove_pod_sandbox(&self, request: Request<RemovePodSandboxRequest>) -> Answer<RemovePodSandboxResponse> {
        self.do_to("remove pod", &request.into_inner().pod_sandbox_id)?;
        Ok(Response::new(RemovePodSandboxResponse {}))
    }
}
    status: StatusRequest => StatusResponse,
    runtime_config: RuntimeConfigRequest => RuntimeConfigResponse,
    run_pod_sandbox: RunPodSandboxRequest => RunPodSandboxResponse,
    create_container: CreateContainerRequest => CreateContainerResponse,
    start_container: StartContainerRequest => StartContainerResponse,
    reopen_container_log: ReopenContainerLogRequest => ReopenContainerLogResponse,
    stream_pod_sandboxes: StreamPodSandboxesRequest => Self::StreamPodSandboxesStream,
    stream_containers: StreamContainersRequest => Self::StreamContainersStream,
    update_container_resources: UpdateContainerResourcesRequest => UpdateContainerResourcesResponse,
    exec: ExecRequest => ExecResponse,
    attach: AttachRequest => AttachResponse,
    port_forward: PortForwardRequest => PortForwardResponse,
    container_stats: ContainerStatsRequest => ContainerStatsResponse,
    list_container_stats: ListContainerStatsRequest => ListContainerStatsResponse,
    stream_container_stats: StreamContainerStatsRequest => Self::StreamContainerStatsStream,
    pod_sandbox_stats: PodSandboxStatsRequest => PodSandboxStatsResponse,
    list_pod_sandbox_stats: ListPodSandboxStatsRequest => ListPodSandboxStatsResponse,
    stream_pod_sandbox_stats: StreamPodSandboxStatsRequest => Self::StreamPodSandboxStatsStream,
    update_runtime_config: UpdateRuntimeConfigRequest => UpdateRuntimeConfigResponse,
    checkpoint_container: CheckpointContainerRequest => CheckpointContainerResponse,
    checkpoint_pod: CheckpointPodRequest => CheckpointPodResponse,
    restore_pod: RestorePodRequest => RestorePodResponse,
    get_container_events: GetEventsRequest => Self::GetContainerEventsStream,
    list_metric_descriptors: ListMetricDescriptorsRequest => ListMetricDescriptorsResponse,
    list_pod_sandbox_metrics: ListPodSandboxMetricsRequest => ListPodSandboxMetricsResponse,
    stream_pod_sandbox_metrics: StreamPodSandboxMetricsRequest => Self::StreamPodSandboxMetricsStream,
    update_pod_sandbox_resources: UpdatePodSandboxResourcesRequest => UpdatePodSandboxResourcesResponse,
}

service! { ImageService; {
    type StreamImagesStream = BoxStream<StreamImagesResponse>;

    async fn list_images(&self, _: Request<ListImagesRequest>) -> Answer<ListImagesResponse> {
        Ok(Response::new(ListImagesResponse { images: self.world().images.clone() }))
    }

    async fn image_status(&self, request: Request<ImageStatusRequest>) -> Answer<ImageStatusResponse> {
        let id = request.into_inner().image.unwrap_or_default().image;
        let image = self.world().images.iter().find(|image| image.id == id).cloned();
        Ok(Response::new(ImageStatusResponse { image, info: BTreeMap::new() }))
    }

    async fn remove_image(&self, request: Request<RemoveImageRequest>) -> Answer<RemoveImageResponse> {
        self.do_to("remove image", &request.into_inner().image.unwrap_or_default().image)?;
        Ok(Response::new(RemoveImageResponse {}))
    }
}
    stream_images: StreamImagesRequest => Self::StreamImagesStream,
    pull_image: PullImageRequest => PullImageResponse,
    image_fs_info: ImageFsInfoRequest => ImageFsInfoResponse,
}

#[tonic::async_trait]
impl Orlop for Served {
    type PullStream = tokio_stream::Iter<std::vec::IntoIter<Result<PullProgress, Status>>>;

    async fn pull(&self, request: Request<PullRequest>) -> Answer<Self::PullStream> {
        let (mut world, request) = (self.world(), request.into_inner());
        world.asked.push(format!("pull {} as {:?} {:?}", request.image, request.username, request.password));
        let breaks = world.pull_breaks.take().map(Err);
        let news: Vec<_> = std::mem::take(&mut world.pull).into_iter().map(Ok).chain(breaks).collect();
        Ok(Response::new(tokio_stream::iter(news)))
    }

    type EventsStream = tokio_stream::Iter<std::vec::IntoIter<Result<Event, Status>>>;

    async fn events(&self, request: Request<EventsRequest>) -> Answer<Self::EventsStream> {
        let (mut world, request) = (self.world(), request.into_inner());
        let on = if request.follow { " on and on" } else { "" };
        world.asked.push(format!("events since {:?}{on}", request.since));
        Ok(Response::new(tokio_stream::iter(std::mem::take(&mut world.events))))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Answer<ExplainResponse> {
        let request = request.into_inner();
        let plan = if request.plan { " with its plan" } else { "" };
        self.do_to(&format!("explain{plan}"), &request.id)?;
        Ok(Response::new(self.world().explain.clone()))
    }

    async fn audit(&self, request: Request<AuditRequest>) -> Answer<AuditResponse> {
        self.do_to("audit", if request.into_inner().fix { "and fix" } else { "" })?;
        Ok(Response::new(self.world().audit.clone()))
    }
}
