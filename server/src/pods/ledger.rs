//! What was made for a pod or a container and must come down again.
//!
//! A text file of one line a deed: `+ KIND NAME` before a thing is made, `- KIND NAME` after it is gone, `! WORD` for what was
//! decided (`stop`, `remove`). Each line is one write(2), so that a killed daemon leaves whole lines.
//!
//! *Invariant:* an entry is in the file before the thing exists and leaves it after the thing is gone. So whatever happens in
//! between, a walk from the last entry to the first leaves nothing behind, and walking twice does no harm.

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use orlop_model::report::{Kind, Report};

/// A thing of the node that has to be taken down.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Thing {
    /// The namespaces and `/dev/shm` in the room.
    Room,
    /// The pin of the network namespace.
    Netns(PathBuf),
    /// Addresses of the built-in network.
    Lease,
    /// The host's end of the veth pair.
    Veth(String),
    /// Ports of the node.
    HostPorts,
    /// What CNI plugins made; their record has the rest.
    Attachment,
    /// The first process of a shared PID namespace.
    Init,
    /// Directory of a container's own layer.
    Layer(PathBuf),
    /// The hold on an image.
    Image(String),
    /// Hooks that are to be run after the end.
    Poststop,
    /// A cgroup.
    Cgroup(PathBuf),
    /// The pod's own cgroup, in every hierarchy.
    Group(String),
    /// The shim.
    Shim,
    /// What a runtime of others has of it.
    Runtime,
    /// A cgroup whose processes stand still while they are written down.
    Frozen(PathBuf),
    /// Directory in which a container is written down.
    Dump(PathBuf),
    /// A file that is not whole yet, at a place that is somebody else's.
    Partial(PathBuf),
}

impl Thing {
    /// Its kind in a word.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Thing::Room => "room",
            Thing::Netns(_) => "netns",
            Thing::Lease => "lease",
            Thing::Veth(_) => "veth",
            Thing::HostPorts => "hostports",
            Thing::Attachment => "attachment",
            Thing::Init => "init",
            Thing::Layer(_) => "layer",
            Thing::Image(_) => "image",
            Thing::Poststop => "poststop",
            Thing::Cgroup(_) => "cgroup",
            Thing::Group(_) => "group",
            Thing::Shim => "shim",
            Thing::Runtime => "runtime",
            Thing::Frozen(_) => "frozen",
            Thing::Dump(_) => "dump",
            Thing::Partial(_) => "partial",
        }
    }

    fn parse(kind: &str, name: &str) -> Option<Self> {
        Some(match kind {
            "room" => Thing::Room,
            "netns" => Thing::Netns(name.into()),
            "lease" => Thing::Lease,
            "veth" => Thing::Veth(name.into()),
            "hostports" => Thing::HostPorts,
            "attachment" => Thing::Attachment,
            "init" => Thing::Init,
            "layer" => Thing::Layer(name.into()),
            "image" => Thing::Image(name.into()),
            "poststop" => Thing::Poststop,
            "cgroup" => Thing::Cgroup(name.into()),
            "group" => Thing::Group(name.into()),
            "shim" => Thing::Shim,
            "runtime" => Thing::Runtime,
            "frozen" => Thing::Frozen(name.into()),
            "dump" => Thing::Dump(name.into()),
            "partial" => Thing::Partial(name.into()),
            _ => return None,
        })
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match self {
            Thing::Netns(path)
            | Thing::Layer(path)
            | Thing::Cgroup(path)
            | Thing::Frozen(path)
            | Thing::Dump(path)
            | Thing::Partial(path) => {
                write!(f, "{kind} {}", path.display())
            }
            Thing::Veth(name) | Thing::Image(name) | Thing::Group(name) => write!(f, "{kind} {name}"),
            Thing::Room
            | Thing::Lease
            | Thing::HostPorts
            | Thing::Attachment
            | Thing::Init
            | Thing::Poststop
            | Thing::Shim
            | Thing::Runtime => f.write_str(kind),
        }
    }
}

/// The file name in a pod's or container's state directory.
pub(crate) const FILE: &str = "ledger";

/// The things of one pod or container, in the order of their making.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Of what, for the names of failpoints.
    of: &'static str,
    path: PathBuf,
    standing: Vec<Thing>,
    decided: Vec<String>,
}

