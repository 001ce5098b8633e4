//! The container's view of cgroups.
//!
//! Version 2 is one mount. Version 1 is a tmpfs with a mount for each hierarchy, and a link for each controller that shares one with
//! another; a version 2 beside it is not shown, as under other runtimes.
//!
//! *Invariant:* with a cgroup namespace a container sees its own part only; without one, its own part is bound.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use oci_spec::runtime::{Linux, LinuxNamespaceType as Kind};
use orlop_model::report::Report;
use orlop_wire::plan::{BindHow, Operation};

use super::options::{PRIVATE, READ_ONLY};
use super::{Facts, namespaces, string};
use crate::input::{CgroupLayout, Hierarchy};

const PART: &str = "mounts.cgroup";

/// What the spec says of its cgroup mount.
pub(super) struct Group {
    pub(super) target: CString,
    pub(super) attributes: u64,
}

pub(super) fn mount(
    group: &Group,
    linux: &Linux,
    facts: &Facts<'_>,
    all: &mut Vec<Operation>,
    frozen: &mut Vec<CString>,
) -> Result<(), Report> {
    match facts.layout {
        CgroupLayout::Nowhere => Ok(()),
        CgroupLayout::V2(_) => {
            all.push(Operation::Mount {
                kind: c"cgroup2".into(),
                source: c"cgroup".into(),
                target: group.target.clone(),
                attributes: group.attributes,
                options: Vec::new(),
            });
            Ok(())
        }
        CgroupLayout::V1(hierarchies) => {
            all.push(Operation::Mount {
                kind: c"tmpfs".into(),
                source: c"tmpfs".into(),
                target: group.target.clone(),
                attributes: group.attributes & !READ_ONLY,
                options: vec![(c"mode".into(), Some(c"755".into()))],
            });
            let apart = namespaces::has(linux, Kind::Cgroup);
            for hierarchy in hierarchies {
                one(group, hierarchy, apart, facts, all)?;
            }
            if group.attributes & READ_ONLY != 0 {
                frozen.push(group.target.clone());
            }
            Ok(())
        }
    }
}

fn one(
    group: &Group,
    hierarchy: &Hierarchy,
    apart: bool,
    facts: &Facts<'_>,
    all: &mut Vec<Operation>,
) -> Result<(), Report> {
    let Some(name) = hierarchy.mountpoint.file_name() else { return Ok(()) };
    let below = |name: &[u8]| string(PART, [group.target.as_bytes(), b"/", name].concat());
    let target = below(name.as_bytes())?;
    if apart {
        let parameter = |option: &String| match option.split_once('=') {
            Some((key, value)) => Ok((string(PART, key)?, Some(string(PART, value)?))),
            None => Ok((string(PART, option.as_str())?, None)),
        };
        all.push(Operation::Mount {
            kind: c"cgroup".into(),
            source: c"cgroup".into(),
            target,
            attributes: group.attributes,
            options: hierarchy.options.iter().map(parameter).collect::<Result<_, Report>>()?,
        });
    } else {
        let own = |directory: &&CString| {
            Path::new(std::ffi::OsStr::from_bytes(directory.as_bytes())).starts_with(&hierarchy.mountpoint)
        };
        let Some(source) = facts.cgroups.iter().map(|cgroup| &cgroup.directory).find(own) else {
            return Ok(());
        };
        let how = BindHow { set: group.attributes, propagation: PRIVATE, ..BindHow::default() };
        all.push(Operation::Bind { source: source.clone(), target, how });
    }
    for controller in hierarchy
        .options
        .iter()
        .filter(|option| !option.contains('=') && option.as_bytes() != name.as_bytes())
    {
        all.push(Operation::Symlink {
            at: below(controller.as_bytes())?,
            to: string(PART, name.as_bytes())?,
        });
    }
    Ok(())
}
