//! The calls of CRI in short: what they need goes in, what a test looks at comes out.
//!
//! *Invariant:* one call a verb, nothing tried twice; an error is the daemon's own.

use orlop_proto::runtime::v1::{
    AttachRequest, Container, ContainerConfig, ContainerState, ContainerStatus, ContainerStatusRequest,
    CreateContainerRequest, ExecRequest, ExecSyncRequest, ExecSyncResponse, ImageSpec, ListContainersRequest,
    ListPodSandboxRequest, PodSandbox, PodSandboxConfig, PodSandboxStatus, PodSandboxStatusRequest,
    PortForwardRequest, PullImageRequest, RemoveContainerRequest, RemoveImageRequest,
    RemovePodSandboxRequest, ReopenContainerLogRequest, RunPodSandboxRequest, StartContainerRequest,
    StopContainerRequest, StopPodSandboxRequest,
};
use tonic::Status;

use super::eventually;
use crate::cri::Client;

type Answer<T> = Result<T, Status>;

#[expect(clippy::missing_errors_doc, reason = "each is the daemon's answer")]
impl Client {
    /// `PullImage`: the image's id.
    pub async fn pull(&mut self, image: &str) -> Answer<String> {
        let request = PullImageRequest {
            image: Some(ImageSpec { image: image.into(), ..Default::default() }),
            ..Default::default()
        };
        Ok(self.images.pull_image(request).await?.into_inner().image_ref)
    }

    /// `RemoveImage`.
    pub async fn remove_image(&mut self, image: &str) -> Answer<()> {
        let image = ImageSpec { image: image.into(), ..Default::default() };
        self.images.remove_image(RemoveImageRequest { image: Some(image) }).await.map(drop)
    }

