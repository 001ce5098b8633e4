//! What this runtime reads of an archive of its own: a file beside those that others read.
//!
//! *Invariant:* it comes from outside: what is read of it is checked before anything is done with it. An archive without it was made by
//! another runtime, whose mounts and namespaces are not those of a plan.

use std::path::{Path, PathBuf};

use orlop_model::report::{Kind, Report};
use orlop_wire::code::Wire as _;
use orlop_wire::plan::{Operation, Plan};
use serde_json::{Value, json};

use super::sight::Sight;

/// Names in an archive; those that others know are of `checkpointctl`'s `lib/metadata.go`, podman and CRI-O.
pub(super) mod file {
    /// CRIU's images.
    pub(crate) const IMAGES: &str = "checkpoint";
    /// Which container it was.
    pub(crate) const CONFIG: &str = "config.dump";
    /// Its OCI spec.
    pub(crate) const SPEC: &str = "spec.dump";
    /// Its status, as CRI has it.
    pub(crate) const STATUS: &str = "status.dump";
    /// Its times, as containerd writes them.
    pub(crate) const TIMES: &str = "status";
    /// Its addresses.
    pub(crate) const NETWORK: &str = "network.status";
    /// Its bind mounts, and whether each is a file.
    pub(crate) const BINDS: &str = "bind.mounts";
    /// What it changed in its root.
    pub(crate) const CHANGES: &str = "rootfs-diff.tar";
    /// What it removed from its root.
    pub(crate) const DELETED: &str = "deleted.files";
    /// Its pod's `/dev/shm`.
    pub(crate) const SHARED: &str = "devshm-checkpoint.tar";
    /// What CRIU said.
    pub(crate) const LOG: &str = "dump.log";
    /// What CRIU counted.
    pub(crate) const STATISTICS: &str = "stats-dump";
    /// The container's own log.
    pub(crate) const OUTPUT: &str = "io.kubernetes.cri-o.LogPath";
    /// What this runtime needs beyond all that.
    pub(crate) const NOTE: &str = "orlop.json";
    /// The plan by which it was made.
    pub(crate) const PLAN: &str = "orlop.plan";
}

/// Of the note.
const VERSION: u64 = 1;
/// No file that is read whole is longer.
const LONGEST: u64 = 16 << 20;

/// What was noted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Note {
    pub(super) sight: Sight,
    /// Whether a terminal served its streams.
    pub(super) terminal: bool,
    /// The architecture of the machine.
    pub(super) machine: String,
}

impl Note {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "version": VERSION,
            "machine": self.machine,
            "terminal": self.terminal,
            "mounts": self.sight.mounts,
            "nulls": self.sight.nulls,
            "streams": self.sight.streams,
        })
    }

    /// Reads that of the archive that lies in `directory`.
    ///
    /// # Errors
    /// If there is none, or it says what cannot be.
    pub(super) fn read(directory: &Path) -> Result<Self, Report> {
        let bad = |cause: &str| Report::new(Kind::Corrupt, "read checkpoint", file::NOTE, cause);
        let Some(bytes) = read(directory, file::NOTE)? else {
            let cause = "it was made by another runtime; this one restores what it has written itself";
            return Err(Report::new(Kind::Unsupported, "read checkpoint", file::NOTE, cause));
        };
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| bad(&error.to_string()))?;
        match value["version"].as_u64() {
            Some(VERSION) => {}
            other => {
                let cause =
                    format!("it is of version {}, this runtime reads {VERSION}", other.unwrap_or_default());
                return Err(Report::new(Kind::Unsupported, "read checkpoint", file::NOTE, cause));
            }
        }
        let note = Note {
            sight: Sight {
                mounts: texts(&value["mounts"]).ok_or_else(|| bad("its mounts are no list of paths"))?,
                nulls: texts(&value["nulls"]).ok_or_else(|| bad("its covered files are no list of paths"))?,
                streams: streams(&value["streams"]).ok_or_else(|| bad("its streams are none"))?,
            },
            terminal: value["terminal"]
                .as_bool()
                .ok_or_else(|| bad("it does not say whether there was a terminal"))?,
            machine: value["machine"].as_str().unwrap_or_default().to_owned(),
        };
        if note.machine != std::env::consts::ARCH {
            let cause =
                format!("it is of a machine of kind {:?}", note.machine.chars().take(32).collect::<String>());
            return Err(Report::new(Kind::Unsupported, "read checkpoint", file::NOTE, cause));
        }
        Ok(note)
    }
}

/// Mount points, absolute and plain: they become arguments and paths.
fn texts(value: &Value) -> Option<Vec<String>> {
    let plain = |text: &str| {
        let parts = || text.split('/').skip(1);
        text.starts_with('/')
            && !text.contains([']', '\0', ','])
            && parts().all(|part| !matches!(part, "" | "." | ".."))
    };
    value.as_array()?.iter().map(|text| text.as_str().filter(|text| plain(text)).map(str::to_owned)).collect()
}

fn streams(value: &Value) -> Option<[Option<String>; 3]> {
    let plain = |text: &str| {
        let inner =
            ["pipe:[", "file[", "tty["].iter().find_map(|kind| text.strip_prefix(kind)?.strip_suffix(']'));
        inner.is_some_and(|inner| inner.chars().all(|letter| letter.is_ascii_hexdigit() || letter == ':'))
    };
    let one = |value: &Value| match value {
        Value::Null => Some(None),
        value => value.as_str().filter(|text| plain(text)).map(|text| Some(text.to_owned())),
    };
    let all: Vec<_> = value.as_array()?.iter().map(one).collect::<Option<_>>()?;
    all.try_into().ok()
}

