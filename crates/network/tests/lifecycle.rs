//! What is made, made again, lost, found and taken down.

mod world;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use orlop_model::pod::{HostPort, Protocol};
use orlop_model::report::{Kind, Report};
use orlop_network::{BadSetting, Bridge, Error, Settings};
use world::{Space, World, id};

#[test]
fn settings_that_cannot_be_are_named() {
    let world = World::new();
    let good = world.settings("br0");
    let with = |change: &dyn Fn(&mut Settings)| {
        let mut settings = good.clone();
        change(&mut settings);
        match Bridge::new(settings) {
            Err(Error::Setting { field, why, .. }) => Some((field, why)),
            Ok(_) => None,
            Err(other) => panic!("{other}"),
        }
    };
    for name in ["", "sixteen-letters-", "a/b", "a b", ".", "..", "a:b", "ä", "all", "default"] {
        let name = name.to_owned();
        let refused = with(&|settings| settings.bridge.clone_from(&name));
        assert_eq!(refused, Some(("bridge", BadSetting::LinkName)), "{name}");
    }
    for tag in ["", "a/b", "a\nb"] {
        assert_eq!(
            with(&|settings| tag.clone_into(&mut settings.tag)),
            Some(("tag", BadSetting::Tag)),
            "{tag:?}"
        );
    }
    let small = with(&|settings| settings.subnet6 = Some("fd00::/121".parse().unwrap()));
    assert_eq!(small, Some(("subnet6", BadSetting::Fewer)));
    assert_eq!(with(&|settings| settings.subnet6 = Some("fd00::/120".parse().unwrap())), None);
    assert_eq!(
        with(&|settings| settings.state_dir = "here".into()),
        Some(("state_dir", BadSetting::Relative))
    );
    assert!(world.links().is_empty(), "nothing is made by a check");
}

#[test]
fn the_bridge_is_made_once_and_made_again_when_it_is_gone() {
    let world = World::new();
    let bridge = world.bridge();
    for _ in 0..3 {
        world.on(|| bridge.ensure()).unwrap();
    }
    let link = world.node.sh("ip -o link show br0; ip -o addr show dev br0 scope global");
    assert!(link.contains("02:6f:0a:4d:00:01") && link.contains("alias test"), "{link}");
    assert!(
        link.contains("10.77.0.1/24") && link.contains("fd77::1/64") && !link.contains("tentative"),
        "{link}"
    );
    let address = || {
        world.node.sh("cat /proc/net/dev >/dev/null; ip -o link show br0 | grep -o 'link/ether [0-9a-f:]*'")
    };
    let before = address();
    let pod = world.pod(&bridge, &id(1));
    assert_eq!(address(), before, "the bridge does not take its ports' addresses");
    let port = pod.space.serve("pod", "::");
    // Rules flushed, as a firewall does that reloads.
    world.node.sh("nft flush ruleset");
    world.on(|| bridge.ensure()).unwrap();
    assert!(world.on(|| bridge.audit()).unwrap().table);
    // Set down.
    world.node.sh("ip link set br0 down");
    world.on(|| bridge.ensure()).unwrap();
    assert!(world.node.both(&pod.v4(), port).is_some());
    // Deleted: it comes back as it was, when the next pod comes, and takes the links of those that it had.
    world.node.sh("ip link del br0");
    assert!(!world.on(|| bridge.audit()).unwrap().bridge);
    assert!(world.node.refused(&pod.v4(), port));
    let other = world.pod(&bridge, &id(2));
    let audit = world.on(|| bridge.audit()).unwrap();
    assert_eq!(address(), before);
    assert!(audit.bridge && audit.table);
    let links = [&pod, &other].map(|pod| (pod.attached.host_ifname.clone(), pod.id.clone()));
    assert_eq!(audit.links, links);
    assert!(world.node.both(&pod.v4(), port).is_some() && other.space.both(&pod.v6(), port).is_some());
    let again = other.space.serve("other", "::");
    assert!(world.node.both(&other.v4(), again).is_some());
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let world = World::new();
    world.node.sh("ip link add br0 type bridge; ip link add br1 type veth peer name br1peer");
    let before = world.node.sh("ip -o link show");
    for name in ["br0", "br1"] {
        let bridge = world.bridge_of(world.settings(name));
        let error = world.on(|| bridge.ensure()).unwrap_err();
        assert!(matches!(&error, Error::NotOurs { link, .. } if link == name), "{error}");
        assert!(world.on(|| bridge.teardown()).is_err());
        let report = Report::from(error);
        assert_eq!(report.kind, Kind::WrongState);
        assert!(report.to_string().contains("choose another [network] bridge"), "{report}");
    }
    assert_eq!(world.node.sh("ip -o link show"), before);
    // Another instance's bridge of the same name.
    let ours = world.bridge_of(world.settings("br2"));
    world.on(|| ours.ensure()).unwrap();
    let theirs = world.bridge_of(Settings { tag: "other".to_owned(), ..world.settings("br2") });
    let error = world.on(|| theirs.ensure()).unwrap_err();
    assert_eq!(error.to_string(), "link br2 exists and is not this instance's: its alias is \"test\"");
}

