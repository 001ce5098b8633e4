//! Bytes of HTTP, SPDY and WebSocket, the client's side, written for the tests: nothing of the crate's own codecs is in it.
//!
//! *Invariant:* what does not follow the protocol, in what the server sends, fails the test.

use std::collections::BTreeMap;
use std::sync::Arc;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{World, soon};

/// A connection, encrypted or not.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection to the server.
pub(crate) async fn connect(world: &World) -> Box<dyn Io> {
    let stream = TcpStream::connect(world.address).await.expect("the server listens");
    stream.set_nodelay(true).expect("an option");
    match &world.tls {
        None => Box::new(stream),
        Some(config) => {
            let name = "localhost".try_into().expect("a name");
            let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
            Box::new(connector.connect(name, stream).await.expect("a TLS handshake"))
        }
    }
}

/// The answer to a request: its status, and head as text.
pub(crate) async fn answer(io: &mut (impl AsyncRead + Unpin)) -> (u16, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match soon("an answer", io.read_u8()).await {
            Ok(byte) => head.push(byte),
            Err(_) => return (0, String::from_utf8_lossy(&head).into_owned()),
        }
    }
    let head = String::from_utf8(head).expect("text");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head)
}

/// Asks for an upgrade; the connection with the answer's status and head.
pub(crate) async fn upgrade(
    world: &World,
    path: &str,
    headers: &[(&str, &str)],
) -> (Box<dyn Io>, u16, String) {
    let mut io = connect(world).await;
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n");
    for (name, value) in headers {
        request.extend([name, ": ", value, "\r\n"]);
    }
    request.push_str("\r\n");
    io.write_all(request.as_bytes()).await.expect("a request");
    let (status, head) = answer(&mut io).await;
    (io, status, head)
}

/// What a server says over SPDY.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Reply(u32),
    Data(u32, Vec<u8>, bool),
    Reset(u32, u32),
    Ping(u32),
    Goodbye(u32, u32),
}

/// A SPDY client.
pub(crate) struct Spdy {
    pub(crate) io: Box<dyn Io>,
    deflate: Compress,
    inflate: Decompress,
    next: u32,
    /// In a tunnel, frames come in WebSocket messages.
    tunnel: Option<Vec<u8>>,
}

/// All that came until the end.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) data: BTreeMap<u32, Vec<u8>>,
    pub(crate) ends: Vec<u32>,
    pub(crate) resets: BTreeMap<u32, u32>,
    pub(crate) goodbye: Option<(u32, u32)>,
}

impl Spdy {
    /// Upgrades.
    pub(crate) async fn connect(world: &World, path: &str, protocol: &str) -> Self {
        let headers = [("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", protocol)];
        let (io, status, head) = upgrade(world, path, &headers).await;
        assert_eq!(status, 101, "{head}");
        assert!(
            head.to_lowercase().contains(&format!("x-stream-protocol-version: {protocol}\r\n")),
            "{head}"
        );
        Spdy::new(io, false)
    }

    /// Upgrades to a tunnel.
    pub(crate) async fn tunnel(world: &World, path: &str) -> Self {
        Spdy::new(WebSocket::connect(world, path, "SPDY/3.1+portforward.k8s.io").await.io, true)
    }

