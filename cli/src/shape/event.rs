//! Events as JSON.

use std::collections::BTreeMap;

use orlop_proto::orlop::v1::{Event, ThingKind};
use orlop_proto::runtime::v1::{ContainerEventResponse, ContainerEventType, ContainerStatus};
use serde_json::{Value, json};

use crate::render::time;

/// An event, with the pod and its containers as they stood then.
pub(crate) fn told(event: &Event) -> Value {
    let told = event.event.clone().unwrap_or_default();
    let status =
        |status: &ContainerStatus| super::container::whole(status, &BTreeMap::new())["status"].take();
    let pod = told.pod_sandbox_status.as_ref();
    json!({
        "number": event.number,
        "at": time::exact(told.created_at),
        "kind": kind(event),
        "event": word(told.container_event_type()),
        "id": told.container_id,
        "name": event.name,
        "podId": event.pod_id,
        "pod": pod.map(|pod| super::pod::whole(pod, &BTreeMap::new())["status"].take()),
        "containers": told.containers_statuses.iter().map(status).collect::<Vec<_>>(),
    })
}

/// Whose it is, in a word.
pub(crate) fn kind(event: &Event) -> &'static str {
    match event.kind() {
        ThingKind::Pod => "pod",
        ThingKind::Container => "container",
        ThingKind::Unknown => "unknown",
    }
}

/// What has happened, in a word.
pub(crate) fn word(of: ContainerEventType) -> &'static str {
    match of {
        ContainerEventType::ContainerCreatedEvent => "created",
        ContainerEventType::ContainerStartedEvent => "started",
        ContainerEventType::ContainerStoppedEvent => "stopped",
        ContainerEventType::ContainerDeletedEvent => "deleted",
    }
}

/// The pod of a container's event, as namespace/name.
pub(crate) fn pod(event: &Event) -> Option<String> {
    let status = event.event.as_ref()?.pod_sandbox_status.as_ref()?;
    let metadata = status.metadata.as_ref().filter(|_| event.kind() == ThingKind::Container)?;
    Some(format!("{}/{}", metadata.namespace, metadata.name))
}

/// How the container stood that an event says has ended.
pub(crate) fn end(told: &ContainerEventResponse) -> Option<&ContainerStatus> {
    let ended = told.container_event_type() == ContainerEventType::ContainerStoppedEvent;
    told.containers_statuses.iter().find(|status| ended && status.id == told.container_id)
}
