//! What plugins want of a container, in its spec's words.
//!
//! *Invariant:* a field is applied or refused by its name, never left out. What cannot be carried out is seen where the spec is lowered,
//! and refused there.

mod policy;

use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Hook as OciHook, LinuxDeviceCgroup as OciRule, LinuxDeviceType, LinuxNamespaceType, Mount as OciMount,
    PosixRlimitBuilder, PosixRlimitType, Process, Spec,
};
use orlop_model::report::{Kind, Report};
use orlop_nri::marked;
use orlop_proto::nri::v1alpha1::{
    ContainerAdjustment, Hook, Hooks, KeyValue, LinuxContainerAdjustment, LinuxDevice, LinuxDeviceCgroup,
    LinuxNamespace, Mount, PosixRlimit,
};

use super::limits;
use crate::pods::edits::Draft;

/// A field that cannot be.
fn bad(field: &str, value: impl std::fmt::Display, cause: &str) -> Report {
    let report = Report::field(format!("NRI {field}"), value, cause);
    Report { kind: Kind::Unsupported, ..report }
}

/// Applies all of it to the draft, but for devices of CDI, which are resolved by who knows them.
///
/// # Errors
/// The field that cannot be.
pub(super) fn apply(draft: &mut Draft, wanted: &ContainerAdjustment) -> Result<(), Report> {
    let spec = &mut draft.composed.spec;
    annotations(spec, wanted);
    mounts(spec, &wanted.mounts)?;
    if let Some(wanted) = &wanted.hooks {
        hooks(spec, wanted)?;
    }
    let mut process = spec.process().clone().unwrap_or_default();
    environment(&mut process, &mut draft.composed.raw_environment, &wanted.env);
    if !wanted.args.is_empty() {
        process.set_args(Some(wanted.args.clone()));
    }
    rlimits(&mut process, &wanted.rlimits)?;
    if let Some(wanted) = &wanted.linux {
        if let Some(score) = &wanted.oom_score_adj {
            let score = i32::try_from(score.value).ok().filter(|score| (-1000..=1000).contains(score));
            let score = score.ok_or_else(|| bad("oom_score_adj", "", "it is not from -1000 to 1000"))?;
            draft.resources.oom_score_adj = score.into();
            process.set_oom_score_adj(Some(score));
        }
        policy::of_process(&mut process, wanted)?;
    }
    spec.set_process(Some(process));
    if let Some(wanted) = &wanted.linux {
        linux(spec, wanted)?;
        if let Some(wanted) = &wanted.resources {
            limits::apply(&mut draft.resources, wanted)?;
            let limits = limits::of_model(&draft.resources);
            crate::cri::convert::resources("NRI resources", &limits)?;
            let rules = wanted.devices.iter().map(rule).collect::<Result<Vec<_>, Report>>()?;
            add_rules(spec, rules);
        }
    }
    Ok(())
}

fn annotations(spec: &mut Spec, wanted: &ContainerAdjustment) {
    let mut all = spec.annotations().clone().unwrap_or_default();
    for (name, value) in &wanted.annotations {
        match marked(name) {
            (key, true) => {
                all.remove(key);
            }
            (key, false) => {
                all.insert(key.to_owned(), value.clone());
            }
        }
    }
    spec.set_annotations(Some(all));
}

