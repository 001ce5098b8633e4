//! A pod's own figures, its network and its processes.

use orlop_proto::runtime::v1::{
    LinuxPodSandboxStats, ListPodSandboxMetricsRequest, NamespaceMode, NetworkInterfaceUsage,
    PodSandboxStatsFilter, StreamPodSandboxStatsRequest,
};
use orlop_tests::cri::{self, Client};
use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::Stage;
use tonic::Code;

use super::kernel::Kernel;
use super::{known, now, of_container, of_pod, of_pods};

async fn linux(client: &mut Client, id: &str) -> LinuxPodSandboxStats {
    of_pod(client, id).await.expect("figures").linux.expect("figures of Linux")
}

/// Received and sent, as the container's own /proc/net/dev has them.
async fn shown(client: &mut Client, container: &str, name: &str) -> (u64, u64) {
    let text = client.sh(container, "cat /proc/net/dev").await;
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{name}:")).map(str::to_owned));
    let line = line.unwrap_or_else(|| panic!("{name} in {text}"));
    let words: Vec<u64> = line.split_whitespace().map(|word| word.parse().expect("a number")).collect();
    (words[0], words[8])
}

fn told(link: &NetworkInterfaceUsage) -> (u64, u64) {
    assert!(link.rx_errors.is_some() && link.tx_errors.is_some());
    (known(link.rx_bytes.as_ref()), known(link.tx_bytes.as_ref()))
}

#[tokio::test]
async fn a_pod_uses_what_its_containers_use() {
    let mut stage = Stage::new("stats-pod").await;
    let before = now();
    // Before any container: nothing, and that is said.
    let stats = of_pod(&mut stage.client, &stage.pod_id).await.expect("figures");
    let attributes = stats.attributes.expect("attributes");
    assert_eq!((attributes.id, attributes.metadata), (stage.pod_id.clone(), stage.pod.metadata.clone()));
    let empty = stats.linux.expect("figures");
    assert_eq!(known(empty.process.expect("processes").process_count.as_ref()), 0);
    assert!(empty.containers.is_empty() && empty.network.is_some());

    let busy = stage.run("busy", "while :; do :; done").await;
    let many = stage.run("many", "sleep 1000 & sleep 1000 & sleep 1000").await;
    let kernel = Kernel::of(&mut stage.client, &busy).await;
    let others = Kernel::of(&mut stage.client, &many).await;
    eventually("all have started and are counted", async || {
        let now = linux(&mut stage.client, &stage.pod_id).await;
        let count = known(now.process.expect("processes").process_count.as_ref());
        count == kernel.processes() + others.processes() && count >= 4 && kernel.cpu() > 200_000_000
    })
    .await;
    let pod = kernel.parent();
    let used = pod.cpu();
    let first = linux(&mut stage.client, &stage.pod_id).await;
    let used_after = pod.cpu();
    let cpu = first.cpu.expect("cpu");
    let told = known(cpu.usage_core_nano_seconds.as_ref());
    assert!(used <= told && told <= used_after && told >= kernel.cpu() / 2, "{used} {told} {used_after}");
    let rate = known(cpu.usage_nano_cores.as_ref());
    assert!(rate > 10_000_000 && rate < 2_500_000_000, "{rate} nanocores");
    let memory = first.memory.expect("memory");
    assert!(known(memory.usage_bytes.as_ref()) >= known(memory.working_set_bytes.as_ref()));
    assert!(known(memory.working_set_bytes.as_ref()) > 0 && memory.page_faults.is_some());
    let mut ids: Vec<_> =
        first.containers.iter().map(|one| one.attributes.as_ref().expect("who").id.clone()).collect();
    ids.sort();
    let mut expected = vec![busy.clone(), many];
    expected.sort();
    assert_eq!(ids, expected);
    assert!(first.containers.iter().all(|one| one.cpu.is_some() && one.memory.is_some()));
    if pod.has_pressure() {
        assert!(
            first.io.as_ref().is_some_and(|io| io.psi.is_some()) && cpu.psi.is_some() && memory.psi.is_some()
        );
    }
    let second = linux(&mut stage.client, &stage.pod_id).await;
    let times = |stats: &LinuxPodSandboxStats| {
        [
            stats.cpu.as_ref().expect("cpu").timestamp,
            stats.memory.as_ref().expect("memory").timestamp,
            stats.network.as_ref().expect("network").timestamp,
            stats.process.as_ref().expect("processes").timestamp,
        ]
    };
    for (first, second) in times(&first).into_iter().zip(times(&second)) {
        assert!(before < first && first < second && second < now());
    }
    stage.end().await;
}

