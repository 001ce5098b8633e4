//! The changes, made in a spec.
//!
//! *Invariant:* all of them or, where one cannot be, an error that names it; whoever gets the error throws the spec away.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Hook as OciHook, Hooks, Linux, LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType as Type, LinuxIntelRdt,
    LinuxNamespaceType, LinuxNetDevice, Mount as OciMount, Process, Spec,
};

use crate::file::{Edits, Hook, Mount, Node, Point, Rdt};

/// What a node knows of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostNode {
    /// `b`, `c` or `p`.
    pub kind: char,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
}

/// What cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {object}: {cause}")]
pub struct Cannot {
    /// Which kind of change.
    pub what: &'static str,
    /// Of what.
    pub object: String,
    /// Why not.
    pub cause: String,
}

/// Makes the changes. `look` says what a path of the node is; an error says why it is no device.
///
/// # Errors
/// The first that cannot be.
pub fn apply(
    edits: &Edits,
    spec: &mut Spec,
    look: &dyn Fn(&Path) -> Result<HostNode, String>,
) -> Result<(), Cannot> {
    if edits.is_empty() {
        return Ok(());
    }
    let mut process = spec.process().clone().unwrap_or_default();
    let mut linux = spec.linux().clone().unwrap_or_default();
    environment(&mut process, &edits.env);
    nodes(edits, &process, &mut linux, look)?;
    if !edits.net_devices.is_empty() {
        let mut all = linux.net_devices().clone().unwrap_or_default();
        for device in &edits.net_devices {
            let mut inside = LinuxNetDevice::default();
            inside.set_name(Some(device.name.clone()));
            all.insert(device.host.clone(), inside);
        }
        linux.set_net_devices(Some(all));
    }
    mounts(edits, spec, &linux);
    hooks(&edits.hooks, spec);
    if let Some(rdt) = &edits.rdt {
        linux.set_intel_rdt(Some(class(rdt)));
    }
    groups(&mut process, &edits.gids);
    spec.set_process(Some(process)).set_linux(Some(linux));
    Ok(())
}

