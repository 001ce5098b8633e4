//! Small files of an image's root that the runtime itself reads, `/etc/passwd` first of all.
//!
//! *Invariant:* a stranger chose what is there. Only a regular file is opened, and never more than the caller's limit is read.

use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use crate::error::{Error, shown};
use crate::view::{Found, View};

/// Reads `path` in the layers `roots`, topmost first, if it is there.
pub(crate) fn read(roots: Vec<OwnedFd>, path: &str, most: u64) -> Result<Option<Vec<u8>>, Error> {
    let path = path.trim_start_matches('/');
    let unfit = |why| Error::InRoot { path: shown(path.as_bytes()), why };
    let failed = |errno: Errno| match errno {
        Errno::LOOP => unfit("more than 40 links on the way"),
        Errno::NAMETOOLONG => unfit("links lead too deep"),
        errno => Error::io("read in the image", std::path::Path::new(path), errno),
    };
    let (side, name, stat) =
        match View::new(roots).and_then(|view| view.find(path.as_bytes(), true)).map_err(failed)? {
            Found::Nothing => return Ok(None),
            Found::Directory(_) => return Err(unfit("is a directory, not a file")),
            Found::Other { side, name, stat } => (side, name, stat),
        };
    check(stat.st_mode, stat.st_size, most).map_err(unfit)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(&*side.directory, name, flags, Mode::empty()).map_err(failed)?;
    // Layers do not change, so this is the file that was looked at; it costs nothing to be sure.
    let stat = fstat(&file).map_err(failed)?;
    check(stat.st_mode, stat.st_size, most).map_err(unfit)?;
    let mut bytes = Vec::new();
    let read = std::fs::File::from(file).take(most).read_to_end(&mut bytes);
    read.map_err(|source| Error::io("read in the image", std::path::Path::new(path), source))?;
    Ok(Some(bytes))
}

fn check(mode: u32, size: i64, most: u64) -> Result<(), &'static str> {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile if u64::try_from(size).is_ok_and(|size| size <= most) => Ok(()),
        FileType::RegularFile => Err("is larger than the runtime reads"),
        FileType::Directory => Err("is a directory, not a file"),
        FileType::Fifo => Err("is a pipe, not a file"),
        FileType::Socket => Err("is a socket, not a file"),
        FileType::CharacterDevice | FileType::BlockDevice => Err("is a device, not a file"),
        FileType::Symlink | FileType::Unknown => Err("is no file"),
    }
}
