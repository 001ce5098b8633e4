//! What it may use, as the node's cgroups have it.

use std::path::PathBuf;

use orlop_proto::runtime::v1::{
    ContainerConfig, ContainerStatsRequest, LinuxContainerResources, UpdateContainerResourcesRequest,
};
use orlop_tests::daemon::stage::{Stage, resources};

use crate::Handler;
use crate::table::differs;

/// Files of both versions with the same meaning, and what a value of the first is in the second.
fn value(stage: &Stage, id: &str, v1: (&str, &str), v2: &str) -> String {
    let (parent, pod) = (&stage.daemon.traces.cgroup, &stage.pod_id);
    let old = PathBuf::from(format!("/sys/fs/cgroup/{}/{parent}/{pod}/{id}/{}", v1.0, v1.1));
    let new = PathBuf::from(format!("/sys/fs/cgroup/{parent}/{pod}/{id}/{v2}"));
    let path = if old.exists() { old } else { new };
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .trim()
        .to_owned()
}

fn memory(stage: &Stage, id: &str) -> String {
    value(stage, id, ("memory", "memory.limit_in_bytes"), "memory.max")
}

fn quota(stage: &Stage, id: &str) -> String {
    let value = value(stage, id, ("cpu", "cpu.cfs_quota_us"), "cpu.max");
    value.split(' ').next().unwrap_or_default().to_owned()
}

fn pids(stage: &Stage, id: &str) -> String {
    value(stage, id, ("pids", "pids.max"), "pids.max")
}

fn limited(stage: &Stage, name: &str) -> ContainerConfig {
    let mut config = stage.script(name, "exec sleep 1000");
    let limits = resources(&mut config);
    (limits.cpu_shares, limits.cpu_period, limits.cpu_quota) = (512, 50_000, 25_000);
    (limits.memory_limit_in_bytes, limits.oom_score_adj) = (64 << 20, 321);
    limits.unified.insert("pids.max".into(), "20".into());
    config
}

async fn update(stage: &mut Stage, id: &str) {
    let linux = LinuxContainerResources {
        memory_limit_in_bytes: 96 << 20,
        cpu_period: 50_000,
        cpu_quota: 40_000,
        oom_score_adj: 456,
        ..LinuxContainerResources::default()
    };
    let request = UpdateContainerResourcesRequest {
        container_id: id.into(),
        linux: Some(linux),
        ..UpdateContainerResourcesRequest::default()
    };
    stage.client.runtime.update_container_resources(request).await.expect("updated");
}

pub(crate) async fn limits(stage: &mut Stage, _: Handler) {
    let config = limited(stage, "c");
    let id = stage.start(&config).await;
    assert_eq!((&*memory(stage, &id), &*quota(stage, &id), &*pids(stage, &id)), ("67108864", "25000", "20"));
    assert_eq!(
        stage.client.sh(&id, "cat /proc/1/oom_score_adj /proc/self/oom_score_adj").await,
        "321\n321\n"
    );
    let facts = stage.client.facts(&id).await.expect("facts");
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", facts["pid"])).expect("it lives");
    assert!(own.lines().filter(|line| line.ends_with(&id)).count() >= 1, "{own}");
    let elsewhere = own.lines().filter(|line| !line.ends_with(&id)).collect::<Vec<_>>();
    assert!(elsewhere.is_empty(), "it is in its own cgroup in every hierarchy: {elsewhere:?}");
}

pub(crate) async fn updated(stage: &mut Stage, handler: Handler) {
    let config = limited(stage, "c");
    let id = stage.start(&config).await;
    update(stage, &id).await;
    assert_eq!((&*memory(stage, &id), &*quota(stage, &id), &*pids(stage, &id)), ("100663296", "40000", "20"));
    let wait = if differs(handler, "limits-changed-while-it-runs") { "sleep 1; " } else { "" };
    let script = format!("{wait}cat /proc/1/oom_score_adj /proc/self/oom_score_adj");
    assert_eq!(stage.client.sh(&id, &script).await, "456\n456\n");
}

pub(crate) async fn updated_before(stage: &mut Stage, _: Handler) {
    let config = limited(stage, "c");
    let id = stage.create(&config).await.expect("created");
    update(stage, &id).await;
    stage.client.start(&id).await.expect("started");
    assert_eq!((&*memory(stage, &id), &*quota(stage, &id), &*pids(stage, &id)), ("100663296", "40000", "20"));
    assert_eq!(
        stage.client.sh(&id, "cat /proc/1/oom_score_adj /proc/self/oom_score_adj").await,
        "456\n456\n"
    );
}

pub(crate) async fn figures(stage: &mut Stage, _: Handler) {
    let id = stage.run("c", "i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done; head -c 100000 /dev/zero > /file; exec sleep 1000").await;
    let request = ContainerStatsRequest { container_id: id };
    let stats = stage.client.runtime.container_stats(request).await.expect("figures").into_inner();
    let stats = stats.stats.expect("figures");
    let cpu = stats.cpu.and_then(|cpu| cpu.usage_core_nano_seconds).expect("time");
    let memory = stats.memory.and_then(|memory| memory.working_set_bytes).expect("memory");
    assert!(cpu.value > 0 && memory.value > 0 && memory.value < 64 << 20, "{cpu:?} {memory:?}");
}
