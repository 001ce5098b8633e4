//! A session of exec, attach or port-forward: WebSocket (RFC 6455) to the URL that the daemon gave.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`talk`] | this program's own streams are the session's |
//! | [`terminal`] | the terminal as a plain line to the container |
//!
//! A message's first byte is its channel, as `v5.channel.k8s.io` has it: 0 input, 1 output, 2 errors, 3 the status at the end, 4 sizes
//! of the terminal, 255 says that the channel named by the next byte has ended.
//!
//! *Invariant:* what is read is bounded: a message of more than [`LONGEST`] bytes ends the session.

pub(crate) mod talk;
mod terminal;

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

/// Exec and attach.
pub(crate) const STREAMS: &str = "v5.channel.k8s.io";
/// Port-forward.
pub(crate) const PORTS: &str = "v4.channel.k8s.io";

/// The longest message that is taken.
const LONGEST: u64 = 16 << 20;
/// The longest head of an answer.
const HEAD: usize = 16 << 10;

/// Input; of port-forward the data, both ways.
pub(crate) const INPUT: u8 = 0;
/// Output; of port-forward the errors.
pub(crate) const OUTPUT: u8 = 1;
const ERRORS: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
const END: u8 = 255;

/// What comes, read by a task of its own: a message is never left half read.
pub(crate) struct Incoming(mpsc::Receiver<io::Result<Message>>);

struct Reader(BufReader<OwnedReadHalf>);

/// What goes.
pub(crate) struct Outgoing(OwnedWriteHalf);

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Connects to `url` and changes to `protocol`.
///
/// # Errors
/// If nobody is there, or it answers something else.
pub(crate) async fn open(url: &str, protocol: &str) -> io::Result<(Incoming, Outgoing)> {
    let rest = url.strip_prefix("http://").ok_or_else(|| {
        bad("the daemon streams over TLS, which this command does not speak; use crictl or kubectl")
    })?;
    let (address, path) = rest.split_once('/').ok_or_else(|| bad("the daemon's URL has no path"))?;
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // The key is there against caches that do not know WebSocket; between this and the daemon there is none.
    let request = format!(
        "GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: b3Jsb3Agb3Jsb3Agb3JsbA==\r\n\
         Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
        if head.len() > HEAD {
            return Err(bad("the daemon's answer has no end"));
        }
    }
    let head = String::from_utf8_lossy(&head);
    let line = head.lines().next().unwrap_or_default();
    if line.split(' ').nth(1) != Some("101") {
        return Err(bad(format!("the daemon's streaming port answers \"{}\"", line.escape_debug())));
    }
    let (reads, writes) = stream.into_split();
    let mut reader = Reader(BufReader::with_capacity(64 << 10, reads));
    let (messages, taken) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Some(message) = reader.next().await.transpose() {
            let broken = message.is_err();
            if messages.send(message).await.is_err() || broken {
                return;
            }
        }
    });
    Ok((Incoming(taken), Outgoing(writes)))
}

impl Outgoing {
    async fn frame(&mut self, kind: u8, parts: &[&[u8]]) -> io::Result<()> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        // RFC 6455, section 5.2: final, masked. A mask of zeros changes nothing; masks are against caches, too.
        let mut bytes = Vec::with_capacity(length + 14);
        bytes.push(0x80 | kind);
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short), _) if short < 0x7e => bytes.push(0x80 | short),
            (_, Ok(medium)) => {
                bytes.push(0x80 | 0x7e);
                bytes.extend(medium.to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 0x7f);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend([0; 4]);
        for part in parts {
            bytes.extend_from_slice(part);
        }
        self.0.write_all(&bytes).await
    }

    /// Sends to a channel.
    ///
    /// # Errors
    /// If nobody is there any more.
    pub(crate) async fn send(&mut self, channel: u8, bytes: &[u8]) -> io::Result<()> {
        self.frame(2, &[&[channel], bytes]).await
    }

    /// Says that no more comes on a channel.
    ///
    /// # Errors
    /// If nobody is there any more.
    async fn end(&mut self, channel: u8) -> io::Result<()> {
        self.frame(2, &[&[END, channel]]).await
    }

    /// Answers a ping.
    ///
    /// # Errors
    /// If nobody is there any more.
    pub(crate) async fn answer_ping(&mut self, payload: &[u8]) -> io::Result<()> {
        self.frame(10, &[payload]).await
    }
}

/// What came.
pub(crate) enum Message {
    /// On a channel.
    Data(Data),
    /// A ping, to be answered with the same.
    Ping(Vec<u8>),
}

/// What came on a channel: its number, then the bytes.
pub(crate) struct Data(Vec<u8>);

impl Data {
    /// Channel and bytes.
    pub(crate) fn parts(&self) -> (u8, &[u8]) {
        self.0.split_first().map_or((END, &[]), |(channel, bytes)| (*channel, bytes))
    }
}

impl Incoming {
    /// The next message; `None` at the end.
    ///
    /// # Errors
    /// If the connection broke, or what came is no WebSocket.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Message>> {
        self.0.recv().await.transpose()
    }
}

impl Reader {
    async fn next(&mut self) -> io::Result<Option<Message>> {
        let mut message = Vec::new();
        loop {
            let (first, second) = match self.0.read_u16().await {
                Ok(both) => both.to_be_bytes().into(),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error),
            };
            let length = match second {
                0x7e => self.0.read_u16().await?.into(),
                0x7f => self.0.read_u64().await?,
                short if short < 0x7e => short.into(),
                _ => return Err(bad("the daemon masks what it sends")),
            };
            if length + message.len() as u64 > LONGEST {
                return Err(bad("the daemon sends messages without end"));
            }
            let mut payload = vec![0; usize::try_from(length).unwrap_or_default()];
            self.0.read_exact(&mut payload).await?;
            match first & 0x0f {
                0..=2 if message.is_empty() => message = payload,
                0..=2 => message.append(&mut payload),
                8 => return Ok(None),
                9 => return Ok(Some(Message::Ping(payload))),
                _ => continue,
            }
            if first & 0x80 != 0 && !message.is_empty() {
                return Ok(Some(Message::Data(Data(message))));
            }
        }
    }
}
