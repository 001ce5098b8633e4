//! Fields that suites forget.

use orlop_proto::runtime::v1::{
    ContainerConfig, ContainerState, ContainerStatsRequest, ContainerStatusRequest, Device, HugepageLimit,
    LinuxContainerResources, ListContainersRequest, ListPodSandboxRequest, NamespaceMode, NamespaceOption,
    PodSandboxStatsRequest, PodSandboxStatusRequest, Signal,
};
use orlop_tests::busybox;
use orlop_tests::daemon::limits as kernel;
use orlop_tests::daemon::stage::{Stage, resources, security};
use orlop_tests::daemon::{eventually, stock};
use orlop_tests::image::Flavour;
use orlop_tests::layer::Packing;
use serde_json::json;
use tonic::Code;

#[tokio::test]
async fn a_directory_of_devices_stands_for_all_in_it() {
    let mut stage = Stage::new("device-directory").await;
    let place = stage.daemon.place().join("devices");
    let script = format!(
        "mkdir -p {0}/deep && mknod -m 640 {0}/tun c 10 200 && chown 7:8 {0}/tun && mknod {0}/deep/fuse c 10 229 && \
         mknod {0}/disk b 7 0 && ln -s /dev/mem {0}/link && echo x > {0}/file",
        place.display()
    );
    let made = std::process::Command::new("sh").args(["-c", &script]).status();
    assert!(made.is_ok_and(|status| status.success()), "{script}");
    let mut config = stage.script("c", "exec sleep 1000");
    config.devices.push(Device {
        container_path: "/dev/own/".into(),
        host_path: place.display().to_string(),
        permissions: "r".into(),
    });
    let id = stage.start(&config).await;
    let look = "cd /dev/own; find . ! -type d | sort; stat -c '%a %u:%g %t:%T' tun deep/fuse disk; ls -ld /dev/own | cut -c1";
    let seen = stage.client.sh(&id, look).await;
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[..4], ["./deep/fuse", "./disk", "./tun", "640 7:8 a:c8"], "{seen}");
    assert!(lines[4].ends_with(" a:e5") && lines[5].ends_with(" 7:0") && lines[6] == "d", "{seen}");
    // Each is granted as the directory is: tun may be read and not written to.
    let script = "sh -c ': < /dev/own/tun' && echo read; sh -c ': > /dev/own/tun' 2>&1; true";
    let said = stage.client.sh(&id, script).await;
    assert!(said.starts_with("read\n") && said.contains("Operation not permitted"), "{said}");
    stage.end().await;
}

#[tokio::test]
async fn stop_signals_are_known_by_name_and_number_and_told() {
    let mut stage = Stage::new("signals").await;
    // What the image says, what the request says, what is sent, and what is told.
    let table: [(&str, Signal, i32, Signal); 8] = [
        ("", Signal::RuntimeDefault, 15, Signal::Sigterm),
        ("SIGQUIT", Signal::RuntimeDefault, 3, Signal::Sigquit),
        ("hup", Signal::RuntimeDefault, 1, Signal::Sighup),
        ("10", Signal::RuntimeDefault, 10, Signal::Sigusr1),
        ("SIGRTMIN+3", Signal::RuntimeDefault, 37, Signal::Sigrtminplus3),
        ("SIGQUIT", Signal::Sigrtmaxminus1, 63, Signal::Sigrtmaxminus1),
        ("SIGNONSENSE", Signal::RuntimeDefault, 15, Signal::Sigterm),
        ("SIGNONSENSE", Signal::Sigint, 2, Signal::Sigint),
    ];
    let script = "for n in 1 2 3 10 15 37 63; do trap \"exit $((100 + n))\" $n; done; touch /ready; \
                  while :; do sleep 0.02; done";
    for (row, (image, asked, number, told)) in table.into_iter().enumerate() {
        let content = busybox::image(Flavour::Oci, Packing::Gzip).with("StopSignal", json!(image));
        stock::registry().push("signals", &row.to_string(), &content);
        let name = format!("{}/signals:{row}", stock::registry().address);
        stage.client.pull(&name).await.expect("pulled");
        let mut config = orlop_tests::cri::container(&format!("c{row}"), &name, &["sh", "-c", script]);
        config.stop_signal = asked.into();
        let id = stage.start(&config).await;
        assert_eq!(
            stage.client.status(&id).await.expect("its status").stop_signal(),
            told,
            "{image} {asked:?}"
        );
        eventually("its traps are set", async || {
            stage.client.exec(&id, &["test", "-e", "/ready"], 60).await.expect("exec").exit_code == 0
        })
        .await;
        stage.client.stop(&id, 600).await.expect("stopped");
        let status = stage.client.status(&id).await.expect("its status");
        assert_eq!((status.exit_code, status.stop_signal()), (100 + number, told), "{image} {asked:?}");
    }
    stage.end().await;
}

