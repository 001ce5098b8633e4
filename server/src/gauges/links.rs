//! What went through pods' links.
//!
//! A thread is made for the question: it goes from pod to pod, and ends where it is. It never has to find its way back, and nothing of
//! it keeps a pod's network namespace.
//!
//! *Invariant:* a pod whose network is going away meanwhile has no links, which is no error.

use std::path::{Path, PathBuf};

use orlop_model::report::{Kind, Report};
use orlop_model::time::Timestamp;
use orlop_network::{Counters, PodSocket};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::pods::now;

/// A few frames of our own and of netlink's.
const STACK: usize = 256 << 10;

/// The links of one network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Links {
    /// When they were counted.
    pub(crate) at: Timestamp,
    /// The pod's own first, without loopback.
    pub(crate) links: Vec<Counters>,
}

/// The links of the network namespaces pinned at `pins`, in their order; none where there is no pin, or no namespace behind it.
///
/// # Errors
/// If there can be no thread.
pub(crate) fn read(pins: &[Option<PathBuf>]) -> Result<Vec<Option<Links>>, Report> {
    if pins.iter().all(Option::is_none) {
        return Ok(vec![None; pins.len()]);
    }
    let failed = |cause: String| Report::new(Kind::Failed, "count links", "", cause);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("links".into()).stack_size(STACK);
        let visit = thread
            .spawn_scoped(scope, || pins.iter().map(|pin| pin.as_deref().and_then(one)).collect())
            .map_err(|error| failed(error.to_string()))?;
        visit.join().map_err(|_| failed("its thread panicked".into()))
    })
}

fn one(pin: &Path) -> Option<Links> {
    let said =
        |what: &dyn std::fmt::Display| tracing::debug!(netns = %pin.display(), "links not counted: {what}");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let entered = openat(CWD, pin, flags, Mode::empty()).and_then(|netns| {
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&netns), Some(LinkNameSpaceType::Network))
    });
    if let Err(errno) = entered {
        said(&errno);
        return None;
    }
    match PodSocket::open().and_then(|socket| Ok((now(), socket.counters()?))) {
        Ok((at, links)) => Some(Links { at, links }),
        Err(error) => {
            said(&Report::from(error));
            None
        }
    }
}