impl Ledger {
    /// Opens the ledger in `directory`, with what an earlier daemon wrote there.
    pub(crate) fn open(of: &'static str, directory: &Path) -> Result<Self, Report> {
        let path = directory.join(FILE);
        let failed = |error: std::io::Error| {
            Report::new(Kind::Failed, "open ledger", path.display().to_string(), error)
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(error)),
        };
        let (standing, decided) = read(&text);
        Ok(Ledger { of, path, standing, decided })
    }

    /// Writes down that `thing` will be made.
    pub(crate) fn will(&mut self, thing: Thing) -> Result<(), Report> {
        if !self.standing.contains(&thing) {
            self.write(&format!("+ {thing}\n"))?;
            crate::failpoint::pass(&format!("{}.will.{}", self.of, thing.kind()));
            self.standing.push(thing);
        }
        Ok(())
    }

    /// Writes down that `thing` is gone.
    pub(crate) fn gone(&mut self, thing: &Thing) -> Result<(), Report> {
        crate::failpoint::pass(&format!("{}.gone.{}", self.of, thing.kind()));
        self.write(&format!("- {thing}\n"))?;
        self.standing.retain(|standing| standing != thing);
        Ok(())
    }

    /// Writes down what was decided, so that a killed daemon's successor goes on with it.
    pub(crate) fn decide(&mut self, word: &str) -> Result<(), Report> {
        if !self.has_decided(word) {
            self.write(&format!("! {word}\n"))?;
            crate::failpoint::pass(&format!("{}.decide.{word}", self.of));
            self.decided.push(word.into());
        }
        Ok(())
    }

    /// Whether `word` was decided.
    pub(crate) fn has_decided(&self, word: &str) -> bool {
        self.decided.iter().any(|decided| decided == word)
    }

    /// What still stands, in the order of its making.
    pub(crate) fn standing(&self) -> Vec<Thing> {
        self.standing.clone()
    }

    fn write(&mut self, line: &str) -> Result<(), Report> {
        // Open for the moment only: of tens of thousands of dead containers each has a ledger.
        let open = || std::fs::File::options().append(true).create(true).open(&self.path);
        open().and_then(|mut file| file.write_all(line.as_bytes())).map_err(|error| {
            Report::new(Kind::Failed, "write ledger", self.path.display().to_string(), error)
        })
    }
}

/// What a ledger's text says: standing things, decisions. A line that cannot be read is of a later version: it is left alone.
fn read(text: &str) -> (Vec<Thing>, Vec<String>) {
    let mut standing = Vec::new();
    let mut decided = Vec::new();
    for line in text.lines() {
        let (sign, rest) = line.split_at_checked(2).unwrap_or((line, ""));
        let (kind, name) = rest.split_once(' ').unwrap_or((rest, ""));
        match (sign, Thing::parse(kind, name)) {
            ("+ ", Some(thing)) if !standing.contains(&thing) => standing.push(thing),
            ("- ", Some(thing)) => standing.retain(|other| *other != thing),
            ("! ", _) => decided.push(rest.to_owned()),
            _ => {}
        }
    }
    (standing, decided)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_by_the_next_daemon() {
        let directory = tempfile::tempdir().expect("a directory");
        let cgroup = Thing::Cgroup("/sys/fs/cgroup/cpu/a b".into());
        {
            let mut ledger = Ledger::open("pod", directory.path()).expect("opened");
            for thing in [Thing::Room, Thing::Veth("ve1".into()), cgroup.clone()] {
                ledger.will(thing).expect("written");
            }
            ledger.gone(&Thing::Veth("ve1".into())).expect("written");
            ledger.decide("stop").expect("written");
        }
        let ledger = Ledger::open("pod", directory.path()).expect("opened");
        assert_eq!(ledger.standing(), [Thing::Room, cgroup]);
        assert!(ledger.has_decided("stop") && !ledger.has_decided("remove"));
    }

    #[test]
    fn lines_of_a_later_version_are_left_alone() {
        assert_eq!(read("+ warp 9\n+ lease\n?\n\n"), (vec![Thing::Lease], vec![]));
    }
}
