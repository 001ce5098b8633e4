//! Pods as JSON.

use std::collections::BTreeMap;

use orlop_proto::runtime::v1::{
    NamespaceMode, NamespaceOption, PodSandbox, PodSandboxMetadata, PodSandboxStatus,
};
use serde_json::{Value, json};

use crate::render::time;
use crate::resolve::pod_state;

/// A pod of a list.
pub(crate) fn listed(pod: &PodSandbox) -> Value {
    let metadata = pod.metadata.clone().unwrap_or_default();
    json!({
        "id": pod.id,
        "name": metadata.name,
        "namespace": metadata.namespace,
        "uid": metadata.uid,
        "attempt": metadata.attempt,
        "state": pod_state(pod.state()),
        "createdAt": time::exact(pod.created_at),
        "runtimeHandler": pod.runtime_handler,
        "labels": pod.labels,
        "annotations": pod.annotations,
    })
}

/// All that is known of a pod.
pub(crate) fn whole(status: &PodSandboxStatus, info: &BTreeMap<String, String>) -> Value {
    let network = status.network.as_ref().map(|network| {
        let more: Vec<Value> = network.additional_ips.iter().map(|ip| json!({"ip": ip.ip})).collect();
        json!({"ip": network.ip, "additionalIps": more})
    });
    let options = status.linux.as_ref().and_then(|linux| linux.namespaces.as_ref()?.options.as_ref());
    json!({
        "status": {
            "id": status.id,
            "metadata": metadata(status.metadata.as_ref()),
            "state": status.state().as_str_name(),
            "createdAt": time::exact(status.created_at),
            "network": network,
            "linux": {"namespaces": {"options": options.map(namespaces)}},
            "runtimeHandler": status.runtime_handler,
            "labels": status.labels,
            "annotations": status.annotations,
        },
        "info": super::info(info),
    })
}

fn metadata(metadata: Option<&PodSandboxMetadata>) -> Value {
    let metadata = metadata.cloned().unwrap_or_default();
    json!({
        "name": metadata.name,
        "uid": metadata.uid,
        "namespace": metadata.namespace,
        "attempt": metadata.attempt,
    })
}

fn namespaces(options: &NamespaceOption) -> Value {
    let user = options.userns_options.as_ref().map(|user| {
        let maps = |maps: &[orlop_proto::runtime::v1::IdMapping]| -> Vec<Value> {
            let map = |map: &orlop_proto::runtime::v1::IdMapping| {
                json!({"hostId": map.host_id, "containerId": map.container_id, "length": map.length})
            };
            maps.iter().map(map).collect()
        };
        json!({"mode": mode(user.mode()), "uids": maps(&user.uids), "gids": maps(&user.gids)})
    });
    json!({
        "network": mode(options.network()),
        "pid": mode(options.pid()),
        "ipc": mode(options.ipc()),
        "targetId": options.target_id,
        "usernsOptions": user,
    })
}

fn mode(mode: NamespaceMode) -> &'static str {
    mode.as_str_name()
}