#[tokio::test]
async fn a_container_runs_on_the_processors_and_nodes_that_it_gets() {
    let mut stage = Stage::new("cpuset").await;
    let last = std::thread::available_parallelism().map_or(0, |count| count.get() - 1).to_string();
    let mut config = stage.script("c", "exec sleep 1000");
    (resources(&mut config).cpuset_cpus, resources(&mut config).cpuset_mems) = (last.clone(), "0".into());
    let id = stage.start(&config).await;
    let script = "grep -h _allowed_list /proc/1/status /proc/self/status | cut -f2 | tr '\\n' ' '";
    assert_eq!(stage.client.sh(&id, script).await, format!("{last} 0 {last} 0 "), "the program, and an exec");
    stage.end().await;
}

#[tokio::test]
async fn huge_pages_are_limited_where_the_kernel_can_and_refused_where_not() {
    let mut stage = Stage::new("hugepages").await;
    let limit = |limit| HugepageLimit { page_size: "2MB".into(), limit };
    // By version 1, or by the unified hierarchy beside it, or not at all.
    let root = std::path::Path::new("/sys/fs/cgroup");
    let has =
        |at: &str| std::fs::read_to_string(root.join(at).join("cgroup.controllers")).unwrap_or_default();
    let in_tree = |at: &str| has(at).split_whitespace().any(|controller| controller == "hugetlb");
    let file = if root.join("hugetlb").is_dir() {
        Some(("hugetlb", "hugetlb.2MB.limit_in_bytes"))
    } else if in_tree("unified") || in_tree("") {
        Some(("unified", "hugetlb.2MB.max"))
    } else {
        None
    };
    let value = |stage: &Stage, id: &str| {
        let (hierarchy, file) = file?;
        Some(kernel::raw(stage, hierarchy, Some(id), file).1)
    };
    // Kubelet asks for none of each size of the machine.
    let mut config = stage.script("none", "exec sleep 1000");
    resources(&mut config).hugepage_limits = vec![limit(0)];
    let id = stage.start(&config).await;
    let told = stage.client.status(&id).await.expect("its status").resources.expect("limits").linux;
    assert_eq!(told.expect("limits").hugepage_limits, [limit(0)]);
    assert!(value(&stage, &id).is_none_or(|value| value == "0"), "{:?}", value(&stage, &id));
    let mut config = stage.script("some", "exec sleep 1000");
    resources(&mut config).hugepage_limits = vec![limit(4 << 20)];
    if file.is_some() {
        let id = stage.start(&config).await;
        assert_eq!(value(&stage, &id), Some((4 << 20).to_string()));
    } else {
        let error = stage.create(&config).await.expect_err("no controller");
        assert_eq!(error.code(), Code::Unimplemented, "{error}");
        assert!(error.message().starts_with("config.linux.resources.hugepage_limits"), "{error}");
    }
    stage.end().await;
}

#[tokio::test]
async fn the_score_of_want_is_set_as_far_down_as_the_daemon_may() {
    let mut stage = Stage::new("score").await;
    let own = format!("/proc/{}/", stage.daemon.pid());
    let read = |file: &str| std::fs::read_to_string(format!("{own}{file}")).expect("the daemon's");
    let effective = read("status").lines().find_map(|line| line.strip_prefix("CapEff:\t").map(str::to_owned));
    let effective = u64::from_str_radix(effective.expect("a mask").trim(), 16).expect("a mask");
    let floor: i64 = read("oom_score_adj").trim().parse().expect("a number");
    // CAP_SYS_RESOURCE goes lower than one's own.
    let floor = if effective & 1 << 24 == 0 { floor } else { -1000 };
    for asked in [-1000, -997, 0, 1, 1000] {
        let mut config = stage.script(&format!("c{asked}"), "exec sleep 1000");
        resources(&mut config).oom_score_adj = asked;
        let id = stage.start(&config).await;
        let seen = stage.client.sh(&id, "cat /proc/1/oom_score_adj /proc/self/oom_score_adj").await;
        let given = asked.max(floor);
        assert_eq!(seen, format!("{given}\n{given}\n"), "{asked}, of {floor} at the least");
    }
    stage.end().await;
}

