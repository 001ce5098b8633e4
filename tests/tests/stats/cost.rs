//! What it takes to ask.

use std::time::Duration;

use orlop_proto::runtime::v1::ListPodSandboxMetricsRequest;
use orlop_tests::cri;
use orlop_tests::daemon::Daemon;

use super::{known, of_containers, of_pods};

/// As many containers as the promise speaks of, in pods of ten.
const CONTAINERS: usize = 200;
const EACH: usize = 10;
/// CPU time that their figures may take.
const MOST: Duration = Duration::from_millis(10);
/// Questions that are measured together: the kernel counts a process's time in hundredths of a second.
const ROUNDS: u32 = 20;

/// CPU time of a process so far: proc(5), `utime` and `stime`.
fn spent(pid: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("proc(5)");
    let words: Vec<&str> = text.rsplit(") ").next().expect("words").split(' ').collect();
    let ticks: u64 = words[11..13].iter().map(|word| word.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

#[tokio::test]
async fn two_hundred_containers_take_less_than_ten_milliseconds() {
    let daemon = Daemon::build("stats-cost").level("warn").start().await;
    let image = daemon.pull_busybox().await;
    let mut client = daemon.client().await;
    let mut pods = Vec::new();
    for number in 0..CONTAINERS / EACH {
        let name = format!("pod{number}");
        let pod = cri::pod(&name, &daemon.logs(&name));
        let id = client.run_pod(&pod).await.expect("a pod");
        for number in 0..EACH {
            let config = cri::container(&format!("c{number}"), &image, &["sleep", "1000"]);
            client.run(&id, &pod, config).await.expect("a container");
        }
        pods.push(id);
    }
    // The first question opens files; the measured ones are those that a kubelet asks every ten seconds.
    let first = spent(daemon.pid());
    assert_eq!(of_containers(&mut client, None).await.expect("figures").len(), CONTAINERS);
    let first = spent(daemon.pid()).saturating_sub(first);
    // Its layers are counted behind that.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = spent(daemon.pid());
    for _ in 0..ROUNDS {
        let stats = of_containers(&mut client, None).await.expect("figures");
        assert_eq!(stats.len(), CONTAINERS);
        assert!(stats.iter().all(|one| known(one.memory.as_ref().expect("memory").usage_bytes.as_ref()) > 0));
    }
    let each = spent(daemon.pid()).saturating_sub(before) / ROUNDS;
    println!("ListContainerStats of {CONTAINERS}: {each:?} of CPU (the first time {first:?})");

    let before = spent(daemon.pid());
    for _ in 0..ROUNDS {
        assert_eq!(of_pods(&mut client, None).await.expect("figures").len(), pods.len());
    }
    let of_pods = spent(daemon.pid()).saturating_sub(before) / ROUNDS;
    let before = spent(daemon.pid());
    for _ in 0..ROUNDS {
        let metrics = client.runtime.list_pod_sandbox_metrics(ListPodSandboxMetricsRequest {}).await;
        assert_eq!(metrics.expect("metrics").into_inner().pod_metrics.len(), pods.len());
    }
    let of_metrics = spent(daemon.pid()).saturating_sub(before) / ROUNDS;
    println!(
        "ListPodSandboxStats of the {} pods: {of_pods:?}; ListPodSandboxMetrics: {of_metrics:?}",
        pods.len()
    );
    assert!(each < MOST, "{each:?} of CPU for {CONTAINERS} containers");
    drop(client);
    daemon.end().await;
}
