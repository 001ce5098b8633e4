//! A shim is killed, or answers no more.

use std::time::Duration;

use orlop_proto::runtime::v1::{ContainerState, PodSandboxState};
use orlop_tests::cri::{container, pod};
use orlop_tests::daemon::stage::Stage;
use orlop_tests::daemon::{Daemon, PATIENCE, eventually};
use rustix::process::{Pid, Signal, kill_process};

async fn pid(stage: &mut Stage, id: &str, whose: &str) -> Pid {
    let facts = stage.client.facts(id).await.expect("facts");
    let number = facts[whose].as_i64().expect("a number");
    Pid::from_raw(i32::try_from(number).expect("a process's number")).expect("a process's number")
}

fn is_there(pid: Pid) -> bool {
    std::path::Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists()
}

#[tokio::test]
async fn a_container_whose_shim_was_killed_has_ended_and_is_told_why() {
    for (name, shared) in [("own", false), ("shared", true)] {
        let mut stage = Stage::with(&format!("killed-{name}"), |pod| {
            if shared {
                pod.linux = None;
            }
        })
        .await;
        let other = stage.run("other", "exec sleep 1000").await;
        let id = stage.run("c", "exec sleep 1000").await;
        let process = pid(&mut stage, &id, "pid").await;
        kill_process(pid(&mut stage, &id, "shim").await, Signal::KILL).expect("killed");
        let status = stage.client.ended(&id).await;
        assert_eq!((status.exit_code, &*status.reason), (137, "Error"));
        assert!(status.message.contains("shim"), "{}", status.message);
        eventually("its process is gone", async || !is_there(process)).await;
        assert_eq!(
            stage.client.status(&other).await.expect("its status").state(),
            ContainerState::ContainerRunning
        );
        stage.client.remove(&id).await.expect("removed");
        stage.end().await;
    }
}

#[tokio::test]
async fn a_shim_that_was_killed_while_orlopd_was_gone_is_found_out() {
    let mut stage = Stage::new("killed-unseen").await;
    let id = stage.run("c", "exec sleep 1000").await;
    let (process, shim) = (pid(&mut stage, &id, "pid").await, pid(&mut stage, &id, "shim").await);
    stage.daemon.kill9();
    kill_process(shim, Signal::KILL).expect("killed");
    eventually("it is gone", async || !is_there(shim)).await;
    stage.daemon.up().await;
    stage.client = stage.daemon.client().await;
    let status = stage.client.ended(&id).await;
    assert_eq!((status.exit_code, &*status.reason), (137, "Error"));
    assert!(status.message.contains("shim"), "{}", status.message);
    eventually("its process is gone", async || !is_there(process)).await;
    // It stays so: what was once told of an end is never changed.
    stage.daemon.restart().await;
    stage.client = stage.daemon.client().await;
    assert_eq!(stage.client.status(&id).await.expect("its status"), status);
    stage.end().await;
}

#[tokio::test]
async fn a_container_whose_shim_is_mute_can_be_stopped() {
    let mut stage = Stage::new("mute").await;
    let other = stage.run("other", "exec sleep 1000").await;
    let id = stage.run("c", "exec sleep 1000").await;
    kill_process(pid(&mut stage, &id, "shim").await, Signal::STOP).expect("stopped");
    // It holds up nobody else.
    assert_eq!(stage.client.sh(&other, "echo here").await, "here\n");
    let (mut client, stopped) = (stage.daemon.client().await, id.clone());
    let stop = tokio::spawn(async move { client.stop(&stopped, 0).await });
    assert_eq!(stage.client.sh(&other, "echo here").await, "here\n");
    tokio::time::timeout(PATIENCE, stop).await.expect("it is answered").expect("a call").expect("stopped");
    let status = stage.client.status(&id).await.expect("its status");
    assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 137));
    stage.client.remove(&id).await.expect("removed");
    assert_eq!(stage.client.sh(&other, "echo here").await, "here\n");
    stage.end().await;
}

