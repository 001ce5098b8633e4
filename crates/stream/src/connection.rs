//! One connection after its upgrade, from its first byte to its last.
//!
//! ```text
//!  talk ──────────────▶ farewell ──────────────▶ linger ──▶ closed
//!   │ all is said,       what is left is          the client
//!   │ or a fault         written, then the        closes, or
//!   │                    last frame               is silent
//!   └─ the client is gone ────────────────────────────────▶ closed
//! ```
//!
//! A socket that is closed while bytes of the client are unread resets the connection, and the client may lose what was still on its
//! way to it: hence the lingering, which reads on.
//!
//! *Invariant:* when the talk is over, so is what was behind it: the rest is bytes.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::sync::watch;
use tracing::debug;

use crate::limits::Limits;
use crate::outbox::{Form, Outbox, outbox};
use crate::pulse::Pulse;
use crate::session::Work;
use crate::source::Source;
use crate::talk;
use crate::websocket::Close;
use crate::websocket::decode::Fault;

/// How long a client that broke the protocol, or idled, or is there when the server stops, is given to read the last frame.
const LAST: Duration = Duration::from_secs(1);

/// How long a client may be silent after the last frame before its connection is closed; clients send pings every 5 or 10 s.
const SILENT: Duration = Duration::from_secs(15);

/// How long a client may go on talking after the last frame.
const CHATTER: Duration = Duration::from_mins(10);

/// How a talk ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// All is said.
    Done,
    /// The client is gone.
    Gone,
    /// The client closed its WebSocket, with this code.
    Closed(Option<u16>),
    /// The client broke the protocol.
    Broken(Fault),
    /// Nothing was said for too long.
    Idle,
    /// The server stops.
    Stopped,
}

/// What was agreed on in the upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) form: Form,
    /// The version of the protocol of exec and attach.
    pub(crate) version: u8,
    /// The ports in the query.
    pub(crate) ports: Vec<u16>,
}

/// A connection, ready to talk.
pub(crate) struct Connection {
    pub(crate) source: Source,
    pub(crate) sink: Box<dyn AsyncWrite + Send + Unpin>,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) limits: Limits,
    /// Becomes true when the server stops.
    pub(crate) stop: watch::Receiver<bool>,
}

impl Connection {
    /// Talks to the end.
    pub(crate) async fn run(mut self, agreed: Agreed, work: Work) {
        let (outbox, mut parcels) = outbox(agreed.form);
        let write = parcels.write(&mut self.sink, &self.pulse);
        tokio::pin!(write);
        let ending = tokio::select! {
            ending = talk::talk(&mut self.source, &outbox, agreed, work, &self.limits) => ending,
            _ = &mut write => Ending::Gone,
            () = self.pulse.stopped(self.limits.idle) => Ending::Idle,
            _ = self.stop.wait_for(|stop| *stop) => Ending::Stopped,
        };
        if let Ending::Broken(Fault(words, _)) = ending {
            debug!("a streaming client broke the protocol: {words}");
        }
        if matches!(ending, Ending::Gone) {
            return;
        }
        let flush = async {
            tokio::select! {
                written = &mut write => written.is_ok(),
                // The outbox goes with it; then there is nothing more to write.
                () = async { farewell(outbox, &ending).await; std::future::pending().await } => false,
                () = self.pulse.stopped(self.limits.idle) => false,
                // Its end alone ends nothing: a client may be done with sending, and still read.
                () = async { self.source.discard().await; std::future::pending().await } => false,
            }
        };
        let written = match ending {
            // What is left to write is data: a client that reads slowly gets it.
            Ending::Done => flush.await,
            _ => tokio::time::timeout(LAST, flush).await == Ok(true),
        };
        if written {
            linger(&mut self.source).await;
        }
    }
}

async fn farewell(outbox: Outbox, ending: &Ending) {
    match ending {
        Ending::Done => outbox.goodbye(Close::Normal).await,
        Ending::Closed(code) => outbox.closed(*code).await,
        Ending::Broken(Fault(_, why)) => outbox.goodbye(*why).await,
        Ending::Idle | Ending::Stopped => outbox.goodbye(Close::Away).await,
        Ending::Gone => {}
    }
}

async fn linger(source: &mut Source) {
    let chatter = async {
        while let Ok(true) = tokio::time::timeout(SILENT, source.more()).await {
            source.bytes.clear();
        }
    };
    let _ = tokio::time::timeout(CHATTER, chatter).await;
}
