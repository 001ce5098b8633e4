//! Registries: the distribution protocol, credentials, and the pull of an image into the store.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`pulls`] | pulls under way: begin, join, watch |
//! | [`client`] | manifests and blobs of a repository |
//! | [`auth`] | credentials and where they may go |
//! | [`progress`] | how far a pull is |
//! | [`error`] | what can go wrong |
//!
//! *Invariant:* a registry may be a stranger, too. Whatever it sends is limited in size, speed and kind before it is believed, and
//! credentials go nowhere but to the registry that they are for.

pub mod auth;
mod blob;
mod challenge;
pub mod client;
mod connect;
pub mod error;
mod exchange;
mod flights;
mod hosts;
mod pipe;
pub mod progress;
mod pull;
pub mod pulls;
mod token;

pub use auth::{Auth, Fields, Secret};
pub use client::{Client, Settings};
pub use error::Error;
pub use exchange::Patience;
pub use progress::{LayerStatus, Progress, Stage};
pub use pull::Pulled;
pub use pulls::{Outcome, Pulls, Ticket};
