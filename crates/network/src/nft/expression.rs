//! What rules are made of: load something into a register, look at it, act.
//!
//! The kernel has sixteen registers of four bytes. A key or value of several parts lies in registers side by side, each part padded
//! to four bytes.
//!
//! *Invariant:* an expression is plain data; [`Expression::put`] is the only place that knows its form on the wire.

use super::Family;
use crate::attribute::Writer;

/// One of the sixteen registers, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Register(pub(crate) u32);

impl Register {
    /// `NFT_REG32_00` is number 8.
    fn number(self) -> u32 {
        8 + self.0
    }
}

/// Where comparisons take place.
const HERE: Register = Register(0);

/// What the kernel knows of a packet besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meta {
    /// Name of the link it came in by.
    InputName,
    /// Name of the link it leaves by.
    OutputName,
    /// IPv4 or IPv6.
    Family,
    /// TCP, UDP, SCTP, ...
    Transport,
}

/// Whether equal or different values match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Is {
    /// Equal.
    Equal,
    /// Different.
    Different,
}

/// Where a packet's bytes are counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    /// Its IPv4 or IPv6 header.
    Network,
    /// Its TCP, UDP or SCTP header.
    Transport,
}

/// The end of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The packet may pass this chain.
    Accept,
    /// The packet is gone.
    Drop,
    /// Go on in another chain, and come back.
    Jump(&'static str),
}

/// One step of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expression {
    /// Loads what the kernel knows.
    Load(Meta, Register),
    /// Loads bytes of the packet: counted from where, from which, how many.
    Bytes(Header, u32, u32, Register),
    /// Keeps the bits of the first register that are set in the mask.
    Mask(Vec<u8>),
    /// Goes on if the first register's value is equal to, or different from, this.
    Compare(Is, Vec<u8>),
    /// Loads what kind of address the destination is on this node, `RTN_LOCAL` being its own.
    DestinationKind,
    /// Loads the connection's status bits.
    Status,
    /// Replaces the key that begins in a register by the map's value for it, or ends the rule.
    Lookup(&'static str, Register),
    /// Sends the connection to the address that begins in the first register and the port in another.
    Translate(Family, Register),
    /// Gives the connection the address of the link that it leaves by; true: and any free port.
    Masquerade(bool),
    /// Ends the rule.
    End(Verdict),
}

impl Expression {
    /// Appends the expression, as an element of a rule's list.
    pub(crate) fn put(&self, rule: &mut Writer) {
        rule.nested(1, |element| {
            element.text(1, self.name());
            element.nested(2, |data| self.put_data(data));
        });
    }

    fn name(&self) -> &'static str {
        match self {
            Expression::Load(..) => "meta",
            Expression::Bytes(..) => "payload",
            Expression::Mask(_) => "bitwise",
            Expression::Compare(..) => "cmp",
            Expression::DestinationKind => "fib",
            Expression::Status => "ct",
            Expression::Lookup(..) => "lookup",
            Expression::Translate(..) => "nat",
            Expression::Masquerade(_) => "masq",
            Expression::End(_) => "immediate",
        }
    }

    fn put_data(&self, data: &mut Writer) {
        match self {
            Expression::Load(what, to) => {
                let key = match what {
                    Meta::InputName => 6,
                    Meta::OutputName => 7,
                    Meta::Family => 15,
                    Meta::Transport => 16,
                };
                data.number(1, to.number()).number(2, key);
            }
            Expression::Bytes(header, from, count, to) => {
                let base = match header {
                    Header::Network => 1,
                    Header::Transport => 2,
                };
                data.number(1, to.number()).number(2, base).number(3, *from).number(4, *count);
            }
            Expression::Mask(mask) => {
                let length = u32::try_from(mask.len()).expect("invariant: a mask is as long as an address");
                data.number(1, HERE.number()).number(2, HERE.number()).number(3, length);
                data.data(4, mask).data(5, &vec![0; mask.len()]);
            }
            Expression::Compare(is, value) => {
                data.number(1, HERE.number()).number(2, u32::from(*is == Is::Different)).data(3, value);
            }
            Expression::DestinationKind => {
                // NFT_FIB_RESULT_ADDRTYPE of NFTA_FIB_F_DADDR.
                data.number(1, HERE.number()).number(2, 3).number(3, 2);
            }
            Expression::Status => {
                data.number(1, HERE.number()).number(2, 2);
            }
            Expression::Lookup(map, key) => {
                data.text(1, map).number(2, key.number()).number(3, HERE.number());
            }
            Expression::Translate(family, port) => {
                // NFT_NAT_DNAT.
                data.number(1, 1).number(2, u32::from(family.number()));
                data.number(3, HERE.number()).number(5, port.number());
            }
            Expression::Masquerade(any_port) => {
                if *any_port {
                    // NF_NAT_RANGE_PROTO_RANDOM_FULLY: two pods that use the same port do not get in each other's way.
                    data.number(1, 1 << 4);
                }
            }
            Expression::End(verdict) => {
                let code: i32 = match verdict {
                    Verdict::Drop => 0,
                    Verdict::Accept => 1,
                    Verdict::Jump(_) => -3,
                };
                // Register 0 of the old count holds the verdict.
                data.number(1, 0).nested(2, |value| {
                    value.nested(2, |inner| {
                        inner.bytes(1, &code.to_be_bytes());
                        if let Verdict::Jump(chain) = verdict {
                            inner.text(2, chain);
                        }
                    });
                });
            }
        }
    }
}

