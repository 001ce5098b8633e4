//! What pods and containers use: read from the kernel when it is asked for, never remembered but for what needs two looks.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`read`] | one container's, one pod's figures |
//! | [`rate`] | use per time, from two looks |
//! | [`layer`] | how much a container has written to its own layer |
//! | [`links`] | what went through pods' links |
//! | [`process`] | descriptors, sockets and limits of processes |
//! | [`disk`] | the filesystem that containers write to, and what disks are called |
//!
//! CPU time is looked at every ten seconds, so that an answer has a rate whoever asked before. The files that a request reads stay
//! open while somebody goes on asking, within a share of what the daemon may have open.
//!
//! *Invariant:* a request reads; it never waits for a count of a layer and walks no directory of a container's. Nothing that is kept
//! open outlives the pod or container that it is of.

pub(crate) mod disk;
pub(crate) mod layer;
pub(crate) mod links;
pub(crate) mod process;
pub(crate) mod rate;
pub(crate) mod read;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use orlop_cgroup::Hierarchies;
use orlop_cgroup::count::{self, Meter, Usage};
use orlop_model::life::container::State;
use orlop_model::life::pod::State as PodState;
use orlop_model::report::Report;
use orlop_model::time::Timestamp;

use crate::blocking::blocking;
use crate::pods::{Core, now};
use rate::{Sample, Window};

/// Between two looks at CPU time.
const EVERY: Duration = Duration::from_secs(10);
/// Files are let go that nobody has asked for this long.
const IDLE: Duration = Duration::from_mins(1);
/// The share of the daemon's descriptors that may stay open for figures.
const SHARE: u64 = 4;

/// What all figures have in common.
pub(crate) struct Gauges {
    /// Descriptors that may still stay open.
    left: Arc<AtomicUsize>,
    pub(crate) layers: layer::Counter,
    pub(crate) disk: disk::Disk,
}

impl Gauges {
    /// `containers`: where their layers are.
    pub(crate) fn new(containers: &std::path::Path) -> Self {
        let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = usize::try_from(most / SHARE).unwrap_or(usize::MAX);
        Gauges {
            left: Arc::new(AtomicUsize::new(most)),
            layers: layer::Counter::default(),
            disk: disk::Disk::of(containers),
        }
    }
}

/// What is remembered of one pod's or container's figures.
#[derive(Default)]
pub(crate) struct Gauge {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    kept: Option<(Arc<Kept>, Instant)>,
    window: Window,
    layer: layer::Layer,
}

/// A meter that stays open, and its share of what may.
struct Kept {
    meter: Meter,
    left: Arc<AtomicUsize>,
}

impl Kept {
    /// None if too many files are open already.
    fn new(meter: Meter, left: &Arc<AtomicUsize>) -> Option<Self> {
        let files = meter.files();
        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(files));
        taken.is_ok().then(|| Kept { meter, left: Arc::clone(left) })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.left.fetch_add(self.meter.files(), Ordering::Relaxed);
    }
}

/// A look at a cgroup.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Reading {
    /// When.
    pub(crate) at: Timestamp,
    /// What the kernel said.
    pub(crate) usage: Usage,
    /// Nanoseconds of CPU time in a second, over the last ten seconds or so; none if there was no earlier look.
    pub(crate) rate: Option<u64>,
}

impl Gauge {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("invariant: nothing panics while it holds a gauge")
    }

    /// Reads the cgroup `path`. `whole`: all directories of it are there, so its files may stay open.
    fn read(&self, core: &Core, path: &str, whole: bool) -> Result<Reading, Report> {
        let kept = self.inner().kept.as_mut().map(|(kept, asked)| {
            *asked = Instant::now();
            Arc::clone(kept)
        });
        let (at, then) = (now(), Instant::now());
        let usage = match kept {
            Some(kept) => kept.meter.usage()?,
            None => self.open(core, path, whole)?,
        };
        let mut inner = self.inner();
        let rate = usage.cpu.and_then(|cpu| inner.window.rate(Sample { at: then, cpu }));
        Ok(Reading { at, usage, rate })
    }

    fn open(&self, core: &Core, path: &str, whole: bool) -> Result<Usage, Report> {
        let meter = Meter::open(&core.node.hierarchies, path)?;
        let usage = meter.usage()?;
        if whole
            && meter.files() > 0
            && let Some(kept) = Kept::new(meter, &core.gauges.left)
        {
            self.inner().kept = Some((Arc::new(kept), Instant::now()));
        }
        Ok(usage)
    }

    /// Looks at CPU time, for the rates to come.
    fn look(&self, hierarchies: &Hierarchies, path: &str) -> Result<(), Report> {
        let kept = {
            let mut inner = self.inner();
            if inner.kept.as_ref().is_some_and(|(_, asked)| asked.elapsed() > IDLE) {
                inner.kept = None;
            }
            inner.kept.as_ref().map(|(kept, _)| Arc::clone(kept))
        };
        let at = Instant::now();
        let cpu = match kept {
            Some(kept) => kept.meter.cpu()?,
            None => count::time(hierarchies, path)?,
        };
        if let Some(cpu) = cpu {
            self.inner().window.add(Sample { at, cpu });
        }
        Ok(())
    }

    /// Closes what is open: what it is of has ended.
    pub(crate) fn let_go(&self) {
        let kept = self.inner().kept.take();
        drop(kept);
    }
}

/// Begins to look at CPU time, for as long as the daemon lives.
pub(crate) fn begin(core: &Arc<Core>) {
    let core = Arc::clone(core);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let core = Arc::clone(&core);
            if let Err(report) = blocking("look at cgroups", move || look(&core)).await {
                tracing::warn!("{report}");
            }
        }
    });
}

fn look(core: &Core) {
    let hierarchies = &core.node.hierarchies;
    let said = |id: &str, looked: Result<(), Report>| {
        if let Err(report) = looked {
            tracing::debug!(id, "{report}");
        }
    };
    for container in core.table.containers() {
        if runs(&container.state()) {
            let path = core.container_cgroup(&container);
            said(container.id.short(), container.gauge.look(hierarchies, &path));
        } else {
            container.gauge.let_go();
        }
    }
    for pod in core.table.pods() {
        let path = core.pod_cgroup(&pod);
        if pod.state() == PodState::Ready && !path.is_empty() {
            said(pod.id.short(), pod.gauge.look(hierarchies, &path));
        } else {
            pod.gauge.let_go();
        }
    }
}

/// Whether a container in this state uses anything.
pub(crate) fn runs(state: &State) -> bool {
    match state {
        State::Running | State::Stopping { .. } => true,
        State::Created | State::Starting | State::Exited(_) | State::Removing(_) | State::Gone => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_share_of_what_may_be_open_stays_open() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("cg/one")).unwrap();
        std::fs::write(root.path().join("cg/one/cpu.stat"), "usage_usec 5\n").unwrap();
        std::fs::write(root.path().join("cg/one/cpu.pressure"), "").unwrap();
        let here = Hierarchies::detect("1 1 0:1 / /cg rw - cgroup2 cgroup2 rw\n", root.path());
        let open = || Meter::open(&here, "/one").unwrap();
        assert_eq!(open().files(), 2);
        let left = Arc::new(AtomicUsize::new(5));
        let (one, two) = (Kept::new(open(), &left), Kept::new(open(), &left));
        assert!(one.is_some() && two.is_some() && Kept::new(open(), &left).is_none());
        assert_eq!(left.load(Ordering::Relaxed), 1);
        drop(one);
        assert!(Kept::new(open(), &left).is_some());
        drop(two);
        assert_eq!(left.load(Ordering::Relaxed), 5);
    }
}
