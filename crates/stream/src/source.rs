//! What comes from the client: bytes, and the frames in them.
//!
//! ```text
//!  socket, TLS or not ─▶ Source: bytes ─▶ Messages: WebSocket events ─┐
//!                              └──────────▶ Frames: SPDY frames ◀─────┘ in a tunnel
//! ```
//!
//! *Invariant:* nothing is read before what was read is used. Waiting for more can be given up at any time and loses nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::outbox::Outbox;
use crate::pulse::Pulse;
use crate::socket::Socket;
use crate::spdy::decode::{Decoder, Frame};
use crate::websocket::decode::{Decoder as MessageDecoder, Event, Fault};
use crate::websocket::{Close, decode};

/// How much is read at once from a client that says little, and from one that says much.
const LITTLE: usize = 8 << 10;
const MUCH: usize = 64 << 10;

/// How often a client is probed while nothing is read of it.
const PROBE: Duration = Duration::from_secs(5);

/// Bytes of one connection.
pub(crate) struct Source {
    reader: Box<dyn AsyncRead + Send + Unpin>,
    pub(crate) bytes: BytesMut,
    peer: Socket,
    pulse: Arc<Pulse>,
    size: usize,
}

impl Source {
    /// `early`: what came with the request.
    pub(crate) fn new(
        reader: Box<dyn AsyncRead + Send + Unpin>,
        early: &Bytes,
        peer: Socket,
        pulse: Arc<Pulse>,
    ) -> Self {
        Source { reader, bytes: BytesMut::from(&early[..]), peer, pulse, size: LITTLE }
    }

    /// Waits for more bytes; `false` if none will come.
    pub(crate) async fn more(&mut self) -> bool {
        self.bytes.reserve(self.size);
        match self.reader.read_buf(&mut self.bytes).await {
            Ok(0) | Err(_) => false,
            Ok(read) => {
                self.pulse.mark();
                self.size = if read >= LITTLE { MUCH } else { LITTLE };
                true
            }
        }
    }

    /// Returns when the client is gone, although not all that it sent has been read. What it sent last may be stuck on its way, and its
    /// leaving behind that: so it is probed, too.
    pub(crate) async fn gone(&mut self, outbox: &Outbox) {
        let probes = async {
            loop {
                tokio::time::sleep(PROBE).await;
                outbox.probe().await;
            }
        };
        tokio::select! {
            () = self.peer.left() => {}
            () = probes => {}
        }
    }

    /// Reads and throws away, until nothing comes any more.
    pub(crate) async fn discard(&mut self) {
        while self.more().await {
            self.bytes.clear();
        }
    }
}

/// WebSocket events of a connection.
pub(crate) struct Messages<'a> {
    pub(crate) source: &'a mut Source,
    decoder: MessageDecoder,
}

impl<'a> Messages<'a> {
    pub(crate) fn new(source: &'a mut Source) -> Self {
        Messages { source, decoder: MessageDecoder::new() }
    }

    /// The next event; `None` if the client is gone.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Fault> {
        loop {
            if let Some(event) = self.decoder.next(&mut self.source.bytes)? {
                return Ok(Some(event));
            }
            if !self.source.more().await {
                return Ok(None);
            }
        }
    }
}

/// What is heard of a client that speaks SPDY.
pub(crate) enum Heard {
    Frame(Frame),
    /// In a tunnel: a ping of WebSocket's.
    Ping(Bytes),
    /// In a tunnel: WebSocket's close.
    Close(Option<u16>),
}

/// SPDY frames of a connection.
pub(crate) struct Frames<'a> {
    pub(crate) source: &'a mut Source,
    decoder: Decoder,
    /// Of a tunnel: what its messages bring.
    tunnel: Option<(MessageDecoder, BytesMut)>,
}

impl<'a> Frames<'a> {
    pub(crate) fn new(source: &'a mut Source, tunnel: bool) -> Self {
        let tunnel = tunnel.then(|| (MessageDecoder::new(), BytesMut::new()));
        Frames { source, decoder: Decoder::new(), tunnel }
    }

    /// The next frame; `None` if the client is gone.
    pub(crate) async fn next(&mut self) -> Result<Option<Heard>, Fault> {
        loop {
            let bytes = match &mut self.tunnel {
                Some((_, inner)) => inner,
                None => &mut self.source.bytes,
            };
            let frame = self.decoder.next(bytes).map_err(|fault| decode::Fault(fault.0, Close::Protocol))?;
            if let Some(frame) = frame {
                return Ok(Some(Heard::Frame(frame)));
            }
            if let Some((decoder, inner)) = &mut self.tunnel {
                match decoder.next(&mut self.source.bytes)? {
                    Some(Event::Piece { piece, .. }) => {
                        inner.extend_from_slice(&piece);
                        continue;
                    }
                    Some(Event::Ping(payload)) => return Ok(Some(Heard::Ping(payload))),
                    Some(Event::Close(code)) => return Ok(Some(Heard::Close(code))),
                    None => {}
                }
            }
            if !self.source.more().await {
                return Ok(None);
            }
        }
    }
}
