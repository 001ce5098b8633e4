//! What a successor of this daemon needs to know, and what a pod's containers see of it, as files.
//!
//! *Invariant:* a record appears by one rename, whole; a pod or container without one was not finished and is undone.

use std::net::IpAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use orlop_model::report::{Kind, Report};
use orlop_proto::orlop::v1::{ContainerRecord, PodRecord, Stage, UserRecord};
use orlop_proto::runtime::v1::LinuxContainerResources;
use orlop_wire::code::Wire as _;
use orlop_wire::plan::Operation;
use prost::Message as _;

use super::container::{Container, Facts};
use super::pod::{Made, Pod};
use super::sums::Sums;
use super::{Core, Places};

/// File name of a record.
const FILE: &str = "record";
/// Version of the records.
const VERSION: u32 = 1;

/// Writes `bytes` as `directory/name`, whole or not at all.
///
/// # Errors
/// If the disk does not take it.
pub(crate) fn put(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), Report> {
    let (temporary, file) = (directory.join(format!("{name}.new")), directory.join(name));
    std::fs::write(&temporary, bytes)
        .and_then(|()| {
            crate::failpoint::pass("record.written");
            std::fs::rename(&temporary, &file)
        })
        .map_err(|error| Report::new(Kind::Failed, "write", file.display().to_string(), error))
}

/// hosts, hostname and resolv.conf, as the pod's containers see them unless they bring their own; with an SELinux context where there
/// is one.
pub(super) fn write_pod_files(
    core: &Core,
    pod: &Pod,
    addresses: &[IpAddr],
    context: Option<&str>,
) -> Result<(), Report> {
    let directory = core.places.pod(&pod.id);
    let hostname = if pod.config.hostname.is_empty() { &core.node.hostname } else { &pod.config.hostname };
    let node = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let hosts = if pod.config.namespaces.host_network {
        node("/etc/hosts")
    } else {
        orlop_spec::files::hosts(hostname, addresses)
    };
    let resolv =
        pod.config.dns.as_ref().map_or_else(|| node("/etc/resolv.conf"), orlop_spec::files::resolv_conf);
    for (name, text) in [("hosts", hosts), ("resolv.conf", resolv), ("hostname", format!("{hostname}\n"))] {
        let file = directory.join(name);
        std::fs::write(&file, text)
            .and_then(|()| match pod.config.namespaces.user {
                // Bound as they are, whatever filesystem they lie on: so they are the pod's root's.
                Some(maps) => chown(&file, Some(maps.uids.host), Some(maps.gids.host)),
                None => Ok(()),
            })
            .map_err(|error| Report::new(Kind::Failed, "write", file.display().to_string(), error))?;
        if let Some(context) = context {
            super::relabel::tree("label", &file, super::relabel::XATTR, context)?;
        }
    }
    Ok(())
}

fn stages(stages: &[(String, u64)]) -> Vec<Stage> {
    stages
        .iter()
        .map(|(name, microseconds)| Stage { name: name.clone(), microseconds: *microseconds })
        .collect()
}

/// Writes a pod's record: from here on it is made.
///
/// # Errors
/// If the disk does not take it.
pub(super) fn write_pod(core: &Core, pod: &Pod, made: &Made, sums: &Sums) -> Result<(), Report> {
    let record = PodRecord {
        version: VERSION,
        id: pod.id.to_string(),
        created_at: pod.created_at.0,
        config: Some(pod.asked.clone()),
        runtime_handler: pod.config.handler.clone(),
        addresses: made.addresses.iter().map(IpAddr::to_string).collect(),
        netns_path: Places::netns(&pod.id).display().to_string(),
        cgroup_parent: core.pod_cgroup(pod),
        stages: stages(&made.stages),
        resources: sums.resources.clone(),
        overhead: sums.overhead.clone(),
    };
    put(&core.places.pod(&pod.id), FILE, &record.encode_to_vec())
}

