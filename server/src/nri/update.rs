//! What plugins want of containers that there are: other limits, an end.
//!
//! *Invariant:* a container is updated as by a call of CRI, whole or not at all. One that is not there, or has ended, is no failure:
//! plugins hear of that by themselves.

use std::sync::Arc;
use std::time::Duration;

use orlop_model::report::{Kind, Report};
use orlop_nri::changes::Changes;
use orlop_proto::nri::v1alpha1::{
    ContainerEviction, ContainerUpdate, UpdateContainersRequest, UpdateContainersResponse,
};

use super::limits;
use crate::pods::Core;

/// What a plugin wants of its own accord; what could not be is in the answer.
pub(super) async fn unasked(core: &Arc<Core>, request: UpdateContainersRequest) -> UpdateContainersResponse {
    let mut failed = Vec::new();
    for (update, report) in all(core, &request.update).await {
        if let Some(report) = report {
            tracing::warn!(
                container = update.container_id,
                "an update that a plugin wants was not done: {report}"
            );
            failed.push(update);
        }
    }
    evict(core, &request.evict);
    UpdateContainersResponse { failed }
}

/// What plugins want besides what they were asked about. What could not be is reported, and harms nothing.
pub(super) async fn changes(core: &Arc<Core>, changes: &Changes) {
    for (update, report) in all(core, &changes.updates).await {
        if let Some(report) = report {
            tracing::warn!(
                container = update.container_id,
                "an update that a plugin wants was not done: {report}"
            );
        }
    }
    evict(core, &changes.evictions);
}

/// Does the updates; each with why it could not be.
pub(super) async fn all(
    core: &Arc<Core>,
    updates: &[ContainerUpdate],
) -> Vec<(ContainerUpdate, Option<Report>)> {
    let mut done = Vec::new();
    for update in updates {
        let failed = one(core, update).await.err().filter(|_| !update.ignore_failure);
        done.push((update.clone(), failed));
    }
    done
}

async fn one(core: &Arc<Core>, update: &ContainerUpdate) -> Result<(), Report> {
    let Some(wanted) = update.linux.as_ref().and_then(|linux| linux.resources.as_ref()) else {
        return Ok(());
    };
    let container = match core.table.container(&update.container_id) {
        Ok(container) => container,
        Err(report) if report.kind == Kind::NotFound => return Ok(()),
        Err(report) => return Err(report),
    };
    if container.has_ended() {
        return Ok(());
    }
    crate::pods::update::container(core, &container, &limits::update(wanted)?).await
}

/// Ends containers, behind everybody's back: who asked for it hears of the end as of every other.
fn evict(core: &Arc<Core>, evictions: &[ContainerEviction]) {
    for eviction in evictions {
        let Ok(container) = core.table.container(&eviction.container_id) else { continue };
        let reason: String = eviction.reason.chars().take(128).flat_map(char::escape_debug).collect();
        tracing::warn!(container = container.id.short(), "evicted by a plugin: {reason}");
        let owned = Arc::clone(core);
        core.later.spawn(async move { container.stop(&owned, Duration::ZERO).await });
    }
}
