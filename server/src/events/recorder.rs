//! What has been told of whom, and what has still to be told.
//!
//! *Invariant:* an event is told if its mark is not set, and its mark is set with it: so each is told once, whatever the core says
//! twice and whatever a predecessor had told already. Marks of what is gone stay until its directory is gone, too: until then a
//! successor may find it there again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use orlop_model::id::{ContainerId, PodId};
use orlop_model::life::container::State;
use orlop_model::life::pod::State as PodState;
use orlop_model::report::Report;
use orlop_model::time::Timestamp;
use orlop_proto::orlop::v1::{JournalEvent, JournalHead, JournalMark};
use orlop_proto::runtime::v1::ContainerEventType::{
    self, ContainerCreatedEvent as Created, ContainerDeletedEvent as Deleted,
    ContainerStartedEvent as Started, ContainerStoppedEvent as Stopped,
};
use orlop_proto::runtime::v1::{ContainerEventResponse, PodSandboxState, PodSandboxStatus};
use prost::Message as _;
use tokio::sync::watch;

use super::journal::{Found, Journal};
use super::{Newest, Noted, pod_name};
use crate::cri::shape;
use crate::pods::container::Container;
use crate::pods::pod::Pod;
use crate::pods::{Core, Places};

/// An id's 64 digits as bytes: each of tens of thousands of dead containers has a mark.
type Key = [u8; 32];

