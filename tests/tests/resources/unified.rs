//! Files of cgroup v2 by name.

use orlop_proto::runtime::v1::{LinuxContainerResources, UpdateContainerResourcesRequest};
use orlop_tests::daemon::limits as kernel;
use orlop_tests::daemon::stage::{Stage, resources};
use tonic::Code;

const MIB: i64 = 1 << 20;

/// Files, what they are given, and what they say then.
const FILES: [(&str, &str, &str); 9] = [
    ("cpu.weight", "333", "333"),
    ("cpu.max", "40000 80000", "40000 80000"),
    ("memory.high", "50331648", "50331648"),
    ("memory.low", "8388608", "8388608"),
    ("memory.min", "4194304", "4194304"),
    ("memory.oom.group", "1", "1"),
    ("memory.swap.max", "0", "0"),
    ("pids.max", "77", "77"),
    ("cpu.max.burst", "10000", "10000"),
];

fn said(stage: &Stage, id: &str, file: &str) -> String {
    let path = kernel::directory(stage, "", Some(id)).join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim().to_owned()
}

async fn update(stage: &mut Stage, id: &str, file: &str, value: &str) -> Result<(), tonic::Status> {
    let mut linux = LinuxContainerResources::default();
    linux.unified.insert(file.into(), value.into());
    let request = UpdateContainerResourcesRequest {
        container_id: id.into(),
        linux: Some(linux),
        ..UpdateContainerResourcesRequest::default()
    };
    stage.client.runtime.update_container_resources(request).await.map(drop)
}

#[tokio::test]
async fn files_of_version_2_are_written_where_it_is_and_refused_where_not() {
    let mut stage = Stage::new("unified").await;
    let mut config = stage.script("c", "exec sleep 1000");
    resources(&mut config).memory_limit_in_bytes = 64 * MIB;
    // Without swap in the kernel there is no file for it.
    let there = |file: &str| !file.starts_with("memory.swap") || std::path::Path::new("/proc/swaps").exists();
    for (file, value, _) in FILES.iter().filter(|(file, ..)| there(file)) {
        resources(&mut config).unified.insert((*file).into(), (*value).into());
    }
    if !kernel::is_v2() {
        for (file, value, _) in FILES.iter().filter(|(file, ..)| *file != "pids.max") {
            let mut config = stage.script("c", "true");
            resources(&mut config).unified.insert((*file).into(), (*value).into());
            let error = stage.create(&config).await.expect_err(file);
            assert_eq!(error.code(), Code::Unimplemented, "{file}: {error}");
            assert!(error.message().starts_with("config.linux.resources.unified"), "{error}");
            assert!(error.message().contains(file), "{error}");
        }
        return stage.end().await;
    }
    let id = stage.start(&config).await;
    for (file, _, expected) in FILES.iter().filter(|(file, ..)| there(file)) {
        assert_eq!(said(&stage, &id, file), *expected, "{file}");
    }
    update(&mut stage, &id, "memory.high", "41943040").await.expect("updated");
    update(&mut stage, &id, "cpu.weight", "44").await.expect("updated");
    assert_eq!(
        (said(&stage, &id, "memory.high"), said(&stage, &id, "cpu.weight")),
        ("41943040".into(), "44".into())
    );
    assert_eq!(said(&stage, &id, "memory.low"), "8388608", "what is not named stays");
    stage.end().await;
}

#[tokio::test]
async fn a_file_that_is_none_or_takes_nothing_is_named_before_anything_is_made() {
    let mut stage = Stage::new("no-file").await;
    for (file, value) in [
        ("memory.hihg", "1"),
        ("memory.current", "1"),
        ("cpu.pressure_", "1"),
        ("turbo.max", "1"),
        ("pids.maximum", "3"),
    ] {
        let mut config = stage.script("c", "true");
        resources(&mut config).unified.insert(file.into(), value.into());
        let error = stage.create(&config).await.expect_err(file);
        assert!(matches!(error.code(), Code::InvalidArgument | Code::Unimplemented), "{file}: {error}");
        assert!(error.message().starts_with("config.linux.resources.unified"), "{file}: {error}");
    }
    let id = stage.run("c", "exec sleep 1000").await;
    let error = update(&mut stage, &id, "memory.current", "1").await.expect_err("it takes nothing");
    assert!(error.message().starts_with("linux.unified"), "{error}");
    stage.end().await;
}

#[tokio::test]
async fn a_partition_that_cannot_be_is_no_partition_that_runs() {
    let mut stage = Stage::new("partition").await;
    let mut config = stage.script("c", "exec sleep 1000");
    resources(&mut config).cpuset_cpus = "0".into();
    resources(&mut config).unified.insert("cpuset.cpus.partition".into(), "root".into());
    // Its parents are none, so the kernel takes the word and says that it is not so; or there is no such file.
    match stage.create(&config).await {
        Ok(id) => {
            let error = stage.client.start(&id).await.expect_err("its parent is no partition");
            assert!(error.message().contains("cpuset.cpus.partition"), "{error}");
        }
        Err(error) => assert!(error.message().contains("cpuset.cpus.partition"), "{error}"),
    }
    stage.end().await;
}
