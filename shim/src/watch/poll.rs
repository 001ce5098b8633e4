//! epoll(7), and what its numbers mean.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

/// What a descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// SIGCHLD.
    Signals,
    /// The socket on which peers arrive.
    Listener,
    /// A peer.
    Connection(u32),
    /// A child that is being born: the container's first process, or an exec's (by number).
    Report(Option<u64>),
    /// Output of the container: 0 stdout or terminal, 1 stderr.
    Stream(u32),
    /// Output of a hook.
    Hook,
}

impl Source {
    const KIND: u64 = 1 << 60;

    fn to_number(self) -> u64 {
        match self {
            Source::Signals => 0,
            Source::Listener => Self::KIND,
            Source::Connection(number) => 2 * Self::KIND + u64::from(number),
            Source::Report(None) => 3 * Self::KIND,
            Source::Report(Some(exec)) => 4 * Self::KIND + exec,
            Source::Stream(number) => 5 * Self::KIND + u64::from(number),
            Source::Hook => 6 * Self::KIND,
        }
    }

    fn of_number(number: u64) -> Self {
        let below = number % Self::KIND;
        // Connections and streams were put in from u32s.
        let short = u32::try_from(below).unwrap_or(u32::MAX);
        match number / Self::KIND {
            0 => Source::Signals,
            1 => Source::Listener,
            2 => Source::Connection(short),
            3 => Source::Report(None),
            4 => Source::Report(Some(below)),
            6 => Source::Hook,
            _ => Source::Stream(short),
        }
    }
}

/// An epoll instance.
pub(crate) struct Poll {
    epoll: OwnedFd,
    /// Streams that are watched; they are taken out while the log rests.
    streams: u32,
}

impl Poll {
    pub(crate) fn new() -> Result<Self, Errno> {
        Ok(Poll { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, streams: 0 })
    }

    /// Watches `descriptor` for something to read.
    pub(crate) fn add(&mut self, descriptor: impl AsFd, source: Source) -> Result<(), Errno> {
        let mut flags = epoll::EventFlags::IN;
        if let Source::Stream(number) = source {
            self.streams |= 1 << number;
            flags |= epoll::EventFlags::ONESHOT;
        }
        epoll::add(&self.epoll, descriptor, epoll::EventData::new_u64(source.to_number()), flags)
    }

    /// Watches `descriptor`, which is watched already, for room to write too, or no longer.
    pub(crate) fn watch_room(&mut self, descriptor: impl AsFd, source: Source, room: bool) {
        let flags = if room { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
        // It can only fail for a descriptor that is not watched, and then there is nothing to change.
        let _ = epoll::modify(&self.epoll, descriptor, epoll::EventData::new_u64(source.to_number()), flags);
    }

    /// Looks at a stream again, which its last event has put to rest.
    pub(crate) fn rearm(&self, descriptor: impl AsFd, number: u32) {
        let data = epoll::EventData::new_u64(Source::Stream(number).to_number());
        // It can only fail for a descriptor that is not watched, and then there is nothing to look at.
        let _ =
            epoll::modify(&self.epoll, descriptor, data, epoll::EventFlags::IN | epoll::EventFlags::ONESHOT);
    }

    /// A stream has ended; its descriptor is closed, which took it out.
    pub(crate) fn forget_stream(&mut self, number: u32) {
        self.streams &= !(1 << number);
    }

    /// Whether output can still come.
    pub(crate) fn has_streams(&self) -> bool {
        self.streams != 0
    }

    /// What is ready; waits for it, at most `timeout`.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Vec<Source> {
        let mut space = [MaybeUninit::<epoll::Event>::uninit(); 16];
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match epoll::wait(&self.epoll, &mut space, timeout.as_ref()) {
            Ok((ready, _)) => ready.iter().map(|event| Source::of_number(event.data.u64())).collect(),
            // Every signal is blocked, so EINTR comes only from a debugger; nothing is ready then.
            Err(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_comes_back_from_its_number() {
        for source in [
            Source::Signals,
            Source::Listener,
            Source::Connection(0),
            Source::Connection(77),
            Source::Report(None),
            Source::Report(Some(0)),
            Source::Report(Some(123_456_789)),
            Source::Stream(1),
            Source::Hook,
        ] {
            assert_eq!(Source::of_number(source.to_number()), source);
        }
    }
}
