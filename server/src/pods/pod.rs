//! One pod: its state, and what waits for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use orlop_model::id::PodId;
use orlop_model::life::pod::{Deed, Event, Refused, State};
use orlop_model::pod::{PidMode, PodConfig};
use orlop_model::report::{Kind, Report};
use orlop_model::time::Timestamp;
use orlop_proto::runtime::v1::PodSandboxConfig;
use tokio::sync::watch;

use super::Core;
use super::ledger::Ledger;
use super::sums::Sums;
use crate::gauges::Gauge;

/// One pod.
pub(crate) struct Pod {
    pub(crate) id: PodId,
    pub(crate) config: PodConfig,
    /// As it was asked for: given back in statuses, written to the record.
    pub(crate) asked: PodSandboxConfig,
    pub(crate) created_at: Timestamp,
    /// The cgroup that its containers are in, as a path; it was decided when the pod was asked for.
    pub(crate) cgroup: OnceLock<String>,
    /// What making it brought; unset before.
    made: OnceLock<Made>,
    state: watch::Sender<State>,
    ledger: Mutex<Option<Ledger>>,
    /// Why the last stop or removal did not come to its end.
    trouble: Mutex<Option<Report>>,
    superseded: AtomicBool,
    /// What was updated last; unset: as asked for.
    sums: Mutex<Option<Box<Sums>>>,
    /// Held while they are updated.
    updating: tokio::sync::Mutex<()>,
    /// Held while a state of it or of a container of it changes and that is noted: so events are in the order of changes.
    order: Mutex<()>,
    /// What is remembered of what it uses.
    pub(crate) gauge: Gauge,
    /// What plugins have heard of it.
    pub(crate) told: crate::nri::pod::Told,
}

/// What making a pod brought.
#[derive(Debug, Clone, Default)]
pub(crate) struct Made {
    /// Its addresses, IPv4 first.
    pub(crate) addresses: Vec<std::net::IpAddr>,
    /// The first process of its PID namespace, where it has one.
    pub(crate) init: Option<i32>,
    /// Where the time went: what, and microseconds that it took.
    pub(crate) stages: Vec<(String, u64)>,
}

impl Pod {
    pub(crate) fn new(
        id: PodId,
        config: PodConfig,
        asked: PodSandboxConfig,
        created_at: Timestamp,
        state: State,
    ) -> Self {
        Pod {
            id,
            config,
            asked,
            created_at,
            cgroup: OnceLock::new(),
            made: OnceLock::new(),
            state: watch::Sender::new(state),
            ledger: Mutex::new(None),
            trouble: Mutex::new(None),
            superseded: AtomicBool::new(false),
            sums: Mutex::new(None),
            updating: tokio::sync::Mutex::new(()),
            order: Mutex::new(()),
            gauge: Gauge::default(),
            told: crate::nri::pod::Told::default(),
        }
    }

    /// The last state. Never waits.
    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// What making it brought; `None` while it is being made.
    pub(crate) fn made(&self) -> Option<&Made> {
        self.made.get()
    }

    pub(super) fn set_made(&self, made: Made) {
        // It is made once.
        let _ = self.made.set(made);
    }

