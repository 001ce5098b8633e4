//! Exec, attach and port-forward as `kubectl` and kubelet speak them: SPDY/3.1 and WebSocket over HTTP/1.1, the server's side.
//!
//! ```text
//!  TCP, TLS ─▶ server: HTTP/1.1 ─▶ request: which protocol ─▶ Backend::redeem ─▶ connection ─▶ talk
//! ```
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`session`] | what is behind a connection: a command with its streams, or ports; this crate asks it, and knows nothing else of it |
//! | [`server`] | listens, and takes each connection to its upgrade |
//! | `request` | what a request asks for, and the answer |
//! | `connection` | from the upgrade to the last byte |
//! | `talk` | exec and attach, or ports, in each form |
//! | `source`, `inbox` | from the client |
//! | `pump`, `outbox` | to the client |
//! | `spdy`, `websocket` | bytes to frames and back |
//!
//! *Invariant:* nothing here knows pods or containers. A peer that lies, floods or does not read harms its own connection alone, and
//! what one connection may hold in memory is bounded.

#[cfg(test)]
mod chance;
mod connection;
mod inbox;
mod limits;
mod outbox;
mod pulse;
mod pump;
mod request;
mod resize;
pub mod server;
pub mod session;
mod socket;
mod source;
mod spdy;
mod status;
mod talk;
mod websocket;

pub use limits::Limits;
pub use server::serve;
