//! What `orlop` shows and does.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use orlop_proto::runtime::v1::ContainerState;
use orlop_tests::daemon::Daemon;
use orlop_tests::daemon::stage::Stage;
use orlop_tests::daemon::{eventually, stock};

use crate::said::{ends, orlop};

#[tokio::test]
async fn lists_show_what_there_is() {
    let mut stage = Stage::new("lists").await;
    let web = stage.run("web", "sleep 1000").await;
    let ended = stage.run("ended", "exit 3").await;
    stage.client.ended(&ended).await;
    let daemon = &stage.daemon;

    let pods = orlop(daemon, &["pods"]);
    assert_eq!(pods.row("ID")[..4], ["ID", "POD", "NAMESPACE", "STATE"]);
    assert_eq!(pods.row(&stage.pod_id[..12])[1..4], ["pod", "default", "ready"]);
    assert_eq!(orlop(daemon, &["pods", "-q", "--no-trunc"]).out.trim(), stage.pod_id);
    let row = &orlop(daemon, &["pods", "-o", "json"]).json()[0];
    assert!(row.to_string().contains(&stage.pod_id), "{row}");

    let running = orlop(daemon, &["ps"]);
    assert_eq!(running.row(&web[..12])[1..4], ["web", &stage.image, "running"]);
    assert!(!running.out.contains(&ended[..12]), "only what runs:\n{}", running.out);
    let all = orlop(daemon, &["ps", "-a"]);
    assert!(all.row(&ended[..12])[3].starts_with("exited"), "{}", all.out);

    let images = orlop(daemon, &["images"]);
    let (repository, tag) = stage.image.rsplit_once(':').expect("a tag");
    assert_eq!(images.row(repository)[1], tag);
    let inspected = orlop(daemon, &["inspect", &web[..12]]);
    assert!(inspected.out.contains(&web), "{}", inspected.out);
    let version = orlop(daemon, &["version"]);
    assert_eq!(
        version.row("daemon")[1],
        format!("orlop 0.1.0, CRI v1, at unix://{}", daemon.socket().display())
    );
    stage.end().await;
}

#[tokio::test]
async fn a_pull_without_a_terminal_is_a_line_a_layer() {
    let daemon = Daemon::start("clipull").await;
    let image = stock::busybox();
    let pulled = orlop(&daemon, &["pull", &image]);
    let id = pulled.out.trim_end();
    assert!(id.starts_with("sha256:") && id.len() == 71, "standard output is the id alone: {:?}", pulled.out);
    let lines: Vec<&str> = pulled.err.lines().collect();
    assert!(lines.len() == 2 && lines[0].contains("downloaded, verified, unpacked to"), "{}", pulled.err);
    assert!(lines[1].starts_with("total") && lines[1].contains("1 of 1 layers"), "{}", pulled.err);
    assert!(!pulled.err.contains('\u{1b}'), "no terminal, no colours: {:?}", pulled.err);
    let again = orlop(&daemon, &["pull", &image]);
    assert!(again.out == pulled.out && again.err.contains("here already"), "{}", again.err);
    let quiet = orlop(&daemon, &["pull", "-q", &image]);
    assert_eq!((quiet.out, quiet.err), (pulled.out, String::new()));

    let absent = image.replace("busybox:1", "no/such:1");
    let refused = ends(&daemon, &["pull", &absent]);
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert!(refused.err.starts_with("orlop: pull ") && refused.err.contains(&absent), "{}", refused.err);
    assert_eq!(orlop(&daemon, &["rmi", &image]).out.trim_end(), image);
    assert_eq!(orlop(&daemon, &["images", "-q"]).out, "");
    daemon.end().await;
}

#[tokio::test]
async fn logs_are_what_a_container_wrote() {
    let mut stage = Stage::new("clilogs").await;
    let id = stage.run("speaks", "for i in 1 2 3 4 5; do echo line $i; done; printf 'no end'").await;
    stage.client.ended(&id).await;
    let daemon = &stage.daemon;
    assert_eq!(
        orlop(daemon, &["logs", "speaks"]).out.trim_end(),
        "line 1\nline 2\nline 3\nline 4\nline 5\nno end"
    );
    assert_eq!(orlop(daemon, &["logs", "--tail", "2", &id[..12]]).out.trim_end(), "line 5\nno end");
    let stamped = orlop(daemon, &["logs", "-t", "-n", "1", "speaks"]).out;
    assert!(stamped.starts_with("20") && stamped.contains("Z no end"), "{stamped}");
    let errors = stage.run("fails", "echo loud >&2").await;
    stage.client.ended(&errors).await;
    let said = orlop(&stage.daemon, &["logs", "fails"]);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("", "loud\n"));
    stage.end().await;
}

#[tokio::test]
async fn a_log_is_followed_to_its_containers_end() {
    let mut stage = Stage::new("clifollow").await;
    let gate = stage.daemon.place().join("gate");
    std::fs::create_dir(&gate).expect("a directory");
    let script = "echo before; while [ ! -e /gate/open ]; do sleep 0.02; done; echo after; exit 5";
    let mut config = stage.script("follow", script);
    config.mounts.push(orlop_proto::runtime::v1::Mount {
        host_path: gate.display().to_string(),
        container_path: "/gate".into(),
        ..Default::default()
    });
    let id = stage.start(&config).await;
    let mut command = stage.daemon.orlop(&["logs", "-f", "follow"]);
    let mut process = command.stdout(Stdio::piped()).spawn().expect("orlop");
    let mut lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "before");
    assert!(process.try_wait().expect("its own child").is_none(), "it goes on as long as the container");
    std::fs::write(gate.join("open"), "").expect("a file");
    assert_eq!(lines.next().expect("a line").expect("text"), "after");
    assert!(lines.next().is_none(), "nothing follows");
    assert!(process.wait().expect("its end").success());
    assert_eq!(stage.client.status(&id).await.expect("its status").exit_code, 5);
    stage.end().await;
}

