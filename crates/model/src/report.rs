//! What went wrong, in the four words that a person at night needs: stage, object, cause, advice.
//!
//! *Invariant:* `Display` never repeats its cause, and no gRPC code is chosen here: the server's edge does that in one file, from
//! the kind.

use std::fmt;

/// What class of thing went wrong; the edge maps it to a gRPC code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request asks for something that cannot be.
    BadRequest,
    /// What is asked for is not there.
    NotFound,
    /// The state of things does not allow it now: the container is not running, the pod is being removed.
    WrongState,
    /// What came from outside is not what it says it is: a digest or size that does not fit.
    Corrupt,
    /// The machine lacks what it takes, for now.
    Exhausted,
    /// Something outside did not do its part in time.
    TimedOut,
    /// Something outside refuses us: a registry's 401 or 403.
    Denied,
    /// Something outside cannot be reached or fails: a plugin, a port.
    Unavailable,
    /// What is asked for was there once and is no longer kept.
    TooOld,
    /// A registry cannot be reached or fails.
    NoRegistry,
    /// This version or machine cannot do it.
    Unsupported,
    /// Anything else that failed.
    Failed,
}

/// One failure, ready to be read by a person and to be acted upon by kubelet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What class it is.
    pub kind: Kind,
    /// What was being done: `mount`, `pull`; or the field of a request: `config.metadata.name`.
    pub stage: String,
    /// To what: a path, an id, a name. May be empty.
    pub object: String,
    /// Because of what.
    pub cause: String,
    /// What would help, where we know.
    pub advice: Option<String>,
}

impl Report {
    /// A failure of `kind` while doing `stage` to `object`.
    #[must_use]
    pub fn new(
        kind: Kind,
        stage: impl Into<String>,
        object: impl Into<String>,
        cause: impl fmt::Display,
    ) -> Self {
        Report { kind, stage: stage.into(), object: object.into(), cause: cause.to_string(), advice: None }
    }

    /// The same with what would help.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// A field of a request whose `value` cannot be; `cause` says why.
    #[must_use]
    pub fn field(field: impl Into<String>, value: impl fmt::Display, cause: impl fmt::Display) -> Self {
        // A value may be long or hold anything: it is shown short and escaped.
        let shown: String = value.to_string().chars().take(128).flat_map(char::escape_debug).collect();
        Report::new(Kind::BadRequest, field, format!("\"{shown}\""), cause)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.stage)?;
        if !self.object.is_empty() {
            write!(f, " {}", self.object)?;
        }
        write!(f, ": {}", self.cause)?;
        self.advice.as_ref().map_or(Ok(()), |advice| write!(f, "; {advice}"))
    }
}

impl std::error::Error for Report {}
