//! Connections that the kernel remembers and must forget when a host port comes or goes.
//!
//! UDP has no end that the kernel could see: a client that keeps sending from one port keeps its entry, and with it the pod, or the
//! lack of one, that its first packet met. TCP ends by itself. Reference: `linux/netfilter/nfnetlink_conntrack.h`.
//!
//! *Invariant:* only UDP connections to the ports in question are forgotten.

use std::net::IpAddr;

use orlop_model::pod::Protocol;
use rustix::io::Errno;

use crate::attribute::{Attributes, Writer};
use crate::netlink::{Refused, Request, Socket};
use crate::nft::batch::head;
use crate::nft::map::{Element, transport};

/// `NFNL_SUBSYS_CTNETLINK` and its verbs.
const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
/// Attributes of a connection: how it began, what its answers look like, its number.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const NUMBER: u16 = 12;

/// Forgets the UDP connections that `elements` would lead, or have led, elsewhere.
pub(crate) fn forget(socket: &Socket, elements: &[Element]) -> Result<(), Refused> {
    let udp: Vec<&Element> = elements.iter().filter(|element| element.protocol == Protocol::Udp).collect();
    if udp.is_empty() {
        return Ok(());
    }
    // Both families at once (AF_UNSPEC): the kernel walks its whole table for a question, however little is in it.
    let known = socket.list(GET, &head(0, 0))?.whole()?;
    let mut request = Request::new();
    let mut any = false;
    for connection in &known {
        let Some(attributes) = connection.payload.get(4..).map(Attributes) else { continue };
        if let Some(message) = stale(attributes, &udp) {
            request.add(DELETE, 0, &message);
            any = true;
        }
    }
    if any {
        // It may have ended meanwhile.
        socket.ask(request)?.except(Errno::NOENT)?;
    }
    Ok(())
}

/// The message that deletes the connection, if it is one of those.
fn stale(connection: Attributes<'_>, elements: &[&Element]) -> Option<Vec<u8>> {
    let original = connection.within(ORIGINAL)?;
    let reply = connection.within(REPLY)?;
    let (protocol, port) = service(original)?;
    let (client, _) = ends(original)?;
    let is_it = |element: &&&Element| {
        transport(element.protocol) == protocol
            && element.port == port
            && element.pod.is_ipv4() == client.is_ipv4()
    };
    let to = elements.iter().find(is_it)?;
    let (answering, answered) = ends(reply)?;
    // It went to the pod; or it goes wherever it went while the port was nobody's, and is not a pod's own way out.
    if answering != to.pod && answered != client {
        return None;
    }
    // AF_INET, AF_INET6
    let family = if client.is_ipv4() { 2 } else { 10 };
    let mut message = Writer { bytes: head(family, 0) };
    message.nested(ORIGINAL, |inner| inner.bytes.extend_from_slice(original.0));
    if let Some(number) = connection.find(NUMBER) {
        message.bytes(NUMBER, number);
    }
    Some(message.bytes)
}

/// Transport protocol and destination port of a direction.
fn service(direction: Attributes<'_>) -> Option<(u8, u16)> {
    let service = direction.within(2)?;
    let port = service.find(3)?;
    Some((*service.find(1)?.first()?, u16::from_be_bytes([*port.first()?, *port.get(1)?])))
}

/// Source and destination of a direction.
fn ends(direction: Attributes<'_>) -> Option<(IpAddr, IpAddr)> {
    let part = direction.within(1)?;
    let v4 = |kind| part.find(kind).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(IpAddr::from);
    let v6 = |kind| part.find(kind).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()).map(IpAddr::from);
    v4(1).zip(v4(2)).or_else(|| v6(3).zip(v6(4)))
}