    /// Its ledger, for a short look or change.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Option<Ledger>> {
        self.ledger.lock().expect("invariant: nothing panics while it holds a ledger")
    }

    /// Changes the ledger, which is there from the first step of making on.
    pub(super) fn with_ledger<T>(
        &self,
        change: impl FnOnce(&mut Ledger) -> Result<T, Report>,
    ) -> Result<T, Report> {
        match self.ledger().as_mut() {
            Some(ledger) => change(ledger),
            None => Err(Report::new(Kind::Failed, "write ledger", self.id.short(), "it is not open")),
        }
    }

    /// Whether it has an init process.
    pub(crate) fn has_init(&self) -> bool {
        self.config.namespaces.pid == PidMode::Pod
    }

    /// A later attempt has come: the making of this one is to end.
    pub(super) fn supersede(&self) {
        self.superseded.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Relaxed)
    }

    /// What it may use, all in all, as kubelet told it last.
    pub(crate) fn sums(&self) -> Sums {
        let updated = self.sums.lock().expect("invariant: nothing panics while it holds the sums").clone();
        let asked = || {
            let linux = self.asked.linux.clone().unwrap_or_default();
            Sums { resources: linux.resources, overhead: linux.overhead }
        };
        updated.map_or_else(asked, |sums| *sums)
    }

    pub(super) fn set_sums(&self, sums: Sums) {
        *self.sums.lock().expect("invariant: nothing panics while it holds the sums") = Some(Box::new(sums));
    }

    /// Held while its sums are updated: one after the other.
    pub(super) async fn updating(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.updating.lock().await
    }

    /// Held while a state of it or of its containers changes. Nothing is waited for meanwhile.
    pub(super) fn order(&self) -> MutexGuard<'_, ()> {
        self.order.lock().expect("invariant: nothing panics while it holds the order")
    }

    pub(super) fn set_trouble(&self, report: Report) {
        *self.trouble.lock().expect("invariant: nothing panics while it holds this") = Some(report);
    }

    fn trouble(&self) -> Report {
        let trouble = self.trouble.lock().expect("invariant: nothing panics while it holds this").clone();
        trouble.unwrap_or_else(|| {
            Report::new(Kind::Failed, "stop pod", self.id.short(), "it did not come to its end")
        })
    }

    /// Tells what happened; has done what follows from it.
    ///
    /// # Errors
    /// [`Refused`] as the state says.
    pub(super) fn tell(self: &Arc<Self>, core: &Arc<Core>, event: &Event) -> Result<(), Refused> {
        let mut outcome = Ok(None);
        let mut change = None;
        let order = self.order();
        self.state.send_if_modified(|state| match state.on(event) {
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
        if let Some((before, after)) = change {
            core.events.pod_changed(&core.table, self, &before, &after);
        }
        drop(order);
        if let Some(deed) = outcome? {
            let (pod, core) = (Arc::clone(self), Arc::clone(core));
            tokio::spawn(async move {
                match deed {
                    Deed::Stop => super::down::stop_pod(&core, &pod).await,
                    Deed::TearDown => super::down::remove_pod(&core, &pod).await,
                }
            });
        }
        Ok(())
    }

    async fn until(&self, enough: impl FnMut(&State) -> bool) -> State {
        let mut state = self.state.subscribe();
        // An error would mean that the pod is dropped, and this borrows it.
        state.wait_for(enough).await.map_or_else(|_| self.state(), |state| state.clone())
    }

    /// Waits until it is made, or could not be.
    ///
    /// # Errors
    /// Why it could not be made.
    pub(crate) async fn ready(&self) -> Result<(), Report> {
        match self.until(|state| *state != State::Making).await {
            State::Gone(Some(report)) => Err(report),
            _ => Ok(()),
        }
    }

    /// Ends its containers, takes its network down. Joins a stop that is under way.
    ///
    /// # Errors
    /// What did not come down; the next stop tries it again.
    pub(crate) async fn stop(self: &Arc<Self>, core: &Arc<Core>) -> Result<(), Report> {
        if self.ready().await.is_err() {
            return Ok(());
        }
        self.tell(core, &Event::Stop).map_err(|refused| self.refused("stop pod", refused))?;
        match self.until(|state| *state != State::Stopping).await {
            State::Ready => Err(self.trouble()),
            _ => Ok(()),
        }
    }

    /// Removes it and its containers. Joins a removal that is under way.
    ///
    /// # Errors
    /// What did not come down; the next removal tries it again.
    pub(crate) async fn remove(self: &Arc<Self>, core: &Arc<Core>) -> Result<(), Report> {
        if self.ready().await.is_err() {
            return Ok(());
        }
        // A stop that is under way walks the same ledger.
        self.until(|state| *state != State::Stopping).await;
        self.tell(core, &Event::Remove).map_err(|refused| self.refused("remove pod", refused))?;
        match self.until(|state| *state != State::Removing).await {
            State::NotReady | State::Ready => Err(self.trouble()),
            _ => Ok(()),
        }
    }

    fn refused(&self, stage: &str, refused: Refused) -> Report {
        Report::new(Kind::WrongState, stage, self.id.short(), refused)
    }
}
