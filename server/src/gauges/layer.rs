//! How much a container has written to its own layer.
//!
//! The filesystem does not say (that takes project quotas, which few have), so it has to be counted, and nobody waits for that: an
//! answer has the last count and when it was made. Who asks for a count that is more than a minute old has it made again, by one
//! thread that is there only while there is something to count, of the lowest priority, which works a tenth of the time and takes
//! turns between layers. What has ended is counted once more and never again.
//!
//! All that others know of it is [`Counter::ask`]; a quota can take its place.
//!
//! *Invariant:* a layer's content is its container's, who may change it meanwhile: every entry is opened by name in its own
//! directory, no link is followed, no mount is crossed. Memory and descriptors do not grow with the layer.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use orlop_model::life::container::State;
use orlop_model::time::Timestamp;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, openat2, statat};
use rustix::io::Errno;

use crate::pods::container::Container;
use crate::pods::now;

/// A count is made again that is as old as this.
const FRESH: Duration = Duration::from_mins(1);
/// Entries between two pauses.
const STEP: usize = 1000;
/// Entries of one layer before another has its turn.
const TURN: usize = 50_000;
/// A pause is this many times as long as the work before it.
const PAUSE: u32 = 9;
/// And not longer than this, where the work before it was a wait for a disk.
const LONGEST: Duration = Duration::from_secs(1);
/// Directories that stay open, of those on the way down to where the count is.
const OPEN: usize = 16;

/// What is in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Count {
    /// When it was counted.
    pub(crate) at: Timestamp,
    /// Bytes that it takes of the disk.
    pub(crate) bytes: u64,
    /// Inodes that it takes.
    pub(crate) inodes: u64,
}

/// What is known of one container's layer.
#[derive(Debug, Default)]
pub(super) struct Layer {
    count: Option<Count>,
    /// When the last count began.
    begun: Option<(Instant, Timestamp)>,
    queued: bool,
}

impl Layer {
    /// Whether it is to be counted (again).
    fn is_due(&self, state: &State, unwritable: bool) -> bool {
        let Some((begun, at)) = self.begun else {
            return !self.queued && !matches!(state, State::Created | State::Starting | State::Gone);
        };
        let old = match state {
            State::Created | State::Starting | State::Gone => false,
            State::Running | State::Stopping { .. } => !unwritable && begun.elapsed() >= FRESH,
            State::Exited(exit) | State::Removing(exit) => at <= exit.at,
        };
        !self.queued && old
    }
}

impl super::Gauge {
    /// The last count of its layer, for those who do not ask for a newer one.
    pub(crate) fn layer_count(&self) -> Option<Count> {
        self.inner().layer.count
    }

    /// Its layer was made just now, and nothing is in it.
    pub(crate) fn layer_is_new(&self) {
        self.inner().layer.count = Some(Count { at: now(), ..Count::default() });
    }
}

/// Counts layers, one at a time.
#[derive(Default)]
pub(crate) struct Counter {
    queue: Arc<Mutex<Queue>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Turn>,
    /// Whether there is a thread.
    at_work: bool,
}

/// A layer that is being counted.
struct Turn {
    container: Arc<Container>,
    directory: PathBuf,
    walk: Option<Walk>,
}

impl Counter {
    /// The last count of a container's layer, none if it was never counted; has it counted anew if that is due. `directory`: the
    /// container's own layer.
    pub(crate) fn ask(&self, container: &Arc<Container>, directory: &Path) -> Option<Count> {
        let context = container.asked.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
        let unwritable = context.is_some_and(|context| context.readonly_rootfs);
        let state = container.state();
        let (count, due) = {
            let mut inner = container.gauge.inner();
            let due = inner.layer.is_due(&state, unwritable);
            inner.layer.queued |= due;
            (inner.layer.count, due)
        };
        if due {
            let directory = directory.join("upper");
            self.enqueue(Turn { container: Arc::clone(container), directory, walk: None });
        }
        count
    }

    fn enqueue(&self, turn: Turn) {
        let mut queue = lock(&self.queue);
        queue.waiting.push_back(turn);
        if queue.at_work {
            return;
        }
        let shared = Arc::clone(&self.queue);
        let thread = std::thread::Builder::new().name("layers".into()).stack_size(128 << 10);
        match thread.spawn(move || work(&shared)) {
            Ok(_) => queue.at_work = true,
            Err(error) => tracing::warn!("layers are counted later: no thread: {error}"),
        }
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().expect("invariant: nothing panics while it holds the queue")
}

/// Until nothing waits.
fn work(queue: &Mutex<Queue>) {
    // Linux has this for each thread.
    let _ = rustix::process::setpriority_process(None, 19);
    loop {
        let turn = {
            let mut queue = lock(queue);
            let next = queue.waiting.pop_front();
            queue.at_work = next.is_some();
            next
        };
        let Some(mut turn) = turn else { return };
        if !turn.take() {
            lock(queue).waiting.push_back(turn);
        }
    }
}

impl Turn {
    /// Counts on; true when there is no more to count.
    fn take(&mut self) -> bool {
        if self.walk.is_none() {
            self.container.gauge.inner().layer.begun = Some((Instant::now(), now()));
        }
        let outcome = self.count();
        let done = !matches!(outcome, Ok(None));
        if done {
            let mut inner = self.container.gauge.inner();
            inner.layer.queued = false;
            match outcome {
                Ok(count) => inner.layer.count = count.or(inner.layer.count),
                Err(errno) => {
                    tracing::debug!(container = self.container.id.short(), "layer not counted: {errno}");
                }
            }
        }
        done
    }

