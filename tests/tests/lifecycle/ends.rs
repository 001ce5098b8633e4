//! How containers end, and what is told of it.

use std::time::{SystemTime, UNIX_EPOCH};

use orlop_proto::runtime::v1::{ContainerState, ContainerStatus, Signal};
use orlop_tests::busybox;
use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::{Stage, resources};
use orlop_tests::daemon::stock;
use orlop_tests::image::Flavour;
use orlop_tests::layer::Packing;
use serde_json::json;
use tonic::Code;

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_nanos()).expect("before 2262")
}

fn end(status: &ContainerStatus) -> (i32, &str) {
    assert_eq!(status.state(), ContainerState::ContainerExited);
    (status.exit_code, &status.reason)
}

/// Waits until a container's log has a line: then its traps are set.
async fn says(stage: &Stage, name: &str, line: &str) {
    eventually(line, async || stage.log(name).iter().any(|said| said.text == line)).await;
}

#[tokio::test]
async fn exit_codes_reasons_and_times_are_told() {
    let mut stage = Stage::new("codes").await;
    let before = now();
    for (name, script, expected) in [
        ("zero", "exit 0", (0, "Completed")),
        ("three", "exit 3", (3, "Error")),
        ("most", "exit 255", (255, "Error")),
        ("trap", "sh -c 'kill -TERM $$'; exit $?", (143, "Error")),
    ] {
        let id = stage.run(name, script).await;
        let status = stage.client.ended(&id).await;
        assert_eq!(end(&status), expected, "{name}");
        let times = [before, status.created_at, status.started_at, status.finished_at, now()];
        assert!(times.is_sorted(), "{name}: {times:?}");
        assert_eq!(stage.client.start(&id).await.expect_err("it ran").code(), Code::FailedPrecondition);
    }
    stage.end().await;
}

#[tokio::test]
async fn what_is_not_ended_has_no_end_in_its_status() {
    let mut stage = Stage::new("no-end").await;
    let config = stage.script("c", "sleep 1000");
    let id = stage.create(&config).await.expect("created");
    let status = stage.client.status(&id).await.expect("its status");
    assert_eq!(status.state(), ContainerState::ContainerCreated);
    assert_eq!((status.started_at, status.finished_at, status.exit_code, &*status.reason), (0, 0, 0, ""));
    stage.client.start(&id).await.expect("started");
    let status = stage.client.status(&id).await.expect("its status");
    assert_eq!(status.state(), ContainerState::ContainerRunning);
    assert!(status.started_at >= status.created_at);
    assert_eq!((status.finished_at, status.exit_code, &*status.reason), (0, 0, ""));
    stage.end().await;
}

#[tokio::test]
async fn a_signal_of_the_kernel_is_128_and_its_number() {
    // In a PID namespace that the pod shares, the container's first process is not spared as an init is.
    let mut stage = Stage::with("signals", |pod| pod.linux = None).await;
    for (name, signal, code) in [("term", "TERM", 143), ("kill", "KILL", 137), ("usr1", "USR1", 138)] {
        let config = stage.script(name, &format!("kill -{signal} $$; sleep 1000"));
        let (status, _) = stage.to_end(&config).await;
        assert_eq!(end(&status), (code, "Error"), "{name}");
    }
    stage.end().await;
}

#[tokio::test]
async fn what_ends_at_the_stop_signal_has_the_code_that_it_chose() {
    let mut stage = Stage::new("stop-signal").await;
    let script = "trap 'echo leaving; exit 5' TERM; trap 'exit 6' USR1; trap 'exit 7' USR2; echo ready; \
                  while :; do sleep 0.02; done";
    let id = stage.run("term", script).await;
    says(&stage, "term", "ready").await;
    stage.client.stop(&id, 600).await.expect("stopped");
    assert_eq!(end(&stage.client.status(&id).await.expect("its status")), (5, "Error"));
    assert_eq!(stage.log("term").last().map(|line| line.text.clone()), Some("leaving".into()));

    let mut config = stage.script("request", script);
    config.stop_signal = Signal::Sigusr2.into();
    let id = stage.start(&config).await;
    assert_eq!(stage.client.status(&id).await.expect("its status").stop_signal(), Signal::Sigusr2);
    says(&stage, "request", "ready").await;
    stage.client.stop(&id, 600).await.expect("stopped");
    assert_eq!(end(&stage.client.status(&id).await.expect("its status")), (7, "Error"));

    let image = busybox::image(Flavour::Oci, Packing::Gzip).with("StopSignal", json!("SIGUSR1"));
    stock::registry().push("busybox", "usr1", &image);
    let name = format!("{}/busybox:usr1", stock::registry().address);
    stage.client.pull(&name).await.expect("pulled");
    let config = orlop_tests::cri::container("image", &name, &["sh", "-c", script]);
    let id = stage.start(&config).await;
    assert_eq!(stage.client.status(&id).await.expect("its status").stop_signal(), Signal::Sigusr1);
    says(&stage, "image", "ready").await;
    stage.client.stop(&id, 600).await.expect("stopped");
    assert_eq!(end(&stage.client.status(&id).await.expect("its status")), (6, "Error"));
    stage.end().await;
}

#[tokio::test]
async fn what_ignores_the_stop_signal_is_killed_when_its_grace_is_over() {
    let mut stage = Stage::new("grace").await;
    let deaf = "trap '' TERM; echo ready; while :; do sleep 0.02; done";
    let id = stage.run("one", deaf).await;
    says(&stage, "one", "ready").await;
    let before = now();
    stage.client.stop(&id, 1).await.expect("stopped");
    let status = stage.client.status(&id).await.expect("its status");
    assert_eq!(end(&status), (137, "Error"));
    assert!(status.finished_at - before >= 1_000_000_000, "it was granted a second");
    stage.end().await;
}

