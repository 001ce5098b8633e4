//! Starts, ends, signals, crashes.

use orlop_proto::runtime::v1::{ContainerEventType, ContainerState, GetEventsRequest, Signal};
use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::{Stage, resources, text};
use rustix::process::{Pid, kill_process};
use tonic::Code;

use crate::Handler;
use crate::table::differs;

async fn number(stage: &mut Stage, id: &str, name: &str) -> Pid {
    let facts = stage.client.facts(id).await.expect("facts");
    let number = facts[name].as_i64().and_then(|number| i32::try_from(number).ok());
    number.and_then(Pid::from_raw).unwrap_or_else(|| panic!("{name} in {facts}"))
}

fn is_there(pid: Pid) -> bool {
    std::path::Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists()
}

pub(crate) async fn starts(stage: &mut Stage, _: Handler) {
    let config = stage.script("c", "exec sleep 1000");
    let id = stage.create(&config).await.expect("created");
    assert_eq!(stage.client.status(&id).await.expect("its status").state(), ContainerState::ContainerCreated);
    stage.client.start(&id).await.expect("started");
    let status = stage.client.status(&id).await.expect("its status");
    assert_eq!(status.state(), ContainerState::ContainerRunning);
    assert!(status.started_at >= status.created_at && status.finished_at == 0);
    let pid = number(stage, &id, "pid").await;
    let arguments = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
    eventually("it is the program", async || {
        std::fs::read(&arguments).is_ok_and(|arguments| arguments == b"sleep\x001000\x00")
    })
    .await;
    stage.client.start(&id).await.expect("it runs already");
    assert_eq!(number(stage, &id, "pid").await, pid);
    stage.client.stop(&id, 0).await.expect("stopped");
    assert!(!is_there(pid));
    assert!(stage.client.status(&id).await.expect("its status").finished_at > status.started_at);
}

pub(crate) async fn exit_codes(stage: &mut Stage, _: Handler) {
    for code in [0, 3, 255] {
        let config = stage.script(&format!("c{code}"), &format!("exit {code}"));
        let (status, _) = stage.to_end(&config).await;
        let reason = if code == 0 { "Completed" } else { "Error" };
        assert_eq!((status.exit_code, &*status.reason), (code, reason));
    }
}

pub(crate) async fn signal(stage: &mut Stage, _: Handler) {
    let id = stage.run("killed", "exec sleep 1000").await;
    kill_process(number(stage, &id, "pid").await, rustix::process::Signal::KILL).expect("sent");
    assert_eq!(stage.client.ended(&id).await.exit_code, 137);
    let config = stage.script("segv", "sh -c 'kill -SEGV $$'; exit $?");
    assert_eq!(stage.to_end(&config).await.0.exit_code, 139);
}

pub(crate) async fn graceful(stage: &mut Stage, _: Handler) {
    let id = stage.run("c", "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.02; done").await;
    eventually("it is ready", async || text(&stage.log("c"), "stdout") == "ready\n").await;
    stage.client.stop(&id, 20).await.expect("stopped");
    assert_eq!(stage.client.status(&id).await.expect("its status").exit_code, 5);
    assert_eq!(text(&stage.log("c"), "stdout"), "ready\nbye\n");
    stage.client.stop(&id, 20).await.expect("again");
}

pub(crate) async fn ungraceful(stage: &mut Stage, _: Handler) {
    let id = stage.run("c", "trap '' TERM; echo ready; while :; do sleep 0.02; done").await;
    eventually("it is ready", async || text(&stage.log("c"), "stdout") == "ready\n").await;
    stage.client.stop(&id, 1).await.expect("stopped");
    let status = stage.client.status(&id).await.expect("its status");
    assert_eq!((status.exit_code, &*status.reason), (137, "Error"));
}

pub(crate) async fn stop_signal(stage: &mut Stage, _: Handler) {
    let mut config = stage.script("c", "trap 'exit 9' USR1; echo ready; while :; do sleep 0.02; done");
    config.set_stop_signal(Signal::Sigusr1);
    let id = stage.start(&config).await;
    eventually("it is ready", async || text(&stage.log("c"), "stdout") == "ready\n").await;
    stage.client.stop(&id, 20).await.expect("stopped");
    let status = stage.client.status(&id).await.expect("its status");
    assert_eq!((status.exit_code, status.stop_signal()), (9, Signal::Sigusr1));
}

pub(crate) async fn out_of_memory(stage: &mut Stage, _: Handler) {
    let mut config = stage.script("c", "exec tail /dev/zero");
    resources(&mut config).memory_limit_in_bytes = 24 << 20;
    resources(&mut config).memory_swap_limit_in_bytes = 24 << 20;
    let (status, _) = stage.to_end(&config).await;
    assert_eq!((status.exit_code, &*status.reason), (137, "OOMKilled"), "{}", status.message);
}

pub(crate) async fn not_there(stage: &mut Stage, handler: Handler) {
    let mut config = stage.script("c", "");
    config.command = vec!["no-such-program".into()];
    let id = stage.create(&config).await.expect("created");
    let error = stage.client.start(&id).await.expect_err("there is no such program");
    let differs = differs(handler, "a-program-that-is-not-there");
    assert_eq!(error.code(), if differs { Code::Internal } else { Code::InvalidArgument }, "{error}");
    assert!(error.message().contains("no-such-program"), "{error}");
    let status = stage.client.ended(&id).await;
    assert_eq!((status.exit_code, &*status.reason, status.started_at), (128, "StartError", 0));
    stage.client.remove(&id).await.expect("removed");
}

