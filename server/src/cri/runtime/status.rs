//! `Status`: whether pods can be run, and which features they can ask for.

use std::collections::BTreeMap;

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{
    RuntimeCondition, RuntimeFeatures, RuntimeHandler, RuntimeHandlerFeatures, RuntimeStatus, StatusRequest,
    StatusResponse,
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
    let features = RuntimeHandlerFeatures {
        recursive_read_only_mounts: true,
        user_namespaces: core.node.door.user_namespaces,
    };
    let handler = |name: &str| RuntimeHandler { name: name.into(), features: Some(features) };
    Ok(StatusResponse {
        status: Some(RuntimeStatus { conditions }),
        info: if request.verbose { info(core) } else { BTreeMap::new() },
        // Kubelet looks for the default handler under the empty name.
        runtime_handlers: vec![handler(""), handler("native")],
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
        "cgroupParent": core.node.cgroup_parent,
    });
    let network = core.network.facts().map(|facts| ("cni".to_owned(), facts.to_string()));
    let devices = core.cdi.facts().to_string();
    [("node".to_owned(), facts.to_string()), ("cdi".to_owned(), devices)].into_iter().chain(network).collect()
}
