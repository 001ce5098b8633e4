//! `orlop logs`: what a container wrote. The file is read where the shim writes it, so that a daemon that is away hides nothing.
//!
//! *Invariant:* what the container wrote to its standard output comes byte for byte on ours, and likewise its standard error; their
//! order is kept where both go to one place.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use orlop_crilog::Stream;
use orlop_crilog::reader::Line;
use orlop_proto::runtime::v1::{ContainerState, ContainerStatus};
use tonic::{Code, Status};

use crate::client::{Daemon, broken, is_timeout};
use crate::failure::Failure;
use crate::logfile::LogFile;
use crate::render::time;
use crate::resolve;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// After how many looks the daemon is asked whether the container has ended.
const LOOKS: u32 = 5;

/// Its flags.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// A container
    id: String,
    /// Go on until the container ends
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines
    #[arg(short = 'n', long, value_name = "N")]
    tail: Option<u64>,
    /// When each line was written
    #[arg(short, long)]
    timestamps: bool,
    /// Only what was written since: a time (RFC 3339), or how long ago, 10m
    #[arg(long, value_name = "TIME", value_parser = |text: &str| time::since(text, super::now()))]
    since: Option<i64>,
}

impl Logs {
    pub(super) async fn run(self, daemon: &Daemon) -> Result<u8, Failure> {
        let id = resolve::container(daemon, &self.id).await?;
        let what = format!("logs {}", self.id);
        let answer =
            daemon.container_status(&id, false).await.map_err(|status| daemon.refused(&what, &status))?;
        let status = answer.status.ok_or(Failure::Incomplete { what: what.clone(), lacks: "a status" })?;
        if status.log_path.is_empty() {
            return Err(Failure::NoLog { given: self.id });
        }
        let mut printer = Printer {
            stdout: BufWriter::new(io::stdout().lock()),
            stderr: BufWriter::new(io::stderr().lock()),
            last: Stream::Stdout,
            within: [false; 2],
            timestamps: self.timestamps,
            since: self.since.unwrap_or(i64::MIN),
        };
        if self.follow {
            self.follow(daemon, &what, &status, &mut printer).await?;
        } else if let Some(mut log) =
            self.open(&status, status.state() == ContainerState::ContainerCreated)?
        {
            log.advance(|line| printer.print(&line))?;
        }
        printer.flush()?;
        Ok(0)
    }

    /// The log, or none if it `may_lack`: a container that was never started has not written one.
    fn open(&self, status: &ContainerStatus, may_lack: bool) -> Result<Option<LogFile>, Failure> {
        let path = Path::new(&status.log_path);
        match LogFile::open(path, self.tail) {
            Ok(log) => Ok(Some(log)),
            Err(error) if may_lack && error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Failure::Log { path: path.to_owned(), source }),
        }
    }

    async fn follow(
        &self,
        daemon: &Daemon,
        what: &str,
        status: &ContainerStatus,
        printer: &mut Printer<impl Write, impl Write>,
    ) -> Result<(), Failure> {
        let mut ended = status.state() == ContainerState::ContainerExited;
        let mut log = None;
        let mut warned = false;
        for look in 1_u32.. {
            if log.is_none() {
                log = self.open(status, !ended)?;
            }
            if let Some(log) = &mut log {
                log.advance(|line| printer.print(&line))?;
            }
            printer.flush()?;
            if ended {
                break;
            }
            tokio::time::sleep(LOOK).await;
            if look % LOOKS == 0 {
                // All that a container wrote is in its log before it counts as ended; so there is one look more.
                ended = match daemon.container_status(&status.id, false).await {
                    Ok(answer) => {
                        answer.status.is_some_and(|now| now.state() == ContainerState::ContainerExited)
                    }
                    Err(gone) if gone.code() == Code::NotFound => true,
                    Err(away) if is_away(&away) => {
                        if !std::mem::replace(&mut warned, true) {
                            printer.note(&format!("{}; following its file", daemon.refused(what, &away)))?;
                        }
                        false
                    }
                    Err(status) => return Err(daemon.refused(what, &status)),
                };
            }
        }
        Ok(())
    }
}

/// Whether the daemon is not there to say: the container may still run.
fn is_away(status: &Status) -> bool {
    // The daemon keeps the deadline, too, and may be the first to say that it has passed.
    let codes = [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled];
    broken(status) || is_timeout(status) || codes.contains(&status.code())
}

/// Puts lines where they belong.
struct Printer<O: Write, E: Write> {
    stdout: BufWriter<O>,
    stderr: BufWriter<E>,
    /// To which was written last.
    last: Stream,
    /// Whether the last line of stdout, of stderr has not ended.
    within: [bool; 2],
    timestamps: bool,
    since: i64,
}

impl<O: Write, E: Write> Printer<O, E> {
    fn print(&mut self, line: &Line<'_>) -> io::Result<()> {
        if line.at < self.since {
            return Ok(());
        }
        if line.stream != self.last {
            self.flush()?;
            self.last = line.stream;
        }
        let (out, within): (&mut dyn Write, _) = match line.stream {
            Stream::Stdout => (&mut self.stdout, &mut self.within[0]),
            Stream::Stderr => (&mut self.stderr, &mut self.within[1]),
        };
        if self.timestamps && !*within {
            out.write_all(&orlop_crilog::time::write(line.at))?;
            out.write_all(b" ")?;
        }
        out.write_all(line.content)?;
        *within = !line.ends;
        if line.ends { out.write_all(b"\n") } else { Ok(()) }
    }

    /// A word of our own among the container's.
    fn note(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.stderr, "orlop: {text}")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()?;
        self.stderr.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(timestamps: bool, since: i64) -> (String, String) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut printer = Printer {
            stdout: BufWriter::new(&mut stdout),
            stderr: BufWriter::new(&mut stderr),
            last: Stream::Stdout,
            within: [false; 2],
            timestamps,
            since,
        };
        for (at, stream, ends, content) in [
            (1, Stream::Stdout, false, "a long"),
            (2, Stream::Stderr, true, "error"),
            (3, Stream::Stdout, true, " line"),
            (4, Stream::Stdout, true, ""),
            (5, Stream::Stdout, false, "no end"),
        ] {
            printer.print(&Line { at, stream, ends, content: content.as_bytes() }).unwrap();
        }
        printer.flush().unwrap();
        drop(printer);
        (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }

    #[test]
    fn streams_come_out_byte_for_byte() {
        assert_eq!(printed(false, i64::MIN), ("a long line\n\nno end".into(), "error\n".into()));
    }

    #[test]
    fn each_line_has_its_time_once() {
        let (stdout, stderr) = printed(true, i64::MIN);
        let at = |second: u32| format!("1970-01-01T00:00:00.00000000{second}Z ");
        assert_eq!(stdout, format!("{}a long line\n{}\n{}no end", at(1), at(4), at(5)));
        assert_eq!(stderr, format!("{}error\n", at(2)));
    }

    #[test]
    fn what_was_before_is_left_out() {
        assert_eq!(printed(false, 3).0, " line\n\nno end");
        assert_eq!(printed(false, 3).1, "");
    }
}
