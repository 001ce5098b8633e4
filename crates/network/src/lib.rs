//! Pod networks: the built-in bridge, with leases and host ports; and CNI, which has plugins do it.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`Bridge`] | the network of one bridge: make it, lease, attach, open ports, and the way back of each |
//! | [`PodSocket`] | the pod's side, through a socket that the maker of its namespace opened there |
//! | [`cni`] | the same by CNI plugins: a configuration that is watched, attachments that are recorded |
//! | [`Counters`] | what went through a pod's links |
//! | [`address`] | networks and addresses |
//! | [`Audit`] | what there is, in the kernel and in the files |
//! | `route`, `netlink` | links, addresses and routes; how the kernel is talked to |
//! | `nft`, `conntrack` | rules, maps of ports, and connections that must be forgotten |
//!
//! A pod goes up by `lease`, `attach`, `host_ports_add` and down by `host_ports_remove`, `detach`, `release`; each may be repeated,
//! each of the latter succeeds where there is nothing. [`host_ifname`] names the link before it exists, so that it can be written
//! down first.
//!
//! *Invariant:* but for CNI no program is started and nothing waits for anything but the kernel; the state that must outlive the
//! daemon lies in files, and the kernel is made to fit them.

pub mod address;
mod attribute;
mod audit;
mod bridge;
pub mod cni;
mod conntrack;
mod counters;
mod ensure;
mod error;
mod hostport;
mod lease;
mod netlink;
mod nft;
mod pod;
mod ports;
mod record;
mod removal;
mod route;
mod settings;
mod sysctl;
mod uplink;

pub use address::{Mac, Net4, Net6, NotANet};
pub use audit::Audit;
pub use bridge::{Attached, Bridge, host_ifname};
pub use counters::{Counters, Traffic};
pub use error::{BadSetting, Error};
pub use lease::Lease;
pub use netlink::Refused;
pub use nft::map::Element as PortElement;
pub use pod::{PodAddress, PodSocket};
pub use settings::Settings;
