//! What others say to us: Kubernetes' runtime interface, and orlop's own service and records.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`runtime::v1`] | CRI v1 of release 0.37: `RuntimeService` and `ImageService` |
//! | [`orlop::v1`] | orlop's own service; what the server keeps on tmpfs |
//! | `redact` | what messages with a secret show of themselves |
//!
//! `runtime/v1/api.proto` and `orlop/v1/*.proto` are the source; `cargo run -p orlop-proto --example generate` makes
//! `src/generated` of them. A map is a `BTreeMap`, so equal messages are equal bytes.
//!
//! *Invariant:* nothing is decided here. No message's `Debug` shows a secret. What is generated is never edited.

mod redact;

/// Kubernetes' runtime interface.
pub mod runtime {
    /// CRI v1 of release 0.37.
    #[allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]
    pub mod v1 {
        include!("generated/runtime.v1.rs");
    }
}

/// orlop's own.
pub mod orlop {
    /// Its service and its records.
    #[allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]
    pub mod v1 {
        include!("generated/orlop.v1.rs");
    }
}
