//! When plugins hear of a pod.
//!
//! ```text
//!  made, not seen ─ RunPodSandbox ─▶ ready ─ UpdatePodSandbox ─▶ other sums ─ PostUpdatePodSandbox
//!  containers ended ─ StopPodSandbox ─▶ network gone          all gone ─ RemovePodSandbox ─▶ forgotten
//! ```
//!
//! *Invariant:* a plugin hears of each once, in this order, however often a call is repeated. An end is refused by nobody.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use orlop_model::report::Report;
use orlop_proto::nri::v1alpha1::{
    Event, PostUpdatePodSandboxRequest, RemovePodSandboxRequest, RunPodSandboxRequest, StopPodSandboxRequest,
    UpdatePodSandboxRequest,
};
use orlop_proto::runtime::v1::LinuxContainerResources as Limits;

use super::{limits, show};
use crate::pods::Core;
use crate::pods::pod::Pod;

/// What plugins have heard of a pod.
#[derive(Default)]
pub(crate) struct Told(AtomicU8);

const RUNS: u8 = 1;
const STOPPED: u8 = 2;
const REMOVED: u8 = 4;

impl Told {
    /// Whether this is the first time.
    fn first(&self, what: u8) -> bool {
        self.0.fetch_or(what, Ordering::Relaxed) & what == 0
    }

    fn has(&self, what: u8) -> bool {
        self.0.load(Ordering::Relaxed) & what != 0
    }

    /// It is from before the daemon began.
    pub(crate) fn recovered(&self, stopped: bool) {
        self.0.store(if stopped { RUNS | STOPPED } else { RUNS }, Ordering::Relaxed);
    }
}

/// It is made, and about to be seen.
///
/// # Errors
/// What a plugin refuses; a plugin that has to be there and is not.
pub(crate) async fn runs(core: &Core, pod: &Pod, addresses: &[IpAddr]) -> Result<(), Report> {
    pod.told.first(RUNS);
    let annotations = &pod.config.annotations;
    if !core.nri.is_asked_for(annotations) {
        return Ok(());
    }
    let shown = show::pod_with(core, pod, addresses);
    let request = RunPodSandboxRequest { pod: Some(shown.clone()) };
    let round = core.nri.strict_round(Event::RunPodSandbox, pod.id.short(), annotations, "").await?;
    round.tell(&request, Some(&shown), None).await
}

/// Its making failed: who has heard of it hears that it is gone.
pub(crate) async fn undone(core: &Core, pod: &Pod) {
    if pod.told.has(RUNS) {
        stops(core, pod).await;
        removed(core, pod).await;
    }
}

/// Its containers have ended.
pub(crate) async fn stops(core: &Core, pod: &Pod) {
    if !pod.told.first(STOPPED) || !core.nri.is_active() {
        return;
    }
    let shown = show::pod(core, pod);
    let request = StopPodSandboxRequest { pod: Some(shown.clone()) };
    core.nri.round(Event::StopPodSandbox, pod.id.short()).await.announce(&request, Some(&shown), None).await;
}

/// Nothing of it is left.
pub(crate) async fn removed(core: &Core, pod: &Pod) {
    if !pod.told.first(REMOVED) || !core.nri.is_active() {
        return;
    }
    let shown = show::pod(core, pod);
    let request = RemovePodSandboxRequest { pod: Some(shown.clone()) };
    core.nri
        .round(Event::RemovePodSandbox, pod.id.short())
        .await
        .announce(&request, Some(&shown), None)
        .await;
}

/// Its sums are about to be others.
///
/// # Errors
/// What a plugin refuses.
pub(crate) async fn updates(
    core: &Arc<Core>,
    pod: &Arc<Pod>,
    resources: Option<&Limits>,
    overhead: Option<&Limits>,
) -> Result<(), Report> {
    if !core.nri.is_active() {
        return Ok(());
    }
    let shown = show::pod(core, pod);
    let request = UpdatePodSandboxRequest {
        pod: Some(shown.clone()),
        overhead_linux_resources: overhead.map(limits::shown),
        linux_resources: resources.map(limits::shown),
    };
    let round = core.nri.round(Event::UpdatePodSandbox, pod.id.short()).await;
    for plugin in round.plugins() {
        round.ask::<_, orlop_proto::nri::v1alpha1::Empty>(&plugin, Event::UpdatePodSandbox, &request).await?;
    }
    Ok(())
}

/// They are.
pub(crate) async fn updated(core: &Arc<Core>, pod: &Arc<Pod>) {
    if !core.nri.is_active() {
        return;
    }
    let shown = show::pod(core, pod);
    let request = PostUpdatePodSandboxRequest { pod: Some(shown.clone()) };
    let round = core.nri.round(Event::PostUpdatePodSandbox, pod.id.short()).await;
    round.announce(&request, Some(&shown), None).await;
}
