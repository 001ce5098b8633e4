//! What can go wrong, and how it is told to the server.
//!
//! *Invariant:* `Display` says the step and the object, never the cause again: that is the source.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use orlop_model::report::{Kind, Report};

use crate::cni::Failure;
use crate::netlink::Refused;

/// What went wrong in the pod network.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that cannot be.
    #[error("network setting {field} \"{value}\"")]
    Setting {
        /// Its key.
        field: &'static str,
        /// What it was set to.
        value: String,
        /// What is wrong with it.
        #[source]
        why: BadSetting,
    },
    /// A text that is no owner: owners name files.
    #[error("owner \"{0}\": not 1 to 64 lower-case letters, digits or hyphens")]
    Owner(String),
    /// The kernel refused.
    #[error("{step} {object}")]
    Kernel {
        /// What was asked of it.
        step: &'static str,
        /// For what.
        object: String,
        /// Its answer.
        #[source]
        source: Refused,
    },
    /// A record could not be read or written.
    #[error("{step} {path}")]
    File {
        /// What was to be done.
        step: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it was not.
        #[source]
        source: io::Error,
    },
    /// Every address of the subnet is leased.
    #[error("no address of {subnet} is free: all {leased} are leased")]
    Exhausted {
        /// The subnet.
        subnet: String,
        /// How many there are for pods.
        leased: usize,
    },
    /// The host port belongs to another pod.
    #[error("host port {port} ({protocol}, {address}) is taken by pod {owner}")]
    PortTaken {
        /// The port of the node.
        port: u16,
        /// `tcp`, `udp` or `sctp`.
        protocol: &'static str,
        /// The node's address that was asked for; unspecified: all of them.
        address: IpAddr,
        /// Who has it.
        owner: String,
    },
    /// A host port that cannot be.
    #[error("host port {port}: {why}")]
    Port {
        /// The port of the node.
        port: u16,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A link of the bridge's name is there and not of our making.
    #[error("link {link} exists and is not this instance's: {found}")]
    NotOurs {
        /// Its name.
        link: String,
        /// What it is instead.
        found: String,
    },
    /// The subnet is in use elsewhere on this node.
    #[error("subnet {subnet} overlaps the node's route to {route}")]
    Overlap {
        /// The bridge's subnet.
        subnet: String,
        /// The route that was there before.
        route: String,
    },
    /// No CNI configuration can be used.
    #[error("{reason}: {message}")]
    NotReady {
        /// In a word.
        reason: String,
        /// What is wrong, and where.
        message: String,
    },
    /// A CNI plugin did not do what it was asked for.
    #[error(transparent)]
    Plugin(#[from] Box<Failure>),
    /// A CNI plugin did not undo what it had done.
    #[error("{failure}")]
    Detach {
        /// Which, and how.
        failure: Box<Failure>,
        /// The file without which nobody would ask it again.
        record: PathBuf,
    },
    /// CNI plugins made a network in which the pod has no address.
    #[error("the plugins of network {network} gave the pod no address")]
    NoAddress {
        /// The network's name.
        network: String,
    },
    /// The calling thread has left the node's network namespace.
    #[error("the calling thread is not in the network namespace that the bridge was made for")]
    Elsewhere,
}

/// What is wrong with a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSetting {
    /// The kernel takes no such name for a link.
    #[error("a link's name has 1 to 15 characters, no slash, colon or space, and is not a dot")]
    LinkName,
    /// The tag stands in the links' aliases, which are split at the slash.
    #[error("a tag has 1 to 128 printable characters and no slash")]
    Tag,
    /// Every IPv4 address of the bridge needs a twin.
    #[error("it has fewer addresses than the IPv4 subnet")]
    Fewer,
    /// It must be absolute.
    #[error("it is not an absolute path")]
    Relative,
}

impl Error {
    pub(crate) fn kernel(step: &'static str, object: impl Into<String>) -> impl FnOnce(Refused) -> Error {
        let object = object.into();
        move |source| Error::Kernel { step, object, source }
    }

    pub(crate) fn file(step: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::File { step, path, source }
    }

    fn kind(&self) -> Kind {
        match self {
            Error::Setting { .. } | Error::Owner(_) | Error::Port { .. } => Kind::BadRequest,
            Error::Exhausted { .. } => Kind::Exhausted,
            Error::PortTaken { .. } | Error::NotOurs { .. } | Error::Overlap { .. } => Kind::WrongState,
            Error::Plugin(failure) | Error::Detach { failure, .. } if failure.is_late() => Kind::TimedOut,
            Error::NotReady { .. } | Error::Plugin(_) | Error::Detach { .. } => Kind::Unavailable,
            Error::Kernel { .. } | Error::File { .. } | Error::Elsewhere | Error::NoAddress { .. } => {
                Kind::Failed
            }
        }
    }

    fn advice(&self) -> Option<String> {
        let advice = match self {
            Error::Exhausted { .. } => "remove pods, or give the node a larger [network] subnet",
            Error::NotOurs { .. } => "choose another [network] bridge, or delete the link",
            Error::Overlap { .. } => "choose another [network] subnet",
            Error::PortTaken { .. } => "remove that pod, or use another host port",
            Error::NotReady { .. } => "pods of the node's own network run without it",
            Error::Detach { record, .. } => {
                return Some(format!(
                    "tried again at each stop; mend the plugin, or remove {} to give up what it holds",
                    record.display()
                ));
            }
            Error::Setting { .. }
            | Error::Owner(_)
            | Error::Port { .. }
            | Error::Kernel { .. }
            | Error::File { .. }
            | Error::Plugin(_)
            | Error::NoAddress { .. }
            | Error::Elsewhere => return None,
        };
        Some(advice.to_owned())
    }
}

impl From<Error> for Report {
    fn from(error: Error) -> Report {
        let mut cause = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(inner) = source {
            cause = format!("{cause}: {inner}");
            source = inner.source();
        }
        let report = Report::new(error.kind(), "network", "", cause);
        match error.advice() {
            Some(advice) => report.advise(advice),
            None => report,
        }
    }
}
