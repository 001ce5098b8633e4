//! Adjustments of a container that is created.
//!
//! *Invariant:* the next plugin sees the container as those before it want it; whoever refuses what they want is shown it as it was.

use orlop_proto::nri::v1alpha1::{
    Container, ContainerAdjustment, CreateContainerRequest, CreateContainerResponse, Field, Hooks,
    LinuxContainerAdjustment, LinuxRdt, PluginInstance, ValidateContainerAdjustmentRequest,
};

use crate::changes::{Changes, Refused};
use crate::entries::{Claim, show_list, show_map};
use crate::marked;
use crate::name::Name;
use crate::owners::{Conflict, Owners};
use crate::resources;

/// A container on its way through the plugins.
#[derive(Debug, Clone)]
pub struct Creation {
    pristine: CreateContainerRequest,
    request: CreateContainerRequest,
    adjust: ContainerAdjustment,
    changes: Changes,
    owners: Owners,
    asked: Vec<PluginInstance>,
}

impl Creation {
    /// As it was asked for.
    #[must_use]
    pub fn new(request: CreateContainerRequest) -> Self {
        Creation {
            pristine: request.clone(),
            request,
            adjust: ContainerAdjustment::default(),
            changes: Changes::default(),
            owners: Owners::default(),
            asked: Vec::new(),
        }
    }

    /// As the next plugin sees it.
    #[must_use]
    pub fn request(&self) -> &CreateContainerRequest {
        &self.request
    }

    /// Takes note that a plugin was asked, and has answered.
    pub fn asked(&mut self, plugin: &Name) {
        self.asked.push(PluginInstance { name: plugin.base.clone(), index: plugin.index.clone() });
    }

    /// Takes what `plugin` wants.
    ///
    /// # Errors
    /// If it contradicts what another wants, or is about this container as if there were it.
    pub fn apply(&mut self, plugin: &str, response: &CreateContainerResponse) -> Result<(), Refused> {
        let id = self.request.container.as_ref().map(|container| container.id.clone()).unwrap_or_default();
        if response.update.iter().any(|update| update.container_id == id) {
            return Err(Refused::Unborn(plugin.to_owned()));
        }
        if let Some(wanted) = &response.adjust {
            let there = self.request.container.get_or_insert_default();
            let mut claim = Claim { owners: &mut self.owners, container: &id, plugin };
            container(wanted, &mut self.adjust, there, &mut claim)?;
            if let Some(wanted) = &wanted.linux {
                linux(wanted, self.adjust.linux.get_or_insert_default(), there, &mut claim)?;
            }
        }
        self.changes.apply(&mut self.owners, plugin, &response.update, &response.evict)?;
        Ok(())
    }

    /// For those who may refuse all of it.
    #[must_use]
    pub fn validation(&self) -> ValidateContainerAdjustmentRequest {
        ValidateContainerAdjustmentRequest {
            pod: self.pristine.pod.clone(),
            container: self.pristine.container.clone(),
            adjust: Some(self.adjust.clone()),
            update: self.changes.updates.clone(),
            owners: Some(self.owners.message().clone()),
            plugins: self.asked.clone(),
        }
    }

    /// What all of them want.
    #[must_use]
    pub fn finish(self) -> (ContainerAdjustment, Changes) {
        (self.adjust, self.changes)
    }
}

