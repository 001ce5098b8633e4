//! Links, addresses and routes: what is asked of the kernel, as messages, and what it says of its links.
//!
//! *Invariant:* every message may be sent twice; the second time changes nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NetlinkDeserializable, NetlinkHeader};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{
    AddressMessageBuilder, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth,
    RouteMessageBuilder,
};
use rustix::io::Errno;

use crate::address::Mac;
use crate::netlink::{Refused, Reply, Request, Socket};

/// The loopback link has this index in every network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;
/// Made, or made to be so.
const SET: u16 = NLM_F_CREATE | NLM_F_REPLACE;

/// What is known of a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) alias: Option<String>,
    pub(crate) mac: Option<Mac>,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    pub(crate) is_bridge: bool,
}

impl Link {
    fn read(message: LinkMessage) -> Self {
        let mut link = Link {
            index: message.header.index,
            up: message.header.flags.contains(LinkFlags::Up),
            ..Link::default()
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Address(bytes) => link.mac = bytes.try_into().ok().map(Mac),
                LinkAttribute::LinkInfo(infos) => {
                    link.is_bridge = infos.contains(&LinkInfo::Kind(InfoKind::Bridge));
                }
                // The crate's own enum, of which we read what we need.
                _ => {}
            }
        }
        link
    }
}

/// A veth pair to be made.
pub(crate) struct Pair<'a> {
    /// Name of the end that stays.
    pub(crate) host: &'a str,
    /// What the end that stays says of itself.
    pub(crate) alias: &'a str,
    /// Index of its bridge.
    pub(crate) bridge: u32,
    /// The namespace in which the other end is born.
    pub(crate) netns: BorrowedFd<'a>,
    /// The other end's name.
    pub(crate) peer: &'a str,
    /// The other end's hardware address.
    pub(crate) mac: Mac,
    /// Of both.
    pub(crate) mtu: u32,
}

impl Request {
    /// The bridge, up. Its hardware address is set, so it does not follow its ports'.
    pub(crate) fn bridge_new(self, name: &str, mac: Mac, mtu: u32) -> Self {
        let message = LinkBridge::new(name).address(mac.0.to_vec()).mtu(mtu).build();
        self.route(NLM_F_CREATE | NLM_F_EXCL, &RouteNetlinkMessage::NewLink(message))
    }

    /// A veth pair, one end up and on the bridge, the other in the pod, in one message. (The other cannot be born up: at that moment
    /// it has no pair yet.)
    pub(crate) fn pair_new(self, pair: &Pair<'_>) -> Self {
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(pair.peer)
            .address(pair.mac.0.to_vec())
            .mtu(pair.mtu)
            .setns_by_fd(pair.netns.as_raw_fd())
            .build();
        let message = LinkVeth::new(pair.host, pair.peer)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .mtu(pair.mtu)
            .controller(pair.bridge)
            .up()
            .build();
        // Netfilter for bridges translates a pod's way to its own host port within the bridge, back to the port it came from: a
        // bridge sends nothing there unless the port is told to. A second message, since a link that is being born takes no
        // settings of a port.
        let port = LinkBridgePort::new(0).name(pair.host).hairpin(true).alias(pair.alias).build();
        self.route(NLM_F_CREATE | NLM_F_EXCL, &RouteNetlinkMessage::NewLink(message))
            .route(0, &RouteNetlinkMessage::NewLink(port))
    }

    /// Puts a pod's link on the bridge.
    pub(crate) fn adopt(self, name: &str, bridge: u32) -> Self {
        let link = LinkUnspec::new_with_name(name).controller(bridge).build();
        let port = LinkBridgePort::new(0).name(name).hairpin(true).build();
        self.route(0, &RouteNetlinkMessage::SetLink(link)).route(0, &RouteNetlinkMessage::NewLink(port))
    }

    /// What a link says of itself (`ip link` shows it).
    pub(crate) fn alias(self, name: &str, alias: &str) -> Self {
        let message = LinkUnspec::new_with_name(name).alias(alias).build();
        self.route(0, &RouteNetlinkMessage::SetLink(message))
    }

    /// A link that is there already, up.
    pub(crate) fn up(self, index: u32) -> Self {
        let message = LinkUnspec::new_with_index(index).up().build();
        self.route(0, &RouteNetlinkMessage::SetLink(message))
    }

    /// The loopback link, up.
    pub(crate) fn loopback_up(self) -> Self {
        self.up(LOOPBACK)
    }

    /// A link's MTU.
    pub(crate) fn mtu(self, index: u32, mtu: u32) -> Self {
        let message = LinkUnspec::new_with_index(index).mtu(mtu).build();
        self.route(0, &RouteNetlinkMessage::SetLink(message))
    }

    /// Puts a link into a group, to be deleted with it.
    pub(crate) fn group(self, name: &str, group: u32) -> Self {
        let message = LinkUnspec::new_with_name(name).link_group(group).build();
        self.route(0, &RouteNetlinkMessage::SetLink(message))
    }

