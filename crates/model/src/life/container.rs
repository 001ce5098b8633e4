//! The life of a container.

use std::time::{Duration, Instant};

use crate::report::Report;
use crate::time::Timestamp;

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Its directories and records exist, no process does.
    Created,
    /// The shim is carrying out the plan.
    Starting,
    /// Its first process runs.
    Running,
    /// The stop signal was sent; at `kill_at` the kill follows.
    Stopping {
        /// When patience ends.
        kill_at: Instant,
    },
    /// It has ended, or never began.
    Exited(Exit),
    /// What was made for it is coming down.
    Removing(Exit),
    /// Nothing of it is left.
    Gone,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, or 128 and the signal's number.
    pub code: i32,
    /// Whether the kernel killed its first process for want of memory.
    pub oom_killed: bool,
    /// When.
    pub at: Timestamp,
    /// Why it never ran, or why nobody knows how it ended.
    pub report: Option<Report>,
}

impl Exit {
    /// Of a container that was never started: stopped or removed before.
    #[must_use]
    pub fn unborn(at: Timestamp) -> Self {
        Exit { code: 0, oom_killed: false, at, report: None }
    }
}

/// What can happen to a container.
#[derive(Clone, Debug)]
pub enum Event {
    /// Somebody asks for it to run.
    Start,
    /// The shim says that it runs.
    Started,
    /// Somebody asks for it to stop, and grants it `grace` to do so by itself.
    Stop {
        /// Time between the stop signal and the kill.
        grace: Duration,
    },
    /// The time in [`State::Stopping`] has come.
    PatienceEnded,
    /// Its first process is gone, or was never there.
    Ended(Exit),
    /// Somebody asks for it to be removed.
    Remove,
    /// The ledger of it is empty.
    TornDown,
    /// What the ledger holds did not all come down; it is tried again at the next Remove.
    Stuck,
}

/// What has to be done because of a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Give the plan to a shim; ends in `Started` or `Ended`.
    Launch,
    /// Send the stop signal.
    Ask,
    /// Kill every process of it.
    Kill,
    /// Take down what the ledger holds; ends in `TornDown` or `Stuck`.
    TearDown,
}

/// Why an event cannot be in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A container runs once.
    #[error("it has run already; a container runs once, make a new one")]
    RanAlready,
    /// It is going away.
    #[error("it is being removed")]
    BeingRemoved,
}

impl State {
    /// What `event` makes of it at the time `now`, and what is to be done then.
    ///
    /// # Errors
    /// [`Refused`] if the event cannot be in this state; the state stays as it was.
    pub fn on(
        &self,
        event: &Event,
        now: Instant,
        clock: Timestamp,
    ) -> Result<(State, Option<Deed>), Refused> {
        use State::{Created, Exited, Gone, Removing, Running, Starting, Stopping};
        Ok(match (self, event) {
            (Created, Event::Start) => (Starting, Some(Deed::Launch)),
            (Starting | Running, Event::Start) => (self.clone(), None),
            (Stopping { .. } | Exited(_), Event::Start) => return Err(Refused::RanAlready),
            (Removing(_) | Gone, Event::Start) => return Err(Refused::BeingRemoved),

            (Starting, Event::Started) => (Running, None),

            // What never ran has nothing to stop.
            (Created, Event::Stop { .. }) => (Exited(Exit::unborn(clock)), None),
            (Running, Event::Stop { grace }) if grace.is_zero() => {
                (Stopping { kill_at: now }, Some(Deed::Kill))
            }
            (Running, Event::Stop { grace }) => (Stopping { kill_at: now + *grace }, Some(Deed::Ask)),
            // A second Stop may shorten the grace of the first, never lengthen it.
            (Stopping { kill_at }, Event::Stop { grace }) => {
                (Stopping { kill_at: (*kill_at).min(now + *grace) }, grace.is_zero().then_some(Deed::Kill))
            }
            (Stopping { kill_at }, Event::PatienceEnded) if *kill_at <= now => {
                (self.clone(), Some(Deed::Kill))
            }

            (Created | Starting | Running | Stopping { .. }, Event::Ended(exit)) => {
                (Exited(exit.clone()), None)
            }

            (Created, Event::Remove) => (Removing(Exit::unborn(clock)), Some(Deed::TearDown)),
            (Exited(exit), Event::Remove) => (Removing(exit.clone()), Some(Deed::TearDown)),
            // Nobody has seen a starting one run, and nobody waits for one that is to go: no grace.
            (Starting, Event::Stop { .. }) | (Starting | Running | Stopping { .. }, Event::Remove) => {
                (Stopping { kill_at: now }, Some(Deed::Kill))
            }
            (Removing(_), Event::TornDown) => (Gone, None),
            (Removing(exit), Event::Stuck) => (Exited(exit.clone()), None),

            // Repetitions and late news: a fact that is already in the state.
            (Exited(_) | Removing(_) | Gone, Event::Stop { .. } | Event::Ended(_))
            | (Removing(_) | Gone, Event::Remove)
            | (_, Event::Started | Event::PatienceEnded | Event::TornDown | Event::Stuck) => {
                (self.clone(), None)
            }
        })
    }

    /// Whether no process of it can be left.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self, State::Exited(_) | State::Removing(_) | State::Gone)
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn exit(&self) -> Option<&Exit> {
        match self {
            State::Exited(exit) | State::Removing(exit) => Some(exit),
            State::Created | State::Starting | State::Running | State::Stopping { .. } | State::Gone => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(now: Instant) -> Vec<State> {
        let exit = Exit::unborn(Timestamp(1));
        vec![
            State::Created,
            State::Starting,
            State::Running,
            State::Stopping { kill_at: now },
            State::Exited(exit.clone()),
            State::Removing(exit),
            State::Gone,
        ]
    }

    fn events() -> Vec<Event> {
        vec![
            Event::Start,
            Event::Started,
            Event::Stop { grace: Duration::ZERO },
            Event::Stop { grace: Duration::from_secs(9) },
            Event::PatienceEnded,
            Event::Ended(Exit::unborn(Timestamp(2))),
            Event::Remove,
            Event::TornDown,
            Event::Stuck,
        ]
    }

    #[test]
    fn nothing_comes_back_to_life() {
        let now = Instant::now();
        for state in states(now) {
            for event in events() {
                if let Ok((next, _)) = state.on(&event, now, Timestamp(3)) {
                    assert!(
                        !state.has_ended() || next.has_ended(),
                        "{state:?} came back to life by {event:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn an_exit_once_known_is_never_changed() {
        let now = Instant::now();
        for state in states(now) {
            let Some(exit) = state.exit() else { continue };
            for event in events() {
                if let Ok((next, _)) = state.on(&event, now, Timestamp(3)) {
                    assert!(next == State::Gone || next.exit() == Some(exit), "{state:?} by {event:?}");
                }
            }
        }
    }

    #[test]
    fn a_second_stop_shortens_the_grace_of_the_first_and_never_lengthens_it() {
        let now = Instant::now();
        let stopping = State::Stopping { kill_at: now + Duration::from_secs(5) };
        let shorter = stopping.on(&Event::Stop { grace: Duration::from_secs(1) }, now, Timestamp(1));
        assert_eq!(shorter, Ok((State::Stopping { kill_at: now + Duration::from_secs(1) }, None)));
        let longer = stopping.on(&Event::Stop { grace: Duration::from_mins(1) }, now, Timestamp(1));
        assert_eq!(longer, Ok((stopping, None)));
    }
}