    /// None if there is more to count.
    fn count(&mut self) -> Result<Option<Count>, Errno> {
        if self.walk.is_none() {
            self.walk = Some(Walk::new(&self.directory)?);
        }
        let Some(walk) = &mut self.walk else { return Ok(None) };
        let mut left = TURN;
        while left > 0 {
            let begun = Instant::now();
            let done = walk.step(STEP);
            std::thread::sleep((begun.elapsed() * PAUSE).min(LONGEST));
            if done {
                if walk.missed > 0 {
                    let container = self.container.id.short();
                    tracing::debug!(
                        container,
                        missed = walk.missed,
                        "directories changed while they were counted"
                    );
                }
                return Ok(Some(walk.total.count(now())));
            }
            left = left.saturating_sub(STEP);
        }
        Ok(None)
    }
}

/// Of blocks and inodes, in parts of 2^-20: a file of several names is shared out among them, so that it counts once in all and
/// nobody has to remember which were seen.
#[derive(Debug, Default)]
struct Total {
    bytes: u128,
    inodes: u128,
}

impl Total {
    const ONE: u128 = 1 << 20;

    fn add(&mut self, stat: &Stat) {
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let names = if directory { 1 } else { u128::from(stat.st_nlink).max(1) };
        let bytes = u128::from(u64::try_from(stat.st_blocks).unwrap_or(0)) * 512;
        self.bytes += bytes * Self::ONE / names;
        self.inodes += Self::ONE / names;
    }

    fn count(&self, at: Timestamp) -> Count {
        let whole = |parts: u128| u64::try_from((parts + Self::ONE / 2) / Self::ONE).unwrap_or(u64::MAX);
        Count { at, bytes: whole(self.bytes), inodes: whole(self.inodes) }
    }
}

/// A way through a directory and all below it, which can be gone in steps.
struct Walk {
    root: OwnedFd,
    device: u64,
    /// From the root to where it is.
    way: Vec<Step>,
    /// The path of the last one of these, from the root: `./a/b`.
    path: Vec<u8>,
    total: Total,
    /// Directories that could not be read to their end.
    missed: u64,
}

struct Step {
    /// None if it was closed on the way down.
    open: Option<Dir>,
    /// Where in it the walk is.
    at: i64,
    /// How much of the path leads to it.
    length: usize,
}

const RESOLVE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_XDEV);

fn open(at: impl std::os::fd::AsFd, name: &CStr, how: ResolveFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(at, name, flags, Mode::empty(), how)
}

impl Walk {
    fn new(directory: &Path) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = openat2(CWD, directory, flags, Mode::empty(), ResolveFlags::empty())?;
        let first = Dir::new(open(&root, c".", RESOLVE)?)?;
        let device = rustix::fs::fstat(&root)?.st_dev;
        let path = b".".to_vec();
        let way = vec![Step { open: Some(first), at: 0, length: path.len() }];
        Ok(Walk { root, device, way, path, total: Total::default(), missed: 0 })
    }

    /// Looks at `entries` more; true when there are none.
    fn step(&mut self, entries: usize) -> bool {
        for _ in 0..entries {
            match self.next() {
                Some(Ok(())) => {}
                Some(Err(_)) => {
                    self.missed += 1;
                    self.way.pop();
                }
                None => return true,
            }
        }
        false
    }

    /// One entry, or one directory's end; an error is of the directory, which is left.
    fn next(&mut self) -> Option<Result<(), Errno>> {
        let step = self.way.last_mut()?;
        self.path.truncate(step.length);
        let mut directory = match step.open.take() {
            Some(directory) => directory,
            None => match reopen(&self.root, &self.path, step.at) {
                Ok(directory) => directory,
                Err(errno) => return Some(Err(errno)),
            },
        };
        let below = match directory.read() {
            None => {
                self.way.pop();
                return Some(Ok(()));
            }
            Some(Err(errno)) => return Some(Err(errno)),
            Some(Ok(entry)) => {
                step.at = entry.offset();
                let name = entry.file_name();
                match name.to_bytes() {
                    b"." | b".." => None,
                    _ => self.total.entry(&directory, name, self.device).inspect(|_| {
                        self.path.push(b'/');
                        self.path.extend_from_slice(name.to_bytes());
                    }),
                }
            }
        };
        step.open = Some(directory);
        if let Some(below) = below {
            self.down(below);
        }
        Some(Ok(()))
    }

    fn down(&mut self, below: OwnedFd) {
        let Ok(open) = Dir::new(below) else {
            self.missed += 1;
            return;
        };
        self.way.push(Step { open: Some(open), at: 0, length: self.path.len() });
        if let Some(above) = self.way.len().checked_sub(OPEN + 1) {
            self.way[above].open = None;
        }
    }
}