#[tokio::test]
async fn every_interface_counts_what_went_through_it() {
    let mut stage = Stage::new("stats-network").await;
    let id = stage.run("net", "sleep 1000").await;
    let mut other = stage.pod.clone();
    other.metadata.as_mut().expect("a name").name = "server".into();
    other.log_directory = stage.daemon.logs("server");
    let server = stage.client.run_pod(&other).await.expect("a pod");
    let serve = cri::container(
        "serve",
        &stage.image,
        &["sh", "-c", "mkdir /www; head -c 1m /dev/zero > /www/file; exec httpd -f -p 80 -h /www"],
    );
    let serving = stage.client.create(&server, &other, &serve).await.expect("created");
    stage.client.start(&serving).await.expect("started");
    let address = stage.client.pod_status(&server).await.expect("status").network.expect("network").ip;

    let before = linux(&mut stage.client, &stage.pod_id).await.network.expect("network");
    let before = told(&before.default_interface.expect("an interface"));
    let fetch = format!("until wget -q -O /dev/null http://{address}/file; do sleep 0.05; done");
    stage.client.sh(&id, &fetch).await;
    let network = linux(&mut stage.client, &stage.pod_id).await.network.expect("network");
    let link = network.default_interface.expect("an interface");
    assert_eq!(link.name, "eth0");
    assert!(told(&link).0 >= before.0 + (1 << 20) && told(&link).1 > before.1, "{before:?} {link:?}");
    assert!(network.interfaces.iter().all(|link| link.name != "lo" && link.name != "eth0"));
    // The other end has sent what this one got.
    let there = linux(&mut stage.client, &server).await.network.expect("network");
    assert!(told(&there.default_interface.expect("an interface")).1 >= 1 << 20);
    // Nothing moves any more: what is told is what the pod sees.
    eventually("both say the same", async || {
        let told = told(
            linux(&mut stage.client, &stage.pod_id)
                .await
                .network
                .and_then(|network| network.default_interface)
                .as_ref()
                .expect("an interface"),
        );
        told == shown(&mut stage.client, &id, "eth0").await
    })
    .await;
    stage.end().await;
}

#[tokio::test]
async fn a_pod_in_the_nodes_network_has_none_of_its_own() {
    let mut stage = Stage::with("stats-host", |pod| {
        let linux = pod.linux.as_mut().and_then(|linux| linux.security_context.as_mut());
        linux.and_then(|context| context.namespace_options.as_mut()).expect("options").network =
            NamespaceMode::Node.into();
    })
    .await;
    stage.run("one", "sleep 1000").await;
    let stats = linux(&mut stage.client, &stage.pod_id).await;
    assert!(stats.network.is_none() && stats.cpu.is_some() && stats.containers.len() == 1, "{stats:?}");
    stage.end().await;
}

#[tokio::test]
async fn a_pod_right_below_the_root_has_its_containers_figures_alone() {
    let mut stage = Stage::with("stats-root", |pod| {
        pod.linux.get_or_insert_default().cgroup_parent = "/".into();
    })
    .await;
    stage.run("one", "sleep 1000").await;
    let stats = of_pods(&mut stage.client, None).await.expect("a list");
    let stats = stats[0].linux.as_ref().expect("figures");
    assert!(stats.cpu.is_none() && stats.memory.is_none() && stats.network.is_some(), "{stats:?}");
    assert!(stats.containers.len() == 1 && stats.containers[0].cpu.is_some(), "{stats:?}");
    let metrics = stage.client.runtime.list_pod_sandbox_metrics(ListPodSandboxMetricsRequest {}).await;
    let metrics = metrics.expect("metrics").into_inner().pod_metrics;
    assert!(!metrics[0].container_metrics[0].metrics.is_empty());
    stage.end().await;
}

