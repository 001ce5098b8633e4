//! What can go wrong between a registry and this node.
//!
//! *Invariant:* no credential and no query of a URL (they may be signed) is ever in here; a registry's own words are escaped and cut
//! to 1 KiB.

use orlop_model::report::{Kind, Report};

/// Why an image could not be pulled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration of a registry cannot be used.
    #[error("registry configuration {path}: {why}")]
    Hosts {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A field of credentials cannot be used. What it holds is not told.
    #[error("credentials: {0}")]
    Credentials(&'static str),
    /// A registry could not be reached, or the connection broke.
    #[error("{host}: {why}")]
    Connection {
        /// Which.
        host: String,
        /// How.
        why: String,
    },
    /// A registry sent nothing, or next to nothing, for too long.
    #[error("{host} sent {what} for {seconds} s")]
    Stalled {
        /// Which.
        host: String,
        /// `nothing`, or how little.
        what: &'static str,
        /// How long it was waited for.
        seconds: u64,
    },
    /// A registry answered with a status that says no.
    #[error("{host} answered {status} for {what}{said}")]
    Status {
        /// Which.
        host: String,
        /// The HTTP status.
        status: u16,
        /// What was asked for.
        what: String,
        /// What it said, with a colon in front; may be empty.
        said: String,
    },
    /// A registry wants credentials that it does not get.
    #[error("{host}: {why}")]
    Denied {
        /// Which.
        host: String,
        /// Why it does not.
        why: String,
    },
    /// A registry's answer breaks the protocol, or sends us where we do not go.
    #[error("{host}: {why}")]
    Protocol {
        /// Which.
        host: String,
        /// How.
        why: String,
    },
    /// A registry sends more than is taken.
    #[error("{host}: {what} has more than {limit} bytes")]
    TooLong {
        /// Which.
        host: String,
        /// What is too long.
        what: String,
        /// What is taken.
        limit: u64,
    },
    /// There is no image for this node.
    #[error("{image} is not there for {node}{but}")]
    Platform {
        /// Which image.
        image: String,
        /// What the node is.
        node: String,
        /// What it is there for.
        but: String,
    },
    /// An image is not what it says it is, or the store failed.
    #[error(transparent)]
    Image(#[from] orlop_image::Error),
    /// The pull ended without an answer: the program is stopping, or has a fault.
    #[error("the pull was abandoned")]
    Abandoned,
}

impl Error {
    /// What class of failure it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Error::Hosts { .. } | Error::Abandoned => Kind::Failed,
            Error::Credentials(_) => Kind::BadRequest,
            Error::Status { status: 404, .. } | Error::Platform { .. } => Kind::NotFound,
            Error::Status { status: 401 | 403, .. } | Error::Denied { .. } => Kind::Denied,
            Error::Status { status: 429, .. } | Error::TooLong { .. } => Kind::Exhausted,
            Error::Connection { .. }
            | Error::Stalled { .. }
            | Error::Status { .. }
            | Error::Protocol { .. }
            // What a layer's bytes come from is the registry.
            | Error::Image(orlop_image::Error::Source { .. }) => Kind::NoRegistry,
            Error::Image(error) => error.kind(),
        }
    }

    /// Whether the same request may succeed a little later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Error::Connection { .. } | Error::Stalled { .. } | Error::Abandoned => true,
            Error::Status { status, .. } => matches!(status, 429 | 500 | 502 | 503 | 504),
            Error::Image(error) => matches!(error, orlop_image::Error::Source { .. }),
            Error::Hosts { .. }
            | Error::Credentials(_)
            | Error::Denied { .. }
            | Error::Protocol { .. }
            | Error::TooLong { .. }
            | Error::Platform { .. } => false,
        }
    }

    /// The failure as an answer about the image `name`.
    #[must_use]
    pub fn report(&self, name: &str) -> Report {
        let source = std::error::Error::source(self).map(|cause| format!("{self}: {cause}"));
        let report = Report::new(self.kind(), "pull", name, source.unwrap_or_else(|| self.to_string()));
        if self.kind() == Kind::Denied {
            report.advise("check the image's name and the pull secret")
        } else if matches!(self, Error::Status { status: 429, .. }) {
            report.advise("the registry limits how often it is asked: wait, use a pull secret, or a mirror")
        } else if matches!(self, Error::Connection { .. } | Error::Stalled { .. }) {
            report.advise("check the network and the registry's hosts.toml")
        } else {
            report
        }
    }
}

impl From<&Error> for Report {
    fn from(error: &Error) -> Self {
        error.report("")
    }
}

impl From<Error> for Report {
    fn from(error: Error) -> Self {
        error.report("")
    }
}

/// A registry's words, fit to be printed.
pub(crate) fn said(bytes: &[u8]) -> String {
    const LONGEST: usize = 1 << 10;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST)]);
    let mut shown = String::new();
    for character in text.trim().chars() {
        let before = shown.len();
        shown.extend(character.escape_debug());
        if shown.len() > LONGEST {
            shown.truncate(before);
            break;
        }
    }
    // Quotes are what JSON is made of: escaped they would only be harder to read.
    shown.replace("\\\"", "\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_words_are_cut_and_escaped() {
        assert_eq!(said(b" {\"errors\":[]}\n"), "{\"errors\":[]}");
        assert_eq!(said(b"a\x1b[31m\nb\xff"), "a\\u{1b}[31m\\nb\u{fffd}");
        assert!(said(&vec![b'x'; 1 << 20]).len() <= 1 << 10);
        assert!(said(&vec![0x1b; 1 << 20]).len() <= 1 << 10);
    }
}
