//! After the clone: one epoll loop over the children, the log's streams, and whoever asks.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`poll`] | epoll(7) and what its numbers mean |
//! | [`connection`] | frames and descriptors of one peer |
//! | [`log`] | from the streams to the log file |
//! | [`attach`] | from the streams to whoever is attached |
//! | [`process`] | births and deaths: the container's first process and execs |
//! | [`runtime`] | the same where a runtime of others makes the processes |
//! | [`answer`] | what each request does |
//! | [`hooks`] | programs of others that are run at points of the container's life |
//! | [`end`] | the container's end: drained, recorded, told, cleaned up |
//!
//! *Invariant:* nothing here waits for anything but the epoll descriptor. A child that hangs on a dead mount, a peer that does not
//! read, a log disk that is full: each harms itself alone.

pub(crate) mod answer;
pub(crate) mod attach;
pub(crate) mod connection;
pub(crate) mod end;
pub(crate) mod hooks;
pub(crate) mod log;
pub(crate) mod poll;
pub(crate) mod process;
pub(crate) mod runtime;

use std::os::fd::OwnedFd;

use orlop_wire::message::{FromShim, News};
use orlop_wire::plan::Plan;
use orlop_wire::record::Born;

use connection::Connection;
use end::Ending;
use hooks::Hooks;
use log::Log;
use poll::{Poll, Source};
use process::{First, Processes};

/// Everything that a shim holds.
pub(crate) struct Shim {
    pub(crate) plan: Plan,
    /// Kills for want of memory that are no cause of its end: see [`crate::cgroups::oom_counts`].
    pub(crate) oom_before: (u64, u64),
    pub(crate) poll: Poll,
    pub(crate) signals: OwnedFd,
    pub(crate) listener: OwnedFd,
    pub(crate) connections: Vec<Option<Connection>>,
    pub(crate) processes: Processes,
    pub(crate) log: Log,
    /// The write end of the container's stdin, held open for whoever attaches; none: it has none, or its only attachment has it.
    pub(crate) stdin: Option<OwnedFd>,
    /// The container's terminal.
    pub(crate) master: Option<OwnedFd>,
    pub(crate) born: Option<Born>,
    /// Whether everyone was told of it.
    pub(crate) born_told: bool,
    pub(crate) hooks: Hooks,
    pub(crate) ending: Option<Ending>,
    pub(crate) stages: crate::run::Stages,
    pub(crate) commands: runtime::Commands,
}

impl Shim {
    /// Serves until the container has ended and everyone who listens has been told.
    pub(crate) fn serve(&mut self) {
        while !self.is_over() {
            let hooks = self.hooks.patience();
            let ending = self.ending.as_ref().map(|ending| ending.patience(self.hooks.is_busy()));
            let log = self.log.patience();
            let timeout = ending.into_iter().chain(log).chain(hooks).min();
            for source in self.poll.wait(timeout) {
                self.take(source);
            }
            self.log.look_again(&mut self.poll);
            self.time_hook();
            self.settle();
        }
    }

    fn take(&mut self, source: Source) {
        match source {
            Source::Signals => self.reap(),
            Source::Listener => self.accept(),
            Source::Connection(number) => self.hear(number),
            Source::Report(exec) => self.report(exec),
            Source::Hook => self.hear_hook(),
            Source::Stream(number) => {
                if self.log.pump(number) {
                    self.poll.forget_stream(number);
                }
            }
        }
    }

    /// Tells everyone who is connected.
    pub(crate) fn tell_all(&mut self, news: &News) {
        let message = FromShim::News { news: news.clone() };
        for connection in self.connections.iter_mut().flatten() {
            connection.send(0, &message, None);
        }
    }

    /// The news that describes how the container stands, for a peer that says hello.
    pub(crate) fn standing(&self) -> Option<News> {
        match (&self.ending, &self.born) {
            (Some(Ending { told: Some(exited), .. }), _) => Some(News::Exited { exited: exited.clone() }),
            (_, Some(born)) => Some(News::Born { born: born.clone() }),
            (_, None) => None,
        }
    }

    pub(crate) fn first(&self) -> &First {
        &self.processes.first
    }
}
