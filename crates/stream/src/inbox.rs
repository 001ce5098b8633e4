//! What a client sent on one stream and nobody has taken yet.
//!
//! ```text
//!  the connection's reader ── push ──▶ at most `limit` bytes ── take ──▶ a process or port
//! ```
//!
//! *Invariant:* no more than `limit` bytes are kept, as bytes and not as pieces of what they came in. One pushes, one takes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;

/// What it may keep when it waits: more is given back.
const KEPT: usize = 4 << 10;

/// Nobody took anything for too long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stalled;

/// The bytes.
pub(crate) struct Inbox {
    limit: usize,
    inside: Mutex<Inside>,
    /// Something was taken.
    taken: Notify,
    /// Something came.
    came: Notify,
}

#[derive(Default)]
struct Inside {
    bytes: Vec<u8>,
    /// Nothing more will come.
    ended: bool,
    /// Nothing more will be taken: what comes is thrown away.
    closed: bool,
    /// Changes whenever the taker gets on.
    steps: u64,
}

impl Inbox {
    pub(crate) fn new(limit: usize) -> Self {
        Inbox { limit, inside: Mutex::default(), taken: Notify::new(), came: Notify::new() }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts `piece` in, and waits for room if there is none: at most `patience`, if there is one, without the taker getting on.
    pub(crate) async fn push(&self, mut piece: &[u8], patience: Option<Duration>) -> Result<(), Stalled> {
        loop {
            let steps = {
                let mut inside = self.inside();
                let fits = if inside.closed { piece.len() } else { self.limit - inside.bytes.len() };
                let (now, later) = piece.split_at(fits.min(piece.len()));
                if !inside.closed {
                    inside.bytes.extend_from_slice(now);
                }
                piece = later;
                inside.steps
            };
            self.came.notify_one();
            if piece.is_empty() {
                return Ok(());
            }
            let Some(patience) = patience else {
                self.taken.notified().await;
                continue;
            };
            if tokio::time::timeout(patience, self.taken.notified()).await.is_err()
                && self.inside().steps == steps
            {
                return Err(Stalled);
            }
        }
    }

    /// Nothing more will come.
    pub(crate) fn end(&self) {
        self.inside().ended = true;
        self.came.notify_one();
    }

    /// Nothing more will be taken.
    pub(crate) fn close(&self) {
        let mut inside = self.inside();
        inside.closed = true;
        inside.bytes = Vec::new();
        drop(inside);
        self.taken.notify_one();
    }

    /// Exchanges `empty` for all that there is, and waits for something if there is nothing; `false` after the end.
    async fn take(&self, empty: &mut Vec<u8>) -> bool {
        empty.clear();
        loop {
            {
                let mut inside = self.inside();
                if !inside.bytes.is_empty() {
                    std::mem::swap(&mut inside.bytes, empty);
                    inside.steps += 1;
                    break;
                }
                if inside.ended || inside.closed {
                    return false;
                }
                if inside.bytes.capacity() > KEPT {
                    inside.bytes = Vec::new();
                }
            }
            if empty.capacity() > KEPT {
                *empty = Vec::new();
            }
            self.came.notified().await;
        }
        self.taken.notify_one();
        true
    }

    /// Writes all that comes to `sink`, then shuts that down. If it takes no more, neither does this.
    pub(crate) async fn drain(&self, mut sink: impl AsyncWrite + Unpin) {
        let mut bytes = Vec::new();
        while self.take(&mut bytes).await {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                match sink.write(rest).await {
                    Ok(written @ 1..) => rest = &rest[written..],
                    Ok(0) | Err(_) => return self.close(),
                }
                self.inside().steps += 1;
            }
            if sink.flush().await.is_err() {
                return self.close();
            }
        }
        let _ = sink.shutdown().await;
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    #[tokio::test]
    async fn all_that_was_pushed_arrives_in_order_and_then_the_end() {
        let (inbox, (sink, mut end)) = (Inbox::new(10), tokio::io::duplex(3));
        let sent: Vec<u8> = (0..=255).cycle().take(5000).collect();
        let push = async {
            for piece in sent.chunks(37) {
                inbox.push(piece, None).await.expect("without patience there is no stall");
            }
            inbox.end();
        };
        let read = async {
            let mut got = Vec::new();
            end.read_to_end(&mut got).await.expect("a pipe");
            got
        };
        let ((), (), got) = tokio::join!(push, inbox.drain(sink), read);
        assert!(got == sent);
    }

    #[tokio::test]
    async fn no_more_than_the_limit_is_kept() {
        let inbox = Inbox::new(10);
        assert_eq!(inbox.push(&[1; 10], Some(Duration::ZERO)).await, Ok(()));
        assert_eq!(inbox.push(&[2; 1], Some(Duration::from_millis(1))).await, Err(Stalled));
        let mut taken = Vec::new();
        assert!(inbox.take(&mut taken).await);
        assert_eq!(taken, [1; 10]);
    }

    #[tokio::test]
    async fn a_taker_that_gets_on_is_waited_for() {
        let (inbox, (sink, mut end)) = (Inbox::new(4), tokio::io::duplex(1));
        let push = async {
            let pushed = inbox.push(&[7; 64], Some(Duration::from_millis(200))).await;
            inbox.end();
            pushed
        };
        let read = async {
            let mut got = Vec::new();
            while let Ok(byte) = end.read_u8().await {
                got.push(byte);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            got
        };
        // It takes longer than the patience in all, and not long from byte to byte.
        let (pushed, (), got) = tokio::join!(push, inbox.drain(sink), read);
        assert_eq!((pushed, got), (Ok(()), vec![7; 64]));
    }

    #[tokio::test]
    async fn what_nobody_takes_any_more_is_thrown_away() {
        let (inbox, (sink, end)) = (Inbox::new(10), tokio::io::duplex(1));
        drop(end);
        let ((), ()) = tokio::join!(inbox.drain(sink), async {
            for _ in 0..100 {
                inbox.push(&[1; 100], None).await.expect("it does not wait");
            }
        });
        assert!(inbox.inside().bytes.is_empty());
    }
}
