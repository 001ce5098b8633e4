//! The page that kubelet shows: `ListMetricDescriptors`, `ListPodSandboxMetrics`, `StreamPodSandboxMetrics`.

use std::collections::{BTreeMap, BTreeSet};

use orlop_proto::runtime::v1::{
    ListMetricDescriptorsRequest, ListPodSandboxMetricsRequest, Metric, MetricType, PodSandboxMetrics,
    StreamPodSandboxMetricsRequest,
};
use orlop_tests::cri::Client;
use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::{Stage, resources};

use super::kernel::Kernel;
use super::now;

/// Every name that cAdvisor gives a kubelet's page of what can be had over this interface.
const NAMES: [&str; 56] = [
    "container_blkio_device_usage_total",
    "container_cpu_cfs_periods_total",
    "container_cpu_cfs_throttled_periods_total",
    "container_cpu_cfs_throttled_seconds_total",
    "container_cpu_system_seconds_total",
    "container_cpu_usage_seconds_total",
    "container_cpu_user_seconds_total",
    "container_file_descriptors",
    "container_fs_inodes_free",
    "container_fs_inodes_total",
    "container_fs_limit_bytes",
    "container_fs_reads_bytes_total",
    "container_fs_reads_total",
    "container_fs_usage_bytes",
    "container_fs_writes_bytes_total",
    "container_fs_writes_total",
    "container_hugetlb_max_usage_bytes",
    "container_hugetlb_usage_bytes",
    "container_last_seen",
    "container_memory_cache",
    "container_memory_failcnt",
    "container_memory_failures_total",
    "container_memory_kernel_usage",
    "container_memory_mapped_file",
    "container_memory_max_usage_bytes",
    "container_memory_rss",
    "container_memory_swap",
    "container_memory_usage_bytes",
    "container_memory_working_set_bytes",
    "container_network_receive_bytes_total",
    "container_network_receive_errors_total",
    "container_network_receive_packets_dropped_total",
    "container_network_receive_packets_total",
    "container_network_transmit_bytes_total",
    "container_network_transmit_errors_total",
    "container_network_transmit_packets_dropped_total",
    "container_network_transmit_packets_total",
    "container_oom_events_total",
    "container_pressure_cpu_stalled_seconds_total",
    "container_pressure_cpu_waiting_seconds_total",
    "container_pressure_io_stalled_seconds_total",
    "container_pressure_io_waiting_seconds_total",
    "container_pressure_memory_stalled_seconds_total",
    "container_pressure_memory_waiting_seconds_total",
    "container_processes",
    "container_sockets",
    "container_spec_cpu_period",
    "container_spec_cpu_quota",
    "container_spec_cpu_shares",
    "container_spec_memory_limit_bytes",
    "container_spec_memory_reservation_limit_bytes",
    "container_spec_memory_swap_limit_bytes",
    "container_start_time_seconds",
    "container_threads",
    "container_threads_max",
    "container_ulimits_soft",
];

/// Those that need a disk that was used, or of which only some kernels know.
fn may_lack(name: &str) -> bool {
    let of_disks = ["blkio", "fs_reads", "fs_writes"];
    of_disks.iter().any(|part| name.contains(part)) || name.contains("pressure") || name.contains("hugetlb")
}

async fn of_all(client: &mut Client) -> Vec<PodSandboxMetrics> {
    let answer = client.runtime.list_pod_sandbox_metrics(ListPodSandboxMetricsRequest {}).await;
    answer.expect("metrics").into_inner().pod_metrics
}

/// The samples of a pod and of its containers.
fn samples(pod: &PodSandboxMetrics) -> Vec<&Metric> {
    pod.metrics.iter().chain(pod.container_metrics.iter().flat_map(|one| &one.metrics)).collect()
}

/// The values of the samples of this name in these, by their labels behind the first six.
fn values(metrics: &[Metric], name: &str) -> BTreeMap<Vec<String>, u64> {
    let named = metrics.iter().filter(|metric| metric.name == name);
    named.map(|metric| (metric.label_values[6..].to_vec(), metric.value.expect("a value").value)).collect()
}

fn value(metrics: &[Metric], name: &str) -> u64 {
    let values = values(metrics, name);
    assert_eq!(values.len(), 1, "{name}: {values:?}");
    values.into_values().next().expect("one")
}

async fn of_container(client: &mut Client, id: &str) -> Vec<Metric> {
    let mut all = of_all(client).await;
    let mut containers = all.remove(0).container_metrics.into_iter();
    containers.find(|one| one.container_id == id).expect("its metrics").metrics
}

