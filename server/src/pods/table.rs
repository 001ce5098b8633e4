//! Who exists, by id, prefix and name.
//!
//! *Invariant:* a lock of this is held for a look or a change, never while something is waited for. A name leads to one id; who asks
//! for a name that is taken is given whom it leads to.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use orlop_model::container::ContainerName;
use orlop_model::id::{ContainerId, PodId};
use orlop_model::pod::PodName;
use orlop_model::report::{Kind, Report};
use orlop_model::time::Timestamp;

use super::container::Container;
use super::pod::Pod;

/// Containers of a pod whose statuses go with the pod's, dead ones among them. kubelet keeps one dead container or two of a name;
/// where nobody collects them there may be tens of thousands, and no client takes a message of so many.
const FOREMOST: usize = 100;

/// All pods and containers of the CRI's scope.
#[derive(Default)]
pub(crate) struct Table {
    rows: RwLock<Rows>,
}

#[derive(Default)]
struct Rows {
    pods: BTreeMap<Arc<str>, Arc<Pod>>,
    pod_names: HashMap<PodName, Arc<Pod>>,
    containers: BTreeMap<Arc<str>, Arc<Container>>,
    container_names: HashMap<(PodId, ContainerName), Arc<Container>>,
    /// Those of each pod, in the order of their creation.
    of_pod: HashMap<PodId, Siblings>,
}

/// The containers of a pod, by time and id.
type Siblings = BTreeMap<(Timestamp, Arc<str>), Arc<Container>>;

/// What became of a request for a name.
pub(crate) enum Claim<T> {
    /// It is the caller's, and what it named is in the table.
    New(Arc<T>),
    /// It leads to this one already.
    Taken(Arc<T>),
}

impl Table {
    fn read(&self) -> RwLockReadGuard<'_, Rows> {
        self.rows.read().expect("invariant: nothing panics while it holds the table")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Rows> {
        self.rows.write().expect("invariant: nothing panics while it holds the table")
    }

    /// Puts a pod in by its name, unless the name is taken.
    pub(crate) fn claim_pod(&self, name: &PodName, make: impl FnOnce() -> Pod) -> Claim<Pod> {
        let mut rows = self.write();
        if let Some(pod) = rows.pod_names.get(name) {
            return Claim::Taken(Arc::clone(pod));
        }
        let pod = Arc::new(make());
        rows.pod_names.insert(name.clone(), Arc::clone(&pod));
        rows.pods.insert(pod.id.as_str().into(), Arc::clone(&pod));
        Claim::New(pod)
    }

    /// Puts a container in by its pod and name, unless the name is taken.
    pub(crate) fn claim_container(
        &self,
        pod: &PodId,
        name: &ContainerName,
        make: impl FnOnce() -> Container,
    ) -> Claim<Container> {
        let mut rows = self.write();
        let key = (pod.clone(), name.clone());
        if let Some(container) = rows.container_names.get(&key) {
            return Claim::Taken(Arc::clone(container));
        }
        let container = Arc::new(make());
        rows.container_names.insert(key, Arc::clone(&container));
        let id: Arc<str> = container.id.as_str().into();
        let siblings = rows.of_pod.entry(pod.clone()).or_default();
        siblings.insert((container.created_at, Arc::clone(&id)), Arc::clone(&container));
        rows.containers.insert(id, Arc::clone(&container));
        Claim::New(container)
    }

    /// Takes a pod out.
    pub(crate) fn forget_pod(&self, pod: &Pod) {
        let mut rows = self.write();
        rows.pods.remove(pod.id.as_str());
        if rows.pod_names.get(&pod.config.name).is_some_and(|named| named.id == pod.id) {
            rows.pod_names.remove(&pod.config.name);
        }
    }

    /// Takes a container out.
    pub(crate) fn forget_container(&self, container: &Container) {
        let mut rows = self.write();
        rows.containers.remove(container.id.as_str());
        if let Some(siblings) = rows.of_pod.get_mut(&container.pod.id) {
            siblings.remove(&(container.created_at, container.id.as_str().into()));
            if siblings.is_empty() {
                rows.of_pod.remove(&container.pod.id);
            }
        }
        let key = (container.pod.id.clone(), container.name.clone());
        if rows.container_names.get(&key).is_some_and(|named| named.id == container.id) {
            rows.container_names.remove(&key);
        }
    }

