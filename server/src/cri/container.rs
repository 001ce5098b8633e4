//! Calls about containers.

pub(super) mod create;
pub(super) mod exec_sync;
pub(super) mod list;
pub(super) mod log;
pub(super) mod remove;
pub(super) mod start;
pub(super) mod status;
pub(super) mod stop;
