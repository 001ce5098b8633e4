//! An unmodified kubelet runs its pods on orlopd: from the manifest to the probe, through crashes of each, to the last trace.
//!
//! Built only with the feature `kubelet`: `tests/all.sh` asks for it where `KUBELET` names the program, and says so where it does not.
//!
//! *Invariant:* nothing is told to the daemon but by kubelet; what a test looks at is kubelet's own answer, or the daemon's lists.

use std::collections::BTreeMap;
use std::path::Path;

use orlop_proto::runtime::v1::ContainerState;
use orlop_tests::client_go;
use orlop_tests::daemon::{Daemon, stage};
use orlop_tests::kubelet::Kubelet;
use serde_json::{Value, json};

fn container(name: &str, image: &str, script: &str) -> Value {
    json!({"name": name, "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script]})
}

/// The pod of the tests' own shape: it ends at once when asked to.
fn spec(containers: &[Value]) -> Value {
    json!({"containers": containers, "terminationGracePeriodSeconds": 2})
}

fn with(mut value: Value, name: &str, field: Value) -> Value {
    value[name] = field;
    value
}

/// A container that serves, is probed each second by an exec and by HTTP, and writes.
fn probed(image: &str) -> Value {
    let script = "mkdir /www; echo hello >/www/index.html; echo started; trap 'echo asked; exit 0' TERM; \
                  httpd -p 8080 -h /www; while :; do sleep 0.1; done";
    let probe = json!({"exec": {"command": ["sh", "-c", "test -e /www/index.html"]}, "periodSeconds": 1, "timeoutSeconds": 1});
    let http = json!({"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1});
    let hooks = json!({
        "postStart": {"exec": {"command": ["sh", "-c", "echo hooked >/hooked"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo before >/shared/before"]}},
    });
    let limits =
        json!({"limits": {"cpu": "200m", "memory": "64Mi"}, "requests": {"cpu": "100m", "memory": "32Mi"}});
    let value = with(container("server", image, script), "readinessProbe", http);
    let value = with(with(value, "livenessProbe", probe), "lifecycle", hooks);
    with(
        with(value, "resources", limits),
        "volumeMounts",
        json!([{"name": "shared", "mountPath": "/shared"}]),
    )
}

#[tokio::test]
async fn a_pod_comes_up_is_probed_asked_and_goes() {
    let daemon = Daemon::start("kubelet").await;
    let image = daemon.pull_busybox().await;
    let kubelet = Kubelet::start(&daemon);
    let init = with(
        container("init", &image, "echo begun >/shared/begun"),
        "volumeMounts",
        json!([{"name": "shared", "mountPath": "/shared"}]),
    );
    let beside = with(
        container("beside", &image, "cat /shared/begun; while :; do sleep 0.1; done"),
        "volumeMounts",
        json!([{"name": "shared", "mountPath": "/shared"}]),
    );
    let pod = with(spec(&[probed(&image), beside]), "initContainers", json!([init]));
    kubelet.put("ship", &with(pod, "volumes", json!([{"name": "shared", "emptyDir": {"medium": "Memory"}}])));
    let status = kubelet.ready("ship");
    assert_eq!(status["phase"], "Running");
    assert!(status["podIP"].as_str().is_some_and(|ip| !ip.is_empty()), "{status}");
    let init = &status["initContainerStatuses"][0]["state"]["terminated"];
    assert_eq!((&init["exitCode"], &init["reason"]), (&json!(0), &json!("Completed")));
    assert_eq!(kubelet.post("/run/default/ship-harbour/server?cmd=cat%20/hooked"), "hooked\n");
    assert_eq!(kubelet.post("/run/default/ship-harbour/beside?cmd=cat%20/shared/begun"), "begun\n");

    streams(&kubelet).await;
    figures(&kubelet);
    end(daemon, kubelet, "ship").await;
}

/// What kubelet's own server proxies to the daemon: SPDY as it comes, WebSocket made into SPDY.
async fn streams(kubelet: &Kubelet) {
    let at = format!("https://127.0.0.1:{}", kubelet.port());
    for form in ["spdy", "websocket"] {
        let command = "command=sh&command=-c&command=cat%3B%20echo%20to%20err%20%3E%262%3B%20exit%209";
        let url = format!("{at}/exec/default/ship-harbour/server?{command}&input=1&output=1&error=1");
        let said = client_go::say(&["command", form, &url, "-stdin", "through", "-stdout", "-stderr"]).await;
        assert_eq!(
            (&said["stdout"], &said["stderr"]),
            (&json!("through"), &json!("to err\n")),
            "{form}: {said}"
        );
        assert_eq!(said["code"], 9, "{form}: {said}");
    }
    for form in ["spdy", "tunnel"] {
        let url = format!("{at}/portForward/default/ship-harbour");
        let asked = "GET / HTTP/1.0\r\n\r\n";
        let said = client_go::say(&["forward", form, &url, "8080", "-send", asked, "-plain"]).await;
        let answer = said["answers"][0].as_str().unwrap_or_default();
        assert!(answer.ends_with("hello\n"), "{form}: {said}");
    }
}

/// What kubelet says of the pod in its summary and in its metrics comes from CRI.
fn figures(kubelet: &Kubelet) {
    let mut of = Value::Null;
    kubelet.eventually("the summary has the pod's figures", || {
        let summary: Value = kubelet
            .get("/stats/summary")
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        let pods = summary["pods"].as_array().into_iter().flatten();
        of =
            pods.into_iter().find(|pod| pod["podRef"]["name"] == "ship-harbour").cloned().unwrap_or_default();
        let server = of["containers"].as_array().into_iter().flatten().find(|one| one["name"] == "server");
        server.is_some_and(|server| {
            server["memory"]["workingSetBytes"].as_u64() > Some(0)
                && server["cpu"]["usageCoreNanoSeconds"].as_u64() > Some(0)
                && server["rootfs"]["usedBytes"].is_u64()
        })
    });
    assert!(of["network"]["rxBytes"].as_u64() > Some(0), "{of}");
    let metrics = kubelet.get("/metrics/cadvisor").expect("metrics");
    for name in [
        "container_cpu_usage_seconds_total",
        "container_memory_working_set_bytes",
        "container_network_receive_bytes_total",
    ] {
        assert!(
            metrics.lines().any(|line| line.starts_with(name) && line.contains("ship-harbour")),
            "{name}"
        );
    }
}

/// The end of a test: kubelet is told of the pod no longer, and takes it down; nothing is left.
async fn end(daemon: Daemon, kubelet: Kubelet, pod: &str) {
    kubelet.remove(pod);
    let mut client = daemon.client().await;
    for _ in 0..1200 {
        if client.pods().await.expect("a list").is_empty() {
            assert!(client.containers().await.expect("a list").is_empty());
            drop(kubelet);
            drop(client);
            return daemon.end().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the pod is still there; kubelet says: {}", kubelet.status(pod));
}

#[tokio::test]
async fn what_crashes_is_told_as_it_was_and_begun_again() {
    let daemon = Daemon::start("kubelet-crash").await;
    let image = daemon.pull_busybox().await;
    let kubelet = Kubelet::start(&daemon);
    let hog = with(
        container("hog", &image, "sleep 1; exec tail /dev/zero"),
        "resources",
        json!({"limits": {"memory": "16Mi"}}),
    );
    kubelet.put("wreck", &spec(&[container("crash", &image, "echo once; sleep 1; exit 3"), hog]));
    let of = |status: &Value, name: &str| {
        let all = status["containerStatuses"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|one| one["name"] == name).unwrap_or_default()
    };
    let mut status = Value::Null;
    kubelet.eventually("both have crashed twice", || {
        status = kubelet.status("wreck");
        ["crash", "hog"].iter().all(|name| of(&status, name)["restartCount"].as_u64() >= Some(2))
    });
    // What is dead for longest is collected; the newest dead one of a name stays.
    let mut client = daemon.client().await;
    let mut dead = usize::MAX;
    for _ in 0..1200 {
        let listed = client.containers().await.expect("a list");
        dead = listed.iter().filter(|one| one.state() == ContainerState::ContainerExited).count();
        if dead <= 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(dead <= 2, "kubelet's collection leaves {dead} dead containers");
    drop(client);
    let last = |name: &str| of(&status, name)["lastState"]["terminated"].clone();
    assert_eq!((&last("crash")["exitCode"], &last("crash")["reason"]), (&json!(3), &json!("Error")));
    assert_eq!((&last("hog")["exitCode"], &last("hog")["reason"]), (&json!(137), &json!("OOMKilled")));
    end(daemon, kubelet, "wreck").await;
}

/// Restart counts and container ids, by name.
fn lives(status: &Value) -> BTreeMap<String, (u64, String)> {
    let all = status["containerStatuses"].as_array().cloned().unwrap_or_default();
    let life = |one: &Value| {
        let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
        (text("name"), (one["restartCount"].as_u64().unwrap_or(u64::MAX), text("containerID")))
    };
    all.iter().map(life).collect()
}

#[tokio::test]
async fn neither_a_daemon_nor_a_kubelet_that_is_killed_is_noticed_by_pods() {
    let mut daemon = Daemon::start("kubelet-killed").await;
    let image = daemon.pull_busybox().await;
    let mut kubelet = Kubelet::start(&daemon);
    kubelet
        .put("raft", &with(spec(&[probed(&image)]), "volumes", json!([{"name": "shared", "emptyDir": {}}])));
    let before = lives(&kubelet.ready("raft"));
    for _ in 0..3 {
        daemon.restart().await;
        // Probes go on meanwhile, each second.
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    }
    kubelet.kill();
    kubelet.up();
    tokio::time::sleep(std::time::Duration::from_secs(12)).await;
    let after = lives(&kubelet.ready("raft"));
    assert_eq!(after, before);
    assert_eq!(after["server"].0, 0);
    end(daemon, kubelet, "raft").await;
}

/// Every line of a container's log, rotated files and all, in order.
fn all_lines(logs: &Path) -> Vec<String> {
    let mut files: Vec<_> = walk(logs);
    // 0.log is the newest; the others bear the time of their rotation.
    files.sort_by_key(|path| (path.ends_with("0.log"), path.clone()));
    let mut text = String::new();
    for file in files {
        let bytes = if file.extension().is_some_and(|extension| extension == "gz") {
            let output = std::process::Command::new("gzip").arg("-dc").arg(&file).output().expect("gzip");
            output.stdout
        } else {
            std::fs::read(&file).expect("a log")
        };
        text.extend(stage::lines(&bytes).into_iter().map(|line| line.text + "\n"));
    }
    text.lines().map(str::to_owned).collect()
}

fn walk(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let deeper = |entry: std::fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => walk(&entry.path()),
        _ => vec![entry.path()],
    };
    entries.flat_map(deeper).collect()
}

#[tokio::test]
async fn logs_are_rotated_and_no_line_is_lost() {
    let daemon = Daemon::start("kubelet-logs").await;
    let image = daemon.pull_busybox().await;
    let kubelet = Kubelet::start(&daemon);
    // About 4 MiB in 20 s: four rotations, of which all five files are kept.
    let script = "i=0; while [ $i -lt 200 ]; do seq $((i * 200)) $((i * 200 + 199)) | sed 's/$/ of a log that is to be rotated, and of which no line may be lost/'; \
                  i=$((i + 1)); sleep 0.1; done; while :; do sleep 0.1; done";
    kubelet.put("scribe", &spec(&[container("scribe", &image, script)]));
    let _ = kubelet.ready("scribe");
    kubelet.eventually("all is written", || {
        walk(&kubelet.logs())
            .iter()
            .filter(|path| path.ends_with("0.log"))
            .any(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains(" 39999 of a log")))
    });
    let files = walk(&kubelet.logs());
    assert!(files.len() > 1, "nothing was rotated: {files:?}");
    let numbers: Vec<String> = all_lines(&kubelet.logs())
        .iter()
        .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(numbers, (0..40_000).map(|number| number.to_string()).collect::<Vec<_>>());
    end(daemon, kubelet, "scribe").await;
}
