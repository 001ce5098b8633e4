//! What these tests stand on.

#![cfg_attr(not(feature = "criu"), allow(dead_code, reason = "most of it is for tests with a CRIU"))]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use orlop_proto::runtime::v1::{
    CheckpointContainerRequest, CheckpointPodRequest, ContainerConfig, ImageSpec, NamespaceMode,
    PodSandboxConfig,
};
use orlop_tests::cri::Client;
use orlop_tests::daemon::stage::{Stage, namespaces};
use orlop_tests::daemon::{Daemon, eventually};
use tonic::Status;

/// The program that `CRIU` names.
pub(crate) fn criu() -> String {
    std::env::var("CRIU").expect("CRIU names a program: tests/criu.sh prints one")
}

/// A configuration with that program.
pub(crate) fn configured(criu: &str) -> String {
    format!("[checkpoint]\ncriu = {criu:?}\n")
}

/// Containers of this pod have PID namespaces of their own, as kubelet asks for.
pub(crate) fn own_processes(pod: &mut PodSandboxConfig) {
    namespaces(pod).pid = NamespaceMode::Container.into();
}

/// A daemon with this CRIU, and a pod.
pub(crate) async fn stage_with(name: &str, criu: &str) -> Stage {
    let daemon = Daemon::build(name).config(&configured(criu)).start().await;
    Stage::on(daemon, own_processes).await
}

/// `CheckpointContainer`.
pub(crate) async fn checkpoint(client: &mut Client, id: &str, location: &Path) -> Result<(), Status> {
    let request = CheckpointContainerRequest {
        container_id: id.into(),
        location: location.display().to_string(),
        timeout: 60,
    };
    client.runtime.checkpoint_container(request).await.map(drop)
}

/// `CheckpointPod`.
pub(crate) async fn checkpoint_pod(
    client: &mut Client,
    pod: &str,
    containers: &[&String],
    output: &Path,
) -> Result<(), Status> {
    let request = CheckpointPodRequest {
        pod_sandbox_id: pod.into(),
        output_path: output.display().to_string(),
        container_ids: containers.iter().map(|id| (*id).clone()).collect(),
        ..CheckpointPodRequest::default()
    };
    client.runtime.checkpoint_pod(request).await.map(drop)
}

/// The same container with another name, from this archive.
pub(crate) fn from_archive(config: &ContainerConfig, name: &str, archive: &Path) -> ContainerConfig {
    let mut config = config.clone();
    config.metadata.as_mut().expect("a name").name = name.into();
    config.log_path = format!("{name}/0.log");
    config.image = Some(ImageSpec { image: archive.display().to_string(), ..ImageSpec::default() });
    config
}

/// The numbers that a container has written to its log.
pub(crate) fn numbers(stage: &Stage, name: &str) -> Vec<u64> {
    stage.log(name).iter().filter_map(|line| line.text.trim().parse().ok()).collect()
}

/// Waits until a container has counted to `number` at least.
pub(crate) async fn counted(stage: &Stage, name: &str, number: u64) {
    eventually("it counts on", async || {
        let path = format!("{}/{name}/0.log", stage.pod.log_directory);
        Path::new(&path).exists() && numbers(stage, name).last().is_some_and(|last| *last >= number)
    })
    .await;
}

/// A program that plays CRIU; it goes when this is dropped.
pub(crate) struct Played(PathBuf);

impl Played {
    /// Where it is.
    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("a plain path")
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A shell script that plays CRIU.
pub(crate) fn played(name: &str, script: &str) -> Played {
    let path = std::env::temp_dir().join(format!("orlop-criu-{name}-{}", std::process::id()));
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
    Played(path)
}

/// Starts a container that is restored.
pub(crate) async fn started(stage: &mut Stage, id: &str) {
    if let Err(status) = stage.client.start(id).await {
        panic!("{}", status.message());
    }
}
