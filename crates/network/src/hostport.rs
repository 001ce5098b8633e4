//! Which pod has which ports of the node: one file a pod.
//!
//! *Invariant:* the file is written before the kernel has the ports and removed after it has them no more; two pods never have the
//! same port at the same address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use orlop_model::pod::{HostPort, Protocol};

use crate::error::Error;
use crate::lease::Lease;
use crate::nft::map::Element;
use crate::record;

/// All host ports of one network, as the files have them.
#[derive(Debug)]
pub(crate) struct HostPorts {
    directory: PathBuf,
    by_owner: Option<BTreeMap<String, Vec<Element>>>,
}

impl HostPorts {
    pub(crate) fn new(directory: PathBuf) -> Self {
        HostPorts { directory, by_owner: None }
    }

    fn read(&mut self) -> Result<&mut BTreeMap<String, Vec<Element>>, Error> {
        if self.by_owner.is_none() {
            let files = record::all(&self.directory)?;
            self.by_owner = Some(files.into_iter().map(|(owner, text)| (owner, parse(&text))).collect());
        }
        Ok(self.by_owner.as_mut().expect("invariant: it was just put there"))
    }

    /// All of them with their owners.
    pub(crate) fn all(&mut self) -> Result<&BTreeMap<String, Vec<Element>>, Error> {
        self.read().map(|all| &*all)
    }

    /// What the owner has.
    pub(crate) fn of(&mut self, owner: &str) -> Result<Vec<Element>, Error> {
        Ok(self.read()?.get(owner).cloned().unwrap_or_default())
    }

    /// Writes down that `owner` has `elements`, and no others.
    ///
    /// # Errors
    /// [`Error::PortTaken`] if another owner has one of them.
    pub(crate) fn put(&mut self, owner: &str, elements: Vec<Element>) -> Result<(), Error> {
        for (other, theirs) in self.read()? {
            if other != owner {
                for element in &elements {
                    check(element, theirs, other)?;
                }
            }
        }
        record::put(&self.directory, owner, &elements.iter().map(line).collect::<String>())?;
        self.read()?.insert(owner.to_owned(), elements);
        Ok(())
    }

    /// Writes down that `owner` has none.
    pub(crate) fn remove(&mut self, owner: &str) -> Result<(), Error> {
        record::remove(&self.directory, owner)?;
        self.read()?.remove(owner);
        Ok(())
    }
}

/// Refuses `element` if `owner` has that port at that address, or one of the two is open at all addresses.
fn check(element: &Element, theirs: &[Element], owner: &str) -> Result<(), Error> {
    let clash = theirs.iter().any(|their| {
        (their.protocol, their.port) == (element.protocol, element.port)
            && their.address.is_ipv4() == element.address.is_ipv4()
            && (their.address == element.address
                || their.address.is_unspecified()
                || element.address.is_unspecified())
    });
    if !clash {
        return Ok(());
    }
    Err(Error::PortTaken {
        port: element.port,
        protocol: protocol_name(element.protocol),
        address: element.address,
        owner: owner.to_owned(),
    })
}

/// What the ports of a pod come to in the maps. A host port of 0 asks for none.
pub(crate) fn elements(owner: &str, lease: &Lease, ports: &[HostPort]) -> Result<Vec<Element>, Error> {
    let mut all: Vec<Element> = Vec::new();
    for port in ports.iter().filter(|port| port.host_port != 0) {
        if port.container_port == 0 {
            return Err(Error::Port { port: port.host_port, why: "it leads to port 0" });
        }
        let any4 = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let any6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let places = match (port.host_ip.map(|address| address.to_canonical()), lease.v6) {
            (None, Some(v6)) => vec![(any4, IpAddr::V4(lease.v4)), (any6, IpAddr::V6(v6))],
            (None, None) => vec![(any4, IpAddr::V4(lease.v4))],
            (Some(address @ IpAddr::V4(_)), _) => vec![(address, IpAddr::V4(lease.v4))],
            (Some(IpAddr::V6(Ipv6Addr::LOCALHOST)), _) => {
                return Err(Error::Port {
                    port: port.host_port,
                    why: "the kernel leads nothing from ::1 to a pod; ask for it at 127.0.0.1",
                });
            }
            (Some(address @ IpAddr::V6(_)), Some(v6)) => vec![(address, IpAddr::V6(v6))],
            (Some(IpAddr::V6(_)), None) => {
                return Err(Error::Port {
                    port: port.host_port,
                    why: "it is asked for at an IPv6 address, which pods lack here",
                });
            }
        };
        for (address, pod) in places {
            let (protocol, port, pod_port) = (port.protocol, port.host_port, port.container_port);
            let element = Element { protocol, address, port, pod, pod_port };
            if !all.contains(&element) {
                check(&element, &all, owner)?;
                all.push(element);
            }
        }
    }
    Ok(all)
}

/// `tcp`, `udp`, `sctp`
fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

/// One line of a file: `tcp 0.0.0.0 8080 10.88.0.2 80`.
fn line(of: &Element) -> String {
    let protocol = protocol_name(of.protocol);
    format!("{protocol} {} {} {} {}\n", of.address, of.port, of.pod, of.pod_port)
}

