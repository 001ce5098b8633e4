//! ttrpc: remote calls with protobuf messages over any connection, both sides of it. It is what containerd's shims and NRI's plugins
//! speak.
//!
//! ```text
//!  client                                    server
//!    │ request, stream 1 ──────────────────────▶ │ Service::call, a task
//!    │ request, stream 3 ──────────────────────▶ │ another
//!    │ ◀────────────────────── response, stream 3 │
//!    │ ◀────────────────────── response, stream 1 │
//! ```
//!
//! | room | what it is for |
//! | --- | --- |
//! | `frame` | ten bytes of header, and what follows |
//! | [`message`] | what is in a request and a response |
//! | [`status`] | how a call failed |
//! | [`client`] | calls, several at once |
//! | [`server`] | answers them |
//!
//! Of the protocol (its PROTOCOL.md, version 1.2) calls with one request and one response are spoken; a call that is a stream is
//! refused with `UNIMPLEMENTED`: neither the task service of shims nor NRI has one.
//!
//! *Invariant:* nothing here knows what is called. What a peer sends can end its own connection and no more; what one connection
//! holds in memory is bounded by [`MESSAGE_LIMIT`] and [`server::CALLS`]. Each message is given to the connection in one write.

pub mod client;
mod frame;
pub mod message;
pub mod server;
pub mod status;

pub use client::{Client, Error, Options};
pub use frame::MESSAGE_LIMIT;
pub use server::{Call, Service, serve};
pub use status::{Code, Status};
