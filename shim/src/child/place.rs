//! Finds and makes paths inside the root.
//!
//! *Invariant:* every path is resolved by openat2(2) with `RESOLVE_IN_ROOT` and without magic links, whatever symlinks the image
//! has; what is found is held open, so it cannot be swapped before it is mounted on.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Opens a path under `root`, its last symlink followed, as a place (`O_PATH`).
pub(super) fn find(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    open(root, path, OFlags::PATH)
}

/// Opens a path under `root` with `flags`.
pub(super) fn open(root: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // A rename elsewhere on the machine while `..` was resolved; openat2(2) says to try again.
            Err(Errno::AGAIN) if tries < 32 => tries += 1,
            other => return other,
        }
    }
}

/// Whether an open place is a directory.
pub(super) fn is_directory(place: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(place)?.st_mode) == FileType::Directory)
}

/// The longest path that the kernel takes, with its NUL.
const LONGEST: usize = 4096;

/// The directory at `path` under `root`, made with `mode` if it is missing, its parents too.
pub(super) fn directory(root: BorrowedFd<'_>, path: &CStr, mode: u32) -> Result<OwnedFd, Errno> {
    match open(root, path, OFlags::PATH | OFlags::DIRECTORY) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    let bytes = path.to_bytes();
    let mut held = open(root, c".", OFlags::PATH | OFlags::DIRECTORY)?;
    let mut end = 0;
    while end < bytes.len() {
        let rest = &bytes[end..];
        let length = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
        let (start, name) = (end, &rest[..length]);
        end = start + length + 1;
        if name.is_empty() || name == b"." {
            continue;
        }
        let upto = (start + length).min(bytes.len());
        held = step(root, held.as_fd(), &bytes[..upto], name, mode)?;
    }
    Ok(held)
}

/// One part of a path: opened from the root (its symlinks may be absolute), or made in the directory before it.
fn step(
    root: BorrowedFd<'_>,
    before: BorrowedFd<'_>,
    upto: &[u8],
    name: &[u8],
    mode: u32,
) -> Result<OwnedFd, Errno> {
    let mut buffer = [0; LONGEST];
    let upto = terminated(upto, &mut buffer)?;
    match open(root, upto, OFlags::PATH | OFlags::DIRECTORY) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    let mut buffer = [0; LONGEST];
    let name = terminated(name, &mut buffer)?;
    match rustix::fs::mkdirat(before, name, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    // If a symlink that leads nowhere has the name, this fails: nothing is made behind it.
    open(before, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW)
}

/// The file at `path` under `root`, made empty if it is missing, its parents too.
pub(super) fn file(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    match find(root, path) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    let (parent, name) = split(path);
    let mut buffer = [0; LONGEST];
    let held = parent_of(root, parent, &mut buffer)?;
    let mut buffer = [0; LONGEST];
    let name = terminated(name, &mut buffer)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(held.as_fd(), name, flags, Mode::from_raw_mode(0o644)) {
        Ok(_) | Err(Errno::EXIST) => open(held.as_fd(), name, OFlags::PATH | OFlags::NOFOLLOW),
        Err(errno) => Err(errno),
    }
}

/// The directory that `path` lies in, made if it is missing; and the name in it, written to `buffer`.
pub(super) fn parent<'a>(
    root: BorrowedFd<'_>,
    path: &CStr,
    buffer: &'a mut [u8; LONGEST],
) -> Result<(OwnedFd, &'a CStr), Errno> {
    let (parent, name) = split(path);
    let held = parent_of(root, parent, buffer)?;
    Ok((held, terminated(name, buffer)?))
}

/// Room for a path.
pub(super) const fn buffer() -> [u8; LONGEST] {
    [0; LONGEST]
}

fn parent_of(root: BorrowedFd<'_>, parent: &[u8], buffer: &mut [u8; LONGEST]) -> Result<OwnedFd, Errno> {
    if parent.is_empty() { find(root, c".") } else { directory(root, terminated(parent, buffer)?, 0o755) }
}

fn split(path: &CStr) -> (&[u8], &[u8]) {
    let bytes = path.to_bytes();
    match bytes.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (b"", bytes),
    }
}

fn terminated<'a>(bytes: &[u8], buffer: &'a mut [u8; LONGEST]) -> Result<&'a CStr, Errno> {
    let room = buffer.get_mut(..=bytes.len()).ok_or(Errno::NAMETOOLONG)?;
    let (text, end) = room.split_at_mut(bytes.len());
    text.copy_from_slice(bytes);
    end[0] = 0;
    CStr::from_bytes_with_nul(&buffer[..=bytes.len()]).map_err(|_| Errno::INVAL)
}

/// chdir(2) in the entered root; where the process is then must lie inside (CVE-2024-21626).
pub(super) fn change_directory(path: &CStr, create: bool) -> Result<(), Errno> {
    match rustix::process::chdir(path) {
        Err(Errno::NOENT) if create => {
            let root = rustix::fs::openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            let relative = path.to_bytes_with_nul();
            let start = relative.iter().position(|&byte| byte != b'/').unwrap_or(0);
            let relative = CStr::from_bytes_with_nul(&relative[start..]).map_err(|_| Errno::INVAL)?;
            let made = directory(root.as_fd(), relative, 0o755)?;
            rustix::process::fchdir(made)?;
        }
        other => other?,
    }
    // The one allocation of the child; it has one thread, so no lock of the allocator is held.
    // The kernel writes "(unreachable)" before a path outside the root: getcwd(2).
    let inside = rustix::process::getcwd(Vec::with_capacity(LONGEST))?.to_bytes().starts_with(b"/");
    if inside { Ok(()) } else { Err(Errno::NOENT) }
}
