//! Calls about pod sandboxes.

pub(super) mod checkpoint;
pub(super) mod list;
pub(super) mod metrics;
pub(super) mod port_forward;
pub(super) mod remove;
pub(super) mod restore;
pub(super) mod run;
pub(super) mod stats;
pub(super) mod status;
pub(super) mod stop;
pub(super) mod update;