#[tokio::test]
async fn a_second_stop_shortens_the_grace_of_the_first() {
    let mut stage = Stage::new("shorter").await;
    let id = stage.run("c", "trap '' TERM; echo ready; while :; do sleep 0.02; done").await;
    says(&stage, "c", "ready").await;
    let first = {
        let (mut client, id) = (stage.daemon.client().await, id.clone());
        tokio::spawn(async move { client.stop(&id, 3600).await })
    };
    // Until the first is under way: what runs in it can still be looked at then.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(stage.client.status(&id).await.expect("its status").state(), ContainerState::ContainerRunning);
    assert_eq!(stage.client.sh(&id, "echo here").await, "here\n");
    stage.client.stop(&id, 0).await.expect("stopped");
    first.await.expect("a call").expect("the first is answered, too");
    assert_eq!(end(&stage.client.status(&id).await.expect("its status")), (137, "Error"));
    stage.end().await;
}

#[tokio::test]
async fn a_container_that_never_ran_can_be_stopped_and_removed() {
    let mut stage = Stage::new("never-ran").await;
    let config = stage.script("c", "true");
    let id = stage.create(&config).await.expect("created");
    stage.client.stop(&id, 10).await.expect("stopped");
    let status = stage.client.status(&id).await.expect("its status");
    assert_eq!((status.state(), status.started_at), (ContainerState::ContainerExited, 0));
    stage.client.remove(&id).await.expect("removed");
    let id = stage.create(&config).await.expect("the name is free again");
    stage.client.remove(&id).await.expect("removed");
    stage.end().await;
}

#[tokio::test]
async fn a_program_that_is_not_there_is_a_start_that_failed() {
    let mut stage = Stage::new("no-program").await;
    let config = orlop_tests::cri::container("c", &stage.image, &["/no/such/program"]);
    let id = stage.create(&config).await.expect("created");
    let error = stage.client.start(&id).await.expect_err("there is nothing to run");
    assert!(error.message().contains("/no/such/program"), "{error}");
    let status = stage.client.ended(&id).await;
    assert_eq!((status.exit_code, &*status.reason), (128, "StartError"));
    assert!(status.message.contains("/no/such/program"), "{}", status.message);
    stage.client.remove(&id).await.expect("removed");
    stage.end().await;
}

#[tokio::test]
async fn want_of_memory_is_told_from_other_ends() {
    let mut stage = Stage::new("oom").await;
    let mut config = stage.script("hungry", "exec tail /dev/zero");
    resources(&mut config).memory_limit_in_bytes = 16 << 20;
    resources(&mut config).memory_swap_limit_in_bytes = 16 << 20;
    let (status, _) = stage.to_end(&config).await;
    assert_eq!(end(&status), (137, "OOMKilled"));

    // A kill that was asked for is none of memory, whatever a child of it met before.
    let mut config = stage.script("frugal", "tail /dev/zero; echo survived $?; exec sleep 1000");
    resources(&mut config).memory_limit_in_bytes = 16 << 20;
    resources(&mut config).memory_swap_limit_in_bytes = 16 << 20;
    let id = stage.start(&config).await;
    says(&stage, "frugal", "survived 137").await;
    stage.client.stop(&id, 0).await.expect("stopped");
    assert_eq!(end(&stage.client.status(&id).await.expect("its status")), (137, "Error"));
    stage.end().await;
}

/// kubernetes#140718: the kernel's count of kills says who has met one, not who died of it.
#[tokio::test]
async fn what_ends_by_itself_or_is_stopped_is_no_victim_of_memory_whatever_its_child_was() {
    // In a PID namespace that the pod shares a stop signal has its default effect.
    let mut stage = Stage::with("no-victim", |pod| pod.linux = None).await;
    for (name, after, stopped, expected) in
        [("stopped", "exec sleep 1000", true, (143, "Error")), ("ended", "exit 0", false, (0, "Completed"))]
    {
        let mut config = stage.script(name, &format!("tail /dev/zero; echo survived $?; {after}"));
        resources(&mut config).memory_limit_in_bytes = 16 << 20;
        resources(&mut config).memory_swap_limit_in_bytes = 16 << 20;
        let id = stage.start(&config).await;
        says(&stage, name, "survived 137").await;
        if stopped {
            stage.client.stop(&id, 600).await.expect("stopped");
        }
        assert_eq!(end(&stage.client.ended(&id).await), expected, "{name}");
    }
    stage.end().await;
}

#[tokio::test]
async fn a_container_is_made_again_in_the_same_pod() {
    let mut stage = Stage::new("made-again").await;
    let mut ids = Vec::new();
    for attempt in 0..3 {
        let mut config = stage.script("c", &format!("echo {attempt}; exit {attempt}"));
        config.metadata.as_mut().expect("metadata").attempt = attempt;
        config.log_path = format!("c/{attempt}.log");
        let id = stage.start(&config).await;
        assert_eq!(stage.client.ended(&id).await.exit_code.cast_unsigned(), attempt);
        ids.push(id);
    }
    for (attempt, id) in (0..).zip(&ids) {
        let status = stage.client.status(id).await.expect("its status");
        assert_eq!(status.metadata.expect("metadata").attempt, attempt);
        assert_eq!(status.log_path, format!("{}/c/{attempt}.log", stage.pod.log_directory));
        let log = std::fs::read_to_string(status.log_path).expect("its log");
        assert!(log.ends_with(&format!("stdout F {attempt}\n")), "{log}");
    }
    stage.client.remove(&ids[0]).await.expect("removed");
    assert_eq!(stage.client.containers().await.expect("a list").len(), 2);
    stage.end().await;
}
