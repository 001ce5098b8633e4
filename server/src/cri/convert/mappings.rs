//! Maps of ids: of a pod's user namespace, and of mounts in it.
//!
//! *Invariant:* one map of users and one of groups, from the container's 0 on, of ids that the node has, its root not among them; the
//! same wherever they are named.

use orlop_model::pod::{IdMap, PodNamespaces, UserMaps};
use orlop_model::report::Report;
use orlop_proto::runtime::v1::{IdMapping, NamespaceMode, UserNamespace};

use super::namespaces::is_node;
use super::{Node, unsupported};

/// The last id that a file or a process can have: the next means none.
const LAST: u64 = u32::MAX as u64 - 1;

/// One map, as kubelet sends it.
fn map(field: &str, asked: &[IdMapping]) -> Result<IdMap, Report> {
    let [one] = asked else {
        return Err(Report::field(field, asked.len(), "there has to be exactly one mapping"));
    };
    let wrong =
        |part: &str, value: u32, cause: &str| Err(Report::field(format!("{field}[0].{part}"), value, cause));
    if one.container_id != 0 {
        return wrong("container_id", one.container_id, "it has to begin with 0: a container needs a root");
    }
    if one.length == 0 {
        return wrong("length", 0, "it maps nothing");
    }
    if one.host_id == 0 {
        return wrong("host_id", 0, "the node's own root is nobody's to give away");
    }
    if u64::from(one.host_id) + u64::from(one.length) - 1 > LAST {
        return wrong("length", one.length, "it goes beyond 4294967294, the last id of a node");
    }
    Ok(IdMap { host: one.host_id, length: one.length })
}

/// A user namespace that is asked for; none: the node's.
fn user(field: &str, asked: &UserNamespace) -> Result<Option<UserMaps>, Report> {
    if is_node(format!("{field}.mode"), asked.mode)? {
        if asked.uids.is_empty() && asked.gids.is_empty() {
            return Ok(None);
        }
        return Err(Report::field(field, "NODE", "mappings belong to mode POD"));
    }
    let uids = map(&format!("{field}.uids"), &asked.uids)?;
    let gids = map(&format!("{field}.gids"), &asked.gids)?;
    Ok(Some(UserMaps { uids, gids }))
}

/// A pod's, whose other namespaces are `others`.
pub(super) fn of_pod(
    field: &str,
    asked: Option<&UserNamespace>,
    others: PodNamespaces,
    node: Node,
) -> Result<Option<UserMaps>, Report> {
    let Some(maps) = asked.map(|asked| user(field, asked)).transpose()?.flatten() else { return Ok(None) };
    let nodes = [
        (others.host_network, "network"),
        (others.host_ipc, "IPC"),
        (others.pid == orlop_model::pod::PidMode::Node, "PID"),
    ];
    if let Some((_, name)) = nodes.iter().find(|(is_nodes, _)| *is_nodes) {
        let cause = format!("a pod with a user namespace has its own {name} namespace, too, not the node's");
        return Err(Report::field(field, NamespaceMode::Pod.as_str_name(), cause));
    }
    if !node.user_namespaces {
        return Err(unsupported(field, "a user namespace on this kernel"));
    }
    Ok(Some(maps))
}

/// A container's: its pod's, or nothing is said.
pub(super) fn of_container(
    field: &str,
    asked: Option<&UserNamespace>,
    pod: Option<UserMaps>,
) -> Result<(), Report> {
    let Some(asked) = asked else { return Ok(()) };
    match (user(field, asked)?, pod) {
        (None, None) => Ok(()),
        (Some(maps), Some(pods)) => same(field, maps, pods),
        (None, Some(_)) => {
            Err(Report::field(format!("{field}.mode"), "NODE", "its pod has a user namespace"))
        }
        (Some(_), None) => {
            Err(Report::field(format!("{field}.mode"), "POD", "its pod has no user namespace"))
        }
    }
}

fn same(field: &str, maps: UserMaps, pods: UserMaps) -> Result<(), Report> {
    for (name, map, pods) in [("uids", maps.uids, pods.uids), ("gids", maps.gids, pods.gids)] {
        if map != pods {
            let cause = format!("it is not its pod's, which is {pods}");
            return Err(Report::field(format!("{field}.{name}"), map, cause));
        }
    }
    Ok(())
}

/// Whether a mount's owners are mapped: by its pod's maps, or not at all.
pub(super) fn of_mount(
    field: &str,
    uids: &[IdMapping],
    gids: &[IdMapping],
    pod: Option<UserMaps>,
) -> Result<bool, Report> {
    if uids.is_empty() && gids.is_empty() {
        return Ok(false);
    }
    let maps =
        [("uidMappings", uids, pod.map(|maps| maps.uids)), ("gidMappings", gids, pod.map(|maps| maps.gids))];
    for (name, asked, pods) in maps {
        let field = format!("{field}.{name}");
        let asked = map(&field, asked)?;
        let Some(pods) = pods else {
            let cause = "owners are mapped for a user namespace, and its pod has none";
            return Err(Report::field(field, asked, cause));
        };
        if asked != pods {
            let cause = format!("it is not its pod's, which is {pods}");
            return Err(Report::field(field, asked, cause));
        }
    }
    Ok(true)
}
