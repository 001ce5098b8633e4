//! When plugins hear of a container, and what they make of it.
//!
//! ```text
//!  spec ─ CreateContainer ─▶ spec ─ rules ─▶ made ─ PostCreateContainer
//!  StartContainer ─▶ runs ─ PostStartContainer        UpdateContainer ─▶ other limits ─ PostUpdateContainer
//!  ended, by itself or not ─ StopContainer            gone ─ RemoveContainer
//! ```
//!
//! *Invariant:* a plugin hears of each once, in this order, however often a call is repeated. An end is refused by nobody.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use orlop_model::container::NamedDevice;
use orlop_model::report::{Kind, Report};
use orlop_nri::changes::Updating;
use orlop_nri::creation::Creation;
use orlop_proto::nri::v1alpha1::{
    CdiDevice, Container as Shown, ContainerAdjustment, CreateContainerRequest, CreateContainerResponse,
    Event, PostCreateContainerRequest, PostStartContainerRequest, PostUpdateContainerRequest,
    RemoveContainerRequest, StartContainerRequest, StopContainerRequest, StopContainerResponse,
    UpdateContainerRequest, UpdateContainerResponse, ValidateContainerAdjustmentResponse,
};
use orlop_proto::runtime::v1::LinuxContainerResources as Limits;

use super::round::Round;
use super::{adjust, limits, show, update};
use crate::pods::Core;
use crate::pods::container::Container;
use crate::pods::edits::Draft;

/// What plugins have heard of a container, and what they were shown.
#[derive(Default)]
pub(crate) struct Told {
    heard: AtomicU8,
    shown: Mutex<Option<Arc<Shown>>>,
    /// Held while they hear of it: one thing after the other.
    order: tokio::sync::Mutex<()>,
}

const CREATED: u8 = 1;
const STARTED: u8 = 2;
const STOPPED: u8 = 4;
const REMOVED: u8 = 8;

impl Told {
    fn first(&self, what: u8) -> bool {
        self.heard.fetch_or(what, Ordering::Relaxed) & what == 0
    }

    fn has(&self, what: u8) -> bool {
        self.heard.load(Ordering::Relaxed) & what != 0
    }

    /// It is from before the daemon began.
    pub(crate) fn recovered(&self, started: bool, ended: bool) {
        let heard = CREATED | if started { STARTED } else { 0 } | if ended { STOPPED } else { 0 };
        self.heard.store(heard, Ordering::Relaxed);
    }

    /// It has ended, and nobody is there to hear it.
    pub(crate) fn ended_unheard(&self) {
        self.first(STOPPED);
    }

    /// As it was made, where that is known.
    pub(super) fn shown(&self) -> Option<Arc<Shown>> {
        self.shown.lock().ok().and_then(|shown| shown.clone())
    }

    /// It was made so.
    pub(crate) fn remember(&self, made: Arc<Shown>) {
        if let Ok(mut shown) = self.shown.lock() {
            *shown = Some(made);
        }
    }
}

/// Plugins change what is about to be made. On a thread that may block.
///
/// # Errors
/// What a plugin refuses, what contradicts, what cannot be; a plugin that has to be there and is not.
pub(crate) fn create(core: &Core, container: &Container, draft: &mut Draft) -> Result<(), Report> {
    if !core.nri.is_asked_for(&container.pod.config.annotations) {
        return Ok(());
    }
    let cgroup = core.container_cgroup(container);
    let base = show::of_spec(&draft.composed.spec, &cgroup);
    let request = CreateContainerRequest {
        pod: Some(show::pod(core, &container.pod)),
        container: Some(show::as_it_is(container, base)),
    };
    container.nri.first(CREATED);
    let wanted = tokio::runtime::Handle::current().block_on(ask(core, container, request))?;
    devices(core, draft, &wanted.cdi_devices)?;
    adjust::apply(draft, &wanted)?;
    container.nri.remember(Arc::new(show::of_spec(&draft.composed.spec, &cgroup)));
    Ok(())
}

