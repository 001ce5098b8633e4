//! Directories of files that others write, read anew when they change.
//!
//! ```text
//!   inotify on each directory, or on the next one above it that is there ─▶ settle ─▶ read all ─▶ what is made of them
//! ```
//!
//! *Invariant:* who asks for the last state waits for nobody. A directory that is not there is an empty one; a file that cannot be
//! read is handed on as such.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::blocking::blocking;

/// Writers write more than once.
const SETTLE: Duration = Duration::from_millis(10);
/// Between two looks where the kernel tells nothing.
const LOOK: Duration = Duration::from_secs(5);
/// The most that a file may have.
const LARGEST: u64 = 4 << 20;
/// More files than this are read in no directory.
const MOST: usize = 4096;

/// A file, as it was found.
#[derive(Debug)]
pub(crate) struct Found {
    /// Where.
    pub(crate) path: PathBuf,
    /// In which of the directories.
    pub(crate) directory: usize,
    /// Its bytes, or why they cannot be read.
    pub(crate) bytes: Result<Vec<u8>, String>,
}

/// What tells a file from what it was before.
type Stamp = (PathBuf, u64, u64, i64, i64, u64);

/// What is made of the files of some directories.
pub(crate) struct Watched<T> {
    directories: Vec<PathBuf>,
    takes: fn(&Path) -> bool,
    make: fn(Vec<Found>) -> T,
    /// As the files were when they were last read; held while they are.
    seen: Mutex<Vec<Stamp>>,
    last: RwLock<Arc<T>>,
}

impl<T: PartialEq + Send + Sync + 'static> Watched<T> {
    /// Of the files of `directories` that `takes` takes, as they are now.
    pub(crate) fn new(
        directories: Vec<PathBuf>,
        takes: fn(&Path) -> bool,
        make: fn(Vec<Found>) -> T,
    ) -> Arc<Self> {
        let last = RwLock::new(Arc::new(make(Vec::new())));
        let watched = Watched { directories, takes, make, seen: Mutex::default(), last };
        watched.look();
        Arc::new(watched)
    }

    /// As it was seen last. Never waits.
    pub(crate) fn last(&self) -> Arc<T> {
        Arc::clone(&self.last.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// As it is now: read anew if a file is another than it was. May block.
    pub(crate) fn look(&self) -> Arc<T> {
        self.read(false)
    }

    fn read(&self, anew: bool) -> Arc<T> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let files = self.files();
        let stamps: Vec<Stamp> = files.iter().map(|(path, _)| stamp(path)).collect();
        if !anew && stamps == *seen {
            return self.last();
        }
        let found =
            files.into_iter().map(|(path, directory)| Found { bytes: contents(&path), path, directory });
        let made = Arc::new((self.make)(found.collect()));
        *seen = stamps;
        let mut last = self.last.write().unwrap_or_else(PoisonError::into_inner);
        if *last != made {
            *last = Arc::clone(&made);
        }
        made
    }

    /// The files, each with the place of its directory, by name within one.
    fn files(&self) -> Vec<(PathBuf, usize)> {
        let mut all = Vec::new();
        for (number, directory) in self.directories.iter().enumerate() {
            let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
            let mut paths: Vec<PathBuf> = entries
                .filter(|entry| !entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path())
                .filter(|path| (self.takes)(path))
                .take(MOST)
                .collect();
            paths.sort();
            all.extend(paths.into_iter().map(|path| (path, number)));
        }
        all
    }

    /// Reads anew whenever something changes, and has `tell` say what is new.
    pub(crate) fn begin(self: &Arc<Self>, tell: fn(&T)) {
        tell(&self.last());
        let watched = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                // Before the look, so that what happens during it is heard afterwards.
                let heard = listen(&watched.directories);
                let (before, reading) = (watched.last(), Arc::clone(&watched));
                if let Ok(now) = blocking("read directories", move || reading.read(true)).await
                    && now != before
                {
                    tell(&now);
                }
                wait(heard).await;
            }
        });
    }
}

fn stamp(path: &Path) -> Stamp {
    match std::fs::metadata(path) {
        Ok(file) => (path.into(), file.dev(), file.ino(), file.mtime(), file.mtime_nsec(), file.size()),
        Err(_) => (path.into(), 0, 0, 0, 0, 0),
    }
}

