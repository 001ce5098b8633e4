//! Mounts, in the spec's order.
//!
//! A tmpfs that is to be read-only is frozen at the end, so that the places of what is mounted in it can be made first.
//!
//! *Invariant:* every mount of the spec is an operation; a bind comes from a slot where the launcher has opened its source.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use oci_spec::runtime::{Linux, Mount};
use orlop_model::report::Report;
use orlop_wire::plan::{BindHow, Operation};

use super::options::{self, Options, RECURSIVE};
use super::{Facts, bad, cannot, cgroups, inside, string};

/// The operations of all mounts; what comes back is to be made read-only once all is mounted.
pub(super) fn mounts(
    mounts: &[Mount],
    linux: &Linux,
    facts: &Facts<'_>,
    all: &mut Vec<Operation>,
) -> Result<Vec<CString>, Report> {
    let mut frozen = Vec::new();
    for mount in mounts {
        let options = options::parse(mount.options().as_deref().unwrap_or_default())?;
        let target = inside("mounts.destination", mount.destination())?;
        let kind = mount.typ().as_deref().unwrap_or_default();
        if is_bind(mount, &options) {
            all.push(bind(mount, &options, target, linux, facts)?);
        } else if kind == "cgroup" || kind == "cgroup2" {
            let group = cgroups::Group { target, attributes: options.own.set };
            cgroups::mount(&group, linux, facts, all, &mut frozen)?;
        } else {
            let label = label(linux)?;
            let mut mounted = fresh(mount, kind, options, target.clone(), &mut frozen)?;
            if let (Operation::Mount { options, .. }, Some(label)) = (&mut mounted, &label)
                && LABELLED.contains(&kind)
            {
                options.push((c"context".into(), Some(label.clone())));
            }
            all.push(mounted);
            all.extend(label.filter(|_| kind == "mqueue").map(|label| Operation::Label { target, label }));
        }
    }
    Ok(frozen)
}

/// Filesystems whose files all have the context that is said when they are mounted. A message queue's has one of its own for its root.
const LABELLED: [&str; 2] = ["tmpfs", "devpts"];

/// The SELinux context of the container's files; none where the spec is silent.
pub(super) fn label(linux: &Linux) -> Result<Option<CString>, Report> {
    let label = linux.mount_label().as_deref().filter(|label| !label.is_empty());
    label.map(|label| string("linux.mountLabel", label)).transpose()
}

pub(super) fn is_bind(mount: &Mount, options: &Options) -> bool {
    options.bind.is_some() || mount.typ().as_deref() == Some("bind")
}

fn bind(
    mount: &Mount,
    options: &Options,
    target: CString,
    linux: &Linux,
    facts: &Facts<'_>,
) -> Result<Operation, Report> {
    if let Some((key, _)) = options.data.first() {
        return Err(bad("mounts.options", key.to_string_lossy(), "means nothing for a bind mount"));
    }
    if options.propagation & options::UNBINDABLE != 0 {
        return Err(cannot("mounts.options", "unbindable", "is not supported"));
    }
    // Without a word of its own a bind is tied to the host as the root is: what is mounted there arrives, nothing leaves.
    let silent =
        if options.propagation == 0 { root_propagation(linux)?.unwrap_or(options::SLAVE) } else { 0 };
    let propagation = options.propagation | silent;
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    let how = BindHow {
        recursive: options.bind.unwrap_or(true),
        set: options.own.set,
        clear: options.own.clear,
        set_all: options.all.set,
        clear_all: options.all.clear,
        propagation: propagation & !RECURSIVE,
        create_source: facts.create_sources,
    };
    if let Some(slot) = facts.slot_of(source) {
        return Ok(Operation::BindSlot { slot, target, how: BindHow { create_source: false, ..how } });
    }
    if !source.is_absolute() {
        return Err(bad("mounts.source", source.display(), "must be absolute"));
    }
    Ok(Operation::Bind { source: string("mounts.source", source.as_os_str().as_bytes())?, target, how })
}

fn fresh(
    mount: &Mount,
    kind: &str,
    options: Options,
    target: CString,
    frozen: &mut Vec<CString>,
) -> Result<Operation, Report> {
    if kind.is_empty() || kind == "none" {
        return Err(bad(
            "mounts.type",
            mount.destination().display(),
            "has neither a type nor a source to bind",
        ));
    }
    if options.propagation & (options::SHARED | options::UNBINDABLE) != 0 {
        return Err(cannot("mounts.options", "shared", "a fresh filesystem is private"));
    }
    if kind == "overlay" && !options.data.iter().any(|(key, _)| key.as_c_str() == c"upperdir") {
        return layers(&options, target);
    }
    let mut attributes = options.own.set | options.all.set;
    if kind == "tmpfs" && attributes & options::READ_ONLY != 0 {
        attributes &= !options::READ_ONLY;
        frozen.push(target.clone());
    }
    let source = mount.source().as_deref().unwrap_or(Path::new(kind));
    Ok(Operation::Mount {
        kind: string("mounts.type", kind)?,
        source: string("mounts.source", source.as_os_str().as_bytes())?,
        target,
        attributes,
        options: options.data,
    })
}

/// An overlay that nothing is written to: its parameter `lowerdir` alone, and attributes that every kernel's mount(2) has, too.
fn layers(options: &Options, target: CString) -> Result<Operation, Report> {
    const PLAIN: u64 = 0xf;
    let [(key, Some(directories))] = &options.data[..] else {
        return Err(cannot(
            "mounts.options",
            "overlay",
            "takes lowerdir and no other parameter without upperdir",
        ));
    };
    if key.as_c_str() != c"lowerdir" {
        return Err(bad("mounts.options", key.to_string_lossy(), "an overlay needs lowerdir"));
    }
    let attributes = options.own.set | options.all.set;
    if attributes & !PLAIN != 0 {
        return Err(cannot("mounts.options", "overlay", "takes ro, nosuid, nodev and noexec alone"));
    }
    let lower = unescaped(directories.as_bytes())?;
    if lower.len() < 2 {
        return Err(bad("mounts.options", directories.to_string_lossy(), "lowerdir needs two directories"));
    }
    // Without a directory to write to it is read-only whatever is asked for.
    Ok(Operation::Layers { lower, target, attributes: attributes | options::READ_ONLY })
}

/// The paths of a list with colons between, in which a backslash takes the meaning of what follows it.
fn unescaped(list: &[u8]) -> Result<Vec<CString>, Report> {
    let (mut all, mut one) = (Vec::new(), Vec::new());
    let mut bytes = list.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => one.extend(bytes.next()),
            b':' => all.push(std::mem::take(&mut one)),
            _ => one.push(*byte),
        }
    }
    all.push(one);
    all.into_iter().map(|path| string("mounts.options", path)).collect()
}

/// `MS_*` flags of `rootfsPropagation`; none where the spec is silent.
pub(super) fn root_propagation(linux: &Linux) -> Result<Option<u64>, Report> {
    match linux.rootfs_propagation().as_deref() {
        None | Some("") => Ok(None),
        Some(name) => {
            let unknown =
                || bad("linux.rootfsPropagation", name, "must be shared, slave, private or unbindable");
            options::propagation(name).map(Some).ok_or_else(unknown)
        }
    }
}
