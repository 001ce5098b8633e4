//! SELinux: whether the node has it, the level that is a pod's alone, and the contexts of a container.
//!
//! *Invariant:* where the kernel has no SELinux nothing here does anything. A level is written down before it is used, beside the
//! pod's record, and is free again when the pod is gone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use orlop_model::container::ContainerConfig;
use orlop_model::id::PodId;
use orlop_model::pod::Selinux;
use orlop_model::report::{Kind, Report};
use orlop_spec::selinux::{Labels, Policy, free_level};

use super::pod::Pod;
use super::{Core, relabel};

/// What a kernel with SELinux shows once a policy is loaded.
const ENFORCE: &str = "/sys/fs/selinux/enforce";
/// Which policy the node has.
const CONFIG: &str = "/etc/selinux/config";
/// File of a pod's level.
const LEVEL: &str = "level";

/// What contexts are made of.
#[derive(Debug, Default)]
pub(crate) struct Contexts {
    policy: Option<Policy>,
    /// Levels that pods have, and which.
    levels: Mutex<BTreeMap<String, PodId>>,
}

/// The policy of the node; none: no SELinux, or a policy that knows no containers.
pub(crate) fn policy() -> Option<Policy> {
    if !Path::new(ENFORCE).exists() {
        return None;
    }
    let config = std::fs::read_to_string(CONFIG).unwrap_or_default();
    let name = config.lines().find_map(|line| line.trim().strip_prefix("SELINUXTYPE="))?.trim();
    let contexts = format!("/etc/selinux/{name}/contexts/lxc_contexts");
    let found = std::fs::read_to_string(&contexts).ok().and_then(|text| Policy::parse(&text));
    if found.is_none() {
        tracing::warn!("SELinux is on, but {contexts} names no contexts of containers: they get none");
    }
    found
}

impl Contexts {
    /// With the levels of the pods that are there.
    pub(crate) fn new(policy: Option<Policy>, pods: &Path) -> Self {
        let mut levels = BTreeMap::new();
        if policy.is_some() {
            for entry in std::fs::read_dir(pods).into_iter().flatten().filter_map(Result::ok) {
                let pod = entry.file_name().to_str().and_then(|name| name.parse().ok());
                let level = std::fs::read_to_string(entry.path().join(LEVEL)).ok();
                levels.extend(level.zip(pod));
            }
        }
        Contexts { policy, levels: Mutex::new(levels) }
    }

    /// Gives a pod its level, where it needs one; the context of its files.
    ///
    /// # Errors
    /// If every level is taken, or it cannot be written down.
    pub(super) fn give(&self, core: &Core, pod: &Pod) -> Result<Option<String>, Report> {
        let Some(policy) = &self.policy else { return Ok(None) };
        let level = {
            let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
            levels.retain(|_, owner| core.table.pod(owner.as_str()).is_ok());
            let cause = "every pair of categories is taken";
            let level = free_level(pod.id.as_str(), |level| levels.contains_key(level))
                .ok_or_else(|| Report::new(Kind::Exhausted, "SELinux level", pod.id.short(), cause))?;
            levels.insert(level.clone(), pod.id.clone());
            level
        };
        super::record::put(&core.places.pod(&pod.id), LEVEL, level.as_bytes())?;
        Ok(Some(policy.labels(&level, &pod.config.selinux, false).file))
    }

    /// The contexts of a container of `pod`.
    pub(super) fn labels(&self, core: &Core, pod: &Pod, config: &ContainerConfig) -> Option<Labels> {
        let policy = self.policy.as_ref()?;
        let level = std::fs::read_to_string(core.places.pod(&pod.id).join(LEVEL)).unwrap_or_default();
        let own = &config.security.selinux;
        let asked = if *own == Selinux::default() { &pod.config.selinux } else { own };
        Some(policy.labels(&level, asked, config.security.privileged))
    }
}

/// Gives the volumes that are to have it the context of the container's files. In a blocking thread only.
///
/// # Errors
/// Which mount could not be labelled.
pub(super) fn relabel(config: &ContainerConfig, labels: Option<&Labels>) -> Result<(), Report> {
    let Some(Labels { process: Some(_), file }) = labels else { return Ok(()) };
    for (at, mount) in config.mounts.iter().enumerate().filter(|(_, mount)| mount.relabel) {
        if mount.image.is_some() {
            // Its files have the context by their mount.
            continue;
        }
        let field = format!("config.mounts[{at}].selinux_relabel");
        let path = Path::new(&mount.host_path);
        // A source that is missing is made, and has to have it then.
        std::fs::create_dir_all(path)
            .or_else(|error| if path.exists() { Ok(()) } else { Err(error) })
            .map_err(|error| Report::new(Kind::Failed, field.clone(), mount.host_path.clone(), error))?;
        relabel::tree(&field, path, relabel::XATTR, file)?;
    }
    Ok(())
}
