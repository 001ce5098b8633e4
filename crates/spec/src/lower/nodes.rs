//! Device nodes and the links beside them.
//!
//! *Invariant:* where `/dev` is a directory of the node, nothing is made in it.

use std::path::Path;

use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceType as Type, Mount};
use orlop_model::report::Report;
use orlop_wire::plan::Operation;

use super::mounts::is_bind;
use super::options::parse;
use super::{bad, inside, string};

/// `S_IFIFO`, `S_IFCHR`, `S_IFBLK` of inode(7).
const FIFO: u32 = 0o010_000;
const CHARACTER: u32 = 0o020_000;
const BLOCK: u32 = 0o060_000;

/// Devices that every container has: path, major, minor (the OCI spec's "Default Devices").
const STANDARD: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Links that programs expect (the OCI spec's "Dev symbolic links", and the way to the container's own devpts).
const LINKS: [(&str, &str); 6] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
    ("/dev/ptmx", "pts/ptmx"),
];

pub(super) fn nodes(mounts: &[Mount], linux: &Linux, all: &mut Vec<Operation>) -> Result<(), Report> {
    let slash_dev = mounts.iter().rev().find(|mount| mount.destination() == Path::new("/dev"));
    if let Some(mount) = slash_dev
        && is_bind(mount, &parse(mount.options().as_deref().unwrap_or_default())?)
    {
        return Ok(());
    }
    let mounted = |path: &Path| mounts.iter().any(|mount| mount.destination() == path);
    let asked = linux.devices().as_deref().unwrap_or_default();
    for (path, major, minor) in STANDARD {
        let path = Path::new(path);
        if !mounted(path) && !asked.iter().any(|device| device.path() == path) {
            let target = inside("linux.devices", path)?;
            all.push(Operation::Device { target, mode: CHARACTER | 0o666, major, minor, uid: 0, gid: 0 });
        }
    }
    for device in asked.iter().filter(|device| !mounted(device.path())) {
        all.push(node(device)?);
    }
    let replaced = |path: &Path| mounted(path) || asked.iter().any(|device| device.path() == path);
    for (at, to) in LINKS.iter().filter(|(at, _)| !replaced(Path::new(at))) {
        all.push(Operation::Symlink {
            at: inside("linux.devices", Path::new(at))?,
            to: string("linux.devices", *to)?,
        });
    }
    Ok(())
}

/// Whether it is one that every container has, and every node at the same path.
pub(super) fn is_standard(path: &str, mode: u32, numbers: (u32, u32)) -> bool {
    let same = |(standard, major, minor): &(&str, u32, u32)| *standard == path && (*major, *minor) == numbers;
    mode & CHARACTER == CHARACTER && STANDARD.iter().any(same)
}

fn node(device: &LinuxDevice) -> Result<Operation, Report> {
    let path = device.path();
    let number = |number: i64| {
        u32::try_from(number)
            .map_err(|_| bad("linux.devices", path.display(), "has a number that no device has"))
    };
    let kind = match device.typ() {
        Type::C | Type::U => CHARACTER,
        Type::B => BLOCK,
        Type::P => FIFO,
        Type::A => return Err(bad("linux.devices", path.display(), "must be c, b, u or p")),
    };
    Ok(Operation::Device {
        target: inside("linux.devices", path)?,
        mode: kind | device.file_mode().unwrap_or(0o666) & 0o7777,
        major: number(device.major())?,
        minor: number(device.minor())?,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}
