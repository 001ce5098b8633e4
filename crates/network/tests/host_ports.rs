//! Ports of the node that lead to pods: from outside, from the node, from pods, and after all that can happen to them.

mod world;

use std::net::{SocketAddr, UdpSocket};

use orlop_model::pod::{HostPort, Protocol};
use orlop_network::Error;
use world::{World, ask_udp, id};

fn port(protocol: Protocol, host_port: u16, container_port: u16) -> HostPort {
    HostPort { protocol, container_port, host_port, host_ip: None }
}

/// Both protocols at the node's port, at all addresses or one.
fn both(host_port: u16, container_port: u16, host_ip: Option<&str>) -> Vec<HostPort> {
    let host_ip = host_ip.map(|address| address.parse().expect("an address"));
    let of = |protocol| HostPort { host_ip, ..port(protocol, host_port, container_port) };
    vec![of(Protocol::Tcp), of(Protocol::Udp)]
}

#[test]
fn a_host_port_answers_from_everywhere() {
    let world = World::new();
    let bridge = world.bridge();
    let (one, two) = (world.pod(&bridge, &id(1)), world.pod(&bridge, &id(2)));
    let inside = one.space.serve("one", "::");
    world.on(|| bridge.host_ports_add(&one.id, &one.lease, &both(8080, inside, None))).unwrap();
    // From outside, who is seen as himself.
    assert_eq!(world.outside.both("192.0.2.1", 8080).as_deref(), Some("one 192.0.2.2"));
    assert_eq!(world.outside.both("2001:db8::1", 8080).as_deref(), Some("one 2001:db8::2"));
    // From the node, at loopback and at its address.
    assert_eq!(world.node.both("127.0.0.1", 8080).as_deref(), Some("one 10.77.0.1"));
    assert_eq!(world.node.both("127.1.2.3", 8080).as_deref(), Some("one 10.77.0.1"));
    assert_eq!(world.node.both("192.0.2.1", 8080).as_deref(), Some("one 192.0.2.1"));
    // Refused, not lost: who asks for `localhost` goes on to 127.0.0.1.
    assert!(world.node.refused_at_once("::1", 8080));
    assert_eq!(world.node.both("192.0.2.1", 8080).as_deref(), Some("one 192.0.2.1"));
    assert_eq!(world.node.both("2001:db8::1", 8080).as_deref(), Some("one 2001:db8::1"));
    assert_eq!(world.node.both("10.77.0.1", 8080).as_deref(), Some("one 10.77.0.1"));
    // From another pod and from the pod itself, whose answers would not come back through the node otherwise.
    for pod in [&one, &two] {
        assert_eq!(pod.space.both("192.0.2.1", 8080).as_deref(), Some("one 10.77.0.1"));
        assert_eq!(pod.space.both("10.77.0.1", 8080).as_deref(), Some("one 10.77.0.1"));
        assert_eq!(pod.space.both("2001:db8::1", 8080).as_deref(), Some("one fd77::1"));
    }
    // A port that is nobody's, and the same port in a pod's own loopback.
    assert!(world.outside.refused("192.0.2.1", 8081));
    assert!(two.space.refused("127.0.0.1", 8080));
    // What pods send through the node to the same port elsewhere is theirs.
    let elsewhere = world.outside.serve("outside", "0.0.0.0");
    world.on(|| bridge.host_ports_add(&two.id, &two.lease, &both(elsewhere, 1, None))).unwrap();
    assert_eq!(two.space.both("192.0.2.2", elsewhere).as_deref(), Some("outside 192.0.2.1"));
}

#[test]
fn without_bridge_netfilter_the_same() {
    let world = World::new();
    world
        .node
        .sh("if test -e /proc/sys/net/bridge; then echo 0 | tee /proc/sys/net/bridge/bridge-nf-call-*; fi");
    let bridge = world.bridge();
    let (one, two) = (world.pod(&bridge, &id(1)), world.pod(&bridge, &id(2)));
    let inside = one.space.serve("one", "::");
    world.on(|| bridge.host_ports_add(&one.id, &one.lease, &both(8080, inside, None))).unwrap();
    for pod in [&one, &two] {
        assert_eq!(pod.space.both("192.0.2.1", 8080).as_deref(), Some("one 10.77.0.1"));
        assert_eq!(pod.space.both("2001:db8::1", 8080).as_deref(), Some("one fd77::1"));
    }
    assert_eq!(two.space.both(&one.v4(), inside), Some(format!("one {}", two.v4())));
}

#[test]
fn a_host_port_at_one_address_is_at_no_other() {
    let world = World::new();
    let bridge = world.bridge();
    let pod = world.pod(&bridge, &id(1));
    let inside = pod.space.serve("pod", "::");
    let ports = [both(8080, inside, Some("127.0.0.1")), both(8081, inside, Some("2001:db8::1"))].concat();
    world.on(|| bridge.host_ports_add(&pod.id, &pod.lease, &ports)).unwrap();
    assert_eq!(world.node.both("127.0.0.1", 8080).as_deref(), Some("pod 10.77.0.1"));
    assert!(world.node.refused("192.0.2.1", 8080));
    assert!(world.outside.refused("192.0.2.1", 8080));
    assert!(world.node.refused("::1", 8080));
    assert_eq!(world.outside.both("2001:db8::1", 8081).as_deref(), Some("pod 2001:db8::2"));
    assert!(world.outside.refused("192.0.2.1", 8081));
    assert!(world.node.refused("::1", 8081));
}

