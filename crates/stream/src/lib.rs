//! Exec, attach and port-forward as `kubectl` and kubelet speak them: SPDY/3.1 and WebSocket over HTTP/1.1, the server's side.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`session`] | what is behind a connection: a command with its streams, or ports; this crate asks it, and knows nothing else of it |
//!
//! *Invariant:* nothing here knows pods or containers. A peer that lies, floods or does not read harms its own connection alone, and
//! what one connection may hold in memory is bounded.

pub mod session;

#[cfg(test)]
mod chance;
mod spdy;
mod websocket;
