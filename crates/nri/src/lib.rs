//! What several plugins want of one container, put together.
//!
//! ```text
//!  request ─▶ plugin 10 ─▶ apply ─▶ request, changed ─▶ plugin 20 ─▶ apply ─▶ ... ─▶ rules ─▶ one adjustment, updates, evictions
//! ```
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`name`] | a plugin's index and name |
//! | [`event`] | what plugins can hear of |
//! | [`owners`] | who set which field; two that set the same contradict each other |
//! | [`creation`] | adjustments of a container that is created |
//! | [`changes`] | updates and evictions of containers that there are |
//! | `entries`, `resources` | fields with entries, limits |
//! | [`rules`] | what the node's owner does not let plugins do, and which plugins there have to be |
//!
//! The rules are those of the protocol's own adaptation (containerd/nri, pkg/adaptation/result.go and pkg/api/owners.go).
//!
//! *Invariant:* pure: messages in, messages out. A field is set by one plugin, or the container is not made; hooks, which add up, are
//! the exception. What a plugin removes another may not set again.

pub mod changes;
pub mod creation;
mod entries;
pub mod event;
pub mod name;
pub mod owners;
mod resources;
pub mod rules;

/// A key without the dash that marks it for removal, and whether it has one.
#[must_use]
pub fn marked(key: &str) -> (&str, bool) {
    match key.strip_prefix('-') {
        Some(key) => (key, true),
        None => (key, false),
    }
}