#[test]
fn a_host_port_that_is_taken_is_refused_with_its_owner_and_can_be_had_afterwards() {
    let world = World::new();
    let bridge = world.bridge();
    let (one, two) = (world.pod(&bridge, &id(1)), world.pod(&bridge, &id(2)));
    let inside = two.space.serve("two", "::");
    world.on(|| bridge.host_ports_add(&one.id, &one.lease, &both(8080, 80, None))).unwrap();
    let error =
        world.on(|| bridge.host_ports_add(&two.id, &two.lease, &both(8080, inside, None))).unwrap_err();
    assert!(matches!(&error, Error::PortTaken { port: 8080, owner, .. } if *owner == one.id), "{error}");
    assert!(error.to_string().contains(&format!("8080 (tcp, 0.0.0.0) is taken by pod {}", one.id)));
    // One and the same pod that asks for two things at one port.
    let twice = [port(Protocol::Tcp, 9000, 1), port(Protocol::Tcp, 9000, 2)];
    assert!(world.on(|| bridge.host_ports_add(&two.id, &two.lease, &twice)).is_err());
    assert!(world.on(|| bridge.audit()).unwrap().ports.iter().all(|(owner, _)| *owner == one.id));
    for _ in 0..2 {
        world.on(|| bridge.host_ports_remove(&one.id)).unwrap();
    }
    for _ in 0..2 {
        world.on(|| bridge.host_ports_add(&two.id, &two.lease, &both(8080, inside, None))).unwrap();
    }
    assert_eq!(world.outside.both("192.0.2.1", 8080).as_deref(), Some("two 192.0.2.2"));
    // Others than before, none at last.
    world.on(|| bridge.host_ports_add(&two.id, &two.lease, &both(8081, inside, None))).unwrap();
    assert_eq!(world.outside.both("192.0.2.1", 8081).as_deref(), Some("two 192.0.2.2"));
    assert!(world.outside.refused("192.0.2.1", 8080));
    world.on(|| bridge.host_ports_add(&two.id, &two.lease, &[])).unwrap();
    let audit = world.on(|| bridge.audit()).unwrap();
    assert!(audit.ports.is_empty() && audit.unknown_ports.is_empty(), "{audit:?}");
}

/// A client that keeps sending keeps its entry in the kernel's table, and with it the pod that was there before.
#[test]
fn a_udp_client_that_never_stops_reaches_the_pod_that_has_the_port_now() {
    let world = World::new();
    let bridge = world.bridge();
    let (one, two) = (world.pod(&bridge, &id(1)), world.pod(&bridge, &id(2)));
    let (first, second) = (one.space.serve("one", "::"), two.space.serve("two", "::"));
    for (node, any) in [("192.0.2.1:5353", "0.0.0.0:0"), ("[2001:db8::1]:5353", "[::]:0")] {
        let node: SocketAddr = node.parse().unwrap();
        let client = world.outside.run(move || UdpSocket::bind(any).unwrap());
        let ask = || {
            let client = client.try_clone().unwrap();
            world.outside.run(move || ask_udp(&client, node)).unwrap_or_default()
        };
        // Nobody yet: its first packet is remembered as one to the node itself.
        assert_eq!(ask(), "");
        world.on(|| bridge.host_ports_add(&one.id, &one.lease, &[port(Protocol::Udp, 5353, first)])).unwrap();
        assert!(ask().starts_with("one "));
        world.on(|| bridge.host_ports_remove(&one.id)).unwrap();
        world
            .on(|| bridge.host_ports_add(&two.id, &two.lease, &[port(Protocol::Udp, 5353, second)]))
            .unwrap();
        assert!(ask().starts_with("two "));
        world.on(|| bridge.host_ports_remove(&two.id)).unwrap();
        assert_eq!(ask(), "");
    }
}

