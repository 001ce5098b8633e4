//! Calls over one connection, as many at once as are made.
//!
//! *Invariant:* stream numbers are odd and only grow, in the order in which they are sent. A call that nobody waits for any more is
//! forgotten; its answer, if it comes, goes nowhere. Once the connection is gone every call ends with [`Error::Closed`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::sync::{mpsc, oneshot, watch};

use crate::frame::{self, Frame, MESSAGE_LIMIT, REQUEST, RESPONSE};
use crate::message::{Metadata, Request, Response, to_pairs};
use crate::status::{Code, Status};

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The peer says so.
    #[error("{0}")]
    Status(#[from] Status),
    /// The time that was given is over.
    #[error("no answer within {} ms", .0.as_millis())]
    Late(Duration),
    /// The connection is gone, or went meanwhile.
    #[error("the connection is closed")]
    Closed,
    /// The request is longer than [`MESSAGE_LIMIT`]; it was not sent.
    #[error("a message of {0} bytes, and the limit is {MESSAGE_LIMIT}")]
    TooLong(usize),
    /// What came is no answer.
    #[error("an answer that cannot be read: {0}")]
    Malformed(String),
}

/// How a call is made.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How long it may take; `None`: for ever. The peer is told.
    pub timeout: Option<Duration>,
    /// What is said beside the request.
    pub metadata: Metadata,
}

impl Options {
    /// With a deadline.
    #[must_use]
    pub fn within(timeout: Duration) -> Self {
        Options { timeout: Some(timeout), metadata: Metadata::new() }
    }
}

type Answer = oneshot::Sender<Result<Response, Error>>;

/// Calls that wait, and the number of the next; `None` once the connection is gone.
struct Waiting {
    next: u32,
    calls: HashMap<u32, Answer>,
    frames: mpsc::UnboundedSender<Vec<u8>>,
}

struct Shared {
    waiting: Mutex<Option<Waiting>>,
    closed: watch::Sender<bool>,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        // Whoever waits hears it by its sender's end.
        drop(self.waiting().take());
        self.closed.send_replace(true);
    }
}

/// One side's calls over a connection; its clones share it. With the last of them the connection ends.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    /// Its end ends the task.
    _alive: mpsc::Sender<()>,
}

/// Takes a call out of those that wait, however its caller ends.
struct Forget<'a>(&'a Shared, u32);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.0.waiting().as_mut() {
            waiting.calls.remove(&self.1);
        }
    }
}

impl Client {
    /// Speaks over a connection from now on. To be called within a tokio runtime: a task of it listens.
    pub fn new<T: AsyncRead + AsyncWrite + Send + 'static>(connection: T) -> Self {
        let (read, mut write) = tokio::io::split(connection);
        let (frames, mut to_write) = mpsc::unbounded_channel();
        let waiting = Waiting { next: 1, calls: HashMap::new(), frames };
        let shared =
            Arc::new(Shared { waiting: Mutex::new(Some(waiting)), closed: watch::Sender::new(false) });
        let (alive, mut unused) = mpsc::channel(1);
        let listening = Arc::clone(&shared);
        tokio::spawn(async move {
            tokio::select! {
                () = listen(read, &listening) => {}
                _ = frame::write(&mut write, &mut to_write) => {}
                _ = unused.recv() => {}
            }
            listening.close();
        });
        Client { shared, _alive: alive }
    }

    /// Calls a method and waits for its answer.
    ///
    /// # Errors
    /// What the peer says, or why it says nothing.
    pub async fn call<Q: Message, A: Message + Default>(
        &self,
        service: &str,
        method: &str,
        request: &Q,
        options: &Options,
    ) -> Result<A, Error> {
        let answer = self.call_bytes(service, method, request.encode_to_vec(), options).await?;
        A::decode(answer.as_slice()).map_err(|error| Error::Malformed(error.to_string()))
    }

    /// As [`Client::call`], with messages that are bytes already.
    ///
    /// # Errors
    /// As there.
    pub async fn call_bytes(
        &self,
        service: &str,
        method: &str,
        payload: Vec<u8>,
        options: &Options,
    ) -> Result<Vec<u8>, Error> {
        let timeout_nano =
            options.timeout.map_or(0, |timeout| i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX).max(1));
        let request = Request {
            service: service.to_owned(),
            method: method.to_owned(),
            payload,
            timeout_nano,
            metadata: to_pairs(&options.metadata),
        };
        let data = request.encode_to_vec();
        if data.len() > MESSAGE_LIMIT {
            return Err(Error::TooLong(data.len()));
        }
        let (stream, answer) = self.send(&data)?;
        let _forget = Forget(&self.shared, stream);
        let heard = match options.timeout {
            Some(timeout) => tokio::time::timeout(timeout, answer).await.map_err(|_| Error::Late(timeout))?,
            None => answer.await,
        };
        let response = heard.unwrap_or(Err(Error::Closed))?;
        Status::heard(response.status).map_or(Ok(response.payload), |status| Err(status.into()))
    }

    /// Sends a request under the next number.
    fn send(&self, data: &[u8]) -> Result<(u32, oneshot::Receiver<Result<Response, Error>>), Error> {
        let mut waiting = self.shared.waiting();
        let waiting = waiting.as_mut().ok_or(Error::Closed)?;
        let stream = waiting.next;
        // Two thousand million calls are the end of a connection.
        waiting.next = stream.checked_add(2).ok_or(Error::Closed)?;
        let (tell, answer) = oneshot::channel();
        waiting.calls.insert(stream, tell);
        waiting.frames.send(frame::encode(stream, REQUEST, data)).map_err(|_| Error::Closed)?;
        Ok((stream, answer))
    }

    /// Waits until the connection is gone.
    pub async fn closed(&self) {
        // An error means that the sender is gone, and it with it.
        let _ = self.shared.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Whether the connection is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        *self.shared.closed.borrow()
    }

    /// Ends the connection; calls that wait end with [`Error::Closed`].
    pub fn close(&self) {
        self.shared.close();
    }
}

async fn listen<R: AsyncRead + Unpin>(from: R, shared: &Shared) {
    let mut from = BufReader::new(from);
    while let Ok(Some(frame)) = frame::read(&mut from).await {
        let call = shared.waiting().as_mut().and_then(|waiting| waiting.calls.remove(&frame.stream));
        // Nobody waits for it: its caller has gone.
        let Some(call) = call else { continue };
        let _ = call.send(answer(frame));
    }
}

fn answer(frame: Frame) -> Result<Response, Error> {
    match (frame.kind, frame.data) {
        (RESPONSE, Ok(data)) => {
            Response::decode(data.as_slice()).map_err(|error| Error::Malformed(error.to_string()))
        }
        (RESPONSE, Err(length)) => Err(Status::new(
            Code::ResourceExhausted,
            format!("an answer of {length} bytes, and the limit is {MESSAGE_LIMIT}"),
        )
        .into()),
        (kind, _) => Err(Error::Malformed(format!("a frame of type {kind} in place of a response"))),
    }
}
