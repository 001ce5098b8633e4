//! What is found out only when a container starts: the call fails, and the status says why.

use std::os::unix::fs::PermissionsExt as _;

use orlop_proto::runtime::v1::*;
use orlop_tests::daemon::stage::{Stage, resources};
use tonic::Code;

use orlop_tests::refusal::said;

struct Start {
    name: &'static str,
    config: ContainerConfig,
    code: Code,
    words: Vec<String>,
}

fn command(mut config: ContainerConfig, words: &[&str]) -> ContainerConfig {
    config.command = words.iter().map(|&word| word.to_owned()).collect();
    config
}

fn mount(mut config: ContainerConfig, host_path: &str, container_path: &str) -> ContainerConfig {
    let (host_path, container_path) = (host_path.into(), container_path.into());
    config.mounts.push(Mount { host_path, container_path, ..Mount::default() });
    config
}

fn starts(stage: &Stage) -> Vec<Start> {
    let place = stage.daemon.place();
    let garbage = place.put("garbage", b"\x7fELF but no more");
    std::fs::set_permissions(&garbage, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let garbage = garbage.display().to_string();
    let good = |name: &str| stage.script(name, "true");
    let row = |name, config, code, words: &[&str]| Start {
        name,
        config,
        code,
        words: words.iter().map(|&word| word.to_owned()).collect(),
    };
    let (invalid, failed) = (Code::InvalidArgument, Code::Internal);
    let mut nowhere = good("nowhere");
    nowhere.working_dir = "/etc/passwd/deeper".into();
    let mut cpus = good("cpus");
    resources(&mut cpus).cpuset_cpus = "4000-4001".into();
    vec![
        row("no such program", command(good("sing"), &["sing"]), invalid, &["sing", "No such file"]),
        row("no such path", command(good("path"), &["/no/such"]), invalid, &["/no/such", "No such file"]),
        row(
            "a text",
            command(good("text"), &["/etc/passwd"]),
            invalid,
            &["/etc/passwd", "Permission denied"],
        ),
        row("a directory", command(good("dir"), &["/etc"]), invalid, &["/etc", "Permission denied"]),
        row(
            "garbage",
            command(mount(good("garbage"), &garbage, "/garbage"), &["/garbage"]),
            invalid,
            &["/garbage", "Exec format error"],
        ),
        row(
            "a source in a file",
            mount(good("source"), &format!("{garbage}/deeper"), "/data"),
            failed,
            &["mount", &garbage, "Not a directory"],
        ),
        row(
            "a file over a directory",
            mount(good("over"), &garbage, "/etc"),
            failed,
            &["mount", &garbage, "at /etc"],
        ),
        row(
            "a directory in a file",
            nowhere,
            failed,
            &["working directory", "/etc/passwd/deeper", "Not a directory"],
        ),
        row("CPUs that are not there", cpus, failed, &["cgroup", "cpuset.cpus", "4000-4001"]),
    ]
}

#[tokio::test]
async fn a_container_that_cannot_start_says_why() {
    let mut stage = Stage::new("badstarts").await;
    let mut faults = Vec::new();
    for start in starts(&stage) {
        let id =
            stage.create(&start.config).await.unwrap_or_else(|status| panic!("{}: {status}", start.name));
        let Err(refused) = stage.client.start(&id).await else {
            faults.push(format!("{}: it started", start.name));
            continue;
        };
        faults.extend(said(start.name, start.code, &start.words, &refused));
        let status = stage.client.status(&id).await.expect("its status");
        let end = (status.state(), status.exit_code, status.reason.as_str(), status.started_at);
        if end != (ContainerState::ContainerExited, 128, "StartError", 0) {
            faults.push(format!("{}: the status is {end:?}", start.name));
        }
        if status.message != refused.message() || status.finished_at < status.created_at {
            faults.push(format!(
                "{}: the status says {:?} at {}",
                start.name, status.message, status.finished_at
            ));
        }
        // Said again it is refused, and for what it is: a container runs once.
        let again = stage.client.start(&id).await.expect_err("a container runs once");
        faults.extend(said(start.name, Code::FailedPrecondition, &["runs once".into()], &again));
        stage.client.remove(&id).await.expect("it is removed");
    }
    assert!(faults.is_empty(), "{} faults:\n  {}", faults.len(), faults.join("\n  "));
    stage.end().await;
}

#[tokio::test]
async fn a_source_that_is_not_there_is_made_a_directory() {
    let mut stage = Stage::new("badsource").await;
    let absent = stage.daemon.place().join("not/there");
    let config =
        mount(stage.script("source", "echo was here >/data/note"), &absent.display().to_string(), "/data");
    let (status, _) = stage.to_end(&config).await;
    assert_eq!(status.exit_code, 0, "{}", status.message);
    assert_eq!(std::fs::read_to_string(absent.join("note")).expect("a file of the node"), "was here\n");
    stage.end().await;
}