/// One port, a thousand times in a row, now of this pod and now of that: each time it leads to the one that has it.
#[test]
fn a_port_is_had_a_thousand_times_in_a_row() {
    let world = World::new();
    let bridge = world.bridge();
    let (one, two) = (world.pod(&bridge, &id(1)), world.pod(&bridge, &id(2)));
    let (first, second) = (one.space.serve("one", "::"), two.space.serve("two", "::"));
    let pods = [(&one, first, "one 192.0.2.2"), (&two, second, "two 192.0.2.2")];
    for round in 0..1000 {
        let (pod, inside, answer) = pods[round % 2];
        // UDP is looked after in the kernel's whole table of connections, which takes its time: not in every round.
        let has_udp = round % 10 < 2;
        let ports = if has_udp { both(8080, inside, None) } else { vec![port(Protocol::Tcp, 8080, inside)] };
        world.on(|| bridge.host_ports_add(&pod.id, &pod.lease, &ports)).unwrap();
        assert_eq!(world.outside.tcp("192.0.2.1", 8080).as_deref(), Some(answer), "round {round}");
        if has_udp {
            assert_eq!(world.outside.udp("192.0.2.1", 8080).as_deref(), Some(answer), "round {round}");
        }
        world.on(|| bridge.host_ports_remove(&pod.id)).unwrap();
    }
    assert!(world.outside.refused("192.0.2.1", 8080));
    let audit = world.on(|| bridge.audit()).unwrap();
    assert!(audit.ports.is_empty() && audit.unknown_ports.is_empty(), "{audit:?}");
}

#[test]
fn ports_outlive_the_daemon_and_can_be_closed_by_the_next() {
    let world = World::new();
    let bridge = world.bridge();
    let (one, two) = (world.pod(&bridge, &id(1)), world.pod(&bridge, &id(2)));
    let (first, second) = (one.space.serve("one", "::"), two.space.serve("two", "::"));
    world.on(|| bridge.host_ports_add(&one.id, &one.lease, &both(8080, first, None))).unwrap();
    world.on(|| bridge.host_ports_add(&two.id, &two.lease, &both(8081, second, None))).unwrap();
    drop(bridge);
    // Still there with no daemon at all.
    assert_eq!(world.outside.both("192.0.2.1", 8080).as_deref(), Some("one 192.0.2.2"));
    let bridge = world.bridge();
    // Before anything was made sure of, and after.
    world.on(|| bridge.host_ports_remove(&two.id)).unwrap();
    assert!(world.outside.refused("192.0.2.1", 8081));
    world.on(|| bridge.ensure()).unwrap();
    assert_eq!(world.outside.both("192.0.2.1", 8080).as_deref(), Some("one 192.0.2.2"));
    let error = world.on(|| bridge.host_ports_add(&two.id, &two.lease, &both(8080, 1, None))).unwrap_err();
    assert!(matches!(error, Error::PortTaken { .. }));
    world.on(|| bridge.host_ports_remove(&one.id)).unwrap();
    assert!(world.outside.refused("192.0.2.1", 8080));
}

#[test]
fn elements_that_nobody_wrote_down_are_seen_and_go_at_the_next_start() {
    let world = World::new();
    let bridge = world.bridge();
    world.on(|| bridge.ensure()).unwrap();
    world.node.sh("nft add element inet orlop-br0 ports4 '{ tcp . 7 : 10.77.0.9 . 7 }'");
    let audit = world.on(|| bridge.audit()).unwrap();
    assert_eq!(audit.unknown_ports.len(), 1);
    assert_eq!(audit.unknown_ports[0].pod.to_string(), "10.77.0.9");
    let bridge = world.bridge();
    world.on(|| bridge.ensure()).unwrap();
    assert!(world.on(|| bridge.audit()).unwrap().unknown_ports.is_empty());
}

#[test]
fn hundreds_of_ports_come_back_with_a_table_that_was_flushed() {
    let world = World::new();
    let bridge = world.bridge();
    let pod = world.pod(&bridge, &id(1));
    let ports: Vec<_> = (1..=700).map(|number| port(Protocol::Tcp, number, number)).collect();
    world.on(|| bridge.host_ports_add(&pod.id, &pod.lease, &ports)).unwrap();
    world.node.sh("nft flush ruleset");
    assert_eq!(world.on(|| bridge.audit()).unwrap().missing_ports.len(), 1400);
    world.on(|| bridge.ensure()).unwrap();
    let audit = world.on(|| bridge.audit()).unwrap();
    assert_eq!((audit.ports.len(), audit.missing_ports.len(), audit.unknown_ports.len()), (1400, 0, 0));
    world.node.sh("nft flush ruleset");
    world.on(|| bridge.host_ports_remove(&pod.id)).unwrap();
    assert!(world.on(|| bridge.audit()).unwrap().ports.is_empty());
}

/// What a person sees who looks with nft.
#[test]
fn nft_prints_the_table_as_it_is_meant() {
    let world = World::new();
    let bridge = world.bridge();
    let pod = world.pod(&bridge, &id(1));
    let at = |address: &str, port: HostPort| HostPort { host_ip: Some(address.parse().unwrap()), ..port };
    let ports = [
        at("0.0.0.0", port(Protocol::Tcp, 8080, 80)),
        at("127.0.0.1", port(Protocol::Udp, 53, 5353)),
        at("::", port(Protocol::Sctp, 7, 9)),
        at("2001:db8::1", port(Protocol::Tcp, 8443, 443)),
    ];
    world.on(|| bridge.host_ports_add(&pod.id, &pod.lease, &ports)).unwrap();
    let printed = world.node.sh("nft -nn list table inet orlop-br0");
    let lines: Vec<&str> = printed.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.join("\n"), include_str!("table.nft").trim(), "\n{printed}");
}
