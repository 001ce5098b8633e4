//! One listener: a cursor in the journal, moved on as fast as the client reads.
//!
//! *Invariant:* a client that does not read holds up nothing but itself, and costs two events' memory. A stream ends with a report
//! if the journal no longer has what comes next, or if the daemon ends; never silently.

use std::sync::Arc;

use orlop_model::report::{Kind, Report};
use orlop_proto::orlop::v1::JournalEvent;
use tokio::sync::{mpsc, watch};

use super::Newest;
use crate::pods::Core;

/// Events on their way to a client.
const AHEAD: usize = 1;

/// The events after number `after`, once that is known: with `until`, up to that number; else for ever.
pub(crate) fn listen(
    core: &Arc<Core>,
    after: impl Future<Output = u64> + Send + 'static,
    until: Option<u64>,
) -> mpsc::Receiver<Result<JournalEvent, Report>> {
    let (said, heard) = mpsc::channel(AHEAD);
    // Subscribed to before the first look, so that nothing comes in between.
    let newest = core.events.newest.subscribe();
    let core = Arc::clone(core);
    tokio::spawn(async move {
        let after = after.await;
        let last = tell(&core, after, until, newest, &said).await;
        if let Err(report) = last {
            // Whoever listened may have left.
            let _ = said.send(Err(report)).await;
        }
    });
    heard
}

/// Tells events until there is nothing more to tell, or nobody listens.
async fn tell(
    core: &Core,
    mut after: u64,
    until: Option<u64>,
    mut newest: watch::Receiver<Newest>,
    said: &mpsc::Sender<Result<JournalEvent, Report>>,
) -> Result<(), Report> {
    let mut ending = newest.clone();
    let ending = async move {
        // An error would mean that the events are gone, which end with the daemon, too.
        let _ = ending.wait_for(|newest| newest.ending).await;
        Report::new(Kind::Unavailable, "events", "", "the daemon ends; listen again when it is back")
    };
    let mut ending = std::pin::pin!(ending);
    while until.is_none_or(|until| after < until) {
        match core.events.read(after)? {
            Some(event) => {
                after = event.number;
                tokio::select! {
                    sent = said.send(Ok(event)) => if sent.is_err() { return Ok(()) },
                    report = &mut ending => return Err(report),
                }
            }
            None if until.is_some() => break,
            None => tokio::select! {
                biased;
                report = &mut ending => return Err(report),
                () = said.closed() => return Ok(()),
                _ = newest.changed() => {}
            },
        }
    }
    Ok(())
}
