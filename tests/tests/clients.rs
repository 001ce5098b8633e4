//! Clients that others wrote: Rust's `k8s-cri` crate and Python's grpcio talk to orlopd, each on stubs from its own generator.
//!
//! *Invariant:* what they are told goes over the socket in their encoding; nothing of `proto/`'s generated code takes part.

use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{
    ContainerConfig, ContainerMetadata, ContainerState, ContainerStatusRequest, CreateContainerRequest,
    ExecSyncRequest, ImageFsInfoRequest, ImageSpec, ImageStatusRequest, KeyValue, LinuxPodSandboxConfig,
    LinuxSandboxSecurityContext, ListContainersRequest, ListImagesRequest, ListPodSandboxRequest,
    NamespaceMode, NamespaceOption, PodSandboxConfig, PodSandboxMetadata, PodSandboxState,
    PodSandboxStatsRequest, PodSandboxStatusRequest, PullImageRequest, RemoveContainerRequest,
    RemoveImageRequest, RemovePodSandboxRequest, RunPodSandboxRequest, StartContainerRequest, StatusRequest,
    StopContainerRequest, StopPodSandboxRequest, VersionRequest,
};
use orlop_tests::daemon::{Daemon, eventually, stock};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

/// The client's two halves.
struct Theirs {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

async fn theirs(daemon: &Daemon) -> Theirs {
    let endpoint = Endpoint::from_shared(format!("unix://{}", daemon.socket().display())).expect("a target");
    let channel = endpoint.connect().await.expect("orlopd listens");
    Theirs { runtime: RuntimeServiceClient::new(channel.clone()), images: ImageServiceClient::new(channel) }
}

fn spec(image: &str) -> ImageSpec {
    ImageSpec { image: image.into(), ..ImageSpec::default() }
}

fn pod(logs: &str) -> PodSandboxConfig {
    let options = NamespaceOption { pid: NamespaceMode::Container.into(), ..NamespaceOption::default() };
    let context = LinuxSandboxSecurityContext {
        namespace_options: Some(options),
        ..LinuxSandboxSecurityContext::default()
    };
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: "crate".into(),
            uid: "crate-uid".into(),
            namespace: "default".into(),
            attempt: 2,
        }),
        log_directory: logs.into(),
        labels: [("of".to_owned(), "k8s-cri".to_owned())].into(),
        linux: Some(LinuxPodSandboxConfig {
            security_context: Some(context),
            ..LinuxPodSandboxConfig::default()
        }),
        ..PodSandboxConfig::default()
    }
}

fn container(image: &str) -> ContainerConfig {
    let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: "one".into(), attempt: 1 }),
        image: Some(spec(image)),
        command: ["sh", "-c", script].map(str::to_owned).into(),
        // A text in this crate, bytes on the wire: the interface changed the type and kept the encoding.
        envs: vec![KeyValue { key: "WORD".into(), value: "wörd".into() }],
        log_path: "one.log".into(),
        ..ContainerConfig::default()
    }
}

#[tokio::test]
async fn a_client_of_the_k8s_cri_crate_runs_a_pod_through_its_life() {
    let daemon = Daemon::start("crate").await;
    let mut client = theirs(&daemon).await;
    let version = client.runtime.version(VersionRequest::default()).await.expect("Version").into_inner();
    assert_eq!((version.runtime_name.as_str(), version.runtime_api_version.as_str()), ("orlop", "v1"));
    let status = client.runtime.status(StatusRequest::default()).await.expect("Status").into_inner();
    let conditions = status.status.expect("a status").conditions;
    assert!(conditions.len() == 2 && conditions.iter().all(|one| one.status), "{conditions:?}");
    let image = stock::busybox();
    let request = PullImageRequest { image: Some(spec(&image)), ..PullImageRequest::default() };
    client.images.pull_image(request).await.expect("PullImage");

    let config = pod(&daemon.logs("crate"));
    let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: String::new() };
    let pod_id =
        client.runtime.run_pod_sandbox(request).await.expect("RunPodSandbox").into_inner().pod_sandbox_id;
    let request = CreateContainerRequest {
        pod_sandbox_id: pod_id.clone(),
        config: Some(container(&image)),
        sandbox_config: Some(config),
    };
    let id =
        client.runtime.create_container(request).await.expect("CreateContainer").into_inner().container_id;
    let request = StartContainerRequest { container_id: id.clone() };
    client.runtime.start_container(request).await.expect("StartContainer");
    let log = Path::new(&daemon.logs("crate")).join("one.log");
    eventually("the container has set its trap", async || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.ends_with(" stdout F ready\n"))
    })
    .await;

    images_are_told(&mut client, &image).await;
    pods_are_told(&mut client, &pod_id, &id).await;
    let request = ExecSyncRequest {
        container_id: id.clone(),
        cmd: ["sh", "-c", "echo $WORD; echo no >&2; exit 3"].map(str::to_owned).into(),
        timeout: 20,
    };
    let answer = client.runtime.exec_sync(request).await.expect("ExecSync").into_inner();
    assert_eq!((&*answer.stdout, &*answer.stderr, answer.exit_code), ("wörd\n".as_bytes(), &b"no\n"[..], 3));
    down(&mut client, pod_id, id, &image).await;
    drop(client);
    daemon.end().await;
}

