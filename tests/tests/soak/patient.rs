//! A client that asks again when the daemon was killed under it.
//!
//! *Invariant:* only the end of a connection is a reason to ask again; what the daemon answered is the answer.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use orlop_proto::runtime::v1::{ContainerConfig, ContainerState, ContainerStatus, PodSandboxConfig};
use orlop_tests::cri::Client;
use orlop_tests::daemon::{Daemon, PATIENCE};
use tonic::{Code, Status};

/// It.
#[derive(Clone)]
pub(crate) struct Patient {
    socket: PathBuf,
    client: Option<Client>,
}

impl Patient {
    pub(crate) fn new(daemon: &Daemon) -> Self {
        Patient { socket: daemon.socket(), client: None }
    }

    async fn connect(&mut self) -> Client {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(client) = &self.client {
                return client.clone();
            }
            match Client::connect(self.socket.to_str().expect("a plain path")).await {
                Ok(client) => self.client = Some(client),
                Err(error) => assert!(Instant::now() < deadline, "orlopd does not come back: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Asks until there is an answer.
    pub(crate) async fn ask<T>(
        &mut self,
        mut call: impl AsyncFnMut(&mut Client) -> Result<T, Status>,
    ) -> Result<T, Status> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut client = self.connect().await;
            match call(&mut client).await {
                Err(status) if is_cut(&status) && Instant::now() < deadline => self.client = None,
                answer => return answer,
            }
        }
    }

    /// Creates a container and starts it, whatever is killed meanwhile; its id.
    pub(crate) async fn run(
        &mut self,
        pod_id: &str,
        pod: &PodSandboxConfig,
        config: &ContainerConfig,
    ) -> String {
        let id = self.ask(async |client| client.create(pod_id, pod, config).await).await.expect("created");
        if let Err(status) = self.ask(async |client| client.start(&id).await).await {
            // The answer to a start that came about may be lost, and the container have ended before it was asked for again.
            assert_eq!(self.status(&id).await.state(), ContainerState::ContainerExited, "start: {status}");
        }
        id
    }

    pub(crate) async fn status(&mut self, id: &str) -> ContainerStatus {
        self.ask(async |client| client.status(id).await).await.expect("its status")
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self, id: &str) -> ContainerStatus {
        let deadline = Instant::now() + 6 * PATIENCE;
        loop {
            let status = self.status(id).await;
            if status.state() == ContainerState::ContainerExited {
                return status;
            }
            assert!(Instant::now() < deadline, "{id} does not end");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Whether the connection ended under the call.
fn is_cut(status: &Status) -> bool {
    let words = status.message();
    matches!(status.code(), Code::Unavailable | Code::Cancelled)
        || (matches!(status.code(), Code::Unknown | Code::Internal)
            && ["transport error", "h2 protocol error", "broken pipe", "connection"]
                .iter()
                .any(|word| words.contains(word)))
}
