//! Ports over SPDY, bare or in a tunnel: each forwarded connection is a pair of streams.
//!
//! ```text
//!  error stream ─┐  same requestID                     client resets data, or the port does not read
//!                ├────────────────▶ Forward (a task) ───────────────────────────────────────────▶ dropped
//!  data stream ──┘  within Limits::streams
//! ```
//!
//! SPDY as Kubernetes speaks it has no flow control, so a stream cannot be held back alone: bytes for a port that reads slowly make the
//! whole connection wait once its inbox is full. A port that reads nothing at all for [`Limits::stall`] loses its stream.
//!
//! *Invariant:* the number of pairs is bounded, complete or not. What goes wrong with one pair ends that pair.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::Instant;

use super::forward::{Forward, INPUT};
use crate::connection::Ending;
use crate::inbox::Inbox;
use crate::limits::Limits;
use crate::outbox::{Form, Lane, Outbox};
use crate::session::Ports;
use crate::source::{Frames, Heard, Source};
use crate::spdy::Reset;
use crate::spdy::decode::Frame;
use crate::spdy::encode::{Replies, ping};
use crate::spdy::headers::Headers;
use crate::websocket::encode::pong;

/// The longest requestID; clients count.
const NAME: usize = 64;

/// What a stream's headers ask for.
struct Asked {
    port: u16,
    data: bool,
    /// What pairs it.
    request: String,
}

impl Asked {
    fn of(headers: &Headers, stream: u32) -> Option<Asked> {
        let port = headers.get("port")?.parse().ok().filter(|port| *port > 0)?;
        let data = match headers.get("streamtype")? {
            "data" => true,
            "error" => false,
            _ => return None,
        };
        let request = match headers.get("requestid") {
            Some(request) if !request.is_empty() => request.to_owned(),
            // Clients of old name none, and open the data stream right after the error stream.
            _ if data => format!("stream {}", stream.checked_sub(2)?),
            _ => format!("stream {stream}"),
        };
        (request.len() <= NAME).then_some(Asked { port, data, request })
    }
}

/// A pair that waits for its other stream.
struct Half {
    port: u16,
    error: Option<Lane>,
    data: Option<(Lane, Arc<Inbox>)>,
    until: Instant,
}

/// A pair at work, by its data stream.
struct Whole {
    task: AbortHandle,
    error: Lane,
    data: Lane,
}

struct Listener<'a> {
    outbox: &'a Outbox,
    ports: Arc<dyn Ports>,
    limits: &'a Limits,
    replies: Replies,
    halves: HashMap<String, Half>,
    wholes: HashMap<u32, Whole>,
    /// Of every data stream, as long as its pair is there.
    inputs: HashMap<u32, Arc<Inbox>>,
    /// The data stream of a task.
    tasks: HashMap<Id, u32>,
    forwards: JoinSet<()>,
    going: bool,
}

/// Talks until the client is gone.
pub(crate) async fn talk(
    source: &mut Source,
    outbox: &Outbox,
    ports: Arc<dyn Ports>,
    limits: &Limits,
) -> Ending {
    let mut frames = Frames::new(source, outbox.form() == Form::Tunnel);
    let mut listener = Listener {
        outbox,
        ports,
        limits,
        replies: Replies::default(),
        halves: HashMap::new(),
        wholes: HashMap::new(),
        inputs: HashMap::new(),
        tasks: HashMap::new(),
        forwards: JoinSet::new(),
        going: false,
    };
    loop {
        let soonest = listener.halves.values().map(|half| half.until).min();
        let heard = tokio::select! {
            heard = frames.next() => heard,
            Some(done) = listener.forwards.join_next_with_id(), if !listener.forwards.is_empty() => {
                listener.done(done.map_or_else(|error| error.id(), |(id, ())| id));
                continue;
            }
            () = tokio::time::sleep_until(soonest.unwrap_or_else(Instant::now)), if soonest.is_some() => {
                listener.expire().await;
                continue;
            }
        };
        match heard {
            Err(fault) => return Ending::Broken(fault),
            Ok(None) => return Ending::Gone,
            Ok(Some(Heard::Close(code))) => return Ending::Closed(code),
            Ok(Some(Heard::Ping(payload))) => outbox.websocket(pong(&payload)).await,
            Ok(Some(Heard::Frame(frame))) => {
                tokio::select! {
                    biased;
                    () = listener.hear(frame) => {}
                    // While a port does not read, nothing more is read of the client but that it left.
                    () = frames.source.gone(outbox) => return Ending::Gone,
                }
            }
        }
    }
}

