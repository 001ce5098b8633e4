//! The filesystem that containers write to, and what disks are called.
//!
//! *Invariant:* names are of the machine's, found once; a disk without a name is called by its number.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The filesystem, and the disks that were asked for.
pub(crate) struct Disk {
    path: PathBuf,
    device: String,
    names: Mutex<HashMap<(u32, u32), String>>,
}

/// How full a filesystem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Room {
    /// Bytes that it holds in all.
    pub(crate) bytes: u64,
    /// Inodes that it holds in all; 0 where it has no such number.
    pub(crate) inodes: u64,
    /// Inodes that are free.
    pub(crate) inodes_free: u64,
}

impl Disk {
    /// That of a directory.
    pub(crate) fn of(path: &Path) -> Self {
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let device = source(&mountinfo, path).unwrap_or_default();
        Disk { path: path.to_owned(), device, names: Mutex::default() }
    }

    /// What is mounted there: `/dev/vda1`.
    pub(crate) fn device(&self) -> &str {
        &self.device
    }

    /// How full it is; none if it does not say.
    pub(crate) fn room(&self) -> Option<Room> {
        let said = rustix::fs::statvfs(&self.path).ok()?;
        Some(Room {
            bytes: said.f_blocks.saturating_mul(said.f_frsize),
            inodes: said.f_files,
            inodes_free: said.f_ffree,
        })
    }

    /// What the disk of this number is called: `/dev/vda`.
    pub(crate) fn name(&self, major: u32, minor: u32) -> String {
        let mut names = self.names.lock().expect("invariant: nothing panics while it holds the names");
        let find = || {
            let number = format!("{major}:{minor}");
            let link = std::fs::read_link(format!("/sys/dev/block/{number}")).ok();
            let name = link.as_ref().and_then(|path| path.file_name()).and_then(|name| name.to_str());
            name.map_or(number, |name| format!("/dev/{name}"))
        };
        names.entry((major, minor)).or_insert_with(find).clone()
    }
}

/// The source of the mount that `path` lies on: the last one of those with the longest mount point above it.
fn source(mountinfo: &str, path: &Path) -> Option<String> {
    let mount = |line: &str| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let point = PathBuf::from(mount.split(' ').nth(4)?);
        let length = point.components().count();
        path.starts_with(&point)
            .then(|| (length, filesystem.split(' ').nth(1).unwrap_or_default().to_owned()))
    };
    mountinfo.lines().filter_map(mount).max_by_key(|(length, _)| *length).map(|(_, source)| source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_lies_on_the_innermost_mount_above_it() {
        let mountinfo = "1 0 8:1 / / rw shared:1 - ext4 /dev/vda1 rw\n\
                         2 1 8:2 / /var rw - ext4 /dev/vdb rw\n\
                         3 1 0:5 / /var/lib/other rw - tmpfs tmpfs rw\n\
                         4 1 8:3 / /var rw - xfs /dev/vdc rw\n";
        assert_eq!(source(mountinfo, Path::new("/var/lib/orlop")).as_deref(), Some("/dev/vdc"));
        assert_eq!(source(mountinfo, Path::new("/variable")).as_deref(), Some("/dev/vda1"));
        assert_eq!(source("", Path::new("/")), None);
    }

    #[test]
    fn the_filesystem_says_how_large_it_is() {
        let disk = Disk::of(Path::new("/proc/self"));
        assert_eq!((disk.device(), disk.room().is_some()), ("proc", true));
        assert_eq!(disk.name(0, 0), "0:0");
    }
}
