//! The conversation with one shim.
//!
//! *Invariant:* news arrive in the order in which the shim sent them, and the last of them is [`Heard::Gone`], once its process
//! is, or [`Heard::Cut`]. Descriptors are taken in the order in which the answers that speak of them come.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use orlop_model::report::{Kind, Report};
use orlop_wire::message::{Answer, FromShim, News, Request, frame, unframe};
use orlop_wire::record::{Born, Exited, Failure, file};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

/// What a shim tells.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The program runs.
    Born(Born),
    /// It has ended, or could not begin.
    Exited(Exited),
    /// A hook that nobody waits for has failed.
    HookFailed(Failure),
    /// The shim itself is gone.
    Gone,
    /// The conversation has ended, the shim has not.
    Cut,
}

/// How long a shim may take from the end of its last conversation to its own.
const LAST_MOMENT: Duration = Duration::from_secs(5);

/// How an attachment ended: how many bytes were passed over, since it did not read them in time.
pub(crate) type PassedOver = u64;

/// Who hears of the end of what a request began.
#[derive(Debug)]
enum Ended {
    /// Nobody: it begins nothing.
    Nobody,
    /// Of an exec: its exit code.
    Exec(u64, oneshot::Sender<i32>),
    /// Of an attachment.
    Attachment(u64, oneshot::Sender<PassedOver>),
}

#[derive(Debug)]
struct Order {
    request: Request,
    descriptors: Vec<OwnedFd>,
    answer: oneshot::Sender<(Answer, Option<OwnedFd>)>,
    ended: Ended,
}

/// One end of the conversation; dropping it ends the conversation, not the shim.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    orders: mpsc::Sender<Order>,
    process: Arc<OwnedFd>,
}

impl Link {
    /// Begins it over `socket` with the shim that `process` (a pidfd) is.
    ///
    /// # Errors
    /// If the socket could not be watched.
    pub(crate) fn begin(
        socket: OwnedFd,
        process: OwnedFd,
        heard: mpsc::UnboundedSender<Heard>,
    ) -> Result<Self, Report> {
        let failed = |error: std::io::Error| Report::new(Kind::Failed, "speak to shim", "", error);
        let socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(true).map_err(failed)?;
        let (orders, inbox) = mpsc::channel(8);
        let process = Arc::new(process);
        let talk = Talk {
            socket: UnixStream::from_std(socket).map_err(failed)?,
            received: Vec::new(),
            handed: VecDeque::new(),
            sequence: 0,
            answers: HashMap::new(),
            execs: HashMap::new(),
            attachments: HashMap::new(),
            heard,
        };
        tokio::spawn(talk.run(inbox, Arc::clone(&process)));
        Ok(Link { orders, process })
    }

    /// Connects to a shim that an earlier daemon started.
    ///
    /// # Errors
    /// As connect(2) says.
    pub(crate) fn connect(directory: &Path) -> Result<OwnedFd, Errno> {
        let place = rustix::fs::open(
            directory,
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )?;
        // By way of the descriptor: no directory is then too deep for unix(7)'s 108 bytes.
        let number = std::os::fd::AsRawFd::as_raw_fd(&place);
        let address = SocketAddrUnix::new(format!("/proc/self/fd/{number}/{}", file::SOCKET))?;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        rustix::net::connect(&socket, &address)?;
        Ok(socket)
    }

    /// Asks for something and waits for the answer.
    ///
    /// # Errors
    /// If the shim refuses, or is gone.
    pub(crate) async fn ask(&self, request: Request, descriptors: Vec<OwnedFd>) -> Result<(), Report> {
        self.order(request, descriptors, Ended::Nobody).await.map(drop)
    }

    /// Has a process run beside the first, as the request number `exec` says; its exit code comes by `ended`. Gives back its
    /// terminal's master, if it has one.
    ///
    /// # Errors
    /// If the shim refuses, the program cannot be executed, or the shim is gone.
    pub(crate) async fn exec(
        &self,
        exec: u64,
        request: Request,
        descriptors: Vec<OwnedFd>,
        ended: oneshot::Sender<i32>,
    ) -> Result<Option<OwnedFd>, Report> {
        self.order(request, descriptors, Ended::Exec(exec, ended)).await
    }

    /// Has output copied into `descriptors`, as the request number `attachment` says; its end comes by `ended`. Gives back the
    /// container's stdin, or its terminal, if it was asked for and there is one.
    ///
    /// # Errors
    /// If the shim refuses or is gone.
    pub(crate) async fn attach(
        &self,
        attachment: u64,
        request: Request,
        descriptors: Vec<OwnedFd>,
        ended: oneshot::Sender<PassedOver>,
    ) -> Result<Option<OwnedFd>, Report> {
        self.order(request, descriptors, Ended::Attachment(attachment, ended)).await
    }