/// The name of a variable.
fn name(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

/// A variable that is there gets the value where it stands.
fn environment(process: &mut Process, edits: &[String]) {
    if edits.is_empty() {
        return;
    }
    let mut all = process.env().clone().unwrap_or_default();
    // Of entries with one name the last counts, as it does for programs.
    let mut places: HashMap<String, usize> =
        all.iter().enumerate().map(|(at, entry)| (name(entry).to_owned(), at)).collect();
    for entry in edits {
        if let Some(at) = places.get(name(entry)) {
            all[*at].clone_from(entry);
        } else {
            places.insert(name(entry).to_owned(), all.len());
            all.push(entry.clone());
        }
    }
    process.set_env(Some(all));
}

fn nodes(
    edits: &Edits,
    process: &Process,
    linux: &mut Linux,
    look: &dyn Fn(&Path) -> Result<HostNode, String>,
) -> Result<(), Cannot> {
    if edits.nodes.is_empty() {
        return Ok(());
    }
    let mut all = linux.devices().clone().unwrap_or_default();
    let mut resources = linux.resources().clone().unwrap_or_default();
    let mut rules = resources.devices().clone().unwrap_or_default();
    for node in &edits.nodes {
        let device = device(node, process, look)?;
        // A rule that grants nothing is none.
        if matches!(device.typ(), Type::B | Type::C) && node.permissions != "none" {
            rules.push(rule(node, &device));
        }
        if let Some(at) = all.iter().position(|earlier| earlier.path() == device.path()) {
            all.remove(at);
        }
        all.push(device);
    }
    resources.set_devices(Some(rules));
    linux.set_devices(Some(all)).set_resources(Some(resources));
    Ok(())
}

/// The node in the container. What the file does not say is as the node has it, and its owner is who runs the container's program.
fn device(
    node: &Node,
    process: &Process,
    look: &dyn Fn(&Path) -> Result<HostNode, String>,
) -> Result<LinuxDevice, Cannot> {
    let host = if node.host_path.is_empty() { &node.path } else { &node.host_path };
    let cannot = |cause: String| Cannot { what: "deviceNodes", object: host.clone(), cause };
    let mut device = LinuxDevice::default();
    // FIFOs have no numbers. A device whose numbers are said need not be there.
    let said = !node.kind.is_empty() && (node.major != 0 || node.kind == "p");
    let (mut kind, mut major, mut minor, mut mode) = (node.kind.clone(), node.major, node.minor, node.mode);
    match look(Path::new(host)) {
        Err(cause) if !said => return Err(cannot(cause)),
        Err(_) => {}
        Ok(found) => {
            mode = mode.or(Some(found.mode));
            if !said {
                if kind.is_empty() {
                    kind = found.kind.to_string();
                }
                if kind != found.kind.to_string() {
                    return Err(cannot(format!("is of type {}, and not {kind}", found.kind)));
                }
                if kind != "p" && major == 0 {
                    (major, minor) = (found.major.into(), found.minor.into());
                }
            }
        }
    }
    let kind = match kind.as_str() {
        "b" => Type::B,
        "c" => Type::C,
        "u" => Type::U,
        _ => Type::P,
    };
    let own = |id: u32| (id > 0).then_some(id);
    device
        .set_path(PathBuf::from(&node.path))
        .set_typ(kind)
        .set_major(major)
        .set_minor(minor)
        .set_file_mode(mode)
        .set_uid(node.uid.or(own(process.user().uid())))
        .set_gid(node.gid.or(own(process.user().gid())));
    Ok(device)
}

fn rule(node: &Node, device: &LinuxDevice) -> LinuxDeviceCgroup {
    let access = if node.permissions.is_empty() { "rwm" } else { &node.permissions };
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(true)
        .set_typ(Some(device.typ()))
        .set_major(Some(device.major()))
        .set_minor(Some(device.minor()))
        .set_access(Some(access.to_owned()));
    rule
}

fn mounts(edits: &Edits, spec: &mut Spec, linux: &Linux) {
    if edits.mounts.is_empty() {
        return;
    }
    let namespaces = linux.namespaces().iter().flatten();
    let mapped = namespaces.clone().any(|one| one.typ() == LinuxNamespaceType::User);
    let mut all = spec.mounts().clone().unwrap_or_default();
    for mount in &edits.mounts {
        let target = Path::new(&mount.target);
        if let Some(at) =
            all.iter().position(|earlier| earlier.destination().as_os_str() == target.as_os_str())
        {
            all.remove(at);
        }
        all.push(mounted(mount, mapped));
    }
    // What lies in another comes after it.
    all.sort_by_key(|mount| mount.destination().components().filter(is_step).count().max(1));
    spec.set_mounts(Some(all));
}

fn is_step(component: &std::path::Component<'_>) -> bool {
    matches!(component, std::path::Component::Normal(_))
}

fn mounted(mount: &Mount, mapped: bool) -> OciMount {
    let mut options = mount.options.clone();
    if mapped {
        map_owners(mount, &mut options);
    }
    let mut made = OciMount::default();
    made.set_destination(PathBuf::from(&mount.target))
        .set_source(Some(PathBuf::from(&mount.source)))
        .set_typ(Some(mount.kind.clone()).filter(|kind| !kind.is_empty()))
        .set_options(options);
    made
}

/// In a user namespace what is bound is to have the owners that the container knows.
fn map_owners(mount: &Mount, options: &mut Option<Vec<String>>) {
    let mut option = (mount.kind == "bind").then_some("idmap");
    for said in options.iter().flatten() {
        match said.as_str() {
            "idmap" | "ridmap" => return,
            "bind" => option = Some("idmap"),
            "rbind" => option = Some("ridmap"),
            _ => {}
        }
    }
    if let Some(option) = option {
        options.get_or_insert_default().push(option.to_owned());
    }
}

fn hooks(edits: &[Hook], spec: &mut Spec) {
    if edits.is_empty() {
        return;
    }
    let mut all = spec.hooks().clone().unwrap_or_default();
    for hook in edits {
        let mut made = OciHook::default();
        made.set_path(PathBuf::from(&hook.path))
            .set_args(hook.args.clone())
            .set_env(hook.env.clone())
            .set_timeout(hook.timeout);
        of_point(&mut all, hook.point).get_or_insert_default().push(made);
    }
    spec.set_hooks(Some(all));
}

fn of_point(hooks: &mut Hooks, point: Point) -> &mut Option<Vec<OciHook>> {
    match point {
        Point::Prestart => hooks.prestart_mut(),
        Point::CreateRuntime => hooks.create_runtime_mut(),
        Point::CreateContainer => hooks.create_container_mut(),
        Point::StartContainer => hooks.start_container_mut(),
        Point::Poststart => hooks.poststart_mut(),
        Point::Poststop => hooks.poststop_mut(),
    }
}

fn class(rdt: &Rdt) -> LinuxIntelRdt {
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let mut class = LinuxIntelRdt::default();
    class
        .set_clos_id(given(&rdt.class))
        .set_l3_cache_schema(given(&rdt.l3))
        .set_mem_bw_schema(given(&rdt.bandwidth))
        .set_schemata(rdt.schemata.clone())
        .set_enable_monitoring(rdt.monitoring.then_some(true));
    class
}

/// Groups beside those that it has; the root's is no group to be given.
fn groups(process: &mut Process, gids: &[u32]) {
    let mut user = process.user().clone();
    let mut all = user.additional_gids().clone().unwrap_or_default();
    for gid in gids.iter().filter(|gid| **gid != 0) {
        if !all.contains(gid) {
            all.push(*gid);
        }
    }
    if !all.is_empty() {
        user.set_additional_gids(Some(all));
        process.set_user(user);
    }
}
