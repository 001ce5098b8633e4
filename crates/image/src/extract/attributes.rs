//! Owner, mode, time and extended attributes of files that were just made.
//!
//! *Invariant:* of extended attributes only `security.capability` and `user.*` pass, and of the latter not what steers overlayfs: an
//! image never decides how its own mount works.

use std::os::fd::BorrowedFd;

use rustix::fs::{Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use crate::archive::{Entry, Time};

/// What overlayfs reads as "nothing of the lower layers here".
const OPAQUE: &str = "trusted.overlay.opaque";

/// Whether an attribute of that name may be kept.
pub(crate) fn allowed_xattr(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

/// Owner, mode and extended attributes; in this order, since a change of owner takes away set-id bits and capabilities.
pub(super) fn set(file: BorrowedFd<'_>, entry: &Entry) -> Result<(), Errno> {
    rustix::fs::fchown(file, Some(uid(entry.uid)), Some(gid(entry.gid)))?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode))?;
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| allowed_xattr(name)) {
        match rustix::fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty()) {
            // Capabilities are part of what a program can do; user attributes are notes, and some file systems have none.
            Err(Errno::OPNOTSUPP) if name.starts_with(b"user.") => {}
            done => done?,
        }
    }
    Ok(())
}

/// The same for what cannot be opened: a link, a device, a pipe.
pub(super) fn set_by_name(
    directory: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
    link: bool,
) -> Result<(), Errno> {
    use rustix::fs::AtFlags;
    rustix::fs::chownat(
        directory,
        name,
        Some(uid(entry.uid)),
        Some(gid(entry.gid)),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    if !link {
        rustix::fs::chmodat(directory, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
    }
    rustix::fs::utimensat(directory, name, &stamps(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
}

/// Sets when `file` was last changed.
pub(crate) fn set_time(file: BorrowedFd<'_>, time: Time) -> Result<(), Errno> {
    rustix::fs::futimens(file, &stamps(time))
}

/// Makes `directory` hide what lower layers have in it.
pub(crate) fn set_opaque(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::fs::fsetxattr(directory, OPAQUE, b"y", XattrFlags::empty())
}

/// Whether `directory` hides what lower layers have in it.
pub(crate) fn is_opaque(directory: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut value = [0_u8; 8];
    match rustix::fs::fgetxattr(directory, OPAQUE, &mut value) {
        Ok(length) => Ok(&value[..length] == b"y"),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Gives `to` the owner, mode and extended attributes of `from`.
pub(crate) fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(from)?;
    rustix::fs::fchown(to, Some(uid(stat.st_uid)), Some(gid(stat.st_gid)))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    for (name, value) in xattrs(from)? {
        rustix::fs::fsetxattr(to, name.as_slice(), &value, XattrFlags::empty())?;
    }
    Ok(())
}

/// Whether two directories are alike but for what is in them; `time`: when they were changed counts.
pub(crate) fn same_attributes(one: BorrowedFd<'_>, other: BorrowedFd<'_>, time: bool) -> Result<bool, Errno> {
    let (a, b) = (rustix::fs::fstat(one)?, rustix::fs::fstat(other)?);
    let same_time = (a.st_mtime, a.st_mtime_nsec) == (b.st_mtime, b.st_mtime_nsec);
    let same = (a.st_mode, a.st_uid, a.st_gid) == (b.st_mode, b.st_uid, b.st_gid) && (same_time || !time);
    Ok(same && xattrs(one)? == xattrs(other)?)
}

/// When `file` was last changed.
pub(crate) fn time_of(file: BorrowedFd<'_>) -> Result<Time, Errno> {
    let stat = rustix::fs::fstat(file)?;
    Ok(Time { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) })
}

/// Names and values of extended attributes, by name.
pub(crate) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// The extended attributes that may be kept, by name.
pub(crate) fn xattrs(file: BorrowedFd<'_>) -> Result<Xattrs, Errno> {
    let mut names = vec![0_u8; 65536];
    let length = match rustix::fs::flistxattr(file, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(errno) => return Err(errno),
    };
    let mut found = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| allowed_xattr(name)) {
        let mut value = vec![0_u8; 65536];
        let length = rustix::fs::fgetxattr(file, name, &mut value)?;
        value.truncate(length);
        found.push((name.to_vec(), value));
    }
    found.sort();
    Ok(found)
}

/// Times that file systems can hold: ext4's go from 1901 to 2446, others' further.
fn stamps(time: Time) -> Timestamps {
    let seconds = time.seconds.clamp(i64::from(i32::MIN), 0x3_7fff_ffff);
    let nanoseconds = if seconds == time.seconds { time.nanoseconds } else { 0 };
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() },
    }
}

fn uid(id: u32) -> Uid {
    Uid::from_raw(id)
}

fn gid(id: u32) -> Gid {
    Gid::from_raw(id)
}
