//! A command's streams over SPDY.
//!
//! ```text
//!  Gathering ── every stream that there is to be was opened ──▶ begun: input and sizes go in
//!      └─────── not within Limits::streams ──▶ broken
//! ```
//!
//! *Invariant:* each stream is opened once; one that was not asked for over CRI is refused. What a client does not send holds up
//! nothing but itself.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::command::{Ends, INPUT, SIZES, run};
use crate::connection::Ending;
use crate::inbox::Inbox;
use crate::limits::Limits;
use crate::outbox::{Form, Lane, Outbox};
use crate::resize::Sizes;
use crate::session::{Command, Size, Streams};
use crate::source::{Frames, Heard, Source};
use crate::spdy::Reset;
use crate::spdy::decode::Frame;
use crate::spdy::encode::{Replies, ping};
use crate::spdy::headers::Headers;
use crate::websocket::Close;
use crate::websocket::decode::Fault;
use crate::websocket::encode::pong;

/// What a stream is for, in the order of [`Gathered`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Error,
    Stdin,
    Stdout,
    Stderr,
    Resize,
}

impl Role {
    fn of(headers: &Headers) -> Option<Role> {
        match headers.get("streamtype")? {
            "error" => Some(Role::Error),
            "stdin" => Some(Role::Stdin),
            "stdout" => Some(Role::Stdout),
            "stderr" => Some(Role::Stderr),
            "resize" => Some(Role::Resize),
            _ => None,
        }
    }
}

/// The streams, by role: whether there is to be one, and the one.
struct Gathered([(bool, Option<Lane>); 5]);

impl Gathered {
    fn new(streams: Streams, version: u8) -> Self {
        let resize = streams.tty && version >= 3;
        Gathered([true, streams.stdin, streams.stdout, streams.stderr, resize].map(|wanted| (wanted, None)))
    }

    /// Takes note of a stream; `false` if there is to be none, or is one.
    fn add(&mut self, role: Role, lane: Lane) -> bool {
        match &mut self.0[role as usize] {
            (true, free @ None) => {
                *free = Some(lane);
                true
            }
            _ => false,
        }
    }

    fn complete(&self) -> bool {
        self.0.iter().all(|(wanted, lane)| !wanted || lane.is_some())
    }

    fn is(&self, role: Role, stream: u32) -> bool {
        self.0[role as usize].1.as_ref().is_some_and(|lane| lane.number() == stream)
    }

    fn lane(&self, role: Role) -> Option<Lane> {
        self.0[role as usize].1.clone()
    }

    /// The client wants nothing more of this stream.
    fn cut(&self, stream: u32) {
        for lane in self.0.iter().filter_map(|(_, lane)| lane.as_ref()).filter(|lane| lane.number() == stream)
        {
            lane.cut();
        }
    }
}

/// The side that listens.
struct Listener<'a> {
    outbox: &'a Outbox,
    replies: Replies,
    gathered: Gathered,
    /// Told once, when all streams are there.
    begin: Option<oneshot::Sender<Ends>>,
    input: Arc<Inbox>,
    sizes: Sizes,
    size: mpsc::Sender<Size>,
    /// What `begin` passes on.
    ends: Option<mpsc::Receiver<Size>>,
    fields: bool,
    going: bool,
}

/// Talks until the command is over or the client is gone.
pub(crate) async fn talk(
    source: &mut Source,
    outbox: &Outbox,
    streams: Streams,
    command: Box<dyn Command>,
    version: u8,
    limits: &Limits,
) -> Ending {
    let (begin, complete) = oneshot::channel();
    let (size, sizes) = mpsc::channel(SIZES);
    let mut frames = Frames::new(source, outbox.form() == Form::Tunnel);
    let mut listener = Listener {
        outbox,
        replies: Replies::default(),
        gathered: Gathered::new(streams, version),
        begin: Some(begin),
        input: Arc::new(Inbox::new(INPUT)),
        sizes: Sizes::default(),
        size,
        ends: Some(sizes),
        fields: version >= 4,
        going: false,
    };
    let work = async {
        let Ok(Ok(ends)) = tokio::time::timeout(limits.streams, complete).await else {
            return Ending::Broken(Fault("not all streams were opened in time", Close::Protocol));
        };
        run(command, ends).await;
        Ending::Done
    };
    tokio::select! {
        ending = listener.listen(&mut frames) => ending,
        ending = work => ending,
    }
}

impl Listener<'_> {
    async fn listen(&mut self, frames: &mut Frames<'_>) -> Ending {
        let outbox = self.outbox;
        loop {
            match frames.next().await {
                Err(fault) => return Ending::Broken(fault),
                Ok(None) => return Ending::Gone,
                Ok(Some(Heard::Close(code))) => return Ending::Closed(code),
                Ok(Some(Heard::Ping(payload))) => self.outbox.websocket(pong(&payload)).await,
                Ok(Some(Heard::Frame(frame))) => {
                    tokio::select! {
                        biased;
                        () = self.hear(frame) => {}
                        // While the process does not read its input, nothing more is read of the client but that it left.
                        () = frames.source.gone(outbox) => return Ending::Gone,
                    }
                }
            }
        }
    }

    async fn hear(&mut self, frame: Frame) {
        match frame {
            Frame::Open { stream, headers, last } => self.open(stream, &headers, last).await,
            Frame::Data { stream, piece, last } => {
                if self.gathered.is(Role::Stdin, stream) {
                    // Without patience it waits for as long as it takes.
                    let _ = self.input.push(&piece, None).await;
                    if last {
                        self.input.end();
                    }
                } else if self.gathered.is(Role::Resize, stream) {
                    for size in self.sizes.read(&piece) {
                        // Nobody wants it any more once the command is over.
                        let _ = self.size.send(size).await;
                    }
                }
            }
            Frame::Reset { stream } => {
                self.gathered.cut(stream);
                if self.gathered.is(Role::Stdin, stream) {
                    self.input.end();
                }
            }
            Frame::Ping { number } => self.outbox.spdy(ping(number)).await,
            Frame::Goodbye => self.going = true,
        }
    }

    async fn open(&mut self, stream: u32, headers: &Headers, last: bool) {
        let role = Role::of(headers);
        let lane = self.outbox.lane(stream);
        let taken = !self.going && role.is_some_and(|role| self.gathered.add(role, lane.clone()));
        if !taken {
            return lane.reset(Reset::Refused).await;
        }
        self.outbox.accept(&mut self.replies, stream).await;
        if last && role == Some(Role::Stdin) {
            self.input.end();
        }
        if self.gathered.complete() {
            self.begin();
        }
    }

    fn begin(&mut self) {
        let lane = |role| self.gathered.lane(role);
        let (Some(begin), Some(sizes), Some(error)) =
            (self.begin.take(), self.ends.take(), lane(Role::Error))
        else {
            return;
        };
        let ends = Ends {
            input: Arc::clone(&self.input),
            stdin: lane(Role::Stdin),
            stdout: lane(Role::Stdout),
            stderr: lane(Role::Stderr),
            error,
            resize: lane(Role::Resize),
            sizes,
            fields: self.fields,
        };
        // Who waits for it is in the same talk.
        let _ = begin.send(ends);
    }
}