async fn descriptors(client: &mut Client) -> BTreeMap<String, Vec<String>> {
    let answer = client.runtime.list_metric_descriptors(ListMetricDescriptorsRequest {}).await;
    let descriptors = answer.expect("descriptors").into_inner().descriptors;
    assert!(descriptors.iter().all(|one| !one.help.is_empty() && !one.label_keys.is_empty()));
    let count = descriptors.len();
    let named: BTreeMap<_, _> = descriptors.into_iter().map(|one| (one.name, one.label_keys)).collect();
    assert_eq!(named.len(), count, "no name twice");
    named
}

#[tokio::test]
async fn every_metric_has_a_sample_from_the_start_that_fits_its_descriptor() {
    let mut stage = Stage::new("stats-metrics").await;
    let before = now();
    let mut config = stage.script("one", "sleep 1000");
    let limits = resources(&mut config);
    (limits.cpu_period, limits.cpu_quota, limits.cpu_shares) = (100_000, 20_000, 512);
    limits.memory_limit_in_bytes = 64 << 20;
    let id = stage.start(&config).await;
    let descriptors = descriptors(&mut stage.client).await;
    for name in NAMES {
        assert!(descriptors.contains_key(name), "{name}");
    }
    let all = of_all(&mut stage.client).await;
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].pod_sandbox_id, stage.pod_id);
    let seen: BTreeSet<&str> = samples(&all[0]).iter().map(|metric| metric.name.as_str()).collect();
    for name in descriptors.keys().filter(|name| !may_lack(name)) {
        assert!(seen.contains(name.as_str()), "no sample of {name}");
    }
    let mut labels = BTreeSet::new();
    for metric in samples(&all[0]) {
        let keys =
            descriptors.get(&metric.name).unwrap_or_else(|| panic!("{} has no descriptor", metric.name));
        assert_eq!(metric.label_values.len(), keys.len(), "{metric:?}");
        // kubelet shows no page at all where two samples are the same.
        assert!(labels.insert((&metric.name, &metric.label_values)), "twice: {metric:?}");
        assert!(metric.timestamp > before && metric.timestamp < now(), "{metric:?}");
        // kubelet reads the value without asking whether it is there.
        assert!(metric.value.is_some(), "{metric:?}");
        let counts = match metric.name.as_str() {
            "container_memory_failcnt" => true,
            "container_fs_inodes_total" => false,
            name => name.ends_with("_total"),
        };
        let kind = if counts { MetricType::Counter } else { MetricType::Gauge };
        assert_eq!(metric.metric_type(), kind, "{}", metric.name);
    }
    let label = |metric: &Metric, key: &str| {
        let at = descriptors[&metric.name].iter().position(|found| found == key).expect("a key");
        metric.label_values[at].clone()
    };
    let container = &all[0].container_metrics[0];
    assert_eq!(container.container_id, id);
    for metric in &container.metrics {
        assert_eq!((label(metric, "container"), label(metric, "name")), ("one".into(), id.clone()));
        assert_eq!((label(metric, "pod"), label(metric, "namespace")), ("pod".into(), "default".into()));
        assert_eq!(label(metric, "image"), stage.image);
        assert!(label(metric, "id").ends_with(&format!("/{}/{id}", stage.pod_id)), "{metric:?}");
    }
    for metric in &all[0].metrics {
        assert_eq!((label(metric, "container"), label(metric, "pod")), (String::new(), "pod".into()));
        assert!(label(metric, "id").ends_with(&format!("/{}", stage.pod_id)), "{metric:?}");
    }
    stage.end().await;
}