/// What devices need that plugins want by their CDI names.
fn devices(core: &Core, draft: &mut Draft, wanted: &[CdiDevice]) -> Result<(), Report> {
    let by_name =
        |device: &CdiDevice| NamedDevice { field: "NRI CDI_devices".into(), name: device.name.clone() };
    let asked: Vec<NamedDevice> = wanted.iter().map(by_name).collect();
    if asked.is_empty() {
        return Ok(());
    }
    let edits = core.cdi.edits(&asked)?;
    orlop_cdi::apply(&edits, &mut draft.composed.spec, &crate::cdi::look).map_err(|cannot| {
        let names: Vec<&str> = asked.iter().map(|one| one.name.as_str()).collect();
        let cause = format!("what its CDI file asks for cannot be: {cannot}");
        Report::field("NRI CDI_devices", names.join(", "), cause)
    })
}

/// The limits that a draft has, if they are others than those asked for.
pub(crate) fn limits_of(draft: &Draft, asked: &orlop_model::container::Resources) -> Option<Limits> {
    (draft.resources != *asked).then(|| limits::of_model(&draft.resources))
}

async fn ask(
    core: &Core,
    container: &Container,
    request: CreateContainerRequest,
) -> Result<ContainerAdjustment, Report> {
    let annotations = &container.pod.config.annotations;
    let name = &container.name.name;
    let event = Event::CreateContainer;
    let round = core.nri.strict_round(event, container.id.short(), annotations, name).await?;
    let mut creation = Creation::new(request);
    for plugin in round.all() {
        if !plugin.events.has(event) {
            creation.asked(&plugin.name);
            continue;
        }
        let answer = round.ask::<_, CreateContainerResponse>(&plugin, event, creation.request()).await?;
        let Some(answer) = answer else { continue };
        creation.asked(&plugin.name);
        creation
            .apply(&plugin.name.to_string(), &answer)
            .map_err(|refused| round.refused(Kind::WrongState, refused))?;
    }
    round.nobody_is_missing()?;
    validate(core, &round, &creation).await?;
    drop(round);
    let (adjust, changes) = creation.finish();
    if let Some(core) = core.nri.core() {
        update::changes(&core, &changes).await;
    }
    Ok(adjust)
}

