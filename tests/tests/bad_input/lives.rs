//! Ids that lead nowhere or to several, and calls that come at the wrong time of a life.

use orlop_proto::runtime::v1::*;
use orlop_tests::cri;
use orlop_tests::daemon::stage::{Stage, namespaces};
use tonic::Code;

use crate::call::Call;
use crate::row::{Row, judge};

fn exec(id: &str, command: &[&str], timeout: i64) -> Call {
    let cmd = command.iter().map(|&word| word.to_owned()).collect();
    Call::Exec(ExecSyncRequest { container_id: id.into(), cmd, timeout })
}

/// Calls that need what an id leads to.
fn of_container(id: &str) -> [(&'static str, Call); 4] {
    let id = || id.to_owned();
    [
        ("StartContainer", Call::Start(id())),
        ("ContainerStatus", Call::Status(id())),
        ("ExecSync", exec(&id(), &["true"], 0)),
        ("ReopenContainerLog", Call::Reopen(id())),
    ]
}

/// Calls that are content where it leads to nothing.
fn idempotent(id: &str) -> [(&'static str, Call); 4] {
    let id = || id.to_owned();
    [
        ("StopContainer", Call::Stop(id())),
        ("RemoveContainer", Call::Remove(id())),
        ("StopPodSandbox", Call::StopPod(id())),
        ("RemovePodSandbox", Call::RemovePod(id())),
    ]
}

#[tokio::test]
async fn an_id_leads_to_one_thing() {
    let mut stage = Stage::new("badids").await;
    let long = "f".repeat(1 << 20);
    let mut rows = Vec::new();
    for (what, id, shown) in [
        ("unknown", "feedfeedfeed", "feedfeedfeed"),
        ("a path", "../../etc/passwd", "../../etc/passwd"),
        ("an escape", "\u{1b}[31m", "\\u{1b}[31m"),
        ("1 MiB long", long.as_str(), "ffff"),
    ] {
        for (call, request) in of_container(id) {
            rows.push(Row::new(format!("{call}: {what}"), request, Code::NotFound, &["container", shown]));
        }
        let request = Call::PodStatus(id.into());
        rows.push(Row::new(
            format!("PodSandboxStatus: {what}"),
            request,
            Code::NotFound,
            &["pod sandbox", shown],
        ));
    }
    for (call, request) in of_container("").into_iter().chain(idempotent("")) {
        let field = if call.ends_with("Sandbox") { "pod_sandbox_id" } else { "container_id" };
        rows.push(Row::new(format!("{call}: no id"), request, Code::InvalidArgument, &[field]));
    }
    let request = Call::PodStatus(String::new());
    rows.push(Row::new("PodSandboxStatus: no id", request, Code::InvalidArgument, &["pod_sandbox_id"]));
    let seventeen = ContainerStateValue { state: 17 };
    let filter = ContainerFilter { state: Some(seventeen), ..ContainerFilter::default() };
    rows.push(Row::new(
        "state 17",
        Call::Containers(filter),
        Code::InvalidArgument,
        &["filter.state", "\"17\""],
    ));
    judge(&stage.daemon, &mut stage.client, rows).await;
    // What is not there is stopped and removed already.
    for (call, request) in idempotent("feedfeedfeed") {
        request.send(&mut stage.client).await.unwrap_or_else(|status| panic!("{call}: {status}"));
    }
    stage.end().await;
}

/// A first digit that two of `ids` have: with seventeen there is one.
fn digit(ids: &[String]) -> String {
    let digit = |id: &String| id.get(..1).expect("an id").to_owned();
    let twice = ids.iter().find(|id| ids.iter().filter(|other| digit(other) == digit(id)).count() > 1);
    digit(twice.expect("there are sixteen digits"))
}

#[tokio::test]
async fn a_beginning_of_two_ids_leads_to_none() {
    let mut stage = Stage::new("badstart").await;
    let (mut pods, mut containers) = (Vec::new(), Vec::new());
    for number in 0..17 {
        let mut pod = cri::pod(&format!("twin{number}"), &stage.daemon.logs("twins"));
        namespaces(&mut pod).network = NamespaceMode::Node.into();
        pods.push(stage.client.run_pod(&pod).await.expect("a pod"));
        let config = stage.script(&format!("twin{number}"), "true");
        containers.push(stage.create(&config).await.expect("a container"));
    }
    let mut rows = Vec::new();
    let pod = digit(&pods);
    let of_pod = [Call::PodStatus(pod.clone()), Call::StopPod(pod.clone()), Call::RemovePod(pod)];
    for request in of_pod {
        rows.push(Row::new("two pods", request, Code::InvalidArgument, &["pod_sandbox_id", "more than one"]));
    }
    let id = digit(&containers);
    for (call, request) in of_container(&id) {
        rows.push(Row::new(call, request, Code::InvalidArgument, &["container_id", "more than one"]));
    }
    for request in [Call::Stop(id.clone()), Call::Remove(id.clone())] {
        rows.push(Row::new(
            "two containers",
            request,
            Code::InvalidArgument,
            &["container_id", "more than one"],
        ));
    }
    judge(&stage.daemon, &mut stage.client, rows).await;
    stage.end().await;
}

/// What no container can execute.
fn execs(running: &str) -> Vec<Row> {
    let large = "x".repeat(128 << 10);
    let table: [(_, &[&str], &[&str]); 8] = [
        ("nothing", &[], &["cmd", "no program"]),
        ("a program without a name", &[""], &["cmd", "no program"]),
        ("a NUL", &["echo", "a\0b"], &["cmd[1]", "NUL"]),
        ("a large argument", &["echo", &large], &["cmd[1]", "at most"]),
        ("what is not there", &["sing"], &["exec", "sing", "No such file"]),
        ("a path that is not there", &["/no/such"], &["exec", "/no/such", "No such file"]),
        ("a text", &["/etc/passwd"], &["exec", "/etc/passwd", "Permission denied"]),
        ("a directory", &["/etc"], &["exec", "/etc", "Permission denied"]),
    ];
    let row = |(name, command, words): (_, &[&str], &[&str])| {
        Row::new(format!("exec of {name}"), exec(running, command, 0), Code::InvalidArgument, words)
    };
    let endless = exec(running, &["sleep", "1000"], 1);
    let endless = Row::new("exec without end", endless, Code::DeadlineExceeded, &["exec", "killed"]);
    table.into_iter().map(row).chain([endless]).collect()
}

#[tokio::test]
async fn a_call_at_the_wrong_time_is_refused() {
    let mut stage = Stage::new("badtime").await;
    let running = stage.run("running", "sleep 1000").await;
    let ended = stage.run("ended", "exit 4").await;
    stage.client.ended(&ended).await;
    let config = stage.script("created", "true");
    let created = stage.create(&config).await.expect("a container");
    let wrong = Code::FailedPrecondition;
    let mut rows = execs(&running);
    rows.extend([
        Row::new(
            "started twice",
            Call::Start(ended.clone()),
            wrong,
            &["start container", &ended[..12], "runs once"],
        ),
        Row::new(
            "exec in what has ended",
            exec(&ended, &["true"], 0),
            wrong,
            &["exec", &ended[..12], "not running"],
        ),
        Row::new(
            "exec in what was not started",
            exec(&created, &["true"], 0),
            wrong,
            &["exec", "not running"],
        ),
        Row::new(
            "the log of what has ended",
            Call::Reopen(ended.clone()),
            wrong,
            &["reopen log", "not running"],
        ),
        Row::new("the log of what was not started", Call::Reopen(created.clone()), wrong, &["reopen log"]),
    ]);
    judge(&stage.daemon, &mut stage.client, rows).await;
    // What runs already is started; what has ended is stopped; a stop may come before the start.
    for call in [Call::Start(running.clone()), Call::Stop(ended), Call::Stop(created.clone())] {
        call.send(&mut stage.client).await.expect("said again, it is no error");
    }
    let rows = vec![Row::new(
        "started after its stop",
        Call::Start(created),
        wrong,
        &["start container", "runs once"],
    )];
    judge(&stage.daemon, &mut stage.client, rows).await;
    assert_eq!(stage.client.sh(&running, "echo still here").await, "still here\n");
    stage.end().await;
}