#[tokio::test]
async fn one_mute_shim_among_five_delays_no_start_of_orlopd() {
    let mut daemon = Daemon::start("mute-start").await;
    let image = daemon.pull_busybox().await;
    let mut client = daemon.client().await;
    let mut ids = Vec::new();
    for number in 0..5 {
        let name = format!("p{number}");
        let config = pod(&name, &daemon.logs(&name));
        let pod_id = client.run_pod(&config).await.expect("a pod");
        let id = client
            .run(&pod_id, &config, container("c", &image, &["sleep", "1000"]))
            .await
            .expect("a container");
        ids.push((pod_id, id));
    }
    let shim = client.facts(&ids[2].1).await.expect("facts")["shim"].as_i64().expect("a number");
    let shim = Pid::from_raw(i32::try_from(shim).expect("a number")).expect("a number");
    kill_process(shim, Signal::STOP).expect("stopped");
    daemon.restart().await;
    let mut client = daemon.client().await;
    // The mute one answers nothing, whoever asks; all others do while it is waited for.
    assert_eq!(client.containers().await.expect("a list").len(), 5);
    for (number, (pod_id, id)) in ids.iter().enumerate() {
        assert_eq!(
            client.pod_status(pod_id).await.expect("its status").state(),
            PodSandboxState::SandboxReady
        );
        if number != 2 {
            eventually("its shim is spoken to", async || client.exec(id, &["true"], 60).await.is_ok()).await;
        }
    }
    let asked = client.exec(&ids[2].1, &["true"], 1);
    assert!(tokio::time::timeout(PATIENCE, asked).await.expect("an answer").is_err());
    tokio::time::timeout(PATIENCE, client.stop(&ids[2].1, 0)).await.expect("an answer").expect("stopped");
    assert_eq!(client.status(&ids[2].1).await.expect("its status").state(), ContainerState::ContainerExited);
    // And if it wakes up, nothing changes.
    let _ = kill_process(shim, Signal::CONT);
    tokio::time::timeout(PATIENCE, client.remove_pod(&ids[2].0)).await.expect("an answer").expect("removed");
    drop(client);
    daemon.end().await;
}

#[tokio::test]
async fn a_shim_that_was_mute_for_a_while_is_heard_again() {
    let mut stage = Stage::new("wakes").await;
    let id = stage.run("c", "exec sleep 1000").await;
    let shim = pid(&mut stage, &id, "shim").await;
    stage.daemon.kill9();
    kill_process(shim, Signal::STOP).expect("stopped");
    stage.daemon.up().await;
    stage.client = stage.daemon.client().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    kill_process(shim, Signal::CONT).expect("woken");
    eventually("it is spoken to", async || stage.client.exec(&id, &["true"], 2).await.is_ok()).await;
    stage.client.stop(&id, 0).await.expect("stopped");
    assert_eq!(stage.client.status(&id).await.expect("its status").exit_code, 137);
    stage.end().await;
}

#[tokio::test]
async fn the_init_of_a_shared_pid_namespace_takes_its_containers_with_it() {
    let mut stage = Stage::with("init", |pod| pod.linux = None).await;
    let id = stage.run("c", "exec sleep 1000").await;
    let init = std::fs::read_to_string(stage.daemon.state().join("pods").join(&stage.pod_id).join("init"));
    let init: i32 = init.expect("a file").trim().parse().expect("a number");
    kill_process(Pid::from_raw(init).expect("a number"), Signal::KILL).expect("killed");
    assert_eq!(stage.client.ended(&id).await.exit_code, 137);
    let config = stage.script("late", "true");
    if let Ok(late) = stage.create(&config).await {
        assert!(stage.client.start(&late).await.is_err(), "there is no namespace to be born into");
    }
    stage.client.remove_pod(&stage.pod_id).await.expect("removed");
    stage.end().await;
}
