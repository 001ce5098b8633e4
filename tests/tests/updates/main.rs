//! What is changed while it lives: limits of containers and pods, the runtime's own configuration; and what is refused until a later
//! version has it.
//!
//! | room | what it is for |
//! | --- | --- |
//! | `cgroups` | values as the node's cgroups have them; the calls in short |
//! | `containers` | `UpdateContainerResources` |
//! | `refused` | what cannot be, and that it changes nothing |
//! | `pods` | `UpdatePodSandboxResources` |
//! | `runtime` | `UpdateRuntimeConfig`, `RuntimeConfig` |
//!
//! *Invariant:* each test has a daemon of its own, and ends with the proof that nothing is left.

mod cgroups;
mod containers;
mod pods;
mod refused;
mod runtime;
