//! What cannot be, with a CRIU or without one: said by name, and nothing is left.
//!
//! CRIU is played by scripts here: how it is dealt with can be seen without one.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use orlop_proto::runtime::v1::{
    CheckpointContainerRequest, CheckpointPodRequest, ContainerConfig, NamespaceMode, RestorePodRequest,
};
use orlop_tests::cri;
use orlop_tests::daemon::stage::{Stage, namespaces};
use tonic::Code;

use super::scene::{checkpoint, checkpoint_pod, counted, numbers, own_processes, played, stage_with};

const COUNTER: &str = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done";

/// Runs on, is not frozen, and nothing of a checkpoint is left.
async fn unharmed(stage: &mut Stage, id: &str, name: &str) {
    let last = numbers(stage, name).last().copied().unwrap_or_default();
    counted(stage, name, last + 3).await;
    assert_eq!(stage.client.sh(id, "echo here").await, "here\n");
    let ledger = stage.client.facts(id).await.expect("facts")["ledger"].to_string();
    for kind in ["frozen", "dump", "partial"] {
        assert!(!ledger.contains(kind), "{ledger}");
    }
    let dumps = stage.daemon.root().join("checkpoints");
    assert_eq!(entries(&dumps), Vec::<String>::new());
}

fn entries(directory: &Path) -> Vec<String> {
    let all = std::fs::read_dir(directory).expect("a directory").filter_map(Result::ok);
    all.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn empty(stage: &Stage, name: &str) -> PathBuf {
    let path = stage.daemon.place().join(name);
    std::fs::create_dir_all(&path).expect("a directory");
    path
}

#[tokio::test]
async fn without_a_criu_that_can_it_is_said_what_is_missing() {
    let cannot = played("cannot", "echo 'Error (criu/cr-check.c:1): no /proc/PID/map_files'; exit 1");
    for (name, criu, words) in [
        ("no-criu", "/no/such/criu", "no such program"),
        ("no-criu-in-path", "no-such-criu", "no such program"),
        ("criu-cannot", cannot.path(), "no /proc/PID/map_files"),
    ] {
        let mut stage = stage_with(name, criu).await;
        let config = stage.script("c", COUNTER);
        let id = stage.start(&config).await;
        let output = empty(&stage, "output");
        let one = checkpoint(&mut stage.client, &id, &output.join("a.tar")).await.expect_err("refused");
        let pod_id = stage.pod_id.clone();
        let pod = checkpoint_pod(&mut stage.client, &pod_id, &[&id], &output).await.expect_err("refused");
        for status in [one, pod] {
            assert_eq!(status.code(), Code::Unimplemented, "{status}");
            assert!(
                status.message().contains("CRIU") && status.message().contains(words),
                "{}",
                status.message()
            );
        }
        assert_eq!(entries(&output), Vec::<String>::new());
        unharmed(&mut stage, &id, "c").await;
        stage.end().await;
    }
}

#[tokio::test]
async fn a_criu_that_fails_or_hangs_leaves_nothing() {
    let fails = "while [ \"$1\" != --work-dir ]; do shift; done; echo '(00.1) Error (criu/x.c:1): it is so' > $2/dump.log; exit 1";
    let fails = played("fails", &format!("[ $1 = check ] && exit 0; {fails}"));
    let hangs = played("hangs", "[ $1 = check ] && exit 0; exec sleep 1000");
    for (name, criu, seconds, code, words) in [
        ("criu-fails", fails.path(), 30, Code::Internal, "it is so"),
        ("criu-hangs", hangs.path(), 1, Code::DeadlineExceeded, "in time"),
    ] {
        let mut stage = stage_with(name, criu).await;
        let config = stage.script("c", COUNTER);
        let id = stage.start(&config).await;
        let output = empty(&stage, "output");
        let location = output.join("a.tar").display().to_string();
        let request = CheckpointContainerRequest { container_id: id.clone(), location, timeout: seconds };
        let status = stage.client.runtime.checkpoint_container(request).await.expect_err("refused");
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(words), "{}", status.message());
        assert_eq!(entries(&output), Vec::<String>::new());
        unharmed(&mut stage, &id, "c").await;
        stage.end().await;
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_is_refused_by_its_field() {
    let fine = played("fine", "exit 0");
    let mut stage = stage_with("bad-requests", fine.path()).await;
    let config = stage.script("c", COUNTER);
    let id = stage.start(&config).await;
    let created = stage.script("created", "true");
    let created = stage.create(&created).await.expect("created");
    let place = empty(&stage, "output").display().to_string();
    let mut faults = Vec::new();
    for (container, location, timeout, code, words) in [
        (id.as_str(), "a.tar", 1, Code::InvalidArgument, "location"),
        (&id, "", 1, Code::InvalidArgument, "location"),
        (&id, "/a/../b.tar", 1, Code::InvalidArgument, "location"),
        (&id, place.as_str(), 1, Code::InvalidArgument, "location"),
        (&id, "/no/such/directory/a.tar", 1, Code::InvalidArgument, "location"),
        (&id, &format!("{place}/a.tar"), -1, Code::InvalidArgument, "timeout"),
        ("", &format!("{place}/a.tar"), 1, Code::InvalidArgument, "container_id"),
        ("0123456789", &format!("{place}/a.tar"), 1, Code::NotFound, "container"),
        (&created, &format!("{place}/a.tar"), 1, Code::FailedPrecondition, "not running"),
    ] {
        let request =
            CheckpointContainerRequest { container_id: container.into(), location: location.into(), timeout };
        let status = stage.client.runtime.checkpoint_container(request).await.expect_err("refused");
        if status.code() != code || !status.message().contains(words) {
            faults.push(format!("{container:.8} {location} {timeout}: {status}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(entries(Path::new(&place)), Vec::<String>::new());
    unharmed(&mut stage, &id, "c").await;
    stage.end().await;
}

#[tokio::test]
async fn a_pod_that_cannot_be_written_down_is_refused() {
    let fine = played("fine-pod", "exit 0");
    let mut stage = stage_with("bad-pods", fine.path()).await;
    let config = stage.script("c", COUNTER);
    let id = stage.start(&config).await;
    let created = stage.script("created", "true");
    let created = stage.create(&created).await.expect("created");
    let mut other = cri::pod("other", &stage.daemon.logs("other"));
    own_processes(&mut other);
    let other_id = stage.client.run_pod(&other).await.expect("a pod");
    let foreign = stage.client.create(&other_id, &other, &stage.script("f", "true")).await.expect("created");
    let output = empty(&stage, "output").display().to_string();
    let full = empty(&stage, "full");
    std::fs::write(full.join("x"), "").expect("written");
    let full = full.display().to_string();
    let good = CheckpointPodRequest {
        pod_sandbox_id: stage.pod_id.clone(),
        output_path: output.clone(),
        container_ids: vec![id.clone()],
        ..CheckpointPodRequest::default()
    };
    let with = |change: &dyn Fn(&mut CheckpointPodRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    let wrong = Code::InvalidArgument;
    for (request, code, words) in [
        (with(&|request| request.container_ids.clear()), wrong, "container_ids"),
        (with(&|request| request.container_ids.push(id.clone())), wrong, "twice"),
        (with(&|request| request.container_ids.push(foreign.clone())), wrong, "another pod"),
        (with(&|request| request.container_ids.push("0123".into())), wrong, "container_ids[1]"),
        (
            with(&|request| request.container_ids.push(created.clone())),
            Code::FailedPrecondition,
            "not running",
        ),
        (with(&|request| request.output_path = "output".into()), wrong, "output_path"),
        (with(&|request| request.output_path = "/no/such/directory".into()), wrong, "output_path"),
        (with(&|request| request.output_path.clone_from(&full)), wrong, "not empty"),
        (with(&|request| request.pod_sandbox_id = "0123456789".into()), Code::NotFound, "pod sandbox"),
        (with(&|request| drop(request.options.insert("tcp".into(), "x".into()))), wrong, "options"),
    ] {
        let status = stage.client.runtime.checkpoint_pod(request.clone()).await.expect_err("refused");
        assert!(status.code() == code && status.message().contains(words), "{words}: {status}");
    }
    assert_eq!(entries(Path::new(&output)), Vec::<String>::new());
    unharmed(&mut stage, &id, "c").await;
    stage.client.remove_pod(&other_id).await.expect("removed");
    stage.end().await;
}

#[tokio::test]
async fn a_container_that_shares_its_processes_is_refused() {
    let fine = played("fine-shared", "exit 0");
    let daemon = orlop_tests::daemon::Daemon::build("shares-pids")
        .config(&super::scene::configured(fine.path()))
        .start()
        .await;
    let mut stage = Stage::on(daemon, |pod| namespaces(pod).pid = NamespaceMode::Pod.into()).await;
    let id = stage.run("c", COUNTER).await;
    let place = empty(&stage, "output");
    let status = checkpoint(&mut stage.client, &id, &place.join("a.tar")).await.expect_err("refused");
    assert_eq!(status.code(), Code::Unimplemented, "{status}");
    assert!(status.message().contains("PID namespace"), "{}", status.message());
    unharmed(&mut stage, &id, "c").await;
    stage.end().await;
}

#[tokio::test]
async fn a_pod_that_cannot_be_restored_is_refused() {
    let fine = played("fine-restore", "exit 0");
    let mut stage = stage_with("bad-restores", fine.path()).await;
    let directory = empty(&stage, "checkpoint");
    let path = directory.display().to_string();
    let mut pod = cri::pod("restored", &stage.daemon.logs("restored"));
    own_processes(&mut pod);
    let one: ContainerConfig = stage.script("one", "true");
    let good = RestorePodRequest {
        checkpoint_path: path.clone(),
        config: Some(pod),
        container_configs: vec![one.clone()],
        ..RestorePodRequest::default()
    };
    let with = |change: &dyn Fn(&mut RestorePodRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    let wrong = Code::InvalidArgument;
    let status = stage.client.runtime.restore_pod(good.clone()).await.expect_err("refused");
    assert!(status.code() == wrong && status.message().contains("checkpoint_path"), "{status}");
    let options = r#"{"version": 1, "containers": {"one": "", "two": ""}}"#;
    std::fs::write(directory.join("pod.options"), options).expect("written");
    for name in ["one", "two"] {
        std::fs::write(directory.join(format!("{name}.tar")), "no archive").expect("written");
    }
    let two = stage.script("two", "true");
    for (request, code, words) in [
        (good.clone(), wrong, "container_configs"),
        (with(&|request| request.container_configs.clear()), wrong, "container_configs"),
        (with(&|request| request.container_configs.push(one.clone())), wrong, "twice"),
        (with(&|request| request.checkpoint_path = "checkpoint".into()), wrong, "checkpoint_path"),
        (with(&|request| request.checkpoint_path = "/no/such".into()), wrong, "checkpoint_path"),
        (with(&|request| request.runtime_handler = "kata".into()), wrong, "runtime_handler"),
        (with(&|request| drop(request.options.insert("x".into(), String::new()))), wrong, "options"),
        (with(&|request| request.config = None), wrong, "config"),
        // All is asked for as it should be, and the archives are none.
        (with(&|request| request.container_configs.push(two.clone())), Code::DataLoss, "container one"),
    ] {
        let status = stage.client.runtime.restore_pod(request.clone()).await.expect_err("refused");
        assert!(status.code() == code && status.message().contains(words), "{words}: {status}");
        let pods = stage.client.pods().await.expect("pods");
        assert_eq!(pods.len(), 1, "{words}: a pod is left");
    }
    assert_eq!(std::fs::read(directory.join("one.tar")).expect("it is there"), b"no archive");
    assert_eq!(
        std::fs::metadata(directory.join("pod.options")).expect("it is there").permissions().mode() & 0o111,
        0
    );
    stage.end().await;
}
