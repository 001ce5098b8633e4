//! Addresses, ports, names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::Duration;

use orlop_proto::runtime::v1::{DnsConfig, NamespaceMode, PortMapping, Protocol};
use orlop_tests::cri::{container, pod};
use orlop_tests::daemon::stage::{Stage, namespaces};
use orlop_tests::daemon::{Daemon, eventually};
use orlop_tests::{http, port};

const PAGE: &str = "orlop serves this page from a container\n";

/// Starts a web server in the pod, and waits until it serves at this address.
async fn serve(stage: &mut Stage, port: u16, address: &str) -> String {
    let port = port.to_string();
    let words = ["httpd", "-f", "-p", &port, "-h", "/www"];
    let config = container("web", &stage.image, &words);
    let id = stage.start(&config).await;
    let mut page = String::new();
    eventually("the page is served", async || {
        http::send(address, "GET", "/", &[], b"").is_ok_and(|answer| {
            page = String::from_utf8_lossy(&answer.body).into_owned();
            answer.status == 200
        })
    })
    .await;
    assert_eq!(page, PAGE);
    id
}

/// What `job` gives in the pod's network namespace.
fn inside<T: Send + 'static>(pod: &str, job: impl FnOnce() -> T + Send + 'static) -> T {
    let pin = std::fs::File::open(format!("/run/netns/{pod}")).expect("a pin");
    let work = move || {
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(pin.as_fd(), kind).expect("the pod's network");
        job()
    };
    // A thread of its own: it never comes back from there.
    std::thread::spawn(work).join().expect("nothing panics there")
}

/// Answers every datagram to this port of the pod with `name`, until it is dropped.
struct Echo(UdpSocket);

impl Echo {
    fn new(pod: &str, name: &'static str, port: u16) -> Self {
        let socket = inside(pod, move || UdpSocket::bind(("::", port)).expect("a port of the pod"));
        let served = socket.try_clone().expect("a descriptor");
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((count, client)) = served.recv_from(&mut buffer) {
                if &buffer[..count] == b"end" {
                    return;
                }
                let _ = served.send_to(name.as_bytes(), client);
            }
        });
        Echo(socket)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // From its own loopback, where it listens.
        let port = self.0.local_addr().map_or(0, |address| address.port());
        let _ = self.0.send_to(b"end", (Ipv6Addr::LOCALHOST, port));
    }
}

/// Who answers a datagram to this address; nobody, within a moment.
fn ask(address: (IpAddr, u16)) -> Option<String> {
    let any: IpAddr = if address.0.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((any, 0)).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket");
    socket.send_to(b"?", address).ok()?;
    let mut buffer = [0; 64];
    let count = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..count]).into_owned())
}

fn mapping(protocol: Protocol, port: u16, host_ip: &str) -> PortMapping {
    PortMapping {
        protocol: protocol.into(),
        container_port: 80,
        host_port: port.into(),
        host_ip: host_ip.into(),
    }
}

