//! What a pod's links count, against what the kernel shows in the pod; needs root.

mod world;

use orlop_network::{Counters, PodSocket};
use world::{Space, World, id};

/// The counters as `/proc/net/dev` of the space has them: bytes, packets, errors, dropped, in and out.
fn shown(space: &Space, name: &str) -> Option<[u64; 8]> {
    let text = space.sh("cat /proc/thread-self/net/dev");
    let line =
        text.lines().find_map(|line| line.trim().strip_prefix(&format!("{name}:")).map(str::to_owned))?;
    let all: Vec<u64> = line.split_whitespace().map(|word| word.parse().expect("a number")).collect();
    Some([all[0], all[1], all[2], all[3], all[8], all[9], all[10], all[11]])
}

fn counted(link: &Counters) -> [u64; 8] {
    let [rx, tx] = [link.received, link.sent];
    [rx.bytes, rx.packets, rx.errors, rx.dropped, tx.bytes, tx.packets, tx.errors, tx.dropped]
}

/// The counters at a moment when the kernel shows the same before and after.
fn agreed(space: &Space) -> Vec<Counters> {
    for _ in 0..100 {
        let before = shown(space, "eth0");
        let links = space.run(|| PodSocket::open().and_then(|socket| socket.counters())).expect("counted");
        if before.is_some() && before == shown(space, "eth0") {
            return links;
        }
    }
    panic!("the link never rests");
}

#[test]
fn every_link_but_loopback_is_counted_and_its_own_is_first() {
    let world = World::new();
    let bridge = world.bridge();
    let pod = world.pod(&bridge, &id(1));
    pod.space.sh("ip link add aaa0 type veth peer name bbb0; ip link set aaa0 up; ip link set bbb0 up");
    let outside = world.outside.serve("outside", "::");
    let before = agreed(&pod.space);
    assert!(pod.space.both("192.0.2.2", outside).is_some());
    let after = agreed(&pod.space);
    assert_eq!(after[0].name, "eth0");
    let names: Vec<&str> = after.iter().map(|link| link.name.as_str()).collect();
    assert!(names.contains(&"aaa0") && names.contains(&"bbb0") && !names.contains(&"lo"), "{names:?}");
    assert_eq!(Some(counted(&after[0])), shown(&pod.space, "eth0"));
    assert!(
        after[0].received.bytes > before[0].received.bytes && after[0].sent.packets > before[0].sent.packets
    );
}