async fn images_are_told(client: &mut Theirs, image: &str) {
    let request = ImageStatusRequest { image: Some(spec(image)), verbose: false };
    let found = client.images.image_status(request).await.expect("ImageStatus").into_inner();
    let found = found.image.expect("the image");
    assert!(found.size > 0 && found.repo_tags == [image], "{found:?}");
    let listed =
        client.images.list_images(ListImagesRequest::default()).await.expect("ListImages").into_inner();
    assert_eq!(listed.images, [found]);
    let usage = client.images.image_fs_info(ImageFsInfoRequest {}).await.expect("ImageFsInfo").into_inner();
    let used = usage.image_filesystems[0].used_bytes.as_ref().expect("a number");
    assert!(used.value > 0, "{usage:?}");
}

async fn pods_are_told(client: &mut Theirs, pod_id: &str, container_id: &str) {
    let request = PodSandboxStatusRequest { pod_sandbox_id: pod_id.into(), verbose: false };
    let status = client.runtime.pod_sandbox_status(request).await.expect("PodSandboxStatus").into_inner();
    let status = status.status.expect("a status");
    assert_eq!(status.state(), PodSandboxState::SandboxReady);
    let metadata = status.metadata.expect("metadata");
    assert_eq!((metadata.name.as_str(), metadata.attempt), ("crate", 2));
    let network = status.network.expect("a network");
    assert!(
        network.ip.parse::<std::net::Ipv4Addr>().is_ok() && network.additional_ips.len() == 1,
        "{network:?}"
    );
    let options =
        status.linux.and_then(|linux| linux.namespaces).and_then(|all| all.options).expect("options");
    assert_eq!(options.pid(), NamespaceMode::Container);

    let listed = client.runtime.list_pod_sandbox(ListPodSandboxRequest::default()).await;
    let listed = listed.expect("ListPodSandbox").into_inner().items;
    assert!(listed.len() == 1 && listed[0].id == pod_id && listed[0].labels["of"] == "k8s-cri", "{listed:?}");
    let listed = client.runtime.list_containers(ListContainersRequest::default()).await;
    let listed = listed.expect("ListContainers").into_inner().containers;
    assert!(listed.len() == 1 && listed[0].id == container_id, "{listed:?}");
    assert_eq!(listed[0].state(), ContainerState::ContainerRunning);

    let request = PodSandboxStatsRequest { pod_sandbox_id: pod_id.into() };
    let figures = client.runtime.pod_sandbox_stats(request).await.expect("PodSandboxStats").into_inner();
    let linux = figures.stats.and_then(|figures| figures.linux).expect("figures of Linux");
    let used = linux.cpu.and_then(|cpu| cpu.usage_core_nano_seconds).expect("a time");
    assert!(used.value > 0 && linux.containers.len() == 1, "{used:?}");
}