/// UDP and TCP at one port, at one address, at an address of IPv6, all of it over the node's own.
#[tokio::test]
async fn ports_of_the_node_lead_in_every_transport_and_family() {
    let (all, one, six, sctp) = (port::free(), port::free(), port::free(), port::free());
    let daemon = Daemon::start("every-port").await;
    // The node's own addresses on the pods' network: the first of each.
    let subnet6 = daemon.number.subnet6();
    let node6: Ipv6Addr = subnet6.replace("::/64", "::1").parse().expect("an address");
    let node4: Ipv4Addr = daemon.number.subnet().replace("0/24", "1").parse().expect("an address");
    let mut stage = Stage::on(daemon, |pod| {
        pod.port_mappings = vec![
            mapping(Protocol::Tcp, all, ""),
            mapping(Protocol::Udp, all, ""),
            mapping(Protocol::Udp, one, "127.0.0.1"),
            mapping(Protocol::Tcp, six, &node6.to_string()),
            mapping(Protocol::Sctp, sctp, "::"),
        ];
    })
    .await;
    serve(&mut stage, 80, &format!("127.0.0.1:{all}")).await;
    let echo = Echo::new(&stage.pod_id, "pod", 80);
    let v4 = |port| (IpAddr::from(node4), port);
    let v6 = |port| (IpAddr::from(node6), port);
    for address in [v4(all), v6(all), (Ipv4Addr::LOCALHOST.into(), all), (Ipv4Addr::LOCALHOST.into(), one)] {
        eventually(&format!("{address:?} answers"), async || ask(address).as_deref() == Some("pod")).await;
    }
    for address in [format!("{node4}:{all}"), format!("[{node6}]:{all}"), format!("[{node6}]:{six}")] {
        assert_eq!(http::send(&address, "GET", "/", &[], b"").expect(&address).status, 200);
    }
    assert_eq!(ask(v4(one)), None, "it is at 127.0.0.1 alone");
    assert!(http::send(&format!("{node4}:{six}"), "GET", "/", &[], b"").is_err(), "it is at {node6} alone");
    // What SCTP's packets do there is tried in crates/network/tests/sctp.rs.
    let table = std::process::Command::new("nft")
        .args(["-nn", "list", "table", "inet", &format!("orlop-{}", stage.daemon.traces.bridge)])
        .output()
        .expect("nft");
    let text = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(text.contains(&format!("132 . {sctp} : ")), "{text}");
    stage.client.stop_pod(&stage.pod_id).await.expect("stopped");
    drop(echo);
    for address in [v4(all), v6(all)] {
        assert_eq!(ask(address), None, "nobody is there any more");
    }
    stage.end().await;
}

/// One port of the node, of pod after pod: each has it, none is told that it is taken, and none that went before answers.
#[tokio::test]
async fn a_port_is_had_by_pod_after_pod() {
    let daemon = Daemon::start("one-port").await;
    let mut client = daemon.client().await;
    let port = port::free();
    for number in 0..100 {
        let mut config = pod(&format!("p{number}"), &daemon.logs("p"));
        config.port_mappings = vec![mapping(Protocol::Udp, port, "")];
        let id = client.run_pod(&config).await.expect("a pod");
        let name = if number % 2 == 0 { "even" } else { "odd" };
        let echo = Echo::new(&id, name, 80);
        let address = (IpAddr::from(Ipv4Addr::LOCALHOST), port);
        eventually("it answers", async || ask(address).as_deref() == Some(name)).await;
        drop(echo);
        client.stop_pod(&id).await.expect("stopped");
        client.remove_pod(&id).await.expect("removed");
    }
    drop(client);
    daemon.end().await;
}

#[tokio::test]
async fn a_pod_answers_at_its_addresses() {
    let mut stage = Stage::new("addresses").await;
    let status = stage.client.pod_status(&stage.pod_id).await.expect("its status");
    let network = status.network.expect("a network");
    let v4: IpAddr = network.ip.parse().expect("an address");
    assert!(v4.is_ipv4() && network.additional_ips.len() == 1, "{network:?}");
    let v6: IpAddr = network.additional_ips[0].ip.parse().expect("an address");
    assert!(v6.is_ipv6());
    let id = serve(&mut stage, 8080, &format!("{v4}:8080")).await;
    assert_eq!(http::send(&format!("[{v6}]:8080"), "GET", "/", &[], b"").expect("an answer").status, 200);

    // From another pod, by both, and over its own loopback.
    let other = pod("other", &stage.daemon.logs("other"));
    let other_id = stage.client.run_pod(&other).await.expect("a pod");
    let config = stage.script("client", "sleep 1000");
    let client_id = stage.client.run(&other_id, &other, config).await.expect("a container");
    for (from, address) in
        [(&client_id, format!("{v4}")), (&client_id, format!("[{v6}]")), (&id, "127.0.0.1".into())]
    {
        let page = stage.client.sh(from, &format!("wget -q -O - http://{address}:8080/")).await;
        assert_eq!(page, PAGE, "{address}");
    }
    let shown = stage.client.sh(&id, "ip -o addr show dev eth0; ip route; cat /etc/hosts").await;
    for address in [v4, v6] {
        assert!(shown.contains(&format!(" {address}/")), "{shown}");
    }
    assert!(shown.contains("default via "), "{shown}");
    assert!(shown.lines().any(|line| line == format!("{v4}\tpod")), "{shown}");
    stage.end().await;
}

