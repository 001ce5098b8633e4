//! How much a peer may take.
//!
//! *Invariant:* none of these is without an end.

use std::time::Duration;

/// The limits of a server. `Limits::default()` are those of Kubernetes where it has some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many connections may be without a token at once; more wait to be accepted.
    pub strangers: usize,
    /// How long a connection may take to come to its upgrade, TLS and request together.
    pub greeting: Duration,
    /// How many sessions there may be at once; more are answered 503, and keep their token.
    pub sessions: usize,
    /// How long a client may take to open all of its streams.
    pub streams: Duration,
    /// How long a connection may be silent in both directions.
    pub idle: Duration,
    /// How many ports a connection may forward at once: connections to them, not numbers.
    pub forwards: usize,
    /// How long a forwarded port that has bytes waiting may read none of them before it is given up: meanwhile its whole connection
    /// waits, because SPDY as Kubernetes speaks it cannot hold back a single stream.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            strangers: 64,
            greeting: Duration::from_secs(10),
            sessions: 1024,
            streams: Duration::from_secs(30),
            idle: Duration::from_hours(4),
            forwards: 512,
            stall: Duration::from_secs(10),
        }
    }
}
