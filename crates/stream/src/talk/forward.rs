//! A forwarded connection, whatever the form in which its client speaks.
//!
//! ```text
//!            ┌─ inbox ─▶ port ─▶ data lane ─┐
//!  client ──▶┤                              ├──▶ client
//!            └             error lane ──────┘ only if there is no connection
//! ```
//!
//! Each direction ends by itself: a client that has said all still gets the rest of the answer. When the port has said all, its error
//! lane ends too, because clients wait for that before they close.
//!
//! *Invariant:* a port that breaks its connection breaks one stream. No error is told for it: clients end everything when one is told.

use std::sync::Arc;

use crate::inbox::Inbox;
use crate::outbox::Lane;
use crate::pump::{Ended, Memory, deliver};
use crate::session::Ports;
use crate::spdy::Reset;

/// How many bytes may wait for a port.
pub(crate) const INPUT: usize = 64 << 10;

/// Of each connection.
const OUTPUT: Memory = Memory { buffers: 1, largest: 64 << 10 };

/// One connection of the client's.
pub(crate) struct Forward {
    pub(crate) port: u16,
    pub(crate) data: Lane,
    pub(crate) error: Lane,
    pub(crate) input: Arc<Inbox>,
}

impl Forward {
    /// Connects, and forwards in both directions until both have ended.
    pub(crate) async fn run(self, ports: Arc<dyn Ports>) {
        let port = match ports.connect(self.port).await {
            Ok(port) => port,
            Err(words) => {
                self.input.close();
                self.error.say(words.as_bytes()).await;
                self.error.end().await;
                return self.data.reset(Reset::Cancel).await;
            }
        };
        let (read, write) = tokio::io::split(port);
        let answer = async {
            match deliver(read, &self.data, OUTPUT, None).await {
                Ended::Whole => {
                    self.data.end().await;
                    self.error.end().await;
                    true
                }
                Ended::Broken => {
                    self.data.reset(Reset::Cancel).await;
                    self.error.end().await;
                    false
                }
                Ended::Gone => false,
            }
        };
        let feed = self.input.drain(write);
        tokio::pin!(answer, feed);
        tokio::select! {
            // Where a client cannot say that it has said all, the answer's end is the end.
            whole = &mut answer => if whole && self.data.has_ends() { feed.await },
            () = &mut feed => drop(answer.await),
        }
        self.input.close();
    }
}