    async fn order(
        &self,
        request: Request,
        descriptors: Vec<OwnedFd>,
        ended: Ended,
    ) -> Result<Option<OwnedFd>, Report> {
        let gone =
            || Report::new(Kind::WrongState, "ask shim", "", "the shim is gone, and its container with it");
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order { request, descriptors, answer, ended }).await.map_err(|_| gone())?;
        match answered.await.map_err(|_| gone())? {
            (Answer::Refused { failure }, _) => Err(report(&failure)),
            (Answer::Done | Answer::ExecStarted { .. } | Answer::Attached { .. }, handed) => Ok(handed),
        }
    }

    /// Ends the shim itself: the last resort against one that does not answer.
    pub(crate) fn kill(&self) {
        let _ = orlop_sys::signal::send(self.process.as_fd(), libc::SIGKILL);
    }
}

/// A shim's failure in the four words of a report. A program that is not there or cannot be executed is the request's fault, not
/// ours.
pub(crate) fn report(failure: &Failure) -> Report {
    let mut cause = match failure.errno {
        0 => String::new(),
        errno => std::io::Error::from_raw_os_error(errno).to_string(),
    };
    // A runtime's own log, as its shim found it.
    let by_runtime = failure.stage.starts_with("runtime ");
    let detail =
        if by_runtime { orlop_spec::bundle::last_said(&failure.detail) } else { failure.detail.clone() };
    if !detail.is_empty() {
        let gap = if cause.is_empty() { "" } else { ", " };
        cause = format!("{cause}{gap}{detail}");
    }
    let kind = if matches!(failure.stage.as_str(), "exec" | "runtime exec") {
        Kind::BadRequest
    } else {
        Kind::Failed
    };
    Report::new(kind, failure.stage.clone(), failure.object.clone(), cause)
}

/// Who waits for an answer, whether that of an exec brings a terminal, and who waits for the end.
struct Asked {
    answer: oneshot::Sender<(Answer, Option<OwnedFd>)>,
    terminal: bool,
    ended: Ended,
}

struct Talk {
    socket: UnixStream,
    received: Vec<u8>,
    /// Descriptors whose answers are not whole yet.
    handed: VecDeque<OwnedFd>,
    sequence: u32,
    answers: HashMap<u32, Asked>,
    execs: HashMap<u64, oneshot::Sender<i32>>,
    attachments: HashMap<u64, oneshot::Sender<PassedOver>>,
    heard: mpsc::UnboundedSender<Heard>,
}

impl Talk {
    async fn run(mut self, mut inbox: mpsc::Receiver<Order>, process: Arc<OwnedFd>) {
        loop {
            tokio::select! {
                order = inbox.recv() => match order {
                    Some(order) => if self.send(order).await.is_err() { break },
                    None => return,
                },
                ready = self.socket.readable() => {
                    if ready.is_err() {
                        break;
                    }
                    let (received, handed) = (&mut self.received, &mut self.handed);
                    let read = || receive(self.socket.as_fd(), received, handed).map_err(Into::into);
                    match self.socket.try_io(Interest::READABLE, read) {
                        Ok(true) => {}
                        Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                        Ok(false) | Err(_) => break,
                    }
                    if self.take_all().is_err() {
                        break;
                    }
                }
            }
        }
        // Whoever waits for an answer hears that there will be none.
        drop(inbox);
        self.answers.clear();
        self.execs.clear();
        self.attachments.clear();
        // A conversation ends with its shim, a moment before the process is gone; one that was cut off can begin anew.
        let gone = tokio::time::timeout(LAST_MOMENT, wait(&process)).await.is_ok();
        let _ = self.heard.send(if gone { Heard::Gone } else { Heard::Cut });
    }

    async fn send(&mut self, order: Order) -> Result<(), Errno> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let bytes = frame(self.sequence, &order.request);
        let terminal = matches!(order.request, Request::Exec { terminal: true, .. });
        let asked = Asked { answer: order.answer, terminal, ended: order.ended };
        self.answers.insert(self.sequence, asked);
        let mut descriptors = order.descriptors.as_slice();
        let mut left = bytes.as_slice();
        while !left.is_empty() {
            self.socket.writable().await.map_err(|_| Errno::PIPE)?;
            let write = || send(self.socket.as_fd(), left, descriptors).map_err(Into::into);
            match self.socket.try_io(Interest::WRITABLE, write) {
                Ok(count) => {
                    left = &left[count..];
                    descriptors = &[];
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Err(Errno::PIPE),
            }
        }
        Ok(())
    }

    fn take_all(&mut self) -> Result<(), orlop_wire::code::Malformed> {
        while let Some((length, sequence, message)) = unframe::<FromShim>(&self.received)? {
            self.received.drain(..length);
            self.take(sequence, message);
        }
        if self.received.is_empty() {
            self.received = Vec::new();
        }
        Ok(())
    }

