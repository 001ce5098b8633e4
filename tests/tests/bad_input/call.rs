//! A call of CRI as data: so that a table can hold one.

use orlop_proto::runtime::v1::*;
use orlop_tests::cri::Client;
use tonic::Status;

/// A call. An id stands for a request of nothing else.
pub(crate) enum Call {
    RunPod(Box<RunPodSandboxRequest>),
    StopPod(String),
    RemovePod(String),
    PodStatus(String),
    Pods(PodSandboxFilter),
    Create(Box<CreateContainerRequest>),
    Start(String),
    Stop(String),
    Remove(String),
    Status(String),
    Containers(ContainerFilter),
    Exec(ExecSyncRequest),
    Reopen(String),
    Pull(Box<PullImageRequest>),
    Images(String),
    ImageStatus(String),
    RemoveImage(String),
}

fn image(image: String) -> ImageSpec {
    ImageSpec { image, ..ImageSpec::default() }
}

impl Call {
    /// Makes it.
    ///
    /// # Errors
    /// As it is answered.
    pub(crate) async fn send(self, client: &mut Client) -> Result<(), Status> {
        match self {
            Call::Pull(_) | Call::Images(_) | Call::ImageStatus(_) | Call::RemoveImage(_) => {
                return self.send_of_images(client).await;
            }
            Call::RunPod(request) => client.runtime.run_pod_sandbox(*request).await.map(drop)?,
            Call::StopPod(id) => client.stop_pod(&id).await?,
            Call::RemovePod(id) => client.remove_pod(&id).await?,
            Call::PodStatus(id) => client.pod_status(&id).await.map(drop)?,
            Call::Pods(filter) => {
                let request = ListPodSandboxRequest { filter: Some(filter) };
                client.runtime.list_pod_sandbox(request).await.map(drop)?;
            }
            Call::Create(request) => client.runtime.create_container(*request).await.map(drop)?,
            Call::Start(id) => client.start(&id).await?,
            Call::Stop(id) => client.stop(&id, 0).await?,
            Call::Remove(id) => client.remove(&id).await?,
            Call::Status(id) => client.status(&id).await.map(drop)?,
            Call::Containers(filter) => {
                let request = ListContainersRequest { filter: Some(filter) };
                client.runtime.list_containers(request).await.map(drop)?;
            }
            Call::Exec(request) => client.runtime.exec_sync(request).await.map(drop)?,
            Call::Reopen(id) => client.reopen_log(&id).await?,
        }
        Ok(())
    }

    async fn send_of_images(self, client: &mut Client) -> Result<(), Status> {
        match self {
            Call::Pull(request) => client.images.pull_image(*request).await.map(drop),
            Call::Images(name) => {
                let filter = Some(ImageFilter { image: Some(image(name)) });
                client.images.list_images(ListImagesRequest { filter }).await.map(drop)
            }
            Call::ImageStatus(name) => {
                let request = ImageStatusRequest { image: Some(image(name)), verbose: false };
                client.images.image_status(request).await.map(drop)
            }
            Call::RemoveImage(name) => {
                client.images.remove_image(RemoveImageRequest { image: Some(image(name)) }).await.map(drop)
            }
            _ => unreachable!("a call of the other service"),
        }
    }
}
