//! Limits that cannot be: named, and nothing is changed by them.

use orlop_proto::runtime::v1::{
    HugepageLimit, LinuxContainerResources, UpdateContainerResourcesRequest, WindowsContainerResources,
};
use orlop_tests::daemon::stage::Stage;
use tonic::Code;

use crate::cgroups::*;

/// What a row of a table asks for.
type Change = fn(&mut LinuxContainerResources);

/// The field that an answer has to name, and what is asked for. Each asks for something good, too.
const BAD: [(&str, Change); 12] = [
    ("linux.cpu_shares", |l| l.cpu_shares = 1),
    ("linux.cpu_period", |l| l.cpu_period = 5_000_000),
    ("linux.cpu_quota", |l| l.cpu_quota = 5),
    ("linux.memory_limit_in_bytes", |l| l.memory_limit_in_bytes = -5),
    ("linux.memory_swap_limit_in_bytes", |l| l.memory_swap_limit_in_bytes = -7),
    // Less than the memory that it has.
    ("linux.memory_swap_limit_in_bytes", |l| l.memory_swap_limit_in_bytes = 1 << 20),
    // More than memory and swap together are.
    ("linux.memory_swap_limit_in_bytes", |l| l.memory_limit_in_bytes = 1 << 30),
    ("linux.oom_score_adj", |l| l.oom_score_adj = 1001),
    ("linux.cpuset_cpus", |l| l.cpuset_cpus = "0-".into()),
    ("linux.cpuset_mems", |l| l.cpuset_mems = "x".into()),
    ("linux.unified", |l| drop(l.unified.insert("../x".into(), "1".into()))),
    ("linux.hugepage_limits[0].page_size", |l| {
        l.hugepage_limits.push(HugepageLimit { page_size: "2 MB".into(), limit: 1 });
    }),
];

#[tokio::test]
async fn what_cannot_be_is_named_before_anything_is_written() {
    let mut stage = Stage::new("cannot-be").await;
    let config = limited(&stage, "runs");
    let runs = stage.start(&config).await;
    let config = limited(&stage, "created");
    let created = stage.create(&config).await.expect("created");
    let (before, known) = (values(&stage, &runs), shown(&mut stage, &runs).await);
    for id in [&runs, &created] {
        for (field, change) in BAD {
            let asked = |limits: &mut LinuxContainerResources| {
                limits.cpu_shares = 999;
                change(limits);
            };
            let error = update(&mut stage, id, asked).await.expect_err(field);
            assert_eq!(error.code(), Code::InvalidArgument, "{field}: {error}");
            assert!(error.message().starts_with(field), "{field}: {error}");
        }
        assert_eq!(shown(&mut stage, id).await, known);
    }
    assert_eq!(values(&stage, &runs), before);
    let request = UpdateContainerResourcesRequest {
        container_id: runs.clone(),
        windows: Some(WindowsContainerResources::default()),
        ..UpdateContainerResourcesRequest::default()
    };
    let error = stage.client.runtime.update_container_resources(request).await.expect_err("no Windows");
    assert!(error.code() == Code::Unimplemented && error.message().starts_with("windows"), "{error}");
    for id in ["", "0123456789abcdef", "no id"] {
        let error = update(&mut stage, id, |limits| limits.cpu_shares = 5).await.expect_err("unknown");
        let expected = if id.is_empty() { Code::InvalidArgument } else { Code::NotFound };
        assert_eq!(error.code(), expected, "{id}: {error}");
    }
    stage.end().await;
}

#[tokio::test]
async fn what_the_kernel_refuses_takes_all_back() {
    let mut stage = Stage::new("takes-back").await;
    let config = limited(&stage, "c");
    let id = stage.start(&config).await;
    let (before, known) = (values(&stage, &id), shown(&mut stage, &id).await);
    // Nobody but the kernel knows which processors there are.
    let error = update(&mut stage, &id, |limits| {
        limits.cpu_shares = 999;
        limits.cpu_quota = 45_000;
        limits.memory_limit_in_bytes = 128 << 20;
        limits.memory_swap_limit_in_bytes = 128 << 20;
        limits.cpuset_cpus = "999".into();
        limits.unified.insert("pids.max".into(), "50".into());
        limits.oom_score_adj = 400;
    })
    .await
    .expect_err("there is no such processor");
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    assert!(error.message().starts_with("linux.cpuset_cpus \"999\""), "{error}");
    assert_eq!((values(&stage, &id), shown(&mut stage, &id).await), (before, known));
    assert_eq!(stage.client.sh(&id, "cat /proc/1/oom_score_adj").await, "100\n");
    // And what the kernel takes is taken afterwards.
    update(&mut stage, &id, |limits| limits.cpu_shares = 999).await.expect("updated");
    stage.end().await;
}

#[tokio::test]
async fn memory_that_is_in_use_is_not_taken_away() {
    let mut stage = Stage::new("in-use").await;
    let config = limited(&stage, "c");
    let id = stage.start(&config).await;
    // Files of a tmpfs cannot be given up.
    stage.client.sh(&id, "head -c 40m /dev/zero > /dev/shm/held").await;
    let before = values(&stage, &id);
    let less = |limits: &mut LinuxContainerResources| {
        limits.cpu_shares = 999;
        limits.memory_limit_in_bytes = 16 << 20;
        limits.memory_swap_limit_in_bytes = 16 << 20;
    };
    let error = update(&mut stage, &id, less).await.expect_err("it is in use");
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    assert!(error.message().starts_with("linux.memory_limit_in_bytes"), "{error}");
    assert!(error.message().contains("uses"), "{error}");
    assert_eq!(values(&stage, &id), before, "all as it was");
    assert_eq!(stage.client.sh(&id, "wc -c < /dev/shm/held").await.trim(), (40 << 20).to_string());
    // Once it is given up, the limit can be less.
    stage.client.sh(&id, "rm /dev/shm/held").await;
    update(&mut stage, &id, less).await.expect("updated");
    assert_eq!(values(&stage, &id)[3], (16 << 20).to_string());
    stage.end().await;
}
