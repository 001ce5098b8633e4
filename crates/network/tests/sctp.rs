//! A host port of SCTP, with packets of its own: kernels without that protocol translate it all the same, so a raw socket at each
//! end speaks it.
//!
//! *Invariant:* both ends are in network namespaces of the test's own.

mod world;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::Duration;

use orlop_model::pod::{HostPort, Protocol};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, recv, sendto, socket};
use world::{Space, World, id};

/// Ports, verification tag, and the kind of the first chunk (RFC 9260, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packet {
    from: u16,
    to: u16,
    tag: u32,
    chunk: u8,
}

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;

impl Packet {
    fn bytes(self) -> Vec<u8> {
        let mut bytes = [self.from.to_be_bytes(), self.to.to_be_bytes()].concat();
        bytes.extend(self.tag.to_be_bytes());
        bytes.extend([0; 4]);
        // INIT and INIT ACK alike: initiate tag, window, streams out and in, first number.
        bytes.extend([self.chunk, 0, 0, 20, 0, 0, 0, 7, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
        let sum = crc32c(&bytes).to_le_bytes();
        bytes[8..12].copy_from_slice(&sum);
        bytes
    }

    /// From what a raw socket gives: with the IP header before it.
    fn read(bytes: &[u8]) -> Option<Self> {
        let header = usize::from(bytes.first()? & 15) * 4;
        let own = bytes.get(header..)?;
        let port = |at: usize| Some(u16::from_be_bytes(own.get(at..at + 2)?.try_into().ok()?));
        let mut zeroed = own.to_vec();
        zeroed.get_mut(8..12)?.fill(0);
        assert_eq!(own.get(8..12)?, crc32c(&zeroed).to_le_bytes(), "the kernel has made its sum right");
        let tag = u32::from_be_bytes(own.get(4..8)?.try_into().ok()?);
        Some(Packet { from: port(0)?, to: port(2)?, tag, chunk: *own.get(12)? })
    }
}

/// The sum of SCTP: CRC32c, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let next = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg()))
    };
    !bytes.iter().fold(u32::MAX, next)
}

fn raw(space: &Space) -> OwnedFd {
    space.run(|| {
        let raw = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::SCTP)).expect("a raw socket");
        set_socket_timeout(&raw, Timeout::Recv, Some(Duration::from_secs(20))).expect("a socket");
        raw
    })
}

fn send(from: &OwnedFd, to: Ipv4Addr, packet: Packet) {
    sendto(from, &packet.bytes(), SendFlags::empty(), &SocketAddrV4::new(to, 0)).expect("sent");
}

fn hear(at: &OwnedFd) -> Packet {
    let mut buffer = [0; 256];
    let (count, _) = recv(at, &mut buffer, RecvFlags::empty()).expect("a packet within 20 s");
    Packet::read(&buffer[..count]).expect("a packet of SCTP")
}

#[test]
fn a_host_port_of_sctp_leads_to_the_pod_and_back() {
    let world = World::new();
    let bridge = world.bridge();
    let pod = world.pod(&bridge, &id(1));
    let port = HostPort { protocol: Protocol::Sctp, container_port: 9, host_port: 3868, host_ip: None };
    world.on(|| bridge.host_ports_add(&pod.id, &pod.lease, &[port])).unwrap();
    let (outside, inside) = (raw(&world.outside), raw(&pod.space));
    let init = Packet { from: 4000, to: 3868, tag: 0, chunk: INIT };
    send(&outside, Ipv4Addr::new(192, 0, 2, 1), init);
    assert_eq!(hear(&inside), Packet { to: 9, ..init }, "to the pod's own port");
    send(&inside, Ipv4Addr::new(192, 0, 2, 2), Packet { from: 9, to: 4000, tag: 7, chunk: INIT_ACK });
    assert_eq!(
        hear(&outside),
        Packet { from: 3868, to: 4000, tag: 7, chunk: INIT_ACK },
        "from the node's port"
    );
    world.on(|| bridge.host_ports_remove(&pod.id)).unwrap();
    assert!(world.on(|| bridge.audit()).unwrap().ports.is_empty());
}
