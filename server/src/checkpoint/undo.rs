//! What a dump has made is taken down, whoever left it: the work itself at its end, a removal, a daemon after a crash.
//!
//! *Invariant:* idempotent. CRIU is waited for before its directory goes: it has processes in its hands, and lets go of them by itself.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use orlop_model::report::{Kind, Report};

use crate::blocking::blocking;
use crate::pods::Core;
use crate::pods::container::Container;
use crate::pods::ledger::Thing;
use crate::shims::{is_locked, kill_holders};

/// How long a CRIU that an earlier daemon started may take to its end; then it is killed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Takes one of these things down. Blocks.
///
/// # Errors
/// If it is there still.
pub(crate) fn unmake(thing: &Thing) -> Result<(), Report> {
    match thing {
        Thing::Frozen(directory) => orlop_cgroup::freeze::thaw(directory).map_err(Report::from),
        Thing::Dump(directory) => {
            let until = Instant::now() + PATIENCE;
            while is_locked(directory) {
                if Instant::now() > until {
                    kill_holders(directory);
                }
                std::thread::sleep(Duration::from_millis(5));
                if Instant::now() > until + PATIENCE {
                    let cause = "a CRIU that was killed does not end";
                    return Err(Report::new(
                        Kind::TimedOut,
                        "end CRIU",
                        directory.display().to_string(),
                        cause,
                    ));
                }
            }
            remove(directory)
        }
        Thing::Partial(file) => match std::fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Report::new(Kind::Failed, "remove", file.display().to_string(), error))
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Removes a directory with all in it, if it is there.
///
/// # Errors
/// If it is there still.
pub(super) fn remove(directory: &Path) -> Result<(), Report> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Report::new(Kind::Failed, "remove", directory.display().to_string(), error))
        }
        _ => Ok(()),
    }
}

fn is_of_a_dump(thing: &Thing) -> bool {
    matches!(thing, Thing::Frozen(_) | Thing::Dump(_) | Thing::Partial(_))
}

/// What stands in a container's ledger of dumps is taken down, the last first. Blocks.
pub(super) fn clean(container: &Container) {
    for thing in standing(container) {
        let gone = unmake(&thing).and_then(|()| container.with_ledger(|ledger| ledger.gone(&thing)));
        if let Err(report) = gone {
            tracing::warn!(container = container.id.short(), "of a checkpoint, tried again later: {report}");
        }
    }
}

fn standing(container: &Container) -> Vec<Thing> {
    let life = container.life();
    let standing = life.ledger.as_ref().map(crate::pods::ledger::Ledger::standing).unwrap_or_default();
    standing.into_iter().rev().filter(is_of_a_dump).collect()
}

/// An earlier daemon may have died in the middle of a checkpoint: its container goes on.
pub(crate) fn recover(core: &Arc<Core>, container: &Arc<Container>) {
    if standing(container).is_empty() {
        return;
    }
    tracing::info!(container = container.id.short(), "was being written down; undone");
    let container = Arc::clone(container);
    core.later.spawn(async move {
        let _ = blocking("undo checkpoint", move || clean(&container)).await;
    });
}