fn target(config: &mut ContainerConfig, id: &str) {
    security(config).namespace_options = Some(NamespaceOption {
        pid: NamespaceMode::Target.into(),
        target_id: id.into(),
        ..Default::default()
    });
}

/// The lengths of all sleeps that are seen, by whole arguments: a shell's own have its script in them.
const SLEEPS: &str = "ps -o args | awk '$1 == \"sleep\" { print $2 }' | sort | tr '\\n' ' '";

#[tokio::test]
async fn who_looks_into_a_container_sees_its_processes_and_signals_them() {
    let mut stage = Stage::new("debugger").await;
    let script = "trap 'exit 9' USR1; sleep 1001 & touch /ready; while :; do sleep 0.02; done";
    let one = stage.run("target", script).await;
    let bystander = stage.run("bystander", "exec sleep 1002").await;
    let mut config = stage.script("debugger", "exec sleep 1003");
    // A short id is as good as a whole one.
    target(&mut config, &one[..12]);
    let two = stage.start(&config).await;
    assert_eq!(stage.client.sh(&two, SLEEPS).await.replace("0.02 ", ""), "1001 1003 ");
    // Its root is its own: nothing of the target's but its processes.
    assert_eq!(
        stage.client.sh(&two, "test -e /ready || echo none; test -e /proc/1/root/ready && echo there").await,
        "none\nthere\n"
    );
    let kill = "kill -9 $(ps -o pid,args | awk '$2 == \"sleep\" && $3 == 1001 { print $1 }')";
    stage.client.sh(&two, kill).await;
    eventually("the target's child is gone", async || !stage.client.sh(&one, SLEEPS).await.contains("1001"))
        .await;
    let mut late = stage.script("late", "exec sleep 1004");
    target(&mut late, &one);
    let late_id = stage.create(&late).await.expect("its target runs");
    // The target's end may overtake the answer.
    stage.client.exec(&two, &["kill", "-USR1", "1"], 60).await.expect("exec");
    assert_eq!(stage.client.ended(&one).await.exit_code, 9);
    // The kernel ends all who live with it; who would join later finds nobody.
    assert_eq!(stage.client.ended(&two).await.exit_code, 137);
    let error = stage.client.start(&late_id).await.expect_err("its target is gone");
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    assert!(error.message().contains(&one[..12]), "{error}");
    let mut config = stage.script("later", "true");
    target(&mut config, &one);
    assert_eq!(stage.create(&config).await.expect_err("ended").code(), Code::InvalidArgument);
    let other = stage.client.status(&bystander).await.expect("its status").state();
    assert_eq!(other, ContainerState::ContainerRunning);
    stage.end().await;
}

#[tokio::test]
async fn the_beginning_of_an_id_is_enough_in_every_call() {
    let mut stage = Stage::new("short").await;
    let pod = stage.pod_id[..10].to_owned();
    let config = stage.script("c", "exec sleep 1000");
    let whole = stage.client.create(&pod, &stage.pod, &config).await.expect("CreateContainer");
    let id = &whole[..10];
    stage.client.start(id).await.expect("StartContainer");
    assert_eq!(stage.client.status(id).await.expect("ContainerStatus").id, whole);
    let verbose = ContainerStatusRequest { container_id: id.into(), verbose: true };
    assert!(
        !stage.client.runtime.container_status(verbose).await.expect("verbose").into_inner().info.is_empty()
    );
    stage.client.reopen_log(id).await.expect("ReopenContainerLog");
    assert_eq!(stage.client.sh(id, "echo here").await, "here\n");
    let stats = ContainerStatsRequest { container_id: id.into() };
    let stats = stage.client.runtime.container_stats(stats).await.expect("ContainerStats").into_inner().stats;
    assert_eq!(stats.and_then(|stats| stats.attributes).expect("attributes").id, whole);
    let stats = PodSandboxStatsRequest { pod_sandbox_id: pod.clone() };
    let stats =
        stage.client.runtime.pod_sandbox_stats(stats).await.expect("PodSandboxStats").into_inner().stats;
    assert_eq!(stats.and_then(|stats| stats.attributes).expect("attributes").id, stage.pod_id);
    let filter = orlop_proto::runtime::v1::ContainerFilter {
        id: id.into(),
        pod_sandbox_id: pod.clone(),
        ..Default::default()
    };
    let list = stage.client.runtime.list_containers(ListContainersRequest { filter: Some(filter) }).await;
    assert_eq!(list.expect("ListContainers").into_inner().containers.len(), 1);
    let filter = orlop_proto::runtime::v1::PodSandboxFilter { id: pod.clone(), ..Default::default() };
    let list = stage.client.runtime.list_pod_sandbox(ListPodSandboxRequest { filter: Some(filter) }).await;
    assert_eq!(list.expect("ListPodSandbox").into_inner().items.len(), 1);
    assert_eq!(stage.client.pod_status(&pod).await.expect("PodSandboxStatus").id, stage.pod_id);
    stage.client.stop(id, 0).await.expect("StopContainer");
    assert_eq!(stage.client.status(id).await.expect("its status").state(), ContainerState::ContainerExited);
    stage.client.remove(id).await.expect("RemoveContainer");
    assert!(stage.client.containers().await.expect("a list").is_empty());
    stage.client.stop_pod(&pod).await.expect("StopPodSandbox");
    stage.client.remove_pod(&pod).await.expect("RemovePodSandbox");
    assert!(stage.client.pods().await.expect("a list").is_empty());
    stage.end().await;
}

