//! From the network's task to the thread that unpacks: a few chunks wide.
//!
//! *Invariant:* bounded. A disk that is slower than the network slows the network down.

use std::io::{self, Read};

use tokio::sync::mpsc;

/// How many chunks may wait; the HTTP client makes them 8 KiB to about half a MiB large.
const CHUNKS: usize = 8;

/// The network's end.
pub(crate) type Inlet = mpsc::Sender<bytes::Bytes>;

/// The thread's end. Its stream just ends if the inlet is dropped: that it ended too early is seen by its length.
pub(crate) struct Outlet {
    chunks: mpsc::Receiver<bytes::Bytes>,
    current: bytes::Bytes,
}

pub(crate) fn pipe() -> (Inlet, Outlet) {
    let (inlet, chunks) = mpsc::channel(CHUNKS);
    (inlet, Outlet { chunks, current: bytes::Bytes::new() })
}

impl Read for Outlet {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk,
                None => return Ok(0),
            }
        }
        let count = self.current.len().min(into.len());
        into[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}
