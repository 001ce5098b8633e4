//! Calls about the runtime itself.

pub(super) mod config;
pub(super) mod status;
pub(super) mod update_config;
pub(super) mod version;