impl Total {
    /// Counts an entry; a directory is given back, to be gone through.
    fn entry(&mut self, directory: &Dir, name: &CStr, device: u64) -> Option<OwnedFd> {
        let at = directory.fd().ok()?;
        // What went away meanwhile takes nothing.
        let stat = statat(at, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        if stat.st_dev != device {
            return None;
        }
        self.add(&stat);
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        is_directory.then(|| open(at, name, RESOLVE).ok()).flatten()
    }
}

fn reopen(root: &OwnedFd, path: &[u8], at: i64) -> Result<Dir, Errno> {
    let path = std::ffi::CString::new(path).map_err(|_| Errno::INVAL)?;
    let mut directory = Dir::new(open(root, &path, RESOLVE)?)?;
    directory.seek(at)?;
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    use orlop_model::life::container::Exit;

    use super::*;

    fn count(directory: &Path) -> (Count, u64) {
        let mut walk = Walk::new(directory).unwrap();
        while !walk.step(3) {}
        (walk.total.count(Timestamp::NEVER), walk.missed)
    }

    #[test]
    fn all_below_counts_once_whatever_it_is_called() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        assert_eq!(count(root.path()), (Count::default(), 0));
        fs::create_dir_all(at("a/b/c")).unwrap();
        fs::write(at("a/b/c/file"), vec![1; 100_000]).unwrap();
        for name in ["a/one", "a/b/two"] {
            fs::hard_link(at("a/b/c/file"), at(name)).unwrap();
        }
        std::os::unix::fs::symlink("/", at("a/link")).unwrap();
        fs::write(at("empty"), "").unwrap();
        let blocks: u64 = ["a", "a/b", "a/b/c", "a/b/c/file", "a/link", "empty"]
            .iter()
            .map(|name| fs::symlink_metadata(at(name)).unwrap().blocks())
            .sum();
        let (count, missed) = count(root.path());
        assert_eq!((count.bytes, count.inodes, missed), (blocks * 512, 6, 0));
        assert!(count.bytes >= 100_000);
    }

    #[test]
    fn a_deep_layer_and_a_wide_one() {
        let root = tempfile::tempdir().unwrap();
        // Deeper than what stays open, each with a file behind the directory and one before it.
        let mut deep = root.path().to_owned();
        for level in 0..100 {
            for name in ["a", "z"] {
                fs::write(deep.join(name), "").unwrap();
            }
            deep.push(format!("d{level}"));
            fs::create_dir(&deep).unwrap();
        }
        for number in 0..3000 {
            fs::write(root.path().join(format!("f{number}")), "").unwrap();
        }
        let (count, missed) = count(root.path());
        assert_eq!((count.inodes, missed), (100 * 3 + 3000, 0));
    }

    #[test]
    fn what_is_moved_away_meanwhile_is_missed_and_nothing_else_is_read() {
        let root = tempfile::tempdir().unwrap();
        let mut deep = root.path().join("top");
        for _ in 0..OPEN + 5 {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();
        let mut walk = Walk::new(root.path()).unwrap();
        // Down to the bottom: the directories at the top are closed by now.
        while walk.way.len() < OPEN + 6 {
            assert!(!walk.step(1));
        }
        fs::rename(root.path().join("top"), root.path().join("gone")).unwrap();
        std::os::unix::fs::symlink("/proc", root.path().join("top")).unwrap();
        while !walk.step(10) {}
        assert!(walk.missed > 0 && walk.total.count(Timestamp::NEVER).inodes < 100, "{:?}", walk.total);
    }

    #[test]
    fn a_count_is_due_when_it_is_old_and_once_after_the_end() {
        let running = State::Running;
        let exited = |at| State::Exited(Exit::unborn(Timestamp(at)));
        let mut layer = Layer::default();
        assert!(
            layer.is_due(&running, false) && layer.is_due(&running, true) && layer.is_due(&exited(5), false)
        );
        assert!(!layer.is_due(&State::Created, false), "nothing has run");
        layer.queued = true;
        assert!(!layer.is_due(&running, false), "it waits already");
        layer.queued = false;
        layer.begun = Some((Instant::now(), Timestamp(10)));
        assert!(!layer.is_due(&running, false), "it is fresh");
        assert!(layer.is_due(&exited(20), false) && !layer.is_due(&exited(5), false), "once after the end");
        let long_ago = Instant::now().checked_sub(FRESH).unwrap();
        layer.begun = Some((long_ago, Timestamp(10)));
        assert!(layer.is_due(&running, false));
        assert!(!layer.is_due(&running, true), "nothing can have been written");
    }
}
