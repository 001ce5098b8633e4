//! The journal of events: two files that take turns, so that it is bounded and never rewritten.
//!
//! ```text
//!  a: head | event | event | ...            b: head | event |
//!     full: b is emptied, gets a head of its own and the events that come; a stays until b is full
//! ```
//!
//! A frame is its length (4 bytes, little endian) and a message: [`JournalHead`] first, then [`JournalEvent`]s. Each is one write(2);
//! what a kill or a full disk cut off is taken away by the next daemon, and nobody was shown it.
//!
//! The files lie with the records of running things and may not outlive a boot. Numbers do: a file beside the images says up to which
//! number they may have been given away, in blocks.
//!
//! *Invariant:* a number is given to one event, and a higher one to each later. From [`Journal::kept_from`] on every event is kept.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use orlop_model::report::{Kind, Report};
use orlop_proto::orlop::v1::{JournalEvent, JournalHead};
use prost::Message;

/// Names of the files.
const FILES: [&str; 2] = ["a", "b"];
/// Version of the form.
const VERSION: u32 = 1;
/// Numbers that are reserved at a time, over a boot.
const BLOCK: u64 = 1 << 16;

/// When a file is full. The last so many events, or so many bytes of them, are kept at least; at most twice of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    pub(super) events: usize,
    pub(super) bytes: u64,
}

/// Where an event stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    number: u64,
    file: usize,
    offset: u64,
    length: usize,
}

/// The journal, open.
#[derive(Debug)]
pub(super) struct Journal {
    bound: Bound,
    directory: PathBuf,
    files: [File; 2],
    /// Which of them is written to.
    current: usize,
    /// Bytes in it.
    size: u64,
    /// Where its events begin, and how many there are.
    begin: u64,
    count: usize,
    places: VecDeque<Place>,
    next: u64,
    kept_from: u64,
    floor: Floor,
}

/// What an earlier daemon left.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) head: JournalHead,
    /// What was told after the head, the oldest first; without the events' own bytes.
    pub(super) since: Vec<JournalEvent>,
    /// What was told before it and is kept still.
    pub(super) before: Vec<JournalEvent>,
}

/// One file's content.
struct Content {
    head: JournalHead,
    events: Vec<(Place, JournalEvent)>,
    begin: u64,
    /// Where its last whole frame ends.
    end: u64,
}

