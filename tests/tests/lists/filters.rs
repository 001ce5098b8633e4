//! What is listed of what there is: by id, by the beginning of one, by state, by labels, by pod, and by all of these at once.

use std::collections::BTreeMap;

use orlop_proto::runtime::v1::ContainerState::{
    ContainerCreated, ContainerExited, ContainerRunning, ContainerUnknown,
};
use orlop_proto::runtime::v1::PodSandboxState::{self, SandboxNotready, SandboxReady};
use orlop_proto::runtime::v1::{
    ContainerFilter, ContainerState, ContainerStateValue, ImageFilter, ImageSpec, PodSandboxFilter,
    PodSandboxStateValue,
};
use orlop_tests::cri::{Client, container, pod};
use orlop_tests::daemon::Daemon;
use tonic::Code;

use crate::ask;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The names of the containers that fit, in alphabetical order.
async fn named(client: &mut Client, filter: ContainerFilter) -> String {
    let rows = ask::containers(client, filter).await.expect("a list");
    let mut names: Vec<String> = rows.into_iter().map(|row| row.metadata.expect("a name").name).collect();
    names.sort();
    names.concat()
}

/// Two pods' ids, and four containers': a and b of the first, c and d of the second; a and d run, b has ended, c is created.
async fn shop(daemon: &Daemon, client: &mut Client) -> (Vec<String>, Vec<String>) {
    let image = daemon.pull_busybox().await;
    let (mut pods, mut ids) = (Vec::new(), Vec::new());
    for (name, containers) in [("p", [("a", "front"), ("b", "back")]), ("q", [("c", "back"), ("d", "front")])]
    {
        let pod = pod(name, &daemon.logs(name));
        let pod_id = client.run_pod(&pod).await.expect("a pod");
        for (name, tier) in containers {
            let script = if name == "b" { "exit 1" } else { "exec sleep 1000" };
            let mut config = container(name, &image, &["sh", "-c", script]);
            config.labels = map(&[("app", "shop"), ("tier", tier)]);
            let id = client.create(&pod_id, &pod, &config).await.expect("created");
            if name != "c" {
                client.start(&id).await.expect("started");
            }
            ids.push(id);
        }
        pods.push(pod_id);
    }
    client.ended(&ids[1]).await;
    (pods, ids)
}

#[tokio::test]
async fn containers_have_to_fit_all_that_is_asked_for() {
    let daemon = Daemon::start("filters").await;
    let mut client = daemon.client().await;
    let (pods, ids) = Box::pin(shop(&daemon, &mut client)).await;
    let (p, q) = (pods[0].as_str(), pods[1].as_str());
    let filter = |id: &str, pod: &str, of: Option<ContainerState>, labels: &[(&str, &str)]| ContainerFilter {
        id: id.into(),
        pod_sandbox_id: pod.into(),
        state: of.map(|state| ContainerStateValue { state: state.into() }),
        label_selector: map(labels),
    };
    let back: &[(&str, &str)] = &[("tier", "back")];
    let both: &[(&str, &str)] = &[("tier", "back"), ("app", "shop")];
    let table = [
        (filter("", "", None, &[]), "abcd"),
        // By id, whole and by its beginning.
        (filter(&ids[0], "", None, &[]), "a"),
        (filter(&ids[1][..13], "", None, &[]), "b"),
        (filter(&format!("{}0", ids[0]), "", None, &[]), ""),
        (filter(&ids[0][1..], "", None, &[]), ""),
        (filter("0123456789abcdef", "", None, &[]), ""),
        (filter("no id at all", "", None, &[]), ""),
        // By pod.
        (filter("", p, None, &[]), "ab"),
        (filter("", &q[..20], None, &[]), "cd"),
        (filter("", "0123456789abcdef", None, &[]), ""),
        (filter("", &ids[0], None, &[]), ""),
        // By state.
        (filter("", "", Some(ContainerRunning), &[]), "ad"),
        (filter("", "", Some(ContainerExited), &[]), "b"),
        (filter("", "", Some(ContainerCreated), &[]), "c"),
        (filter("", "", Some(ContainerUnknown), &[]), ""),
        // By labels: all of them, each with that value.
        (filter("", "", None, back), "bc"),
        (filter("", "", None, both), "bc"),
        (filter("", "", None, &[("tier", "")]), ""),
        (filter("", "", None, &[("tier", "back"), ("app", "x")]), ""),
        (filter("", "", None, &[("other", "x")]), ""),
        // By all at once.
        (filter(&ids[1], p, Some(ContainerExited), both), "b"),
        (filter(&ids[1][..9], &p[..9], Some(ContainerExited), back), "b"),
        (filter(&ids[1], q, Some(ContainerExited), both), ""),
        (filter(&ids[1], p, Some(ContainerRunning), both), ""),
        (filter(&ids[0], p, Some(ContainerRunning), back), ""),
        (filter("", q, Some(ContainerRunning), &[("app", "shop")]), "d"),
    ];
    for (filter, expected) in table {
        let shown = format!("{filter:?}");
        assert_eq!(named(&mut client, filter).await, expected, "{shown}");
    }
    let refused = ask::containers(
        &mut client,
        ContainerFilter { state: Some(ContainerStateValue { state: 9 }), ..Default::default() },
    )
    .await;
    let refused = refused.expect_err("there is no such state");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("filter.state \"9\""), "{refused}");
    drop(client);
    daemon.end().await;
}