/// A file of an archive; `None` if it is not there. It is a regular file, and none of its path is a link.
///
/// # Errors
/// If it is another thing, too long, or cannot be read.
pub(super) fn read(directory: &Path, name: &str) -> Result<Option<Vec<u8>>, Report> {
    use std::io::Read as _;
    let Some(file) = open(directory, name)? else { return Ok(None) };
    let failed = |cause: String| Report::new(Kind::Corrupt, "read checkpoint", name, cause);
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > LONGEST { Err(failed("it has more than 16 MiB".into())) } else { Ok(Some(bytes)) }
}

/// The same, opened.
///
/// # Errors
/// As there.
pub(super) fn open(directory: &Path, name: &str) -> Result<Option<std::fs::File>, Report> {
    use rustix::fs::{Mode, OFlags, ResolveFlags};
    let failed = |cause: String| Report::new(Kind::Corrupt, "read checkpoint", name, cause);
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let above =
        rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let above = above.map_err(|errno| failed(errno.to_string()))?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match rustix::fs::openat2(&above, name, flags, Mode::empty(), resolve) {
        Ok(file) => {
            let file = std::fs::File::from(file);
            let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
            if is_file { Ok(Some(file)) } else { Err(failed("it is no regular file".into())) }
        }
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(errno) => Err(failed(errno.to_string())),
    }
}

/// The plan by which the container was made.
///
/// # Errors
/// If it is not there or cannot be read.
pub(super) fn plan(directory: &Path) -> Result<Plan, Report> {
    let failed = |cause: String| Report::new(Kind::Corrupt, "read checkpoint", file::PLAN, cause);
    let bytes = read(directory, file::PLAN)?.ok_or_else(|| failed("it is not there".into()))?;
    Plan::from_bytes(&bytes).map_err(|malformed| failed(malformed.to_string()))
}

/// CRIU's images: a directory with regular files alone.
///
/// # Errors
/// If it is another thing.
pub(super) fn images(directory: &Path) -> Result<PathBuf, Report> {
    let path = directory.join(file::IMAGES);
    let failed = |cause: String| Report::new(Kind::Corrupt, "read checkpoint", file::IMAGES, cause);
    let is_directory = std::fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
    if !is_directory {
        return Err(failed("there is no such directory".into()));
    }
    for entry in std::fs::read_dir(&path).map_err(|error| failed(error.to_string()))? {
        let entry = entry.map_err(|error| failed(error.to_string()))?;
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            return Err(failed(format!("{} in it is no regular file", entry.file_name().display())));
        }
    }
    Ok(path)
}

/// Which operations say what a process may do: what is restored may do no more than the request of today allows.
pub(super) fn is_confinement(operation: &Operation) -> bool {
    use Operation as O;
    matches!(
        operation,
        O::Attribute { .. }
            | O::Bounding { .. }
            | O::Become { .. }
            | O::Capabilities { .. }
            | O::NoNewPrivileges
            | O::Seccomp { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note() -> Note {
        Note {
            sight: Sight {
                mounts: vec!["/dev".into(), "/vol".into()],
                nulls: vec!["/proc/kcore".into()],
                streams: [Some("file[12:3]".into()), Some("pipe:[77]".into()), None],
            },
            terminal: false,
            machine: std::env::consts::ARCH.into(),
        }
    }

    fn put(value: &Value) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join(file::NOTE), value.to_string()).expect("written");
        directory
    }

    #[test]
    fn what_is_noted_is_read() {
        assert_eq!(Note::read(put(&note().to_json()).path()), Ok(note()));
    }

    #[test]
    fn a_note_that_lies_is_refused() {
        let empty = tempfile::tempdir().expect("a directory");
        assert_eq!(Note::read(empty.path()).expect_err("none").kind, Kind::Unsupported);
        for (key, value, kind) in [
            ("version", json!(2), Kind::Unsupported),
            ("version", json!("1"), Kind::Unsupported),
            ("machine", json!("pdp11"), Kind::Unsupported),
            ("mounts", json!(["vol"]), Kind::Corrupt),
            ("mounts", json!(["/a/../../etc"]), Kind::Corrupt),
            ("mounts", json!(["/a]:/etc"]), Kind::Corrupt),
            ("mounts", json!("/a"), Kind::Corrupt),
            ("streams", json!([null, null]), Kind::Corrupt),
            ("streams", json!([null, null, "pipe:[1] --root /"]), Kind::Corrupt),
            ("streams", json!([null, "net[1]", null]), Kind::Corrupt),
            ("terminal", json!(1), Kind::Corrupt),
        ] {
            let mut changed = note().to_json();
            changed[key] = value.clone();
            let report = Note::read(put(&changed).path()).expect_err("refused");
            assert_eq!(report.kind, kind, "{key} = {value}: {report}");
        }
    }

    #[test]
    fn nothing_is_read_through_a_link() {
        let directory = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink("/etc/hostname", directory.path().join(file::NOTE)).expect("a link");
        assert_eq!(Note::read(directory.path()).expect_err("a link").kind, Kind::Corrupt);
        std::fs::create_dir(directory.path().join(file::IMAGES)).expect("made");
        images(directory.path()).expect("no file in it yet");
        std::os::unix::fs::symlink("/etc/hostname", directory.path().join("checkpoint/core-1.img"))
            .expect("a link");
        assert_eq!(images(directory.path()).expect_err("a link").kind, Kind::Corrupt);
    }
}
