//! Calls about images.

mod asked;
pub(super) mod fs_info;
pub(super) mod list;
pub(super) mod pull;
pub(super) mod remove;
pub(super) mod status;
