//! From a process's output, or a port, to the client.
//!
//! *Invariant:* a stream holds as much memory as what it carries asks for: it begins with [`FIRST`], and grows while reads fill it. It
//! reads on only when an earlier buffer has been written.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::{mpsc, watch};

use crate::outbox::{Buffer, Lane};

/// What a stream that says little needs.
const FIRST: usize = 8 << 10;

/// How long an output may be silent, after its command has ended, before it is not waited for: somebody else keeps it open. What the
/// command itself wrote is there at once, so this only has to outlast the scheduling of this process.
const SILENCE: Duration = Duration::from_millis(100);

/// What an output may still bring after its command has ended. More than a pipe, terminal or socket holds: whoever writes more than this
/// wrote it afterwards.
const AFTERWARDS: usize = 4 << 20;

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// All was delivered.
    Whole,
    /// It could not be read to its end.
    Broken,
    /// The client is gone.
    Gone,
}

/// Memory of a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// How many buffers; two let one be filled while the other is written.
    pub(crate) buffers: usize,
    /// How large they may become.
    pub(crate) largest: usize,
}

/// Buffers, and where they come back.
struct Pool {
    memory: Memory,
    size: usize,
    made: usize,
    back: (mpsc::Sender<Buffer>, mpsc::Receiver<Buffer>),
}

impl Pool {
    fn new(memory: Memory) -> Self {
        Pool { memory, size: FIRST, made: 0, back: mpsc::channel(memory.buffers) }
    }

    /// A free buffer, once there is one; `None` cannot be, as this holds a sender itself.
    async fn free(&mut self) -> Buffer {
        let back = match self.back.1.try_recv() {
            Err(_) if self.made == self.memory.buffers => self.back.1.recv().await,
            back => back.ok(),
        };
        match back {
            Some(buffer) if buffer.bytes.len() >= self.size => buffer,
            Some(_) => self.make(),
            None => {
                self.made += 1;
                self.make()
            }
        }
    }

    fn make(&self) -> Buffer {
        Buffer { bytes: vec![0; self.size].into(), filled: 0 }
    }

    /// Takes note of how much a read brought.
    fn learn(&mut self, buffer: &Buffer) {
        if buffer.filled == buffer.bytes.len() {
            self.size = (self.size * 4).min(self.memory.largest);
        }
    }
}

/// Delivers all of `source` on `lane`, which is not ended. `over`: whether the command has ended; from then on `source` is read only as
/// far as it holds something.
pub(crate) async fn deliver(
    mut source: impl AsyncRead + Unpin,
    lane: &Lane,
    memory: Memory,
    mut over: Option<watch::Receiver<bool>>,
) -> Ended {
    let mut pool = Pool::new(memory);
    let mut afterwards = 0;
    loop {
        let mut buffer = pool.free().await;
        let read = tokio::select! {
            biased;
            read = source.read(&mut buffer.bytes) => read,
            () = silence(&mut over) => Ok(0),
        };
        match read {
            Ok(0) => return Ended::Whole,
            Ok(filled) => buffer.filled = filled,
            Err(_) => return Ended::Broken,
        }
        if over.as_ref().is_some_and(|over| *over.borrow()) {
            afterwards += buffer.filled;
        }
        pool.learn(&buffer);
        if !lane.lend(buffer, &pool.back.0).await {
            return Ended::Gone;
        }
        if afterwards > AFTERWARDS {
            return Ended::Whole;
        }
    }
}

/// Returns [`SILENCE`] after the command's end.
async fn silence(over: &mut Option<watch::Receiver<bool>>) {
    if let Some(over) = over
        && over.wait_for(|over| *over).await.is_ok()
    {
        return tokio::time::sleep(SILENCE).await;
    }
    std::future::pending::<()>().await;
}
