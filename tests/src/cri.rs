//! A CRI client: what kubelet is to a runtime, in small.
//!
//! *Invariant:* speaks over the socket as any client does; nothing of the daemon is linked.

use orlop_proto::runtime::v1::image_service_client::ImageServiceClient;
use orlop_proto::runtime::v1::runtime_service_client::RuntimeServiceClient;
use orlop_proto::runtime::v1::{
    ContainerConfig, ContainerMetadata, CreateContainerRequest, ImageSpec, LinuxPodSandboxConfig,
    LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption, PodSandboxConfig, PodSandboxMetadata,
    StartContainerRequest,
};
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Error};

/// As large as kubelet lets a message be.
const LARGEST: usize = 16 << 20;

/// Both services behind one socket.
#[derive(Clone)]
pub struct Client {
    /// Pods and containers.
    pub runtime: RuntimeServiceClient<Channel>,
    /// Images.
    pub images: ImageServiceClient<Channel>,
}

impl Client {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// If nobody listens there.
    pub async fn connect(path: &str) -> Result<Self, Error> {
        let channel = Endpoint::from_shared(format!("unix://{path}"))?.connect().await?;
        Ok(Client {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(LARGEST),
            images: ImageServiceClient::new(channel).max_decoding_message_size(LARGEST),
        })
    }

    /// Makes a container of `config` in a pod and starts it; gives back its id.
    ///
    /// # Errors
    /// As the daemon answers.
    pub async fn run(
        &mut self,
        pod_id: &str,
        pod: &PodSandboxConfig,
        config: ContainerConfig,
    ) -> Result<String, Status> {
        let request = CreateContainerRequest {
            pod_sandbox_id: pod_id.into(),
            config: Some(config),
            sandbox_config: Some(pod.clone()),
        };
        let container_id = self.runtime.create_container(request).await?.into_inner().container_id;
        self.runtime.start_container(StartContainerRequest { container_id: container_id.clone() }).await?;
        Ok(container_id)
    }
}

/// A pod as kubelet would ask for it: a network of its own, each container its own PID namespace.
#[must_use]
pub fn pod(name: &str, log_directory: &str) -> PodSandboxConfig {
    let namespaces = NamespaceOption { pid: NamespaceMode::Container.into(), ..NamespaceOption::default() };
    let security = LinuxSandboxSecurityContext { namespace_options: Some(namespaces), ..Default::default() };
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: name.into(),
            uid: format!("{name}-uid"),
            namespace: "default".into(),
            attempt: 0,
        }),
        hostname: name.into(),
        log_directory: log_directory.into(),
        linux: Some(LinuxPodSandboxConfig { security_context: Some(security), ..Default::default() }),
        ..Default::default()
    }
}

/// A container that runs `command`, with its log beside the pod's others.
#[must_use]
pub fn container(name: &str, image: &str, command: &[&str]) -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: name.into(), attempt: 0 }),
        image: Some(ImageSpec { image: image.into(), ..Default::default() }),
        command: command.iter().map(|&word| word.to_owned()).collect(),
        log_path: format!("{name}/0.log"),
        ..Default::default()
    }
}
