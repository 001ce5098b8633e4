//! The table of one bridge: `inet orlop-BRIDGE`.
//!
//! | chain | hook | what it does |
//! | --- | --- | --- |
//! | `guard` | before routing, raw | nothing from the bridge is, or speaks to, 127.0.0.0/8: `route_localnet` would let it |
//! | `incoming` | before routing, dstnat | what goes to this node: see `hostports` |
//! | `outgoing` | from this node, dstnat | the same for the node's own connections, but those to ::1 |
//! | `hostports` | | to the pod whose port it is |
//! | `forward` | forwarding, filter | pods may be reached and may reach others |
//! | `leaving` | after routing, srcnat | pods take the node's address outside; loopback takes the bridge's towards pods, and so does a pod that reaches a pod through a host port, since answers within the bridge would not come back through the node |
//!
//! `forward` says what is meant; another table's `drop` still wins, as always in nftables.
//!
//! *Invariant:* the table is replaced as a whole, in one batch: no packet meets half of it.

use super::Family;
use super::batch::{Batch, Hook};
use super::expression::{self, Expression, Is, Meta, Verdict};
use super::map::{Element, Map};
use crate::address::{Net4, Net6};

const GUARD: &str = "guard";
const INCOMING: &str = "incoming";
const OUTGOING: &str = "outgoing";
const HOST_PORTS: &str = "hostports";
const FORWARD: &str = "forward";
const LEAVING: &str = "leaving";

/// The table's name for a bridge.
pub(crate) fn table_name(bridge: &str) -> String {
    format!("orlop-{bridge}")
}

/// A bridge, as far as its rules are concerned.
pub(crate) struct Rules<'a> {
    pub(crate) bridge: &'a str,
    pub(crate) subnet: Net4,
    pub(crate) subnet6: Option<Net6>,
}

impl Rules<'_> {
    /// Puts the table, with these elements, in the place of any that was there.
    pub(crate) fn replace(&self, batch: &mut Batch<'_>, elements: &[Element]) {
        batch.table();
        batch.table_delete();
        batch.table();
        for map in Map::ALL {
            batch.map(map);
        }
        let hook = |kind, place, priority| Some(Hook { kind, place, priority });
        batch.chain(HOST_PORTS, None);
        batch.chain(GUARD, hook("filter", 0, -300));
        batch.chain(INCOMING, hook("nat", 0, -100));
        batch.chain(OUTGOING, hook("nat", 3, -100));
        batch.chain(FORWARD, hook("filter", 2, 0));
        batch.chain(LEAVING, hook("nat", 4, 100));
        for map in Map::ALL {
            batch.rule(HOST_PORTS, &expression::translate(map.family, map.name(), map.bound));
        }
        // An answer for ::1 that comes in by a bridge is dropped by the kernel (by ip6_rcv, where bridged packets pass netfilter
        // before it). Better that nobody listens at ::1 than that nobody answers: clients then try 127.0.0.1 at once.
        let one = std::net::Ipv6Addr::LOCALHOST.octets();
        let to_one = expression::destination(Family::V6, &one, &[255; 16]);
        batch.rule(OUTGOING, &ending(to_one, Expression::End(Verdict::Accept)));
        for chain in [INCOMING, OUTGOING] {
            batch
                .rule(chain, &ending(expression::to_this_node(), Expression::End(Verdict::Jump(HOST_PORTS))));
        }
        let from = || expression::link(Meta::InputName, Is::Equal, self.bridge);
        let to = || expression::link(Meta::OutputName, Is::Equal, self.bridge);
        let loopback =
            |which: fn(Family, &[u8], &[u8]) -> _| which(Family::V4, &[127, 0, 0, 0], &[255, 0, 0, 0]);
        for which in [expression::source, expression::destination] {
            batch.rule(GUARD, &ending([from(), loopback(which)].concat(), Expression::End(Verdict::Drop)));
        }
        for direction in [from(), to()] {
            batch.rule(FORWARD, &ending(direction, Expression::End(Verdict::Accept)));
        }
        let towards_pods = |mut these: Vec<Expression>| {
            these.splice(0..0, to());
            ending(these, Expression::Masquerade(false))
        };
        batch.rule(LEAVING, &towards_pods(loopback(expression::source)));
        for pods in self.pods() {
            batch.rule(LEAVING, &towards_pods([pods.clone(), expression::translated()].concat()));
            let outside = expression::link(Meta::OutputName, Is::Different, self.bridge);
            batch.rule(LEAVING, &ending([pods, outside].concat(), Expression::Masquerade(true)));
        }
        batch.elements(elements);
    }

    /// What matches packets from pods, for each family that they have.
    fn pods(&self) -> Vec<Vec<Expression>> {
        let v4 = &self.subnet;
        let mut all = vec![expression::source(Family::V4, &v4.first().octets(), &v4.mask_bytes())];
        if let Some(v6) = &self.subnet6 {
            all.push(expression::source(Family::V6, &v6.first().octets(), &v6.mask_bytes()));
        }
        all
    }
}

fn ending(mut these: Vec<Expression>, last: Expression) -> Vec<Expression> {
    these.push(last);
    these
}
