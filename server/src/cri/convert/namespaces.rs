//! Which namespaces a pod and its containers use.
//!
//! *Invariant:* a mode that is not listed for a namespace is refused; a container never gets a namespace of the node that its pod
//! does not have.

use orlop_model::container::PidNamespace;
use orlop_model::pod::{PidMode, PodNamespaces};
use orlop_model::report::Report;
use orlop_proto::runtime::v1::{NamespaceMode, NamespaceOption};

use super::{Node, check, mappings};

/// An id of a container, whole.
const ID_MAX: usize = 64;

/// One of `allowed`.
fn mode(field: String, number: i32, allowed: &[NamespaceMode]) -> Result<NamespaceMode, Report> {
    match NamespaceMode::try_from(number) {
        Ok(mode) if allowed.contains(&mode) => Ok(mode),
        asked => {
            let shown = asked.map_or_else(|_| number.to_string(), |mode| mode.as_str_name().to_owned());
            let names: Vec<_> = allowed.iter().map(NamespaceMode::as_str_name).collect();
            Err(Report::field(field, shown, format_args!("no such mode here; allowed: {}", names.join(", "))))
        }
    }
}

/// Whether it is the node's, of a namespace that is the pod's otherwise.
pub(super) fn is_node(field: String, number: i32) -> Result<bool, Report> {
    mode(field, number, &[NamespaceMode::Pod, NamespaceMode::Node]).map(|mode| mode == NamespaceMode::Node)
}

/// Those of a pod; an absent message is one that says nothing: all are the pod's.
pub(super) fn of_pod(
    field: &str,
    options: Option<&NamespaceOption>,
    node: Node,
) -> Result<PodNamespaces, Report> {
    let Some(options) = options else { return Ok(PodNamespaces::default()) };
    if !options.target_id.is_empty() {
        return Err(Report::field(format!("{field}.target_id"), &options.target_id, "a pod has no target"));
    }
    let allowed = [NamespaceMode::Pod, NamespaceMode::Container, NamespaceMode::Node];
    let pid = match mode(format!("{field}.pid"), options.pid, &allowed)? {
        NamespaceMode::Container => PidMode::Container,
        NamespaceMode::Node => PidMode::Node,
        NamespaceMode::Pod | NamespaceMode::Target => PidMode::Pod,
    };
    let others = PodNamespaces {
        host_network: is_node(format!("{field}.network"), options.network)?,
        host_ipc: is_node(format!("{field}.ipc"), options.ipc)?,
        pid,
        user: None,
    };
    let field = format!("{field}.userns_options");
    let user = mappings::of_pod(&field, options.userns_options.as_ref(), others, node)?;
    Ok(PodNamespaces { user, ..others })
}

/// The PID namespace of a container in a pod with `pod`; its other namespaces are the pod's.
///
/// POD is what a message that says nothing says, so it means whatever the pod's own mode is.
pub(super) fn of_container(
    field: &str,
    options: Option<&NamespaceOption>,
    pod: PodNamespaces,
) -> Result<PidNamespace, Report> {
    let silent = NamespaceOption::default();
    let options = options.unwrap_or(&silent);
    mappings::of_container(&format!("{field}.userns_options"), options.userns_options.as_ref(), pod.user)?;
    for (name, number, has) in
        [("network", options.network, pod.host_network), ("ipc", options.ipc, pod.host_ipc)]
    {
        let field = format!("{field}.{name}");
        if is_node(field.clone(), number)? && !has {
            return Err(Report::field(field, "NODE", "its pod has a namespace of its own"));
        }
    }
    let target = options.target_id.as_str();
    let target_field = format!("{field}.target_id");
    let allowed = [NamespaceMode::Pod, NamespaceMode::Container, NamespaceMode::Node, NamespaceMode::Target];
    let pid = match mode(format!("{field}.pid"), options.pid, &allowed)? {
        NamespaceMode::Target => {
            if target.is_empty() || !target.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                return Err(Report::field(target_field, target, "TARGET needs the id of a container"));
            }
            return Ok(PidNamespace::Target(check::text(&target_field, target, ID_MAX)?.to_owned()));
        }
        NamespaceMode::Container => PidNamespace::Container,
        NamespaceMode::Node if pod.pid == PidMode::Node => PidNamespace::Node,
        NamespaceMode::Node => {
            return Err(Report::field(format!("{field}.pid"), "NODE", "its pod does not use the node's"));
        }
        NamespaceMode::Pod => match pod.pid {
            PidMode::Pod => PidNamespace::Pod,
            PidMode::Container => PidNamespace::Container,
            PidMode::Node => PidNamespace::Node,
        },
    };
    if target.is_empty() {
        Ok(pid)
    } else {
        Err(Report::field(target_field, target, "only mode TARGET has one"))
    }
}
