//! A server with made-up work behind it, for the tests of this crate.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`wire`] | bytes of HTTP, SPDY and WebSocket, the client's side, written for the tests |
//! | [`client`] | exec and attach in every form that there is |
//!
//! *Invariant:* traffic goes over loopback only, to a port that the kernel chose.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod client;
pub(crate) mod wire;

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use orlop_stream::session::{Backend, Boxed, Command, Duplex, End, Kind, Ports, Running, Streams, Work};
use orlop_stream::{Limits, serve};
use tokio::io::{DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long anything may take that has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that has to happen.
pub(crate) async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, happens)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

#[derive(Default)]
struct Tokens(Mutex<HashMap<(Kind, String), Work>>);

impl Backend for Tokens {
    fn redeem(&self, kind: Kind, token: &str) -> Option<Work> {
        self.0.lock().expect("no panic before").remove(&(kind, token.to_owned()))
    }
}

/// A server.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    tokens: Arc<Tokens>,
    count: AtomicUsize,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
    /// Whether clients have to encrypt.
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Limits::default(), None).await
    }

    pub(crate) async fn with(
        limits: Limits,
        tls: Option<(Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>)>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let tokens = Arc::new(Tokens::default());
        let (stop, stopped) = oneshot::channel();
        let backend: Arc<dyn Backend> = tokens.clone();
        let (server, tls) = tls.unzip();
        let shutdown = async { drop(stopped.await) };
        let server = tokio::spawn(serve(listener, server, backend, limits, shutdown));
        World { address, tokens, count: AtomicUsize::new(0), stop: Some(stop), server, tls }
    }

    fn give(&self, kind: Kind, path: &str, work: Work) -> String {
        let token = format!("token-{}", self.count.fetch_add(1, Ordering::Relaxed));
        self.tokens.0.lock().expect("no panic before").insert((kind, token.clone()), work);
        format!("/{path}/{token}")
    }

    /// A path for an exec of which `begin` is what happens.
    pub(crate) fn exec(
        &self,
        streams: Streams,
        begin: impl FnOnce() -> Result<Running, String> + Send + 'static,
    ) -> String {
        self.give(Kind::Exec, "exec", Work::Command(streams, Box::new(Script(Box::new(begin)))))
    }

    /// A path for an attach.
    pub(crate) fn attach(
        &self,
        streams: Streams,
        begin: impl FnOnce() -> Result<Running, String> + Send + 'static,
    ) -> String {
        self.give(Kind::Attach, "attach", Work::Command(streams, Box::new(Script(Box::new(begin)))))
    }

    /// A path for ports: `connect` is asked for each connection.
    pub(crate) fn ports(
        &self,
        asked: &[u16],
        connect: impl Fn(u16) -> Result<Box<dyn Duplex>, String> + Send + Sync + 'static,
    ) -> String {
        let ports = Harbour { asked: asked.to_vec(), connect: Box::new(connect) };
        self.give(Kind::PortForward, "portforward", Work::Ports(Box::new(ports)))
    }

    /// Whether the token of a path is still there.
    pub(crate) fn has(&self, path: &str) -> bool {
        let token = path.rsplit('/').next().expect("a token");
        self.tokens.0.lock().expect("no panic before").keys().any(|(_, known)| known == token)
    }

    /// Tells the server to stop, and waits until it has.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        soon("the server stops", &mut self.server).await.expect("it does not panic");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What happens when a command begins.
type Begin = Box<dyn FnOnce() -> Result<Running, String> + Send>;

struct Script(Begin);

impl Command for Script {
    fn begin(self: Box<Self>) -> Boxed<'static, Result<Running, String>> {
        Box::pin(async move { (self.0)() })
    }
}

/// What happens when a port is connected to.
type Connect = Box<dyn Fn(u16) -> Result<Box<dyn Duplex>, String> + Send + Sync>;

struct Harbour {
    asked: Vec<u16>,
    connect: Connect,
}

impl Ports for Harbour {
    fn asked(&self) -> Vec<u16> {
        self.asked.clone()
    }

    fn connect(&self, port: u16) -> Boxed<'_, Result<Box<dyn Duplex>, String>> {
        let connected = (self.connect)(port);
        Box::pin(async move { connected })
    }
}

/// Nothing, to begin with.
pub(crate) fn running() -> Running {
    Running { stdin: None, stdout: None, stderr: None, resize: None, end: Box::pin(std::future::pending()) }
}

/// A command that has ended.
pub(crate) fn ended(end: End) -> Running {
    Running { end: Box::pin(async { end }), ..running() }
}

/// The process's ends of a command's streams.
pub(crate) struct Process {
    pub(crate) stdin: DuplexStream,
    pub(crate) stdout: Option<DuplexStream>,
    pub(crate) stderr: Option<DuplexStream>,
    pub(crate) end: Option<oneshot::Sender<End>>,
}

/// A command whose process is played by the test; pipes hold `size` bytes. Its end, if the test drops that: a failure.
pub(crate) fn played(size: usize) -> (Running, Process) {
    let (stdin, process_stdin) = duplex(size);
    let (stdout, process_stdout) = duplex(size);
    let (stderr, process_stderr) = duplex(size);
    let (end, ended) = oneshot::channel();
    let running = Running {
        stdin: Some(Box::new(stdin)),
        stdout: Some(Box::new(stdout)),
        stderr: Some(Box::new(stderr)),
        resize: None,
        end: Box::pin(async { ended.await.unwrap_or(End::Failed("it was dropped".into())) }),
    };
    let process = Process {
        stdin: process_stdin,
        stdout: Some(process_stdout),
        stderr: Some(process_stderr),
        end: Some(end),
    };
    (running, process)
}

/// All three streams.
pub(crate) const ALL: Streams = Streams { stdin: true, stdout: true, stderr: true, tty: false };
/// Output only.
pub(crate) const OUT: Streams = Streams { stdin: false, stdout: true, stderr: false, tty: false };
/// A terminal.
pub(crate) const TTY: Streams = Streams { stdin: true, stdout: true, stderr: false, tty: true };
