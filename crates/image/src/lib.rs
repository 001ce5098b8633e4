//! Images on this node: layers unpacked and verified, documents, names.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`store`] | layers, chains, the directory tree; images: put, find, list, remove, hold |
//! | [`unpack`] | one pass over a layer's blob |
//! | [`manifest`], [`config`], [`descriptor`] | an image's documents |
//! | [`mod@pack`] | archives, written: a container's own layer among them |
//! | [`error`] | what can go wrong |
//!
//! *Invariant:* bytes of an image are a stranger's. They are limited before they are kept, verified before they count, and what they name
//! is looked for only inside their own root. Nothing here waits for a network or runs a task.

mod archive;
mod collect;
pub mod config;
pub mod descriptor;
pub mod error;
mod extract;
mod hold;
mod images;
mod index;
mod known;
mod loose;
pub mod manifest;
pub mod pack;
mod part;
mod record;
mod root_file;
mod scratch;
mod settle;
pub mod store;
mod sync;
pub mod unpack;
mod view;

pub use config::{ImageConfig, ImageUser};
pub use descriptor::{Compression, Descriptor};
pub use error::{Error, Fault};
pub use hold::{LayerHold, Lease};
pub use images::{NewImage, Removed, digest_of};
pub use known::{Image, chain_id};
pub use loose::Allowed;
pub use part::Part;
pub use scratch::Usage;
pub use store::{Layer, Store};
pub use unpack::LayerBlob;
