//! Networks as people write them, `10.88.0.0/16`, and the addresses in them.
//!
//! *Invariant:* a network has no host bits set, and room for a gateway and one pod at least.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Why a text is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotANet {
    /// It is not an address, a slash and a length.
    #[error("a network is an address, a slash and a prefix length")]
    Form,
    /// The prefix leaves no room for a gateway and a pod, or is longer than the address.
    #[error("the prefix leaves no room for a gateway and a pod")]
    Small,
    /// The address is one inside the network, not its first.
    #[error("bits are set behind the prefix")]
    HostBits,
    /// Nobody's pods can have these addresses: multicast, loopback, link-local, unspecified.
    #[error("addresses of this range cannot be given to pods")]
    Range,
}

macro_rules! net {
    ($(#[$doc:meta])* $name:ident, $address:ident, $bits:ident, $longest:literal, $pair:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name {
            first: $address,
            prefix: u8,
        }

        impl $name {
            /// The network that begins at `first`.
            ///
            /// # Errors
            /// [`NotANet`] says which rule it breaks.
            pub fn new(first: $address, prefix: u8) -> Result<Self, NotANet> {
                if prefix == 0 || prefix > $longest {
                    return Err(NotANet::Small);
                }
                if first.to_bits() & !Self::mask(prefix) != 0 {
                    return Err(NotANet::HostBits);
                }
                if first.is_loopback() || first.is_multicast() || first.is_unspecified() || Self::link_local(first) {
                    return Err(NotANet::Range);
                }
                Ok(Self { first, prefix })
            }

            fn mask(prefix: u8) -> $bits {
                $bits::MAX.checked_shl($pair - u32::from(prefix)).unwrap_or(0)
            }

            /// The network's own address: its first.
            #[must_use]
            pub fn first(&self) -> $address {
                self.first
            }

            /// Its last address; for IPv4 its broadcast address.
            #[must_use]
            pub fn last(&self) -> $address {
                $address::from_bits(self.first.to_bits() | !Self::mask(self.prefix))
            }

            /// How many leading bits its addresses share.
            #[must_use]
            pub fn prefix(&self) -> u8 {
                self.prefix
            }

            /// The bridge's own address: the first that a host may have.
            #[must_use]
            pub fn gateway(&self) -> $address {
                self.at(1)
            }

            /// The address `offset` behind the first.
            pub(crate) fn at(&self, offset: u32) -> $address {
                $address::from_bits(self.first.to_bits() | (<$bits>::from(offset) & !Self::mask(self.prefix)))
            }

            /// Whether `address` lies in it.
            #[must_use]
            pub fn contains(&self, address: $address) -> bool {
                address.to_bits() & Self::mask(self.prefix) == self.first.to_bits()
            }

            /// Whether it shares an address with `first`/`prefix`.
            pub(crate) fn overlaps(&self, first: $address, prefix: u8) -> bool {
                let mask = Self::mask(prefix.min(self.prefix));
                first.to_bits() & mask == self.first.to_bits() & mask
            }

            /// The prefix as a mask, in network order.
            pub(crate) fn mask_bytes(&self) -> Vec<u8> {
                Self::mask(self.prefix).to_be_bytes().to_vec()
            }
        }

        impl FromStr for $name {
            type Err = NotANet;
            fn from_str(text: &str) -> Result<Self, NotANet> {
                let (first, prefix) = text.split_once('/').ok_or(NotANet::Form)?;
                let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
                let prefix = prefix.parse().ok().filter(|_| digits).ok_or(NotANet::Form)?;
                Self::new(first.parse().map_err(|_| NotANet::Form)?, prefix)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.first, self.prefix)
            }
        }
    };
}

net! {
    /// An IPv4 network of pods.
    Net4, Ipv4Addr, u32, 30, 32
}
net! {
    /// An IPv6 network of pods.
    Net6, Ipv6Addr, u128, 126, 128
}

impl Net4 {
    fn link_local(address: Ipv4Addr) -> bool {
        address.is_link_local()
    }

    /// How many addresses can be leased: all but the network's, the gateway's and the broadcast address.
    pub(crate) fn leasable(self) -> u32 {
        (self.last().to_bits() - self.first.to_bits()).saturating_sub(2)
    }
}

impl Net6 {
    fn link_local(address: Ipv6Addr) -> bool {
        address.is_unicast_link_local()
    }
}

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The hardware address that goes with an IPv4 address. Who gets an address again gets its hardware address again, so no
    /// neighbour's table is ever wrong. 0x02 marks it as locally administered.
    pub(crate) fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Mac([0x02, 0x6f, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_parsed_strictly() {
        for good in ["10.88.0.0/16", "192.168.4.0/30", "10.0.0.0/8"] {
            assert_eq!(good.parse::<Net4>().unwrap().to_string(), good);
        }
        let bad4 = [
            ("10.88.0.0", NotANet::Form),
            ("10.88.0.0/", NotANet::Form),
            ("10.88.0.0/+16", NotANet::Form),
            ("10.88.0/16", NotANet::Form),
            ("10.88.0.0/33", NotANet::Small),
            ("10.88.0.0/31", NotANet::Small),
            ("0.0.0.0/0", NotANet::Small),
            ("10.88.0.1/16", NotANet::HostBits),
            ("127.0.0.0/8", NotANet::Range),
            ("224.0.0.0/8", NotANet::Range),
            ("169.254.0.0/16", NotANet::Range),
        ];
        for (text, why) in bad4 {
            assert_eq!(text.parse::<Net4>(), Err(why), "{text}");
        }
        assert_eq!(
            "fd00:88::/64".parse::<Net6>().unwrap().gateway(),
            "fd00:88::1".parse::<Ipv6Addr>().unwrap()
        );
        assert_eq!("fe80::/64".parse::<Net6>(), Err(NotANet::Range));
        assert_eq!("fd00::1/64".parse::<Net6>(), Err(NotANet::HostBits));
    }

    #[test]
    fn a_network_knows_its_addresses() {
        let net: Net4 = "10.1.2.8/29".parse().unwrap();
        assert_eq!(net.gateway(), Ipv4Addr::new(10, 1, 2, 9));
        assert_eq!(net.last(), Ipv4Addr::new(10, 1, 2, 15));
        assert_eq!(net.leasable(), 5);
        assert!(net.contains(Ipv4Addr::new(10, 1, 2, 12)));
        assert!(!net.contains(Ipv4Addr::new(10, 1, 2, 16)));
        assert!(net.overlaps(Ipv4Addr::new(10, 0, 0, 0), 8));
        assert!(net.overlaps(Ipv4Addr::new(10, 1, 2, 14), 32));
        assert!(!net.overlaps(Ipv4Addr::new(10, 1, 2, 16), 29));
        assert_eq!(Mac::of(net.gateway()).to_string(), "02:6f:0a:01:02:09");
    }
}