/// Goes on for packets of one family.
pub(crate) fn family(family: Family) -> Vec<Expression> {
    vec![Expression::Load(Meta::Family, HERE), Expression::Compare(Is::Equal, vec![family.number()])]
}

/// Goes on for packets that come in, or leave, by this link, or by another one.
pub(crate) fn link(which: Meta, is: Is, name: &str) -> Vec<Expression> {
    // All 16 bytes, so that a name is not taken for the beginning of a longer one.
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    vec![Expression::Load(which, HERE), Expression::Compare(is, bytes)]
}

/// Goes on for packets whose source lies in a network: its first address and mask.
pub(crate) fn source(of: Family, first: &[u8], mask: &[u8]) -> Vec<Expression> {
    within(of, of.source(), first, mask)
}

/// Goes on for packets whose destination lies in a network: its first address and mask.
pub(crate) fn destination(of: Family, first: &[u8], mask: &[u8]) -> Vec<Expression> {
    within(of, of.destination(), first, mask)
}

fn within(of: Family, (at, length): (u32, u32), first: &[u8], mask: &[u8]) -> Vec<Expression> {
    let mut all = family(of);
    all.push(Expression::Bytes(Header::Network, at, length, HERE));
    all.push(Expression::Mask(mask.to_vec()));
    all.push(Expression::Compare(Is::Equal, first.to_vec()));
    all
}

/// Goes on for packets to one of this node's own addresses.
pub(crate) fn to_this_node() -> Vec<Expression> {
    // RTN_LOCAL
    vec![Expression::DestinationKind, Expression::Compare(Is::Equal, 2_u32.to_ne_bytes().to_vec())]
}

/// Goes on for connections whose destination was translated.
pub(crate) fn translated() -> Vec<Expression> {
    // IPS_DST_NAT
    let bit = (1_u32 << 5).to_ne_bytes().to_vec();
    vec![Expression::Status, Expression::Mask(bit), Expression::Compare(Is::Different, vec![0; 4])]
}

/// Sends a connection where the map says for its transport and port, and for the node's address it goes to if `bound`.
pub(crate) fn translate(of: Family, map: &'static str, bound: bool) -> Vec<Expression> {
    let (at, length) = of.destination();
    let words = length / 4;
    let mut all = family(of);
    let mut next = 0;
    if bound {
        all.push(Expression::Bytes(Header::Network, at, length, Register(next)));
        next += words;
    }
    all.push(Expression::Load(Meta::Transport, Register(next)));
    all.push(Expression::Bytes(Header::Transport, 2, 2, Register(next + 1)));
    all.push(Expression::Lookup(map, Register(0)));
    all.push(Expression::Translate(of, Register(words)));
    all
}
