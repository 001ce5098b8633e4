//! The log file: whole lines, up to a cap, and a line that says what is missing.
//!
//! *Invariant:* what no disk takes, or what is beyond the cap, is dropped by whole lines and counted; the container never waits for it.
//! The count is written into the log as soon as there is a file that takes it: when the path is opened anew, or at the end.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use orlop_crilog::Stream;
use orlop_crilog::writer::Formatter;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

/// A log file, or none: then all is dropped, and that is no loss.
pub(crate) struct File {
    path: Option<CString>,
    open: Option<OwnedFd>,
    /// Bytes that the file may have; 0: as many as the disk has.
    cap: u64,
    /// Bytes that it has.
    size: u64,
    /// Bytes of log that were dropped and of which the log does not tell yet.
    lost: u64,
    /// Whether any of them were dropped for the cap.
    capped: bool,
}

impl File {
    /// Opens `path`; 0 as `cap`: none.
    ///
    /// # Errors
    /// As open(2) says.
    pub(crate) fn open(path: Option<CString>, cap: u64) -> Result<Self, Errno> {
        let mut log = File { path, open: None, cap, size: 0, lost: 0, capped: false };
        log.reopen()?;
        Ok(log)
    }

    /// Opens the path anew; the old file gets nothing more.
    ///
    /// # Errors
    /// As open(2) says; the old file is then kept.
    pub(crate) fn reopen(&mut self) -> Result<(), Errno> {
        if let Some(path) = &self.path {
            let flags = OFlags::CREATE | OFlags::APPEND | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
            let file = rustix::fs::openat(CWD, path.as_c_str(), flags, Mode::from_raw_mode(0o640))?;
            self.size = rustix::fs::fstat(&file).map_or(0, |stat| stat.st_size.try_into().unwrap_or(0));
            self.open = Some(file);
            self.tell();
        }
        Ok(())
    }

    /// Writes whole lines, and empties `out`.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>) {
        if self.open.is_some() {
            let fits = self.fitting(out);
            self.capped |= fits < out.len();
            self.lost += (out.len() - fits) as u64;
            self.lost += self.append(&out[..fits]);
        }
        out.clear();
    }

    /// Writes down what is missing, whatever the cap: it is one line.
    pub(crate) fn tell(&mut self) {
        if self.lost == 0 {
            return;
        }
        let why = if self.capped { "its cap" } else { "the end of its disk" };
        let text =
            format!("orlop: {} bytes of this log were dropped: the file had reached {why}\n", self.lost);
        let mut out = Vec::with_capacity(text.len() + 64);
        let mut line = Formatter::new(Stream::Stderr);
        let taken = line.feed(crate::record::now(), text.as_bytes(), &mut out);
        if taken == text.len() && self.append(&out) == 0 {
            self.lost = 0;
            self.capped = false;
        }
    }

    /// How many of the first bytes are whole lines below the cap.
    fn fitting(&self, out: &[u8]) -> usize {
        let room = self.cap.saturating_sub(self.size);
        match usize::try_from(room) {
            Ok(room) if self.cap != 0 && room < out.len() => {
                out[..room].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1)
            }
            _ => out.len(),
        }
    }

    /// Appends whole lines; if the disk refuses, takes back what it took of the last of them. How many bytes were lost.
    fn append(&mut self, lines: &[u8]) -> u64 {
        let Some(file) = &self.open else { return 0 };
        let mut written = 0;
        while written < lines.len() {
            match rustix::io::write(file, &lines[written..]) {
                Ok(count) => written += count,
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        let mut whole = written;
        if written != lines.len() {
            whole = lines[..written].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            if whole != written
                && let Ok(stat) = rustix::fs::fstat(file)
                && let Ok(size) = u64::try_from(stat.st_size)
            {
                // Only this shim appends to it, so its end is what was just written.
                let _ = rustix::fs::ftruncate(file, size.saturating_sub((written - whole) as u64));
            }
        }
        self.size += whole as u64;
        (lines.len() - written) as u64
    }
}