fn parse(text: &str) -> Vec<Element> {
    let lines = text.lines().filter_map(|line| {
        let element = parse_line(line);
        if element.is_none() {
            tracing::warn!(line = %line.escape_debug(), "no host port");
        }
        element
    });
    lines.collect()
}

fn parse_line(line: &str) -> Option<Element> {
    let mut words = line.split(' ');
    let name = words.next()?;
    let protocol =
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|one| protocol_name(*one) == name)?;
    let address: IpAddr = words.next()?.parse().ok()?;
    let port = words.next()?.parse().ok()?;
    let pod: IpAddr = words.next()?.parse().ok()?;
    let pod_port = words.next()?.parse().ok()?;
    let whole = words.next().is_none() && address.is_ipv4() == pod.is_ipv4();
    whole.then_some(Element { protocol, address, port, pod, pod_port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(protocol: Protocol, host_port: u16, host_ip: Option<&str>) -> HostPort {
        HostPort {
            protocol,
            container_port: 80,
            host_port,
            host_ip: host_ip.map(|address| address.parse().unwrap()),
        }
    }

    fn lease(v6: bool) -> Lease {
        Lease { v4: Ipv4Addr::new(10, 0, 0, 2), v6: v6.then(|| "fd00::2".parse().unwrap()) }
    }

    #[test]
    fn a_port_is_open_in_every_family_that_the_pod_has() {
        let of = |host_ip, v6| -> Vec<String> {
            let all = elements("a", &lease(v6), &[port(Protocol::Tcp, 8080, host_ip)]).unwrap();
            all.iter().map(line).collect()
        };
        let v4 = "tcp 0.0.0.0 8080 10.0.0.2 80\n";
        let v6 = "tcp :: 8080 fd00::2 80\n";
        assert_eq!(of(None, false), [v4]);
        assert_eq!(of(None, true), [v4, v6]);
        assert_eq!(of(Some("0.0.0.0"), true), [v4]);
        assert_eq!(of(Some("::"), true), [v6]);
        assert_eq!(of(Some("127.0.0.1"), true), ["tcp 127.0.0.1 8080 10.0.0.2 80\n"]);
        assert_eq!(of(Some("::ffff:127.0.0.1"), true), ["tcp 127.0.0.1 8080 10.0.0.2 80\n"]);
        assert!(elements("a", &lease(false), &[port(Protocol::Tcp, 8080, Some("2001:db8::1"))]).is_err());
        assert!(elements("a", &lease(true), &[port(Protocol::Tcp, 8080, Some("::1"))]).is_err());
        assert!(elements("a", &lease(true), &[port(Protocol::Tcp, 0, None)]).unwrap().is_empty());
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let ports = [
            port(Protocol::Tcp, 1, None),
            port(Protocol::Udp, 65535, Some("127.0.0.1")),
            port(Protocol::Sctp, 7, Some("2001:db8::1")),
        ];
        let all = elements("a", &lease(true), &ports).unwrap();
        let text: String = all.iter().map(line).collect();
        assert_eq!(parse(&text), all);
        for bad in [
            "",
            "tcp",
            "tcp 0.0.0.0 1 fd00::2 2",
            "icmp 0.0.0.0 1 10.0.0.2 2",
            "tcp 0.0.0.0 65536 10.0.0.2 2",
            "tcp 0.0.0.0 1 10.0.0.2 2 3",
        ] {
            assert_eq!(parse_line(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_clash_names_the_port_and_its_owner() {
        let directory = std::env::temp_dir().join(format!("orlop-hostport-{}", std::process::id()));
        let mut all = HostPorts::new(directory.clone());
        let of = |port| elements("x", &lease(false), &[port]).unwrap();
        all.put("first", of(port(Protocol::Tcp, 8080, Some("127.0.0.1")))).unwrap();
        let clashes = [None, Some("127.0.0.1"), Some("0.0.0.0")];
        for host_ip in clashes {
            let error = all.put("second", of(port(Protocol::Tcp, 8080, host_ip))).unwrap_err().to_string();
            assert!(error.contains("8080") && error.ends_with("is taken by pod first"), "{error}");
        }
        all.put("second", of(port(Protocol::Udp, 8080, None))).unwrap();
        all.put("third", of(port(Protocol::Tcp, 8080, Some("10.9.9.9")))).unwrap();
        // A retry is no clash with oneself, and a new store reads what the old one wrote.
        let mut all = HostPorts::new(directory.clone());
        all.put("first", of(port(Protocol::Tcp, 8080, Some("127.0.0.1")))).unwrap();
        assert!(all.put("fourth", of(port(Protocol::Udp, 8080, Some("10.9.9.9")))).is_err());
        all.remove("second").unwrap();
        all.remove("second").unwrap();
        all.put("fourth", of(port(Protocol::Udp, 8080, Some("10.9.9.9")))).unwrap();
        assert_eq!(all.all().unwrap().keys().collect::<Vec<_>>(), ["first", "fourth", "third"]);
        std::fs::remove_dir_all(directory).unwrap();
    }
}
