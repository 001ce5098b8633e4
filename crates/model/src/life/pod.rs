//! The life of a pod sandbox.

use crate::report::Report;

/// Where a pod is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Namespaces and network are being made.
    Making,
    /// Containers can run in it.
    Ready,
    /// Its containers are being ended and its network taken down.
    Stopping,
    /// Nothing runs in it, nothing is reserved for it.
    NotReady,
    /// What was made for it is coming down.
    Removing,
    /// Nothing of it is left; with the report of why it never was.
    Gone(Option<Report>),
}

/// What can happen to a pod.
#[derive(Clone, Debug)]
pub enum Event {
    /// All that it needs is there.
    Made,
    /// It could not be made; the teardown has been walked.
    Failed(Report),
    /// Somebody asks for it to stop.
    Stop,
    /// Its containers have ended and its network is down.
    Stopped,
    /// Stopping did not come to its end; the next Stop tries again.
    StopFailed,
    /// Somebody asks for it to be removed.
    Remove,
    /// The ledger of it is empty.
    TornDown,
    /// What the ledger holds did not all come down; the next Remove tries again.
    Stuck,
}

/// What has to be done because of a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// End its containers, take down its network; ends in `Stopped` or `StopFailed`.
    Stop,
    /// End and remove its containers, walk the ledger; ends in `TornDown` or `Stuck`.
    TearDown,
}

/// Why an event cannot be in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not made yet.
    #[error("it is still being made")]
    BeingMade,
}

impl State {
    /// What `event` makes of it, and what is to be done then.
    ///
    /// # Errors
    /// [`Refused`] if the event cannot be in this state; the state stays as it was.
    #[expect(clippy::match_same_arms, reason = "grouped by what happens, not by where it leads")]
    pub fn on(&self, event: &Event) -> Result<(State, Option<Deed>), Refused> {
        use State::{Gone, Making, NotReady, Ready, Removing, Stopping};
        Ok(match (self, event) {
            (Making, Event::Made) => (Ready, None),
            (Making, Event::Failed(report)) => (Gone(Some(report.clone())), None),
            (Making, Event::Stop | Event::Remove) => return Err(Refused::BeingMade),

            (Ready, Event::Stop) => (Stopping, Some(Deed::Stop)),
            (Stopping, Event::Stopped) => (NotReady, None),
            (Stopping, Event::StopFailed) => (Ready, None),

            (Ready | Stopping | NotReady, Event::Remove) => (Removing, Some(Deed::TearDown)),
            (Removing, Event::TornDown) => (Gone(None), None),
            (Removing, Event::Stuck) => (NotReady, None),

            // A repeated Stop walks again: what an earlier walk could not take down may come down now.
            (NotReady, Event::Stop) => (Stopping, Some(Deed::Stop)),
            (Stopping | Removing | Gone(_), Event::Stop)
            | (Removing | Gone(_), Event::Remove)
            | (
                _,
                Event::Made
                | Event::Failed(_)
                | Event::Stopped
                | Event::StopFailed
                | Event::TornDown
                | Event::Stuck,
            ) => (self.clone(), None),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Kind;

    #[test]
    fn a_pod_that_is_gone_stays_gone() {
        let report = Report::new(Kind::Failed, "a", "b", "c");
        for event in [
            Event::Made,
            Event::Failed(report),
            Event::Stop,
            Event::Stopped,
            Event::StopFailed,
            Event::Remove,
            Event::TornDown,
            Event::Stuck,
        ] {
            assert_eq!(State::Gone(None).on(&event), Ok((State::Gone(None), None)));
        }
    }

    #[test]
    fn stop_and_remove_can_be_said_again() {
        assert_eq!(State::NotReady.on(&Event::Stop), Ok((State::Stopping, Some(Deed::Stop))));
        assert_eq!(State::Removing.on(&Event::Remove), Ok((State::Removing, None)));
    }
}
