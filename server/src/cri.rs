//! The edge: Kubernetes' runtime interface in, the model and reports out.
//!
//! *Invariant:* nothing of the interface's types goes further in than this room, and no gRPC code is chosen outside `status`.

pub(crate) mod convert;
pub(crate) mod status;