fn key(id: &str) -> Option<Key> {
    let mut key = [0; 32];
    let digits = id.as_bytes().chunks_exact(2);
    if id.len() != 64 {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(digits) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(key)
}

/// More than this is not told by a daemon that starts: it would hold up all who wait for it.
const MOST: usize = 1000;

/// What has been told of one.
#[derive(Debug, Clone, Copy)]
struct Mark {
    pod: Key,
    told: u32,
}

fn bit(of: ContainerEventType) -> u32 {
    1 << (of as u32)
}

/// Writes events down, one after the other.
pub(super) struct Recorder {
    journal: Arc<Mutex<Journal>>,
    newest: Arc<watch::Sender<Newest>>,
    places: Places,
    marks: HashMap<Key, Mark>,
    found: Option<Found>,
}

impl Recorder {
    pub(super) fn new(
        journal: Arc<Mutex<Journal>>,
        newest: Arc<watch::Sender<Newest>>,
        places: Places,
        found: Option<Found>,
    ) -> Self {
        let mut marks = HashMap::new();
        let head = found.iter().flat_map(|found| &found.head.marks);
        let since = found.iter().flat_map(|found| &found.since);
        let head = head.map(|mark| (&mark.id, &mark.pod_id, mark.told));
        let since = since.map(|event| (&event.id, &event.pod_id, 1 << (event.r#type & 31)));
        for (id, pod, told) in head.chain(since) {
            if let (Some(id), Some(pod)) = (key(id), key(pod)) {
                marks.entry(id).or_insert(Mark { pod, told: 0 }).told |= told;
            }
        }
        Recorder { journal, newest, places, marks, found }
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().expect("invariant: nothing panics while it holds the journal")
    }

    /// Tells what a predecessor has not told of what there is, and of what is no longer there. Where there was no journal, nobody
    /// knows what was told; where there is more than anyone could follow, nobody would: then all that there is counts as told, and
    /// listeners begin anew.
    ///
    /// # Errors
    /// If a journal cannot be begun.
    pub(super) fn catch_up(&mut self, core: &Core) -> Result<(), Report> {
        let there = self.there(core);
        let gone = self.gone(core);
        match self.found.take() {
            Some(found) if there.len() + gone.len() <= MOST => {
                self.tell_gone(core, &found, gone);
                for untold in there {
                    self.record(&untold.tell(core));
                }
                Ok(())
            }
            found => {
                if found.is_some() {
                    tracing::warn!(
                        untold = there.len() + gone.len(),
                        "more than can be told; events begin anew"
                    );
                }
                self.marks.clear();
                // All of it, now that nothing is known to have been told.
                for untold in self.there(core) {
                    self.mark(&untold.id, untold.pod.id.as_str(), &untold.types);
                }
                let head = self.head();
                self.journal().begin_anew(head)
            }
        }
    }

    /// What is there and has not been told of.
    fn there(&self, core: &Core) -> Vec<Untold> {
        let pods = core.table.pods().into_iter().map(|pod| Untold {
            id: pod.id.to_string(),
            name: pod_name(&pod),
            types: of_pod(&pod.state()),
            pod,
        });
        let containers = core.table.containers().into_iter().map(|container| Untold {
            id: container.id.to_string(),
            name: container.name.name.clone(),
            types: of_container(&container),
            pod: Arc::clone(&container.pod),
        });
        let untold = pods.chain(containers).filter_map(|mut thing| {
            let told = if self.found.is_some() { self.told(&thing.id) } else { 0 };
            thing.types.retain(|of| told & bit(*of) == 0);
            (!thing.types.is_empty()).then_some(thing)
        });
        untold.collect()
    }

    /// What was told of and is no longer there: containers first, so that the pod is the last of its own.
    fn gone(&self, core: &Core) -> Vec<(Key, Mark)> {
        let mut gone: Vec<(Key, Mark)> = self.marks.iter().map(|(id, mark)| (*id, *mark)).collect();
        gone.retain(|(id, mark)| mark.told & bit(Deleted) == 0 && !core.table.has(&text(id)));
        gone.sort_by_key(|(id, mark)| (mark.pod, *id == mark.pod, *id));
        gone
    }

    /// Tells of what is gone: its daemon was killed before it told that, too.
    fn tell_gone(&mut self, core: &Core, found: &Found, gone: Vec<(Key, Mark)>) {
        for (id, mark) in gone {
            let (id, pod) = (text(&id), text(&mark.pod));
            // What never ran has not stopped when it went.
            let types = if mark.told & bit(Started) == 0 { vec![Deleted] } else { vec![Stopped, Deleted] };
            let types = untold(&types, mark.told);
            let name = last_of(found, |event| event.id == id).map(|event| event.name.clone());
            let (name, at) = (name.unwrap_or_default(), core.events.stamp());
            if let Some(pod) = core.table.exact_pod(&pod) {
                self.record(&Noted::now(&core.table, &pod, id, name, types, at));
                continue;
            }
            let status = self.last_status(found, pod);
            for (of, later) in types.into_iter().zip(0..) {
                let event = ContainerEventResponse {
                    container_id: id.clone(),
                    container_event_type: of.into(),
                    created_at: at.0 + later,
                    pod_sandbox_status: Some(status.clone()),
                    containers_statuses: Vec::new(),
                };
                self.write(of, &id, &status.id, &name, &event);
            }
        }
    }

    /// How a pod that is gone stood when something was last told of it; now it is not ready.
    fn last_status(&self, found: &Found, pod: String) -> PodSandboxStatus {
        let number = last_of(found, |event| event.pod_id == pod).map(|event| event.number);
        let event = number.and_then(|number| self.journal().read(number - 1).ok().flatten());
        let event = event.and_then(|event| ContainerEventResponse::decode(&*event.event).ok());
        let status = event.and_then(|event| event.pod_sandbox_status).unwrap_or_default();
        PodSandboxStatus { id: pod, state: PodSandboxState::SandboxNotready.into(), network: None, ..status }
    }

    /// The number of the last event.
    pub(super) fn newest(&self) -> u64 {
        self.journal().newest()
    }

    fn told(&self, id: &str) -> u32 {
        key(id).and_then(|key| self.marks.get(&key)).map_or(0, |mark| mark.told)
    }

    fn mark(&mut self, id: &str, pod: &str, types: &[ContainerEventType]) {
        if let (Some(id), Some(pod)) = (key(id), key(pod)) {
            let mark = self.marks.entry(id).or_insert(Mark { pod, told: 0 });
            for of in types {
                mark.told |= bit(*of);
            }
        }
    }

    /// Writes down what is noted, as far as it has not been told.
    pub(super) fn record(&mut self, noted: &Noted) {
        for (of, later) in noted.types.iter().zip(0..) {
            if self.told(&noted.id) & bit(*of) == 0 {
                let event = shape::event(noted, &noted.id, *of, Timestamp(noted.at.0 + later));
                self.write(*of, &noted.id, noted.pod.id.as_str(), &noted.name, &event);
            }
        }
    }

    fn write(
        &mut self,
        of: ContainerEventType,
        id: &str,
        pod: &str,
        name: &str,
        event: &ContainerEventResponse,
    ) {
        if self.journal().is_full()
            && let Err(report) = self.turn()
        {
            tracing::warn!("{report}");
        }
        let event = JournalEvent {
            number: 0,
            r#type: of as u32,
            id: id.into(),
            pod_id: pod.into(),
            name: name.into(),
            event: event.encode_to_vec(),
        };
        let written = self.journal().write(event);
        self.mark(id, pod, &[of]);
        if let Err(report) = written {
            tracing::error!("an event was not kept, and listeners begin anew: {report}");
        }
        crate::failpoint::pass("event.written");
        let number = self.newest();
        self.newest.send_modify(|newest| newest.number = number);
    }

    /// Goes on in the journal's other file, with what has been told of all that there is.
    fn turn(&mut self) -> Result<(), Report> {
        let places = &self.places;
        self.marks.retain(|id, mark| {
            mark.told & bit(Deleted) == 0
                || text(id).parse::<PodId>().is_ok_and(|id| places.pod(&id).exists())
                || text(id).parse::<ContainerId>().is_ok_and(|id| places.container(&id).exists())
        });
        self.marks.shrink_to_fit();
        let head = self.head();
        self.journal().turn(head)
    }

    /// What has been told.
    fn head(&self) -> JournalHead {
        let mark = |(id, mark): (&Key, &Mark)| JournalMark {
            id: text(id),
            pod_id: text(&mark.pod),
            told: mark.told,
        };
        JournalHead { marks: self.marks.iter().map(mark).collect(), ..JournalHead::default() }
    }
}

/// What has to be told of something that there is.
struct Untold {
    id: String,
    name: String,
    types: Vec<ContainerEventType>,
    pod: Arc<Pod>,
}

impl Untold {
    fn tell(self, core: &Core) -> Noted {
        Noted::now(&core.table, &self.pod, self.id, self.name, self.types, core.events.stamp())
    }
}

/// An id's digits.
fn text(key: &Key) -> String {
    PodId::from_random(*key).to_string()
}

fn untold(types: &[ContainerEventType], told: u32) -> Vec<ContainerEventType> {
    types.iter().copied().filter(|of| told & bit(*of) == 0).collect()
}

/// The last that an earlier daemon told of something.
fn last_of(found: &Found, mut what: impl FnMut(&JournalEvent) -> bool) -> Option<&JournalEvent> {
    found.before.iter().chain(&found.since).rfind(|event| what(event))
}

/// What is to be told of a pod that there is. That it has stopped is told when it has: a stop that was under way goes on.
fn of_pod(state: &PodState) -> Vec<ContainerEventType> {
    match state {
        PodState::Ready | PodState::Stopping | PodState::NotReady | PodState::Removing => {
            vec![Created, Started]
        }
        PodState::Making | PodState::Gone(_) => Vec::new(),
    }
}

/// What is to be told of a container that there is.
fn of_container(container: &Container) -> Vec<ContainerEventType> {
    let ran = container.started_at() != Timestamp::NEVER;
    let started = if ran { Some(Started) } else { None };
    match container.state() {
        State::Created | State::Starting | State::Running | State::Stopping { .. } => {
            [Some(Created), started].into_iter().flatten().collect()
        }
        // Removed before it was started, it has not stopped.
        State::Removing(_) if !ran => vec![Created],
        State::Exited(_) | State::Removing(_) => {
            [Some(Created), started, Some(Stopped)].into_iter().flatten().collect()
        }
        // Told by itself.
        State::Gone => Vec::new(),
    }
}