fn contents(path: &Path) -> Result<Vec<u8>, String> {
    let read = || -> std::io::Result<Vec<u8>> {
        // Asked before it is opened: opening a FIFO waits for a writer.
        if !std::fs::metadata(path)?.is_file() {
            return Err(std::io::Error::other("it is no regular file"));
        }
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LARGEST {
            return Err(std::io::Error::other("it has more than 4 MiB"));
        }
        Ok(bytes)
    };
    read().map_err(|error| error.to_string())
}

/// Listens for changes: in each directory, or in the next one above it that is there, where it may be made.
fn listen(directories: &[PathBuf]) -> Option<OwnedFd> {
    let heard = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
    let entries = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM | WatchFlags::ONLYDIR;
    let changes = entries
        | WatchFlags::DELETE
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::ATTRIB
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF;
    for directory in directories {
        if inotify::add_watch(&heard, directory, changes).is_err() {
            let above = directory.ancestors().skip(1);
            let _ = above.into_iter().find(|above| inotify::add_watch(&heard, *above, entries).is_ok());
        }
    }
    Some(heard)
}

/// Waits until something is heard of.
async fn wait(heard: Option<OwnedFd>) {
    let Some(heard) = heard else { return tokio::time::sleep(LOOK).await };
    #[expect(
        deprecated,
        reason = "a type that lies about its descriptor could misuse it; OwnedFd does not lie"
    )]
    let heard = AsyncFd::with_interest(heard, Interest::READABLE);
    match heard {
        Ok(heard) => drop(heard.readable().await),
        Err(_) => tokio::time::sleep(LOOK).await,
    }
    tokio::time::sleep(SETTLE).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: Vec<Found>) -> Vec<(String, usize, Result<String, String>)> {
        let one = |found: Found| {
            let name = found.path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, found.directory, found.bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
        };
        found.into_iter().map(one).collect()
    }

    fn is_text(path: &Path) -> bool {
        path.extension().is_some_and(|extension| extension == "txt")
    }

    #[test]
    fn files_are_read_by_directory_and_name_and_only_when_they_change() {
        let room = tempfile::tempdir().expect("a directory");
        let at = |name: &str| room.path().join(name);
        std::fs::create_dir(at("one")).expect("made");
        std::fs::write(at("one/b.txt"), "b").expect("written");
        std::fs::write(at("one/a.txt"), "a").expect("written");
        std::fs::write(at("one/c.json"), "c").expect("written");
        std::fs::create_dir(at("one/d.txt")).expect("made");
        let watched = Watched::new(vec![at("one"), at("two")], is_text, names);
        let file = |name: &str, directory, text: &str| (name.to_owned(), directory, Ok(text.to_owned()));
        assert_eq!(*watched.last(), [file("a.txt", 0, "a"), file("b.txt", 0, "b")]);
        assert!(Arc::ptr_eq(&watched.last(), &watched.look()), "nothing has changed");

        std::fs::create_dir(at("two")).expect("made");
        std::fs::write(at("two/a.txt"), "other").expect("written");
        std::fs::remove_file(at("one/a.txt")).expect("removed");
        assert_eq!(*watched.look(), [file("b.txt", 0, "b"), file("a.txt", 1, "other")]);
    }

    #[test]
    fn what_is_no_file_is_never_opened() {
        let room = tempfile::tempdir().expect("a directory");
        let fifo = room.path().join("fifo.txt");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .expect("made");
        let watched = Watched::new(vec![room.path().to_owned()], is_text, names);
        assert!(watched.last()[0].2.as_ref().is_err_and(|error| error.contains("no regular file")));
    }

    #[tokio::test]
    async fn what_is_written_is_heard_of_wherever_the_directory_comes_from() {
        let room = tempfile::tempdir().expect("a directory");
        let directory = room.path().join("x/y");
        let watched = Watched::new(vec![directory.clone()], is_text, names);
        watched.begin(|_| {});
        std::fs::create_dir_all(&directory).expect("made");
        for text in ["first", "second"] {
            std::fs::write(directory.join("a.txt"), text).expect("written");
            let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
            while watched.last().first().map(|file| &file.2) != Some(&Ok(text.to_owned())) {
                assert!(tokio::time::Instant::now() < deadline, "{text} is not seen");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }
}
