//! What others say to us: Kubernetes' runtime interface, and orlop's own service and records.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`runtime::v1`] | CRI v1 of release 0.37: `RuntimeService` and `ImageService` |
//! | [`orlop::v1`] | orlop's own service; what the server keeps on tmpfs |
//! | [`nri::v1alpha1`] | the node resource interface: plugins of others that change pods and containers |
//! | `redact` | what messages with a secret show of themselves |
//!
//! `runtime/v1/api.proto`, `orlop/v1/*.proto` and `nri/v1alpha1/api.proto` are the source; `cargo run -p orlop-proto --example generate` makes
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

/// The node resource interface.
pub mod nri {
    /// Release 0.12.
    #[allow(
        missing_docs,
        unreachable_pub,
        clippy::pedantic,
        clippy::struct_excessive_bools,
        reason = "generated"
    )]
    pub mod v1alpha1 {
        include!("generated/nri.pkg.api.v1alpha1.rs");
    }
}
