//! Several containers, as they are at one moment.

use std::path::Path;

use orlop_proto::runtime::v1::{ContainerConfig, ContainerState, PodSandboxConfig, RestorePodRequest};
use orlop_tests::cri;
use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::{Stage, lines};
use tonic::{Code, Status};

use super::scene::{checkpoint_pod, counted, criu, numbers, own_processes, stage_with, started};

/// Two that count in turn: one writes even numbers to the memory that they share, the other odd ones, each once the other has. What
/// either has in its own memory is the last number or the one before it.
fn turn(own: &str, other: &str, first: u32) -> String {
    format!(
        "i={first}; echo 0 > /dev/shm/{own}.new; while :; do \
         while [ \"$(cat /dev/shm/{other} 2>/dev/null)\" != $((i-1)) ]; do sleep 0.01; done; \
         echo $i > /dev/shm/{own}.new; mv /dev/shm/{own}.new /dev/shm/{own}; echo $i; i=$((i+2)); done"
    )
}

struct Pair {
    pod: PodSandboxConfig,
    configs: [ContainerConfig; 2],
}

fn restored(stage: &Stage, name: &str, pair: &Pair) -> (PodSandboxConfig, Vec<ContainerConfig>) {
    let mut pod = cri::pod(name, &stage.daemon.logs(name));
    own_processes(&mut pod);
    pod.hostname.clone_from(&pair.pod.hostname);
    (pod, pair.configs.to_vec())
}

async fn restore(
    stage: &mut Stage,
    directory: &Path,
    pod: &PodSandboxConfig,
    configs: &[ContainerConfig],
) -> Result<(String, Vec<(String, String)>), Status> {
    let request = RestorePodRequest {
        checkpoint_path: directory.display().to_string(),
        config: Some(pod.clone()),
        container_configs: configs.to_vec(),
        ..RestorePodRequest::default()
    };
    let answer = stage.client.runtime.restore_pod(request).await?.into_inner();
    let all = answer.restored_containers.into_iter().map(|one| (one.name, one.container_id)).collect();
    Ok((answer.pod_sandbox_id, all))
}

fn logged(pod: &PodSandboxConfig, name: &str) -> Vec<u64> {
    let path = format!("{}/{name}/0.log", pod.log_directory);
    let text = std::fs::read(path).unwrap_or_default();
    lines(&text).iter().filter_map(|line| line.text.trim().parse().ok()).collect()
}

#[tokio::test]
async fn a_pod_goes_on_from_one_moment() {
    let mut stage = stage_with("pod-cut", &criu()).await;
    let configs =
        [stage.script("odd", &turn("odd", "even", 1)), stage.script("even", &turn("even", "odd", 2))];
    let pair = Pair { pod: stage.pod.clone(), configs };
    let mut ids = Vec::new();
    for config in &pair.configs {
        ids.push(stage.start(config).await);
    }
    // The second begins when it is told that the last number was 0.
    stage.client.sh(&ids[0], "echo 0 > /dev/shm/even.first; mv /dev/shm/even.first /dev/shm/even").await;
    counted(&stage, "even", 10).await;
    let directory = stage.daemon.place().join("checkpoint");
    std::fs::create_dir(&directory).expect("made");
    let pod_id = stage.pod_id.clone();
    checkpoint_pod(&mut stage.client, &pod_id, &[&ids[0], &ids[1]], &directory).await.expect("written down");
    let last = *numbers(&stage, "even").last().expect("it counted");
    counted(&stage, "even", last + 4).await;

    let (pod, configs) = restored(&stage, "restored", &pair);
    let (restored_id, containers) = restore(&mut stage, &directory, &pod, &configs).await.expect("restored");
    assert_ne!(restored_id, pod_id);
    let mut names: Vec<&str> = containers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["even", "odd"]);
    for (name, id) in &containers {
        let status = stage.client.status(id).await.expect("its status");
        assert_eq!(status.state, i32::from(ContainerState::ContainerCreated), "{name}");
        assert_eq!(status.started_at, 0, "{name} has not run");
    }
    let before = logged(&pod, "even");
    for (_, id) in &containers {
        started(&mut stage, id).await;
    }
    let from = before.last().copied().expect("what was logged before comes along");
    eventually("they count on", async || logged(&pod, "even").last().is_some_and(|last| *last >= from + 6))
        .await;
    // In turn, without a number lost or told twice: what they had was of one moment.
    let mut all = [logged(&pod, "odd"), logged(&pod, "even")].concat();
    all.sort_unstable();
    let (first, numbers) = (all[0], all.len() as u64);
    assert_eq!(all, (first..first + numbers).collect::<Vec<_>>());
    // The pod that it was is not disturbed.
    let last = *super::scene::numbers(&stage, "even").last().expect("it counted");
    counted(&stage, "even", last + 4).await;

    let status = restore(&mut stage, &directory, &pod, &configs).await.expect_err("there is such a pod");
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    stage.client.remove_pod(&restored_id).await.expect("removed");
    stage.end().await;
}

#[tokio::test]
async fn a_pod_that_does_not_fit_leaves_nothing() {
    let mut stage = stage_with("pod-unfit", &criu()).await;
    let count = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done";
    let configs = [stage.script("a", count), stage.script("b", count)];
    let pair = Pair { pod: stage.pod.clone(), configs };
    let mut ids = Vec::new();
    for config in &pair.configs {
        ids.push(stage.start(config).await);
    }
    counted(&stage, "b", 2).await;
    let directory = stage.daemon.place().join("checkpoint");
    std::fs::create_dir(&directory).expect("made");
    let pod_id = stage.pod_id.clone();
    checkpoint_pod(&mut stage.client, &pod_id, &[&ids[0], &ids[1]], &directory).await.expect("written down");
    let (pod, configs) = restored(&stage, "restored", &pair);
    let with = |change: &dyn Fn(&mut ContainerConfig)| {
        let mut configs = configs.clone();
        change(&mut configs[1]);
        configs
    };
    for changed in [
        with(&|config| config.args.push("more".into())),
        with(&|config| config.working_dir = "/tmp".into()),
        with(&|config| {
            config.envs.push(orlop_proto::runtime::v1::KeyValue {
                key: "MORE".into(),
                value: b"1".as_slice().into(),
            });
        }),
    ] {
        let status = restore(&mut stage, &directory, &pod, &changed).await.expect_err("refused");
        assert!(
            status.code() == Code::FailedPrecondition && status.message().contains("container b"),
            "{status}"
        );
        assert_eq!(stage.client.pods().await.expect("pods").len(), 1);
        assert_eq!(stage.client.containers().await.expect("containers").len(), 2);
    }
    let (restored_id, _) = restore(&mut stage, &directory, &pod, &configs).await.expect("as it was, it fits");
    stage.client.remove_pod(&restored_id).await.expect("removed");
    stage.end().await;
}
