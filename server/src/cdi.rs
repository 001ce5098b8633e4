//! Devices by name: the node's CDI files.
//!
//! *Invariant:* a container gets what the files say at the moment at which it is created, all of it or nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use orlop_cdi::{Edits, HostNode, Registry, Source};
use orlop_model::container::NamedDevice;
use orlop_model::report::Report;
use rustix::fs::FileType;

use crate::watched::{Found, Watched};

/// The devices of the node's CDI files.
pub(crate) struct Cdi {
    directories: Vec<PathBuf>,
    files: Arc<Watched<Registry>>,
}

fn registry(found: Vec<Found>) -> Registry {
    let source = |Found { path, directory, bytes }| Source { path, directory, bytes };
    Registry::new(found.into_iter().map(source).collect())
}

fn tell(registry: &Registry) {
    let (devices, files) = (registry.devices().count(), registry.files().count());
    if files != 0 {
        tracing::info!(devices, files, "CDI devices");
    }
    for fault in registry.faults() {
        tracing::warn!("CDI: {fault}");
    }
}

impl Cdi {
    /// Of the files of these directories; the last one counts most.
    pub(crate) fn new(directories: &[PathBuf]) -> Self {
        let files = Watched::new(directories.to_vec(), Registry::takes, registry);
        Cdi { directories: directories.to_vec(), files }
    }

    /// Watches them from now on.
    pub(crate) fn begin(&self) {
        self.files.begin(tell);
    }

    /// What a container needs that is to have these devices. May block.
    ///
    /// # Errors
    /// The first that is not to be had, by the field that asks for it.
    pub(crate) fn edits(&self, devices: &[NamedDevice]) -> Result<Edits, Report> {
        if devices.is_empty() {
            return Ok(Edits::default());
        }
        let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
        // Whoever has just written a file may ask for its device at once.
        self.files.look().edits(&names).map_err(|(at, cause)| {
            let device = &devices[at];
            let looked: Vec<String> = self.directories.iter().map(|one| one.display().to_string()).collect();
            Report::field(&device.field, &device.name, cause)
                .advise(format!("CDI files are looked for in {}", looked.join(", ")))
        })
    }

    /// What is known of them, for people.
    pub(crate) fn facts(&self) -> serde_json::Value {
        let registry = self.files.last();
        serde_json::json!({
            "directories": self.directories,
            "newestVersion": orlop_cdi::NEWEST,
            "files": registry.files().collect::<Vec<_>>(),
            "devices": registry.devices().collect::<Vec<_>>(),
            "faults": registry.faults(),
        })
    }
}

/// What a path of the node is. A link is none: whoever made it may lead it elsewhere.
pub(crate) fn look(path: &Path) -> Result<HostNode, String> {
    let stat = rustix::fs::lstat(path).map_err(|errno| errno.to_string())?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::BlockDevice => 'b',
        FileType::CharacterDevice => 'c',
        FileType::Fifo => 'p',
        _ => return Err("it is no device".into()),
    };
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    Ok(HostNode { kind, major, minor, mode: stat.st_mode & 0o7777 })
}
