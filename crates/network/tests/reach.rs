//! Who reaches whom, and as whom: pods, node, outside.

mod world;

use world::{World, id};

#[test]
fn a_pod_has_its_link_addresses_and_routes() {
    let world = World::new();
    let bridge = world.bridge();
    let pod = world.pod(&bridge, &id(1));
    assert_eq!(pod.attached.host_ifname, orlop_network::host_ifname(&pod.id));
    assert_eq!(pod.attached.host_ifname, "ve0000000100000");
    let addresses = pod.space.sh("ip -o addr show dev eth0 scope global");
    assert!(addresses.contains("inet 10.77.0.2/24 brd 10.77.0.255"), "{addresses}");
    assert!(addresses.contains("inet6 fd77::2/64") && !addresses.contains("tentative"), "{addresses}");
    assert!(pod.space.sh("ip route").contains("default via 10.77.0.1 dev eth0"));
    assert!(pod.space.sh("ip -6 route").contains("default via fd77::1 dev eth0"));
    let link = pod.space.sh("ip link show eth0");
    assert!(
        link.contains("mtu 1500") && link.contains("state UP") && link.contains("02:6f:0a:4d:00:02"),
        "{link}"
    );
    assert!(pod.space.sh("ip link show lo").contains("LOOPBACK,UP"));
    assert_eq!(pod.attached.mac.to_string(), "02:6f:0a:4d:00:02");
    assert_eq!(pod.attached.addresses.len(), 2);
    assert!(world.node.sh("ip link show dev ve0000000100000").contains(&format!("alias test/br0/{}", id(1))));
}

#[test]
fn pods_reach_their_gateway_as_themselves_and_the_outside_as_the_node() {
    let world = World::new();
    let bridge = world.bridge();
    let pod = world.pod(&bridge, &id(1));
    let node = world.node.serve("node", "::");
    assert_eq!(pod.space.both("10.77.0.1", node), Some(format!("node {}", pod.v4())));
    assert_eq!(pod.space.both("fd77::1", node), Some(format!("node {}", pod.v6())));
    let outside = world.outside.serve("outside", "::");
    assert_eq!(pod.space.both("192.0.2.2", outside).as_deref(), Some("outside 192.0.2.1"));
    assert_eq!(pod.space.both("2001:db8::2", outside).as_deref(), Some("outside 2001:db8::1"));
    // And not for want of another way.
    assert!(world.outside.sh("ip route; ip -6 route").lines().all(|line| !line.contains("10.77")));
}

#[test]
fn pods_and_the_node_reach_pods_as_themselves() {
    let world = World::new();
    let bridge = world.bridge();
    let (one, two) = (world.pod(&bridge, &id(1)), world.pod(&bridge, &id(2)));
    let port = two.space.serve("two", "::");
    assert_eq!(one.space.both(&two.v4(), port), Some(format!("two {}", one.v4())));
    assert_eq!(one.space.both(&two.v6(), port), Some(format!("two {}", one.v6())));
    assert_eq!(world.node.both(&two.v4(), port).as_deref(), Some("two 10.77.0.1"));
    assert_eq!(world.node.both(&two.v6(), port).as_deref(), Some("two fd77::1"));
}

#[test]
fn a_pod_without_ipv6_has_none_and_the_node_does_not_begin_to_forward_it() {
    let world = World::new();
    let bridge = world.bridge_of(orlop_network::Settings { subnet6: None, ..world.settings("br0") });
    let pod = world.pod(&bridge, &id(1));
    assert_eq!(pod.attached.addresses.len(), 1);
    assert_eq!(pod.space.sh("ip -6 route show default"), "");
    assert_eq!(world.node.sh("cat /proc/sys/net/ipv6/conf/all/forwarding").trim(), "0");
    assert_eq!(world.node.sh("cat /proc/sys/net/ipv4/ip_forward").trim(), "1");
    let outside = world.outside.serve("outside", "0.0.0.0");
    assert_eq!(pod.space.both("192.0.2.2", outside).as_deref(), Some("outside 192.0.2.1"));
}

#[test]
fn a_node_that_learns_its_ipv6_routes_from_routers_goes_on_learning_them() {
    let world = World::new();
    world.node.sh("echo 1 > /proc/sys/net/ipv6/conf/up0/accept_ra");
    let bridge = world.bridge();
    world.on(|| bridge.ensure()).unwrap();
    assert_eq!(world.node.sh("cat /proc/sys/net/ipv6/conf/all/forwarding").trim(), "1");
    assert_eq!(world.node.sh("cat /proc/sys/net/ipv6/conf/up0/accept_ra").trim(), "2");
}

#[test]
fn packets_are_no_larger_than_the_way_out_allows() {
    let world = World::new();
    world.node.sh("ip link set up0 mtu 1400");
    let bridge = world.bridge();
    let pod = world.pod(&bridge, &id(1));
    assert!(pod.space.sh("ip link show eth0").contains("mtu 1400"));
    assert!(world.node.sh("ip link show br0").contains("mtu 1400"));
}

/// What a pod shouts comes back to it, since its way to its own host port must. It must not take itself for a duplicate.
#[test]
fn a_pod_that_hears_itself_keeps_its_link_local_address() {
    let world = World::new();
    let bridge = world.bridge();
    let pod = world.pod(&bridge, &id(1));
    assert!(world.node.sh("bridge -d link show dev ve0000000100000").contains("hairpin on"));
    let settled = (0..300).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        !pod.space.sh("ip -6 addr show dev eth0").contains("tentative")
    });
    let addresses = pod.space.sh("ip -6 addr show dev eth0");
    assert!(settled && addresses.contains("fe80::") && !addresses.contains("dadfailed"), "{addresses}");
}

/// `route_localnet` on the bridge lets the node's own 127.0.0.1 reach pods; it must not let pods reach the node's 127.0.0.1.
#[test]
fn no_pod_reaches_what_listens_on_the_nodes_loopback() {
    let world = World::new();
    let bridge = world.bridge();
    let pod = world.pod(&bridge, &id(1));
    let port = world.node.serve("secret", "127.0.0.1");
    assert_eq!(world.node.both("127.0.0.1", port).as_deref(), Some("secret 127.0.0.1"));
    pod.space.sh("ip addr del 127.0.0.1/8 dev lo; echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet;
         ip route add 127.0.0.0/8 via 10.77.0.1 dev eth0 src 10.77.0.2");
    assert!(pod.space.refused("127.0.0.1", port));
    // Without the guard it would: the attempt is a real one.
    world.node.sh("nft flush chain inet orlop-br0 guard");
    assert_eq!(pod.space.tcp("127.0.0.1", port), Some(format!("secret {}", pod.v4())));
}
