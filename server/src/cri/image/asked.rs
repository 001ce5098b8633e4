//! The image that a request is about.
//!
//! *Invariant:* images are the same for every handler of this node; one for another handler is refused, not looked for.

use orlop_model::report::Report;
use orlop_proto::runtime::v1::ImageSpec;

use crate::pods::Core;

/// Its name or id, as it was given.
///
/// # Errors
/// It is meant for a handler that is not here.
pub(super) fn name(core: &Core, field: &str, asked: Option<ImageSpec>) -> Result<String, Report> {
    let asked = asked.unwrap_or_default();
    core.handlers.find(&format!("{field}.runtime_handler"), &asked.runtime_handler)?;
    Ok(asked.image)
}
