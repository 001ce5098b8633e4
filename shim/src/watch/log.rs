//! From the container's streams to its log file.
//!
//! *Invariant:* memory is bounded whatever comes: what cannot be written is dropped and counted, and the container never waits for
//! a disk that is full. The file ([`mod@file`]) holds whole lines only. Buffers are taken for the moment of their use, so a quiet container's shim
//! holds none.

mod file;

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use orlop_crilog::Stream;
use orlop_crilog::writer::Formatter;
use rustix::io::Errno;

use super::attach::Attachments;
use super::poll::{Poll, Source};
use file::File;

/// Read at once.
const CHUNK: usize = 128 << 10;
/// Written at once: a chunk of 80-byte lines, with their heads.
const OUT: usize = 256 << 10;
/// Chunks of one stream before the others get their turn.
const TURN: usize = 16;
/// A stream that brought this much at once is busy: it is looked at again after [`REST`], not at its next write, so that one look
/// takes many writes. A pipe holds what comes meanwhile.
const BUSY: usize = 4 << 10;
const REST: Duration = Duration::from_micros(500);
/// Buffers that were not used for this long are given back.
const QUIET: Duration = Duration::from_millis(500);

/// The streams and the file.
pub(crate) struct Log {
    file: File,
    streams: [Option<(OwnedFd, Formatter)>; 2],
    buffers: Option<Buffers>,
    /// Streams that rest, by bit, and until when.
    resting: u32,
    until: Instant,
    /// Who gets the same bytes.
    pub(super) attachments: Attachments,
}

/// Memory that is held while there is something to write.
struct Buffers {
    chunk: Vec<u8>,
    out: Vec<u8>,
    used: Instant,
}

impl Log {
    /// Opens the file; no path: output is read and dropped. `cap`: the most bytes that it may have, 0 for any.
    ///
    /// # Errors
    /// As open(2) says.
    pub(crate) fn open(path: Option<CString>, cap: u64) -> Result<Self, Errno> {
        Ok(Log {
            file: File::open(path, cap)?,
            streams: [None, None],
            buffers: None,
            resting: 0,
            until: Instant::now(),
            attachments: Attachments::default(),
        })
    }

    /// Adds a stream: 0 stdout or terminal, 1 stderr.
    pub(crate) fn add(&mut self, number: u32, descriptor: OwnedFd, poll: &mut Poll) -> Result<(), Errno> {
        rustix::io::ioctl_fionbio(&descriptor, true)?;
        poll.add(descriptor.as_fd(), Source::Stream(number))?;
        let stream = if number == 0 { Stream::Stdout } else { Stream::Stderr };
        if let Some(place) = self.streams.get_mut(number as usize) {
            *place = Some((descriptor, Formatter::new(stream)));
        }
        Ok(())
    }

    /// When [`Log::look_again`] has something to do.
    pub(crate) fn patience(&self) -> Option<Duration> {
        let rest = (self.resting != 0).then(|| self.until.saturating_duration_since(Instant::now()));
        let quiet = self.buffers.as_ref().map(|buffers| QUIET.saturating_sub(buffers.used.elapsed()));
        rest.into_iter().chain(quiet).min()
    }

    /// Wakes streams whose rest is over; gives buffers back that nobody used for a while.
    pub(crate) fn look_again(&mut self, poll: &mut Poll) {
        if self.resting != 0 && Instant::now() >= self.until {
            for number in (0..2).filter(|number| self.resting & (1 << number) != 0) {
                if let Some((descriptor, _)) = &self.streams[number as usize] {
                    poll.rearm(descriptor, number);
                }
            }
            self.resting = 0;
        }
        if self.buffers.as_ref().is_some_and(|buffers| buffers.used.elapsed() >= QUIET) {
            self.buffers = None;
        }
    }

    /// Reads what a stream has and writes it. Whether the stream has ended by it; if not it rests.
    pub(crate) fn pump(&mut self, number: u32) -> bool {
        let Some(place) = self.streams.get_mut(number as usize) else { return false };
        let Some((descriptor, formatter)) = place else { return false };
        let began = Instant::now();
        let buffers = self.buffers.get_or_insert_with(|| Buffers {
            chunk: vec![0; CHUNK],
            out: Vec::with_capacity(OUT),
            used: began,
        });
        buffers.used = began;
        let (chunk, out) = (&mut buffers.chunk, &mut buffers.out);
        let (mut ended, mut came) = (false, 0);
        for _ in 0..TURN {
            match rustix::io::read(&*descriptor, &mut *chunk) {
                // A terminal says EIO when its other end is closed.
                Ok(0) | Err(Errno::IO) => {
                    ended = true;
                    break;
                }
                Ok(count) => {
                    came += count;
                    self.attachments.copy(number, &chunk[..count]);
                    format(&chunk[..count], formatter, out, &mut self.file);
                    // What a short read brought is all there is for now.
                    if count < CHUNK / 2 {
                        break;
                    }
                }
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        if ended {
            formatter.finish(crate::record::now(), out);
            *place = None;
            self.attachments.end_stream(number);
        } else {
            let until = began + if came < BUSY { Duration::ZERO } else { REST };
            self.until = if self.resting == 0 { until } else { self.until.min(until) };
            self.resting |= 1 << number;
        }
        self.file.write(out);
        ended
    }

    /// Writes what is held and lets go of streams that never end: something outside the container keeps them open.
    pub(crate) fn close(&mut self, poll: &mut Poll) {
        for number in 0..2 {
            while self.streams[number as usize].is_some() && self.pump(number) {}
            if let Some((_, mut formatter)) = self.streams[number as usize].take() {
                let mut out = Vec::new();
                formatter.finish(crate::record::now(), &mut out);
                self.file.write(&mut out);
            }
            poll.forget_stream(number);
        }
        self.file.tell();
    }

    /// Ends the copies of streams that have ended, or never were.
    pub(super) fn end_copies(&mut self) {
        for number in (0..2).filter(|number| self.streams[*number as usize].is_none()) {
            self.attachments.end_stream(number);
        }
    }

    /// Opens the path anew; the old file gets nothing more.
    ///
    /// # Errors
    /// As open(2) says; the old file is then kept.
    pub(crate) fn reopen(&mut self) -> Result<(), Errno> {
        self.file.reopen()
    }
}

/// Makes lines of what was read; writes them when `out` is full.
fn format(mut left: &[u8], formatter: &mut Formatter, out: &mut Vec<u8>, file: &mut File) {
    let now = crate::record::now();
    while !left.is_empty() {
        let taken = formatter.feed(now, left, out);
        left = &left[taken..];
        if !left.is_empty() {
            file.write(out);
        }
    }
}
