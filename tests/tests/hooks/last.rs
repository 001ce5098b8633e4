//! Hooks that come after the end, whatever was killed.

use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::Stage;
use orlop_tests::place::Place;
use rustix::process::{Pid, Signal, kill_process};

use super::{order, place, said, stage, witness};

/// A container that runs, its first process and its shim.
async fn running(place: &Place) -> (Stage, String, Pid, Pid) {
    witness(place, "poststop");
    let mut stage = stage(place, |_| {}).await;
    let id = stage.run("c", "exec sleep 1000").await;
    let facts = stage.client.facts(&id).await.expect("facts");
    let pid = |name: &str| {
        let number = facts[name].as_i64().and_then(|number| i32::try_from(number).ok());
        number.and_then(Pid::from_raw).expect("a process")
    };
    let (first, shim) = (pid("pid"), pid("shim"));
    (stage, id, first, shim)
}

fn times(place: &Place) -> usize {
    order(place).len()
}

#[tokio::test]
async fn without_the_daemon_the_shim_runs_them() {
    let place = place("hooks-away");
    let (mut stage, id, first, _) = Box::pin(running(&place)).await;
    stage.daemon.kill9();
    kill_process(first, Signal::TERM).expect("its init takes no such signal");
    kill_process(first, Signal::KILL).expect("killed");
    eventually("the hook has been run", async || times(&place) == 1).await;
    stage.daemon.up().await;
    stage.client = stage.daemon.client().await;
    assert_eq!(stage.client.ended(&id).await.exit_code, 137);
    stage.client.remove(&id).await.expect("removed");
    stage.end().await;
    assert_eq!(times(&place), 1, "once");
}

#[tokio::test]
async fn without_the_shim_the_daemon_runs_them() {
    let place = place("hooks-shim");
    let (mut stage, id, _, shim) = Box::pin(running(&place)).await;
    kill_process(shim, Signal::KILL).expect("killed");
    assert_eq!(stage.client.ended(&id).await.exit_code, 137);
    assert_eq!(times(&place), 1, "when its end is told");
    let told: serde_json::Value = serde_json::from_str(&said(&place, "poststop.state")).expect("JSON");
    assert_eq!((&told["status"], &told["id"]), (&"stopped".into(), &id.clone().into()));
    assert_eq!(said(&place, "poststop.env").trim(), "ONLY=this");
    stage.client.remove(&id).await.expect("removed");
    stage.end().await;
    assert_eq!(times(&place), 1, "once");
}

#[tokio::test]
async fn without_either_the_next_daemon_runs_them() {
    let place = place("hooks-both");
    let (mut stage, id, _, shim) = Box::pin(running(&place)).await;
    stage.daemon.kill9();
    kill_process(shim, Signal::KILL).expect("killed");
    stage.daemon.up().await;
    stage.client = stage.daemon.client().await;
    assert_eq!(stage.client.ended(&id).await.exit_code, 137);
    eventually("the hook has been run", async || times(&place) == 1).await;
    stage.client.remove(&id).await.expect("removed");
    stage.end().await;
    assert_eq!(times(&place), 1, "once");
}

#[tokio::test]
async fn a_container_that_never_began_has_none() {
    let place = place("hooks-unborn");
    witness(&place, "poststop");
    let mut stage = stage(&place, |_| {}).await;
    let config = stage.script("c", "true");
    let id = stage.create(&config).await.expect("created");
    stage.client.remove(&id).await.expect("removed");
    stage.end().await;
    assert_eq!(times(&place), 0);
}
