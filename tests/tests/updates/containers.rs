//! `UpdateContainerResources`: every field, in every state.

use orlop_proto::runtime::v1::{HugepageLimit, UpdateContainerResourcesRequest};
use orlop_tests::daemon::stage::Stage;
use tonic::Code;

use crate::cgroups::*;

#[tokio::test]
async fn every_limit_of_a_container_that_runs_is_changed() {
    let mut stage = Stage::new("changed").await;
    let config = limited(&stage, "c");
    let id = stage.start(&config).await;
    assert_eq!(values(&stage, &id), limits(["512", "50000", "25000", "67108864", "67108864", "0", "20"]));
    update(&mut stage, &id, |limits| {
        limits.cpu_shares = 2048;
        limits.cpu_period = 20_000;
        limits.cpu_quota = 30_000;
        // More memory than memory and swap were, and then less again: each in its own order.
        limits.memory_limit_in_bytes = 256 << 20;
        limits.memory_swap_limit_in_bytes = 512 << 20;
        limits.cpuset_cpus = "0-1".into();
        limits.oom_score_adj = 321;
        limits.unified.insert("pids.max".into(), "33".into());
        limits.hugepage_limits.push(HugepageLimit { page_size: "2MB".into(), limit: 4 << 20 });
    })
    .await
    .expect("updated");
    assert_eq!(
        values(&stage, &id),
        limits(["2048", "20000", "30000", "268435456", "536870912", "0-1", "33"])
    );
    let huge = directory(&stage, "unified", Some(&id)).join("hugetlb.2MB.max");
    assert_eq!(std::fs::read_to_string(huge).expect("its limit").trim(), "4194304");
    assert_eq!(
        stage.client.sh(&id, "cat /proc/1/oom_score_adj /proc/self/oom_score_adj").await,
        "321\n321\n"
    );
    let all = shown(&mut stage, &id).await;
    assert_eq!((all.cpu_shares, all.cpu_period, all.cpu_quota), (2048, 20_000, 30_000));
    assert_eq!((all.memory_limit_in_bytes, all.memory_swap_limit_in_bytes), (256 << 20, 512 << 20));
    assert_eq!((&*all.cpuset_cpus, all.oom_score_adj, &*all.unified["pids.max"]), ("0-1", 321, "33"));
    assert_eq!(all.hugepage_limits.len(), 1);

    update(&mut stage, &id, |limits| {
        limits.memory_limit_in_bytes = 32 << 20;
        limits.memory_swap_limit_in_bytes = 48 << 20;
        limits.cpu_quota = -1;
    })
    .await
    .expect("updated");
    // What was not named stays.
    assert_eq!(values(&stage, &id), limits(["2048", "20000", "-1", "33554432", "50331648", "0-1", "33"]));
    let all = shown(&mut stage, &id).await;
    assert_eq!((all.cpu_shares, all.cpu_quota, all.memory_limit_in_bytes), (2048, -1, 32 << 20));
    stage.end().await;
}

#[tokio::test]
async fn the_same_said_again_and_nothing_said_change_nothing() {
    let mut stage = Stage::new("again").await;
    let config = limited(&stage, "c");
    let id = stage.start(&config).await;
    let before = values(&stage, &id);
    for _ in 0..3 {
        update(&mut stage, &id, |limits| limits.cpu_shares = 777).await.expect("updated");
    }
    update(&mut stage, &id, |_| {}).await.expect("nothing to do");
    let silent = UpdateContainerResourcesRequest { container_id: id[..16].into(), ..Default::default() };
    stage.client.runtime.update_container_resources(silent).await.expect("nothing to do, by a short id");
    let after = values(&stage, &id);
    assert_eq!((&after[0], &after[1..]), (&shares("777"), &before[1..]));
    stage.end().await;
}

