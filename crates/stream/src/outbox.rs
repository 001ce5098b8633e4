//! What goes to the client: every frame of a connection, written by one hand in the order in which it was put in.
//!
//! ```text
//!  lane of a stream ── buffer ──┐                              ┌─▶ header, payload, header, payload … in one call
//!  lane of a stream ── buffer ──┼─▶ at most WAITING parcels ───┤
//!  replies, pongs ──────────────┘                              └─▶ buffers back to who lent them
//! ```
//!
//! *Invariant:* a frame is written as a whole or the connection is over. A payload is not copied on its way from where it was read. Who
//! puts something in waits while the client does not read.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use crate::pulse::Pulse;
use crate::spdy::{self, Goodbye, Reset};
use crate::websocket::encode::{Kind, closed, message};
use crate::websocket::{self, Close};

/// How many parcels may wait.
const WAITING: usize = 16;

/// How many parcels are written in one call.
const TOGETHER: usize = 16;

/// How streams are told apart on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// SPDY frames.
    Spdy,
    /// SPDY frames, each in a WebSocket message.
    Tunnel,
    /// WebSocket messages whose first byte is the channel.
    Channels,
    /// The same as text: a digit and base64.
    Base64,
}

/// Bytes that were read, in memory that is used again.
pub(crate) struct Buffer {
    pub(crate) bytes: Box<[u8]>,
    pub(crate) filled: usize,
}

enum Body {
    Own(Vec<u8>),
    Lent(Buffer, mpsc::Sender<Buffer>),
}

/// One frame.
struct Parcel {
    head: [u8; 20],
    used: usize,
    body: Body,
}

impl Parcel {
    fn own(bytes: Vec<u8>) -> Self {
        Parcel { head: [0; 20], used: 0, body: Body::Own(bytes) }
    }

    fn head(&mut self, bytes: &[u8]) {
        self.head[self.used..self.used + bytes.len()].copy_from_slice(bytes);
        self.used += bytes.len();
    }

    fn parts(&self) -> [&[u8]; 2] {
        let body = match &self.body {
            Body::Own(bytes) => &bytes[..],
            Body::Lent(buffer, _) => &buffer.bytes[..buffer.filled],
        };
        [&self.head[..self.used], body]
    }
}

/// The way in.
#[derive(Clone)]
pub(crate) struct Outbox {
    form: Form,
    parcels: mpsc::Sender<Parcel>,
    /// The last stream that was accepted.
    accepted: Arc<AtomicU32>,
}

/// The way out: what is to be written.
pub(crate) struct Parcels(mpsc::Receiver<Parcel>);

/// Both ends.
pub(crate) fn outbox(form: Form) -> (Outbox, Parcels) {
    let (parcels, out) = mpsc::channel(WAITING);
    (Outbox { form, parcels, accepted: Arc::default() }, Parcels(out))
}

impl Outbox {
    /// The stream or channel of this number.
    pub(crate) fn lane(&self, number: u32) -> Lane {
        Lane { outbox: self.clone(), number, cut: Arc::default(), ended: Arc::default() }
    }

    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// Puts in a reply that accepts a stream.
    pub(crate) async fn accept(&self, replies: &mut spdy::encode::Replies, stream: u32) {
        self.accepted.store(stream, Ordering::Relaxed);
        self.spdy(replies.accept(stream)).await;
    }

    /// Puts in a control frame of SPDY.
    pub(crate) async fn spdy(&self, frame: Vec<u8>) {
        let mut parcel = Parcel::own(frame);
        if self.form == Form::Tunnel {
            let (header, used) = message(Kind::Binary, parcel.parts()[1].len());
            parcel.head(&header[..used]);
        }
        self.put(parcel).await;
    }

    /// Puts in a control frame of WebSocket.
    pub(crate) async fn websocket(&self, frame: Vec<u8>) {
        self.put(Parcel::own(frame)).await;
    }

    /// Puts in a ping: nobody waits for its answer, but a client that is gone answers by breaking the connection.
    pub(crate) async fn probe(&self) {
        match self.form {
            Form::Spdy | Form::Tunnel => self.spdy(spdy::encode::ping(2)).await,
            Form::Channels | Form::Base64 => self.websocket(websocket::encode::ping()).await,
        }
    }

    /// Puts in the last frames of the connection. `why` is said in WebSocket's words, also for SPDY.
    pub(crate) async fn goodbye(&self, why: Close) {
        if matches!(self.form, Form::Spdy | Form::Tunnel) {
            let status =
                if why == Close::Normal || why == Close::Away { Goodbye::Fine } else { Goodbye::Protocol };
            self.spdy(spdy::encode::goodbye(self.accepted.load(Ordering::Relaxed), status)).await;
        }
        if self.form != Form::Spdy {
            self.websocket(closed(why)).await;
        }
    }

    /// Puts in the answer to a WebSocket's close.
    pub(crate) async fn closed(&self, code: Option<u16>) {
        self.websocket(websocket::encode::close(code)).await;
    }