#[tokio::test]
async fn a_port_of_the_node_leads_to_the_pod() {
    let port = port::free();
    let mapping = PortMapping {
        protocol: Protocol::Tcp.into(),
        container_port: 80,
        host_port: port.into(),
        host_ip: String::new(),
    };
    let mut stage = Stage::with("host-port", |pod| pod.port_mappings = vec![mapping]).await;
    serve(&mut stage, 80, &format!("127.0.0.1:{port}")).await;
    stage.client.stop_pod(&stage.pod_id).await.expect("stopped");
    assert!(
        http::send(&format!("127.0.0.1:{port}"), "GET", "/", &[], b"").is_err(),
        "nobody is there any more"
    );
    stage.end().await;
}

#[tokio::test]
async fn a_pod_of_the_node_s_network_has_the_node_s() {
    let port = port::free();
    let mut stage =
        Stage::with("host-network", |pod| namespaces(pod).network = NamespaceMode::Node.into()).await;
    let status = stage.client.pod_status(&stage.pod_id).await.expect("its status");
    assert_eq!(status.network.expect("a network").ip, "", "it has no address of its own");
    let id = serve(&mut stage, port, &format!("127.0.0.1:{port}")).await;
    let inside = stage.client.sh(&id, "readlink /proc/self/ns/net; hostname").await;
    let own = std::fs::read_link("/proc/self/ns/net").expect("a namespace").display().to_string();
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    assert_eq!(inside, format!("{own}\n{name}"));
    stage.end().await;
}

#[tokio::test]
async fn names_are_looked_up_as_the_pod_was_told() {
    let dns = DnsConfig {
        servers: vec!["10.9.8.7".into(), "fd00::53".into()],
        searches: vec!["a.example".into(), "b.example".into()],
        options: vec!["ndots:5".into(), "timeout:1".into()],
    };
    let mut stage = Stage::with("names", |pod| {
        pod.dns_config = Some(dns);
        pod.hostname = "a-name".into();
        let linux = pod.linux.get_or_insert_default();
        linux.sysctls.insert("net.core.somaxconn".into(), "1234".into());
        linux.sysctls.insert("kernel.shm_rmid_forced".into(), "1".into());
    })
    .await;
    let id = stage.run("c", "sleep 1000").await;
    let resolve =
        "nameserver 10.9.8.7\nnameserver fd00::53\nsearch a.example b.example\noptions ndots:5 timeout:1\n";
    let mut expected: Vec<&str> = resolve.lines().collect();
    let shown = stage.client.sh(&id, "cat /etc/resolv.conf").await;
    let mut lines: Vec<&str> = shown.lines().collect();
    expected.sort_unstable();
    lines.sort_unstable();
    assert_eq!(lines, expected);
    assert_eq!(
        stage.client.sh(&id, "hostname; cat /etc/hostname; echo $HOSTNAME").await,
        "a-name\na-name\na-name\n"
    );
    let script = "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/shm_rmid_forced";
    assert_eq!(stage.client.sh(&id, script).await, "1234\n1\n");
    stage.end().await;
}

#[tokio::test]
async fn addresses_are_given_back_and_given_out_again() {
    let stage = Stage::new("leases").await;
    let mut client = stage.daemon.client().await;
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..2 {
        let mut ids = Vec::new();
        for number in 0..12 {
            let config = pod(&format!("p{round}-{number}"), &stage.daemon.logs("p"));
            let id = client.run_pod(&config).await.expect("a pod");
            let network = client.pod_status(&id).await.expect("its status").network.expect("a network");
            seen.insert(network.ip.clone());
            ids.push((id, network.ip));
        }
        let mut addresses: Vec<&String> = ids.iter().map(|(_, ip)| ip).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 12, "no two have one");
        for (id, _) in ids {
            client.remove_pod(&id).await.expect("removed");
        }
    }
    assert!(seen.len() >= 12);
    let leases = std::fs::read_dir(stage.daemon.state().join("network")).expect("a directory");
    let text: String = leases
        .filter_map(Result::ok)
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .collect();
    let held = seen.iter().filter(|ip| text.split_whitespace().any(|word| word == ip.as_str())).count();
    assert!(held <= 1, "{held} of the addresses of pods that are gone are held:\n{text}");
    stage.end().await;
}