#[test]
fn a_subnet_in_use_is_refused_before_anything_is_made() {
    let world = World::new();
    for (subnet, subnet6, route) in [
        ("192.0.0.0/16", None, "192.0.2.0/24"),
        ("192.0.2.128/25", None, "192.0.2.0/24"),
        ("10.1.0.0/16", Some("2001:db8::/48"), "2001:db8::/64"),
    ] {
        let subnet6 = subnet6.map(|subnet6| subnet6.parse().unwrap());
        let settings = Settings { subnet: subnet.parse().unwrap(), subnet6, ..world.settings("br0") };
        let bridge = world.bridge_of(settings);
        let error = world.on(|| bridge.ensure()).unwrap_err();
        assert!(matches!(&error, Error::Overlap { route: found, .. } if found == route), "{error}");
    }
    assert!(world.links().is_empty());
    assert_eq!(world.node.sh("nft list tables"), "");
}

#[test]
fn a_thread_in_another_network_changes_nothing_there() {
    let world = World::new();
    let bridge = world.bridge();
    let elsewhere = Space::new();
    // A new namespace has what the machine's own has.
    let forwards = elsewhere.sh("cat /proc/sys/net/ipv4/ip_forward");
    let error = std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            let netns = elsewhere.netns();
            nix::sched::setns(netns, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            bridge.ensure().unwrap_err()
        });
        inside.join().unwrap()
    });
    assert!(matches!(error, Error::Elsewhere), "{error}");
    assert_eq!(elsewhere.sh("cat /proc/sys/net/ipv4/ip_forward"), forwards);
}

#[test]
fn attach_detach_and_release_may_be_repeated() {
    let world = World::new();
    let bridge = world.bridge();
    let pod = world.pod(&bridge, &id(1));
    let port = pod.space.serve("pod", "::");
    for _ in 0..2 {
        let attached = world.on(|| bridge.attach(&pod.id, &pod.lease, pod.space.netns(), pod.space.socket()));
        assert_eq!(attached.unwrap(), pod.attached);
        assert_eq!(world.on(|| bridge.lease(&pod.id)).unwrap(), pod.lease);
    }
    assert!(world.node.both(&pod.v4(), port).is_some() && world.node.both(&pod.v6(), port).is_some());
    // The daemon was killed, the pod's namespace lost, its link left: the next try has another namespace.
    let second = Space::new();
    let attached = world.on(|| bridge.attach(&pod.id, &pod.lease, second.netns(), second.socket())).unwrap();
    assert_eq!(attached, pod.attached);
    let port = second.serve("second", "::");
    assert_eq!(world.node.both(&pod.v4(), port).as_deref(), Some("second 10.77.0.1"));
    for _ in 0..2 {
        world.on(|| bridge.detach(&pod.id)).unwrap();
        world.on(|| bridge.release(&pod.id)).unwrap();
        world.on(|| bridge.host_ports_remove(&pod.id)).unwrap();
    }
    assert_eq!(world.links(), ["br0"]);
    assert!(world.on(|| bridge.leases()).unwrap().is_empty());
    for bad in ["", "../x", "A"] {
        assert!(matches!(world.on(|| bridge.lease(bad)), Err(Error::Owner(_))));
        assert!(matches!(world.on(|| bridge.detach(bad)), Err(Error::Owner(_))));
    }
}

