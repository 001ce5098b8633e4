//! What went through the links of one network namespace.
//!
//! *Invariant:* one question, one answer; nothing stays open. A link that the kernel has no counters for is not there.
//!
//! Sources: rtnetlink(7), `Documentation/networking/statistics.rst` of the kernel (`struct rtnl_link_stats64`).

use crate::attribute::Attributes;
use crate::error::Error;
use crate::netlink::{Answer, Reply};
use crate::pod::{LINK, PodSocket};

/// `RTM_GETLINK`
const GET_LINK: u16 = 18;
/// `RTM_NEWLINK`
const NEW_LINK: u16 = 16;
/// Length of `struct ifinfomsg`, which a message begins with; its flags are at 8.
const HEAD: usize = 16;
/// `IFF_LOOPBACK`
const LOOPBACK: u32 = 8;
/// `IFLA_IFNAME`
const NAME: u16 = 3;
/// `IFLA_STATS64`
const COUNTERS: u16 = 23;

/// What went through a link since it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// The link's name.
    pub name: String,
    /// What came in.
    pub received: Traffic,
    /// What went out.
    pub sent: Traffic,
}

/// One direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Packets that were bad.
    pub errors: u64,
    /// Packets that were good and had no place, as `/proc/net/dev` counts them.
    pub dropped: u64,
}

impl PodSocket {
    /// All links but loopback; the pod's own link first, the others as the kernel has them.
    ///
    /// # Errors
    /// [`Error::Kernel`] as the kernel says.
    pub fn counters(&self) -> Result<Vec<Counters>, Error> {
        let answered = self.0.list(GET_LINK, &[0; HEAD]).and_then(Answer::whole);
        let replies = answered.map_err(Error::kernel("count", "the pod's links"))?;
        let mut all: Vec<Counters> = replies.iter().filter_map(link).collect();
        all.sort_by_key(|link| link.name != LINK);
        Ok(all)
    }
}

fn link(reply: &Reply) -> Option<Counters> {
    let (head, attributes) = reply.payload.split_at_checked(HEAD)?;
    let flags = u32::from_ne_bytes(head[8..12].try_into().ok()?);
    if reply.kind != NEW_LINK || flags & LOOPBACK != 0 {
        return None;
    }
    let attributes = Attributes(attributes);
    let name = attributes.find(NAME)?;
    let counters = attributes.find(COUNTERS)?;
    let at = |number: usize| {
        let bytes = counters.get(number * 8..number * 8 + 8)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    };
    Some(Counters {
        name: String::from_utf8_lossy(name).trim_end_matches('\0').to_owned(),
        // Dropped, and missed by the device: /proc/net/dev shows the sum.
        received: Traffic { packets: at(0)?, bytes: at(2)?, errors: at(4)?, dropped: at(6)? + at(15)? },
        sent: Traffic { packets: at(1)?, bytes: at(3)?, errors: at(5)?, dropped: at(7)? },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribute::Writer;

    fn message(flags: u32, counters: &[u64]) -> Reply {
        let mut payload = vec![0; HEAD];
        payload[8..12].copy_from_slice(&flags.to_ne_bytes());
        let mut writer = Writer::default();
        let bytes: Vec<u8> = counters.iter().flat_map(|count| count.to_ne_bytes()).collect();
        writer.text(NAME, "eth0").bytes(COUNTERS, &bytes);
        payload.extend_from_slice(&writer.bytes);
        Reply { kind: NEW_LINK, payload }
    }

    #[test]
    fn a_link_says_what_went_through_it() {
        let counters: Vec<u64> = (1..=24).collect();
        let read = link(&message(0, &counters)).unwrap();
        assert_eq!(read.name, "eth0");
        assert_eq!(read.received, Traffic { packets: 1, bytes: 3, errors: 5, dropped: 7 + 16 });
        assert_eq!(read.sent, Traffic { packets: 2, bytes: 4, errors: 6, dropped: 8 });
    }

    #[test]
    fn loopback_and_what_is_cut_short_are_passed_over() {
        assert_eq!(link(&message(LOOPBACK, &[0; 24])), None);
        assert_eq!(link(&message(0, &[0; 10])), None);
        assert_eq!(link(&Reply { kind: NEW_LINK, payload: vec![0; 8] }), None);
        assert_eq!(link(&Reply { kind: 3, ..message(0, &[0; 24]) }), None);
    }
}
