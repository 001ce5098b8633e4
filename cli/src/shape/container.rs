//! Containers as JSON.

use std::collections::BTreeMap;

use orlop_proto::runtime::v1::{
    Container, ContainerStatus, ImageSpec, LinuxContainerResources, Mount, PodSandbox,
};
use serde_json::{Value, json};

use crate::render::time;
use crate::resolve::{container_state, pod_name};

/// The image of a container as its user knows it.
pub(crate) fn image(container: &Container) -> String {
    let spec = container.image.clone().unwrap_or_default();
    // kubelet asks by id and says beside it what the user wrote.
    if spec.user_specified_image.is_empty() { spec.image } else { spec.user_specified_image }
}

/// A container of a list.
pub(crate) fn listed(container: &Container, pods: &[PodSandbox]) -> Value {
    let metadata = container.metadata.clone().unwrap_or_default();
    let (namespace, pod) = pod_name(pods, &container.pod_sandbox_id);
    json!({
        "id": container.id,
        "name": metadata.name,
        "attempt": metadata.attempt,
        "state": container_state(container.state()),
        "createdAt": time::exact(container.created_at),
        "image": image(container),
        "imageId": container.image_id,
        "podId": container.pod_sandbox_id,
        "pod": pod,
        "namespace": namespace,
        "labels": container.labels,
        "annotations": container.annotations,
    })
}

/// All that is known of a container.
pub(crate) fn whole(status: &ContainerStatus, info: &BTreeMap<String, String>) -> Value {
    let metadata = status.metadata.clone().unwrap_or_default();
    let user = status.user.as_ref().and_then(|user| user.linux.as_ref()).map(
        |user| json!({"uid": user.uid, "gid": user.gid, "supplementalGroups": user.supplemental_groups}),
    );
    let resources = status.resources.as_ref().and_then(|resources| resources.linux.as_ref());
    json!({
        "status": {
            "id": status.id,
            "metadata": {"name": metadata.name, "attempt": metadata.attempt},
            "state": status.state().as_str_name(),
            "createdAt": time::exact(status.created_at),
            "startedAt": time::exact(status.started_at),
            "finishedAt": time::exact(status.finished_at),
            "exitCode": status.exit_code,
            "reason": status.reason,
            "message": status.message,
            "image": spec(status.image.as_ref()),
            "imageRef": status.image_ref,
            "imageId": status.image_id,
            "logPath": status.log_path,
            "mounts": status.mounts.iter().map(mount).collect::<Vec<_>>(),
            "resources": {"linux": resources.map(limits)},
            "user": {"linux": user},
            "stopSignal": status.stop_signal().as_str_name(),
            "labels": status.labels,
            "annotations": status.annotations,
        },
        "info": super::info(info),
    })
}

fn spec(spec: Option<&ImageSpec>) -> Value {
    let spec = spec.cloned().unwrap_or_default();
    json!({
        "image": spec.image,
        "userSpecifiedImage": spec.user_specified_image,
        "runtimeHandler": spec.runtime_handler,
        "annotations": spec.annotations,
    })
}

fn mount(mount: &Mount) -> Value {
    json!({
        "containerPath": mount.container_path,
        "hostPath": mount.host_path,
        "readonly": mount.readonly,
        "recursiveReadOnly": mount.recursive_read_only,
        "propagation": mount.propagation().as_str_name(),
        "selinuxRelabel": mount.selinux_relabel,
        "image": mount.image.as_ref().map(|image| spec(Some(image))),
        "imageSubPath": mount.image_sub_path,
    })
}

pub(super) fn limits(limits: &LinuxContainerResources) -> Value {
    let pages: Vec<Value> = limits
        .hugepage_limits
        .iter()
        .map(|limit| json!({"pageSize": limit.page_size, "limit": limit.limit}))
        .collect();
    json!({
        "cpuPeriod": limits.cpu_period,
        "cpuQuota": limits.cpu_quota,
        "cpuShares": limits.cpu_shares,
        "cpusetCpus": limits.cpuset_cpus,
        "cpusetMems": limits.cpuset_mems,
        "memoryLimitInBytes": limits.memory_limit_in_bytes,
        "memorySwapLimitInBytes": limits.memory_swap_limit_in_bytes,
        "oomScoreAdj": limits.oom_score_adj,
        "hugepageLimits": pages,
        "unified": limits.unified,
    })
}