    fn take(&mut self, sequence: u32, message: FromShim) {
        // Whoever asked may have left meanwhile; that changes nothing.
        match message {
            FromShim::Answer { answer } => {
                if let Some(asked) = self.answers.remove(&sequence) {
                    self.answered(asked, answer);
                }
            }
            FromShim::News { news: News::Detached { attachment, passed_over } } => {
                if let Some(ended) = self.attachments.remove(&attachment) {
                    let _ = ended.send(passed_over);
                }
            }
            FromShim::News { news: News::ExecEnded { exec, code } } => {
                if let Some(ended) = self.execs.remove(&exec) {
                    let _ = ended.send(code);
                }
            }
            FromShim::News { news: News::HookFailed { failure } } => {
                let _ = self.heard.send(Heard::HookFailed(failure));
            }
            FromShim::News { news: News::Born { born } } => {
                let _ = self.heard.send(Heard::Born(born));
            }
            FromShim::News { news: News::Exited { exited } } => {
                let _ = self.heard.send(Heard::Exited(exited));
            }
        }
    }
}

impl Talk {
    fn answered(&mut self, asked: Asked, answer: Answer) {
        let brings = match &answer {
            Answer::ExecStarted { .. } => asked.terminal,
            Answer::Attached { stdin } => *stdin,
            Answer::Done | Answer::Refused { .. } => false,
        };
        let handed = if brings { self.handed.pop_front() } else { None };
        match (&answer, asked.ended) {
            (Answer::ExecStarted { .. }, Ended::Exec(number, ended)) => {
                self.execs.insert(number, ended);
            }
            (Answer::Attached { .. }, Ended::Attachment(number, ended)) => {
                self.attachments.insert(number, ended);
            }
            _ => {}
        }
        let _ = asked.answer.send((answer, handed));
    }
}

/// Waits until the process is gone; takes its status if it is a child.
pub(crate) async fn wait(process: &OwnedFd) {
    let Ok(copy) = process.try_clone() else { return };
    #[expect(
        deprecated,
        reason = "a type that lies about its descriptor could misuse it; OwnedFd does not lie"
    )]
    let watched = AsyncFd::with_interest(copy, Interest::READABLE);
    if let Ok(watched) = watched {
        let _ = watched.readable().await;
    }
    // Of a child; that of another, which an earlier daemon started, is taken elsewhere.
    let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOHANG;
    let _ = rustix::process::waitid(rustix::process::WaitId::PidFd(process.as_fd()), options);
}

/// Whether the peer is still there; what it sent is appended.
fn receive(
    socket: BorrowedFd<'_>,
    received: &mut Vec<u8>,
    handed: &mut VecDeque<OwnedFd>,
) -> Result<bool, Errno> {
    let mut buffer = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let got = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, flags)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            handed.extend(descriptors);
        }
    }
    received.extend_from_slice(&buffer[..got.bytes]);
    Ok(got.bytes != 0)
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[OwnedFd]) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    if !borrowed.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&borrowed));
    }
    rustix::net::sendmsg(
        socket,
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open};

    fn conversation(process: Pid) -> (Link, OwnedFd, mpsc::UnboundedReceiver<Heard>) {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .expect("a pair");
        let process = pidfd_open(process, PidfdFlags::empty()).expect("it is there");
        let (heard, news) = mpsc::unbounded_channel();
        (Link::begin(ours, process, heard).expect("begun"), theirs, news)
    }

    #[tokio::test(start_paused = true)]
    async fn a_conversation_that_is_cut_is_told_from_a_shim_that_is_gone() {
        let (link, theirs, mut news) = conversation(getpid());
        drop(theirs);
        assert!(matches!(news.recv().await, Some(Heard::Cut)));
        assert!(link.ask(Request::Hello, Vec::new()).await.is_err());

        let mut child = std::process::Command::new("/bin/sleep").arg("0").spawn().expect("started");
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a number");
        let process = pidfd_open(pid, PidfdFlags::empty()).expect("it is there");
        let mut ended = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut ended, None).expect("it ends");
        let (_link, theirs, mut news) = conversation(pid);
        drop(theirs);
        assert!(matches!(news.recv().await, Some(Heard::Gone)));
        // Waited for already.
        assert!(child.wait().is_err());
    }

    #[tokio::test]
    async fn who_asks_when_the_peer_leaves_hears_that_there_is_no_answer() {
        let (link, theirs, _news) = conversation(getpid());
        let asking = tokio::spawn(async move { link.ask(Request::KillAll, Vec::new()).await });
        let mut buffer = [0; 64];
        while !matches!(rustix::net::recv(&theirs, &mut buffer, rustix::net::RecvFlags::DONTWAIT), Ok((count, _)) if count > 0)
        {
            tokio::task::yield_now().await;
        }
        drop(theirs);
        assert!(asking.await.expect("not cancelled").is_err());
    }
}
