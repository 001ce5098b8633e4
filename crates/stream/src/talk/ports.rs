//! Ports over WebSocket, the older form: a pair of channels for each port, 2n for data and 2n + 1 for errors.
//!
//! ```text
//!  both channels begin with the port, two bytes, little-endian; then as any forwarded connection
//! ```
//!
//! Each port is connected to once, at the beginning; when all of them have ended, so has the connection.
//!
//! *Invariant:* as over SPDY: what goes wrong with one port ends that port, and one that does not read loses its connection after
//! [`Limits::stall`].

use std::sync::Arc;

use tokio::task::{AbortHandle, JoinSet};

use super::channels::{Channels, Said, heard};
use super::forward::{Forward, INPUT};
use crate::connection::Ending;
use crate::inbox::Inbox;
use crate::limits::Limits;
use crate::outbox::{Lane, Outbox};
use crate::session::Ports;
use crate::source::{Messages, Source};

/// The most ports of one connection: their channels have to be digits and what follows them, in one byte.
pub(crate) const MOST: usize = 32;

/// The listener's side of a port.
struct Port {
    input: Arc<Inbox>,
    task: AbortHandle,
    error: Lane,
}

/// Talks until all ports have ended or the client is gone.
pub(crate) async fn talk(
    source: &mut Source,
    outbox: &Outbox,
    ports: Arc<dyn Ports>,
    asked: Vec<u16>,
    limits: &Limits,
) -> Ending {
    let mut forwards = JoinSet::new();
    let mut listeners = Vec::new();
    for (port, channel) in asked.into_iter().take(MOST).zip((0..).step_by(2)) {
        let (data, error) = (outbox.lane(channel), outbox.lane(channel + 1));
        data.say(&port.to_le_bytes()).await;
        error.say(&port.to_le_bytes()).await;
        let input = Arc::new(Inbox::new(INPUT));
        let forward = Forward { port, data, error: error.clone(), input: Arc::clone(&input) };
        let task = forwards.spawn(forward.run(Arc::clone(&ports)));
        listeners.push(Port { input, task, error });
    }
    let mut messages = Messages::new(source);
    let listen = listen(&mut messages, outbox, &listeners, limits);
    let all = async { while forwards.join_next().await.is_some() {} };
    tokio::select! {
        ending = listen => ending,
        () = all => Ending::Done,
    }
}

async fn listen(messages: &mut Messages<'_>, outbox: &Outbox, ports: &[Port], limits: &Limits) -> Ending {
    let mut channels = Channels::new(outbox.form(), 4);
    loop {
        let (piece, last) = match heard(messages, outbox).await {
            Ok(heard) => heard,
            Err(ending) => return ending,
        };
        let (channel, bytes) = match channels.read(piece, last) {
            Err(fault) => return Ending::Broken(fault),
            Ok(Said::Bytes(channel, bytes)) => (channel, bytes),
            Ok(Said::Nothing | Said::End(_)) => continue,
        };
        let Some(port) = ports.get(usize::from(channel / 2)).filter(|_| channel % 2 == 0) else { continue };
        tokio::select! {
            biased;
            pushed = port.input.push(&bytes, Some(limits.stall)) => {
                if pushed.is_err() {
                    port.task.abort();
                    port.input.close();
                    port.error.say(b"the port does not read").await;
                }
            }
            // While a port does not read, nothing more is read of the client but that it left.
            () = messages.source.gone(outbox) => return Ending::Gone,
        }
    }
}
