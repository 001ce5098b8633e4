//! Between spec and plan: those who may change a container before it is made, one after the other.
//!
//! *Invariant:* all of them change the same draft, each sees what those before it did, and what one of them refuses is refused
//! before anything of the container runs. What comes out is lowered, whoever carries it out.

use orlop_model::container::Resources;
use orlop_model::report::Report;
use orlop_spec::oci::Composed;

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
    crate::nri::container::create(making.core, making.container, draft)
}

/// What the devices need that are asked for by their CDI names.
fn devices(making: &Making<'_>, draft: &mut Draft) -> Result<(), Report> {
    orlop_cdi::apply(making.devices, &mut draft.composed.spec, &crate::cdi::look).map_err(|cannot| {
        let names: Vec<&str> = making.config.named_devices.iter().map(|one| one.name.as_str()).collect();
        let field = making.config.named_devices.first().map(|one| one.field.as_str()).unwrap_or_default();
        Report::field(field, names.join(", "), format!("what its CDI file asks for cannot be: {cannot}"))
    })
}