    /// Deletes a link.
    pub(crate) fn delete(self, name: &str) -> Self {
        self.route(0, &RouteNetlinkMessage::DelLink(LinkUnspec::new_with_name(name).build()))
    }

    /// Deletes all links of a group.
    pub(crate) fn delete_group(self, group: u32) -> Self {
        let message = LinkMessageBuilder::<LinkUnspec>::new().link_group(group).build();
        self.route(0, &RouteNetlinkMessage::DelLink(message))
    }

    /// Asks for a link.
    pub(crate) fn link(self, message: LinkMessage) -> Self {
        self.route(0, &RouteNetlinkMessage::GetLink(without_statistics(message)))
    }

    /// Gives a link an address; an IPv6 one is usable at once, without a search for duplicates.
    pub(crate) fn address(self, index: u32, address: IpAddr, prefix: u8) -> Self {
        self.route(SET, &RouteNetlinkMessage::NewAddress(address_message(index, address, prefix)))
    }

    /// The default route.
    pub(crate) fn default_route(self, index: u32, gateway: IpAddr) -> Self {
        let message = match gateway {
            IpAddr::V4(gateway) => {
                RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index).gateway(gateway).build()
            }
            IpAddr::V6(gateway) => {
                RouteMessageBuilder::<Ipv6Addr>::new().output_interface(index).gateway(gateway).build()
            }
        };
        self.route(SET, &RouteNetlinkMessage::NewRoute(message))
    }
}

fn without_statistics(mut message: LinkMessage) -> LinkMessage {
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    message
}

fn address_message(index: u32, address: IpAddr, prefix: u8) -> AddressMessage {
    match address {
        IpAddr::V4(address) => {
            AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(address, prefix).build()
        }
        IpAddr::V6(address) => {
            let mut message =
                AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(address, prefix).build();
            message.header.flags = AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            message
        }
    }
}

/// A route as far as it matters here: where it leads, by which link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// First address and prefix; none for a default route.
    pub(crate) to: Option<(IpAddr, u8)>,
    /// Index of the link.
    pub(crate) link: u32,
}

impl Socket {
    /// The link of this name.
    pub(crate) fn link_named(&self, name: &str) -> Result<Option<Link>, Refused> {
        self.link(LinkUnspec::new_with_name(name).build())
    }

    /// The link of this index.
    pub(crate) fn link_numbered(&self, index: u32) -> Result<Option<Link>, Refused> {
        self.link(LinkUnspec::new_with_index(index).build())
    }

    fn link(&self, message: LinkMessage) -> Result<Option<Link>, Refused> {
        let replies = self.ask(Request::new().link(message))?.except(Errno::NODEV)?;
        Ok(links(replies).next())
    }

    /// All links.
    pub(crate) fn links(&self) -> Result<Vec<Link>, Refused> {
        let message = RouteNetlinkMessage::GetLink(without_statistics(LinkMessage::default()));
        Ok(links(self.list_route(&message)?.whole()?).collect())
    }

    /// The routes of the main table, of one family.
    pub(crate) fn routes(&self, family: AddressFamily) -> Result<Vec<Route>, Refused> {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        let answer = self.list_route(&RouteNetlinkMessage::GetRoute(message))?;
        Ok(messages(answer.whole()?)
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewRoute(route) => read_route(&route),
                _ => None,
            })
            .collect())
    }
}

fn read_route(message: &RouteMessage) -> Option<Route> {
    if message.header.table != RouteHeader::RT_TABLE_MAIN {
        return None;
    }
    let (mut destination, mut link) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(to)) => destination = Some(IpAddr::V4(*to)),
            RouteAttribute::Destination(RouteAddress::Inet6(to)) => destination = Some(IpAddr::V6(*to)),
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::MultiPath(hops) => link = hops.first().map(|hop| hop.interface_index),
            _ => {}
        }
    }
    Some(Route { to: destination.map(|to| (to, message.header.destination_prefix_length)), link: link? })
}

fn messages(replies: Vec<Reply>) -> impl Iterator<Item = RouteNetlinkMessage> {
    replies.into_iter().filter_map(|reply| {
        let mut header = NetlinkHeader::default();
        header.message_type = reply.kind;
        // What a newer kernel says in words that the crate does not know is passed over, as by any reader of netlink.
        RouteNetlinkMessage::deserialize(&header, &reply.payload)
            .inspect_err(
                |error| tracing::warn!(kind = reply.kind, %error, "an answer of the kernel cannot be read"),
            )
            .ok()
    })
}

/// The links that an answer tells of.
pub(crate) fn links(replies: Vec<Reply>) -> impl Iterator<Item = Link> {
    messages(replies).filter_map(|message| match message {
        RouteNetlinkMessage::NewLink(link) => Some(Link::read(link)),
        _ => None,
    })
}
