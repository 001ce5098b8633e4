//! What has happened to pods and containers, told in order and by number to whoever listens.
//!
//! ```text
//!  a state changes (pods) ─▶ note: who stands how, now ─▶ recorder: told already? number, journal ─▶ readers, each at its own pace
//!     under the pod's order      nothing is waited for        one thread
//! ```
//!
//! | room | what it is for |
//! | --- | --- |
//! | `journal` | events on disk, bounded, by number |
//! | `recorder` | what has been told of whom; what happened while no daemon ran |
//! | `reader` | one listener |
//!
//! Told are: of a container that it was created, has started, has ended, is gone; of a pod the same, with the pod's id as the
//! container's: created and started once it is ready, stopped once nothing runs in it and its network is down, deleted.
//!
//! *Invariant:* each of these is told once in a life, also over restarts and crashes of the daemon, and is in the journal before
//! anyone hears it. Nobody who changes a state waits for a listener or the disk. Events of one pod are in the order in which its
//! and its containers' states changed, and a later one shows no earlier state. A listener that falls behind further than the journal
//! reaches is told so; it never misses an event without knowing.

mod journal;
mod reader;
mod recorder;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};

use orlop_model::life::container::State;
use orlop_model::life::pod::State as PodState;
use orlop_model::report::{Kind, Report};
use orlop_model::time::Timestamp;
use orlop_proto::orlop::v1::JournalEvent;
use orlop_proto::runtime::v1::ContainerEventType::{self, ContainerCreatedEvent as Created};
use orlop_proto::runtime::v1::ContainerEventType::{
    ContainerDeletedEvent as Deleted, ContainerStartedEvent as Started, ContainerStoppedEvent as Stopped,
};
use tokio::sync::{oneshot, watch};

use crate::pods::container::Container;
use crate::pods::pod::Pod;
use crate::pods::table::Table;
use crate::pods::{Core, Places};
use journal::{Bound, Journal};
pub(crate) use reader::listen;
use recorder::Recorder;

/// A listener may be behind by so many events, or so many bytes of them, whichever is less.
const BOUND: Bound = Bound { events: 4096, bytes: 8 << 20 };

/// Events, and their journal.
pub(crate) struct Events {
    notes: mpsc::Sender<Note>,
    journal: Arc<Mutex<Journal>>,
    newest: Arc<watch::Sender<Newest>>,
    /// Until it begins.
    recorder: Mutex<Option<(Recorder, mpsc::Receiver<Note>)>>,
    /// The last event's time.
    clock: AtomicI64,
}

/// How far it is.
#[derive(Debug, Clone, Copy, Default)]
struct Newest {
    number: u64,
    /// The daemon ends.
    ending: bool,
}

/// What the recorder is handed.
enum Note {
    /// Something that has happened.
    Happened(Box<Noted>),
    /// A question for the number of the last event that was noted before.
    Until(oneshot::Sender<u64>),
}

/// Something that has happened, and how all of the pod stood then.
pub(crate) struct Noted {
    /// One after the other; what has been told already is not told again.
    types: Vec<ContainerEventType>,
    at: Timestamp,
    /// Of a container or of the pod itself.
    id: String,
    name: String,
    pub(crate) pod: Arc<Pod>,
    pub(crate) pod_state: PodState,
    /// The newest first.
    pub(crate) containers: Vec<Seen>,
}

/// How a container stood.
pub(crate) struct Seen {
    pub(crate) container: Arc<Container>,
    pub(crate) state: State,
    pub(crate) started_at: Timestamp,
}

impl Events {
    /// Opens the journal.
    ///
    /// # Errors
    /// If the disk does not let it.
    pub(crate) fn open(places: &Places) -> Result<Self, Report> {
        let (directory, floor) = (places.state.join("events"), places.root.join("events"));
        let (journal, found) = Journal::open(&directory, floor, BOUND)?;
        let newest = Newest { number: journal.newest(), ending: false };
        let (journal, newest) = (Arc::new(Mutex::new(journal)), Arc::new(watch::Sender::new(newest)));
        let (notes, inbox) = mpsc::channel();
        let recorder = Recorder::new(Arc::clone(&journal), Arc::clone(&newest), places.clone(), found);
        let recorder = Mutex::new(Some((recorder, inbox)));
        Ok(Events { notes, journal, newest, recorder, clock: AtomicI64::new(0) })
    }

