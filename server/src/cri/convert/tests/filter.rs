//! Which pods and containers a list is asked for.
//!
//! *Invariant:* as in the parent.

use v1::{ContainerState, PodSandboxState};

use super::super::filter::{ContainerFacts, ContainerFilter, PodFacts, PodFilter};
use super::*;

#[test]
fn a_pod_has_to_fit_all_that_a_filter_says() {
    let labels = map([("app", "web"), ("tier", "front")]);
    let pod = PodFacts { id: "abc123", state: PodSandboxState::SandboxReady, labels: &labels };
    let filter = |id: &str, state: Option<i32>, labels| {
        let state = state.map(|state| v1::PodSandboxStateValue { state });
        v1::PodSandboxFilter { id: id.into(), state, label_selector: labels }
    };
    let table = [
        (filter("", None, map([])), true),
        (filter("abc123", None, map([])), true),
        (filter("abc", Some(0), map([("app", "web")])), true),
        (filter("bc", None, map([])), false),
        (filter("abc1234", None, map([])), false),
        (filter("abc", Some(1), map([])), false),
        (filter("", None, map([("app", "")])), false),
        (filter("", None, map([("app", "web"), ("other", "x")])), false),
    ];
    for (asked, fits) in table {
        assert_eq!(PodFilter::of_list(Some(&asked)).unwrap().fits(pod), fits, "{asked:?}");
    }
    assert!(PodFilter::of_list(None).unwrap().fits(pod));
    let report = PodFilter::of_list(Some(&filter("", Some(7), map([])))).unwrap_err();
    assert_names(&report, Kind::BadRequest, "filter.state", "SANDBOX_READY (0)");
}

#[test]
fn a_container_has_to_fit_all_that_a_filter_says() {
    let labels = map([("app", "web")]);
    let container = ContainerFacts {
        id: "abc123",
        pod_id: "def456",
        state: ContainerState::ContainerRunning,
        labels: &labels,
    };
    let filter = |id: &str, pod: &str, state: Option<i32>, labels| v1::ContainerFilter {
        id: id.into(),
        pod_sandbox_id: pod.into(),
        state: state.map(|state| v1::ContainerStateValue { state }),
        label_selector: labels,
    };
    let table = [
        (filter("", "", None, map([])), true),
        (filter("abc", "def456", Some(1), map([("app", "web")])), true),
        (filter("def", "", None, map([])), false),
        (filter("", "abc", None, map([])), false),
        (filter("", "", Some(0), map([])), false),
        (filter("", "", None, map([("app", "db")])), false),
    ];
    for (asked, fits) in table {
        assert_eq!(ContainerFilter::of_list(Some(&asked)).unwrap().fits(container), fits, "{asked:?}");
    }
    let report = ContainerFilter::of_list(Some(&filter("", "", Some(4), map([])))).unwrap_err();
    assert_names(&report, Kind::BadRequest, "filter.state", "CONTAINER_UNKNOWN (3)");
}
