//! The daemon, as seen from here: CRI and orlop's own service over one connection to its socket.
//!
//! *Invariant:* a question has a deadline, so that a mute daemon hangs nobody; a wish has none, since its work may be long.
//! Whatever goes wrong names the socket.

use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use orlop_proto::orlop::v1::orlop_client::OrlopClient;
use orlop_proto::runtime::v1::image_service_client::ImageServiceClient;
use orlop_proto::runtime::v1::runtime_service_client::RuntimeServiceClient;
use orlop_proto::runtime::v1::{
    Container, ContainerStatusRequest, ContainerStatusResponse, Image, ListContainersRequest,
    ListImagesRequest, ListPodSandboxRequest, PodSandbox,
};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::failure::Failure;
use crate::render::text::escape;

/// How long an answer to a question may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest answer: an exec's two outputs of 16 MiB, lists of ten thousands of containers.
const LONGEST_ANSWER: usize = 64 << 20;

/// A connection to a daemon.
#[derive(Clone)]
pub(crate) struct Daemon {
    socket: PathBuf,
    channel: Channel,
}

/// A question: it has a deadline.
pub(crate) fn question<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    request
}

impl Daemon {
    /// Connects to the daemon that listens at `socket`; whenever the connection breaks, the next call makes a new one.
    ///
    /// # Errors
    /// `Unreachable`, with the kernel's reason.
    pub(crate) async fn connect(socket: &Path) -> Result<Self, Failure> {
        let path = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The address goes into :authority only; it must be one.
        let connected = Endpoint::from_static("http://localhost").connect_with_connector(connector).await;
        match connected {
            Ok(channel) => Ok(Daemon { socket: socket.to_owned(), channel }),
            Err(error) => {
                Err(Failure::Unreachable { socket: socket.to_owned(), source: kernels_reason(&error) })
            }
        }
    }

    /// Pods and containers.
    pub(crate) fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone()).max_decoding_message_size(LONGEST_ANSWER)
    }

    /// Images.
    pub(crate) fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone()).max_decoding_message_size(LONGEST_ANSWER)
    }

    /// What orlop offers beyond CRI.
    pub(crate) fn own(&self) -> OrlopClient<Channel> {
        OrlopClient::new(self.channel.clone()).max_decoding_message_size(LONGEST_ANSWER)
    }

    /// All pods.
    pub(crate) async fn list_pods(&self) -> Result<Vec<PodSandbox>, Failure> {
        let answer = self.runtime().list_pod_sandbox(question(ListPodSandboxRequest::default())).await;
        Ok(answer.map_err(|status| self.refused("list pods", &status))?.into_inner().items)
    }

    /// All containers.
    pub(crate) async fn list_containers(&self) -> Result<Vec<Container>, Failure> {
        let answer = self.runtime().list_containers(question(ListContainersRequest::default())).await;
        Ok(answer.map_err(|status| self.refused("list containers", &status))?.into_inner().containers)
    }

    /// All images.
    pub(crate) async fn list_images(&self) -> Result<Vec<Image>, Failure> {
        let answer = self.images().list_images(question(ListImagesRequest::default())).await;
        Ok(answer.map_err(|status| self.refused("list images", &status))?.into_inner().images)
    }

    /// What is known of the container `id`.
    pub(crate) async fn container_status(
        &self,
        id: &str,
        verbose: bool,
    ) -> Result<ContainerStatusResponse, Status> {
        let request = ContainerStatusRequest { container_id: id.to_owned(), verbose };
        self.runtime().container_status(question(request)).await.map(tonic::Response::into_inner)
    }

    /// A failure of a call that was to do `what`.
    pub(crate) fn refused(&self, what: &str, status: &Status) -> Failure {
        let (what, socket) = (escape(what), self.socket.clone());
        if is_timeout(status) {
            return Failure::Mute { what, socket, seconds: PATIENCE.as_secs() };
        }
        if broken(status) {
            return Failure::Lost { what, socket, cause: escape(&root_cause(status)) };
        }
        match (status.code(), status.message()) {
            // A server that does not know a call says no more than that.
            (Code::Unimplemented, "") => Failure::NotServed { what, socket },
            (code, "") => Failure::Refused { what, code, said: code.description().to_owned() },
            (code, said) => Failure::Refused { what, code, said: escape(said) },
        }
    }
}

/// Whether a call failed since the connection broke, rather than by the daemon's word.
pub(crate) fn broken(status: &Status) -> bool {
    // A status that came over the wire has no source.
    status.source().is_some() && !is_timeout(status)
}

/// Whether the daemon did not answer a question in time.
pub(crate) fn is_timeout(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::TimeoutExpired>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// The innermost reason.
fn root_cause(status: &Status) -> String {
    let mut cause: &dyn std::error::Error = status;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// Why the socket could not be connected to, as the kernel said it.
fn kernels_reason(error: &tonic::transport::Error) -> io::Error {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            let copy = error.raw_os_error().map(io::Error::from_raw_os_error);
            return copy.unwrap_or_else(|| io::Error::new(error.kind(), error.to_string()));
        }
        source = error.source();
    }
    io::Error::other(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_proto::runtime::v1::VersionRequest;

    #[tokio::test]
    async fn a_mute_daemon_is_told_from_one_that_hangs_up() {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("sock");
        // It listens and never accepts.
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let daemon = Daemon::connect(&socket).await.unwrap();
        let mut request = question(VersionRequest::default());
        request.set_timeout(Duration::from_millis(20));
        let status = daemon.runtime().version(request).await.unwrap_err();
        assert!(is_timeout(&status) && !broken(&status), "{status:?}");
        assert!(matches!(daemon.refused("version", &status), Failure::Mute { .. }));

        let daemon = Daemon::connect(&socket).await.unwrap();
        drop(listener);
        let status = daemon.runtime().version(question(VersionRequest::default())).await.unwrap_err();
        assert!(broken(&status) && !is_timeout(&status), "{status:?}");
        assert!(matches!(daemon.refused("version", &status), Failure::Lost { .. }));
    }
}
