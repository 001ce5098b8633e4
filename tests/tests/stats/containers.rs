//! Time, memory, pressure; filters, lists and streams; ends and restarts.

use std::collections::BTreeMap;
use std::time::Duration;

use orlop_proto::runtime::v1::{ContainerStats, ContainerStatsFilter, PsiStats, StreamContainerStatsRequest};
use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::{Stage, resources};
use tonic::Code;

use super::kernel::Kernel;
use super::{known, now, of_container, of_containers};

/// Every figure that a container which runs has, with its time.
fn times(stats: &ContainerStats, pressure: bool) -> Vec<i64> {
    let cpu = stats.cpu.as_ref().expect("cpu");
    let memory = stats.memory.as_ref().expect("memory");
    let swap = stats.swap.as_ref().expect("swap");
    let layer = stats.writable_layer.as_ref().expect("a layer");
    for value in [
        &cpu.usage_core_nano_seconds,
        &cpu.usage_nano_cores,
        &memory.usage_bytes,
        &memory.working_set_bytes,
        &memory.rss_bytes,
        &memory.page_faults,
        &memory.major_page_faults,
        &swap.swap_usage_bytes,
        &layer.used_bytes,
        &layer.inodes_used,
    ] {
        known(value.as_ref());
    }
    assert!(!layer.fs_id.as_ref().expect("a filesystem").mountpoint.is_empty());
    let mut times = vec![cpu.timestamp, memory.timestamp, swap.timestamp];
    let both = |psi: &Option<PsiStats>| {
        let psi = psi.as_ref().expect("pressure");
        assert!(psi.some.is_some() && psi.full.is_some());
    };
    if pressure {
        let io = stats.io.as_ref().expect("io");
        times.push(io.timestamp);
        [&cpu.psi, &memory.psi, &io.psi].into_iter().for_each(both);
    }
    times
}

#[tokio::test]
async fn every_figure_is_there_at_once_and_its_time_moves() {
    let mut stage = Stage::new("stats-all").await;
    let before = now();
    let id = stage.run("one", "sleep 1000").await;
    let pressure = Kernel::of(&mut stage.client, &id).await.has_pressure();
    let first = of_container(&mut stage.client, &id).await.expect("figures");
    let second = of_container(&mut stage.client, &id).await.expect("figures");
    let (first, second) = (times(&first, pressure), times(&second, pressure));
    for (first, second) in first.into_iter().zip(second) {
        assert!(before < first && first < second && second < now(), "{before} {first} {second}");
    }
    let stats = of_container(&mut stage.client, &id).await.expect("figures");
    let attributes = stats.attributes.expect("attributes");
    assert_eq!((attributes.id, attributes.metadata.expect("a name").name), (id, "one".into()));
    stage.end().await;
}

#[tokio::test]
async fn time_is_the_kernels_and_a_loop_uses_one_cpu() {
    let mut stage = Stage::new("stats-cpu").await;
    let busy = stage.run("busy", "while :; do :; done").await;
    let idle = stage.run("idle", "sleep 1000").await;
    let kernel = Kernel::of(&mut stage.client, &busy).await;
    let before = kernel.cpu();
    let stats = of_container(&mut stage.client, &busy).await.expect("figures");
    let after = kernel.cpu();
    let used = known(stats.cpu.as_ref().expect("cpu").usage_core_nano_seconds.as_ref());
    assert!(before <= used && used <= after, "{before} {used} {after}");

    // Over the same span, what the kernel says was used by how long it took; on a loaded machine that is less than a CPU.
    let rate = async |client: &mut orlop_tests::cri::Client, id: &str| {
        let stats = of_container(client, id).await.expect("figures");
        known(stats.cpu.expect("cpu").usage_nano_cores.as_ref())
    };
    let (begun, before) = (std::time::Instant::now(), kernel.cpu());
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let used = u128::from(kernel.cpu() - before);
    let share = u64::try_from(used * 1_000_000_000 / begun.elapsed().as_nanos()).expect("a share");
    let told = rate(&mut stage.client, &busy).await;
    assert!((share / 2..share * 2).contains(&told) && told < 1_200_000_000, "{told} told, {share} used");
    let quiet = rate(&mut stage.client, &idle).await;
    assert!(quiet < told / 5, "{quiet} of one that sleeps, {told} of one that does not");
    stage.end().await;
}