    /// Tells what happened while no daemon ran, as far as the table shows it, and begins with what happens from now on. Once.
    ///
    /// # Errors
    /// If the journal cannot be written, or there is no thread.
    pub(crate) fn begin(&self, core: &Core) -> Result<(), Report> {
        let taken =
            self.recorder.lock().expect("invariant: nothing panics while it holds the recorder").take();
        let Some((mut recorder, inbox)) = taken else { return Ok(()) };
        recorder.catch_up(core)?;
        let thread = std::thread::Builder::new().name("events".into()).stack_size(256 << 10);
        thread
            .spawn(move || {
                for note in inbox {
                    match note {
                        Note::Happened(noted) => recorder.record(&noted),
                        // Whoever asked may have left.
                        Note::Until(asked) => drop(asked.send(recorder.newest())),
                    }
                }
            })
            .map(drop)
            .map_err(|error| Report::new(Kind::Failed, "start thread", "events", error))
    }

    /// A container is created. To be called under its pod's order.
    pub(crate) fn created(&self, table: &Table, container: &Arc<Container>) {
        self.note_container(table, container, vec![Created]);
    }

    /// A container's state has changed. To be called under its pod's order.
    pub(crate) fn container_changed(
        &self,
        table: &Table,
        container: &Arc<Container>,
        before: &State,
        after: &State,
    ) {
        let types = of_container(before, after, container.started_at() != Timestamp::NEVER);
        self.note_container(table, container, types);
    }

    fn note_container(&self, table: &Table, container: &Arc<Container>, types: Vec<ContainerEventType>) {
        if !types.is_empty() {
            let (id, name) = (container.id.to_string(), container.name.name.clone());
            self.note(table, &container.pod, id, name, types);
        }
    }

    /// A pod's state has changed. To be called under its order.
    pub(crate) fn pod_changed(&self, table: &Table, pod: &Arc<Pod>, before: &PodState, after: &PodState) {
        let types = of_pod(before, after);
        if !types.is_empty() {
            self.note(table, pod, pod.id.to_string(), pod_name(pod), types);
        }
    }

    fn note(&self, table: &Table, pod: &Arc<Pod>, id: String, name: String, types: Vec<ContainerEventType>) {
        // If the recorder is gone, the daemon ends: its successor tells it.
        let noted = Noted::now(table, pod, id, name, types, self.stamp());
        let _ = self.notes.send(Note::Happened(Box::new(noted)));
    }

    /// The time; later than every one that was given before, by what one note's events need.
    fn stamp(&self) -> Timestamp {
        let now = crate::pods::now().0;
        let later = |last: i64| Some(now.max(last + 4));
        // It never fails: there is always a later time.
        let last = self.clock.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later).unwrap_or_default();
        Timestamp(now.max(last + 4))
    }

    /// The number of the last event of what has happened until now: once the recorder is that far, a moment later.
    pub(crate) fn now(&self) -> impl Future<Output = u64> + Send + use<> {
        let (ask, asked) = oneshot::channel();
        let _ = self.notes.send(Note::Until(ask));
        let last = self.newest.borrow().number;
        async move { asked.await.unwrap_or(last) }
    }

    /// After which number a client is told that has heard up to `since`; without one, all that is kept. `newest` is the last
    /// number that it can have heard.
    ///
    /// # Errors
    /// `TooOld` if what comes after it is no longer kept; `BadRequest` if no event has this number yet.
    pub(crate) fn after(&self, since: Option<u64>, newest: u64) -> Result<u64, Report> {
        let journal = self.journal();
        let Some(since) = since else { return Ok(journal.kept_from() - 1) };
        if since > newest {
            let cause = format!("no event has this number yet; the last has {newest}");
            return Err(Report::field("since", since, cause));
        }
        journal.read(since).map(|_| since)
    }

    fn read(&self, after: u64) -> Result<Option<JournalEvent>, Report> {
        self.journal().read(after)
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().expect("invariant: nothing panics while it holds the journal")
    }

    /// The daemon ends: listeners are told.
    pub(crate) fn end(&self) {
        self.newest.send_modify(|newest| newest.ending = true);
    }
}