#[tokio::test]
async fn exec_ends_as_the_command_does() {
    let mut stage = Stage::new("cliexec").await;
    let web = stage.run("web", "sleep 1000").await;
    let ended = stage.run("ended", "true").await;
    stage.client.ended(&ended).await;
    let daemon = &stage.daemon;
    let table: [(&[&str], i32, &str, &str); 8] = [
        (&["exec", "web", "echo", "-n", "hello"], 0, "hello", ""),
        (&["exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 7"], 7, "out\n", "err\n"),
        (&["exec", "web", "sh", "-c", "kill -9 $$"], 137, "", ""),
        (&["exec", "web", "no-such-program"], 127, "", "No such file"),
        (&["exec", "web", "/etc/passwd"], 126, "", "Permission denied"),
        (&["exec", "--timeout", "1", "web", "sleep", "1000"], 125, "", "in time"),
        (&["exec", "ended", "true"], 125, "", "not running"),
        (&["exec", "nobody", "true"], 125, "", "nobody"),
    ];
    for (arguments, code, out, err) in table {
        let said = ends(daemon, arguments);
        assert_eq!((said.code, said.out.as_str()), (code, out), "{arguments:?}: {}", said.err);
        assert!(said.err.contains(err), "{arguments:?}: {}", said.err);
    }
    // In the pod's namespaces and the container's own root.
    assert_eq!(orlop(daemon, &["exec", &web[..12], "hostname"]).out, "pod\n");
    stage.end().await;
}

#[tokio::test]
async fn explain_shows_what_a_thing_is_made_of() {
    let mut stage = Stage::new("cliexplain").await;
    let mut config = stage.script("web", "sleep 1000");
    config.envs.push(orlop_proto::runtime::v1::KeyValue { key: "TOKEN".into(), value: "canary".into() });
    let id = stage.start(&config).await;
    let pid = stage.client.sh(&id, "readlink /proc/1/ns/mnt").await;
    let address = stage.client.pod_status(&stage.pod_id).await.expect("a status").network.expect("one").ip;
    let daemon = &stage.daemon;

    let container = orlop(daemon, &["explain", "web"]).out;
    let mount_namespace = pid.trim().trim_start_matches("mnt:[").trim_end_matches(']');
    let words = [
        &id[..12],
        "running",
        &stage.pod_id[..12],
        &stage.image,
        mount_namespace,
        &address,
        "shared in the pod",
    ];
    for word in words.iter().chain(&["overlay", "/proc", "memory", "process", "ledger", "start: "]) {
        assert!(container.contains(word), "{word:?} is not in\n{container}");
    }
    assert!(!container.contains("plan"), "unasked\n{container}");
    let pod = orlop(daemon, &["explain", "--type", "pod", &stage.pod_id[..12]]).out;
    for word in ["pod default/pod", "net", "/run/netns/", &address, "veth", "lease", "start: "] {
        assert!(pod.contains(word), "{word:?} is not in\n{pod}");
    }

    let plan = orlop(daemon, &["explain", "--plan", "web"]).out;
    for word in [
        "join net of slot",
        "root overlay",
        "mount proc proc at /proc",
        "capabilities",
        "exec ",
        "environment",
    ] {
        assert!(plan.contains(word), "{word:?} is not in\n{plan}");
    }
    assert!(plan.contains("TOKEN") && !plan.contains("canary"), "names of variables, no values\n{plan}");
    let json = &orlop(daemon, &["explain", "--plan", "-o", "json", "web"]).json()[0];
    assert_eq!(json["id"].as_str(), Some(id.as_str()));
    assert_eq!(json["addresses"][0].as_str(), Some(address.as_str()));
    let operations = json["plan"].as_array().expect("a plan").len();
    assert!(operations > 20 && json["stages"].as_array().is_some_and(|stages| stages.len() >= 3), "{json}");
    let unknown = ends(daemon, &["explain", "nobody"]);
    assert!(unknown.code == 1 && unknown.err.contains("nobody"), "{}", unknown.err);
    stage.end().await;
}

#[tokio::test]
async fn stop_and_rm_take_containers_and_pods() {
    let mut stage = Stage::new("clistop").await;
    let web = stage.run("web", "trap 'exit 6' TERM; touch /ready; while :; do sleep 0.02; done").await;
    let other = stage.run("other", "sleep 1000").await;
    eventually("its trap is set", async || {
        stage.client.exec(&web, &["test", "-e", "/ready"], 20).await.is_ok_and(|answer| answer.exit_code == 0)
    })
    .await;
    let alive = ends(&stage.daemon, &["rm", "web"]);
    assert!(
        alive.code == 1 && alive.err.contains("it is running") && alive.err.contains("--force"),
        "{}",
        alive.err
    );
    orlop(&stage.daemon, &["stop", "-t", "20", "web"]);
    let status = stage.client.status(&web).await.expect("its status");
    assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 6));
    orlop(&stage.daemon, &["rm", "web"]);
    orlop(&stage.daemon, &["rm", "-f", "other"]);
    for id in [&web, &other] {
        let gone = stage.client.status(id).await.expect_err("it was removed");
        assert_eq!(gone.code(), tonic::Code::NotFound);
    }
    orlop(&stage.daemon, &["stop", &stage.pod_id]);
    assert_eq!(orlop(&stage.daemon, &["pods"]).row(&stage.pod_id[..12])[3], "not ready");
    orlop(&stage.daemon, &["rm", &stage.pod_id]);
    assert_eq!(orlop(&stage.daemon, &["pods", "-q"]).out, "");
    stage.end().await;
}
