//! The core's pods, containers and images, as the interface shows them.
//!
//! *Invariant:* labels, annotations and metadata are given back as they came. Nothing is looked up here.

use std::sync::Arc;

use orlop_image::ImageUser;
use orlop_model::life::container::State;
use orlop_model::life::pod::State as PodState;
use orlop_model::time::Timestamp;
use orlop_proto::runtime::v1::{
    Container as Row, ContainerEventResponse, ContainerEventType, ContainerResources, ContainerState,
    ContainerStatus, ContainerUser, Image, ImageSpec, Int64Value, LinuxContainerUser, LinuxPodSandboxStatus,
    Namespace, NamespaceOption, PodIp, PodSandbox, PodSandboxNetworkStatus, PodSandboxState,
    PodSandboxStatus,
};

use prost::Message as _;

use super::convert::signal;
use super::stream;
use crate::events::Noted;
use crate::pods::container::{Container, Facts};
use crate::pods::pod::Pod;

/// `None` while it is being made, and when it is gone: then it is in no list.
pub(super) fn pod_state(state: &PodState) -> Option<PodSandboxState> {
    match state {
        PodState::Making | PodState::Gone(_) => None,
        PodState::Ready => Some(PodSandboxState::SandboxReady),
        PodState::Stopping | PodState::NotReady | PodState::Removing => {
            Some(PodSandboxState::SandboxNotready)
        }
    }
}

pub(super) fn pod(pod: &Pod, state: PodSandboxState) -> PodSandbox {
    PodSandbox {
        id: pod.id.to_string(),
        metadata: pod.asked.metadata.clone(),
        state: state.into(),
        created_at: pod.created_at.0,
        labels: pod.asked.labels.clone(),
        annotations: pod.asked.annotations.clone(),
        runtime_handler: pod.config.handler.clone(),
    }
}

pub(super) fn pod_status(pod: &Pod, state: PodSandboxState) -> PodSandboxStatus {
    let mut addresses = Vec::new();
    // A stopped pod has given its addresses back.
    if state == PodSandboxState::SandboxReady {
        addresses
            .extend(pod.made().into_iter().flat_map(|made| made.addresses.iter().map(ToString::to_string)));
    }
    let mut addresses = addresses.into_iter();
    let network = PodSandboxNetworkStatus {
        ip: addresses.next().unwrap_or_default(),
        additional_ips: addresses.map(|ip| PodIp { ip }).collect(),
    };
    let options: Option<NamespaceOption> = pod
        .asked
        .linux
        .as_ref()
        .and_then(|linux| linux.security_context.as_ref())
        .and_then(|context| context.namespace_options.clone());
    PodSandboxStatus {
        id: pod.id.to_string(),
        metadata: pod.asked.metadata.clone(),
        state: state.into(),
        created_at: pod.created_at.0,
        network: Some(network),
        linux: Some(LinuxPodSandboxStatus {
            namespaces: Some(Namespace { options: Some(options.unwrap_or_default()) }),
        }),
        labels: pod.asked.labels.clone(),
        annotations: pod.asked.annotations.clone(),
        runtime_handler: pod.config.handler.clone(),
    }
}

/// `None` when it is gone: then it is in no list.
pub(super) fn container_state(state: &State) -> Option<ContainerState> {
    match state {
        State::Created | State::Starting => Some(ContainerState::ContainerCreated),
        State::Running | State::Stopping { .. } => Some(ContainerState::ContainerRunning),
        State::Exited(_) | State::Removing(_) => Some(ContainerState::ContainerExited),
        State::Gone => None,
    }
}

/// `None` while it is being created.
pub(super) fn container(container: &Arc<Container>, state: ContainerState) -> Option<Row> {
    let facts = container.facts()?;
    Some(Row {
        id: container.id.to_string(),
        pod_sandbox_id: container.pod.id.to_string(),
        metadata: container.asked.metadata.clone(),
        image: Some(image_spec(container)),
        image_ref: facts.image.clone(),
        state: state.into(),
        created_at: container.created_at.0,
        labels: container.asked.labels.clone(),
        annotations: container.asked.annotations.clone(),
        image_id: facts.image.clone(),
    })
}

/// `None` while it is being created, and when it is gone.
pub(super) fn container_status(container: &Arc<Container>) -> Option<ContainerStatus> {
    status_in(container, &container.state(), container.started_at())
}