    /// All pods, in the order of their ids.
    pub(crate) fn pods(&self) -> Vec<Arc<Pod>> {
        self.read().pods.values().cloned().collect()
    }

    /// All containers, in the order of their ids.
    pub(crate) fn containers(&self) -> Vec<Arc<Container>> {
        self.read().containers.values().cloned().collect()
    }

    /// The containers of a pod, in the order of their creation.
    pub(crate) fn containers_of(&self, pod: &PodId) -> Vec<Arc<Container>> {
        self.read().of_pod.get(pod).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// The containers of a pod by which it is judged, the newest first: all that have not ended, and the newest [`FOREMOST`].
    pub(crate) fn foremost_of(&self, pod: &PodId) -> Vec<Arc<Container>> {
        let rows = self.read();
        let siblings = rows.of_pod.get(pod).into_iter().flat_map(|siblings| siblings.values().rev());
        let foremost =
            siblings.enumerate().filter(|(at, container)| *at < FOREMOST || !container.has_ended());
        foremost.map(|(_, container)| Arc::clone(container)).collect()
    }

    /// Other attempts of a pod: same name, namespace and UID.
    pub(crate) fn attempts(&self, name: &PodName) -> Vec<Arc<Pod>> {
        let same = |other: &PodName| {
            other.attempt != name.attempt
                && other.name == name.name
                && other.namespace == name.namespace
                && other.uid == name.uid
        };
        self.read().pods.values().filter(|pod| same(&pod.config.name)).cloned().collect()
    }

    /// The pod with this id or prefix of one.
    ///
    /// # Errors
    /// `NotFound`; `BadRequest` if the prefix leads to several.
    pub(crate) fn pod(&self, id: &str) -> Result<Arc<Pod>, Report> {
        find(&self.read().pods, "pod_sandbox_id", "pod sandbox", id)
    }

    /// The container with this id or prefix of one.
    ///
    /// # Errors
    /// `NotFound`; `BadRequest` if the prefix leads to several.
    pub(crate) fn container(&self, id: &str) -> Result<Arc<Container>, Report> {
        find(&self.read().containers, "container_id", "container", id)
    }

    /// The container with this very id.
    pub(crate) fn exact_container(&self, id: &ContainerId) -> Option<Arc<Container>> {
        self.read().containers.get(id.as_str()).cloned()
    }

    /// Whether a pod or a container has this very id.
    pub(crate) fn has(&self, id: &str) -> bool {
        let rows = self.read();
        rows.containers.contains_key(id) || rows.pods.contains_key(id)
    }

    /// The pod with this very id.
    pub(crate) fn exact_pod(&self, id: &str) -> Option<Arc<Pod>> {
        self.read().pods.get(id).cloned()
    }
}

fn find<T>(all: &BTreeMap<Arc<str>, Arc<T>>, field: &str, what: &str, id: &str) -> Result<Arc<T>, Report> {
    if id.is_empty() {
        return Err(Report::field(
            field,
            id,
            format!("names no {what}; give its id or the first digits of it"),
        ));
    }
    if let Some(found) = all.get(id) {
        return Ok(Arc::clone(found));
    }
    let mut matching = all
        .range::<str, _>((Bound::Included(id), Bound::Unbounded))
        .take_while(|(key, _)| key.starts_with(id))
        .map(|(_, value)| value);
    match (matching.next(), matching.next()) {
        (Some(found), None) => Ok(Arc::clone(found)),
        (Some(_), Some(_)) => {
            Err(Report::field(field, id, format!("more than one {what} begins so; give more digits")))
        }
        (None, _) => {
            let shown: String = id.chars().take(80).flat_map(char::escape_debug).collect();
            Err(Report::new(
                Kind::NotFound,
                "find",
                format!("{what} \"{shown}\""),
                "there is none with this id",
            ))
        }
    }
}