async fn validate(core: &Core, round: &Round<'_>, creation: &Creation) -> Result<(), Report> {
    let wanted = creation.validation();
    core.nri.settings.rules.check(&wanted).map_err(|cause| round.refused(Kind::Denied, cause))?;
    let event = Event::ValidateContainerAdjustment;
    for plugin in round.of(event) {
        let answer = round.ask::<_, ValidateContainerAdjustmentResponse>(&plugin, event, &wanted).await?;
        match answer {
            // Who may refuse and says nothing has not agreed.
            None => {
                let cause = format!("plugin {} was to judge it and does not answer", plugin.name);
                return Err(round.refused(Kind::Unavailable, cause));
            }
            Some(answer) if answer.reject => {
                let cause = format!("plugin {} rejects it: {}", plugin.name, answer.reason);
                return Err(round.refused(Kind::Denied, cause));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Held while plugins hear of a container, so that they hear in order.
pub(crate) type Order<'a> = tokio::sync::MutexGuard<'a, ()>;

impl Told {
    /// Whoever takes it first tells first.
    pub(crate) async fn order(&self) -> Order<'_> {
        self.order.lock().await
    }
}

/// It is created, and seen. `order` was taken before that.
pub(crate) async fn created(core: &Arc<Core>, container: &Arc<Container>, order: Order<'_>) {
    let shown = show::container(core, container).await;
    let pod = show::pod(core, &container.pod);
    let request = PostCreateContainerRequest { pod: Some(pod.clone()), container: Some(shown.clone()) };
    let round = core.nri.round(Event::PostCreateContainer, container.id.short()).await;
    round.announce(&request, Some(&pod), Some(&shown)).await;
    drop(order);
}

/// Its creation failed: who has heard of it hears that it is gone.
pub(crate) async fn undone(core: &Arc<Core>, container: &Arc<Container>) {
    if container.nri.has(CREATED) {
        ended(core, container).await;
        removed(core, container).await;
    }
}

/// It is about to run.
///
/// # Errors
/// What a plugin refuses.
pub(crate) async fn starts(core: &Arc<Core>, container: &Arc<Container>) -> Result<(), Report> {
    if !core.nri.is_active() {
        return Ok(());
    }
    let _order = container.nri.order().await;
    if container.nri.has(STARTED) || container.nri.has(STOPPED) {
        return Ok(());
    }
    let shown = show::container(core, container).await;
    let pod = show::pod(core, &container.pod);
    let request = StartContainerRequest { pod: Some(pod.clone()), container: Some(shown.clone()) };
    let round = core.nri.round(Event::StartContainer, container.id.short()).await;
    round.tell(&request, Some(&pod), Some(&shown)).await?;
    container.nri.first(STARTED);
    Ok(())
}

/// It runs.
pub(crate) async fn started(core: &Arc<Core>, container: &Arc<Container>) {
    if !core.nri.is_active() {
        return;
    }
    let _order = container.nri.order().await;
    if container.nri.has(STOPPED) {
        return;
    }
    let shown = show::container(core, container).await;
    let pod = show::pod(core, &container.pod);
    let request = PostStartContainerRequest { pod: Some(pod.clone()), container: Some(shown.clone()) };
    let round = core.nri.round(Event::PostStartContainer, container.id.short()).await;
    round.announce(&request, Some(&pod), Some(&shown)).await;
}

/// It has ended. Returns when plugins have heard of it, whoever tells them.
pub(crate) async fn ended(core: &Arc<Core>, container: &Arc<Container>) {
    if !core.nri.is_active() {
        container.nri.ended_unheard();
        return;
    }
    let order = container.nri.order().await;
    if !container.nri.first(STOPPED) {
        return;
    }
    let shown = show::container(core, container).await;
    let pod = show::pod(core, &container.pod);
    let request = StopContainerRequest { pod: Some(pod), container: Some(shown) };
    let event = Event::StopContainer;
    let mut changes = Vec::new();
    {
        let round = core.nri.round(event, container.id.short()).await;
        for plugin in round.plugins() {
            match round.ask::<_, StopContainerResponse>(&plugin, event, &request).await {
                Ok(answer) => changes.extend(answer.map(|answer| answer.update).unwrap_or_default()),
                Err(report) => tracing::warn!("{report}"),
            }
        }
    }
    drop(order);
    let changes = orlop_nri::changes::Changes { updates: changes, evictions: Vec::new() };
    update::changes(core, &changes).await;
}

/// Nothing of it is left.
pub(crate) async fn removed(core: &Arc<Core>, container: &Arc<Container>) {
    if !core.nri.is_active() {
        return;
    }
    ended(core, container).await;
    let _order = container.nri.order().await;
    if !container.nri.first(REMOVED) {
        return;
    }
    let shown = show::container(core, container).await;
    let pod = show::pod(core, &container.pod);
    let request = RemoveContainerRequest { pod: Some(pod.clone()), container: Some(shown.clone()) };
    let round = core.nri.round(Event::RemoveContainer, container.id.short()).await;
    round.announce(&request, Some(&pod), Some(&shown)).await;
}

/// Its limits are about to be others: which, as plugins want them.
///
/// # Errors
/// What a plugin refuses, what contradicts, what cannot be.
pub(crate) async fn updates(
    core: &Arc<Core>,
    container: &Arc<Container>,
    asked: Limits,
) -> Result<Limits, Report> {
    if !core.nri.is_active() {
        return Ok(asked);
    }
    container.created().await?;
    let mut updating = Updating::new(UpdateContainerRequest {
        pod: Some(show::pod(core, &container.pod)),
        container: Some(show::container(core, container).await),
        linux_resources: Some(limits::shown(&asked)),
    });
    let event = Event::UpdateContainer;
    {
        let round = core.nri.round(event, container.id.short()).await;
        for plugin in round.plugins() {
            let answer = round.ask::<_, UpdateContainerResponse>(&plugin, event, updating.request()).await?;
            let Some(answer) = answer else { continue };
            updating
                .apply(&plugin.name.to_string(), &answer)
                .map_err(|refused| round.refused(Kind::WrongState, refused))?;
        }
    }
    let (own, changes) = updating.finish();
    update::changes(core, &changes).await;
    let Some(own) = own else { return Ok(asked) };
    Ok(Limits { oom_score_adj: asked.oom_score_adj, ..limits::update(&own)? })
}

/// They are.
pub(crate) async fn updated(core: &Arc<Core>, container: &Arc<Container>) {
    if !core.nri.is_active() {
        return;
    }
    let shown = show::container(core, container).await;
    let pod = show::pod(core, &container.pod);
    let request = PostUpdateContainerRequest { pod: Some(pod.clone()), container: Some(shown.clone()) };
    let round = core.nri.round(Event::PostUpdateContainer, container.id.short()).await;
    round.announce(&request, Some(&pod), Some(&shown)).await;
}
