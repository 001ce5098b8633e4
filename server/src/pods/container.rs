//! One container: its state, and what waits for it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use orlop_model::container::ContainerName;
use orlop_model::id::ContainerId;
use orlop_model::life::container::{Deed, Event, Refused, State};
use orlop_model::report::{Kind, Report};
use orlop_model::time::Timestamp;
use orlop_proto::runtime::v1::{ContainerConfig, LinuxContainerResources, Mount};
use orlop_wire::plan::Operation;
use orlop_wire::record::Born;
use tokio::sync::watch;

use super::Core;
use super::ledger::Ledger;
use super::pod::Pod;
use crate::gauges::Gauge;
use crate::shims::Link;

/// One container.
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    pub(crate) pod: Arc<Pod>,
    pub(crate) name: ContainerName,
    /// As it was asked for: given back in statuses, written to the record.
    pub(crate) asked: ContainerConfig,
    pub(crate) created_at: Timestamp,
    /// What creating it brought; `None` while it is being created.
    facts: watch::Sender<Option<Result<Arc<Facts>, Report>>>,
    state: watch::Sender<State>,
    life: Mutex<Life>,
    /// What is remembered of what it uses.
    pub(crate) gauge: Gauge,
    /// The limits that are in force, where they were updated; else those asked for.
    limits: Mutex<Option<Box<LinuxContainerResources>>>,
    /// Held while they are updated, and while it is launched.
    updating: tokio::sync::Mutex<()>,
    /// What plugins have heard of it.
    pub(crate) nri: crate::nri::container::Told,
}

/// What creating a container brought.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// The image's id.
    pub(crate) image: String,
    /// The image's name with its digest, as CRI's `image_ref`.
    pub(crate) image_ref: String,
    /// Log file, absolute; empty: none.
    pub(crate) log_path: String,
    /// What ends it gracefully.
    pub(crate) stop_signal: i32,
    /// Who runs its program: user, group, all groups.
    pub(crate) user: (u32, u32, Vec<u32>),
    /// Its own cgroups, until it has ended.
    pub(crate) cgroups: Vec<PathBuf>,
    /// The one whose `cgroup.kill` ends it.
    pub(crate) unified: Option<PathBuf>,
    /// Its layers, the topmost first.
    pub(crate) layers: Vec<PathBuf>,
    /// The ids of the images that it mounts, in the order of those mounts.
    pub(crate) volumes: Vec<String>,
    /// The container whose PID namespace it lives in, if it is another's.
    pub(crate) target: Option<ContainerId>,
    /// How long hooks may take that come after its end; none: there are none.
    pub(crate) poststop: Option<Duration>,
    /// What an exec's child does, until it has ended; its [`Operation::Execute`] is a pattern.
    pub(crate) exec: Vec<Operation>,
    /// The directory of what its runtime reads, where that is one of others: a command of it is what an exec's child becomes.
    pub(crate) bundle: Option<PathBuf>,
    /// Whether it is restored from a checkpoint, which is removed once it runs.
    pub(crate) restored: bool,
}

impl Facts {
    /// The mounts that were asked for; those of images say which image that is.
    pub(crate) fn mounts(&self, asked: &ContainerConfig) -> Vec<Mount> {
        let mut mounts = asked.mounts.clone();
        let images = mounts.iter_mut().filter_map(|mount| mount.image.as_mut());
        images.zip(&self.volumes).for_each(|(image, id)| image.image_ref.clone_from(id));
        mounts
    }
}

/// What changes while it lives.
#[derive(Default)]
pub(crate) struct Life {
    pub(crate) ledger: Option<Ledger>,
    pub(crate) link: Option<Link>,
    pub(crate) born: Option<Born>,
    /// Why the last removal did not come to its end.
    pub(crate) trouble: Option<Report>,
    /// Keep the layers of its image and of those that it mounts.
    pub(crate) holds: Vec<orlop_image::Lease>,
}

impl Container {
    pub(crate) fn new(
        id: ContainerId,
        pod: Arc<Pod>,
        name: ContainerName,
        asked: ContainerConfig,
        created_at: Timestamp,
    ) -> Self {
        Container {
            id,
            pod,
            name,
            asked,
            created_at,
            facts: watch::Sender::new(None),
            state: watch::Sender::new(State::Created),
            life: Mutex::default(),
            gauge: Gauge::default(),
            limits: Mutex::new(None),
            updating: tokio::sync::Mutex::new(()),
            nri: crate::nri::container::Told::default(),
        }
    }

    /// The last state. Never waits.
    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Whether no process of it can be left.
    pub(crate) fn has_ended(&self) -> bool {
        self.state.borrow().has_ended()
    }

    /// Sets where it stands: after a restart only.
    pub(super) fn recovered(&self, state: State) {
        if state.has_ended() {
            self.shed();
        }
        self.state.send_replace(state);
    }

