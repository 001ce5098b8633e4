//! Changes to tables, chains, rules, maps and elements that the kernel makes all at once or not at all.
//!
//! *Invariant:* a batch names one table, and every message of it says so.

use rtnetlink::packet_core::{NLM_F_APPEND, NLM_F_CREATE};

use super::expression::Expression;
use super::map::{Element, Map};
use crate::attribute::Writer;
use crate::netlink::{Refused, Request, Socket};

const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
/// `NFNL_SUBSYS_NFTABLES`
const NFTABLES: u16 = 10;
/// `NFPROTO_INET`: IPv4 and IPv6 in one table.
pub(super) const INET: u8 = 1;
/// Elements in one message; its list of them must stay below 64 KiB.
const ELEMENTS: usize = 256;

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    NewTable = 0,
    GetTable = 1,
    DelTable = 2,
    NewChain = 3,
    NewRule = 6,
    NewSet = 9,
    NewElements = 12,
    GetElements = 13,
    DelElements = 14,
}

impl Verb {
    pub(super) fn kind(self) -> u16 {
        NFTABLES << 8 | self as u16
    }
}

/// What every message of netfilter begins with: family, version 0, a resource.
pub(crate) fn head(family: u8, resource: u16) -> Vec<u8> {
    let [high, low] = resource.to_be_bytes();
    vec![family, 0, high, low]
}

/// Where a chain is hooked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hook {
    /// `filter` or `nat`.
    pub(super) kind: &'static str,
    /// `NF_INET_*`: 0 before routing, 2 forwarding, 3 from this node, 4 after routing.
    pub(super) place: u32,
    /// Before which others; lower is earlier.
    pub(super) priority: i32,
}

/// Changes on their way.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    request: Request,
    table: &'a str,
    maps: u32,
}

impl<'a> Batch<'a> {
    /// No change yet.
    pub(crate) fn new(table: &'a str) -> Self {
        let mut request = Request::new();
        request.add_unanswered(BEGIN, 0, &head(0, NFTABLES));
        Batch { request, table, maps: 0 }
    }

    fn add(&mut self, verb: Verb, flags: u16, write: impl FnOnce(&mut Writer)) {
        let mut message = Writer { bytes: head(INET, 0) };
        // The table's name is the first attribute of every message.
        message.text(1, self.table);
        write(&mut message);
        self.request.add(verb.kind(), flags, &message.bytes);
    }

    /// The table, new or as it is.
    pub(crate) fn table(&mut self) {
        self.add(Verb::NewTable, NLM_F_CREATE, |_| {});
    }

    /// The table, gone with all that is in it; it must be there.
    pub(crate) fn table_delete(&mut self) {
        self.add(Verb::DelTable, 0, |_| {});
    }

    /// A chain, hooked in or to be jumped to.
    pub(super) fn chain(&mut self, name: &str, hook: Option<Hook>) {
        self.add(Verb::NewChain, NLM_F_CREATE, |message| {
            message.text(3, name);
            if let Some(hook) = hook {
                message.nested(4, |inner| {
                    inner.number(1, hook.place).bytes(2, &hook.priority.to_be_bytes());
                });
                // NF_ACCEPT: what no rule speaks of passes.
                message.number(5, 1).text(7, hook.kind);
            }
        });
    }

    /// A rule at the end of a chain.
    pub(super) fn rule(&mut self, chain: &str, expressions: &[Expression]) {
        self.add(Verb::NewRule, NLM_F_CREATE | NLM_F_APPEND, |message| {
            message.text(2, chain);
            message.nested(4, |list| expressions.iter().for_each(|expression| expression.put(list)));
        });
    }

    /// A map without elements.
    pub(super) fn map(&mut self, map: Map) {
        self.maps += 1;
        let number = self.maps;
        self.add(Verb::NewSet, NLM_F_CREATE, |message| {
            // NFT_SET_MAP
            message.text(2, map.name()).number(3, 8);
            message.number(4, map.key_type()).number(5, map.key_length());
            message.number(6, map.value_type()).number(7, map.value_length());
            message.number(10, number);
        });
    }

    /// Elements that shall be in their maps; those that are there already, with the same value, stay.
    pub(crate) fn elements(&mut self, elements: &[Element]) {
        self.each_map(Verb::NewElements, NLM_F_CREATE, elements);
    }

    /// Elements that shall not be in their maps, whether they are there or not.
    pub(crate) fn elements_delete(&mut self, elements: &[Element]) {
        // Deleting what is not there fails and would take the batch with it. So it is put there first.
        self.each_map(Verb::NewElements, NLM_F_CREATE, elements);
        self.each_map(Verb::DelElements, 0, elements);
    }

    fn each_map(&mut self, verb: Verb, flags: u16, elements: &[Element]) {
        for map in Map::ALL {
            let of_map: Vec<&Element> = elements.iter().filter(|element| element.map() == map).collect();
            for some in of_map.chunks(ELEMENTS) {
                self.add(verb, flags, |message| {
                    message.text(2, map.name());
                    message.nested(3, |list| some.iter().for_each(|element| element.put(list)));
                });
            }
        }
    }

    /// Makes the changes.
    ///
    /// # Errors
    /// The first thing that the kernel refused; then nothing is changed.
    pub(crate) fn commit(mut self, socket: &Socket) -> Result<(), Refused> {
        self.request.add_unanswered(END, 0, &head(0, NFTABLES));
        socket.ask(self.request)?.whole().map(drop)
    }
}

/// Whether there is a table of this name.
pub(crate) fn table_exists(socket: &Socket, table: &str) -> Result<bool, Refused> {
    let mut message = Writer { bytes: head(INET, 0) };
    message.text(1, table);
    let mut request = Request::new();
    request.add(Verb::GetTable.kind(), 0, &message.bytes);
    Ok(!socket.ask(request)?.except(rustix::io::Errno::NOENT)?.is_empty())
}

/// The elements of a map, as the kernel has them; none if there is no such table.
pub(crate) fn elements(socket: &Socket, table: &str, map: Map) -> Result<Vec<Element>, Refused> {
    let mut message = Writer { bytes: head(INET, 0) };
    message.text(1, table).text(2, map.name());
    let replies = socket.list(Verb::GetElements.kind(), &message.bytes)?.except(rustix::io::Errno::NOENT)?;
    Ok(replies.iter().flat_map(|reply| super::map::read(map, &reply.payload)).collect())
}
