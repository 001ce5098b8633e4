//! Calls about pod sandboxes.

pub(super) mod list;
pub(super) mod port_forward;
pub(super) mod remove;
pub(super) mod run;
pub(super) mod status;
pub(super) mod stop;
