//! Ports of the node that lead to a pod.
//!
//! *Invariant:* what comes out has a port of the node; none of them is there twice.

use std::collections::HashSet;
use std::net::IpAddr;

use orlop_model::pod::{HostPort, Protocol};
use orlop_model::report::Report;
use orlop_proto::runtime::v1;

fn port(field: String, number: i32) -> Result<u16, Report> {
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(Report::field(field, number, "a port is 1 to 65535")),
    }
}

fn host_port(field: &str, mapping: &v1::PortMapping) -> Result<Option<HostPort>, Report> {
    let protocol = match v1::Protocol::try_from(mapping.protocol) {
        Ok(v1::Protocol::Tcp) => Protocol::Tcp,
        Ok(v1::Protocol::Udp) => Protocol::Udp,
        Ok(v1::Protocol::Sctp) => Protocol::Sctp,
        Err(_) => {
            let field = format!("{field}.protocol");
            return Err(Report::field(field, mapping.protocol, "allowed: TCP (0), UDP (1), SCTP (2)"));
        }
    };
    let container_port = port(format!("{field}.container_port"), mapping.container_port)?;
    let host_ip = match mapping.host_ip.as_str() {
        "" => None,
        text => {
            let field = format!("{field}.host_ip");
            Some(text.parse::<IpAddr>().map_err(|_| Report::field(field, text, "it is no IP address"))?)
        }
    };
    // Kubelet lists every port that a container declares; 0 says that the node opens none for it.
    if mapping.host_port == 0 {
        return Ok(None);
    }
    let host_port = port(format!("{field}.host_port"), mapping.host_port)?;
    Ok(Some(HostPort { protocol, container_port, host_port, host_ip }))
}

/// The ports that the node has to open; of a pod in the node's network none, since they are open there by themselves.
pub(super) fn ports(mappings: &[v1::PortMapping], host_network: bool) -> Result<Vec<HostPort>, Report> {
    let mut ports: Vec<HostPort> = Vec::new();
    let mut taken = HashSet::new();
    for (at, mapping) in mappings.iter().enumerate() {
        let field = format!("config.port_mappings[{at}]");
        let Some(port) = host_port(&field, mapping)? else { continue };
        if taken.insert((port.protocol, port.host_ip, port.host_port)) {
            ports.push(port);
        } else if !ports.contains(&port) {
            let cause = "the same port of the node leads to another port of the pod, too";
            return Err(Report::field(format!("{field}.host_port"), port.host_port, cause));
        }
    }
    if host_network {
        ports.clear();
    }
    Ok(ports)
}
