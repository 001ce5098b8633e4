//! A client of exec, attach and port-forward: WebSocket (RFC 6455) as `v5.channel.k8s.io`, in small.
//!
//! A message's first byte is its channel: 0 stdin, 1 stdout, 2 stderr, 3 the status, 4 sizes of the terminal, and 255, whose next
//! byte names the channel that ends. Of port-forward's older form, a pair for each port: data and errors.
//!
//! *Invariant:* nothing of the programs is linked; it reads and writes as the specifications say.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// The protocols with a channel for ends, and the older without.
pub const V5: &str = "v5.channel.k8s.io";
/// That of port-forward.
pub const V4: &str = "v4.channel.k8s.io";

/// The channel of a client's input.
pub const STDIN: u8 = 0;
/// Of output.
pub const STDOUT: u8 = 1;
/// Of errors.
pub const STDERR: u8 = 2;
/// Of the status.
pub const STATUS: u8 = 3;
/// Of a terminal's sizes.
pub const RESIZE: u8 = 4;
/// Of ends.
const END: u8 = 255;

/// A connection.
pub struct Session {
    /// What comes.
    pub incoming: Incoming,
    /// What goes.
    pub outgoing: Outgoing,
}

/// What the server sends.
pub struct Incoming(BufReader<OwnedReadHalf>);

/// What the client sends.
pub struct Outgoing(OwnedWriteHalf);

/// All that came of a session.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    /// Of channel 1.
    pub stdout: Vec<u8>,
    /// Of channel 2.
    pub stderr: Vec<u8>,
    /// Of channel 3.
    pub status: Value,
}

impl Outcome {
    /// Output as text.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text")
    }

    /// The exit code that the status tells.
    ///
    /// # Panics
    /// If it tells none.
    #[must_use]
    pub fn code(&self) -> i32 {
        if self.status["status"] == "Success" {
            return 0;
        }
        assert_eq!(self.status["reason"], "NonZeroExitCode", "{}", self.status);
        let cause = &self.status["details"]["causes"][0];
        assert_eq!(cause["reason"], "ExitCode", "{}", self.status);
        cause["message"].as_str().and_then(|code| code.parse().ok()).expect("a number")
    }
}

impl Session {
    /// Connects to a URL and changes to one of the protocols; else what the server answers instead.
    ///
    /// # Errors
    /// The status of an answer that is not 101.
    ///
    /// # Panics
    /// If nobody is there, or what is there does not speak HTTP.
    pub async fn open(url: &str, protocol: &str) -> Result<Self, u16> {
        let (address, path) =
            url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("an absolute URL");
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let request = format!(
            "GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
             Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("an answer"));
        }
        let head = String::from_utf8(head).expect("text");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        if status != 101 {
            return Err(status);
        }
        let chosen = format!("sec-websocket-protocol: {protocol}\r\n");
        assert!(head.to_ascii_lowercase().contains(&chosen), "{head}");
        let (incoming, outgoing) = stream.into_split();
        Ok(Session {
            incoming: Incoming(BufReader::with_capacity(64 << 10, incoming)),
            outgoing: Outgoing(outgoing),
        })
    }

    /// Takes all that comes, to the end.
    pub async fn finish(mut self) -> Outcome {
        self.incoming.finish().await
    }
}

impl Outgoing {
    async fn frame(&mut self, kind: u8, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        // A mask of zeros changes nothing.
        let mut bytes = vec![0x80 | kind];
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(length), _) if length < 126 => bytes.push(0x80 | length),
            (_, Ok(length)) => {
                bytes.push(0x80 | 0x7e);
                bytes.extend(length.to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 0x7f);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend([0; 4]);
        bytes.extend(parts.concat());
        // The server may have left already; what it said then is what counts.
        let _ = self.0.write_all(&bytes).await;
    }

    /// Sends to a channel.
    pub async fn send(&mut self, channel: u8, bytes: &[u8]) {
        self.frame(2, &[&[channel], bytes]).await;
    }

    /// Says that no more comes on a channel.
    pub async fn end(&mut self, channel: u8) {
        self.frame(2, &[&[END, channel]]).await;
    }

    /// Says how large the terminal is.
    pub async fn resize(&mut self, width: u16, height: u16) {
        let size = format!("{{\"Width\":{width},\"Height\":{height}}}");
        self.send(RESIZE, size.as_bytes()).await;
    }
}

impl Incoming {
    /// The next message: its channel and what it holds; `None` at the end.
    pub async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut message = Vec::new();
        loop {
            let (first, second) = (self.0.read_u8().await.ok()?, self.0.read_u8().await.ok()?);
            let length = match second {
                126 => self.0.read_u16().await.ok()?.into(),
                127 => self.0.read_u64().await.ok()?,
                short => short.into(),
            };
            let mut payload = vec![0; usize::try_from(length).ok()?];
            self.0.read_exact(&mut payload).await.ok()?;
            match first & 0x0f {
                0..=2 => message.extend(payload),
                8 => return None,
                _ => continue,
            }
            if first & 0x80 != 0 && !message.is_empty() {
                return Some((message[0], message.split_off(1)));
            }
        }
    }

    /// Takes all that comes, to the end.
    pub async fn finish(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        while let Some((channel, bytes)) = self.next().await {
            match channel {
                STDOUT => outcome.stdout.extend(bytes),
                STDERR => outcome.stderr.extend(bytes),
                STATUS if !bytes.is_empty() => {
                    outcome.status = serde_json::from_slice(&bytes)
                        .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes)));
                }
                _ => {}
            }
        }
        outcome
    }

    /// Takes output until `enough` of it is there.
    ///
    /// # Panics
    /// If it ends before.
    pub async fn until(&mut self, enough: impl Fn(&str) -> bool) -> String {
        let mut said = Vec::new();
        while !enough(&String::from_utf8_lossy(&said)) {
            let (channel, bytes) = self.next().await.unwrap_or_else(|| {
                panic!("it ended with {:?}", String::from_utf8_lossy(&said));
            });
            if channel == STDOUT {
                said.extend(bytes);
            }
        }
        String::from_utf8_lossy(&said).into_owned()
    }
}