async fn down(client: &mut Theirs, pod_id: String, id: String, image: &str) {
    let request = StopContainerRequest { container_id: id.clone(), timeout: 20 };
    client.runtime.stop_container(request).await.expect("StopContainer");
    let request = ContainerStatusRequest { container_id: id.clone(), verbose: false };
    let status =
        client.runtime.container_status(request.clone()).await.expect("ContainerStatus").into_inner();
    let status = status.status.expect("a status");
    let seen = (status.state(), status.exit_code, status.reason.as_str());
    assert_eq!(seen, (ContainerState::ContainerExited, 7, "Error"));
    assert!(status.created_at <= status.started_at && status.started_at < status.finished_at, "{status:?}");
    client
        .runtime
        .remove_container(RemoveContainerRequest { container_id: id })
        .await
        .expect("RemoveContainer");
    let gone = client.runtime.container_status(request).await.expect_err("it was removed");
    assert_eq!(gone.code(), Code::NotFound);
    let request = StopPodSandboxRequest { pod_sandbox_id: pod_id.clone() };
    client.runtime.stop_pod_sandbox(request).await.expect("StopPodSandbox");
    let request = RemovePodSandboxRequest { pod_sandbox_id: pod_id };
    client.runtime.remove_pod_sandbox(request).await.expect("RemovePodSandbox");
    client.images.remove_image(RemoveImageRequest { image: Some(spec(image)) }).await.expect("RemoveImage");
    let listed =
        client.images.list_images(ListImagesRequest::default()).await.expect("ListImages").into_inner();
    assert!(listed.images.is_empty(), "{listed:?}");
}

/// Python with grpcio, and the stubs that its own protoc makes of our text of the interface.
struct Python {
    stubs: PathBuf,
}

impl Python {
    fn new(daemon: &Daemon) -> Self {
        let stubs = daemon.place().join("stubs");
        std::fs::create_dir_all(&stubs).expect("a directory");
        let python = Python { stubs };
        let protos = Self::checkout().join("proto/runtime/v1");
        let made = python
            .command()
            .args(["-m", "grpc_tools.protoc", "-I"])
            .arg(protos)
            .arg(format!("--python_out={}", python.stubs.display()))
            .arg(format!("--grpc_python_out={}", python.stubs.display()))
            .arg("api.proto")
            .output()
            .expect("var/python is there: make deps");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        python
    }

    fn checkout() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(Self::checkout().join("var/python/bin/python"));
        command.env("PYTHONPATH", &self.stubs).env("PYTHONDONTWRITEBYTECODE", "1").current_dir(&self.stubs);
        command
    }

    /// Runs life.py, which has to end well; what it said.
    fn life(&self, directory: &Path, arguments: &[&str]) -> String {
        let script = Self::checkout().join("tests/clients/life.py");
        let ran = self.command().arg(script).args(arguments).current_dir(directory).output().expect("python");
        assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).expect("text")
    }
}

#[tokio::test]
async fn a_client_in_python_runs_a_pod_through_its_life() {
    let daemon = Daemon::start("python").await;
    let python = Python::new(&daemon);
    let (socket, logs) = (daemon.socket().display().to_string(), daemon.logs("python"));
    let said = python.life(daemon.state(), &["life", &socket, &stock::busybox(), &logs]);
    let steps: Vec<&str> = said.lines().collect();
    let ends = (steps.first().copied(), steps.last().copied(), steps.len());
    assert_eq!(ends, (Some("Version"), Some("NOT_FOUND"), 36), "{said}");
    daemon.end().await;
}

/// See docs/decisions/0050-authority.md: what is refused here is refused below us, and these are the ways around it.
#[tokio::test]
async fn grpcio_needs_an_authority_that_is_one() {
    let daemon = Daemon::start("authority").await;
    let python = Python::new(&daemon);
    let target = format!("unix:{}", daemon.socket().display());
    let ask = |arguments: &[&str]| python.life(daemon.state(), &[&["authority"], arguments].concat());
    // The path, percent-encoded: the h2 crate takes no such authority and resets the call.
    assert!(ask(&[&target]).starts_with("INTERNAL: Stream removed (RST_STREAM"), "{}", ask(&[&target]));
    // Any name will do, as the client's option, or as the path itself from the socket's own directory.
    assert_eq!(ask(&[&target, "localhost"]), "answered\n");
    assert_eq!(ask(&["unix:orlop.sock"]), "answered\n");
    // A refused call costs the daemon nothing, and others nothing.
    let mut client = daemon.client().await;
    client.pods().await.expect("orlopd answers");
    drop(client);
    daemon.end().await;
}