impl Listener<'_> {
    async fn hear(&mut self, frame: Frame) {
        match frame {
            Frame::Open { stream, headers, last } => {
                let asked = Asked::of(&headers, stream).filter(|_| !self.going);
                self.open(stream, asked, last).await;
            }
            Frame::Data { stream, piece, last } => {
                let Some(input) = self.inputs.get(&stream).cloned() else { return };
                if input.push(&piece, Some(self.limits.stall)).await.is_err() {
                    return self.cut(stream, Some(Reset::Overrun)).await;
                }
                if last {
                    input.end();
                }
            }
            Frame::Reset { stream } => self.cut(stream, None).await,
            Frame::Ping { number } => self.outbox.spdy(ping(number)).await,
            Frame::Goodbye => self.going = true,
        }
    }

    async fn open(&mut self, stream: u32, asked: Option<Asked>, last: bool) {
        let lane = self.outbox.lane(stream);
        let Some(asked) = asked else { return lane.reset(Reset::Protocol).await };
        if !self.halves.contains_key(&asked.request)
            && self.halves.len() + self.wholes.len() >= self.limits.forwards
        {
            return lane.reset(Reset::Refused).await;
        }
        let until = Instant::now() + self.limits.streams;
        let half = self.halves.entry(asked.request.clone());
        let half = half.or_insert(Half { port: asked.port, error: None, data: None, until });
        let taken = if asked.data { half.data.is_some() } else { half.error.is_some() };
        if taken || half.port != asked.port {
            return lane.reset(Reset::Protocol).await;
        }
        if asked.data {
            let input = Arc::new(Inbox::new(INPUT));
            if last {
                input.end();
            }
            self.inputs.insert(stream, Arc::clone(&input));
            half.data = Some((lane, input));
        } else {
            half.error = Some(lane);
        }
        self.outbox.accept(&mut self.replies, stream).await;
        self.begin(&asked.request);
    }

    /// Begins to forward, if both streams are there.
    fn begin(&mut self, request: &str) {
        let complete =
            self.halves.get(request).is_some_and(|half| half.error.is_some() && half.data.is_some());
        let half = if complete { self.halves.remove(request) } else { None };
        let Some(Half { port, error: Some(error), data: Some((data, input)), .. }) = half else { return };
        let stream = data.number();
        let forward = Forward { port, data: data.clone(), error: error.clone(), input };
        let task = self.forwards.spawn(forward.run(Arc::clone(&self.ports)));
        self.tasks.insert(task.id(), stream);
        self.wholes.insert(stream, Whole { task, error, data });
    }

    /// A task has ended, or was ended.
    fn done(&mut self, task: Id) {
        if let Some(stream) = self.tasks.remove(&task) {
            self.wholes.remove(&stream);
            self.inputs.remove(&stream);
        }
    }

    /// Ends the pair of a data stream at once. `why`: told the client, unless it said so itself.
    async fn cut(&mut self, stream: u32, why: Option<Reset>) {
        self.inputs.remove(&stream);
        // Of a pair that waits: the other stream expires.
        let of = |half: &&mut Half| half.data.as_ref().is_some_and(|(lane, _)| lane.number() == stream);
        let waiting = self.halves.values_mut().find(of).and_then(|half| half.data.take());
        if let (Some((lane, _)), Some(why)) = (waiting, why) {
            lane.reset(why).await;
        }
        let Some(whole) = self.wholes.remove(&stream) else { return };
        whole.task.abort();
        if let Some(why) = why {
            whole.data.reset(why).await;
        }
        whole.data.cut();
        whole.error.end().await;
    }

    /// Ends the pairs whose other stream did not come.
    async fn expire(&mut self) {
        let now = Instant::now();
        let late: Vec<String> = self
            .halves
            .iter()
            .filter(|(_, half)| half.until <= now)
            .map(|(request, _)| request.clone())
            .collect();
        for half in late.iter().filter_map(|request| self.halves.remove(request)).collect::<Vec<_>>() {
            if let Some(error) = half.error {
                error.say(b"the data stream of this connection did not come").await;
                error.end().await;
            }
            if let Some((data, _)) = half.data {
                self.inputs.remove(&data.number());
                data.reset(Reset::Cancel).await;
            }
        }
    }
}
