//! What a container may use, as the node's cgroups have it.

use orlop_proto::runtime::v1::ContainerConfig;
use orlop_tests::daemon::stage::{Stage, resources};
use orlop_tests::daemon::{eventually, limits as kernel};
use tonic::Code;

/// What a row of a table changes of a good request.
type Change = fn(&mut ContainerConfig);

/// Where a container sees a controller's files.
fn seen(controller: &str) -> String {
    let root = "/sys/fs/cgroup";
    if kernel::is_v2() { root.into() } else { format!("{root}/{controller}") }
}

fn limited(stage: &Stage) -> ContainerConfig {
    let mut config = stage.script("c", "exec sleep 1000");
    let limits = resources(&mut config);
    limits.cpu_shares = 512;
    limits.cpu_period = 50_000;
    limits.cpu_quota = 25_000;
    limits.memory_limit_in_bytes = 64 << 20;
    limits.cpuset_cpus = "0".into();
    limits.cpuset_mems = "0".into();
    limits.oom_score_adj = 321;
    limits.unified.insert("pids.max".into(), "20".into());
    config
}

#[tokio::test]
async fn limits_are_in_the_node_s_cgroups_and_seen_from_inside() {
    let mut stage = Stage::new("limits").await;
    let config = limited(&stage);
    let id = stage.start(&config).await;
    let table = [
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_period_us", "50000"),
        ("cpu", "cpu.cfs_quota_us", "25000"),
        ("memory", "memory.limit_in_bytes", "67108864"),
        ("cpuset", "cpuset.cpus", "0"),
        ("cpuset", "cpuset.mems", "0"),
        ("pids", "pids.max", "20"),
    ];
    for (controller, file, expected) in table {
        let expected = if file == "cpu.shares" { kernel::shares(expected) } else { expected.to_owned() };
        assert_eq!(kernel::value(&stage, controller, Some(&id), file), expected, "{file}");
        let (name, outside) = kernel::raw(&stage, controller, Some(&id), file);
        let inside = stage.client.sh(&id, &format!("cat {}/{name}", seen(controller))).await;
        assert_eq!(inside.trim(), outside, "{file}, from inside");
    }
    assert_eq!(stage.client.sh(&id, "cat /proc/1/oom_score_adj").await, "321\n");
    let try_it = format!("echo 100 > {}/pids.max || echo refused", seen("pids"));
    let said = stage.client.sh(&id, &try_it).await;
    assert_eq!(said, "refused\n", "they are not its own to change");
    // Everything of it is in its cgroups, execs too; nothing of ours is.
    let pid = stage.client.facts(&id).await.expect("facts")["pid"].as_i64().expect("a number");
    for controller in ["cpu", "memory", "pids", "cpuset", "devices", "freezer", "blkio"] {
        let listed = kernel::raw(&stage, controller, Some(&id), "cgroup.procs").1;
        assert_eq!(listed, pid.to_string(), "{controller}");
    }
    let command = ["sh", "-c", "i=0; while [ $i -lt 40 ]; do sleep 1 & i=$((i + 1)); done"];
    let answer = stage.client.exec(&id, &command, 60).await.expect("exec");
    let said = String::from_utf8_lossy(&answer.stderr);
    assert!(
        answer.exit_code != 0 && said.contains("can't fork"),
        "no more processes than it may have: {said}"
    );
    stage.client.stop(&id, 0).await.expect("stopped");
    let directory = kernel::directory(&stage, "memory", Some(&id));
    eventually("a container that ended has no cgroup", async || !directory.exists()).await;
    stage.end().await;
}

#[tokio::test]
async fn the_memory_limit_is_one_of_what_it_uses() {
    let mut stage = Stage::new("memory").await;
    let mut config = stage.script("c", "exec sleep 1000");
    resources(&mut config).memory_limit_in_bytes = 32 << 20;
    let id = stage.start(&config).await;
    stage.client.sh(&id, "head -c 8m /dev/zero > /dev/shm/x").await;
    let used = kernel::value(&stage, "memory", Some(&id), "memory.usage_in_bytes");
    let used: u64 = used.parse().expect("a number");
    assert!((8 << 20..32 << 20).contains(&used), "{used}");
    // An exec that takes too much is killed; the container goes on.
    let answer = stage.client.exec(&id, &["tail", "/dev/zero"], 60).await.expect("exec");
    assert_eq!(answer.exit_code, 137);
    assert_eq!(stage.client.sh(&id, "echo on").await, "on\n");
    stage.end().await;
}

#[tokio::test]
async fn a_pod_s_cgroup_is_where_kubelet_wants_it() {
    let daemon = orlop_tests::daemon::Daemon::start("parent").await;
    let (named, parent) = kernel::parent(&daemon.traces, "pod1");
    let mut stage = Stage::on(daemon, |pod| pod.linux.get_or_insert_default().cgroup_parent = named).await;
    let id = stage.run("c", "exec sleep 1000").await;
    let pid = stage.client.facts(&id).await.expect("facts")["pid"].as_i64().expect("a number");
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its cgroups");
    let name = if kernel::is_systemd() { format!("orlop-{id}.scope") } else { id };
    for line in cgroups.lines() {
        assert_eq!(line.splitn(3, ':').nth(2), Some(&*format!("{parent}/{name}")), "{cgroups}");
    }
    stage.client.remove_pod(&stage.pod_id).await.expect("removed");
    // The pod's is kubelet's: it stays until kubelet takes it away.
    kernel::remove_parent(&parent);
    stage.end().await;
}

#[tokio::test]
async fn limits_that_cannot_be_are_refused() {
    let mut stage = Stage::new("absurd").await;
    let table: [(&str, Change); 6] = [
        ("memory_limit", |c| resources(c).memory_limit_in_bytes = -5),
        ("cpuset_cpus", |c| resources(c).cpuset_cpus = "0-".into()),
        ("cpu_shares", |c| resources(c).cpu_shares = -1),
        ("oom_score_adj", |c| resources(c).oom_score_adj = 1001),
        ("unified", |c| drop(resources(c).unified.insert("../x".into(), "1".into()))),
        ("cpu_period", |c| resources(c).cpu_period = 5_000_000),
    ];
    for (field, change) in table {
        let mut config = stage.script("c", "true");
        change(&mut config);
        let error = stage.create(&config).await.expect_err(field);
        assert_eq!(error.code(), Code::InvalidArgument, "{field}: {error}");
        assert!(error.message().contains(field), "{field}: {error}");
    }
    // A processor that is not there: nobody but the kernel knows.
    let mut config = stage.script("c", "true");
    resources(&mut config).cpuset_cpus = "999".into();
    match stage.create(&config).await {
        Ok(id) => {
            let error = stage.client.start(&id).await.expect_err("there is no such processor");
            assert!(error.message().contains("cpuset"), "{error}");
        }
        Err(error) => assert_eq!(error.code(), Code::InvalidArgument, "{error}"),
    }
    stage.end().await;
}
