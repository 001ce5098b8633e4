//! Between spec and plan: those who may change a container before it is made, one after the other.
//!
//! *Invariant:* all of them change the same draft, each sees what those before it did, and what one of them refuses is refused
//! before anything of the container runs. What comes out is lowered, whoever carries it out.

use std::os::unix::fs::MetadataExt as _;

use oci_spec::runtime::Spec;
use orlop_model::container::Resources;
use orlop_model::report::Report;
use orlop_spec::hooks::Subject;
use orlop_spec::lower::listed_hooks;
use orlop_spec::oci::Composed;
use orlop_wire::hook::Point;

use super::plan::Making;

/// A container on its way from a request to a plan.
pub(crate) struct Draft {
    /// Its spec.
    pub(crate) composed: Composed,
    /// Its limits, of which cgroups are made.
    pub(crate) resources: Resources,
}

/// Lets each of them change the draft.
///
/// # Errors
/// What one of them refuses, by the field that asked for it.
pub(super) fn edit(making: &Making<'_>, draft: &mut Draft) -> Result<(), Report> {
    devices(making, draft)?;
    hooks(making, draft);
    crate::nri::container::create(making.core, making.container, draft)?;
    // Last: whoever asked for them.
    check_hooks(&draft.composed.spec)
}

/// What the node's hook directories have for it.
fn hooks(making: &Making<'_>, draft: &mut Draft) {
    let config = making.config;
    let bind_mounts = config.mounts.iter().any(|mount| mount.image.is_none());
    let subject = Subject { annotations: &config.annotations, bind_mounts };
    making.core.hooks.registry().apply(&mut draft.composed.spec, subject);
}

/// A hook's program is there, where that can be seen: of one that runs in the container it is the container's.
fn check_hooks(spec: &Spec) -> Result<(), Report> {
    for (point, hooks) in listed_hooks(spec) {
        for (number, hook) in hooks.iter().enumerate() {
            let field = format!("hooks.{}[{number}].path", point.name());
            let wrong = |cause: &str| Report::field(&field, hook.path().display(), cause);
            if !hook.path().is_absolute() {
                return Err(wrong("must be absolute"));
            }
            if point == Point::StartContainer {
                continue;
            }
            let found = std::fs::metadata(hook.path()).map_err(|error| wrong(&error.to_string()))?;
            if !found.is_file() || found.mode() & 0o111 == 0 {
                return Err(wrong("is no program"));
            }
        }
    }
    Ok(())
}

/// What the devices need that are asked for by their CDI names.
fn devices(making: &Making<'_>, draft: &mut Draft) -> Result<(), Report> {
    orlop_cdi::apply(making.devices, &mut draft.composed.spec, &crate::cdi::look).map_err(|cannot| {
        let names: Vec<&str> = making.config.named_devices.iter().map(|one| one.name.as_str()).collect();
        let field = making.config.named_devices.first().map(|one| one.field.as_str()).unwrap_or_default();
        Report::field(field, names.join(", "), format!("what its CDI file asks for cannot be: {cannot}"))
    })
}
