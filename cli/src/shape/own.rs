//! Explanations and differences as JSON.

use orlop_proto::orlop::v1::{Difference, ExplainResponse};
use serde_json::{Value, json};

use crate::render::time;

/// A difference between ledger and kernel.
pub(crate) fn difference(difference: &Difference) -> Value {
    json!({
        "owner": difference.owner,
        "thing": difference.thing,
        "kind": word(difference.kind().as_str_name(), "DIFFERENCE_KIND_"),
        "fixed": difference.fixed,
        "detail": difference.detail,
    })
}

/// What a pod or a container is made of.
pub(crate) fn explained(facts: &ExplainResponse) -> Value {
    let namespaces = facts.namespaces.iter().map(|fact| {
        json!({"kind": fact.kind, "inode": fact.inode, "path": fact.path, "pid": fact.pid, "sharedWith": fact.shared_with})
    });
    let cgroups = facts.cgroups.iter().map(|fact| json!({"hierarchy": fact.hierarchy, "path": fact.path}));
    let layers =
        facts.layers.iter().map(|fact| json!({"diffId": fact.diff_id, "path": fact.path, "size": fact.size}));
    let mounts = facts
        .mounts
        .iter()
        .map(|fact| json!({"source": fact.source, "target": fact.target, "options": fact.options}));
    let stages =
        facts.stages.iter().map(|stage| json!({"name": stage.name, "microseconds": stage.microseconds}));
    let shim = facts
        .shim
        .as_ref()
        .map(|shim| json!({"pid": shim.pid, "memoryBytes": shim.memory_bytes, "cgroup": shim.cgroup}));
    let confinement = facts.confinement.as_ref().map(|fact| {
        json!({
            "apparmor": fact.apparmor,
            "selinux": fact.selinux,
            "seccomp": fact.seccomp,
            "noNewPrivs": fact.no_new_privs,
            "effective": format!("{:016x}", fact.effective),
            "bounding": format!("{:016x}", fact.bounding),
        })
    });
    json!({
        "kind": word(facts.kind().as_str_name(), "THING_KIND_"),
        "id": facts.id,
        "name": facts.name,
        "podId": facts.pod_id,
        "state": facts.state,
        "createdAt": time::exact(facts.created_at),
        "image": facts.image,
        "imageId": facts.image_id,
        "pid": facts.pid,
        "namespaces": namespaces.collect::<Vec<_>>(),
        "cgroups": cgroups.collect::<Vec<_>>(),
        "layers": layers.collect::<Vec<_>>(),
        "mounts": mounts.collect::<Vec<_>>(),
        "addresses": facts.addresses,
        "hostVeth": facts.host_veth,
        "shim": shim,
        "stages": stages.collect::<Vec<_>>(),
        "plan": facts.plan,
        "ledger": facts.things,
        "resources": facts.resources.as_ref().map(super::container::limits),
        "cdiDevices": facts.cdi_devices,
        "hooks": facts.hooks,
        "overhead": facts.overhead.as_ref().map(super::container::limits),
        "confinement": confinement,
    })
}

/// A value of an enum in a word.
fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}