    /// Lets go of what only a container that runs needs: dead ones may lie about in great numbers.
    fn shed(&self) {
        let Some(facts) = self.facts().filter(|facts| !facts.exec.is_empty()) else { return };
        self.set_facts(Ok(Facts { exec: Vec::new(), cgroups: Vec::new(), ..Facts::clone(&facts) }));
    }

    /// What creating it brought; `None` while it is being created, or if it could not be.
    pub(crate) fn facts(&self) -> Option<Arc<Facts>> {
        self.facts.borrow().as_ref().and_then(|facts| facts.as_ref().ok().cloned())
    }

    pub(super) fn set_facts(&self, facts: Result<Facts, Report>) {
        self.facts.send_replace(Some(facts.map(Arc::new)));
    }

    /// It is created: seen by all from now on.
    pub(super) fn is_created(
        self: &Arc<Self>,
        core: &Core,
        facts: Facts,
        limits: Option<LinuxContainerResources>,
    ) {
        let _order = self.pod.order();
        match limits {
            Some(limits) => self.set_limits(limits, facts),
            None => self.set_facts(Ok(facts)),
        }
        core.events.created(&core.table, self);
    }

    /// Waits until it is created, or could not be.
    ///
    /// # Errors
    /// Why it could not be created.
    pub(crate) async fn created(&self) -> Result<Arc<Facts>, Report> {
        let mut facts = self.facts.subscribe();
        match facts.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(facts)) => facts.clone(),
            // The sender is this container's own.
            _ => Err(Report::new(Kind::Failed, "create container", self.id.short(), "nobody creates it")),
        }
    }

    /// The limits that were updated; `None`: those asked for are in force.
    pub(crate) fn updated_limits(&self) -> Option<LinuxContainerResources> {
        let limits = self.limits.lock().expect("invariant: nothing panics while it holds the limits");
        limits.as_deref().cloned()
    }

    /// The limits that are in force; `None` if none were asked for.
    pub(crate) fn limits(&self) -> Option<LinuxContainerResources> {
        self.updated_limits().or_else(|| self.asked.linux.as_ref()?.resources.clone())
    }

    /// Other limits are in force, and execs have what follows from them.
    pub(super) fn set_limits(&self, limits: LinuxContainerResources, facts: Facts) {
        let limits = Some(Box::new(limits));
        *self.limits.lock().expect("invariant: nothing panics while it holds the limits") = limits;
        self.set_facts(Ok(facts));
    }

    /// Held while its limits are updated or it is launched: one after the other.
    pub(crate) async fn updating(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.updating.lock().await
    }

    /// What changes while it lives, for a short look or change.
    pub(crate) fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().expect("invariant: nothing panics while it holds a container's life")
    }

    /// Changes the ledger, which is there from the first step of creating on.
    pub(crate) fn with_ledger<T>(
        &self,
        change: impl FnOnce(&mut Ledger) -> Result<T, Report>,
    ) -> Result<T, Report> {
        match self.life().ledger.as_mut() {
            Some(ledger) => change(ledger),
            None => Err(Report::new(Kind::Failed, "write ledger", self.id.short(), "it is not open")),
        }
    }

    /// How much longer than another it may take to end: hooks come after its end.
    pub(super) fn lingers(&self) -> Duration {
        self.facts().and_then(|facts| facts.poststop).unwrap_or_default()
    }

    /// When its program began; [`Timestamp::NEVER`] if it has not.
    pub(crate) fn started_at(&self) -> Timestamp {
        self.life().born.as_ref().map_or(Timestamp::NEVER, |born| Timestamp(born.at))
    }

    /// Tells what happened; has done what follows from it.
    ///
    /// # Errors
    /// [`Refused`] as the state says.
    pub(super) fn tell(self: &Arc<Self>, core: &Arc<Core>, event: &Event) -> Result<(), Refused> {
        let order = self.pod.order();
        let mut outcome = Ok(None);
        let mut change = None;
        self.state.send_if_modified(|state| match state.on(event, Instant::now(), super::now()) {
            Ok((next, deed)) => {
                outcome = Ok(deed);
                let changed = *state != next;
                if changed {
                    change = Some((std::mem::replace(state, next.clone()), next));
                }
                changed
            }
            Err(refused) => {
                outcome = Err(refused);
                false
            }
        });
        let mut patience = None;
        if let Some((before, after)) = change {
            if let (State::Created, State::Exited(exit)) = (&before, &after) {
                // No shim writes down that it has ended.
                super::deeds::keep_exit(core, self, exit);
            }
            if let State::Stopping { kill_at } = after {
                patience = Some(kill_at);
            }
            if after.has_ended() {
                self.shed();
            }
            core.events.container_changed(&core.table, self, &before, &after);
        }
        drop(order);
        if self.state.borrow().has_ended() {
            self.gauge.let_go();
            self.tell_plugins(core);
        }
        if let Some(kill_at) = patience.filter(|kill_at| *kill_at > Instant::now()) {
            let (container, core) = (Arc::clone(self), Arc::clone(core));
            tokio::spawn(async move {
                tokio::select! {
                    () = tokio::time::sleep_until(kill_at.into()) => {
                        // An earlier end is news that is in the state already.
                        let _ = container.tell(&core, &Event::PatienceEnded);
                    }
                    _ = container.until(State::has_ended) => {}
                }
            });
        }
        if let Some(deed) = outcome? {
            let (container, core) = (Arc::clone(self), Arc::clone(core));
            tokio::spawn(async move {
                match deed {
                    Deed::Launch => super::deeds::launch(&core, &container).await,
                    Deed::Ask => super::deeds::ask(&container).await,
                    Deed::Kill => super::deeds::kill(&core, &container).await,
                    Deed::TearDown => super::down::remove_container(&core, &container).await,
                }
            });
        }
        Ok(())
    }

    /// Plugins hear that it has ended, behind everybody's back.
    fn tell_plugins(self: &Arc<Self>, core: &Arc<Core>) {
        if core.nri.is_active() {
            let (container, core) = (Arc::clone(self), Arc::clone(core));
            tokio::spawn(async move { crate::nri::container::ended(&core, &container).await });
        } else {
            self.nri.ended_unheard();
        }
    }

    /// Waits for a state.
    pub(super) async fn until(&self, enough: impl FnMut(&State) -> bool) -> State {
        let mut state = self.state.subscribe();
        // An error would mean that the container is dropped, and this borrows it.
        state.wait_for(enough).await.map_or_else(|_| self.state(), |state| state.clone())
    }

    /// Has it run. Joins a start that is under way.
    ///
    /// # Errors
    /// Why it is not running: refused, or the report of the stage that failed.
    pub(crate) async fn start(self: &Arc<Self>, core: &Arc<Core>) -> Result<(), Report> {
        self.created().await?;
        let block = core.nri.block().await;
        crate::nri::container::starts(core, self).await?;
        self.tell(core, &Event::Start).map_err(|refused| self.refused("start container", refused))?;
        let ran = || self.life().born.is_some();
        let mut state = self.until(|state| !matches!(state, State::Created | State::Starting)).await;
        if !state.has_ended() && !ran() {
            // It was stopped before it runs: it may run yet, for a moment, or never.
            state = self.until(State::has_ended).await;
        }
        drop(block);
        if ran() {
            crate::nri::container::started(core, self).await;
            return Ok(());
        }
        Err(state.exit().and_then(|exit| exit.report.clone()).unwrap_or_else(|| {
            let cause = "it was stopped before its program ran";
            Report::new(Kind::WrongState, "start container", self.id.short(), cause)
        }))
    }

    /// Has it end within `grace`, and returns when no process of it is left. Joins a stop that is under way.
    pub(crate) async fn stop(self: &Arc<Self>, core: &Arc<Core>, grace: Duration) {
        if self.created().await.is_ok() {
            // Never refused: stopping what has ended is no error.
            let _ = self.tell(core, &Event::Stop { grace });
            self.until(State::has_ended).await;
            crate::nri::container::ended(core, self).await;
        }
    }

    /// Removes it; one that runs is killed first. Joins a removal that is under way.
    ///
    /// # Errors
    /// What did not come down; the next removal tries it again.
    pub(crate) async fn remove(self: &Arc<Self>, core: &Arc<Core>) -> Result<(), Report> {
        if self.created().await.is_err() {
            return Ok(());
        }
        if !self.state().has_ended() && self.state() != State::Created {
            let _ = self.tell(core, &Event::Remove);
            self.until(State::has_ended).await;
        }
        self.tell(core, &Event::Remove).map_err(|refused| self.refused("remove container", refused))?;
        match self.until(|state| !matches!(state, State::Removing(_))).await {
            State::Gone => Ok(()),
            _ => Err(self.life().trouble.clone().unwrap_or_else(|| {
                Report::new(Kind::Failed, "remove container", self.id.short(), "it did not come down")
            })),
        }
    }

    fn refused(&self, stage: &str, refused: Refused) -> Report {
        Report::new(Kind::WrongState, stage, self.id.short(), refused)
    }
}

/// A state in a word.
pub(crate) fn word(state: &State) -> &'static str {
    match state {
        State::Created => "created",
        State::Starting => "starting",
        State::Running => "running",
        State::Stopping { .. } => "stopping",
        State::Exited(_) => "exited",
        State::Removing(_) => "removing",
        State::Gone => "gone",
    }
}
