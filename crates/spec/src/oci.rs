//! Request, image and pod become an OCI runtime spec: the form that hooks, plugins and other runtimes understand and may change.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`process`] | program, arguments, environment, directory, capabilities |
//! | [`mounts`] | what is seen where |
//! | [`devices`] | device nodes, and which may be used |
//! | [`resources`] | limits |
//!
//! *Invariant:* what is asked for and cannot be is refused here by the name of its field, before anything exists.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Linux, LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceType as Kind, LinuxSeccomp,
    Root, Spec,
};
use orlop_model::container::{PidNamespace, Propagation};
use orlop_model::pod::{IdMap, PidMode, Seccomp};
use orlop_model::report::{self, Report};

use crate::input::{CgroupLayout, Input};
use crate::seccomp::profile::Subject;
use crate::seccomp::{Arch, Profile, default};

pub mod devices;
pub mod mounts;
pub mod process;
pub mod resources;

#[cfg(test)]
mod tests;

/// A spec, and what goes with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Composed {
    /// The spec.
    pub spec: Spec,
    /// Values of the environment that are no UTF-8, which a spec cannot hold: name and value, for [`crate::lower::Facts`].
    pub raw_environment: Vec<(String, Vec<u8>)>,
    /// What was asked for and is given less of, for the container's status and the log.
    pub warnings: Vec<String>,
}

/// Makes the spec of a container.
///
/// # Errors
/// A [`Report`] naming the field that cannot be.
pub fn container(input: &Input<'_>) -> Result<Composed, Report> {
    let mut warnings = Vec::new();
    if input.config.security.privileged && !input.pod.privileged {
        let cause = "needs a pod sandbox that is privileged";
        return Err(Report::field("config.linux.security_context.privileged", true, cause));
    }
    let granted = process::capabilities(input, &mut warnings)?;
    let (process, raw_environment) = process::process(input, granted, &mut warnings)?;
    let mut root = Root::default();
    // The engine that mounts the root says where: by the plan, or in a bundle.
    root.set_path(PathBuf::from("rootfs")).set_readonly(Some(input.config.security.readonly_rootfs));
    let mut spec = Spec::default();
    spec.set_version("1.2.0".to_owned())
        .set_root(Some(root))
        .set_process(Some(process))
        .set_mounts(Some(mounts::mounts(input)?))
        .set_hostname(None)
        .set_annotations(Some(input.config.annotations.clone().into_iter().collect()))
        .set_linux(Some(linux(input, granted.bounding)?));
    Ok(Composed { spec, raw_environment, warnings })
}

fn linux(input: &Input<'_>, bounding: u64) -> Result<Linux, Report> {
    let security = &input.config.security;
    let user = input.pod.namespaces.user;
    let paths = |list: &[String]| if security.privileged { Vec::new() } else { list.to_vec() };
    let mut linux = Linux::default();
    linux
        .set_sysctl(None)
        .set_uid_mappings(user.map(|maps| mapping(maps.uids)))
        .set_gid_mappings(user.map(|maps| mapping(maps.gids)))
        .set_resources(Some(resources::resources(&input.config.resources, devices::rules(input)?)))
        .set_cgroups_path(Some(PathBuf::from(input.cgroups_path)).filter(|path| !path.as_os_str().is_empty()))
        .set_namespaces(Some(namespaces(input)?))
        .set_devices(Some(devices::nodes(input)?))
        .set_seccomp(seccomp(input, bounding)?)
        .set_rootfs_propagation(propagation(input))
        .set_masked_paths(Some(paths(&security.masked_paths)))
        .set_readonly_paths(Some(paths(&security.readonly_paths)))
        .set_mount_label(input.labels.map(|labels| labels.file.clone()))
        .set_intel_rdt(None)
        .set_personality(None);
    Ok(linux)
}

/// How mounts travel between the node and the container's root: the most that any of its mounts needs.
fn propagation(input: &Input<'_>) -> Option<String> {
    let asked = |wanted| input.config.mounts.iter().any(|mount| mount.propagation == wanted);
    if asked(Propagation::Bidirectional) {
        Some("rshared".to_owned())
    } else if asked(Propagation::HostToContainer) {
        Some("rslave".to_owned())
    } else {
        None
    }
}