    /// `false` if the connection is over.
    async fn put(&self, parcel: Parcel) -> bool {
        self.parcels.send(parcel).await.is_ok()
    }
}

/// One stream's part of the way in.
#[derive(Clone)]
pub(crate) struct Lane {
    outbox: Outbox,
    number: u32,
    /// Whether the client wants no more of it.
    cut: Arc<AtomicBool>,
    /// Whether its end was sent.
    ended: Arc<AtomicBool>,
}

impl Lane {
    /// Whether streams of this form end by themselves, in each direction.
    pub(crate) fn has_ends(&self) -> bool {
        matches!(self.outbox.form, Form::Spdy | Form::Tunnel)
    }

    /// The stream or channel.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// The client wants no more of it: what is sent from now on goes nowhere.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// Sends what `buffer` holds; it comes back over `back`. `false` if the stream or the connection is over.
    pub(crate) async fn lend(&self, buffer: Buffer, back: &mpsc::Sender<Buffer>) -> bool {
        if self.outbox.form == Form::Base64 {
            let sent = self.say(&buffer.bytes[..buffer.filled]).await;
            // There is room for every buffer that was made.
            let _ = back.try_send(buffer);
            return sent;
        }
        let length = buffer.filled;
        self.send(Body::Lent(buffer, back.clone()), length, false).await
    }

    /// Sends a few words. `false` if the stream or the connection is over.
    pub(crate) async fn say(&self, words: &[u8]) -> bool {
        let body = match self.outbox.form {
            Form::Base64 => STANDARD.encode(words).into_bytes(),
            Form::Spdy | Form::Tunnel | Form::Channels => words.to_vec(),
        };
        let length = body.len();
        self.send(Body::Own(body), length, false).await
    }

    /// Sends no more. Channels of WebSocket have no end of their own. Once is enough.
    pub(crate) async fn end(&self) {
        if self.has_ends() && !self.ended.swap(true, Ordering::Relaxed) {
            self.send(Body::Own(Vec::new()), 0, true).await;
        }
    }

    /// Ends the stream in both directions.
    pub(crate) async fn reset(&self, why: Reset) {
        if self.has_ends() {
            self.outbox.spdy(spdy::encode::reset(self.number, why)).await;
        }
    }

    async fn send(&self, body: Body, length: usize, last: bool) -> bool {
        if self.cut.load(Ordering::Relaxed) {
            return false;
        }
        let mut parcel = Parcel { head: [0; 20], used: 0, body };
        // A channel's number is below 256 by how channels are made.
        let channel = u8::try_from(self.number).unwrap_or(u8::MAX);
        match self.outbox.form {
            Form::Spdy => parcel.head(&spdy::encode::data(self.number, length, last)),
            Form::Tunnel => {
                let (header, used) = message(Kind::Binary, length + 8);
                parcel.head(&header[..used]);
                parcel.head(&spdy::encode::data(self.number, length, last));
            }
            Form::Channels => {
                let (header, used) = message(Kind::Binary, length + 1);
                parcel.head(&header[..used]);
                parcel.head(&[channel]);
            }
            Form::Base64 => {
                let (header, used) = message(Kind::Text, length + 1);
                parcel.head(&header[..used]);
                parcel.head(&[b'0'.saturating_add(channel)]);
            }
        }
        self.outbox.put(parcel).await
    }
}

impl Parcels {
    /// Writes all that is put in, until nobody can put in any more; then says to `sink` that this was all.
    ///
    /// # Errors
    /// The connection's: the client is gone.
    pub(crate) async fn write(
        &mut self,
        sink: &mut (impl AsyncWrite + Unpin),
        pulse: &Pulse,
    ) -> io::Result<()> {
        let mut parcels = Vec::with_capacity(TOGETHER);
        loop {
            if self.0.is_empty() {
                sink.flush().await?;
            }
            if self.0.recv_many(&mut parcels, TOGETHER).await == 0 {
                break;
            }
            write_all(sink, &parcels, pulse).await?;
            for parcel in parcels.drain(..) {
                if let Body::Lent(buffer, back) = parcel.body {
                    // Who lent it may be gone.
                    let _ = back.try_send(buffer);
                }
            }
        }
        sink.flush().await?;
        sink.shutdown().await
    }
}

async fn write_all(
    sink: &mut (impl AsyncWrite + Unpin),
    parcels: &[Parcel],
    pulse: &Pulse,
) -> io::Result<()> {
    let mut slices = [IoSlice::new(&[]); 2 * TOGETHER];
    let parts = parcels.iter().flat_map(Parcel::parts).filter(|part| !part.is_empty());
    let mut count = 0;
    for part in parts {
        slices[count] = IoSlice::new(part);
        count += 1;
    }
    let mut rest = &mut slices[..count];
    while !rest.is_empty() {
        let written = sink.write_vectored(rest).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        pulse.mark();
        IoSlice::advance_slices(&mut rest, written);
    }
    Ok(())
}
