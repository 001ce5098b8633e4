//! Requests become the model, checked at the door.
//!
//! | room | what it is for |
//! | --- | --- |
//! | `check` | what a text, a path, a number may be |
//! | `pod`, `ports`, `sysctl` | what is asked of a pod |
//! | `container`, `mounts`, `resources` | what is asked of a container |
//! | `namespaces`, `mappings`, `profiles`, `security` | what either may do |
//! | `checkpoint` | what is asked of checkpoints |
//! | `signal` | stop signals, by the interface's numbers and the kernel's |
//! | `cidr` | what is asked of the network |
//! | `filter` | which pods and containers a list is asked for |
//!
//! A report's stage is the field's path in the request, `config.linux.security_context.run_as_user`.
//!
//! *Invariant:* nothing is made, opened or looked up here, and nothing that is asked for is ignored: what this version cannot do is
//! refused as [`Kind::Unsupported`]. The value of an environment variable is in no report.

mod check;
mod checkpoint;
mod cidr;
mod container;
pub(crate) mod filter;
mod mappings;
mod mounts;
mod namespaces;
mod pod;
mod ports;
mod profiles;
mod resources;
mod security;
pub(crate) mod signal;
mod sysctl;
#[cfg(test)]
mod tests;

use orlop_model::report::{Kind, Report};

pub(crate) use check::program;
pub(crate) use checkpoint::{no_options, place};
pub(crate) use cidr::pod_cidr;
pub(crate) use container::{cdi_devices, container_config};
pub(crate) use mounts::IMAGE_VOLUME;
pub(crate) use pod::pod_config;
pub(crate) use resources::{merged, resources, update_of_linux};

/// What has to be known of the node to say whether it can do what is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Node {
    /// Whether its kernel confines programs by AppArmor.
    pub(crate) apparmor: bool,
    /// Whether its kernel can give a pod a user namespace: with layers and volumes whose owners are mapped.
    pub(crate) user_namespaces: bool,
    /// Whether it labels them by SELinux.
    pub(crate) selinux: bool,
}

/// The first kernel whose overlayfs takes layers with mapped owners: major, minor.
const MAPPED_LAYERS: (u32, u32) = (5, 19);

impl Node {
    /// Asks the kernel; once, at start.
    pub(crate) fn probe(kernel: (u32, u32), selinux: bool) -> Self {
        let enabled = std::fs::read("/sys/module/apparmor/parameters/enabled");
        let most = std::fs::read_to_string("/proc/sys/user/max_user_namespaces");
        Node {
            apparmor: enabled.is_ok_and(|text| text.starts_with(b"Y")),
            user_namespaces: kernel >= MAPPED_LAYERS && most.is_ok_and(|text| text.trim() != "0"),
            selinux,
        }
    }
}

/// A field that this version cannot do.
fn unsupported(field: impl Into<String>, what: &str) -> Report {
    Report::new(Kind::Unsupported, field, "", format!("{what} is not supported by this version"))
}

/// A field that has to be there and is not.
fn missing(field: impl Into<String>) -> Report {
    Report::new(Kind::BadRequest, field, "", "it is missing")
}
