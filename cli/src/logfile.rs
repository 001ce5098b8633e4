//! A container's log file, followed through rotations.
//!
//! kubelet renames the file and has the daemon reopen it; the new one is whole lines from its beginning. Others copy a file and cut
//! it to nothing.
//!
//! *Invariant:* the old file is read to its end before the new one is begun. Memory is bounded by the longest line that is read.

use std::fs::File;
use std::io::{self, BufReader, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use orlop_crilog::reader::{Line, Lines};
use orlop_crilog::tail;

use crate::failure::Failure;

/// How much is read at once.
const BLOCK: usize = 64 << 10;

/// An open log file.
pub(crate) struct LogFile {
    path: PathBuf,
    /// Device and inode: a name may come to mean another file.
    identity: (u64, u64),
    /// Where reading began.
    begin: u64,
    lines: Lines<BufReader<File>>,
}

impl LogFile {
    /// Opens the file at `path`, at the last `tail` lines of it if so many are wanted, else at its beginning.
    ///
    /// # Errors
    /// As the kernel says.
    pub(crate) fn open(path: &Path, tail: Option<u64>) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        let begin = tail.map_or(Ok(0), |count| tail::start(&file, count))?;
        file.seek(SeekFrom::Start(begin))?;
        Ok(LogFile {
            path: path.to_owned(),
            identity: (metadata.dev(), metadata.ino()),
            begin,
            lines: Lines::new(BufReader::with_capacity(BLOCK, file)),
        })
    }

    /// Gives every line that is there, and was not given yet, to `take`.
    ///
    /// # Errors
    /// `Log` if it cannot be read; what `take` says.
    fn drain(&mut self, mut take: impl FnMut(Line<'_>) -> io::Result<()>) -> Result<(), Failure> {
        let path = &self.path;
        let failed = |source| Failure::Log { path: path.clone(), source };
        while let Some(line) = self.lines.next_line().map_err(failed)? {
            take(line)?;
        }
        Ok(())
    }

    /// Whether another file has taken the place of this one, or this one was cut.
    fn is_replaced(&self) -> Result<bool, Failure> {
        match std::fs::metadata(&self.path) {
            Ok(metadata) => {
                let same = (metadata.dev(), metadata.ino()) == self.identity;
                Ok(!same || metadata.len() < self.begin + self.lines.taken())
            }
            // Renamed, and the new one is not there yet; or the container was removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(Failure::Log { path: self.path.clone(), source }),
        }
    }

    /// Gives what is new to `take`: what is left of this file and, if another has taken its place, that one's lines.
    ///
    /// # Errors
    /// As [`LogFile::drain`].
    pub(crate) fn advance(
        &mut self,
        mut take: impl FnMut(Line<'_>) -> io::Result<()>,
    ) -> Result<(), Failure> {
        self.drain(&mut take)?;
        if !self.is_replaced()? {
            return Ok(());
        }
        // Its writer has the new one by now, so that this is all that the old one will ever have.
        self.drain(&mut take)?;
        match LogFile::open(&self.path, None) {
            Ok(next) => {
                *self = next;
                self.drain(&mut take)
            }
            // Rotated once more in this very moment: the next time.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(Failure::Log { path: self.path.clone(), source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write as _;

    const TIME: &str = "2026-01-02T15:04:05.000000009Z";

    fn write(path: &Path, lines: &[&str]) {
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        for line in lines {
            writeln!(file, "{TIME} stdout F {line}").unwrap();
        }
    }

    fn news(log: &mut LogFile) -> Vec<String> {
        let mut lines = Vec::new();
        log.advance(|line| {
            lines.push(String::from_utf8(line.content.to_vec()).unwrap());
            Ok(())
        })
        .unwrap();
        lines
    }

    #[test]
    fn a_rotation_loses_nothing_and_repeats_nothing() {
        let place = tempfile::tempdir().unwrap();
        let (path, old) = (place.path().join("0.log"), place.path().join("0.log.1"));
        write(&path, &["a", "b"]);
        let mut log = LogFile::open(&path, Some(1)).unwrap();
        assert_eq!(news(&mut log), ["b"]);
        write(&path, &["c"]);
        fs::rename(&path, &old).unwrap();
        assert_eq!(news(&mut log), ["c"]);
        // Its writer has not been told yet.
        write(&old, &["d"]);
        assert_eq!(news(&mut log), ["d"]);
        write(&old, &["e"]);
        write(&path, &["f"]);
        assert_eq!(news(&mut log), ["e", "f"]);
        write(&path, &["g"]);
        assert_eq!(news(&mut log), ["g"]);
        assert_eq!(news(&mut log), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_was_cut_is_begun_again() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("0.log");
        write(&path, &["a", "b"]);
        let mut log = LogFile::open(&path, Some(0)).unwrap();
        assert_eq!(news(&mut log), Vec::<String>::new());
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        write(&path, &["c"]);
        assert_eq!(news(&mut log), ["c"]);
    }

    #[test]
    fn half_a_line_waits_for_its_end() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("0.log");
        fs::write(&path, format!("{TIME} stdout F ha")).unwrap();
        let mut log = LogFile::open(&path, None).unwrap();
        assert_eq!(news(&mut log), Vec::<String>::new());
        File::options().append(true).open(&path).unwrap().write_all(b"lf\n").unwrap();
        assert_eq!(news(&mut log), ["half"]);
    }
}
