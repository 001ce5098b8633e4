//! Updates and evictions of containers that there are.
//!
//! *Invariant:* of each container there is one update, in which no two plugins set the same limit. One that may fail and contradicts is
//! left out, and nothing of it remains.

use orlop_proto::nri::v1alpha1::{
    ContainerEviction, ContainerUpdate, LinuxContainerUpdate, LinuxResources, UpdateContainerRequest,
    UpdateContainerResponse,
};

use crate::entries::Claim;
use crate::owners::{Conflict, Owners};
use crate::resources;

/// What a plugin wants and cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another has set it.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// It wants an update of the container that is being made.
    #[error(
        "plugin {0} asks for an update of the container that is being created; what it wants of that is an adjustment"
    )]
    Unborn(String),
}

/// What is to be done to containers that there are.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Changes {
    /// Other limits.
    pub updates: Vec<ContainerUpdate>,
    /// Those that are to end.
    pub evictions: Vec<ContainerEviction>,
}

impl Changes {
    /// Takes what `plugin` wants.
    ///
    /// # Errors
    /// If it contradicts what another wants, and is not marked as what may fail.
    pub fn apply(
        &mut self,
        owners: &mut Owners,
        plugin: &str,
        updates: &[ContainerUpdate],
        evictions: &[ContainerEviction],
    ) -> Result<(), Conflict> {
        for update in updates {
            let id = update.container_id.as_str();
            let Some(wanted) = update.linux.as_ref().and_then(|linux| linux.resources.as_ref()) else {
                continue;
            };
            let saved = owners.saved(id);
            let claimed =
                resources::claim(wanted, &mut Claim { owners: &mut *owners, container: id, plugin });
            if let Err(conflict) = claimed {
                owners.restore(id, saved);
                if update.ignore_failure {
                    continue;
                }
                return Err(conflict);
            }
            let there = self.updates.iter_mut().find(|there| there.container_id == id);
            let there = match there {
                Some(there) => {
                    there.ignore_failure &= update.ignore_failure;
                    there
                }
                None => push(
                    &mut self.updates,
                    ContainerUpdate {
                        container_id: id.to_owned(),
                        linux: None,
                        ignore_failure: update.ignore_failure,
                    },
                ),
            };
            let linux: &mut LinuxContainerUpdate = there.linux.get_or_insert_default();
            resources::lay_over(linux.resources.get_or_insert_default(), wanted);
        }
        for eviction in evictions {
            if self.evictions.iter().all(|there| there.container_id != eviction.container_id) {
                self.evictions.push(eviction.clone());
            }
        }
        Ok(())
    }
}

/// An update of a container on its way through the plugins.
#[derive(Debug, Clone)]
pub struct Updating {
    request: UpdateContainerRequest,
    owners: Owners,
    changes: Changes,
}

impl Updating {
    /// As it was asked for.
    #[must_use]
    pub fn new(mut request: UpdateContainerRequest) -> Self {
        request.linux_resources.get_or_insert_default();
        Updating { request, owners: Owners::default(), changes: Changes::default() }
    }

    /// As the next plugin sees it.
    #[must_use]
    pub fn request(&self) -> &UpdateContainerRequest {
        &self.request
    }

    /// Takes what `plugin` wants.
    ///
    /// # Errors
    /// If it contradicts what another wants.
    pub fn apply(&mut self, plugin: &str, response: &UpdateContainerResponse) -> Result<(), Conflict> {
        self.changes.apply(&mut self.owners, plugin, &response.update, &response.evict)?;
        let id = self.request.container.as_ref().map(|container| container.id.clone()).unwrap_or_default();
        let own = response.update.iter().filter(|update| update.container_id == id);
        for wanted in own.filter_map(|update| update.linux.as_ref()?.resources.as_ref()) {
            resources::lay_over(self.request.linux_resources.get_or_insert_default(), wanted);
        }
        Ok(())
    }

    /// The limits that the container is to have, `None` if no plugin wants other ones than asked for, and what is to be done to others.
    #[must_use]
    pub fn finish(mut self) -> (Option<LinuxResources>, Changes) {
        let id = self.request.container.as_ref().map(|container| container.id.as_str()).unwrap_or_default();
        let own = self.changes.updates.iter().position(|update| update.container_id == id);
        let own = own.map(|at| self.changes.updates.remove(at));
        (own.and(self.request.linux_resources), self.changes)
    }
}

fn push(all: &mut Vec<ContainerUpdate>, one: ContainerUpdate) -> &mut ContainerUpdate {
    all.push(one);
    all.last_mut().expect("invariant: one was put in")
}
