//! nftables without a program: what rules and maps are made of, as netlink batches.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`expression`] | what rules are made of |
//! | [`batch`] | tables, chains, rules, maps and elements, changed all at once or not at all |
//! | [`map`] | maps from a port of the node to a port of a pod |
//! | [`ruleset`] | the table of one bridge |
//!
//! References: `linux/netfilter/nf_tables.h`, `linux/netfilter/nfnetlink.h`, nft(8). `nft --debug=netlink list table inet NAME`
//! prints a table in the words of [`expression`].
//!
//! *Invariant:* nothing here touches a table that is not named after one of our bridges.

pub(crate) mod batch;
pub(crate) mod expression;
pub(crate) mod map;
pub(crate) mod ruleset;

/// Which of the two internet protocols, as netfilter numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// `NFPROTO_IPV4`, `NFPROTO_IPV6`.
    pub(crate) fn number(self) -> u8 {
        match self {
            Family::V4 => 2,
            Family::V6 => 10,
        }
    }

    /// Where the source address stands in the packet's header, and how long it is.
    fn source(self) -> (u32, u32) {
        match self {
            Family::V4 => (12, 4),
            Family::V6 => (8, 16),
        }
    }

    /// Where the destination address stands in the packet's header, and how long it is.
    fn destination(self) -> (u32, u32) {
        match self {
            Family::V4 => (16, 4),
            Family::V6 => (24, 16),
        }
    }
}