#[tokio::test]
async fn a_first_answer_has_a_rate_since_the_start() {
    let mut stage = Stage::new("stats-first").await;
    let busy = stage.run("busy", "while :; do :; done").await;
    let kernel = Kernel::of(&mut stage.client, &busy).await;
    eventually("it has used some time", async || kernel.cpu() > 50_000_000).await;
    let stats = of_container(&mut stage.client, &busy).await.expect("figures");
    let told = known(stats.cpu.expect("cpu").usage_nano_cores.as_ref());
    assert!(told > 50_000_000 && told < 1_300_000_000, "{told} nanocores");
    stage.end().await;
}

#[tokio::test]
async fn memory_is_the_kernels_and_grows_by_what_is_touched() {
    let mut stage = Stage::new("stats-memory").await;
    // tail keeps what may be its last line, and none comes.
    let script = "mkfifo /go; read x < /go; { head -c 32m /dev/zero; sleep 1000; } | tail -n 1";
    let mut config = stage.script("memory", script);
    resources(&mut config).memory_limit_in_bytes = 128 << 20;
    let id = stage.start(&config).await;
    let kernel = Kernel::of(&mut stage.client, &id).await;
    let before = of_container(&mut stage.client, &id).await.expect("figures").memory.expect("memory");
    let set = known(before.working_set_bytes.as_ref());
    assert_eq!(known(before.available_bytes.as_ref()), (128 << 20) - set);
    stage.client.sh(&id, "echo > /go").await;
    let touched = 30 << 20;
    eventually("what is touched is in the working set", async || {
        let stats = of_container(&mut stage.client, &id).await.expect("figures").memory.expect("memory");
        known(stats.working_set_bytes.as_ref()) > set + touched && known(stats.rss_bytes.as_ref()) > touched
    })
    .await;
    // Nothing moves any more: what is told is what the files say.
    eventually("both say the same", async || {
        let told = of_container(&mut stage.client, &id).await.expect("figures").memory.expect("memory");
        let usage = kernel.number(&["memory.usage_in_bytes", "memory.current"]).expect("usage");
        let inactive = kernel.memory(&["total_inactive_file", "inactive_file"]);
        let pairs = [
            (&told.usage_bytes, usage),
            (&told.working_set_bytes, usage - inactive),
            (&told.available_bytes, (128 << 20) - (usage - inactive)),
            (&told.rss_bytes, kernel.memory(&["total_rss", "anon"])),
            (&told.page_faults, kernel.memory(&["total_pgfault", "pgfault"])),
            (&told.major_page_faults, kernel.memory(&["total_pgmajfault", "pgmajfault"])),
        ];
        pairs.iter().all(|(told, kernel)| known(told.as_ref()) == *kernel)
    })
    .await;
    // Without a limit nothing is left of it.
    let free = stage.run("free", "sleep 1000").await;
    let stats = of_container(&mut stage.client, &free).await.expect("figures").memory.expect("memory");
    assert_eq!(stats.available_bytes, None);
    stage.end().await;
}