/// Writes a container's record: from here on it is created. `limits` are those that were updated.
///
/// # Errors
/// If the disk does not take it.
pub(super) fn write_container(
    core: &Core,
    container: &Container,
    facts: &Facts,
    limits: Option<&LinuxContainerResources>,
) -> Result<(), Report> {
    let text = |path: &PathBuf| path.display().to_string();
    let (uid, gid, groups) = facts.user.clone();
    let record = ContainerRecord {
        version: VERSION,
        id: container.id.to_string(),
        pod_id: container.pod.id.to_string(),
        created_at: container.created_at.0,
        config: Some(container.asked.clone()),
        image_id: facts.image.clone(),
        image_ref: facts.image_ref.clone(),
        user: Some(UserRecord { uid, gid, groups }),
        log_path: facts.log_path.clone(),
        stop_signal: facts.stop_signal,
        cgroups: facts.cgroups.iter().map(text).collect(),
        unified: facts.unified.as_ref().map(text).unwrap_or_default(),
        layers: facts.layers.iter().map(text).collect(),
        exec_operations: facts.exec.to_bytes(),
        target: facts.target.as_ref().map(ToString::to_string).unwrap_or_default(),
        resources: limits.cloned(),
        // Those asked for are in the configuration; what is known beyond them are the images that they are of.
        mounts: if facts.volumes.is_empty() { Vec::new() } else { facts.mounts(&container.asked) },
        poststop_patience: facts
            .poststop
            .map_or(0, |patience| u64::try_from(patience.as_millis()).unwrap_or(u64::MAX)),
        ..ContainerRecord::default()
    };
    put(&core.places.container(&container.id), FILE, &record.encode_to_vec())
}

/// The pod's record in `directory`; `None` if it was not finished.
///
/// # Errors
/// If there is one that cannot be read.
pub(super) fn read_pod(directory: &Path) -> Result<Option<PodRecord>, Report> {
    read(directory, |bytes| PodRecord::decode(bytes))
}

/// The container's record in `directory`; `None` if it was not finished.
///
/// # Errors
/// If there is one that cannot be read.
pub(super) fn read_container(directory: &Path) -> Result<Option<ContainerRecord>, Report> {
    read(directory, |bytes| ContainerRecord::decode(bytes))
}

fn read<T>(
    directory: &Path,
    decode: impl FnOnce(&[u8]) -> Result<T, prost::DecodeError>,
) -> Result<Option<T>, Report> {
    let file = directory.join(FILE);
    let failed = |cause: String| Report::new(Kind::Corrupt, "read record", file.display().to_string(), cause);
    match std::fs::read(&file) {
        Ok(bytes) => decode(&bytes).map(Some).map_err(|error| failed(error.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// What creating a container brought, from its record.
///
/// # Errors
/// If an exec's operations cannot be read.
pub(super) fn facts(record: &ContainerRecord, directory: &Path) -> Result<Facts, Report> {
    let exec = Vec::<Operation>::from_bytes(&record.exec_operations)
        .map_err(|malformed| Report::new(Kind::Corrupt, "read record", record.id.clone(), malformed))?;
    let user = record.user.clone().unwrap_or_default();
    Ok(Facts {
        image: record.image_id.clone(),
        image_ref: record.image_ref.clone(),
        log_path: record.log_path.clone(),
        stop_signal: record.stop_signal,
        user: (user.uid, user.gid, user.groups),
        cgroups: record.cgroups.iter().map(PathBuf::from).collect(),
        unified: (!record.unified.is_empty()).then(|| record.unified.clone().into()),
        layers: record.layers.iter().map(PathBuf::from).collect(),
        volumes: record
            .mounts
            .iter()
            .filter_map(|mount| mount.image.as_ref().map(|image| image.image_ref.clone()))
            .collect(),
        target: record.target.parse().ok(),
        poststop: Some(record.poststop_patience).filter(|patience| *patience != 0).map(Duration::from_millis),
        exec,
        bundle: super::foreign::bundle_of(directory),
        restored: false,
    })
}