fn container(
    wanted: &ContainerAdjustment,
    all: &mut ContainerAdjustment,
    there: &mut Container,
    claim: &mut Claim<'_>,
) -> Result<(), Conflict> {
    claim.map(Field::Annotations, &wanted.annotations, &mut all.annotations)?;
    show_map(&mut there.annotations, &wanted.annotations);
    claim.list(Field::Mounts, &wanted.mounts, |mount| &mount.destination, &mut all.mounts)?;
    show_list(
        &mut there.mounts,
        &wanted.mounts,
        |mount| &mount.destination,
        |mount| &mount.destination,
        Clone::clone,
    );
    claim.list(Field::Env, &wanted.env, |variable| &variable.key, &mut all.env)?;
    let shown = |text: &String| text.split_once('=').map_or(text.len(), |(key, _)| key.len());
    show_list(
        &mut there.env,
        &wanted.env,
        |variable| &variable.key,
        |text| &text[..shown(text)],
        |variable| format!("{}={}", variable.key, variable.value),
    );
    args(wanted, all, there, claim)?;
    if let Some(wanted) = &wanted.hooks {
        let claimed = add_hooks(all.hooks.get_or_insert_default(), wanted);
        add_hooks(there.hooks.get_or_insert_default(), wanted);
        if claimed {
            claim.add(Field::OciHooks);
        }
    }
    for limit in &wanted.rlimits {
        claim.entry(Field::Rlimits, &limit.r#type)?;
        there.rlimits.retain(|old| old.r#type != limit.r#type);
        there.rlimits.push(limit.clone());
        all.rlimits.push(limit.clone());
    }
    for device in &wanted.cdi_devices {
        claim.entry(Field::CdiDevices, &device.name)?;
        all.cdi_devices.push(device.clone());
    }
    Ok(())
}

/// The arguments as a whole; with an empty one before them they replace another plugin's.
fn args(
    wanted: &ContainerAdjustment,
    all: &mut ContainerAdjustment,
    there: &mut Container,
    claim: &mut Claim<'_>,
) -> Result<(), Conflict> {
    let wanted = match wanted.args.as_slice() {
        [] => return Ok(()),
        [first, rest @ ..] if first.is_empty() => {
            claim.clear(Field::Args, None);
            rest
        }
        wanted => wanted,
    };
    claim.field(Field::Args)?;
    all.args = wanted.to_vec();
    there.args = wanted.to_vec();
    Ok(())
}

/// Puts hooks behind those that there are; whether there was one.
fn add_hooks(there: &mut Hooks, wanted: &Hooks) -> bool {
    let kinds = [
        (&mut there.prestart, &wanted.prestart),
        (&mut there.create_runtime, &wanted.create_runtime),
        (&mut there.create_container, &wanted.create_container),
        (&mut there.start_container, &wanted.start_container),
        (&mut there.poststart, &wanted.poststart),
        (&mut there.poststop, &wanted.poststop),
    ];
    let mut any = false;
    for (there, wanted) in kinds {
        any |= !wanted.is_empty();
        there.extend(wanted.iter().cloned());
    }
    any
}

fn linux(
    wanted: &LinuxContainerAdjustment,
    all: &mut LinuxContainerAdjustment,
    there: &mut Container,
    claim: &mut Claim<'_>,
) -> Result<(), Conflict> {
    let there = there.linux.get_or_insert_default();
    claim.list(Field::Devices, &wanted.devices, |device| &device.path, &mut all.devices)?;
    show_list(
        &mut there.devices,
        &wanted.devices,
        |device| &device.path,
        |device| &device.path,
        Clone::clone,
    );
    if let Some(wanted) = &wanted.resources {
        resources::claim(wanted, claim)?;
        resources::lay_over(all.resources.get_or_insert_default(), wanted);
        resources::lay_over(there.resources.get_or_insert_default(), wanted);
    }
    for namespace in &wanted.namespaces {
        claim.entry(Field::Namespace, marked(&namespace.r#type).0)?;
        all.namespaces.push(namespace.clone());
    }
    show_list(
        &mut there.namespaces,
        &wanted.namespaces,
        |namespace| &namespace.r#type,
        |namespace| &namespace.r#type,
        Clone::clone,
    );
    claim.map(Field::Sysctl, &wanted.sysctl, &mut all.sysctl)?;
    show_map(&mut there.sysctl, &wanted.sysctl);
    claim.map(Field::LinuxNetDevices, &wanted.net_devices, &mut all.net_devices)?;
    show_map(&mut there.net_devices, &wanted.net_devices);
    if !wanted.cgroups_path.is_empty() {
        claim.field(Field::CgroupsPath)?;
        all.cgroups_path.clone_from(&wanted.cgroups_path);
        there.cgroups_path.clone_from(&wanted.cgroups_path);
    }
    macro_rules! whole {
        ($($field:ident: $claimed:expr),*) => {$(
            if wanted.$field.is_some() {
                claim.field($claimed)?;
                all.$field.clone_from(&wanted.$field);
                there.$field.clone_from(&wanted.$field);
            }
        )*};
    }
    whole!(
        oom_score_adj: Field::OomScoreAdj,
        io_priority: Field::IoPriority,
        seccomp_policy: Field::SeccompPolicy,
        scheduler: Field::LinuxSched
    );
    if wanted.memory_policy.is_some() {
        claim.field(Field::MemoryPolicy)?;
        all.memory_policy.clone_from(&wanted.memory_policy);
    }
    if let Some(wanted) = &wanted.rdt {
        rdt(wanted, &mut all.rdt, claim)?;
        there.rdt.clone_from(&all.rdt);
    }
    Ok(())
}

fn rdt(wanted: &LinuxRdt, all: &mut Option<LinuxRdt>, claim: &mut Claim<'_>) -> Result<(), Conflict> {
    let all = all.get_or_insert_default();
    if wanted.remove {
        for field in [Field::RdtClosId, Field::RdtSchemata, Field::RdtEnableMonitoring] {
            claim.clear(field, None);
        }
        *all = LinuxRdt { remove: true, ..LinuxRdt::default() };
    }
    if wanted.clos_id.is_some() {
        claim.field(Field::RdtClosId)?;
        all.clos_id.clone_from(&wanted.clos_id);
        all.remove = false;
    }
    if wanted.schemata.is_some() {
        claim.field(Field::RdtSchemata)?;
        all.schemata.clone_from(&wanted.schemata);
        all.remove = false;
    }
    if wanted.enable_monitoring.is_some() {
        claim.field(Field::RdtEnableMonitoring)?;
        all.enable_monitoring.clone_from(&wanted.enable_monitoring);
        all.remove = false;
    }
    Ok(())
}
