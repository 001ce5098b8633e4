//! A registry that does as it is told, good or bad, and remembers what it was asked.
//!
//! *Invariant:* it speaks HTTP by hand over plain sockets: nothing of the code under test is in it.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::must_use_candidate,
    reason = "it belongs to the tests, each of which uses a part of it"
)]

pub mod image;
pub mod world;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request, as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// With its query.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(had, _)| had.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Where the wanted range begins.
    pub fn from(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// An answer.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Body,
}

/// What comes behind the headers.
pub enum Body {
    /// All of it, with its length.
    Whole(Vec<u8>),
    /// This much, though another length was announced; then the connection ends.
    Cut(Vec<u8>, usize),
    /// This, again and again.
    Endless(Vec<u8>),
    /// A byte now and then, of so many announced ones.
    Drip(Duration, usize),
    /// So many bytes are announced, and none come.
    Silent(usize),
    /// Not even headers.
    Mute,
}

pub fn reply(status: u16, body: impl Into<Vec<u8>>) -> Reply {
    Reply { status, headers: Vec::new(), body: Body::Whole(body.into()) }
}

impl Reply {
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

type Handler = dyn Fn(&Asked) -> Reply + Send + Sync;

/// A server on a port of its own, until it is dropped.
pub struct Fake {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
}

impl Fake {
    /// Without TLS.
    pub fn start(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Fake::serving(None, handler)
    }

    /// With TLS.
    pub fn start_tls(
        config: rustls::ServerConfig,
        handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Fake::serving(Some(Arc::new(config)), handler)
    }

    fn serving(
        tls: Option<Arc<rustls::ServerConfig>>,
        handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (seen, stopped, handler): (_, _, Arc<Handler>) =
            (Arc::clone(&asked), Arc::clone(&stop), Arc::new(handler));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (seen, stopped, handler) =
                    (Arc::clone(&seen), Arc::clone(&stopped), Arc::clone(&handler));
                let tls = tls.clone();
                std::thread::spawn(move || {
                    // Whoever leaves in the middle is none of our business.
                    let _ = match tls {
                        None => serve(stream, &seen, &stopped, &*handler),
                        Some(tls) => {
                            let connection = rustls::ServerConnection::new(tls).unwrap();
                            serve(rustls::StreamOwned::new(connection, stream), &seen, &stopped, &*handler)
                        }
                    };
                });
            }
        });
        Fake { address, asked, stop }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How often something was asked for whose path holds `part`.
    pub fn count(&self, part: &str) -> usize {
        self.asked().iter().filter(|asked| asked.path.contains(part)).count()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
    }
}

fn serve(
    mut stream: impl Read + Write,
    seen: &Mutex<Vec<Asked>>,
    stop: &AtomicBool,
    handler: &Handler,
) -> std::io::Result<()> {
    let Some(asked) = hear(&mut stream)? else { return Ok(()) };
    let answer = handler(&asked);
    seen.lock().unwrap().push(asked);
    if matches!(answer.body, Body::Mute) {
        wait(stop);
        return Ok(());
    }
    let mut head = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", answer.status);
    let length = match &answer.body {
        Body::Whole(bytes) => Some(bytes.len()),
        Body::Cut(_, length) | Body::Drip(_, length) | Body::Silent(length) => Some(*length),
        Body::Endless(_) | Body::Mute => None,
    };
    head += &length.map(|length| format!("content-length: {length}\r\n")).unwrap_or_default();
    let headers: Vec<_> = answer.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    stream.write_all((head + &headers.concat() + "\r\n").as_bytes())?;
    match answer.body {
        Body::Whole(bytes) | Body::Cut(bytes, _) => stream.write_all(&bytes)?,
        Body::Endless(bytes) => loop {
            stream.write_all(&bytes)?;
        },
        Body::Drip(pause, length) => {
            for _ in 0..length {
                stream.write_all(b"x")?;
                std::thread::sleep(pause);
            }
        }
        Body::Silent(_) | Body::Mute => wait(stop),
    }
    stream.flush()
}

/// One request; connections serve one each.
fn hear(stream: impl Read) -> std::io::Result<Option<Asked>> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut asked = Asked { method, path, headers: Vec::new(), body: String::new() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { break };
        asked.headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    if let Some(length) = asked.header("content-length").and_then(|length| length.parse::<u64>().ok()) {
        reader.take(length).read_to_string(&mut asked.body)?;
    }
    Ok(Some(asked))
}

fn wait(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20));
    }
}