/// How it stood in the state `life`, started when `started` says.
fn status_in(container: &Arc<Container>, life: &State, started: Timestamp) -> Option<ContainerStatus> {
    let facts = container.facts()?;
    let state = container_state(life)?;
    let exit = life.exit();
    let (reason, message) = why(life, started.0 != 0);
    Some(ContainerStatus {
        id: container.id.to_string(),
        metadata: container.asked.metadata.clone(),
        state: state.into(),
        created_at: container.created_at.0,
        started_at: started.0,
        finished_at: exit.map(|exit| exit.at.0).unwrap_or_default(),
        exit_code: exit.map(|exit| exit.code).unwrap_or_default(),
        image: Some(image_spec(container)),
        image_ref: facts.image_ref.clone(),
        reason,
        message,
        labels: container.asked.labels.clone(),
        annotations: container.asked.annotations.clone(),
        mounts: facts.mounts(&container.asked),
        log_path: facts.log_path.clone(),
        resources: container.limits().map(|linux| ContainerResources { linux: Some(linux), windows: None }),
        image_id: facts.image.clone(),
        user: Some(user(&facts)),
        stop_signal: signal::interface_number(facts.stop_signal).into(),
    })
}

/// Bytes of statuses beside a pod's: half of what clients take of one message.
const STATUSES: usize = stream::LARGEST / 2;

/// Statuses of a pod's containers in the order of creation, of those that come the newest first. What does not fit is left out.
pub(super) fn statuses(newest_first: impl Iterator<Item = ContainerStatus>) -> Vec<ContainerStatus> {
    let mut size = 0;
    let fits = |status: &ContainerStatus| {
        size += status.encoded_len();
        size <= STATUSES
    };
    let mut statuses: Vec<ContainerStatus> = newest_first.take_while(fits).collect();
    statuses.reverse();
    statuses
}

/// An event of a container or, with its own id, of a pod.
pub(crate) fn event(
    noted: &Noted,
    id: &str,
    of: ContainerEventType,
    at: Timestamp,
) -> ContainerEventResponse {
    let state = pod_state(&noted.pod_state).unwrap_or(PodSandboxState::SandboxNotready);
    let seen = noted.containers.iter();
    let seen = seen.filter_map(|seen| status_in(&seen.container, &seen.state, seen.started_at));
    ContainerEventResponse {
        container_id: id.to_owned(),
        container_event_type: of.into(),
        created_at: at.0,
        pod_sandbox_status: Some(pod_status(&noted.pod, state)),
        containers_statuses: statuses(seen),
    }
}

/// The words that Kubernetes shows: Completed, Error, OOMKilled, StartError.
fn why(state: &State, ran: bool) -> (String, String) {
    let Some(exit) = state.exit() else { return (String::new(), String::new()) };
    let message = exit.report.as_ref().map(ToString::to_string).unwrap_or_default();
    let reason = match (&exit.report, exit.oom_killed, exit.code) {
        (Some(_), _, _) if !ran => "StartError",
        (_, true, _) => "OOMKilled",
        (_, false, 0) => "Completed",
        (_, false, _) => "Error",
    };
    (reason.into(), message)
}

fn image_spec(container: &Container) -> ImageSpec {
    let mut spec = container.asked.image.clone().unwrap_or_default();
    if !spec.user_specified_image.is_empty() {
        // As the user wrote it; the id is in the field for ids.
        spec.image.clone_from(&spec.user_specified_image);
    }
    spec
}

fn user(facts: &Facts) -> ContainerUser {
    let (uid, gid, groups) = &facts.user;
    ContainerUser {
        linux: Some(LinuxContainerUser {
            uid: (*uid).into(),
            gid: (*gid).into(),
            supplemental_groups: groups.iter().map(|group| i64::from(*group)).collect(),
        }),
    }
}

/// `pinned`: whether the node's configuration says so.
pub(super) fn image(image: &orlop_image::Image, pinned: bool) -> Image {
    let (uid, username) = match &image.user {
        ImageUser::Unset => (None, String::new()),
        ImageUser::Uid(uid) => (Some(Int64Value { value: *uid }), String::new()),
        ImageUser::Name(name) => (None, name.clone()),
    };
    Image {
        id: image.id.to_string(),
        repo_tags: image.tags.clone(),
        repo_digests: image.digests.clone(),
        size: image.size,
        uid,
        username,
        spec: None,
        pinned: pinned || image.pinned,
    }
}
