//! How fast a command's output reaches a client that counts bytes:
//!
//!     cargo run --release -p orlop-stream --example streams [MIB] [PIPE_KIB]
//!
//! A thread writes MIB (1024) mebibytes of zeroes into a pipe of PIPE_KIB (64: the kernel's default) kibibytes; the server reads the
//! pipe and sends what it reads over loopback; a thread reads the socket, 256 KiB at a time, looking at nothing but the end.
//!
//! *Invariant:* it measures and prints, and judges nothing.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "lengths are short, and rates are rough"
)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use orlop_stream::session::{Backend, Boxed, Command, End, Kind, Running, Streams, Work};
use orlop_stream::{Limits, serve};
use tokio::net::TcpListener;
use tokio::net::unix::pipe;

const OUT: Streams = Streams { stdin: false, stdout: true, stderr: false, tty: false };

/// Gives everybody a command that writes.
struct Source {
    bytes: usize,
    pipe: usize,
    made: AtomicUsize,
}

impl Backend for Source {
    fn redeem(&self, _: Kind, _: &str) -> Option<Work> {
        self.made.fetch_add(1, Ordering::Relaxed);
        Some(Work::Command(OUT, Box::new(Zeroes { bytes: self.bytes, pipe: self.pipe })))
    }
}

struct Zeroes {
    bytes: usize,
    pipe: usize,
}

impl Command for Zeroes {
    fn begin(self: Box<Self>) -> Boxed<'static, Result<Running, String>> {
        Box::pin(async move {
            let (reader, writer) = std::io::pipe().map_err(|error| error.to_string())?;
            rustix::pipe::fcntl_setpipe_size(writer.as_fd(), self.pipe).map_err(|error| error.to_string())?;
            let (tell, told) = tokio::sync::oneshot::channel();
            let bytes = self.bytes;
            std::thread::spawn(move || {
                let (mut writer, block) = (writer, vec![0; 64 << 10]);
                let mut left = bytes;
                while left > 0 && writer.write_all(&block[..left.min(block.len())]).is_ok() {
                    left -= left.min(block.len());
                }
                drop(writer);
                let _ = tell.send(());
            });
            let reader = pipe::Receiver::from_owned_fd(reader.into()).map_err(|error| error.to_string())?;
            Ok(Running {
                stdin: None,
                stdout: Some(Box::new(reader)),
                stderr: None,
                resize: None,
                end: Box::pin(async move {
                    let _ = told.await;
                    End::Exited(0)
                }),
            })
        })
    }
}

/// What a client sends for its streams to be opened: zlib in stored blocks, without the dictionary.
fn streams() -> Vec<u8> {
    let mut bytes = Vec::new();
    for (stream, kind) in [(1_u32, "error"), (3, "stdout")] {
        let told = |text: &str| [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat();
        let block = [1_u32.to_be_bytes().to_vec(), told("streamtype"), told(kind)].concat();
        let length = block.len() as u16;
        let begin: &[u8] = if stream == 1 { &[0x78, 0x01] } else { &[] };
        let stored = [begin, &[0], &length.to_le_bytes(), &(!length).to_le_bytes(), &block].concat();
        let payload = [&stream.to_be_bytes()[..], &[0; 6], &stored].concat();
        bytes.extend([0x80, 3, 0, 1, 0]);
        bytes.extend(&(payload.len() as u32).to_be_bytes()[1..]);
        bytes.extend(payload);
    }
    bytes
}

/// Reads all; how many bytes, and in what time from the first to the last.
fn count(stream: &mut impl Read) -> (usize, f64) {
    let mut buffer = vec![0; 256 << 10];
    let (mut total, mut begin) = (0, None);
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        begin.get_or_insert_with(Instant::now);
        total += read;
    }
    (total, begin.map_or(0.0, |begin| begin.elapsed().as_secs_f64()))
}

fn client(address: std::net::SocketAddr, headers: &str, then: &[u8]) -> (usize, f64) {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    let request =
        format!("GET /exec/any HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    stream.write_all(then).expect("streams");
    let counted = count(&mut stream);
    let _ = stream.shutdown(Shutdown::Both);
    counted
}

/// The same over TLS.
fn encrypted(
    address: std::net::SocketAddr,
    config: Arc<rustls::ClientConfig>,
    headers: &str,
    then: &[u8],
) -> (usize, f64) {
    let stream = TcpStream::connect(address).expect("the server listens");
    let name = "localhost".try_into().expect("a name");
    let session = rustls::ClientConnection::new(config, name).expect("a session");
    let mut stream = rustls::StreamOwned::new(session, stream);
    let request =
        format!("GET /exec/any HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    stream.write_all(then).expect("streams");
    count(&mut stream)
}

fn tls() -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a certificate");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>().expect("a number"));
    let mib = arguments.next().unwrap_or(1024);
    let pipe = arguments.next().unwrap_or(64) << 10;
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let backend = Arc::new(Source { bytes: mib << 20, pipe, made: AtomicUsize::new(0) });
    let (server, config) = tls();
    let mut addresses = Vec::new();
    for tls in [None, Some(server)] {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        addresses.push(listener.local_addr().expect("an address"));
        let backend: Arc<dyn Backend> = backend.clone();
        runtime.spawn(serve(listener, tls, backend, Limits::default(), std::future::pending()));
    }
    let spdy = "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n";
    let websocket = |protocol: &str| {
        let key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        format!("Upgrade: websocket\r\n{key}Sec-WebSocket-Protocol: {protocol}\r\n")
    };
    let show = |name: &str, (bytes, seconds): (usize, f64)| {
        let rate = bytes as f64 / seconds / 1e6;
        println!("{name}\t{bytes} bytes\t{seconds:.3} s\t{rate:.0} MB/s");
    };
    for _ in 0..3 {
        show("SPDY", client(addresses[0], spdy, &streams()));
        show("WebSocket v5", client(addresses[0], &websocket("v5.channel.k8s.io"), b""));
        show("WebSocket v4 base64", client(addresses[0], &websocket("v4.base64.channel.k8s.io"), b""));
        show("SPDY, TLS", encrypted(addresses[1], Arc::clone(&config), spdy, &streams()));
        show(
            "WebSocket v5, TLS",
            encrypted(addresses[1], Arc::clone(&config), &websocket("v5.channel.k8s.io"), b""),
        );
    }
}
