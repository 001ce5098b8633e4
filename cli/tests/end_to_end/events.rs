//! `events`: asked for by number, shown in two forms, and a gap is said to be one.

use orlop_proto::orlop::v1::{Event, ThingKind};
use orlop_proto::runtime::v1::{
    ContainerEventResponse, ContainerEventType, ContainerStatus, PodSandboxMetadata, PodSandboxStatus,
};
use tonic::Status;

use crate::daemon::{Daemon, id};
use crate::run::orlop;

fn event(number: u64, kind: ThingKind, of: ContainerEventType, name: &str) -> Event {
    let metadata =
        PodSandboxMetadata { name: "shop".into(), namespace: "test".into(), ..PodSandboxMetadata::default() };
    let pod = PodSandboxStatus { id: id("b1"), metadata: Some(metadata), ..PodSandboxStatus::default() };
    let status = ContainerStatus {
        id: id("a1"),
        exit_code: 3,
        reason: "Error\u{1b}".into(),
        ..ContainerStatus::default()
    };
    Event {
        number,
        kind: kind.into(),
        pod_id: id("b1"),
        name: name.into(),
        event: Some(ContainerEventResponse {
            container_id: if kind == ThingKind::Pod { id("b1") } else { id("a1") },
            container_event_type: of.into(),
            created_at: 1_700_000_000_000_000_000,
            pod_sandbox_status: Some(pod),
            containers_statuses: vec![status],
        }),
    }
}

#[test]
fn they_are_lines_or_objects() {
    let daemon = Daemon::new();
    let all = || {
        vec![
            Ok(event(7, ThingKind::Pod, ContainerEventType::ContainerStartedEvent, "test/shop")),
            Ok(event(8, ThingKind::Container, ContainerEventType::ContainerStoppedEvent, "web\u{1b}[2J")),
        ]
    };
    daemon.world().events = all();
    let shown = orlop(&daemon, "events --since 6 -f").well();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 2, "{shown}");
    assert!(lines[0].starts_with("2023-11-14T22:13:20"), "{shown}");
    assert!(lines[0].ends_with("      7  pod        started  b10000000000  test/shop"), "{shown}");
    assert!(
        lines[1].ends_with(
            "      8  container  stopped  a10000000000  web\\u{1b}[2J  in test/shop  exit 3 Error\\u{1b}"
        ),
        "{shown}"
    );
    daemon.world().events = all();
    let shown = orlop(&daemon, "events -o json").well();
    let shown: Vec<serde_json::Value> =
        shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&shown[0]["number"], &shown[0]["kind"]), (&7.into(), &"pod".into()));
    assert_eq!((&shown[1]["event"], &shown[1]["containers"][0]["exitCode"]), (&"stopped".into(), &3.into()));
    assert_eq!(shown[1]["pod"]["metadata"]["name"], "shop");
    assert_eq!(daemon.asked(), ["events since Some(6) on and on", "events since None"]);
}

#[test]
fn what_is_no_longer_kept_is_said() {
    let daemon = Daemon::new();
    daemon.world().events = vec![Err(Status::out_of_range("events: those after 3 are no longer kept"))];
    let said = orlop(&daemon, "events --since 3").badly();
    assert_eq!(said, "orlop: events: events: those after 3 are no longer kept\n");
}
