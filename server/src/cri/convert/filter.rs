//! Which pods and containers a list is asked for.
//!
//! *Invariant:* a filter that says nothing fits everything; one that says something fits only what fits all of it.

use std::collections::BTreeMap;

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{self, ContainerState, PodSandboxState};

type Labels = BTreeMap<String, String>;

/// Whether `labels` has every label of `selector`, each with that value.
fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// What a filter looks at in a pod.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PodFacts<'a> {
    pub(crate) id: &'a str,
    pub(crate) state: PodSandboxState,
    pub(crate) labels: &'a Labels,
}

/// Which pods are meant. An id may be given by its beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PodFilter {
    id: String,
    state: Option<PodSandboxState>,
    labels: Labels,
}

impl PodFilter {
    /// Of a list.
    ///
    /// # Errors
    /// A report that names the state if there is no such.
    pub(crate) fn of_list(filter: Option<&v1::PodSandboxFilter>) -> Result<Self, Report> {
        let filter = filter.cloned().unwrap_or_default();
        let state = filter.state.map(|value| {
            PodSandboxState::try_from(value.state).map_err(|_| {
                Report::field("filter.state", value.state, "allowed: SANDBOX_READY (0), SANDBOX_NOTREADY (1)")
            })
        });
        Ok(PodFilter { id: filter.id, state: state.transpose()?, labels: filter.label_selector })
    }

    /// Of a list of figures.
    pub(crate) fn of_stats(filter: Option<&v1::PodSandboxStatsFilter>) -> Self {
        let filter = filter.cloned().unwrap_or_default();
        PodFilter { id: filter.id, state: None, labels: filter.label_selector }
    }

    /// Whether a pod is meant.
    pub(crate) fn fits(&self, pod: PodFacts<'_>) -> bool {
        pod.id.starts_with(&self.id)
            && self.state.is_none_or(|state| state == pod.state)
            && selects(&self.labels, pod.labels)
    }
}

/// What a filter looks at in a container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ContainerFacts<'a> {
    pub(crate) id: &'a str,
    pub(crate) pod_id: &'a str,
    pub(crate) state: ContainerState,
    pub(crate) labels: &'a Labels,
}

/// Which containers are meant. Ids may be given by their beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ContainerFilter {
    id: String,
    pod_id: String,
    state: Option<ContainerState>,
    labels: Labels,
}

impl ContainerFilter {
    /// Of a list.
    ///
    /// # Errors
    /// A report that names the state if there is no such.
    pub(crate) fn of_list(filter: Option<&v1::ContainerFilter>) -> Result<Self, Report> {
        let filter = filter.cloned().unwrap_or_default();
        let state = filter.state.map(|value| {
            ContainerState::try_from(value.state).map_err(|_| {
                let allowed = "allowed: CONTAINER_CREATED (0), CONTAINER_RUNNING (1), CONTAINER_EXITED (2), \
                               CONTAINER_UNKNOWN (3)";
                Report::field("filter.state", value.state, allowed)
            })
        });
        let (id, pod_id) = (filter.id, filter.pod_sandbox_id);
        Ok(ContainerFilter { id, pod_id, state: state.transpose()?, labels: filter.label_selector })
    }

    /// Of a list of figures.
    pub(crate) fn of_stats(filter: Option<&v1::ContainerStatsFilter>) -> Self {
        let filter = filter.cloned().unwrap_or_default();
        let (id, pod_id) = (filter.id, filter.pod_sandbox_id);
        ContainerFilter { id, pod_id, state: None, labels: filter.label_selector }
    }

    /// Whether a container is meant.
    pub(crate) fn fits(&self, container: ContainerFacts<'_>) -> bool {
        container.id.starts_with(&self.id)
            && container.pod_id.starts_with(&self.pod_id)
            && self.state.is_none_or(|state| state == container.state)
            && selects(&self.labels, container.labels)
    }
}
