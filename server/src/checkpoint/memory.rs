//! The pod's `/dev/shm`: memory that its containers share, and CRIU takes for files of a volume.
//!
//! *Invariant:* at a restore nothing is put over what is there.

use std::fs::File;
use std::io::{BufWriter, ErrorKind};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use orlop_image::pack::{Changes, Pack};
use orlop_model::report::{Kind, Report};

use super::note::{self, file};
use crate::pods::Core;

/// Directories in it are not deeper.
const DEEPEST: usize = 32;

fn place(held: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/.", held.as_raw_fd()))
}

/// Writes what is in it to the archive `path`.
///
/// # Errors
/// If it cannot be read, or the disk does not take it.
pub(super) fn pack(held: &OwnedFd, path: &Path) -> Result<(), Report> {
    let failed =
        |error: std::io::Error| Report::new(Kind::Failed, "write", path.display().to_string(), error);
    let out = File::options().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let mut pack = Pack::new(BufWriter::new(out), path);
    let from = place(held);
    Changes::new(&from, &[]).and_then(|changes| changes.pack(&mut pack)).map_err(Report::from)?;
    pack.end().map(drop).map_err(Report::from)
}

/// Puts what the archive in `directory` has there, if it has one; `scratch` is a directory of one's own on the store's file system.
///
/// # Errors
/// If the archive is damaged, or the memory does not take it.
pub(super) fn unpack(core: &Core, directory: &Path, scratch: &Path, held: &OwnedFd) -> Result<(), Report> {
    let Some(archive) = note::open(directory, file::SHARED)? else { return Ok(()) };
    let tree = scratch.join("shm");
    let allowed = orlop_image::Allowed::Files;
    core.images.store.unpack_loose(file::SHARED, archive, &tree, allowed, &[]).map_err(Report::from)?;
    let copied = copy(&tree, &place(held), 0);
    let _ = std::fs::remove_dir_all(&tree);
    copied.map_err(|error| Report::new(Kind::Failed, "restore", "/dev/shm", error))
}

fn copy(from: &Path, to: &Path, depth: usize) -> std::io::Result<()> {
    if depth > DEEPEST {
        return Err(std::io::Error::other("directories are more than 32 deep"));
    }
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let metadata = entry.metadata()?;
        let made = if metadata.is_dir() {
            match std::fs::DirBuilder::new().mode(0o700).create(&target) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                made => {
                    // One that a container of the pod has put there may be a link to elsewhere.
                    if !std::fs::symlink_metadata(&target)?.is_dir() {
                        continue;
                    }
                    copy(&source, &target, depth + 1)?;
                    made.is_ok()
                }
            }
        } else {
            match File::options().write(true).create_new(true).mode(0o600).open(&target) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
                opened => {
                    std::io::copy(&mut File::open(&source)?, &mut opened?)?;
                    true
                }
            }
        };
        if made {
            std::os::unix::fs::chown(&target, Some(metadata.uid()), Some(metadata.gid()))?;
            std::fs::set_permissions(&target, std::fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
        }
    }
    Ok(())
}
