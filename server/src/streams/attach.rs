//! A container's own streams.
//!
//! Output is copied by the shim, as it writes it to the log, into pipes that are made here. What the pipes have no room for is
//! passed over, so that no client slows a container down; that it happened, and how much it was, is told at the end. Input goes
//! straight to the container.
//!
//! ```text
//!                       stdinOnce                      else, or a terminal
//!  client's stdin ends  the container's stdin ends     the attachment ends
//!  client leaves        the container's stdin ends     its stdin stays
//! ```
//!
//! *Invariant:* one attachment is ended once, by its client, its container, or the end of this daemon.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use orlop_model::report::{Kind, Report};
use orlop_stream::session::{Boxed, Command, End, Running, Streams};
use orlop_wire::message::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use super::descriptor::{self, AtEnd};
use crate::observe::Session;
use crate::pods::container::Container;
use crate::pods::exec::{number, reach};
use crate::shims::Link;

/// How far a client may lag behind before something is passed over. The kernel takes memory only for what is in it.
const PIPE: usize = 4 << 20;
/// How long a shim may take to answer a request that needs nothing but itself.
const ANSWER: Duration = Duration::from_secs(2);

/// An attachment that waits for its client.
pub(super) struct Attach {
    pub(super) container: Arc<Container>,
    pub(super) streams: Streams,
    pub(super) session: Session,
}

impl Command for Attach {
    fn begin(self: Box<Self>) -> Boxed<'static, Result<Running, String>> {
        super::outliving(self.run())
    }
}

/// What a shim knows of it.
struct Attachment {
    number: u64,
    link: Link,
    ended: oneshot::Receiver<u64>,
    over: bool,
    _session: Session,
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if !self.over
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (link, attachment) = (self.link.clone(), self.number);
            runtime.spawn(async move { link.ask(Request::Detach { attachment }, Vec::new()).await });
        }
    }
}

type Output = Option<Box<dyn AsyncRead + Send + Unpin>>;

fn unwatched(error: std::io::Error) -> Report {
    Report::new(Kind::Exhausted, "attach", "watch stream", error)
}

impl Attach {
    async fn run(self: Box<Self>) -> Result<Running, Report> {
        let Attach { container, streams, session } = *self;
        let (_, link) = reach(&container, "attach").await?;
        let terminal = container.asked.tty;
        let mut pipes = Vec::new();
        let stdout = output(streams.stdout, &mut pipes)?;
        // A terminal has no errors apart.
        let stderr = output(streams.stderr && !terminal, &mut pipes)?;
        let none = || -> Output { Some(Box::new(tokio::io::empty())) };
        let number = number();
        let request = Request::Attach {
            attachment: number,
            stdin: streams.stdin,
            stdout: stdout.is_some(),
            stderr: stderr.is_some(),
        };
        let (ended, hears_end) = oneshot::channel();
        let mut attachment =
            Attachment { number, link: link.clone(), ended: hears_end, over: false, _session: session };
        let asked = link.attach(number, request, pipes, ended);
        let input = tokio::time::timeout(ANSWER, asked)
            .await
            .map_err(|_| {
                Report::new(Kind::TimedOut, "attach", container.id.short(), "no answer of its shim")
            })?
            .inspect_err(|_| attachment.over = true)?;
        let (stdin, finished) = stdin(&container, streams, input)?;
        Ok(Running {
            stdin,
            stdout,
            stderr: if streams.stderr && terminal { none() } else { stderr },
            resize: (streams.tty && terminal).then(|| super::resizes(link, None)),
            end: Box::pin(end(attachment, finished)),
        })
    }
}

/// A pipe for one of its outputs, if it is asked for; its write end goes to `handed`.
fn output(asked: bool, handed: &mut Vec<OwnedFd>) -> Result<Output, Report> {
    if !asked {
        return Ok(None);
    }
    let (reads, writes) = super::pipe("attach", PIPE)?;
    handed.push(writes);
    Ok(Some(Box::new(descriptor::reader(reads).map_err(unwatched)?)))
}

type Input = Option<Box<dyn AsyncWrite + Send + Unpin>>;

/// Where the client's input goes, and what hears of its end where that ends the attachment. A container that has no stdin, or none
/// any more, takes nothing: what comes is dropped.
fn stdin(
    container: &Container,
    streams: Streams,
    input: Option<OwnedFd>,
) -> Result<(Input, Option<oneshot::Receiver<()>>), Report> {
    if !streams.stdin {
        return Ok((None, None));
    }
    let Some(input) = input else { return Ok((Some(Box::new(tokio::io::sink())), None)) };
    let (end, finished) = if container.asked.stdin_once && !container.asked.tty {
        (AtEnd::Close, None)
    } else {
        let (tell, told) = oneshot::channel();
        (AtEnd::Tell(Some(tell)), Some(told))
    };
    Ok((Some(Box::new(descriptor::writer(input, end).map_err(unwatched)?)), finished))
}

/// Its end: the container's, or that of the client's input.
async fn end(mut attachment: Attachment, finished: Option<oneshot::Receiver<()>>) -> End {
    let input_ended = async {
        let told = match finished {
            Some(finished) => finished.await.is_ok(),
            None => false,
        };
        // A writer that is dropped without its end was dropped with all of this, or since the container does not read.
        if !told {
            std::future::pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        ended = &mut attachment.ended => ended,
        () = input_ended => {
            let detach = Request::Detach { attachment: attachment.number };
            let asked = attachment.link.ask(detach, Vec::new());
            let told = async { (asked.await, (&mut attachment.ended).await) };
            tokio::time::timeout(ANSWER, told).await.map_or(Ok(0), |(_, ended)| ended)
        }
    };
    attachment.over = true;
    match ended {
        Ok(0) => End::Detached,
        Ok(count) => End::Failed(format!(
            "{count} bytes of output were passed over, since this client did not read them in time; the container's log has them"
        )),
        Err(_) => End::Failed("attach: the container's shim was lost; attach again".into()),
    }
}
