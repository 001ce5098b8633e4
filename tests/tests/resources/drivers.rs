//! Where cgroups are, and who makes them.

use std::process::Command;

use orlop_proto::runtime::v1::{CgroupDriver, RuntimeConfigRequest};
use orlop_tests::daemon::limits as kernel;
use orlop_tests::daemon::stage::{Stage, resources};
use orlop_tests::daemon::{Daemon, eventually};
use tonic::Code;

async fn driver(stage: &mut Stage) -> CgroupDriver {
    let answer = stage.client.runtime.runtime_config(RuntimeConfigRequest {}).await.expect("an answer");
    answer.into_inner().linux.expect("of Linux").cgroup_driver()
}

fn systemctl(arguments: &[&str]) -> String {
    let output = Command::new("systemctl").args(arguments).output().expect("systemctl runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn kubelet_is_told_the_driver_and_the_other_one_s_parents_are_refused() {
    let mut stage = Stage::new("driver").await;
    let expected = if kernel::is_systemd() { CgroupDriver::Systemd } else { CgroupDriver::Cgroupfs };
    assert_eq!(driver(&mut stage).await, expected);
    let mut pod = stage.pod.clone();
    let metadata = pod.metadata.get_or_insert_default();
    (metadata.name, metadata.uid) = ("other".into(), "other".into());
    pod.linux.get_or_insert_default().cgroup_parent =
        if kernel::is_systemd() { "/kubepods/burstable/pod1" } else { "kubepods-burstable-pod1.slice" }
            .into();
    let error = stage.client.run_pod(&pod).await.expect_err("it is of the other driver");
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    assert!(error.message().starts_with("config.linux.cgroup_parent"), "{error}");
    assert_eq!(stage.client.pods().await.expect("a list").len(), 1, "nothing is made");
    stage.end().await;
}

#[tokio::test]
async fn systemd_is_refused_as_a_driver_where_it_is_not() {
    let daemon = Daemon::build("no-systemd");
    let mut daemon = daemon.prepare();
    let file = daemon.place().join("config.toml");
    let text = std::fs::read_to_string(&file).expect("its configuration");
    let told = text.replace("[cgroup]\n", "[cgroup]\ndriver = \"systemd\"\n");
    std::fs::write(&file, told).expect("written");
    daemon.spawn(&[]);
    if kernel::is_systemd() {
        assert!(daemon.answers().await, "{}", daemon.log());
        daemon.stop();
    } else {
        assert!(!daemon.answers().await);
        assert!(daemon.log().contains("[cgroup] driver"), "{}", daemon.log());
    }
}

#[tokio::test]
async fn cgroupfs_is_a_driver_everywhere() {
    let mut daemon = Daemon::build("cgroupfs").prepare();
    let file = daemon.place().join("config.toml");
    let text = std::fs::read_to_string(&file).expect("its configuration");
    std::fs::write(&file, text.replace("[cgroup]\n", "[cgroup]\ndriver = \"cgroupfs\"\n")).expect("written");
    daemon.spawn(&[]);
    assert!(daemon.answers().await, "{}", daemon.log());
    let mut stage = Stage::on(daemon, |_| {}).await;
    assert_eq!(driver(&mut stage).await, CgroupDriver::Cgroupfs);
    let id = stage.run("c", "exec sleep 1000").await;
    let own = kernel::of(&stage, &id, "memory").await;
    assert!(
        own.ends_with(format!("{}/{}/{id}", stage.daemon.traces.cgroup, stage.pod_id)),
        "{}",
        own.display()
    );
    stage.end().await;
}

/// Whether systemd has what the unit was asked for with.
fn unit_is_complete(stage: &Stage, unit: &str) {
    let shown = systemctl(&[
        "show",
        "-p",
        "Delegate,CollectMode,MemoryMax,CPUQuotaPerSecUSec,TasksMax,AllowedCPUs,ActiveState,Slice",
        unit,
    ]);
    for line in [
        "Delegate=yes",
        "CollectMode=inactive-or-failed",
        "MemoryMax=67108864",
        "CPUQuotaPerSecUSec=500ms",
        "TasksMax=20",
        "AllowedCPUs=0",
        "ActiveState=active",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    assert!(
        shown.contains(&format!("Slice={}-{}.slice", stage.daemon.traces.cgroup, stage.pod_id)),
        "{shown}"
    );
}

#[tokio::test]
async fn a_container_s_unit_has_its_limits_keeps_them_and_goes_with_it() {
    let mut stage = Stage::new("unit").await;
    let mut config = stage.script("c", "exec sleep 1000");
    let limits = resources(&mut config);
    (limits.cpu_shares, limits.cpu_period, limits.cpu_quota) = (512, 50_000, 25_000);
    limits.memory_limit_in_bytes = 64 << 20;
    limits.memory_swap_limit_in_bytes = 64 << 20;
    limits.cpuset_cpus = "0".into();
    limits.unified.insert("pids.max".into(), "20".into());
    let id = stage.start(&config).await;
    let files = ["cpu.shares", "cpu.cfs_quota_us", "memory.limit_in_bytes", "cpuset.cpus", "pids.max"];
    let values = |stage: &Stage| -> Vec<String> {
        let of =
            |file: &&str| kernel::value(stage, file.split('.').next().unwrap_or_default(), Some(&id), file);
        files.iter().map(of).collect()
    };
    let expected = [&kernel::shares("512"), "25000", "67108864", "0", "20"].map(str::to_owned);
    assert_eq!(values(&stage), expected);
    let uses =
        "head -c 3 /dev/zero | wc -c; mknod /tmp/mem c 1 1; head -c 1 /tmp/mem 2>&1 | grep -c permitted";
    assert_eq!(stage.client.sh(&id, uses).await.split_whitespace().collect::<Vec<_>>(), ["3", "1"]);
    let unit = format!("orlop-{id}.scope");
    if kernel::is_systemd() {
        unit_is_complete(&stage, &unit);
        // systemd writes what it knows anew, and takes no device away.
        systemctl(&["daemon-reload"]);
        systemctl(&["set-property", "--runtime", &unit, "CPUWeight=59"]);
        assert_eq!(values(&stage), expected, "after daemon-reload");
        assert_eq!(stage.client.sh(&id, uses.trim_start()).await.split_whitespace().next(), Some("3"));
    } else {
        assert!(!kernel::directory(&stage, "memory", None).join(&unit).exists());
    }
    stage.daemon.restart().await;
    stage.client = stage.daemon.client().await;
    assert_eq!(values(&stage), expected, "after a restart");
    stage.client.stop(&id, 0).await.expect("stopped");
    let directory = kernel::directory(&stage, "memory", Some(&id));
    eventually("its cgroup is gone", async || !directory.exists()).await;
    if kernel::is_systemd() {
        let listed = |state: &'static str| {
            let unit = unit.clone();
            move || systemctl(&["list-units", "--all", "--plain", "--no-legend", state, &unit])
        };
        let (all, failed) = (listed("--all"), listed("--failed"));
        eventually("its unit is gone", async || all().trim().is_empty()).await;
        assert_eq!(failed().trim(), "");
    }
    stage.client.remove(&id).await.expect("removed");
    // The next in the same pod has a unit of its own.
    let id = stage.run("next", "exec sleep 1000").await;
    assert!(kernel::directory(&stage, "memory", Some(&id)).is_dir());
    let pod = stage.pod_id.clone();
    stage.client.remove_pod(&pod).await.expect("removed");
    if kernel::is_systemd() {
        let slice = format!("*{pod}*");
        eventually("its slice is gone", async || {
            systemctl(&["list-units", "--all", "--plain", "--no-legend", &slice]).trim().is_empty()
        })
        .await;
    }
    stage.end().await;
}
