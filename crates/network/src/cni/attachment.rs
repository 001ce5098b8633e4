//! What a plugin is told of a pod.
//!
//! *Invariant:* made from what was asked for, and nothing looked up; the same pod gives the same.

use std::path::PathBuf;

use orlop_model::pod::{HostPort, PodConfig, Protocol};
use orlop_model::report::Report;
use serde_json::{Map, Value, json};

use crate::address::{Net4, Net6};

/// The name of a pod's interface, inside.
pub const INTERFACE: &str = "eth0";

/// As many bits as a shaped interface may send at once: no less than the plugin's own largest packet ever is.
const BURST: u64 = u32::MAX as u64;
/// The least and the most that a pod may ask for, bits a second, as Kubernetes has them.
const RATES: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000_000_000;

/// A pod that is to be attached.
#[derive(Debug, Clone, PartialEq)]
pub struct Attachment {
    /// The pod's id.
    pub id: String,
    /// Where its network namespace is pinned.
    pub netns: PathBuf,
    /// `CNI_ARGS`, name and value.
    pub arguments: Vec<(String, String)>,
    /// What there is to tell, by capability.
    pub told: Map<String, Value>,
}

impl Attachment {
    /// What is told of a pod, whose addresses are to be of these networks if a plugin wants to know.
    ///
    /// # Errors
    /// A field of the request that cannot be told.
    pub fn new(
        id: &str,
        netns: PathBuf,
        config: &PodConfig,
        cidr: (Option<Net4>, Option<Net6>),
    ) -> Result<Self, Report> {
        Ok(Attachment {
            id: id.to_owned(),
            netns,
            arguments: arguments(id, config)?,
            told: told(config, cidr)?,
        })
    }
}

/// The names that every plugin of Kubernetes knows.
fn arguments(id: &str, config: &PodConfig) -> Result<Vec<(String, String)>, Report> {
    let name = &config.name;
    let all = [
        ("IgnoreUnknown", "1", ""),
        ("K8S_POD_NAMESPACE", &name.namespace, "config.metadata.namespace"),
        ("K8S_POD_NAME", &name.name, "config.metadata.name"),
        ("K8S_POD_INFRA_CONTAINER_ID", id, ""),
        ("K8S_POD_UID", &name.uid, "config.metadata.uid"),
    ];
    let mut arguments = Vec::with_capacity(all.len());
    for (key, value, field) in all {
        if value.contains([';', '=', '\0']) {
            return Err(Report::field(
                field,
                value,
                "a CNI plugin is told of it in CNI_ARGS, which has no way to write ; or =",
            ));
        }
        arguments.push((key.to_owned(), value.to_owned()));
    }
    Ok(arguments)
}

fn told(config: &PodConfig, (v4, v6): (Option<Net4>, Option<Net6>)) -> Result<Map<String, Value>, Report> {
    let mut told = Map::new();
    let mut tell = |name: &str, value: Value| drop(told.insert(name.to_owned(), value));
    let ports: Vec<Value> = config.ports.iter().filter(|port| port.host_port != 0).map(mapping).collect();
    if !ports.is_empty() {
        tell("portMappings", ports.into());
    }
    let (ingress, egress) = (rate(config, "ingress")?, rate(config, "egress")?);
    if ingress.or(egress).is_some() {
        let mut bandwidth = Map::new();
        for (name, rate) in [("ingress", ingress), ("egress", egress)] {
            if let Some(rate) = rate {
                bandwidth.insert(format!("{name}Rate"), rate.into());
                bandwidth.insert(format!("{name}Burst"), BURST.into());
            }
        }
        tell("bandwidth", bandwidth.into());
    }
    let range = |net: String| json!([{ "subnet": net }]);
    let ranges: Vec<Value> = v4
        .map(|net| range(net.to_string()))
        .into_iter()
        .chain(v6.map(|net| range(net.to_string())))
        .collect();
    if !ranges.is_empty() {
        tell("ipRanges", ranges.into());
    }
    if let Some(dns) = &config.dns {
        tell("dns", json!({ "servers": dns.servers, "searches": dns.searches, "options": dns.options }));
    }
    if !config.cgroup_parent.is_empty() {
        tell("cgroupPath", config.cgroup_parent.as_str().into());
    }
    if !config.annotations.is_empty() {
        tell("io.kubernetes.cri.pod-annotations", json!(config.annotations));
    }
    Ok(told)
}

fn mapping(port: &HostPort) -> Value {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    let mut mapping =
        json!({ "hostPort": port.host_port, "containerPort": port.container_port, "protocol": protocol });
    if let Some(ip) = port.host_ip {
        mapping["hostIP"] = ip.to_string().into();
    }
    mapping
}

/// What the pod's annotation says of its bandwidth in one direction, bits a second.
fn rate(config: &PodConfig, direction: &str) -> Result<Option<u64>, Report> {
    let name = format!("kubernetes.io/{direction}-bandwidth");
    let Some(text) = config.annotations.get(&name) else { return Ok(None) };
    match quantity(text) {
        Some(rate) if RATES.contains(&rate) => Ok(Some(rate)),
        Some(_) => {
            Err(Report::field(format!("config.annotations.{name}"), text, "1k to 1P bits a second can be"))
        }
        None => {
            Err(Report::field(format!("config.annotations.{name}"), text, "it is no quantity, as 10M is one"))
        }
    }
}

