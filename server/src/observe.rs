//! What the daemon shows of itself: its log, and figures for Prometheus.
//!
//! *Invariant:* a figure's labels are names of calls and codes, so their number is bounded; no id, name or address of a request is
//! ever one.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::config::Listen;

/// Seconds: from a look at memory to a pull.
const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0];

/// Counts and times of calls.
pub(crate) struct Calls {
    registry: Registry,
    ended: IntCounterVec,
    seconds: HistogramVec,
    sessions: IntCounterVec,
    open: IntGaugeVec,
}

/// A streaming session, open until it is dropped.
pub(crate) struct Session(IntGauge);

impl Drop for Session {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A call under way.
pub(crate) struct Watch<'a> {
    calls: &'a Calls,
    name: &'static str,
    since: Instant,
}

impl Calls {
    /// Registers the figures.
    ///
    /// # Errors
    /// If two have one name.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let ended = IntCounterVec::new(
            Opts::new("orlop_cri_calls_total", "CRI calls that have ended, by call and gRPC code."),
            &["call", "code"],
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new("orlop_cri_call_seconds", "How long CRI calls took.")
                .buckets(BUCKETS.to_vec()),
            &["call"],
        )?;
        registry.register(Box::new(ended.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        let sessions = IntCounterVec::new(
            Opts::new("orlop_streaming_sessions_total", "Streaming sessions that have begun, by kind."),
            &["kind"],
        )?;
        let open = IntGaugeVec::new(
            Opts::new("orlop_streaming_sessions_open", "Streaming sessions under way, by kind."),
            &["kind"],
        )?;
        registry.register(Box::new(sessions.clone()))?;
        registry.register(Box::new(open.clone()))?;
        Ok(Calls { registry, ended, seconds, sessions, open })
    }

    /// Counts a streaming session in.
    pub(crate) fn session(&self, kind: &'static str) -> Session {
        self.sessions.with_label_values(&[kind]).inc();
        let open = self.open.with_label_values(&[kind]);
        open.inc();
        Session(open)
    }

    pub(crate) fn begin(&self, name: &'static str) -> Watch<'_> {
        Watch { calls: self, name, since: Instant::now() }
    }

    fn text(&self) -> String {
        // It fails only for a metric without samples of its family, which the registry does not give.
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

impl Watch<'_> {
    pub(crate) fn end(self, code: tonic::Code) {
        let code = format!("{code:?}");
        self.calls.ended.with_label_values(&[self.name, code.as_str()]).inc();
        self.calls.seconds.with_label_values(&[self.name]).observe(self.since.elapsed().as_secs_f64());
    }
}

/// Serves the figures until the daemon ends.
///
/// # Errors
/// If the address cannot be listened on.
pub(crate) async fn serve(address: &Listen, calls: Arc<Calls>) -> std::io::Result<()> {
    match address {
        Listen::Tcp(address) => {
            let listener = tokio::net::TcpListener::bind(address).await?;
            tracing::info!(address = %listener.local_addr()?, "metrics");
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(answer(stream, Arc::clone(&calls)));
                }
            });
        }
        Listen::Unix(path) => {
            let listener = tokio::net::UnixListener::from_std(listen(path)?)?;
            tracing::info!(path = %path.display(), "metrics");
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(answer(stream, Arc::clone(&calls)));
                }
            });
        }
    }
    Ok(())
}

/// A listening Unix socket of mode 0660, in the place of one that nobody listens on. It takes that place by a rename: the name always
/// leads to a socket.
///
/// # Errors
/// `AddrInUse` if somebody listens.
pub(crate) fn listen(path: &Path) -> std::io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(std::io::ErrorKind::AddrInUse.into());
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push("~");
    let _ = std::fs::remove_file(&beside);
    let listener = std::os::unix::net::UnixListener::bind(&beside)?;
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o660))?;
    listener.set_nonblocking(true)?;
    std::fs::rename(&beside, path)?;
    Ok(listener)
}

/// One request, whatever it asks for: there is one page.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, calls: Arc<Calls>) {
    let mut head = [0; 4096];
    let mut length = 0;
    let whole = async {
        while length < head.len() && !head[..length].windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut head[length..]).await {
                Ok(count) if count > 0 => length += count,
                _ => break,
            }
        }
    };
    if tokio::time::timeout(std::time::Duration::from_secs(5), whole).await.is_err() {
        return;
    }
    let body = calls.text();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(body.as_bytes()).await;
}
