//! Which namespace a sysctl belongs to.
//!
//! *Invariant:* a sysctl that is not of a namespace, or of one that is the node's, is refused: it would change the node.

use oci_spec::runtime::{Linux, LinuxNamespaceType as Kind};
use orlop_model::report::Report;
use orlop_wire::plan::Operation;

use super::{bad, namespaces, string};

/// The kind of namespace that a sysctl is of; none: it is the whole node's.
///
/// Dotted or with slashes. From ipc_namespaces(7), network_namespaces(7) and uts_namespaces(7).
#[must_use]
pub fn namespace_of(name: &str) -> Option<Kind> {
    const IPC: [&str; 8] =
        ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];
    let name = name.replace('/', ".");
    if name.starts_with("net.") {
        Some(Kind::Network)
    } else if name.starts_with("fs.mqueue.")
        || name.strip_prefix("kernel.").is_some_and(|name| IPC.contains(&name))
    {
        Some(Kind::Ipc)
    } else if name == "kernel.domainname" {
        Some(Kind::Uts)
    } else {
        None
    }
}

/// The path below /proc/sys of a sysctl; none if the name is none.
///
/// As sysctl(8) reads names: where the first separator is a dot, dots separate and a slash stands for a dot in an interface's name;
/// where it is a slash, slashes separate.
#[must_use]
pub fn path(name: &str) -> Option<String> {
    let dotted = name.find(['.', '/']).is_none_or(|at| name.as_bytes()[at] == b'.');
    let path: String = if dotted {
        name.chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect()
    } else {
        name.to_owned()
    };
    let good = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    path.split('/').all(good).then_some(path)
}

pub(super) fn operations(linux: &Linux, all: &mut Vec<Operation>) -> Result<(), Report> {
    let mut asked: Vec<_> = linux.sysctl().iter().flatten().collect();
    asked.sort();
    for (name, value) in asked {
        let part = "linux.sysctl";
        let path = path(name).ok_or_else(|| bad(part, name, "is no name of a sysctl"))?;
        let kind = namespace_of(&path)
            .ok_or_else(|| bad(part, name, "is of no namespace: it would change the node"))?;
        if !namespaces::has(linux, kind) {
            return Err(bad(part, name, format!("needs a {kind} namespace: it would change the node")));
        }
        all.push(Operation::Sysctl { name: string(part, path)?, value: string(part, value.as_str())? });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sysctl_is_of_a_namespace_or_of_the_node() {
        let table = [
            ("net.ipv4.ip_forward", Some(Kind::Network)),
            ("net/ipv4/ip_forward", Some(Kind::Network)),
            ("kernel.shm_rmid_forced", Some(Kind::Ipc)),
            ("fs.mqueue.msg_max", Some(Kind::Ipc)),
            ("kernel.domainname", Some(Kind::Uts)),
            ("kernel.hostname", None),
            ("kernel.panic", None),
            ("vm.swappiness", None),
            ("network.x", None),
        ];
        for (name, kind) in table {
            assert_eq!(namespace_of(name), kind, "{name}");
        }
    }

    #[test]
    fn names_become_paths() {
        let table = [
            ("net.ipv4.conf.eth0/100.rp_filter", Some("net/ipv4/conf/eth0.100/rp_filter")),
            ("net/ipv4/conf/eth0.100/rp_filter", Some("net/ipv4/conf/eth0.100/rp_filter")),
            ("net..ipv4", None),
            ("net/../kernel/panic", None),
            ("net.ipv4.//.x", None),
            ("", None),
        ];
        for (name, expected) in table {
            assert_eq!(path(name).as_deref(), expected, "{name}");
        }
    }
}
