//! From a request to what a shim carries out: CRI and image configuration to an OCI runtime spec, that to a plan.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`input`] | what has to be known to make a container's spec |
//! | [`accounts`] | users and groups as the container's own `/etc/passwd` and `/etc/group` name them |
//! | [`oci`] | request, image and pod become an OCI runtime spec |
//! | [`seccomp`] | profiles, the default one, and their way to BPF |
//! | [`apparmor`] | the default profile of AppArmor |
//! | [`selinux`] | contexts of a pod and its containers |
//! | [`lower`] | an OCI runtime spec becomes a flat list of kernel operations |
//! | [`bundle`] | an OCI runtime spec as a runtime of others takes it |
//! | [`hooks`] | which programs of others are run for which containers |
//! | [`text`] | a plan as people read it |
//! | [`capability`] | capabilities by name, number and mask |
//! | [`signal`] | signals by name and number |
//! | [`files`] | what `/etc/hosts` and `/etc/resolv.conf` of a pod say |
//!
//! *Invariant:* pure. Nothing here opens a file, asks the kernel or reads a clock: the same input gives the same plan, with or
//! without root. What is read from disk comes in as bytes.

pub mod accounts;
pub mod apparmor;
pub mod bundle;
pub mod capability;
pub mod files;
pub mod hooks;
pub mod input;
pub mod lower;
pub mod oci;
pub mod seccomp;
pub mod selinux;
pub mod signal;
pub mod text;

#[cfg(test)]
mod scene;

pub use lower::{c_path, candidates};