#[tokio::test]
async fn limits_survive_the_daemon_and_go_on_from_there() {
    let mut stage = Stage::new("survive").await;
    let config = limited(&stage, "c");
    let id = stage.start(&config).await;
    update(&mut stage, &id, |limits| limits.cpu_quota = 40_000).await.expect("updated");
    update(&mut stage, &id, |limits| limits.oom_score_adj = 222).await.expect("updated");
    let before = values(&stage, &id);
    let known = shown(&mut stage, &id).await;
    for _ in 0..2 {
        stage.daemon.restart().await;
        stage.client = stage.daemon.client().await;
        assert_eq!((shown(&mut stage, &id).await, values(&stage, &id)), (known.clone(), before.clone()));
    }
    // An exec begins with what is in force.
    assert_eq!(stage.client.sh(&id, "cat /proc/self/oom_score_adj").await, "222\n");
    update(&mut stage, &id, |limits| limits.cpu_period = 80_000).await.expect("updated");
    let all = shown(&mut stage, &id).await;
    assert_eq!((all.cpu_period, all.cpu_quota, all.cpu_shares), (80_000, 40_000, 512));
    stage.end().await;
}

#[tokio::test]
async fn a_container_that_is_created_begins_with_its_new_limits() {
    let mut stage = Stage::new("begins").await;
    let config = limited(&stage, "c");
    let id = stage.create(&config).await.expect("created");
    update(&mut stage, &id, |limits| {
        limits.memory_limit_in_bytes = 80 << 20;
        limits.memory_swap_limit_in_bytes = 90 << 20;
        limits.cpuset_cpus = "1".into();
        limits.oom_score_adj = 55;
    })
    .await
    .expect("updated");
    assert_eq!(shown(&mut stage, &id).await.memory_limit_in_bytes, 80 << 20);
    stage.daemon.restart().await;
    stage.client = stage.daemon.client().await;
    assert_eq!(shown(&mut stage, &id).await.memory_limit_in_bytes, 80 << 20);
    stage.client.start(&id).await.expect("started");
    assert_eq!(values(&stage, &id), limits(["512", "50000", "25000", "83886080", "94371840", "1", "20"]));
    assert_eq!(stage.client.sh(&id, "cat /proc/1/oom_score_adj").await, "55\n");
    // Its devices are still those that it was made with.
    assert_eq!(stage.client.sh(&id, "head -c 3 /dev/zero | wc -c").await.trim(), "3");
    stage.end().await;
}

#[tokio::test]
async fn updates_beside_a_start_and_beside_each_other_are_all_in_force() {
    let mut stage = Stage::new("beside").await;
    for round in 0..10 {
        let config = limited(&stage, &format!("c{round}"));
        let id = stage.create(&config).await.expect("created");
        let mut calls = Vec::new();
        for number in 0..8 {
            let (mut client, id) = (stage.daemon.client().await, id.clone());
            calls.push(tokio::spawn(async move {
                let mut linux = orlop_proto::runtime::v1::LinuxContainerResources::default();
                match number {
                    0 => return client.start(&id).await,
                    1..4 => linux.cpu_shares = 1000 + i64::from(number),
                    _ => linux.memory_swap_limit_in_bytes = (64 << 20) + (i64::from(number) << 20),
                }
                let request = UpdateContainerResourcesRequest {
                    container_id: id,
                    linux: Some(linux),
                    ..UpdateContainerResourcesRequest::default()
                };
                client.runtime.update_container_resources(request).await.map(drop)
            }));
        }
        for call in calls {
            call.await.expect("a call").expect("each is done");
        }
        // Whichever was last: the kernel has what the status shows.
        let all = shown(&mut stage, &id).await;
        let values = values(&stage, &id);
        assert_eq!(values[0], shares(&all.cpu_shares.to_string()));
        assert_eq!(values[4], all.memory_swap_limit_in_bytes.to_string());
        assert!(all.cpu_shares > 1000 && all.memory_swap_limit_in_bytes > 64 << 20);
    }
    stage.end().await;
}

#[tokio::test]
async fn what_has_ended_has_no_limits_to_change() {
    let mut stage = Stage::new("ended").await;
    let id = stage.run("c", "true").await;
    stage.client.ended(&id).await;
    let error = update(&mut stage, &id, |limits| limits.cpu_shares = 100).await.expect_err("it has ended");
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    assert!(error.message().contains("has ended"), "{error}");
    stage.client.remove(&id).await.expect("removed");
    let error = update(&mut stage, &id, |limits| limits.cpu_shares = 100).await.expect_err("it is gone");
    assert_eq!(error.code(), Code::NotFound, "{error}");
    stage.end().await;
}