    /// `RunPodSandbox`: its id.
    pub async fn run_pod(&mut self, config: &PodSandboxConfig) -> Answer<String> {
        let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: String::new() };
        Ok(self.runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id)
    }

    /// `StopPodSandbox`.
    pub async fn stop_pod(&mut self, id: &str) -> Answer<()> {
        self.runtime.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: id.into() }).await.map(drop)
    }

    /// `RemovePodSandbox`.
    pub async fn remove_pod(&mut self, id: &str) -> Answer<()> {
        self.runtime.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: id.into() }).await.map(drop)
    }

    /// `PodSandboxStatus`.
    pub async fn pod_status(&mut self, id: &str) -> Answer<PodSandboxStatus> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.into(), verbose: false };
        let status = self.runtime.pod_sandbox_status(request).await?.into_inner().status;
        status.ok_or_else(|| Status::internal("an answer without a status"))
    }

    /// `ListPodSandbox` of all.
    pub async fn pods(&mut self) -> Answer<Vec<PodSandbox>> {
        Ok(self.runtime.list_pod_sandbox(ListPodSandboxRequest::default()).await?.into_inner().items)
    }

    /// `CreateContainer`: its id.
    pub async fn create(
        &mut self,
        pod_id: &str,
        pod: &PodSandboxConfig,
        config: &ContainerConfig,
    ) -> Answer<String> {
        let request = CreateContainerRequest {
            pod_sandbox_id: pod_id.into(),
            config: Some(config.clone()),
            sandbox_config: Some(pod.clone()),
        };
        Ok(self.runtime.create_container(request).await?.into_inner().container_id)
    }

    /// `StartContainer`.
    pub async fn start(&mut self, id: &str) -> Answer<()> {
        self.runtime.start_container(StartContainerRequest { container_id: id.into() }).await.map(drop)
    }

    /// `StopContainer`; `grace` in seconds.
    pub async fn stop(&mut self, id: &str, grace: i64) -> Answer<()> {
        let request = StopContainerRequest { container_id: id.into(), timeout: grace };
        self.runtime.stop_container(request).await.map(drop)
    }

    /// `RemoveContainer`.
    pub async fn remove(&mut self, id: &str) -> Answer<()> {
        self.runtime.remove_container(RemoveContainerRequest { container_id: id.into() }).await.map(drop)
    }

    /// `ContainerStatus`.
    pub async fn status(&mut self, id: &str) -> Answer<ContainerStatus> {
        let request = ContainerStatusRequest { container_id: id.into(), verbose: false };
        let status = self.runtime.container_status(request).await?.into_inner().status;
        status.ok_or_else(|| Status::internal("an answer without a status"))
    }

    /// What else `ContainerStatus` tells: `pid`, `shim`, its ledger.
    ///
    /// # Panics
    /// If it is no JSON.
    pub async fn facts(&mut self, id: &str) -> Answer<serde_json::Value> {
        let request = ContainerStatusRequest { container_id: id.into(), verbose: true };
        let info = self.runtime.container_status(request).await?.into_inner().info;
        Ok(serde_json::from_str(&info["info"]).expect("JSON"))
    }

    /// `ListContainers` of all.
    pub async fn containers(&mut self) -> Answer<Vec<Container>> {
        Ok(self.runtime.list_containers(ListContainersRequest::default()).await?.into_inner().containers)
    }

    /// `ExecSync`; `timeout` in seconds, 0: none.
    pub async fn exec(&mut self, id: &str, command: &[&str], timeout: i64) -> Answer<ExecSyncResponse> {
        let request = ExecSyncRequest {
            container_id: id.into(),
            cmd: command.iter().map(|&word| word.to_owned()).collect(),
            timeout,
        };
        Ok(self.runtime.exec_sync(request).await?.into_inner())
    }

    /// What a shell in the container says to `script`, and that it ends well.
    ///
    /// # Panics
    /// If it does not.
    pub async fn sh(&mut self, id: &str, script: &str) -> String {
        let answer = self.exec(id, &["sh", "-c", script], 60).await.expect("exec");
        let errors = String::from_utf8_lossy(&answer.stderr);
        assert_eq!(answer.exit_code, 0, "{script}: {errors}");
        String::from_utf8_lossy(&answer.stdout).into_owned()
    }

    /// `Exec`; the URL. `streams` names them by their letters: i, o, e, and t for a terminal.
    pub async fn exec_url(&mut self, id: &str, command: &[&str], streams: &str) -> Answer<String> {
        let request = ExecRequest {
            container_id: id.into(),
            cmd: command.iter().map(|&word| word.to_owned()).collect(),
            stdin: streams.contains('i'),
            stdout: streams.contains('o'),
            stderr: streams.contains('e'),
            tty: streams.contains('t'),
        };
        Ok(self.runtime.exec(request).await?.into_inner().url)
    }

    /// `Attach`; the URL. `streams` as in [`Client::exec_url`].
    pub async fn attach_url(&mut self, id: &str, streams: &str) -> Answer<String> {
        let request = AttachRequest {
            container_id: id.into(),
            stdin: streams.contains('i'),
            stdout: streams.contains('o'),
            stderr: streams.contains('e'),
            tty: streams.contains('t'),
        };
        Ok(self.runtime.attach(request).await?.into_inner().url)
    }

    /// `PortForward`; the URL.
    pub async fn port_forward_url(&mut self, pod: &str, ports: &[i32]) -> Answer<String> {
        let request = PortForwardRequest { pod_sandbox_id: pod.into(), port: ports.to_vec() };
        Ok(self.runtime.port_forward(request).await?.into_inner().url)
    }

    /// `ReopenContainerLog`.
    pub async fn reopen_log(&mut self, id: &str) -> Answer<()> {
        let request = ReopenContainerLogRequest { container_id: id.into() };
        self.runtime.reopen_container_log(request).await.map(drop)
    }

    /// Waits until the container has ended; its last status.
    ///
    /// # Panics
    /// If it does not end, or is not known.
    pub async fn ended(&mut self, id: &str) -> ContainerStatus {
        let mut last = ContainerStatus::default();
        eventually("the container has ended", async || {
            last = self.status(id).await.expect("its status");
            last.state() == ContainerState::ContainerExited
        })
        .await;
        last
    }
}
