//! Maps from a port of the node to a port of a pod, and their elements.
//!
//! Four maps: for each family one whose ports are open at all of the node's addresses and one whose ports are open at one.
//!
//! *Invariant:* an element that is written and read again is the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use orlop_model::pod::Protocol;

use super::Family;
use crate::attribute::{Attributes, Writer};

/// nft's own numbers for types, by which it prints a map's elements; a type of several parts has six bits for each.
const IPV4: u32 = 7;
const IPV6: u32 = 8;
const TRANSPORT: u32 = 12;
const PORT: u32 = 13;

/// One of the four maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Map {
    /// Of which addresses.
    pub(crate) family: Family,
    /// Whether the node's address is a part of the key.
    pub(crate) bound: bool,
}

impl Map {
    /// All of them.
    pub(crate) const ALL: [Map; 4] = [
        Map { family: Family::V4, bound: true },
        Map { family: Family::V4, bound: false },
        Map { family: Family::V6, bound: true },
        Map { family: Family::V6, bound: false },
    ];

    /// What `nft list table` calls it.
    pub(crate) fn name(self) -> &'static str {
        match (self.family, self.bound) {
            (Family::V4, true) => "bound4",
            (Family::V4, false) => "ports4",
            (Family::V6, true) => "bound6",
            (Family::V6, false) => "ports6",
        }
    }

    fn address_type(self) -> u32 {
        match self.family {
            Family::V4 => IPV4,
            Family::V6 => IPV6,
        }
    }

    fn address_length(self) -> usize {
        match self.family {
            Family::V4 => 4,
            Family::V6 => 16,
        }
    }

    pub(super) fn key_type(self) -> u32 {
        let port = TRANSPORT << 6 | PORT;
        if self.bound { self.address_type() << 12 | port } else { port }
    }

    pub(super) fn key_length(self) -> u32 {
        let address = if self.bound { self.address_length() } else { 0 };
        u32::try_from(address).expect("invariant: at most 16") + 8
    }

    pub(super) fn value_type(self) -> u32 {
        self.address_type() << 6 | PORT
    }

    pub(super) fn value_length(self) -> u32 {
        u32::try_from(self.address_length()).expect("invariant: at most 16") + 4
    }
}

/// A port of the node that leads to a port of a pod, in one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Element {
    /// Transport protocol.
    pub protocol: Protocol,
    /// The node's address it is open at; unspecified: all of that family.
    pub address: IpAddr,
    /// The node's port.
    pub port: u16,
    /// The pod's address, of the same family.
    pub pod: IpAddr,
    /// The pod's port.
    pub pod_port: u16,
}

impl Element {
    /// Which map it stands in.
    pub(crate) fn map(&self) -> Map {
        let family = if self.address.is_ipv4() { Family::V4 } else { Family::V6 };
        Map { family, bound: !self.address.is_unspecified() }
    }

    fn key(&self) -> Vec<u8> {
        let mut key = if self.address.is_unspecified() { Vec::new() } else { octets(self.address) };
        key.extend_from_slice(&[transport(self.protocol), 0, 0, 0]);
        key.extend_from_slice(&self.port.to_be_bytes());
        key.extend_from_slice(&[0, 0]);
        key
    }

    fn value(&self) -> Vec<u8> {
        let mut value = octets(self.pod);
        value.extend_from_slice(&self.pod_port.to_be_bytes());
        value.extend_from_slice(&[0, 0]);
        value
    }

    /// Appends the element to a message's list.
    pub(super) fn put(&self, list: &mut Writer) {
        list.nested(1, |element| {
            element.data(1, &self.key()).data(2, &self.value());
        });
    }

    fn from_parts(map: Map, key: &[u8], value: &[u8]) -> Option<Self> {
        let (address, key) = key.split_at_checked(if map.bound { map.address_length() } else { 0 })?;
        let (pod, pod_port) = value.split_at_checked(map.address_length())?;
        let address = match (map.bound, map.family) {
            (true, _) => address_of(address)?,
            (false, Family::V4) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            (false, Family::V6) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Some(Element {
            protocol: protocol(*key.first()?)?,
            address,
            port: u16::from_be_bytes([*key.get(4)?, *key.get(5)?]),
            pod: address_of(pod)?,
            pod_port: u16::from_be_bytes([*pod_port.first()?, *pod_port.get(1)?]),
        })
    }
}

/// The elements that one message of a dump tells of.
pub(super) fn read(map: Map, payload: &[u8]) -> Vec<Element> {
    let Some(list) = payload.get(4..).and_then(|attributes| Attributes(attributes).within(3)) else {
        return Vec::new();
    };
    list.each()
        .filter_map(|(_, element)| {
            let element = Attributes(element);
            let part = |kind| element.within(kind).and_then(|part| part.find(1));
            Element::from_parts(map, part(1)?, part(2)?)
        })
        .collect()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address_of(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(octets) {
        return Some(IpAddr::from(four));
    }
    <[u8; 16]>::try_from(octets).ok().map(IpAddr::from)
}

/// `IPPROTO_*`
pub(crate) fn transport(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

fn protocol(number: u8) -> Option<Protocol> {
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|protocol| transport(*protocol) == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_read_as_it_was_written() {
        let pairs =
            [("0.0.0.0", "10.0.0.2"), ("127.0.0.1", "10.0.0.2"), ("::", "fd00::2"), ("::1", "fd00::2")];
        for (address, pod) in pairs {
            for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
                let element = Element {
                    protocol,
                    address: address.parse().unwrap(),
                    port: 8080,
                    pod: pod.parse().unwrap(),
                    pod_port: 80,
                };
                let map = element.map();
                assert_eq!(element.key().len(), map.key_length() as usize);
                assert_eq!(element.value().len(), map.value_length() as usize);
                let mut message = Writer { bytes: super::super::batch::head(1, 0) };
                message.text(1, "t").text(2, map.name()).nested(3, |list| element.put(list));
                assert_eq!(read(map, &message.bytes), [element]);
            }
        }
    }

    #[test]
    fn cut_messages_hold_nothing() {
        for map in Map::ALL {
            assert!(read(map, &[]).is_empty());
            assert_eq!(Element::from_parts(map, &[0; 3], &[0; 3]), None);
        }
    }
}
