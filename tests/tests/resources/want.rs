//! Who is told to have died for want of memory.

use orlop_tests::daemon::limits as kernel;
use orlop_tests::daemon::stage::{Stage, resources};

async fn limited(stage: &mut Stage, name: &str, script: &str) -> String {
    let mut config = stage.script(name, script);
    resources(&mut config).memory_limit_in_bytes = 32 << 20;
    resources(&mut config).memory_swap_limit_in_bytes = 32 << 20;
    stage.start(&config).await
}

#[tokio::test]
async fn a_container_that_takes_too_much_died_of_it() {
    let mut stage = Stage::new("want").await;
    let id = limited(&mut stage, "c", "exec tail /dev/zero").await;
    let status = stage.client.ended(&id).await;
    assert_eq!((status.exit_code, &*status.reason), (137, "OOMKilled"), "{}", status.message);
    stage.end().await;
}

#[tokio::test]
async fn a_container_that_was_killed_did_not_die_of_what_an_exec_took() {
    let mut stage = Stage::new("not-want").await;
    let id = limited(&mut stage, "c", "exec sleep 1000").await;
    let answer = stage.client.exec(&id, &["tail", "/dev/zero"], 60).await.expect("exec");
    assert_eq!(answer.exit_code, 137, "the exec is killed");
    // Killed by somebody on the node, not by the runtime.
    let pid = stage.client.facts(&id).await.expect("facts")["pid"].as_i64().expect("a number");
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
    let status = stage.client.ended(&id).await;
    assert_eq!(status.exit_code, 137);
    assert_eq!(status.reason, "Error", "{}", status.message);
    stage.end().await;
}

#[tokio::test]
async fn all_of_a_group_die_together_where_it_is_asked_for() {
    let mut stage = Stage::new("group").await;
    let mut config = stage.script("c", "sleep 1000 & tail /dev/zero; echo on; wait");
    resources(&mut config).memory_limit_in_bytes = 32 << 20;
    resources(&mut config).memory_swap_limit_in_bytes = 32 << 20;
    if kernel::is_v2() {
        resources(&mut config).unified.insert("memory.oom.group".into(), "1".into());
        let (status, output) = stage.to_end(&config).await;
        assert_eq!((status.exit_code, &*status.reason, &*output), (137, "OOMKilled", ""));
    } else {
        // Only the one that took it; its shell goes on.
        let id = stage.start(&config).await;
        orlop_tests::daemon::eventually("the shell goes on", async || {
            stage.log("c").iter().any(|line| line.text == "on")
        })
        .await;
        stage.client.stop(&id, 0).await.expect("stopped");
    }
    stage.end().await;
}
