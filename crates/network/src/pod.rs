//! The pod's side of its network: a socket into its network namespace, and what is set up through it.
//!
//! *Invariant:* no thread enters the pod's namespace for this; the one that made the namespace opened the socket there.

use std::net::IpAddr;

use rtnetlink::LinkUnspec;

use crate::error::Error;
use crate::netlink::{Refused, Request, Socket};
use crate::route;

/// The pod's own name for its link.
pub(crate) const LINK: &str = "eth0";

/// A socket to the kernel's routing in one network namespace. It can be handed to any thread, and keeps the namespace alive.
#[derive(Debug)]
pub struct PodSocket(pub(crate) Socket);

impl PodSocket {
    /// Opens a socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Kernel`] if there can be no socket.
    pub fn open() -> Result<Self, Error> {
        Socket::route().map(PodSocket).map_err(Error::kernel("open a socket", "in the pod's network"))
    }

    /// Brings the loopback link up; all that a pod without a network needs.
    ///
    /// # Errors
    /// [`Error::Kernel`] as the kernel says.
    pub fn loopback_up(&self) -> Result<(), Error> {
        let answered = self.0.ask(Request::new().loopback_up()).and_then(crate::netlink::Answer::whole);
        answered.map(drop).map_err(Error::kernel("bring up", "the pod's loopback link"))
    }

    /// Brings loopback up and says what the pod's link is.
    pub(crate) fn begin(&self) -> Result<Option<route::Link>, Refused> {
        let request = Request::new().loopback_up().link(LinkUnspec::new_with_name(LINK).build());
        let replies = self.0.ask(request)?.except(rustix::io::Errno::NODEV)?;
        Ok(route::links(replies).next())
    }

    /// Gives link `index` its addresses and the routes through their gateways.
    pub(crate) fn address(&self, index: u32, addresses: &[PodAddress]) -> Result<(), Refused> {
        let mut request = Request::new().up(index);
        for of in addresses {
            request = request.address(index, of.address, of.prefix);
        }
        for of in addresses {
            request = request.default_route(index, of.gateway);
        }
        self.0.ask(request)?.whole().map(drop)
    }
}

/// An address of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PodAddress {
    /// The address.
    pub address: IpAddr,
    /// Prefix length of its network.
    pub prefix: u8,
    /// Where its default route leads.
    pub gateway: IpAddr,
}