#[tokio::test]
async fn lists_have_what_runs_and_fits() {
    let mut stage = Stage::new("stats-lists").await;
    let mut config = stage.script("one", "sleep 1000");
    config.labels.insert("colour".into(), "red".into());
    let one = stage.start(&config).await;
    let two = stage.run("two", "sleep 1000").await;
    let ended = stage.run("ended", "exit 0").await;
    stage.client.ended(&ended).await;
    let created = stage.create(&stage.script("created", "sleep 1000")).await.expect("created");
    let ids = async |client: &mut orlop_tests::cri::Client, filter: Option<ContainerStatsFilter>| {
        let stats = of_containers(client, filter).await.expect("a list");
        let mut ids: Vec<_> =
            stats.into_iter().map(|stats| stats.attributes.expect("attributes").id).collect();
        ids.sort();
        ids
    };
    let mut both = vec![one.clone(), two.clone()];
    both.sort();
    assert_eq!(ids(&mut stage.client, None).await, both);
    let filter = |id: &str, pod: &str, label: &str| ContainerStatsFilter {
        id: id.into(),
        pod_sandbox_id: pod.into(),
        label_selector: if label.is_empty() {
            BTreeMap::new()
        } else {
            [("colour".to_owned(), label.to_owned())].into()
        },
    };
    let pod = stage.pod_id.clone();
    for (filter, expected) in [
        (filter("", "", ""), both.clone()),
        (filter(&one, "", ""), vec![one.clone()]),
        (filter(&one[..13], &pod, ""), vec![one.clone()]),
        (filter("", &pod[..13], ""), both.clone()),
        (filter("", "0123456789", ""), vec![]),
        (filter("", "", "red"), vec![one.clone()]),
        (filter("", "", "blue"), vec![]),
        (filter(&two, "", "red"), vec![]),
        (filter(&ended, "", ""), vec![]),
        (filter(&created, "", ""), vec![]),
    ] {
        assert_eq!(ids(&mut stage.client, Some(filter.clone())).await, expected, "{filter:?}");
        let request = StreamContainerStatsRequest { filter: Some(filter) };
        let mut stream =
            stage.client.runtime.stream_container_stats(request).await.expect("a stream").into_inner();
        let mut streamed = Vec::new();
        while let Some(message) = stream.message().await.expect("a message") {
            streamed
                .extend(message.container_stats.into_iter().map(|stats| stats.attributes.expect("who").id));
        }
        streamed.sort();
        assert_eq!(streamed, expected);
    }
    stage.end().await;
}

#[tokio::test]
async fn what_is_not_known_is_not_found_and_what_has_ended_has_its_layer() {
    let mut stage = Stage::new("stats-unknown").await;
    for id in ["0123456789abcdef", &"f".repeat(64), "..", "no such"] {
        let refused = of_container(&mut stage.client, id).await.expect_err("there is none");
        assert_eq!(refused.code(), Code::NotFound, "{refused}");
    }
    let refused = of_container(&mut stage.client, "").await.expect_err("no id");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");

    let created = stage.create(&stage.script("created", "sleep 1000")).await.expect("created");
    let stats = of_container(&mut stage.client, &created).await.expect("figures");
    assert!(stats.cpu.is_none() && stats.memory.is_none() && stats.writable_layer.is_some(), "{stats:?}");

    let ended = stage.run("ended", "head -c 1m /dev/zero > /file").await;
    stage.client.ended(&ended).await;
    eventually("its layer is counted", async || {
        let stats = of_container(&mut stage.client, &ended).await.expect("figures");
        assert!(stats.cpu.is_none() && stats.memory.is_none(), "{stats:?}");
        known(stats.writable_layer.expect("a layer").used_bytes.as_ref()) >= 1 << 20
    })
    .await;
    stage.client.remove(&ended).await.expect("removed");
    let gone = of_container(&mut stage.client, &ended).await.expect_err("it is gone");
    assert_eq!(gone.code(), Code::NotFound);
    stage.end().await;
}

#[tokio::test]
async fn figures_go_on_after_the_daemon_was_killed() {
    let mut stage = Stage::new("stats-restart").await;
    let id = stage.run("busy", "head -c 1m /dev/zero > /file; while :; do :; done").await;
    let kernel = Kernel::of(&mut stage.client, &id).await;
    eventually("it has used some time", async || kernel.cpu() > 200_000_000).await;
    let before = of_container(&mut stage.client, &id).await.expect("figures");
    let used =
        |stats: &ContainerStats| known(stats.cpu.as_ref().expect("cpu").usage_core_nano_seconds.as_ref());
    stage.daemon.restart().await;
    stage.client = stage.daemon.client().await;
    let after = of_container(&mut stage.client, &id).await.expect("figures");
    assert!(used(&after) > used(&before));
    let rate = known(after.cpu.as_ref().expect("cpu").usage_nano_cores.as_ref());
    assert!(rate > 20_000_000 && rate < 1_300_000_000, "{rate} nanocores");
    eventually("its layer is counted anew", async || {
        let stats = of_container(&mut stage.client, &id).await.expect("figures");
        stats.writable_layer.is_some_and(|layer| known(layer.used_bytes.as_ref()) >= 1 << 20)
    })
    .await;
    stage.end().await;
}