impl Noted {
    fn now(
        table: &Table,
        pod: &Arc<Pod>,
        id: String,
        name: String,
        types: Vec<ContainerEventType>,
        at: Timestamp,
    ) -> Self {
        let seen = |container: Arc<Container>| Seen {
            state: container.state(),
            started_at: container.started_at(),
            container,
        };
        let containers = table.foremost_of(&pod.id).into_iter().map(seen).collect();
        Noted { types, at, id, name, pod: Arc::clone(pod), pod_state: pod.state(), containers }
    }
}

fn pod_name(pod: &Pod) -> String {
    format!("{}/{}", pod.config.name.namespace, pod.config.name.name)
}

/// What is told of a container whose state has changed.
fn of_container(before: &State, after: &State, ran: bool) -> Vec<ContainerEventType> {
    match after {
        State::Running => vec![Started],
        // One that was killed while it started has started, too.
        State::Exited(_) if !before.has_ended() => {
            if ran {
                vec![Started, Stopped]
            } else {
                vec![Stopped]
            }
        }
        State::Gone => vec![Deleted],
        State::Exited(_) | State::Created | State::Starting | State::Stopping { .. } | State::Removing(_) => {
            Vec::new()
        }
    }
}

/// What is told of a pod whose state has changed.
fn of_pod(before: &PodState, after: &PodState) -> Vec<ContainerEventType> {
    match after {
        PodState::Ready if *before == PodState::Making => vec![Created, Started],
        PodState::NotReady if *before == PodState::Stopping => vec![Stopped],
        // One that was removed without a stop has stopped, too.
        PodState::Gone(None) => vec![Stopped, Deleted],
        // What never was made is told by nobody.
        PodState::Gone(Some(_))
        | PodState::Ready
        | PodState::NotReady
        | PodState::Making
        | PodState::Stopping
        | PodState::Removing => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use orlop_model::life::container::Exit;

    use super::*;

    #[test]
    fn each_turn_of_a_life_is_told() {
        let exit = || Exit::unborn(Timestamp(1));
        let stopping = State::Stopping { kill_at: Instant::now() };
        for (before, after, ran, told) in [
            (State::Created, State::Starting, false, vec![]),
            (State::Starting, State::Running, true, vec![Started]),
            (State::Running, stopping.clone(), true, vec![]),
            (stopping, State::Exited(exit()), true, vec![Started, Stopped]),
            (State::Running, State::Exited(exit()), true, vec![Started, Stopped]),
            (State::Starting, State::Exited(exit()), false, vec![Stopped]),
            (State::Created, State::Exited(exit()), false, vec![Stopped]),
            (State::Exited(exit()), State::Removing(exit()), true, vec![]),
            (State::Removing(exit()), State::Exited(exit()), true, vec![]),
            (State::Removing(exit()), State::Gone, true, vec![Deleted]),
        ] {
            assert_eq!(of_container(&before, &after, ran), told, "{before:?} to {after:?}");
        }
    }

    #[test]
    fn of_a_pod_that_never_was_nothing_is_told() {
        let report = Report::new(Kind::Failed, "a", "b", "c");
        assert_eq!(of_pod(&PodState::Making, &PodState::Gone(Some(report))), []);
        assert_eq!(of_pod(&PodState::Making, &PodState::Ready), [Created, Started]);
        assert_eq!(of_pod(&PodState::Stopping, &PodState::Ready), [], "a stop that failed starts nothing");
        assert_eq!(of_pod(&PodState::Stopping, &PodState::NotReady), [Stopped]);
        assert_eq!(of_pod(&PodState::Removing, &PodState::Gone(None)), [Stopped, Deleted]);
    }
}
