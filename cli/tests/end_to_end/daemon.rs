//! A daemon within the test: on a socket of its own, it answers what it was given and remembers what it was asked.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use orlop_proto::orlop::v1::orlop_server::OrlopServer;
use orlop_proto::orlop::v1::{AuditResponse, Event, ExplainResponse, PullProgress};
use orlop_proto::runtime::v1::image_service_server::ImageServiceServer;
use orlop_proto::runtime::v1::runtime_service_server::RuntimeServiceServer;
use orlop_proto::runtime::v1::{
    Container, ContainerMetadata, ContainerState, ContainerStatus, ExecSyncResponse, Image, ImageSpec,
    PodSandbox, PodSandboxMetadata, PodSandboxState,
};
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::Status;
use tonic::transport::Server;

/// What the daemon has, answers, and was asked.
pub(crate) struct World {
    pub(crate) pods: Vec<PodSandbox>,
    pub(crate) containers: Vec<Container>,
    pub(crate) images: Vec<Image>,
    pub(crate) log_path: String,
    pub(crate) exec: Result<ExecSyncResponse, Status>,
    /// What a status is refused with; one goes at each question.
    pub(crate) refused_statuses: Vec<Status>,
    /// What a pull tells.
    pub(crate) pull: Vec<PullProgress>,
    /// How its stream ends.
    pub(crate) pull_breaks: Option<Status>,
    /// What a stream of events tells, and how it ends.
    pub(crate) events: Vec<Result<Event, Status>>,
    pub(crate) explain: ExplainResponse,
    pub(crate) audit: AuditResponse,
    /// Ids that nothing can be done to.
    pub(crate) stuck: Vec<String>,
    /// What was asked that changes something, and what a pull or an exec was given.
    pub(crate) asked: Vec<String>,
}

/// A daemon at work; it ends with this.
pub(crate) struct Daemon {
    place: tempfile::TempDir,
    world: Arc<Mutex<World>>,
    thread: Option<std::thread::JoinHandle<()>>,
    end: Option<oneshot::Sender<()>>,
}

impl Daemon {
    /// One that serves all.
    pub(crate) fn new() -> Self {
        Daemon::serving(true)
    }

    /// One that serves CRI alone, as other runtimes do.
    pub(crate) fn of_others() -> Self {
        Daemon::serving(false)
    }

    fn serving(own: bool) -> Self {
        let place = tempfile::tempdir().unwrap();
        let world = Arc::new(Mutex::new(world()));
        let (end, ended) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (socket, served) = (place.path().join("sock"), Served(world.clone()));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = UnixListener::bind(socket).unwrap();
                ready.send(()).unwrap();
                let mut router = Server::builder()
                    .add_service(RuntimeServiceServer::new(served.clone()))
                    .add_service(ImageServiceServer::new(served.clone()));
                if own {
                    router = router.add_service(OrlopServer::new(served));
                }
                let serve = router.serve_with_incoming(UnixListenerStream::new(listener));
                tokio::select! {
                    served = serve => served.unwrap(),
                    _ = ended => {}
                }
            });
        });
        is_ready.recv().unwrap();
        Daemon { place, world, thread: Some(thread), end: Some(end) }
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.place.path().join("sock")
    }

    /// A directory that goes with it.
    pub(crate) fn place(&self) -> &Path {
        self.place.path()
    }

    /// What it has.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.world().asked.clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.end.take());
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// The world, as the services have it.
#[derive(Clone)]
pub(crate) struct Served(Arc<Mutex<World>>);

impl Served {
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }
}

/// An id of 64 digits that begins with `digits`.
pub(crate) fn id(digits: &str) -> String {
    format!("{digits:0<64}")
}

/// A pod.
pub(crate) fn pod(digits: &str, namespace: &str, name: &str, state: PodSandboxState) -> PodSandbox {
    PodSandbox {
        id: id(digits),
        metadata: Some(PodSandboxMetadata {
            name: name.into(),
            namespace: namespace.into(),
            uid: format!("uid-{name}"),
            attempt: 0,
        }),
        state: state.into(),
        created_at: 1_767_366_245_000_000_000,
        ..PodSandbox::default()
    }
}

/// A container.
pub(crate) fn container(digits: &str, pod: &str, name: &str, state: ContainerState) -> Container {
    Container {
        id: id(digits),
        pod_sandbox_id: id(pod),
        metadata: Some(ContainerMetadata { name: name.into(), attempt: 2 }),
        image: Some(ImageSpec { image: "localhost:5000/busybox:1".into(), ..ImageSpec::default() }),
        state: state.into(),
        created_at: 1_767_366_245_000_000_000,
        image_id: format!("sha256:{}", id("e1")),
        ..Container::default()
    }
}

/// What `ContainerStatus` says of a container.
pub(crate) fn status(container: &Container, log_path: &str) -> ContainerStatus {
    ContainerStatus {
        id: container.id.clone(),
        metadata: container.metadata.clone(),
        state: container.state,
        created_at: container.created_at,
        image: container.image.clone(),
        image_id: container.image_id.clone(),
        log_path: log_path.into(),
        ..ContainerStatus::default()
    }
}

fn world() -> World {
    let (running, exited) = (ContainerState::ContainerRunning, ContainerState::ContainerExited);
    let (ready, not_ready) = (PodSandboxState::SandboxReady, PodSandboxState::SandboxNotready);
    World {
        pods: vec![pod("b1", "test", "shop", ready), pod("b2", "default", "shop", not_ready)],
        containers: vec![
            container("a1", "b1", "web", running),
            container("a2", "b1", "job", exited),
            container("a3", "b2", "db", running),
            container("a4", "b2", "web", exited),
        ],
        images: vec![
            Image {
                id: format!("sha256:{}", id("e1")),
                repo_tags: vec!["localhost:5000/busybox:1".into()],
                size: 4 << 20,
                ..Image::default()
            },
            Image {
                id: format!("sha256:{}", id("e2")),
                repo_tags: vec![
                    "docker.io/library/alpine:latest".into(),
                    "docker.io/library/alpine:3".into(),
                ],
                size: 155_648,
                pinned: true,
                ..Image::default()
            },
        ],
        log_path: String::new(),
        exec: Ok(ExecSyncResponse::default()),
        refused_statuses: Vec::new(),
        pull: Vec::new(),
        pull_breaks: None,
        events: Vec::new(),
        explain: ExplainResponse::default(),
        audit: AuditResponse::default(),
        stuck: Vec::new(),
        asked: Vec::new(),
    }
}
