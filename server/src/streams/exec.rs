//! A process with streams.
//!
//! *Invariant:* a client that leaves before its process has ended leaves nothing running: the process is killed, with all that it
//! started.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use orlop_model::report::{Kind, Report};
use orlop_stream::session::{Boxed, Command, End, Running, Streams};
use rustix::fs::{Mode, OFlags};
use tokio::io::{AsyncRead, AsyncWrite};

use super::descriptor::{self, AtEnd};
use crate::observe::Session;
use crate::pods::container::Container;
use crate::pods::exec::{Process, Program, reach};

/// As much as a fast writer fills while its reader is not on a processor.
const PIPE: usize = 1 << 20;

/// A process that waits for its client.
pub(super) struct Exec {
    pub(super) container: Arc<Container>,
    pub(super) command: Vec<String>,
    pub(super) streams: Streams,
    pub(super) session: Session,
}

impl Command for Exec {
    fn begin(self: Box<Self>) -> Boxed<'static, Result<Running, String>> {
        super::outliving(self.run())
    }
}

/// Our ends of a process's streams.
#[derive(Default)]
struct Ours {
    stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    stdout: Option<Box<dyn AsyncRead + Send + Unpin>>,
    stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
}

fn unwatched(error: std::io::Error) -> Report {
    Report::new(Kind::Exhausted, "exec", "watch stream", error)
}

impl Exec {
    async fn run(self: Box<Self>) -> Result<Running, Report> {
        let Exec { container, command, streams, session } = *self;
        let (facts, link) = reach(&container, "exec").await?;
        let program = Program { command, terminal: streams.tty };
        let (stdio, mut ours) = if streams.tty { (Vec::new(), Ours::default()) } else { pipes(streams)? };
        let (process, master) = Process::begin(&link, &facts, &program, stdio, None).await?;
        if streams.tty {
            ours = terminal(streams, master)?;
        }
        let resize = streams.tty.then(|| super::resizes(link, Some(process.number())));
        Ok(Running {
            stdin: ours.stdin,
            stdout: ours.stdout,
            stderr: ours.stderr,
            resize,
            end: Box::pin(end(process, session)),
        })
    }
}

/// Its end. Dropped before, it drops the process, and that kills it.
async fn end(mut process: Process, session: Session) -> End {
    let ended = process.end().await;
    drop(session);
    match ended {
        Ok(code) => End::Exited(code),
        Err(report) => End::Failed(report.to_string()),
    }
}

/// Its descriptors, and our ends of those that are asked for; the others are /dev/null.
fn pipes(streams: Streams) -> Result<(Vec<OwnedFd>, Ours), Report> {
    let mut ours = Ours::default();
    let input = if streams.stdin {
        let (reads, writes) = super::pipe("exec", PIPE)?;
        ours.stdin = Some(Box::new(descriptor::writer(writes, AtEnd::Close).map_err(unwatched)?));
        reads
    } else {
        null(OFlags::RDONLY)?
    };
    let output = |asked: bool| -> Result<(OwnedFd, Option<Box<dyn AsyncRead + Send + Unpin>>), Report> {
        if !asked {
            return Ok((null(OFlags::WRONLY)?, None));
        }
        let (reads, writes) = super::pipe("exec", PIPE)?;
        Ok((writes, Some(Box::new(descriptor::reader(reads).map_err(unwatched)?))))
    };
    let (stdout, reads) = output(streams.stdout)?;
    ours.stdout = reads;
    let (stderr, reads) = output(streams.stderr)?;
    ours.stderr = reads;
    Ok((vec![input, stdout, stderr], ours))
}

fn null(access: OFlags) -> Result<OwnedFd, Report> {
    rustix::fs::open("/dev/null", access | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Report::new(Kind::Exhausted, "exec", "/dev/null", errno))
}

/// Both ways of its terminal, those that are asked for.
fn terminal(streams: Streams, master: Option<OwnedFd>) -> Result<Ours, Report> {
    let master = master.ok_or_else(|| Report::new(Kind::Failed, "exec", "terminal", "none came"))?;
    let (output, input) = descriptor::terminal(master).map_err(unwatched)?;
    let mut ours = Ours::default();
    if streams.stdin {
        ours.stdin = Some(Box::new(input));
    }
    if streams.stdout {
        ours.stdout = Some(Box::new(output));
    } else {
        // Somebody has to take what it says, or it waits for ever.
        tokio::spawn(descriptor::discard(output));
    }
    Ok(ours)
}