impl Journal {
    /// Opens the journal in `directory`; `floor` is the file that says which numbers may have been given away. With what is there,
    /// or nothing: then [`Journal::turn`] has to be called before anything is written.
    ///
    /// # Errors
    /// If the disk does not let it.
    pub(super) fn open(
        directory: &Path,
        floor: PathBuf,
        bound: Bound,
    ) -> Result<(Self, Option<Found>), Report> {
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |error: std::io::Error| Report::new(Kind::Failed, "open journal of events", path, error)
        };
        std::fs::create_dir_all(directory).map_err(failed(directory))?;
        let open = |name: &str| {
            let path = directory.join(name);
            let options = File::options().read(true).write(true).create(true).truncate(false).open(&path);
            options.map_err(failed(&path))
        };
        let files = [open(FILES[0])?, open(FILES[1])?];
        let contents = [read(&files[0], 0), read(&files[1], 1)];
        let mut floor = Floor::open(floor);
        let first = floor.reserved.max(1);
        let mut journal = Journal {
            bound,
            directory: directory.to_owned(),
            files,
            current: 1,
            size: 0,
            begin: 0,
            count: 0,
            places: VecDeque::new(),
            next: first,
            kept_from: first,
            floor: Floor::default(),
        };
        let mut contents: Vec<(usize, Content)> =
            contents.into_iter().enumerate().filter_map(|(at, content)| Some((at, content?))).collect();
        contents.sort_by_key(|(_, content)| content.head.next);
        let Some((current, newest)) = contents.pop() else {
            floor.reserve(journal.next)?;
            journal.floor = floor;
            return Ok((journal, None));
        };
        let mut found = Found { head: newest.head, ..Found::default() };
        journal.kept_from = found.head.next;
        if let Some((_, older)) = contents.pop() {
            journal.kept_from = older.head.next;
            for (place, event) in older.events {
                journal.places.push_back(place);
                found.before.push(event);
            }
        }
        journal.current = current;
        (journal.begin, journal.size, journal.count) = (newest.begin, newest.end, newest.events.len());
        journal.next = found.head.next;
        for (place, event) in newest.events {
            journal.next = place.number + 1;
            journal.places.push_back(place);
            found.since.push(event);
        }
        journal.files[current].set_len(newest.end).map_err(failed(&directory.join(FILES[current])))?;
        floor.reserve(journal.next)?;
        journal.floor = floor;
        Ok((journal, Some(found)))
    }

    /// Whether the next event belongs into the other file.
    pub(super) fn is_full(&self) -> bool {
        self.count >= self.bound.events || self.size - self.begin >= self.bound.bytes
    }

    /// Goes on in the other file, whose events are given up; it begins with `head`.
    ///
    /// # Errors
    /// If the disk does not take it; then the journal is as it was but for the other file's events.
    pub(super) fn turn(&mut self, mut head: JournalHead) -> Result<(), Report> {
        let other = 1 - self.current;
        let failed = self.failed(other);
        self.files[other].set_len(0).map_err(&failed)?;
        self.places.retain(|place| place.file != other);
        self.kept_from = self.places.front().map_or(self.next, |place| place.number);
        (head.version, head.next) = (VERSION, self.next);
        let bytes = frame(&head);
        self.files[other].write_all_at(&bytes, 0).map_err(&failed)?;
        self.current = other;
        (self.begin, self.size, self.count) = (bytes.len() as u64, bytes.len() as u64, 0);
        Ok(())
    }

    /// Begins anew with `head`: whoever is behind has to, too.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub(super) fn begin_anew(&mut self, head: JournalHead) -> Result<(), Report> {
        self.turn(head)?;
        let other = 1 - self.current;
        self.places.clear();
        self.kept_from = self.next;
        self.files[other].set_len(0).map_err(self.failed(other))
    }

    /// Writes an event down, and gives it its number.
    ///
    /// # Errors
    /// If the disk does not take it. Its number is lost then, and with it all before: who reads has to begin anew.
    pub(super) fn write(&mut self, mut event: JournalEvent) -> Result<u64, Report> {
        event.number = self.next;
        self.next += 1;
        let written = self.floor.reserve(self.next).and_then(|()| {
            let bytes = frame(&event);
            self.files[self.current].write_all_at(&bytes, self.size).map_err(self.failed(self.current))?;
            Ok(bytes.len())
        });
        match written {
            Ok(length) => {
                let (offset, length) = (self.size + 4, length - 4);
                self.places.push_back(Place { number: event.number, file: self.current, offset, length });
                self.size = offset + length as u64;
                self.count += 1;
                Ok(event.number)
            }
            Err(report) => {
                // A part of it may be there.
                let _ = self.files[self.current].set_len(self.size);
                self.places.clear();
                self.kept_from = self.next;
                Err(report)
            }
        }
    }

    /// The number from which on every event is kept.
    pub(super) fn kept_from(&self) -> u64 {
        self.kept_from
    }

    /// The number of the last event; one less than the first one's if there was none yet.
    pub(super) fn newest(&self) -> u64 {
        self.next - 1
    }

    /// The first event after number `after`; `None` if there is none yet.
    ///
    /// # Errors
    /// `TooOld` if events after it are no longer kept; `Corrupt` if it cannot be read.
    pub(super) fn read(&self, after: u64) -> Result<Option<JournalEvent>, Report> {
        if after + 1 < self.kept_from {
            let cause = format!(
                "the events after {after} are no longer kept; the oldest that is has {}",
                self.kept_from
            );
            return Err(Report::new(Kind::TooOld, "events", "", cause)
                .advise("list pods and containers, and go on with what comes"));
        }
        let at = self.places.partition_point(|place| place.number <= after);
        let Some(place) = self.places.get(at) else { return Ok(None) };
        let corrupt = |cause: String| Report::new(Kind::Corrupt, "read journal of events", "", cause);
        let mut bytes = vec![0; place.length];
        self.files[place.file]
            .read_exact_at(&mut bytes, place.offset)
            .map_err(|error| corrupt(error.to_string()))?;
        JournalEvent::decode(&*bytes).map(Some).map_err(|error| corrupt(error.to_string()))
    }

    fn failed(&self, file: usize) -> impl Fn(std::io::Error) -> Report + use<> {
        let path = self.directory.join(FILES[file]).display().to_string();
        move |error| Report::new(Kind::Failed, "write journal of events", path.clone(), error)
    }
}

fn frame(message: &impl Message) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    // A Vec has room for every message.
    let _ = message.encode(&mut bytes);
    let length = u32::try_from(bytes.len() - 4).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes
}

/// What is whole in a file; `None` if its head is not.
fn read(file: &File, number: usize) -> Option<Content> {
    let mut bytes = vec![0; usize::try_from(file.metadata().ok()?.len()).ok()?];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let (head, mut rest) = unframe(&bytes)?;
    let head = JournalHead::decode(head).ok().filter(|head| head.version == VERSION)?;
    let begin = (bytes.len() - rest.len()) as u64;
    let mut content = Content { head, events: Vec::new(), begin, end: begin };
    while let Some((body, after)) = unframe(rest) {
        let Ok(mut event) = JournalEvent::decode(body) else { break };
        event.event = Vec::new();
        let place = Place { number: event.number, file: number, offset: content.end + 4, length: body.len() };
        content.events.push((place, event));
        content.end = place.offset + body.len() as u64;
        rest = after;
    }
    Some(content)
}

/// The body of the first frame, and what is behind it.
fn unframe(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// Up to which number they may have been given away, over a boot.
#[derive(Debug, Default)]
struct Floor {
    path: PathBuf,
    reserved: u64,
}

impl Floor {
    fn open(path: PathBuf) -> Self {
        let reserved = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        Floor { path, reserved: reserved.unwrap_or_default() }
    }

    /// Has `next` and some after it reserved, durably.
    fn reserve(&mut self, next: u64) -> Result<(), Report> {
        if next < self.reserved {
            return Ok(());
        }
        let reserved = next + BLOCK;
        let temporary = self.path.with_extension("new");
        let write = || {
            let mut file = File::create(&temporary)?;
            writeln!(file, "{reserved}")?;
            file.sync_all()?;
            std::fs::rename(&temporary, &self.path)
        };
        write().map_err(|error| {
            Report::new(Kind::Failed, "reserve numbers of events", self.path.display().to_string(), error)
        })?;
        self.reserved = reserved;
        Ok(())
    }
}

#[cfg(test)]
#[path = "journal/tests.rs"]
mod tests;