#[tokio::test]
async fn lists_have_the_ready_pods_that_fit() {
    let mut stage = Stage::with("stats-pods", |pod| {
        pod.labels.insert("colour".into(), "red".into());
    })
    .await;
    let mut other = stage.pod.clone();
    other.metadata.as_mut().expect("a name").name = "other".into();
    other.labels.clear();
    let other = stage.client.run_pod(&other).await.expect("a pod");
    let ids = async |client: &mut Client, filter: Option<PodSandboxStatsFilter>| {
        let stats = of_pods(client, filter).await.expect("a list");
        let mut ids: Vec<_> =
            stats.into_iter().map(|stats| stats.attributes.expect("attributes").id).collect();
        ids.sort();
        ids
    };
    let one = stage.pod_id.clone();
    let mut both = vec![one.clone(), other.clone()];
    both.sort();
    assert_eq!(ids(&mut stage.client, None).await, both);
    let filter = |id: &str, label: Option<&str>| PodSandboxStatsFilter {
        id: id.into(),
        label_selector: label.map(|value| ("colour".to_owned(), value.to_owned())).into_iter().collect(),
    };
    for (filter, expected) in [
        (filter("", None), both.clone()),
        (filter(&one[..13], None), vec![one.clone()]),
        (filter("", Some("red")), vec![one.clone()]),
        (filter("", Some("blue")), vec![]),
        (filter(&other, Some("red")), vec![]),
        (filter("0123456789abcdef", None), vec![]),
    ] {
        assert_eq!(ids(&mut stage.client, Some(filter.clone())).await, expected, "{filter:?}");
        let request = StreamPodSandboxStatsRequest { filter: Some(filter) };
        let stream = stage.client.runtime.stream_pod_sandbox_stats(request).await;
        let mut stream = stream.expect("a stream").into_inner();
        let mut streamed = Vec::new();
        while let Some(message) = stream.message().await.expect("a message") {
            streamed
                .extend(message.pod_sandbox_stats.into_iter().map(|stats| stats.attributes.expect("who").id));
        }
        streamed.sort();
        assert_eq!(streamed, expected);
    }
    for id in ["0123456789abcdef", &"f".repeat(64), "no such"] {
        let refused = of_pod(&mut stage.client, id).await.expect_err("there is none");
        assert_eq!(refused.code(), Code::NotFound, "{refused}");
    }
    assert_eq!(of_pod(&mut stage.client, "").await.expect_err("no id").code(), Code::InvalidArgument);
    // One that is stopped is in no list, and still known.
    stage.client.stop_pod(&other).await.expect("stopped");
    assert_eq!(ids(&mut stage.client, None).await, [one]);
    let stopped = linux(&mut stage.client, &other).await;
    assert!(stopped.network.is_none() && stopped.containers.is_empty(), "{stopped:?}");
    stage.end().await;
}

#[tokio::test]
async fn what_is_kept_open_goes_with_its_container() {
    let mut stage = Stage::new("stats-open").await;
    let pid = stage.daemon.pid();
    let open = || {
        let all = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("proc(5)");
        let links = all.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        links.filter(|link| link.starts_with("/sys/fs/cgroup")).count()
    };
    assert_eq!(open(), 0);
    let id = stage.run("one", "sleep 1000").await;
    of_container(&mut stage.client, &id).await.expect("figures");
    let of_one = open();
    assert!(of_one >= 4, "a container that was asked for has files open: {of_one}");
    of_container(&mut stage.client, &id).await.expect("figures");
    assert_eq!(open(), of_one, "once");
    of_pod(&mut stage.client, &stage.pod_id).await.expect("figures");
    assert_eq!(open(), 2 * of_one, "and the pod's own");
    stage.client.stop(&id, 0).await.expect("stopped");
    eventually("the container's are closed", async || open() <= of_one).await;
    stage.client.stop_pod(&stage.pod_id.clone()).await.expect("stopped");
    eventually("the pod's are closed", async || open() == 0).await;
    stage.end().await;
}