pub(crate) async fn not_executable(stage: &mut Stage, _: Handler) {
    for (name, program) in [("directory", "/etc"), ("file", "/etc/passwd")] {
        let mut config = stage.script(name, "");
        config.command = vec![program.into()];
        let id = stage.create(&config).await.expect("created");
        let error = stage.client.start(&id).await.expect_err("it is no program");
        assert!(error.message().contains(program), "{error}");
        assert_eq!(stage.client.ended(&id).await.exit_code, 128);
    }
}

pub(crate) async fn removed(stage: &mut Stage, _: Handler) {
    let id = stage.run("c", "trap '' TERM; exec sleep 1000").await;
    let pid = number(stage, &id, "pid").await;
    stage.client.remove(&id).await.expect("removed");
    assert!(!is_there(pid));
    assert_eq!(stage.client.status(&id).await.expect_err("it is gone").code(), Code::NotFound);
    stage.client.remove(&id).await.expect("again");
    let config = stage.script("c", "exit 4");
    assert_eq!(stage.to_end(&config).await.0.exit_code, 4, "its name is free");
}

pub(crate) async fn short(stage: &mut Stage, _: Handler) {
    for number in 0..10 {
        let config = stage.script(&format!("c{number}"), &format!("echo {number}; exit {number}"));
        let (status, said) = stage.to_end(&config).await;
        assert_eq!((status.exit_code, said), (number, format!("{number}\n")));
    }
}

pub(crate) async fn events(stage: &mut Stage, _: Handler) {
    use ContainerEventType::{
        ContainerCreatedEvent as Created, ContainerDeletedEvent as Deleted, ContainerStartedEvent as Started,
        ContainerStoppedEvent as Stopped,
    };
    let mut stream =
        stage.client.runtime.get_container_events(GetEventsRequest {}).await.expect("events").into_inner();
    let config = stage.script("c", "exit 3");
    let id = stage.start(&config).await;
    stage.client.ended(&id).await;
    stage.client.remove(&id).await.expect("removed");
    let mut told = Vec::new();
    while told.len() < 4 {
        let next = tokio::time::timeout(orlop_tests::daemon::PATIENCE, stream.message()).await;
        let event = next.expect("an event comes").expect("well").expect("it goes on");
        if event.container_id == id {
            told.push(event.container_event_type());
        }
    }
    assert_eq!(told, [Created, Started, Stopped, Deleted]);
}

pub(crate) async fn restart(stage: &mut Stage, _: Handler) {
    let id = stage.run("c", "n=0; while :; do echo $n; n=$((n + 1)); sleep 0.05; done").await;
    let pid = number(stage, &id, "pid").await;
    stage.daemon.stop();
    let before = stage.log("c").len();
    eventually("it writes its log without orlopd", async || stage.log("c").len() > before + 2).await;
    stage.daemon.up().await;
    stage.client = stage.daemon.client().await;
    assert_eq!(number(stage, &id, "pid").await, pid);
    eventually("its shim is spoken to", async || stage.client.exec(&id, &["true"], 60).await.is_ok()).await;
    let answer = stage.client.exec(&id, &["sh", "-c", "echo in; exit 6"], 60).await.expect("exec");
    assert_eq!((&*answer.stdout, answer.exit_code), (&b"in\n"[..], 6));
    stage.client.stop(&id, 0).await.expect("stopped");
    let lines: Vec<usize> = stage.log("c").iter().map(|line| line.text.parse().expect("a number")).collect();
    assert!(lines.iter().copied().eq(0..lines.len()), "no line is lost");
}

pub(crate) async fn killed(stage: &mut Stage, _: Handler) {
    let id = stage.run("c", "sleep 0.5; echo done; exit 7").await;
    let created = {
        let config = stage.script("later", "exit 2");
        stage.create(&config).await.expect("created")
    };
    stage.daemon.kill9();
    let directory = stage.daemon.state().join("containers").join(&id);
    eventually("it ends without orlopd", async || directory.join("exit").exists()).await;
    stage.daemon.up().await;
    stage.client = stage.daemon.client().await;
    let status = stage.client.status(&id).await.expect("its status");
    assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 7));
    assert_eq!(text(&stage.log("c"), "stdout"), "done\n");
    stage.client.start(&created).await.expect("what was created can be started");
    assert_eq!(stage.client.ended(&created).await.exit_code, 2);
}

pub(crate) async fn shim_killed(stage: &mut Stage, _: Handler) {
    let id = stage.run("c", "exec sleep 1000").await;
    let pid = number(stage, &id, "pid").await;
    kill_process(number(stage, &id, "shim").await, rustix::process::Signal::KILL).expect("killed");
    let status = stage.client.ended(&id).await;
    assert!(status.exit_code == 137 && status.message.contains("shim"), "{}", status.message);
    eventually("its process is gone", async || !is_there(pid)).await;
    stage.client.remove(&id).await.expect("removed");
}

pub(crate) async fn both_killed(stage: &mut Stage, _: Handler) {
    let id = stage.run("c", "exec sleep 1000").await;
    let (pid, shim) = (number(stage, &id, "pid").await, number(stage, &id, "shim").await);
    stage.daemon.kill9();
    kill_process(shim, rustix::process::Signal::KILL).expect("killed");
    eventually("it is gone", async || !is_there(shim)).await;
    stage.daemon.up().await;
    stage.client = stage.daemon.client().await;
    let status = stage.client.ended(&id).await;
    assert!(status.exit_code == 137 && status.message.contains("shim"), "{}", status.message);
    eventually("its process is gone", async || !is_there(pid)).await;
}
