//! The calls, whole and as streams.
//!
//! *Invariant:* whoever asks here asks both ways, and both have to say the same.

use orlop_proto::runtime::v1::{
    Container, ContainerFilter, Image, ImageFilter, ListContainersRequest, ListImagesRequest,
    ListPodSandboxRequest, PodSandbox, PodSandboxFilter, StreamContainersRequest, StreamImagesRequest,
    StreamPodSandboxesRequest,
};
use orlop_tests::cri::Client;
use tonic::{Status, Streaming};

/// All messages of a stream, to its end.
pub(crate) async fn all<M>(mut stream: Streaming<M>) -> Result<Vec<M>, Status> {
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await? {
        messages.push(message);
    }
    Ok(messages)
}

/// That both ways say the same: rows, or a refusal in the same words.
fn agree<R: PartialEq + std::fmt::Debug>(
    whole: Result<Vec<R>, Status>,
    streamed: Result<Vec<Vec<R>>, Status>,
) -> Result<Vec<R>, Status> {
    if let Ok(messages) = &streamed {
        assert!(messages.iter().all(|message| !message.is_empty()), "a message without a row");
    }
    match (whole, streamed.map(|messages| messages.into_iter().flatten().collect::<Vec<R>>())) {
        (Ok(whole), Ok(streamed)) => {
            assert_eq!(whole, streamed);
            Ok(whole)
        }
        (Err(whole), Err(streamed)) => {
            assert_eq!((whole.code(), whole.message()), (streamed.code(), streamed.message()));
            Err(whole)
        }
        (whole, streamed) => panic!("{whole:?}\n{streamed:?}"),
    }
}

/// `ListContainers` and `StreamContainers`.
pub(crate) async fn containers(
    client: &mut Client,
    filter: ContainerFilter,
) -> Result<Vec<Container>, Status> {
    let request = ListContainersRequest { filter: Some(filter.clone()) };
    let whole = client.runtime.list_containers(request).await.map(|answer| answer.into_inner().containers);
    let request = StreamContainersRequest { filter: Some(filter) };
    let streamed = match client.runtime.stream_containers(request).await {
        Ok(stream) => all(stream.into_inner()).await,
        Err(status) => Err(status),
    };
    agree(whole, streamed.map(|messages| messages.into_iter().map(|message| message.containers).collect()))
}

/// `ListPodSandbox` and `StreamPodSandboxes`.
pub(crate) async fn pods(client: &mut Client, filter: PodSandboxFilter) -> Result<Vec<PodSandbox>, Status> {
    let request = ListPodSandboxRequest { filter: Some(filter.clone()) };
    let whole = client.runtime.list_pod_sandbox(request).await.map(|answer| answer.into_inner().items);
    let request = StreamPodSandboxesRequest { filter: Some(filter) };
    let streamed = match client.runtime.stream_pod_sandboxes(request).await {
        Ok(stream) => all(stream.into_inner()).await,
        Err(status) => Err(status),
    };
    agree(whole, streamed.map(|messages| messages.into_iter().map(|message| message.pod_sandboxes).collect()))
}

/// `ListImages` and `StreamImages`.
pub(crate) async fn images(client: &mut Client, filter: Option<ImageFilter>) -> Result<Vec<Image>, Status> {
    let request = ListImagesRequest { filter: filter.clone() };
    let whole = client.images.list_images(request).await.map(|answer| answer.into_inner().images);
    let streamed = match client.images.stream_images(StreamImagesRequest { filter }).await {
        Ok(stream) => all(stream.into_inner()).await,
        Err(status) => Err(status),
    };
    agree(whole, streamed.map(|messages| messages.into_iter().map(|message| message.images).collect()))
}
