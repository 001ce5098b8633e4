//! Sysctls of a pod.
//!
//! Only those that a namespace of the pod has for itself are taken: sysctl values of the node are not a pod's to set.
//! See namespaces(7), ipc_namespaces(7), network_namespaces(7).
//!
//! *Invariant:* a name that comes out of here leads to a file below /proc/sys and to nowhere else.

use std::collections::BTreeMap;

use orlop_model::pod::PodNamespaces;
use orlop_model::report::Report;

const FIELD: &str = "config.linux.sysctls";
const NAME_MAX: usize = 253;
const VALUE_MAX: usize = 4095;

/// What has it for itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Ipc,
    Network,
}

/// Whose a sysctl is; none: the node's.
fn owner(name: &str) -> Option<Owner> {
    let ipc = name == "kernel.sem"
        || ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|prefix| name.starts_with(prefix));
    if ipc { Some(Owner::Ipc) } else { name.starts_with("net.").then_some(Owner::Network) }
}

/// The name with dots between its parts; a dot within a part (of an interface's name) is a slash then, as sysctl.d(5) has it.
fn dotted(name: &str) -> String {
    match name.find(['.', '/']).map(|at| name.as_bytes()[at]) {
        Some(b'/') => name
            .chars()
            .map(|c| match c {
                '/' => '.',
                '.' => '/',
                other => other,
            })
            .collect(),
        _ => name.to_owned(),
    }
}

/// Whether each part is a file name of /proc/sys.
fn leads_down(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | '@' | ':' | '+');
    name.len() <= NAME_MAX
        && name.split('.').all(|part| !matches!(part, "" | "/" | "//") && part.chars().all(plain))
}

/// The sysctls, by dotted name.
pub(super) fn sysctls(
    asked: &BTreeMap<String, String>,
    namespaces: PodNamespaces,
) -> Result<BTreeMap<String, String>, Report> {
    let mut sysctls = BTreeMap::new();
    for (asked, value) in asked {
        let name = dotted(asked);
        if !leads_down(&name) {
            return Err(Report::field(FIELD, asked, "it is no sysctl's name").advise("as net.core.somaxconn"));
        }
        let Some(owner) = owner(&name) else {
            return Err(Report::field(FIELD, asked, "it is the node's: no namespace of a pod has it")
                .advise("allowed: kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.*, net.*"));
        };
        if owner == Owner::Network && namespaces.host_network {
            return Err(Report::field(
                FIELD,
                asked,
                "the pod is in the node's network, so it would be the node's",
            ));
        }
        if owner == Owner::Ipc && namespaces.host_ipc {
            let cause = "the pod is in the node's IPC namespace, so it would be the node's";
            return Err(Report::field(FIELD, asked, cause));
        }
        if value.len() > VALUE_MAX || value.chars().any(|c| c.is_control() && c != '\t') {
            return Err(Report::field(FIELD, asked, "its value is too long or has a control character"));
        }
        if sysctls.insert(name, value.clone()).is_some() {
            return Err(Report::field(FIELD, asked, "it is there twice, with dots and with slashes"));
        }
    }
    Ok(sysctls)
}
