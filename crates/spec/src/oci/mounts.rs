//! What is seen where in a container.
//!
//! The default mounts, the pod's files, and what is asked for, sorted so that a parent comes before what lies in it. A mount that is
//! asked for takes the place of a default one at the same path and of those below it: who mounts the node's `/sys` wants to see the
//! node's `/sys/fs/cgroup`. The pod's own files (`/dev/shm`, `/etc/hosts`, ...) give way only to one at their very path.
//!
//! *Invariant:* no two mounts at one path.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;
use orlop_model::container::{Mount as Asked, Propagation};
use orlop_model::report::Report;

use super::mapping;
use crate::input::{CgroupLayout, Input};

pub(super) fn mounts(input: &Input<'_>) -> Result<Vec<Mount>, Report> {
    let mut asked: Vec<Mount> = Vec::new();
    let mut images = input.images.iter();
    for mount in &input.config.mounts {
        let mut made = match &mount.image {
            None => requested(mount)?,
            Some(volume) => image(mount, &volume.image, images.next())?,
        };
        if let Some(maps) = input.pod.namespaces.user.filter(|_| mount.mapped) {
            made.set_uid_mappings(Some(mapping(maps.uids))).set_gid_mappings(Some(mapping(maps.gids)));
        }
        let mount = made;
        // The last one of a path is the one that would be seen.
        asked.retain(|earlier| earlier.destination() != mount.destination());
        asked.push(mount);
    }
    let taken = |path: &Path| asked.iter().any(|mount| mount.destination() == path);
    let covered = |path: &Path| asked.iter().any(|mount| path.starts_with(mount.destination()));
    let mut all: Vec<Mount> =
        fresh(input).into_iter().filter(|mount| !covered(mount.destination())).collect();
    all.extend(pods(input).into_iter().filter(|mount| !taken(mount.destination())));
    all.extend(asked);
    // Stable: within one depth the order of the request stays.
    all.sort_by_key(|mount| mount.destination().components().count());
    Ok(all)
}

fn mount(destination: impl Into<PathBuf>, kind: &str, source: impl Into<PathBuf>, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(destination.into())
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source.into()))
        .set_options(Some(options.iter().map(|&option| option.to_owned()).collect()));
    mount
}

/// Filesystems that every container has for itself.
fn fresh(input: &Input<'_>) -> Vec<Mount> {
    let privileged = input.config.security.privileged;
    let writable = if privileged { "rw" } else { "ro" };
    let mut terminals = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    // The group tty, where it is mapped.
    if input.pod.namespaces.user.is_none_or(|maps| maps.gids.of(5).is_some()) {
        terminals.push("gid=5");
    }
    let mut all = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", &terminals),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", writable]),
    ];
    if input.node.cgroups != CgroupLayout::Nowhere {
        let options = ["nosuid", "noexec", "nodev", "relatime", writable];
        all.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", &options));
    }
    all
}

/// Files and directories of the pod.
fn pods(input: &Input<'_>) -> Vec<Mount> {
    let facts = input.facts;
    let shm = facts.shm.clone().unwrap_or_else(|| PathBuf::from("/dev/shm"));
    let mut all = vec![mount("/dev/shm", "bind", shm, &["rbind", "rprivate", "nosuid", "noexec", "nodev"])];
    let options: &[&str] = if input.config.security.readonly_rootfs {
        &["rbind", "rprivate", "ro"]
    } else {
        &["rbind", "rprivate"]
    };
    let files = [
        ("/etc/hostname", &facts.hostname_file),
        ("/etc/hosts", &facts.hosts),
        ("/etc/resolv.conf", &facts.resolv_conf),
    ];
    for (destination, source) in files {
        all.extend(source.iter().map(|source| mount(destination, "bind", source, options)));
    }
    all
}

fn requested(asked: &Asked) -> Result<Mount, Report> {
    let destination = clean("config.mounts.container_path", &asked.container_path)?;
    if destination == Path::new("/") {
        return Err(Report::field("config.mounts.container_path", "/", "the root is the image's"));
    }
    let source = clean("config.mounts.host_path", &asked.host_path)?;
    if asked.recursive_read_only && !asked.readonly {
        let cause = "needs readonly beside it";
        return Err(Report::field("config.mounts.recursive_read_only", &asked.container_path, cause));
    }
    if asked.recursive_read_only && asked.propagation != Propagation::Private {
        let cause = "needs private propagation: what arrives later would be writable";
        return Err(Report::field("config.mounts.recursive_read_only", &asked.container_path, cause));
    }
    let propagation = match asked.propagation {
        Propagation::Private => "rprivate",
        Propagation::HostToContainer => "rslave",
        Propagation::Bidirectional => "rshared",
    };
    // Not "rw" for what is writable: that would lift the read-only mark of what is mounted so on the node.
    let options: &[&str] = match (asked.readonly, asked.recursive_read_only) {
        (_, true) => &["rbind", propagation, "rro"],
        (true, false) => &["rbind", propagation, "ro"],
        (false, false) => &["rbind", propagation],
    };
    Ok(with(mount(destination, "bind", source, options), asked))
}

/// The mount with the further options that are asked for.
fn with(mut mount: Mount, asked: &Asked) -> Mount {
    let mut options = mount.options().clone().unwrap_or_default();
    options.extend(asked.options.iter().cloned());
    mount.set_options(Some(options));
    mount
}

/// Directories of an image as one. Nothing but the image's own files is seen in it, so there is nothing to write to, no device to use,
/// and nothing that could travel.
fn image(asked: &Asked, name: &str, directories: Option<&Vec<PathBuf>>) -> Result<Mount, Report> {
    let destination = clean("config.mounts.container_path", &asked.container_path)?;
    let missing = || Report::field("config.mounts.image", name, "its layers are not at hand");
    let mut lower = String::from("lowerdir=");
    for (number, directory) in directories.ok_or_else(missing)?.iter().enumerate() {
        let text = directory.to_str().ok_or_else(|| {
            Report::field("config.mounts.image", directory.display(), "the path of a layer is no UTF-8")
        })?;
        lower.push_str(if number == 0 { "" } else { ":" });
        // What ends a path is escaped, as overlayfs reads it.
        lower.push_str(&text.replace('\\', "\\\\").replace(':', "\\:"));
    }
    Ok(with(mount(destination, "overlay", "overlay", &["ro", "nodev", &lower]), asked))
}

/// An absolute path without `.`, `..` and doubled slashes.
pub(super) fn clean(field: &str, path: &str) -> Result<PathBuf, Report> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err(Report::field(field, path, "must be absolute"));
    }
    let mut clean = PathBuf::from("/");
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    Ok(clean)
}
