//! Answers calls over one connection.
//!
//! *Invariant:* a frame that breaks the protocol is answered on its stream and costs no other call anything. Calls end with their
//! connection. No more than [`CALLS`] are answered at once; those after them are not read before.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::frame::{self, DATA, Frame, MESSAGE_LIMIT, REQUEST, RESPONSE};
use crate::message::{Metadata, Request, Response, RpcStatus, from_pairs};
use crate::status::{Code, Status};

/// The most calls that one connection has answered at once.
pub const CALLS: usize = 256;

/// A call, as it came.
#[derive(Debug, Clone)]
pub struct Call {
    /// The service, with its package.
    pub service: String,
    /// Its method.
    pub method: String,
    /// The method's request.
    pub payload: Vec<u8>,
    /// What was said beside it.
    pub metadata: Metadata,
    /// How long the caller waits; nobody hears an answer after it.
    pub timeout: Option<Duration>,
}

impl Call {
    /// The method's request.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, if it is none.
    pub fn request<Q: prost::Message + Default>(&self) -> Result<Q, Status> {
        Q::decode(self.payload.as_slice()).map_err(|error| {
            let what = format!("the request of {}/{}: {error}", self.service, self.method);
            Status::new(Code::InvalidArgument, what)
        })
    }
}

/// An answer that is on its way.
pub type Answering = Pin<Box<dyn Future<Output = Result<Vec<u8>, Status>> + Send>>;

/// What answers calls.
pub trait Service: Send + Sync + 'static {
    /// The method's response, as bytes. Dropped when the connection goes or the caller's time is over: what has to be finished
    /// belongs into a task.
    fn call(&self, call: Call) -> Answering;
}

/// Several services under their names.
#[derive(Default)]
pub struct Services(BTreeMap<String, Arc<dyn Service>>);

impl Services {
    /// With one more.
    #[must_use]
    pub fn with(mut self, name: &str, service: Arc<dyn Service>) -> Self {
        self.0.insert(name.to_owned(), service);
        self
    }
}

impl Service for Services {
    fn call(&self, call: Call) -> Answering {
        match self.0.get(&call.service) {
            Some(service) => service.call(call),
            None => Box::pin(async move { Err(Status::unimplemented(&call.service, &call.method)) }),
        }
    }
}

/// Answers the calls of a connection until it ends.
///
/// # Errors
/// If it breaks, or ends within a frame.
pub async fn serve<T>(connection: T, service: Arc<dyn Service>) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (read, mut write) = tokio::io::split(connection);
    let (frames, mut to_write) = mpsc::unbounded_channel();
    tokio::select! {
        ended = answer_all(read, &frames, &service) => ended,
        broken = frame::write(&mut write, &mut to_write) => broken,
    }
}

async fn answer_all<R: AsyncRead + Unpin>(
    from: R,
    frames: &mpsc::UnboundedSender<Vec<u8>>,
    service: &Arc<dyn Service>,
) -> io::Result<()> {
    let mut from = BufReader::new(from);
    let room = Arc::new(Semaphore::new(CALLS));
    // Dropped with the connection, and what runs in it with it.
    let mut calls = JoinSet::new();
    let mut last = 0;
    loop {
        let place = Arc::clone(&room).acquire_owned().await.expect("invariant: never closed");
        while calls.try_join_next().is_some() {}
        let Some(frame) = frame::read(&mut from).await? else { return Ok(()) };
        let stream = frame.stream;
        match begin(frame, &mut last) {
            Ok(Some(call)) => {
                let (frames, service) = (frames.clone(), Arc::clone(service));
                calls.spawn(async move {
                    let answered = answer(call, &*service).await;
                    respond(&frames, stream, answered);
                    drop(place);
                });
            }
            Ok(None) => {}
            Err(status) => respond(frames, stream, Err(status)),
        }
    }
}

/// The call that a frame begins; `None` if it is of a type that later versions may have.
fn begin(frame: Frame, last: &mut u32) -> Result<Option<Call>, Status> {
    let invalid = |what: String| Err(Status::new(Code::InvalidArgument, what));
    let data = frame.data.map_err(|length| {
        let what = format!("a message of {length} bytes, and the limit is {MESSAGE_LIMIT}");
        Status::new(Code::ResourceExhausted, what)
    })?;
    if frame.stream.is_multiple_of(2) {
        return invalid(format!("stream {}: a client's streams have odd numbers", frame.stream));
    }
    match frame.kind {
        REQUEST if frame.stream <= *last => {
            return invalid(format!("stream {} after {last}: numbers only grow", frame.stream));
        }
        REQUEST => *last = frame.stream,
        DATA => return invalid(format!("data on stream {}, which is none", frame.stream)),
        _ => return Ok(None),
    }
    let request = match Request::decode(data.as_slice()) {
        Ok(request) => request,
        Err(error) => return invalid(format!("a request that cannot be read: {error}")),
    };
    if frame.flags != 0 {
        let what = format!("{}/{} is not called as a stream here", request.service, request.method);
        return Err(Status::new(Code::Unimplemented, what));
    }
    let timeout = u64::try_from(request.timeout_nano).ok().filter(|nanos| *nanos > 0);
    Ok(Some(Call {
        service: request.service,
        method: request.method,
        payload: request.payload,
        metadata: from_pairs(request.metadata),
        timeout: timeout.map(Duration::from_nanos),
    }))
}

async fn answer(call: Call, service: &dyn Service) -> Result<Vec<u8>, Status> {
    let timeout = call.timeout;
    let answer = service.call(call);
    let Some(timeout) = timeout else { return answer.await };
    tokio::time::timeout(timeout, answer)
        .await
        .unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, "the caller's time is over")))
}

fn respond(frames: &mpsc::UnboundedSender<Vec<u8>>, stream: u32, answered: Result<Vec<u8>, Status>) {
    let response = |answered| match answered {
        Ok(payload) => Response { status: Some(RpcStatus::default()), payload },
        Err(status) => Response { status: Some(RpcStatus::from(status)), payload: Vec::new() },
    };
    let mut data = response(answered).encode_to_vec();
    if data.len() > MESSAGE_LIMIT {
        let what = format!("an answer of {} bytes, and the limit is {MESSAGE_LIMIT}", data.len());
        data = response(Err(Status::new(Code::ResourceExhausted, what))).encode_to_vec();
    }
    // Without a writer there is nobody to hear it.
    let _ = frames.send(frame::encode(stream, RESPONSE, &data));
}
