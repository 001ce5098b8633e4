//! What is behind a connection.
//!
//! ```text
//!  URL with a token ─▶ Backend::redeem ─▶ Command::begin ─▶ Running: streams, resize, end
//!                                     └─▶ Ports::connect, once for each forwarded connection
//! ```
//!
//! *Invariant:* a token is redeemed once. Dropping a [`Running`] means that the client is gone: what is behind it then decides what
//! becomes of the process.

use std::future::Future;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

/// A future that a trait object returns.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a URL is for: its first path segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `/exec/TOKEN`
    Exec,
    /// `/attach/TOKEN`
    Attach,
    /// `/portforward/TOKEN`
    PortForward,
}

/// Gives work for tokens.
pub trait Backend: Send + Sync + 'static {
    /// The work that a token stands for, once; `None` if there is none, or no longer.
    fn redeem(&self, kind: Kind, token: &str) -> Option<Work>;
}

/// What a connection does.
pub enum Work {
    /// Exec or attach: which streams there are to be, and what is behind them.
    Command(Streams, Box<dyn Command>),
    /// Port-forward.
    Ports(Box<dyn Ports>),
}

/// The streams of an exec or attach, as they were asked for over CRI. The connection's own query is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are four questions, and CRI asks them so")]
pub struct Streams {
    /// Whether the client sends input.
    pub stdin: bool,
    /// Whether it gets output.
    pub stdout: bool,
    /// Whether it gets errors apart; never with a terminal.
    pub stderr: bool,
    /// Whether there is a terminal: output and errors are one, and it can be resized.
    pub tty: bool,
}

/// A command that waits for its client.
pub trait Command: Send {
    /// Begins it: called once all of the client's streams are there.
    ///
    /// # Errors
    /// What the client is to be told, in the words of the status on its error stream.
    fn begin(self: Box<Self>) -> Boxed<'static, Result<Running, String>>;
}

/// A command at work. Of its streams those are set that [`Streams`] says.
pub struct Running {
    /// Where input goes. It is shut down and dropped when the client's ends, and only then.
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// Output; its end ends the client's stream.
    pub stdout: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Errors.
    pub stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Told each new size of the client's terminal.
    pub resize: Option<Box<dyn FnMut(Size) + Send>>,
    /// How it ended. Once it has, what its outputs hold then is still delivered; a stream that somebody else keeps open is not waited
    /// for.
    pub end: Boxed<'static, End>,
}

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With an exit code; 0 is told as success, another as `NonZeroExitCode` with the cause `ExitCode`.
    Exited(i32),
    /// What was attached to ended, or the attachment did: told as success.
    Detached,
    /// It could not be watched to its end: told as an internal error with these words.
    Failed(String),
}

/// A connected port, both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Ports of a pod.
pub trait Ports: Send + Sync {
    /// The ports that were asked for over CRI. A WebSocket of the older form has a pair of channels for each of them, in this order;
    /// SPDY names its ports itself. Where it is empty, the query of the connection's URL counts.
    fn asked(&self) -> Vec<u16> {
        Vec::new()
    }

    /// Connects to one.
    ///
    /// # Errors
    /// What the client is to be told on that port's error stream.
    fn connect(&self, port: u16) -> Boxed<'_, Result<Box<dyn Duplex>, String>>;
}
