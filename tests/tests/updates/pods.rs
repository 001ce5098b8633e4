//! `UpdatePodSandboxResources`: accepted at any time, known from then on.

use orlop_proto::runtime::v1::{LinuxContainerResources, PodSandboxStatusRequest};
use orlop_tests::daemon::stage::Stage;
use orlop_tests::daemon::{Daemon, limits as kernel};
use serde_json::Value;
use tonic::Code;

use crate::cgroups::{shares, update, update_pod, value};

fn limits(memory: i64, shares: i64) -> LinuxContainerResources {
    LinuxContainerResources {
        memory_limit_in_bytes: memory,
        cpu_shares: shares,
        ..LinuxContainerResources::default()
    }
}

/// What the pod's status tells beside itself.
async fn facts(stage: &mut Stage) -> Value {
    let request = PodSandboxStatusRequest { pod_sandbox_id: stage.pod_id.clone(), verbose: true };
    let info = stage.client.runtime.pod_sandbox_status(request).await.expect("its status").into_inner().info;
    serde_json::from_str(&info["info"]).expect("JSON")
}

/// Memory of resources and overhead that are known.
async fn known(stage: &mut Stage) -> (Option<i64>, Option<i64>) {
    let facts = facts(stage).await;
    let memory = |of: &str| facts[of]["memoryLimitInBytes"].as_i64();
    (memory("resources"), memory("overhead"))
}

#[tokio::test]
async fn sums_are_known_whenever_they_are_told() {
    let mut stage = Stage::with("sums", |pod| {
        pod.linux.get_or_insert_default().overhead = Some(limits(1 << 20, 10));
    })
    .await;
    let pod = stage.pod_id.clone();
    assert_eq!(known(&mut stage).await, (None, Some(1 << 20)));
    // Before there is a container, beside one that runs, and again the same.
    update_pod(&mut stage, &pod, Some(limits(100 << 20, 512)), None).await.expect("taken");
    assert_eq!(known(&mut stage).await, (Some(100 << 20), Some(1 << 20)), "what is not told stays");
    let id = stage.run("c", "exec sleep 1000").await;
    for _ in 0..3 {
        update_pod(&mut stage, &pod[..20], Some(limits(200 << 20, 1024)), Some(limits(2 << 20, 20)))
            .await
            .expect("taken");
    }
    assert_eq!(known(&mut stage).await, (Some(200 << 20), Some(2 << 20)));
    stage.daemon.restart().await;
    stage.client = stage.daemon.client().await;
    assert_eq!(known(&mut stage).await, (Some(200 << 20), Some(2 << 20)));
    let shown = stage.daemon.orlop(&["explain", &pod, "-o", "json"]).output().expect("run");
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(shown["resources"]["memoryLimitInBytes"], 200 << 20, "{shown}");
    assert_eq!(shown["overhead"]["cpuShares"], 20, "{shown}");
    // When it is stopped, too.
    stage.client.stop_pod(&pod).await.expect("stopped");
    update_pod(&mut stage, &pod, Some(limits(50 << 20, 512)), None).await.expect("taken");
    assert_eq!(known(&mut stage).await.0, Some(50 << 20));
    let _ = id;
    stage.end().await;
}

#[tokio::test]
async fn a_cgroup_of_the_daemons_own_has_the_sums() {
    let mut stage = Stage::new("own-cgroup").await;
    let pod = stage.pod_id.clone();
    update_pod(&mut stage, &pod, Some(limits(100 << 20, 512)), Some(limits(4 << 20, 10)))
        .await
        .expect("taken");
    let id = stage.run("c", "exec sleep 1000").await;
    assert_eq!(value(&stage, "memory", None, "memory.limit_in_bytes"), (104 << 20).to_string());
    assert_eq!(value(&stage, "cpu", None, "cpu.shares"), shares("522"));
    update_pod(&mut stage, &pod, Some(limits(60 << 20, 2048)), None).await.expect("taken");
    assert_eq!(value(&stage, "memory", None, "memory.limit_in_bytes"), (64 << 20).to_string());
    assert_eq!(value(&stage, "cpu", None, "cpu.shares"), shares("2058"));
    // What the kernel refuses is a notice still: kubelet's resize goes on.
    stage.client.sh(&id, "head -c 30m /dev/zero > /dev/shm/held").await;
    update_pod(&mut stage, &pod, Some(limits(8 << 20, 2048)), None).await.expect("taken");
    assert_eq!(value(&stage, "memory", None, "memory.limit_in_bytes"), (64 << 20).to_string());
    assert_eq!(known(&mut stage).await.0, Some(8 << 20));
    stage.end().await;
}

#[tokio::test]
async fn a_cgroup_of_kubelets_is_left_to_kubelet() {
    let daemon = Daemon::start("kubelets").await;
    let (named, parent) = kernel::parent(&daemon.traces, "kubepods");
    let mut stage = Stage::on(daemon, |pod| pod.linux.get_or_insert_default().cgroup_parent = named).await;
    let id = stage.run("c", "exec sleep 1000").await;
    let own = kernel::of(&stage, &id, "memory").await;
    assert!(own.to_string_lossy().contains(&parent), "{}", own.display());
    let file = if kernel::is_v2() { "memory.max" } else { "memory.limit_in_bytes" };
    let limit = |of: &std::path::Path| std::fs::read_to_string(of.join(file)).expect("its limit");
    let above = own.parent().expect("the pod's").to_owned();
    let before = limit(&above);
    let pod = stage.pod_id.clone();
    update_pod(&mut stage, &pod, Some(limits(100 << 20, 512)), None).await.expect("taken");
    assert_eq!(limit(&above), before);
    // Its containers are changed all the same.
    update(&mut stage, &id, |limits| limits.memory_limit_in_bytes = 32 << 20).await.expect("updated");
    assert_eq!(limit(&own).trim(), (32 << 20).to_string());
    stage.client.remove_pod(&pod).await.expect("removed");
    kernel::remove_parent(&parent);
    stage.end().await;
}

#[tokio::test]
async fn sums_that_cannot_be_are_refused_and_change_nothing() {
    let mut stage = Stage::new("bad-sums").await;
    let pod = stage.pod_id.clone();
    update_pod(&mut stage, &pod, Some(limits(100 << 20, 512)), None).await.expect("taken");
    let error = update_pod(&mut stage, &pod, Some(limits(-1, 512)), None).await.expect_err("no such limit");
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    assert!(error.message().starts_with("resources.memory_limit_in_bytes"), "{error}");
    let error = update_pod(&mut stage, &pod, None, Some(limits(1, 1))).await.expect_err("no such shares");
    assert!(error.message().starts_with("overhead.cpu_shares"), "{error}");
    assert_eq!(known(&mut stage).await, (Some(100 << 20), None));
    for (id, code) in [("", Code::InvalidArgument), ("0123456789abcdef", Code::NotFound)] {
        let error = update_pod(&mut stage, id, Some(limits(1 << 20, 0)), None).await.expect_err("unknown");
        assert_eq!(error.code(), code, "{error}");
    }
    stage.client.remove_pod(&pod).await.expect("removed");
    let error = update_pod(&mut stage, &pod, Some(limits(1 << 20, 0)), None).await.expect_err("it is gone");
    assert_eq!(error.code(), Code::NotFound, "{error}");
    stage.end().await;
}
