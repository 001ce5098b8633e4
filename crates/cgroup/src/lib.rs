//! Cgroups v1, v2 and both at once, behind one type.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`hierarchy`] | what is mounted here, and where a controller lives |
//! | [`mod@plan`] | limits become directories and values, in an order that the kernel accepts |
//! | [`devices`] | which devices may be used: by rules, or by a program |
//! | [`mod@slice`] | where systemd puts its units |
//! | [`update`] | limits of a cgroup in use become others |
//! | [`act`] | making, ending and removing |
//! | [`freeze`] | processes that stand still, and go on |
//! | [`count`] | what the kernel counts |
//!
//! *Invariant:* nobody's processes are moved or killed but those of the directory that was named. Nothing here is remembered: the
//! kernel's own files are the truth.
//!
//! Sources: `Documentation/admin-guide/cgroup-v1/` and `cgroup-v2.rst` of the kernel, cgroups(7).

pub mod act;
pub mod count;
pub mod devices;
pub mod freeze;
pub mod hierarchy;
pub mod plan;
pub mod slice;
pub mod update;

use std::io;
use std::path::PathBuf;

use orlop_model::report::{Kind, Report};

pub use devices::{Access, DeviceRule};
pub use hierarchy::{Hierarchies, Layout};
pub use plan::{Devices, Planned, plan, unsupported};

/// Something that could not be done to a cgroup.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path that is not absolute, leads up, or has an empty part.
    #[error("cgroup path {0:?}: it must be absolute, below the root, without \"..\"")]
    Path(String),
    /// A file name or value with a NUL or a slash where none can be.
    #[error("cgroup value {0:?}: it cannot be written")]
    Value(String),
    /// A directory could not be made.
    #[error("make cgroup {}", directory.display())]
    Make {
        /// Which.
        directory: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused a value.
    #[error("write {value:?} to {}", file.display())]
    Write {
        /// To which file.
        file: PathBuf,
        /// What was to be written.
        value: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel did not take the program that judges devices.
    #[error("judge devices in cgroup {}", directory.display())]
    Devices {
        /// Where.
        directory: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// More memory is in use than a new limit would leave.
    #[error("cgroup {} uses {used} bytes that it cannot give up, {limit} would be left", directory.display())]
    InUse {
        /// Which.
        directory: PathBuf,
        /// Bytes in use that no reclaim frees.
        used: u64,
        /// The limit that was asked for.
        limit: u64,
    },
    /// A file could not be read.
    #[error("read {}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A process could not be sent SIGKILL.
    #[error("kill process {process} in cgroup {}", directory.display())]
    Kill {
        /// Where it is.
        directory: PathBuf,
        /// Its number.
        process: i32,
        /// What the kernel said.
        source: io::Error,
    },
    /// Processes were still there when patience ended.
    #[error("cgroup {} still holds the processes {processes:?}", directory.display())]
    Alive {
        /// Where.
        directory: PathBuf,
        /// Their numbers.
        processes: Vec<i32>,
    },
    /// A directory could not be removed though no process is in it.
    #[error("remove cgroup {}", directory.display())]
    Remove {
        /// Which.
        directory: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl From<Error> for Report {
    fn from(error: Error) -> Self {
        let (kind, stage, object) = match &error {
            Error::Path(path) => (Kind::BadRequest, "cgroup path", path.clone()),
            Error::Value(value) => (Kind::BadRequest, "cgroup value", value.clone()),
            Error::Make { directory, .. } => (Kind::Failed, "make cgroup", directory.display().to_string()),
            Error::Write { file, value, .. } => {
                (Kind::Failed, "cgroup limit", format!("{} = {value}", file.display()))
            }
            Error::Devices { directory, .. } => {
                (Kind::Failed, "cgroup devices", directory.display().to_string())
            }
            Error::InUse { directory, .. } => {
                (Kind::WrongState, "cgroup limit", directory.display().to_string())
            }
            Error::Read { file, .. } => (Kind::Failed, "read cgroup", file.display().to_string()),
            Error::Kill { directory, .. } | Error::Alive { directory, .. } => {
                (Kind::Failed, "end cgroup", directory.display().to_string())
            }
            Error::Remove { directory, .. } => {
                (Kind::Failed, "remove cgroup", directory.display().to_string())
            }
        };
        let cause = match std::error::Error::source(&error) {
            Some(source) => source.to_string(),
            None => error.to_string(),
        };
        Report::new(kind, stage, object, cause)
    }
}
