//! A file's content.
//!
//! *Invariant:* plain data, checked when it was read.

use std::fmt;

use crate::version;

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    /// Which line, from 1.
    pub line: usize,
    /// Which value, as a path through the file; empty: the file as a whole.
    pub place: String,
    /// What is wrong there.
    pub cause: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.cause)
    }
}

/// The devices of one vendor and class that a file describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    /// `vendor.com/class`.
    pub(crate) kind: String,
    pub(crate) devices: Vec<Device>,
    /// What each of them needs beside its own.
    pub(crate) edits: Edits,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) edits: Edits,
}

impl Content {
    /// Reads a file's bytes, JSON or YAML.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let (content, facts) = crate::read::content(&crate::tree::parse(bytes)?)?;
        version::check(&content, &facts)?;
        Ok(content)
    }
}

/// What is changed in a container's spec.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edits {
    pub(crate) env: Vec<String>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) net_devices: Vec<NetDevice>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) hooks: Vec<Hook>,
    pub(crate) rdt: Option<Rdt>,
    pub(crate) gids: Vec<u32>,
}

impl Edits {
    /// Whether nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Edits::default()
    }

    /// All of another, after these.
    pub(crate) fn append(&mut self, other: &Edits) {
        self.env.extend_from_slice(&other.env);
        self.nodes.extend_from_slice(&other.nodes);
        self.net_devices.extend_from_slice(&other.net_devices);
        self.mounts.extend_from_slice(&other.mounts);
        self.hooks.extend_from_slice(&other.hooks);
        self.gids.extend_from_slice(&other.gids);
        if other.rdt.is_some() {
            self.rdt.clone_from(&other.rdt);
        }
    }
}

/// A device node. What is not said is as the node has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Node {
    pub(crate) path: String,
    /// Empty: the same path.
    pub(crate) host_path: String,
    /// `b`, `c`, `u`, `p`, or empty.
    pub(crate) kind: String,
    pub(crate) major: i64,
    pub(crate) minor: i64,
    pub(crate) mode: Option<u32>,
    /// Of r, w and m; empty: all; `none`: none.
    pub(crate) permissions: String,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
}

/// An interface of the node that becomes the container's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NetDevice {
    pub(crate) host: String,
    pub(crate) name: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) kind: String,
    pub(crate) options: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hook {
    pub(crate) point: Point,
    pub(crate) path: String,
    pub(crate) args: Option<Vec<String>>,
    pub(crate) env: Option<Vec<String>>,
    pub(crate) timeout: Option<i64>,
}

/// When a hook is run, by the OCI spec's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

impl Point {
    pub(crate) const ALL: [(&str, Point); 6] = [
        ("prestart", Point::Prestart),
        ("createRuntime", Point::CreateRuntime),
        ("createContainer", Point::CreateContainer),
        ("startContainer", Point::StartContainer),
        ("poststart", Point::Poststart),
        ("poststop", Point::Poststop),
    ];
}

/// Intel's resource director: how caches and memory's bandwidth are shared out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Rdt {
    pub(crate) class: String,
    pub(crate) l3: String,
    pub(crate) bandwidth: String,
    pub(crate) schemata: Option<Vec<String>>,
    pub(crate) monitoring: bool,
}
