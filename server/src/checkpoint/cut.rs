//! Containers that stand still while they are written down: all of them, from before the first is until after the last.
//!
//! *Invariant:* a container is in its ledger as frozen before it is, and as long as it is. Whatever happens to the work, when this is
//! dropped all of them go on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use orlop_cgroup::freeze;
use orlop_model::report::{Kind, Report};

use crate::pods::container::Container;
use crate::pods::ledger::Thing;

/// How long processes may take to stand still: one in an uninterruptible sleep takes as long as that.
const PATIENCE: Duration = Duration::from_secs(10);

/// Containers that stand still.
pub(super) struct Cut {
    frozen: Vec<(Arc<Container>, PathBuf)>,
}

impl Cut {
    /// Stops all of them. Blocks.
    ///
    /// # Errors
    /// If one does not stop: then all go on.
    pub(super) fn begin(containers: &[Arc<Container>]) -> Result<Self, Report> {
        let mut cut = Cut { frozen: Vec::new() };
        for container in containers {
            let directory = freezer(container)?;
            container.with_ledger(|ledger| ledger.will(Thing::Frozen(directory.clone())))?;
            cut.frozen.push((Arc::clone(container), directory.clone()));
            freeze::freeze(&directory, PATIENCE).map_err(|error| {
                let report = Report::from(error);
                Report { stage: "freeze container".into(), ..report }
            })?;
            crate::failpoint::pass("checkpoint.frozen");
        }
        Ok(cut)
    }

    /// Where a container was frozen.
    pub(super) fn freezer(&self, container: &Container) -> Option<&PathBuf> {
        self.frozen.iter().find(|(one, _)| one.id == container.id).map(|(_, directory)| directory)
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        // The first that was stopped was stopped the longest.
        for (container, directory) in &self.frozen {
            let thawed = freeze::thaw(directory).map_err(Report::from);
            crate::failpoint::pass("checkpoint.thawed");
            let done = thawed.and_then(|()| {
                container.with_ledger(|ledger| ledger.gone(&Thing::Frozen(directory.clone())))
            });
            if let Err(report) = done {
                tracing::error!(container = container.id.short(), "frozen still: {report}");
            }
        }
    }
}

/// The cgroup by which a container is stopped.
fn freezer(container: &Container) -> Result<PathBuf, Report> {
    let facts = container.facts();
    let found = facts.as_ref().and_then(|facts| freeze::freezer(facts.unified.as_deref(), &facts.cgroups));
    found.map(std::path::Path::to_path_buf).ok_or_else(|| {
        let cause = "none of its cgroups can stop it: this kernel has no freezer";
        Report::new(Kind::Unsupported, "freeze container", container.id.short(), cause)
    })
}