fn mounts(spec: &mut Spec, wanted: &[Mount]) -> Result<(), Report> {
    if wanted.is_empty() {
        return Ok(());
    }
    let mut all = spec.mounts().clone().unwrap_or_default();
    for mount in wanted {
        let (destination, removed) = marked(&mount.destination);
        if !destination.starts_with('/') {
            return Err(bad("mounts.destination", destination, "it is no absolute path"));
        }
        all.retain(|there| there.destination() != Path::new(destination));
        if removed {
            continue;
        }
        let mut new = OciMount::default();
        new.set_destination(destination.into())
            .set_typ(Some(mount.r#type.clone()).filter(|kind| !kind.is_empty()))
            .set_source(Some(PathBuf::from(&mount.source)).filter(|source| !source.as_os_str().is_empty()))
            .set_options(Some(mount.options.clone()).filter(|options| !options.is_empty()));
        all.push(new);
        propagation(spec, &mount.options);
    }
    // What lies deeper comes later; among equals the order stays.
    all.sort_by_key(|mount| mount.destination().components().count());
    spec.set_mounts(Some(all));
    Ok(())
}

/// A mount that travels needs a root that lets it.
fn propagation(spec: &mut Spec, options: &[String]) {
    let asks = |word: &str| options.iter().any(|option| option == word);
    let Some(linux) = spec.linux_mut() else { return };
    let there = linux.rootfs_propagation().clone().unwrap_or_default();
    if asks("rshared") || asks("shared") {
        linux.set_rootfs_propagation(Some("rshared".into()));
    } else if (asks("rslave") || asks("slave")) && there != "rshared" {
        linux.set_rootfs_propagation(Some("rslave".into()));
    }
}

fn environment(process: &mut Process, raw: &mut Vec<(String, Vec<u8>)>, wanted: &[KeyValue]) {
    let mut all = process.env().clone().unwrap_or_default();
    for variable in wanted {
        let (key, removed) = marked(&variable.key);
        let named = |text: &String| text.split_once('=').map_or(text.as_str(), |(key, _)| key) == key;
        raw.retain(|(name, _)| name != key);
        let entry = format!("{key}={}", variable.value);
        match all.iter().position(named) {
            Some(at) if !removed => {
                all[at] = entry;
                let mut seen = 0;
                all.retain(|text| {
                    !named(text) || {
                        seen += 1;
                        seen == 1
                    }
                });
            }
            None if !removed => all.push(entry),
            _ => all.retain(|text| !named(text)),
        }
    }
    process.set_env(Some(all));
}

fn hooks(spec: &mut Spec, wanted: &Hooks) -> Result<(), Report> {
    let mut all = spec.hooks().clone().unwrap_or_default();
    let more = |there: &Option<Vec<OciHook>>, wanted: &[Hook]| -> Result<Option<Vec<OciHook>>, Report> {
        let mut there = there.clone().unwrap_or_default();
        for one in wanted {
            there.push(hook(one)?);
        }
        Ok(Some(there).filter(|all| !all.is_empty()))
    };
    let kinds = [
        more(all.prestart(), &wanted.prestart)?,
        more(all.create_runtime(), &wanted.create_runtime)?,
        more(all.create_container(), &wanted.create_container)?,
        more(all.start_container(), &wanted.start_container)?,
        more(all.poststart(), &wanted.poststart)?,
        more(all.poststop(), &wanted.poststop)?,
    ];
    let [prestart, create_runtime, create_container, start_container, poststart, poststop] = kinds;
    all.set_prestart(prestart)
        .set_create_runtime(create_runtime)
        .set_create_container(create_container)
        .set_start_container(start_container)
        .set_poststart(poststart)
        .set_poststop(poststop);
    if all != oci_spec::runtime::Hooks::default() {
        spec.set_hooks(Some(all));
    }
    Ok(())
}

fn hook(hook: &Hook) -> Result<OciHook, Report> {
    if !hook.path.starts_with('/') {
        return Err(bad("hooks.path", &hook.path, "it is no absolute path"));
    }
    let list = |all: &[String]| Some(all.to_vec()).filter(|all| !all.is_empty());
    let mut new = OciHook::default();
    new.set_path(PathBuf::from(&hook.path))
        .set_args(list(&hook.args))
        .set_env(list(&hook.env))
        .set_timeout(hook.timeout.as_ref().map(|timeout| timeout.value));
    Ok(new)
}

fn rlimits(process: &mut Process, wanted: &[PosixRlimit]) -> Result<(), Report> {
    if wanted.is_empty() {
        return Ok(());
    }
    let mut all = process.rlimits().clone().unwrap_or_default();
    for limit in wanted {
        let kind = limit
            .r#type
            .parse::<PosixRlimitType>()
            .map_err(|_| bad("rlimits.type", &limit.r#type, "there is no such limit"))?;
        all.retain(|there| there.typ() != kind);
        let new = PosixRlimitBuilder::default().typ(kind).hard(limit.hard).soft(limit.soft).build();
        all.push(new.map_err(|error| bad("rlimits", &limit.r#type, &error.to_string()))?);
    }
    process.set_rlimits(Some(all));
    Ok(())
}

fn linux(spec: &mut Spec, wanted: &LinuxContainerAdjustment) -> Result<(), Report> {
    devices(spec, &wanted.devices)?;
    let Some(linux) = spec.linux_mut() else { return Ok(()) };
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    for one in &wanted.namespaces {
        let (kind, removed) = marked(&one.r#type);
        let kind = namespace(kind)?;
        namespaces.retain(|there| there.typ() != kind);
        if !removed {
            namespaces.push(oci_namespace(kind, one));
        }
    }
    linux.set_namespaces(Some(namespaces));
    let mut sysctls = linux.sysctl().clone().unwrap_or_default();
    for (name, value) in &wanted.sysctl {
        match marked(name) {
            (name, true) => {
                sysctls.remove(name);
            }
            (name, false) => {
                sysctls.insert(name.to_owned(), value.clone());
            }
        }
    }
    linux.set_sysctl(Some(sysctls).filter(|all| !all.is_empty()));
    if !wanted.cgroups_path.is_empty() {
        return Err(bad(
            "cgroups_path",
            &wanted.cgroups_path,
            "a container's cgroup is below its pod's, by its id",
        ));
    }
    policy::of_linux(linux, wanted)
}

fn namespace(kind: &str) -> Result<LinuxNamespaceType, Report> {
    LinuxNamespaceType::try_from(kind).map_err(|_| bad("namespaces.type", kind, "there is no such namespace"))
}

fn oci_namespace(kind: LinuxNamespaceType, wanted: &LinuxNamespace) -> oci_spec::runtime::LinuxNamespace {
    let mut new = oci_spec::runtime::LinuxNamespace::default();
    new.set_typ(kind).set_path(Some(PathBuf::from(&wanted.path)).filter(|path| !path.as_os_str().is_empty()));
    new
}

fn device_type(field: &str, kind: &str) -> Result<LinuxDeviceType, Report> {
    match kind {
        "a" => Ok(LinuxDeviceType::A),
        "b" => Ok(LinuxDeviceType::B),
        "c" => Ok(LinuxDeviceType::C),
        "u" => Ok(LinuxDeviceType::U),
        "p" => Ok(LinuxDeviceType::P),
        other => Err(bad(field, other, "there is no such type of device")),
    }
}

/// Nodes, and rules by which they may be used.
fn devices(spec: &mut Spec, wanted: &[LinuxDevice]) -> Result<(), Report> {
    if wanted.is_empty() {
        return Ok(());
    }
    let mut rules = Vec::new();
    let Some(linux) = spec.linux_mut() else { return Ok(()) };
    let mut all = linux.devices().clone().unwrap_or_default();
    for device in wanted {
        let (path, removed) = marked(&device.path);
        all.retain(|there| there.path() != Path::new(path));
        if removed {
            continue;
        }
        if !path.starts_with('/') {
            return Err(bad("devices.path", path, "it is no absolute path"));
        }
        let kind = device_type("devices.type", &device.r#type)?;
        let mut new = oci_spec::runtime::LinuxDevice::default();
        new.set_path(path.into())
            .set_typ(kind)
            .set_major(device.major)
            .set_minor(device.minor)
            .set_file_mode(device.file_mode.as_ref().map(|mode| mode.value))
            .set_uid(device.uid.as_ref().map(|uid| uid.value))
            .set_gid(device.gid.as_ref().map(|gid| gid.value));
        rules.push(OciRule::from(&new));
        all.push(new);
    }
    linux.set_devices(Some(all));
    rules.retain(|rule| rule.typ() != Some(LinuxDeviceType::P));
    add_rules(spec, rules);
    Ok(())
}

fn rule(wanted: &LinuxDeviceCgroup) -> Result<OciRule, Report> {
    let mut rule = OciRule::default();
    let kind = if wanted.r#type.is_empty() { "a" } else { &wanted.r#type };
    rule.set_allow(wanted.allow)
        .set_typ(Some(device_type("resources.devices.type", kind)?))
        .set_major(wanted.major.as_ref().map(|major| major.value))
        .set_minor(wanted.minor.as_ref().map(|minor| minor.value))
        .set_access(Some(wanted.access.clone()).filter(|access| !access.is_empty()));
    Ok(rule)
}

fn add_rules(spec: &mut Spec, rules: Vec<OciRule>) {
    let Some(linux) = spec.linux_mut() else { return };
    let mut resources = linux.resources().clone().unwrap_or_default();
    let mut all = resources.devices().clone().unwrap_or_default();
    all.extend(rules);
    resources.set_devices(Some(all));
    linux.set_resources(Some(resources));
}