#[tokio::test]
async fn values_are_the_kernels() {
    let mut stage = Stage::new("stats-values").await;
    let script = "sleep 1000 & (exec sleep 1000 5< /dev/null 6< /dev/null) & sleep 1000 | nc -l -p 80";
    let mut config = stage.script("one", script);
    let limits = resources(&mut config);
    (limits.cpu_period, limits.cpu_quota, limits.cpu_shares) = (50_000, 25_000, 512);
    limits.memory_limit_in_bytes = 64 << 20;
    limits.unified.insert("pids.max".into(), "33".into());
    let id = stage.start(&config).await;
    let kernel = Kernel::of(&mut stage.client, &id).await;
    eventually("it waits", async || {
        let metrics = of_container(&mut stage.client, &id).await;
        value(&metrics, "container_processes") == kernel.processes() && kernel.processes() >= 5
    })
    .await;
    let metrics = of_container(&mut stage.client, &id).await;
    let one = |name: &str| value(&metrics, name);
    for (name, expected) in [
        ("container_spec_cpu_period", 50_000),
        ("container_spec_cpu_quota", 25_000),
        ("container_spec_memory_limit_bytes", 64 << 20),
        ("container_spec_memory_reservation_limit_bytes", 0),
        ("container_threads_max", 33),
        ("container_threads", kernel.number(&["pids.current"]).expect("counted")),
        ("container_memory_rss", kernel.memory(&["total_rss", "anon"])),
        ("container_memory_cache", kernel.memory(&["total_cache", "file"])),
        ("container_memory_mapped_file", kernel.memory(&["total_mapped_file", "file_mapped"])),
        ("container_cpu_usage_seconds_total", kernel.cpu() / 1_000_000_000),
        ("container_memory_swap", 0),
        ("container_oom_events_total", 0),
    ] {
        assert_eq!(one(name), expected, "{name}");
    }
    // v2's weight is rounded.
    assert!(one("container_spec_cpu_shares").abs_diff(512) < 30);
    assert!(one("container_memory_max_usage_bytes") >= one("container_memory_usage_bytes") / 2);
    // Of each process three at least, two more in one, and one socket that listens.
    let descriptors = one("container_file_descriptors");
    assert!(descriptors >= 3 * kernel.processes() + 3 && descriptors < 100, "{descriptors}");
    eventually("it listens", async || {
        let metrics = of_container(&mut stage.client, &id).await;
        value(&metrics, "container_sockets") == 1
    })
    .await;
    let failures = values(&metrics, "container_memory_failures_total");
    assert_eq!(failures.len(), 4, "{failures:?}");
    assert!(failures[&vec!["pgfault".to_owned(), "hierarchy".to_owned()]] > 0);
    let limit = stage.client.sh(&id, "ulimit -n").await;
    let told = values(&metrics, "container_ulimits_soft");
    assert_eq!(told[&vec!["max_open_files".to_owned()]].to_string(), limit.trim());
    let started = stage.client.status(&id).await.expect("status").started_at / 1_000_000_000;
    assert_eq!(one("container_start_time_seconds"), u64::try_from(started).expect("after 1970"));
    assert!(
        one("container_fs_limit_bytes") > 0
            && one("container_fs_inodes_total") >= one("container_fs_inodes_free")
    );
    if kernel.text(&["hugetlb.2MB.current", "hugetlb.2MB.usage_in_bytes"]).is_some() {
        assert_eq!(values(&metrics, "container_hugetlb_usage_bytes")[&vec!["2MB".to_owned()]], 0);
    }
    if kernel.has_pressure() {
        one("container_pressure_cpu_waiting_seconds_total");
        one("container_pressure_io_stalled_seconds_total");
    }
    stage.end().await;
}

#[tokio::test]
async fn without_limits_there_is_nothing_of_them() {
    let mut stage = Stage::new("stats-free").await;
    let id = stage.run("one", "sleep 1000").await;
    let metrics = of_container(&mut stage.client, &id).await;
    assert_eq!(value(&metrics, "container_spec_memory_limit_bytes"), 0);
    assert_eq!(value(&metrics, "container_spec_memory_swap_limit_bytes"), 0);
    for name in ["container_spec_cpu_quota", "container_cpu_cfs_periods_total"] {
        assert!(values(&metrics, name).is_empty(), "{name} without a quota");
    }
    stage.end().await;
}

#[tokio::test]
async fn a_pods_own_samples_are_of_its_network_and_its_cgroup() {
    let mut stage = Stage::new("stats-podmetrics").await;
    let id = stage.run("one", "sleep 1000").await;
    let kernel = Kernel::of(&mut stage.client, &id).await.parent();
    let all = of_all(&mut stage.client).await;
    let links = values(&all[0].metrics, "container_network_receive_bytes_total");
    assert!(
        links.contains_key(&vec!["eth0".to_owned()]) && !links.contains_key(&vec!["lo".to_owned()]),
        "{links:?}"
    );
    let tasks = kernel.number(&["pids.current"]).expect("counted");
    assert_eq!(value(&all[0].metrics, "container_threads"), tasks);
    assert!(value(&all[0].metrics, "container_memory_usage_bytes") > 0);
    // Neither what only containers have, nor what only pods have, is in the other.
    assert!(values(&all[0].metrics, "container_fs_usage_bytes").is_empty());
    assert!(values(&all[0].container_metrics[0].metrics, "container_network_receive_bytes_total").is_empty());

    let stream = stage.client.runtime.stream_pod_sandbox_metrics(StreamPodSandboxMetricsRequest {}).await;
    let mut stream = stream.expect("a stream").into_inner();
    let mut streamed = Vec::new();
    while let Some(message) = stream.message().await.expect("a message") {
        streamed.extend(message.pod_sandbox_metrics);
    }
    let shape = |all: &[PodSandboxMetrics]| -> Vec<_> {
        all.iter().flat_map(samples).map(|one| (one.name.clone(), one.label_values.clone())).collect()
    };
    assert_eq!(shape(&streamed), shape(&all));
    // A pod that is not ready has no page.
    stage.client.stop_pod(&stage.pod_id.clone()).await.expect("stopped");
    assert_eq!(of_all(&mut stage.client).await.len(), 0);
    stage.end().await;
}
