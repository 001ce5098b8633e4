//! How the node reaches the world: what its routes say.
//!
//! *Invariant:* the node's own links and routes are read here and never changed.

use std::net::IpAddr;

use rtnetlink::packet_route::AddressFamily;

use crate::netlink::{Refused, Socket};

/// What a bridge's MTU is where nothing asks for less. Links to the world that carry more gain nothing from larger packets of pods,
/// which leave by routers that do not.
const MTU: u32 = 1500;
/// What IPv6 needs at least.
const LEAST: u32 = 1280;

/// The node's way out.
#[derive(Debug)]
pub(crate) struct Uplink {
    /// What fits through all links of default routes, and through a plain Ethernet.
    pub(crate) mtu: u32,
    /// Where else its routes lead: first address and prefix.
    pub(crate) routes: Vec<(IpAddr, u8)>,
}

/// Looks at the main table.
pub(crate) fn look(socket: &Socket) -> Result<Uplink, Refused> {
    let mut uplink = Uplink { mtu: MTU, routes: Vec::new() };
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        for route in socket.routes(family)? {
            if let Some(to) = route.to {
                uplink.routes.push(to);
            } else if let Some(link) = socket.link_numbered(route.link)? {
                uplink.mtu = uplink.mtu.min(link.mtu).max(LEAST);
            }
        }
    }
    Ok(uplink)
}
