//! Device nodes of a container, and which devices it may use.
//!
//! *Invariant:* a node is made only for what a rule allows.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType as Type};
use orlop_model::report::Report;

use super::mounts::clean;
use crate::input::{DeviceKind, DeviceNode, Input};

/// Devices that every container may use, by type, major and minor; none stands for all. `m` is making a node, which harms nobody.
const STANDARD: [(Type, Option<i64>, Option<i64>, &str); 10] = [
    (Type::C, None, None, "m"),
    (Type::B, None, None, "m"),
    // null, zero, full, random, urandom
    (Type::C, Some(1), Some(3), "rwm"),
    (Type::C, Some(1), Some(5), "rwm"),
    (Type::C, Some(1), Some(7), "rwm"),
    (Type::C, Some(1), Some(8), "rwm"),
    (Type::C, Some(1), Some(9), "rwm"),
    // tty, ptmx, and what devpts gives
    (Type::C, Some(5), Some(0), "rwm"),
    (Type::C, Some(5), Some(2), "rwm"),
    (Type::C, Some(136), None, "rwm"),
];

/// Nodes beside the standard ones, which whoever lowers the spec makes.
pub(super) fn nodes(input: &Input<'_>) -> Result<Vec<LinuxDevice>, Report> {
    let mut all: Vec<LinuxDevice> = Vec::new();
    if input.config.security.privileged {
        all.extend(
            input
                .node
                .devices
                .iter()
                .filter(|node| !is_managed(&node.path))
                .map(|node| device(node, &node.path)),
        );
    }
    for granted in input.devices {
        let path = clean("config.devices.container_path", &granted.container_path)?;
        all.retain(|earlier| earlier.path() != &path);
        all.push(device(&granted.node, &path));
    }
    Ok(all)
}

/// Whether a path of the node's /dev is made by the container's own mounts.
fn is_managed(path: &Path) -> bool {
    ["/dev/console", "/dev/ptmx", "/dev/tty", "/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd"]
        .iter()
        .any(|managed| path.starts_with(managed))
}

fn kind(node: &DeviceNode) -> Type {
    match node.kind {
        DeviceKind::Character => Type::C,
        DeviceKind::Block => Type::B,
        DeviceKind::Fifo => Type::P,
    }
}

fn device(node: &DeviceNode, path: &Path) -> LinuxDevice {
    let mut device = LinuxDevice::default();
    device
        .set_path(PathBuf::from(path))
        .set_typ(kind(node))
        .set_major(i64::from(node.major))
        .set_minor(i64::from(node.minor))
        .set_file_mode(Some(node.mode & 0o7777))
        .set_uid(Some(node.uid))
        .set_gid(Some(node.gid));
    device
}

fn rule(
    allow: bool,
    typ: Option<Type>,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow).set_typ(typ).set_major(major).set_minor(minor).set_access(Some(access.to_owned()));
    rule
}

/// Which devices may be used: all if privileged, else the standard ones and those granted.
pub(super) fn rules(input: &Input<'_>) -> Result<Vec<LinuxDeviceCgroup>, Report> {
    if input.config.security.privileged {
        return Ok(vec![rule(true, Some(Type::A), None, None, "rwm")]);
    }
    let mut all = vec![rule(false, Some(Type::A), None, None, "rwm")];
    all.extend(
        STANDARD.iter().map(|(typ, major, minor, access)| rule(true, Some(*typ), *major, *minor, access)),
    );
    for granted in input.devices {
        let permissions = &granted.permissions;
        if permissions.is_empty() || permissions.chars().any(|letter| !"rwm".contains(letter)) {
            return Err(Report::field("config.devices.permissions", permissions, "must be of r, w and m"));
        }
        let (major, minor) = (i64::from(granted.node.major), i64::from(granted.node.minor));
        if granted.node.kind != DeviceKind::Fifo {
            all.push(rule(true, Some(kind(&granted.node)), Some(major), Some(minor), permissions));
        }
    }
    Ok(all)
}