#[tokio::test]
async fn pods_have_to_fit_all_that_is_asked_for() {
    let daemon = Daemon::start("podfilters").await;
    let mut client = daemon.client().await;
    let mut ids = Vec::new();
    for (name, tier) in [("a", "front"), ("b", "back"), ("c", "back")] {
        let mut config = pod(name, "");
        config.labels = map(&[("app", "shop"), ("tier", tier)]);
        ids.push(client.run_pod(&config).await.expect("a pod"));
    }
    client.stop_pod(&ids[2]).await.expect("stopped");
    let filter = |id: &str, of: Option<PodSandboxState>, labels: &[(&str, &str)]| PodSandboxFilter {
        id: id.into(),
        state: of.map(|state| PodSandboxStateValue { state: state.into() }),
        label_selector: map(labels),
    };
    let table = [
        (filter("", None, &[]), "abc"),
        (filter(&ids[0], None, &[]), "a"),
        (filter(&ids[1][..13], None, &[]), "b"),
        (filter("0123456789abcdef", None, &[]), ""),
        (filter("", Some(SandboxReady), &[]), "ab"),
        (filter("", Some(SandboxNotready), &[]), "c"),
        (filter("", None, &[("tier", "back")]), "bc"),
        (filter("", Some(SandboxReady), &[("tier", "back"), ("app", "shop")]), "b"),
        (filter(&ids[2], Some(SandboxNotready), &[("tier", "back")]), "c"),
        (filter(&ids[2], Some(SandboxReady), &[("tier", "back")]), ""),
        (filter(&ids[2], None, &[("tier", "front")]), ""),
    ];
    for (filter, expected) in table {
        let shown = format!("{filter:?}");
        let rows = ask::pods(&mut client, filter).await.expect("a list");
        let mut names: Vec<String> = rows.into_iter().map(|row| row.metadata.expect("a name").name).collect();
        names.sort();
        assert_eq!(names.concat(), expected, "{shown}");
    }
    let wrong = PodSandboxFilter { state: Some(PodSandboxStateValue { state: 7 }), ..Default::default() };
    let refused = ask::pods(&mut client, wrong).await.expect_err("there is no such state");
    assert_eq!(refused.code(), Code::InvalidArgument);
    drop(client);
    daemon.end().await;
}

#[tokio::test]
async fn images_are_listed_by_name_and_by_id() {
    let daemon = Daemon::start("imagelists").await;
    let mut client = daemon.client().await;
    assert!(ask::images(&mut client, None).await.expect("a list").is_empty(), "nothing is a stream, too");
    let name = daemon.pull_busybox().await;
    let all = ask::images(&mut client, None).await.expect("a list");
    assert_eq!(all.len(), 1);
    let of = |image: &str| {
        Some(ImageFilter { image: Some(ImageSpec { image: image.into(), ..ImageSpec::default() }) })
    };
    for known in ["", &name, &all[0].id, &all[0].repo_digests[0]] {
        assert_eq!(ask::images(&mut client, of(known)).await.expect("a list"), all, "{known}");
    }
    assert!(ask::images(&mut client, of("no-such-image")).await.expect("a list").is_empty());
    let refused = ask::images(&mut client, of("No:Name:At:All")).await.expect_err("no image has this name");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    drop(client);
    daemon.end().await;
}

#[tokio::test]
async fn where_there_is_nothing_a_stream_ends_at_once() {
    let daemon = Daemon::start("nothing").await;
    let mut client = daemon.client().await;
    assert!(ask::containers(&mut client, ContainerFilter::default()).await.expect("a list").is_empty());
    assert!(ask::pods(&mut client, PodSandboxFilter::default()).await.expect("a list").is_empty());
    drop(client);
    daemon.end().await;
}
