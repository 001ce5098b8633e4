//! `Status`: whether pods can be run, and which features they can ask for.

use std::collections::BTreeMap;

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{
    RuntimeCondition, RuntimeFeatures, RuntimeStatus, StatusRequest, StatusResponse,
};

use crate::pods::Core;

pub(crate) fn answer(core: &Core, request: StatusRequest) -> Result<StatusResponse, Report> {
    let network = core.network.condition();
    let conditions = vec![
        RuntimeCondition { r#type: "RuntimeReady".into(), status: true, ..RuntimeCondition::default() },
        RuntimeCondition {
            r#type: "NetworkReady".into(),
            status: network.ready,
            reason: network.reason,
            message: network.message,
        },
    ];
    Ok(StatusResponse {
        status: Some(RuntimeStatus { conditions }),
        info: if request.verbose { info(core) } else { BTreeMap::new() },
        runtime_handlers: core.handlers.status(core.node.door.user_namespaces),
        features: Some(RuntimeFeatures {
            supplemental_groups_policy: true,
            user_namespaces_host_network: false,
            mount_options: true,
        }),
    })
}

fn info(core: &Core) -> BTreeMap<String, String> {
    let facts = serde_json::json!({
        "root": core.places.root,
        "state": core.places.state,
        "kernel": core.node.kernel,
        "cgroups": core.node.hierarchies.layout().name(),
        "cgroupDriver": if core.node.systemd { "systemd" } else { "cgroupfs" },
        "cgroupParent": core.node.cgroup_parent,
    });
    let network = core.network.facts().map(|facts| ("cni".to_owned(), facts.to_string()));
    let devices = ("cdi".to_owned(), core.cdi.facts().to_string());
    let handlers = ("handlers".to_owned(), core.handlers.facts().to_string());
    let hooks = ("hooks".to_owned(), core.hooks.facts().to_string());
    [("node".to_owned(), facts.to_string()), devices, hooks, handlers].into_iter().chain(network).collect()
}