/// A quantity as Kubernetes writes it, rounded up: `10M`, `1.5Gi`, `2e6`.
fn quantity(text: &str) -> Option<u64> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || fraction.contains('.') || number.len() > 20 {
        return None;
    }
    let power = |base: u128, exponent: u32| base.checked_pow(exponent);
    let (up, down) = match suffix {
        "n" => (1, power(10, 9)?),
        "u" => (1, power(10, 6)?),
        "m" => (1, 1000),
        "" => (1, 1),
        "k" => (1000, 1),
        "M" => (power(1000, 2)?, 1),
        "G" => (power(1000, 3)?, 1),
        "T" => (power(1000, 4)?, 1),
        "P" => (power(1000, 5)?, 1),
        "E" => (power(1000, 6)?, 1),
        "Ki" => (1024, 1),
        "Mi" => (power(1024, 2)?, 1),
        "Gi" => (power(1024, 3)?, 1),
        "Ti" => (power(1024, 4)?, 1),
        "Pi" => (power(1024, 5)?, 1),
        "Ei" => (power(1024, 6)?, 1),
        exponent => {
            let exponent =
                exponent.strip_prefix(['e', 'E'])?.parse::<i32>().ok().filter(|e| e.abs() <= 18)?;
            let factor = power(10, exponent.unsigned_abs())?;
            if exponent < 0 { (1, factor) } else { (factor, 1) }
        }
    };
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let down = power(10, u32::try_from(fraction.len()).ok()?)?.checked_mul(down)?;
    u64::try_from(digits.checked_mul(up)?.div_ceil(down)).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use orlop_model::pod::{Dns, PodName, PodNamespaces, Seccomp};

    use super::*;

    fn config() -> PodConfig {
        PodConfig {
            name: PodName { name: "web".into(), namespace: "default".into(), uid: "u-1".into(), attempt: 0 },
            hostname: String::new(),
            log_directory: String::new(),
            dns: None,
            ports: Vec::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            handler: String::new(),
            cgroup_parent: String::new(),
            sysctls: BTreeMap::new(),
            namespaces: PodNamespaces::default(),
            privileged: false,
            seccomp: Seccomp::Unconfined,
            selinux: orlop_model::pod::Selinux::default(),
        }
    }

    fn make(config: &PodConfig) -> Result<Attachment, Report> {
        let cidr = (Some("10.1.0.0/24".parse().unwrap()), Some("fd00::/64".parse().unwrap()));
        Attachment::new("abc", "/run/netns/abc".into(), config, cidr)
    }

    #[test]
    fn a_pod_is_told_of_as_plugins_expect() {
        let mut config = config();
        let port = |host_port, host_ip: Option<&str>, protocol| HostPort {
            protocol,
            container_port: 80,
            host_port,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        };
        config.ports = vec![
            port(8080, None, Protocol::Tcp),
            port(53, Some("::1"), Protocol::Udp),
            port(0, None, Protocol::Sctp),
        ];
        config.dns = Some(Dns {
            servers: vec!["1.1.1.1".into()],
            searches: vec!["a".into()],
            options: vec!["ndots:5".into()],
        });
        config.cgroup_parent = "/kubepods/x".into();
        config.annotations.insert("kubernetes.io/ingress-bandwidth".into(), "10M".into());
        let made = make(&config).unwrap();
        let arguments: Vec<String> =
            made.arguments.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            arguments.join(";"),
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=abc;K8S_POD_UID=u-1"
        );
        let expected = json!({
            "portMappings": [
                {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
                {"hostPort": 53, "containerPort": 80, "protocol": "udp", "hostIP": "::1"},
            ],
            "bandwidth": {"ingressRate": 10_000_000, "ingressBurst": u32::MAX},
            "ipRanges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]],
            "dns": {"servers": ["1.1.1.1"], "searches": ["a"], "options": ["ndots:5"]},
            "cgroupPath": "/kubepods/x",
            "io.kubernetes.cri.pod-annotations": {"kubernetes.io/ingress-bandwidth": "10M"},
        });
        assert_eq!(Value::Object(made.told), expected);
    }

    #[test]
    fn what_cannot_be_told_is_refused_by_its_field() {
        let mut named = config();
        named.name.namespace = "a;K8S_POD_NAME=b".into();
        assert_eq!(make(&named).unwrap_err().stage, "config.metadata.namespace");
        for bad in ["", "x", "10 M", "1.2.3", "999", "2P", "-5k", "1e99", "10MB", "."] {
            let mut shaped = config();
            shaped.annotations.insert("kubernetes.io/egress-bandwidth".into(), bad.into());
            let report = make(&shaped).unwrap_err();
            assert_eq!(report.stage, "config.annotations.kubernetes.io/egress-bandwidth", "{bad}");
        }
    }

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, value) in [
            ("1000", 1000),
            ("1k", 1000),
            ("1.5M", 1_500_000),
            ("1Ki", 1024),
            ("2e6", 2_000_000),
            ("1E3", 1000),
            ("1500000m", 1500),
            ("0.0011M", 1100),
            ("1P", 1_000_000_000_000_000),
            ("1001m", 2),
            (".5k", 500),
        ] {
            assert_eq!(quantity(text), Some(value), "{text}");
        }
    }
}