/// A map of ids, as the spec has it.
fn mapping(map: IdMap) -> Vec<LinuxIdMapping> {
    let mapping = LinuxIdMappingBuilder::default().container_id(0_u32).host_id(map.host).size(map.length);
    // Every part has a default: it cannot fail.
    vec![mapping.build().unwrap_or_default()]
}

fn namespace(kind: Kind, path: Option<&Path>) -> LinuxNamespace {
    let mut namespace = LinuxNamespace::default();
    namespace.set_typ(kind).set_path(path.map(Path::to_path_buf));
    namespace
}

fn namespaces(input: &Input<'_>) -> Result<Vec<LinuxNamespace>, Report> {
    let facts = input.facts;
    let mut all = vec![namespace(Kind::Mount, None)];
    // One that a pod does not have is the node's: not to be listed.
    for (kind, path) in [
        (Kind::User, &facts.user),
        (Kind::Network, &facts.net),
        (Kind::Ipc, &facts.ipc),
        (Kind::Uts, &facts.uts),
    ] {
        all.extend(path.as_deref().map(|path| namespace(kind, Some(path))));
    }
    all.extend(pid_namespace(input)?);
    // On version 2 a privileged container administrates the node's tree, as it does under other runtimes.
    // In a user namespace it cannot: there it has its own part alone.
    let whole_tree = input.config.security.privileged
        && facts.user.is_none()
        && matches!(input.node.cgroups, CgroupLayout::V2(_));
    if input.node.cgroup_namespaces && !whole_tree {
        all.push(namespace(Kind::Cgroup, None));
    }
    Ok(all)
}

fn pid_namespace(input: &Input<'_>) -> Result<Option<LinuxNamespace>, Report> {
    let field = "config.linux.security_context.namespace_options.pid";
    let missing = |cause: &str| Report::new(report::Kind::Failed, field, "", cause);
    Ok(match (&input.config.security.pid, input.pod.namespaces.pid) {
        (PidNamespace::Container, _) | (PidNamespace::Pod, PidMode::Container) => {
            Some(namespace(Kind::Pid, None))
        }
        (PidNamespace::Node, _) | (PidNamespace::Pod, PidMode::Node) => None,
        (PidNamespace::Pod, PidMode::Pod) => {
            let path = input.facts.pid.as_deref().ok_or_else(|| missing("the pod has no PID namespace"))?;
            Some(namespace(Kind::Pid, Some(path)))
        }
        (PidNamespace::Target(_), _) => {
            let path =
                input.target_pid.ok_or_else(|| missing("the target's PID namespace is not at hand"))?;
            Some(namespace(Kind::Pid, Some(path)))
        }
    })
}

/// What is wrong with the profile that a request names: the field and the file, whatever part of it that is.
#[must_use]
pub fn in_profile(path: &str, report: Report) -> Report {
    let inner = report.object == path || report.object.is_empty();
    let cause = if inner { report.cause } else { format!("{}: {}", report.object, report.cause) };
    let field = "config.linux.security_context.seccomp.localhost_ref";
    Report { kind: report.kind, advice: report.advice, ..Report::field(field, path, cause) }
}

fn seccomp(input: &Input<'_>, bounding: u64) -> Result<Option<LinuxSeccomp>, Report> {
    if input.config.security.privileged {
        return Ok(None);
    }
    let subject = Subject { capabilities: bounding, native: Arch::NATIVE, kernel: input.node.kernel };
    match (&input.config.security.seccomp, input.seccomp_profile) {
        (Seccomp::Unconfined, _) => Ok(None),
        (Seccomp::RuntimeDefault, None) => Ok(Some(default::profile(bounding, Arch::NATIVE))),
        (Seccomp::RuntimeDefault, Some(json)) => {
            Ok(Some(Profile::parse("the node's default", json)?.resolve(subject)))
        }
        (Seccomp::Localhost(name), Some(json)) => {
            let profile = Profile::parse(name, json).map_err(|report| in_profile(name, report))?;
            Ok(Some(profile.resolve(subject)))
        }
        (Seccomp::Localhost(name), None) => {
            let field = "config.linux.security_context.seccomp.localhost_ref";
            Err(Report::field(field, name, "cannot be read"))
        }
    }
}
