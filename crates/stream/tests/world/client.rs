//! Exec and attach in every form that there is, behind one face.
//!
//! *Invariant:* what a form does not have is not simulated: the end of the input is only there where it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use orlop_stream::session::Streams;
use tokio::io::AsyncWriteExt as _;

use super::World;
use super::wire::{Heard, Spdy, WebSocket};

/// A form: its protocol, and what it can do.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "a table of what each can do")]
pub(crate) struct Form {
    pub(crate) protocol: &'static str,
    pub(crate) spdy: bool,
    /// Whether the status is JSON.
    pub(crate) fields: bool,
    /// Whether the terminal can be resized.
    pub(crate) resize: bool,
    /// Whether the client can end its input.
    pub(crate) ends: bool,
}

const fn spdy(protocol: &'static str, fields: bool, resize: bool) -> Form {
    Form { protocol, spdy: true, fields, resize, ends: true }
}

const fn websocket(protocol: &'static str, fields: bool, ends: bool) -> Form {
    Form { protocol, spdy: false, fields, resize: true, ends }
}

/// All of them.
pub(crate) const FORMS: [Form; 10] = [
    spdy("v4.channel.k8s.io", true, true),
    spdy("v3.channel.k8s.io", false, true),
    spdy("v2.channel.k8s.io", false, false),
    spdy("channel.k8s.io", false, false),
    websocket("v5.channel.k8s.io", true, true),
    websocket("v4.channel.k8s.io", true, false),
    websocket("v4.base64.channel.k8s.io", true, false),
    websocket("channel.k8s.io", false, false),
    websocket("base64.channel.k8s.io", false, false),
    websocket("", false, false),
];

/// What a client has at the end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) error: String,
    /// Whether the server said goodbye as it should.
    pub(crate) clean: bool,
}

/// A client that has opened its streams.
pub(crate) struct Client {
    form: Form,
    wire: Wire,
    /// Of SPDY: error, stdin, stdout, stderr, resize.
    streams: [u32; 5],
}

enum Wire {
    Spdy(Box<Spdy>, Heard),
    WebSocket(WebSocket, Outcome),
}

impl Client {
    pub(crate) async fn connect(world: &World, path: &str, form: Form, streams: Streams) -> Self {
        if !form.spdy {
            let wire =
                Wire::WebSocket(WebSocket::connect(world, path, form.protocol).await, Outcome::default());
            return Client { form, wire, streams: [0; 5] };
        }
        let mut spdy = Spdy::connect(world, path, form.protocol).await;
        let wanted = [true, streams.stdin, streams.stdout, streams.stderr, streams.tty && form.resize];
        let names = ["error", "stdin", "stdout", "stderr", "resize"];
        let mut numbers = [0; 5];
        for at in 0..5 {
            if wanted[at] {
                numbers[at] = spdy.opened(&[("streamtype", names[at])]).await;
            }
        }
        Client { form, wire: Wire::Spdy(Box::new(spdy), Heard::default()), streams: numbers }
    }

    pub(crate) async fn stdin(&mut self, bytes: &[u8]) {
        self.send(1, 0, bytes).await;
    }

    pub(crate) async fn resize(&mut self, json: &str) {
        self.send(4, 4, json.as_bytes()).await;
    }

    async fn send(&mut self, stream: usize, channel: u8, bytes: &[u8]) {
        match &mut self.wire {
            Wire::Spdy(spdy, _) => spdy.send(self.streams[stream], bytes, false).await,
            Wire::WebSocket(socket, _) if self.form.protocol.contains("base64") => {
                let text = [&[b'0' + channel], STANDARD.encode(bytes).as_bytes()].concat();
                socket.send(0x81, &text).await;
            }
            Wire::WebSocket(socket, _) => socket.send(0x82, &[&[channel], bytes].concat()).await,
        }
    }

    /// Ends the input, where that can be done.
    pub(crate) async fn end(&mut self) {
        match &mut self.wire {
            Wire::Spdy(spdy, _) => spdy.send(self.streams[1], b"", true).await,
            Wire::WebSocket(socket, _) => {
                assert!(self.form.ends, "{:?} has no end of input", self.form);
                socket.send(0x82, &[255, 0]).await;
            }
        }
    }

    /// Reads on; `false` at the end of the connection.
    async fn hear(&mut self) -> bool {
        let base64 = self.form.protocol.contains("base64");
        match &mut self.wire {
            Wire::Spdy(spdy, heard) => Spdy::hear(heard, spdy.frame().await),
            Wire::WebSocket(socket, outcome) => match socket.message().await {
                None => false,
                Some((8, payload)) => {
                    outcome.clean = payload == 1000_u16.to_be_bytes();
                    socket.send(0x88, &payload).await;
                    true
                }
                Some((opcode, mut payload)) => {
                    assert_eq!(opcode, if base64 { 1 } else { 2 });
                    let mut bytes = payload.split_off(1);
                    if base64 {
                        bytes = STANDARD.decode(bytes).expect("base64");
                        payload[0] -= b'0';
                    }
                    match payload[0] {
                        1 => outcome.stdout.extend(bytes),
                        2 => outcome.stderr.extend(bytes),
                        3 => outcome.error.push_str(std::str::from_utf8(&bytes).expect("text")),
                        other => panic!("channel {other}"),
                    }
                    true
                }
            },
        }
    }

    /// Reads until stdout holds this much.
    pub(crate) async fn stdout(&mut self, length: usize) -> Vec<u8> {
        loop {
            let so_far = match &self.wire {
                Wire::Spdy(_, heard) => heard.data.get(&self.streams[2]).cloned().unwrap_or_default(),
                Wire::WebSocket(_, outcome) => outcome.stdout.clone(),
            };
            if so_far.len() >= length {
                return so_far;
            }
            assert!(self.hear().await, "the end, after {so_far:?}");
        }
    }

    /// Reads to the end.
    pub(crate) async fn finish(mut self) -> Outcome {
        while self.hear().await {}
        match self.wire {
            Wire::WebSocket(mut socket, outcome) => {
                let _ = socket.io.shutdown().await;
                outcome
            }
            Wire::Spdy(mut spdy, mut heard) => {
                let _ = spdy.io.shutdown().await;
                let mut take = |stream| heard.data.remove(&stream).unwrap_or_default();
                let [error, stdin, stdout, stderr, _] = self.streams;
                let outcome = Outcome {
                    stdout: take(stdout),
                    stderr: take(stderr),
                    error: String::from_utf8(take(error)).expect("text"),
                    clean: false,
                };
                assert!(take(stdin).is_empty());
                let all = self.streams.iter().all(|stream| *stream == 0 || heard.ends.contains(stream));
                let last = self.streams.iter().max().copied();
                let clean = all && heard.resets.is_empty() && heard.goodbye == last.map(|last| (last, 0));
                Outcome { clean, ..outcome }
            }
        }
    }
}