#[test]
fn an_interrupted_attach_is_finished_by_the_next() {
    let world = World::new();
    let bridge = world.bridge();
    let space = Space::new();
    world.on(|| bridge.ensure()).unwrap();
    let lease = world.on(|| bridge.lease(&id(1))).unwrap();
    world.on(|| bridge.attach(&id(1), &lease, space.netns(), space.socket())).unwrap();
    space.sh("ip addr flush dev eth0; ip link set eth0 down; ip link set lo down");
    world.on(|| bridge.attach(&id(1), &lease, space.netns(), space.socket())).unwrap();
    let port = space.serve("pod", "::");
    assert_eq!(world.node.both("10.77.0.2", port).as_deref(), Some("pod 10.77.0.1"));
    assert_eq!(space.both("127.0.0.1", port).as_deref(), Some("pod 127.0.0.1"));
}

#[test]
fn a_pod_without_a_network_has_its_loopback() {
    let space = Space::new();
    space.socket().loopback_up().unwrap();
    let port = space.serve("pod", "::");
    assert_eq!(space.both("127.0.0.1", port).as_deref(), Some("pod 127.0.0.1"));
    assert_eq!(space.both("::1", port).as_deref(), Some("pod ::1"));
}

#[test]
fn a_full_subnet_says_so() {
    let world = World::new();
    let settings = Settings { subnet: "10.77.0.0/29".parse().unwrap(), ..world.settings("br0") };
    let bridge = world.bridge_of(settings);
    let leases: Vec<_> = (0..5).map(|number| bridge.lease(&id(number)).unwrap()).collect();
    assert!(leases.iter().all(|lease| lease.v6.is_some()));
    let report = Report::from(bridge.lease(&id(5)).unwrap_err());
    assert_eq!(report.kind, Kind::Exhausted);
    assert_eq!(
        report.to_string(),
        "network: no address of 10.77.0.0/29 is free: all 5 are leased; remove pods, or give the node a larger [network] subnet"
    );
}

#[test]
fn networks_side_by_side_do_not_touch_each_other() {
    let world = World::new();
    let one = world.bridge_of(world.settings("br0"));
    let settings = Settings {
        subnet: "10.78.0.0/24".parse().unwrap(),
        subnet6: Some("fd78::/64".parse().unwrap()),
        ..world.settings("br1")
    };
    let two = world.bridge_of(settings);
    let (first, second) = (world.pod(&one, &id(1)), world.pod(&two, &id(2)));
    let port = |host_port| HostPort { protocol: Protocol::Tcp, container_port: 80, host_port, host_ip: None };
    world.on(|| one.host_ports_add(&first.id, &first.lease, &[port(8080)])).unwrap();
    world.on(|| two.host_ports_add(&second.id, &second.lease, &[port(8081)])).unwrap();
    world.on(|| one.teardown()).unwrap();
    world.on(|| one.teardown()).unwrap();
    assert_eq!(world.links(), ["br1", &second.attached.host_ifname]);
    assert_eq!(world.node.sh("nft list tables").trim(), "table inet orlop-br1");
    let audit = world.on(|| two.audit()).unwrap();
    assert_eq!((audit.links.len(), audit.ports.len(), audit.missing_ports.len()), (1, 2, 0));
    let outside = world.outside.serve("outside", "0.0.0.0");
    assert!(second.space.both("192.0.2.2", outside).is_some());
    world.on(|| two.teardown()).unwrap();
    assert!(world.links().is_empty());
    assert_eq!(world.node.sh("nft list ruleset"), "");
    // What was torn down can be made again.
    let again = Space::new();
    world.on(|| one.attach(&first.id, &first.lease, again.netns(), again.socket())).unwrap();
    assert!(again.both("192.0.2.2", outside).is_some());
}

