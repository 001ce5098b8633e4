//! A container's output as lines of the CRI log format, and back.
//!
//! ```text
//! 2026-01-02T15:04:05.123456789Z stdout F hello\n
//! └ time, UTC, nanoseconds ────┘ stream │ content
//!                                       F: a whole line, P: a part of one, more follows
//! ```
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`time`] | the first 30 bytes of a line, written and read |
//! | [`writer`] | bytes of a stream become lines: the shim's side |
//! | [`reader`] | lines become what was written: the side of who shows logs |
//! | [`tail`] | where the last lines of a file begin |
//!
//! *Invariant:* what the writer made, the reader gives back byte for byte, however the stream was cut into chunks. Memory is
//! bounded whatever a container writes and whatever a file holds. Nothing here panics on what it reads.
//!
//! Source: Kubernetes, "CRI container logging" (design proposal kubelet-cri-logging) and `k8s.io/cri-client/pkg/logs`.

pub mod reader;
pub mod tail;
pub mod time;
pub mod writer;

/// Content of a line is at most this long; what is longer is cut into parts of exactly this length.
pub const PART: usize = 16 << 10;

/// Which of a container's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// File descriptor 1, or a terminal.
    Stdout,
    /// File descriptor 2.
    Stderr,
}

impl Stream {
    /// As the log names it; both names are of one length.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}
