//! What can go wrong with images on this node.
//!
//! *Invariant:* text that came from an image (paths, names, media types) is in here escaped and cut, so that it can be printed;
//! `Display` never repeats its source.

use std::{io, path::Path};

use orlop_model::reference::Digest;
use orlop_model::report::{Kind, Report};

/// Why something could not be done with an image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused something in the store.
    #[error("{step} {path}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// To which file.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The index could not be read or written.
    #[error("{step} the image index")]
    Index {
        /// What was being done.
        step: &'static str,
        /// Why not.
        #[source]
        source: Box<redb::Error>,
    },
    /// A record of the index cannot be read: it is damaged, or of a newer version.
    #[error("the image index has a record in {table} that cannot be read")]
    Record {
        /// Which table.
        table: &'static str,
    },
    /// Where the bytes of a blob should come from failed before they were all there.
    #[error("reading blob {digest}")]
    Source {
        /// Of which blob.
        digest: Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A blob is not what it, its descriptor or its image says it is.
    #[error("blob {digest}: {fault}")]
    Blob {
        /// Which.
        digest: Digest,
        /// What is false about it.
        fault: Fault,
    },
    /// A blob asks for more than is given to one.
    #[error("blob {digest}: {limit}")]
    Limit {
        /// Which.
        digest: Digest,
        /// What there is too much of.
        limit: String,
    },
    /// The store's file system has no room for more.
    #[error("{free} of {path} are free, and {reserve} of that are kept for the node's own records")]
    NoRoom {
        /// The store.
        path: String,
        /// What is free, with its unit.
        free: String,
        /// What has to stay free, with its unit.
        reserve: String,
    },
    /// Legal, but not something this version can handle.
    #[error("{object}: {why}")]
    Unsupported {
        /// What.
        object: String,
        /// Why not.
        why: String,
    },
    /// An image, or a layer of one, is not on this node.
    #[error("{0} is not on this node")]
    Missing(String),
    /// An abbreviated id fits several images.
    #[error("the id {0} fits several images")]
    Ambiguous(String),
    /// What was given as a name is none.
    #[error("image name {name}")]
    Name {
        /// What was given, escaped.
        name: String,
        /// What is wrong with it.
        #[source]
        source: orlop_model::reference::NotAName,
    },
    /// An archive that is no layer's is not what it should be.
    #[error("archive {label}: {why}")]
    Archive {
        /// Which.
        label: String,
        /// What is wrong with it.
        why: String,
    },
    /// Layers that do not make an image together.
    #[error("layer {layer}: {why}")]
    Chain {
        /// Which layer asks for what is not there.
        layer: Digest,
        /// For what.
        why: String,
    },
    /// A file inside an image is not fit to be read by the runtime.
    #[error("/{path} in the image: {why}")]
    InRoot {
        /// Which file.
        path: String,
        /// Why not.
        why: &'static str,
    },
}

/// What is false about a blob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It ended too early.
    #[error("ends after {got} bytes, {said} were announced")]
    Short {
        /// In its descriptor.
        said: u64,
        /// Until its end.
        got: u64,
    },
    /// It went on after its end.
    #[error("goes on after the {said} bytes that were announced")]
    Long {
        /// In its descriptor.
        said: u64,
    },
    /// Its bytes have another digest.
    #[error("has the digest {got}")]
    Digest {
        /// What they have.
        got: Digest,
    },
    /// Unpacked, it is another layer than the image's config says.
    #[error("unpacks to {got}, the image's config says {said}")]
    DiffId {
        /// In the config.
        said: Digest,
        /// What it is.
        got: Digest,
    },
    /// It cannot be decompressed.
    #[error("is no good {format} stream: {why}")]
    Stream {
        /// As what it was read.
        format: &'static str,
        /// What the decoder says.
        why: String,
    },
    /// It is no tar archive, or a damaged one.
    #[error("is no good tar archive: {0}")]
    Tar(String),
    /// An entry of the archive cannot be.
    #[error("entry {path}: {why}")]
    Entry {
        /// Which, escaped.
        path: String,
        /// Why not.
        why: String,
    },
    /// A document (manifest, index, config) says what cannot be.
    #[error("{0}")]
    Document(String),
}

impl Error {
    pub(crate) fn io(step: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Error::Io { step, path: path.display().to_string(), source: source.into() }
    }

    pub(crate) fn index(step: &'static str, source: impl Into<redb::Error>) -> Self {
        Error::Index { step, source: Box::new(source.into()) }
    }

    /// What class of failure it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Error::Io { source, .. } if lacks_room(source) => Kind::Exhausted,
            Error::Io { .. } | Error::Index { .. } | Error::Record { .. } => Kind::Failed,
            Error::Source { .. } => Kind::Unavailable,
            Error::Blob { .. } | Error::Chain { .. } | Error::InRoot { .. } | Error::Archive { .. } => {
                Kind::Corrupt
            }
            Error::Limit { .. } | Error::NoRoom { .. } => Kind::Exhausted,
            Error::Unsupported { .. } => Kind::Unsupported,
            Error::Missing(_) => Kind::NotFound,
            Error::Ambiguous(_) | Error::Name { .. } => Kind::BadRequest,
        }
    }
}

fn lacks_room(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let room = [Errno::NOSPC, Errno::DQUOT, Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    error.raw_os_error().is_some_and(|code| room.iter().any(|errno| errno.raw_os_error() == code))
}

impl From<&Error> for Report {
    fn from(error: &Error) -> Self {
        let cause = std::error::Error::source(error);
        match cause {
            Some(cause) => Report::new(error.kind(), "image", error.to_string(), cause),
            None => Report::new(error.kind(), "image", "", error),
        }
    }
}

impl From<Error> for Report {
    fn from(error: Error) -> Self {
        Report::from(&error)
    }
}

/// Bytes of an image, fit to be printed: what is not plain ASCII is escaped, and all beyond 160 characters is cut.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    const LONGEST: usize = 160;
    let cut = bytes.len() > LONGEST;
    let text = bytes[..bytes.len().min(LONGEST)].escape_ascii().to_string();
    if cut { text + "..." } else { text }
}