/// Pods come and go by two hundred, four at a time: nothing stays.
#[test]
fn two_hundred_pods_leave_nothing() {
    let world = World::new();
    let bridge = world.bridge();
    world.on(|| bridge.ensure()).unwrap();
    let times = Mutex::new((Vec::new(), Vec::new(), Vec::new()));
    std::thread::scope(|scope| {
        for worker in 0..4_u16 {
            let (world, bridge, times) = (&world, &bridge, &times);
            scope.spawn(move || {
                for round in 0..50_u16 {
                    let number = worker * 50 + round;
                    let id = id(u32::from(number) << 8);
                    let port = |host_port| HostPort {
                        protocol: if round % 2 == 0 { Protocol::Tcp } else { Protocol::Udp },
                        container_port: 80,
                        host_port,
                        host_ip: None,
                    };
                    let space = Space::new();
                    let took = world.on(|| {
                        let lease = bridge.lease(&id).unwrap();
                        let attach = timed(|| {
                            drop(bridge.attach(&id, &lease, space.netns(), space.socket()).unwrap());
                        });
                        let ports = [port(10_000 + number), port(20_000 + number)];
                        let open = timed(|| bridge.host_ports_add(&id, &lease, &ports).unwrap());
                        bridge.host_ports_remove(&id).unwrap();
                        let detach = timed(|| bridge.detach(&id).unwrap());
                        bridge.release(&id).unwrap();
                        (attach, open, detach)
                    });
                    let mut times = times.lock().unwrap();
                    times.0.push(took.0);
                    times.1.push(took.1);
                    times.2.push(took.2);
                }
            });
        }
    });
    let (attach, open, detach) = times.into_inner().unwrap();
    println!(
        "four at a time: attach {}, open two ports {}, detach {}",
        shown(attach),
        shown(open),
        shown(detach)
    );
    let audit = world.on(|| bridge.audit()).unwrap();
    let nothing = orlop_network::Audit { bridge: true, table: true, ..orlop_network::Audit::default() };
    assert_eq!(audit, nothing);
    assert_eq!(world.links(), ["br0"]);
    for line in world.node.sh("nft list table inet orlop-br0").lines() {
        assert!(!line.contains("elements"), "{line}");
    }
}

/// A drained node: everybody goes at the same moment, and shares the kernel's waits.
#[test]
fn forty_pods_that_go_at_once_are_gone_when_their_calls_return() {
    let world = World::new();
    let bridge = world.bridge();
    let pods: Vec<_> = (1..=40).map(|number| world.pod(&bridge, &id(number << 12))).collect();
    assert_eq!(world.on(|| bridge.audit()).unwrap().links.len(), 40);
    let took = timed(|| {
        std::thread::scope(|scope| {
            for pod in &pods {
                let bridge = &bridge;
                scope.spawn(move || {
                    bridge.detach(&pod.id).unwrap();
                    let left = bridge.audit().unwrap().links;
                    assert!(left.iter().all(|(_, id)| *id != pod.id));
                });
            }
        });
    });
    println!("forty at once: {took:?}");
    assert_eq!(world.links(), ["br0"]);
}

/// One at a time, on an idle node: what a pod's start pays.
#[test]
fn how_long_things_take() {
    let world = World::new();
    let bridge = world.bridge();
    let first = world.on(|| timed(|| bridge.ensure().unwrap()));
    let later = world.on(|| (0..50).map(|_| timed(|| bridge.ensure().unwrap())).collect());
    let (mut lease, mut attach, mut open, mut detach) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut spaces = Vec::new();
    for number in 1..=50 {
        let space = Space::new();
        let id = id(number);
        world.on(|| {
            let mut leased = None;
            lease.push(timed(|| leased = Some(bridge.lease(&id).unwrap())));
            let leased = leased.unwrap();
            attach.push(timed(|| drop(bridge.attach(&id, &leased, space.netns(), space.socket()).unwrap())));
            let host_port = 1000 + u16::try_from(number).unwrap();
            let port = HostPort { protocol: Protocol::Tcp, container_port: 80, host_port, host_ip: None };
            open.push(timed(|| bridge.host_ports_add(&id, &leased, &[port]).unwrap()));
        });
        // A namespace takes its links along when it goes.
        spaces.push(space);
    }
    let audit = world.on(|| bridge.audit()).unwrap();
    assert_eq!((audit.links.len(), audit.missing_ports.len()), (50, 0));
    for number in 1..=50 {
        world.on(|| detach.push(timed(|| bridge.detach(&id(number)).unwrap())));
    }
    println!("ensure first {first:?}, later {}", shown(later));
    println!("lease {}, attach {}", shown(lease), shown(attach));
    println!("open a port {}, detach {}", shown(open), shown(detach));
}

fn timed(job: impl FnOnce()) -> Duration {
    let began = Instant::now();
    job();
    began.elapsed()
}

fn shown(mut times: Vec<Duration>) -> String {
    times.sort();
    format!("{:?} (p90 {:?})", times[times.len() / 2], times[times.len() * 9 / 10])
}