    fn new(io: Box<dyn Io>, tunnel: bool) -> Self {
        Spdy {
            io,
            deflate: Compress::new(Compression::default(), true),
            inflate: Decompress::new(true),
            next: 1,
            tunnel: tunnel.then(Vec::new),
        }
    }

    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        let bytes = if self.tunnel.is_some() { masked(0x82, bytes) } else { bytes.to_vec() };
        // A server that is gone is noticed where something is read.
        let _ = self.io.write_all(&bytes).await;
        let _ = self.io.flush().await;
    }

    /// The frame that opens a stream with these headers.
    pub(crate) fn opening(&mut self, stream: u32, last: bool, headers: &[(&str, &str)]) -> Vec<u8> {
        let told =
            |text: &str| [&u32::try_from(text.len()).expect("short").to_be_bytes(), text.as_bytes()].concat();
        let count = u32::try_from(headers.len()).expect("few").to_be_bytes().to_vec();
        let block =
            headers.iter().fold(count, |block, (name, value)| [block, told(name), told(value)].concat());
        let mut packed = Vec::with_capacity(block.len() + 512);
        self.deflate.compress_vec(&block, &mut packed, FlushCompress::Sync).expect("there is room");
        let payload = [&stream.to_be_bytes()[..], &[0; 6], &packed].concat();
        control(1, u8::from(last), &payload)
    }

    /// Opens a stream, without waiting for the reply: its number.
    pub(crate) async fn open(&mut self, headers: &[(&str, &str)]) -> u32 {
        let stream = self.next;
        self.next += 2;
        let frame = self.opening(stream, false, headers);
        self.raw(&frame).await;
        stream
    }

    pub(crate) async fn send(&mut self, stream: u32, bytes: &[u8], last: bool) {
        self.raw(&data(stream, bytes, last)).await;
    }

    pub(crate) async fn reset(&mut self, stream: u32) {
        let payload = [stream.to_be_bytes(), 5_u32.to_be_bytes()].concat();
        self.raw(&control(3, 0, &payload)).await;
    }

    /// Reads exactly; `None` at the end of the connection.
    async fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        let Some(mut inner) = self.tunnel.take() else {
            let mut bytes = vec![0; length];
            soon("a frame", self.io.read_exact(&mut bytes)).await.ok()?;
            return Some(bytes);
        };
        while inner.len() < length {
            match message(&mut self.io).await? {
                (2, payload) => inner.extend(payload),
                (8, _) => return None,
                other => panic!("{other:?} in a tunnel"),
            }
        }
        let rest = inner.split_off(length);
        self.tunnel = Some(rest);
        Some(inner)
    }

    /// The next frame; `None` at the end.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        let header = self.take(8).await?;
        let word = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four"));
        let (first, length) = (word(&header, 0), (word(&header, 4) & 0x00ff_ffff) as usize);
        let payload = self.take(length).await.expect("a whole frame");
        if first >> 31 == 0 {
            return Some(Frame::Data(first, payload, header[4] == 1));
        }
        assert_eq!((first >> 16, header[4]), (0x8003, 0), "a control frame of version 3 without flags");
        Some(match first & 0xffff {
            2 => {
                let mut block = [0; 64];
                let before = self.inflate.total_out();
                self.inflate.decompress(&payload[4..], &mut block, FlushDecompress::Sync).expect("zlib");
                assert_eq!((self.inflate.total_out() - before, &block[..4]), (4, &[0; 4][..]), "no headers");
                Frame::Reply(word(&payload, 0))
            }
            3 => Frame::Reset(word(&payload, 0), word(&payload, 4)),
            6 => Frame::Ping(word(&payload, 0)),
            7 => Frame::Goodbye(word(&payload, 0), word(&payload, 4)),
            other => panic!("a frame of type {other}"),
        })
    }

    /// Opens a stream and reads its reply, which has to be the next frame.
    pub(crate) async fn opened(&mut self, headers: &[(&str, &str)]) -> u32 {
        let stream = self.open(headers).await;
        assert_eq!(self.frame().await, Some(Frame::Reply(stream)));
        stream
    }

    /// Puts `frame` to what was heard; `false` after the last.
    pub(crate) fn hear(heard: &mut Heard, frame: Option<Frame>) -> bool {
        match frame {
            None => return false,
            Some(Frame::Data(stream, bytes, last)) => {
                assert!(!heard.ends.contains(&stream), "data after the end of stream {stream}");
                heard.data.entry(stream).or_default().extend(bytes);
                if last {
                    heard.ends.push(stream);
                }
            }
            Some(Frame::Reset(stream, why)) => drop(heard.resets.insert(stream, why)),
            Some(Frame::Goodbye(last, why)) => heard.goodbye = Some((last, why)),
            Some(Frame::Reply(_) | Frame::Ping(_)) => {}
        }
        true
    }

    /// Reads to the end of the connection.
    pub(crate) async fn rest(&mut self) -> Heard {
        let mut heard = Heard::default();
        while Self::hear(&mut heard, self.frame().await) {}
        heard
    }
}

pub(crate) fn control(kind: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&[0x80, 3], &kind.to_be_bytes()[..], &[flags], &length[1..], payload].concat()
}

pub(crate) fn data(stream: u32, bytes: &[u8], last: bool) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
    [&stream.to_be_bytes(), &[u8::from(last)][..], &length[1..], bytes].concat()
}

/// A WebSocket client.
pub(crate) struct WebSocket {
    pub(crate) io: Box<dyn Io>,
}

impl WebSocket {
    /// Upgrades; an empty protocol is none.
    pub(crate) async fn connect(world: &World, path: &str, protocol: &str) -> Self {
        let mut headers = vec![
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        if !protocol.is_empty() {
            headers.push(("Sec-WebSocket-Protocol", protocol));
        }
        let (io, status, head) = upgrade(world, path, &headers).await;
        assert_eq!(status, 101, "{head}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        assert_eq!(head.to_lowercase().contains("sec-websocket-protocol"), !protocol.is_empty(), "{head}");
        WebSocket { io }
    }

    /// Sends a frame: FIN and opcode as one byte.
    pub(crate) async fn send(&mut self, first: u8, payload: &[u8]) {
        let _ = self.io.write_all(&masked(first, payload)).await;
        let _ = self.io.flush().await;
    }

    /// The next message: opcode and payload. `None` at the end.
    pub(crate) async fn message(&mut self) -> Option<(u8, Vec<u8>)> {
        message(&mut self.io).await
    }
}

/// A frame as a client writes it.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut frame = match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ ..126), _) => vec![first, 0x80 | short],
        (_, Ok(middle)) => [&[first, 0xfe], &middle.to_be_bytes()[..]].concat(),
        _ => [&[first, 0xff], &(payload.len() as u64).to_be_bytes()[..]].concat(),
    };
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

async fn message(io: &mut Box<dyn Io>) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 2];
    soon("a message", io.read_exact(&mut header)).await.ok()?;
    assert_eq!(header[0] & 0xf0, 0x80, "whole messages, no extensions");
    assert_eq!(header[1] & 0x80, 0, "servers do not mask");
    let length = match header[1] {
        126 => usize::from(io.read_u16().await.ok()?),
        127 => usize::try_from(io.read_u64().await.ok()?).expect("a length"),
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    soon("a message's payload", io.read_exact(&mut payload)).await.ok()?;
    Some((header[0] & 0x0f, payload))
}
