//! Devices of the node, and rules about them.
//!
//! *Invariant:* looked at, never opened; a directory is walked with a bound, and without following links.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use orlop_cgroup::{Access, DeviceRule};
use orlop_spec::input::{DeviceKind, DeviceNode};

/// More devices than this are in no node's directory.
const DEVICES: usize = 4096;

/// A device of the node, if the path is one.
pub(super) fn device_node(path: &Path) -> Option<DeviceNode> {
    let metadata = std::fs::metadata(path).ok()?;
    let kind = match metadata.file_type() {
        kind if kind.is_char_device() => DeviceKind::Character,
        kind if kind.is_block_device() => DeviceKind::Block,
        kind if kind.is_fifo() => DeviceKind::Fifo,
        _ => return None,
    };
    let device = metadata.rdev();
    Some(DeviceNode {
        path: path.to_owned(),
        kind,
        major: rustix::fs::major(device),
        minor: rustix::fs::minor(device),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
    })
}

/// All devices in a directory and below; links are not followed.
pub(super) fn all_devices(directory: &Path) -> Vec<DeviceNode> {
    let mut all = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().filter_map(Result::ok) {
            if all.len() >= DEVICES {
                return all;
            }
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                open.push(entry.path());
            } else if !kind.is_symlink() {
                all.extend(device_node(&entry.path()));
            }
        }
    }
    all.sort_by(|one, other| one.path.cmp(&other.path));
    all
}

/// An OCI device rule as the cgroup's.
pub(super) fn rule(rule: &LinuxDeviceCgroup) -> DeviceRule {
    let has = |letter| rule.access().as_ref().is_none_or(|access| access.contains(letter));
    let number = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
    DeviceRule {
        allow: rule.allow(),
        block: match rule.typ() {
            Some(LinuxDeviceType::B) => Some(true),
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(false),
            Some(LinuxDeviceType::A | LinuxDeviceType::P) | None => None,
        },
        major: number(rule.major()),
        minor: number(rule.minor()),
        access: Access { read: has('r'), write: has('w'), make: has('m') },
    }
}
