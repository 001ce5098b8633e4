//! Pods and containers in the protocol's words.
//!
//! | room | what it is for |
//! | --- | --- |
//! | `spec` | a container as its spec has it |
//!
//! A container is shown as its spec has it. The spec of one that no plugin has heard of at its making is put together again when it is
//! asked for, and remembered: nothing is kept for plugins that may never come.
//!
//! *Invariant:* what changes while a container lives, its state and limits, is what it is now.

mod spec;

use std::sync::Arc;

use orlop_model::life::container::State;
use orlop_model::life::pod::State as PodState;
use orlop_proto::nri::v1alpha1::security_profile::ProfileType;
use orlop_proto::nri::v1alpha1::{
    CdiDevice, Container, ContainerState, Image, LinuxNamespace, LinuxPodSandbox, PodSandbox,
    SecurityProfile, User,
};
use orlop_proto::runtime::v1::security_profile::ProfileType as Asked;
use orlop_proto::runtime::v1::{LinuxContainerResources as Limits, SecurityProfile as Profile};

use super::limits;
use crate::blocking::blocking;
use crate::pods::container::Container as Ours;
use crate::pods::pod::Pod;
use crate::pods::{Core, Places};

pub(super) use spec::container as of_spec;

/// All pods that are made, and all containers that have not ended.
pub(super) async fn everything(core: &Arc<Core>) -> (Vec<PodSandbox>, Vec<Container>) {
    let made = |pod: &Arc<Pod>| !matches!(pod.state(), PodState::Making | PodState::Gone(_));
    let pods = core.table.pods().into_iter().filter(made).map(|pod| self::pod(core, &pod)).collect();
    let mut containers = Vec::new();
    for ours in core.table.containers() {
        if ours.facts().is_some() && !ours.has_ended() {
            containers.push(container(core, &ours).await);
        }
    }
    (pods, containers)
}

/// A pod as it is.
pub(super) fn pod(core: &Core, pod: &Pod) -> PodSandbox {
    let addresses = pod.made().map(|made| made.addresses.as_slice()).unwrap_or_default();
    pod_with(core, pod, addresses)
}

/// A pod whose making is about to end, with its addresses.
pub(super) fn pod_with(core: &Core, pod: &Pod, addresses: &[std::net::IpAddr]) -> PodSandbox {
    let sums = pod.sums();
    let limits = |of: &Option<Limits>| of.as_ref().map(limits::shown);
    let init = pod.made().and_then(|made| made.init).and_then(|pid| u32::try_from(pid).ok());
    PodSandbox {
        id: pod.id.to_string(),
        name: pod.config.name.name.clone(),
        uid: pod.config.name.uid.clone(),
        namespace: pod.config.name.namespace.clone(),
        labels: pod.config.labels.clone(),
        annotations: pod.config.annotations.clone(),
        runtime_handler: pod.config.handler.clone(),
        linux: Some(LinuxPodSandbox {
            pod_overhead: limits(&sums.overhead),
            pod_resources: limits(&sums.resources),
            cgroup_parent: pod.config.cgroup_parent.clone(),
            cgroups_path: core.pod_cgroup(pod),
            namespaces: namespaces(pod),
            resources: None,
        }),
        pid: init.unwrap_or_default(),
        ips: addresses.iter().map(ToString::to_string).collect(),
    }
}