#[tokio::test]
async fn what_only_informs_comes_back_as_it_went() {
    let mut stage = Stage::with("informs", |pod| {
        pod.annotations.insert("a/b".into(), "ä\n{\"json\": []}".into());
        pod.labels.insert("io.kubernetes.x".into(), String::new());
    })
    .await;
    let mut config = stage.script("c", "exec sleep 1000");
    config.annotations.insert("io.kubernetes.container.hash".into(), "1 2\t3".into());
    config.labels.insert("io.kubernetes.pod.uid".into(), "x/y:z".into());
    let image = config.image.get_or_insert_default();
    image.annotations.insert("of.the/image".into(), "kept".into());
    image.user_specified_image = "what/was:typed".into();
    let id = stage.start(&config).await;
    stage.daemon.restart().await;
    stage.client = stage.daemon.client().await;
    let status = stage.client.status(&id).await.expect("its status");
    let row = stage.client.containers().await.expect("a list").remove(0);
    assert_eq!((&status.annotations, &status.labels), (&config.annotations, &config.labels));
    assert_eq!((&row.annotations, &row.labels), (&config.annotations, &config.labels));
    assert_eq!((status.metadata, row.metadata), (config.metadata.clone(), config.metadata.clone()));
    let told = status.image.expect("an image");
    assert_eq!(
        (&*told.image, &told.annotations),
        ("what/was:typed", &config.image.expect("set").annotations)
    );
    let pod = stage.client.pod_status(&stage.pod_id).await.expect("its status");
    assert_eq!((&pod.annotations, &pod.labels), (&stage.pod.annotations, &stage.pod.labels));
    let row = stage.client.pods().await.expect("a list").remove(0);
    assert_eq!((&row.annotations, &row.labels), (&stage.pod.annotations, &stage.pod.labels));
    assert_eq!((pod.metadata, row.metadata), (stage.pod.metadata.clone(), stage.pod.metadata.clone()));
    stage.end().await;
}

#[tokio::test]
async fn what_a_pod_takes_all_in_all_is_recorded_shown_and_its_own_cgroup_s() {
    let limits = |memory: i64, shares: i64| LinuxContainerResources {
        memory_limit_in_bytes: memory,
        cpu_shares: shares,
        ..Default::default()
    };
    let mut stage = Stage::with("overhead", |pod| {
        let linux = pod.linux.get_or_insert_default();
        (linux.resources, linux.overhead) = (Some(limits(60 << 20, 500)), Some(limits(4 << 20, 12)));
    })
    .await;
    stage.run("c", "exec sleep 1000").await;
    assert_eq!(kernel::value(&stage, "memory", None, "memory.limit_in_bytes"), (64 << 20).to_string());
    assert_eq!(kernel::value(&stage, "cpu", None, "cpu.shares"), kernel::shares("512"));
    stage.daemon.restart().await;
    stage.client = stage.daemon.client().await;
    let request = PodSandboxStatusRequest { pod_sandbox_id: stage.pod_id.clone(), verbose: true };
    let told = stage.client.runtime.pod_sandbox_status(request).await.expect("its status").into_inner();
    let info: serde_json::Value = serde_json::from_str(&told.info["info"]).expect("JSON");
    assert_eq!(info["resources"]["memoryLimitInBytes"], 60 << 20, "{info}");
    assert_eq!(info["overhead"]["cpuShares"], 12, "{info}");
    stage.end().await;
}
