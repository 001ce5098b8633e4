//! System call filters: profiles as people write them, the default one, and their way to BPF.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`table`] | system calls by name and number, for each architecture |
//! | [`default`] | the profile of `RuntimeDefault` |
//! | [`profile`] | profiles in JSON, as OCI and container engines write them |
//! | `compile` | an OCI seccomp section becomes classic BPF |
//! | `assemble` | BPF instructions and jumps that reach |
//! | `filters` | what was compiled already |
//!
//! *Invariant:* a filter allows what its profile does, and nothing else. Where a profile can be read in two ways, the page on the
//! seccomp compiler in docs/decisions says which is meant.

mod assemble;
mod compile;
pub mod default;
mod filters;
pub mod profile;
pub mod table;

#[cfg(test)]
mod simulate;
#[cfg(test)]
mod tests;

pub use compile::{Compiled, compile};
pub use filters::Filters;
pub use profile::Profile;
pub use table::Arch;