/// Those that a pod has for itself; only the network's has a path on the node.
fn namespaces(pod: &Pod) -> Vec<LinuxNamespace> {
    let shape = pod.config.namespaces;
    let netns = Places::netns(&pod.id);
    let mut all = Vec::new();
    let mut has = |kind: &str, path: String| all.push(LinuxNamespace { r#type: kind.into(), path });
    // It is taken down before the pod is.
    if !shape.host_network && netns.exists() {
        has("network", netns.display().to_string());
    }
    if !shape.host_ipc {
        has("ipc", String::new());
    }
    if !shape.host_network {
        has("uts", String::new());
    }
    if pod.has_init() {
        has("pid", String::new());
    }
    all
}

/// A container as it is.
pub(super) async fn container(core: &Arc<Core>, ours: &Arc<Ours>) -> Container {
    let base = match ours.nri.shown() {
        Some(base) => base,
        None => shown_again(core, ours).await,
    };
    as_it_is(ours, Container::clone(&base))
}

/// As it was asked for; remembered from now on.
async fn shown_again(core: &Arc<Core>, ours: &Arc<Ours>) -> Arc<Container> {
    let (again, of) = (Arc::clone(core), Arc::clone(ours));
    let made = blocking("show container", move || crate::pods::plan::spec_again(&again, &of)).await;
    let base = match made.and_then(|made| made) {
        Ok(spec) => of_spec(&spec, &core.container_cgroup(ours)),
        Err(report) => {
            tracing::warn!(container = ours.id.short(), "shown to plugins without its spec: {report}");
            Container::default()
        }
    };
    let base = Arc::new(base);
    ours.nri.remember(Arc::clone(&base));
    base
}

/// With what does not stand in a spec, and what may have changed since.
pub(super) fn as_it_is(ours: &Ours, base: Container) -> Container {
    let state = ours.state();
    let exit = state.exit();
    let born = ours.life().born.as_ref().map(|born| (born.pid, born.at));
    let (pid, started_at) = born.unwrap_or_default();
    let ended = state.has_ended();
    let mut shown = Container {
        id: ours.id.to_string(),
        pod_sandbox_id: ours.pod.id.to_string(),
        name: ours.name.name.clone(),
        state: in_words(&state).into(),
        labels: ours.asked.labels.clone(),
        pid: u32::try_from(pid).ok().filter(|_| !ended).unwrap_or_default(),
        created_at: ours.created_at.0,
        started_at,
        finished_at: exit.map(|exit| exit.at.0).unwrap_or_default(),
        exit_code: exit.map(|exit| exit.code).unwrap_or_default(),
        status_message: exit
            .and_then(|exit| exit.report.as_ref())
            .map(ToString::to_string)
            .unwrap_or_default(),
        image: Some(image(ours)),
        cdi_devices: ours.asked.cdi_devices.iter().map(|one| CdiDevice { name: one.name.clone() }).collect(),
        ..base
    };
    for (key, value) in &ours.asked.annotations {
        shown.annotations.entry(key.clone()).or_insert_with(|| value.clone());
    }
    let linux = shown.linux.get_or_insert_default();
    linux.seccomp_profile = Some(seccomp(ours));
    if let Some(limits) = ours.updated_limits() {
        let there = linux.resources.get_or_insert_default();
        let limits = limits::shown(&limits);
        there.memory = limits.memory.or(there.memory.take());
        there.cpu = limits.cpu.or(there.cpu.take());
        there.hugepage_limits = limits.hugepage_limits;
        there.unified = limits.unified;
    }
    shown
}

fn in_words(state: &State) -> ContainerState {
    match state {
        State::Created | State::Starting => ContainerState::ContainerCreated,
        State::Running | State::Stopping { .. } => ContainerState::ContainerRunning,
        State::Exited(_) | State::Removing(_) | State::Gone => ContainerState::ContainerStopped,
    }
}

fn image(ours: &Ours) -> Image {
    let asked = ours.asked.image.clone().unwrap_or_default();
    let facts = ours.facts();
    let name = if asked.user_specified_image.is_empty() { asked.image } else { asked.user_specified_image };
    let digest =
        facts.as_ref().and_then(|facts| facts.image_ref.split_once('@').map(|(_, digest)| digest.to_owned()));
    Image {
        name,
        digest: digest.unwrap_or_default(),
        config_digest: facts.map(|facts| facts.image.clone()).unwrap_or_default(),
    }
}

/// What was asked for, whatever it has become.
fn seccomp(ours: &Ours) -> SecurityProfile {
    let security = ours.asked.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    let privileged = security.is_some_and(|security| security.privileged);
    let profile = security.and_then(|security| security.seccomp.as_ref());
    let kind = profile.map_or(Asked::Unconfined, Profile::profile_type);
    let (kind, localhost_ref) = match kind {
        Asked::Localhost if !privileged => {
            (ProfileType::Localhost, profile.map(|profile| profile.localhost_ref.clone()).unwrap_or_default())
        }
        Asked::RuntimeDefault if !privileged => (ProfileType::RuntimeDefault, String::new()),
        _ => (ProfileType::Unconfined, String::new()),
    };
    SecurityProfile { profile_type: kind.into(), localhost_ref }
}

/// Who runs its program.
pub(super) fn user(uid: u32, gid: u32, groups: &[u32]) -> User {
    User { uid, gid, additional_gids: groups.to_vec() }
}
