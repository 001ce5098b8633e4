//! Pods, containers and images through their life.

use orlop_tests::daemon::{Daemon, eventually, stock};
use serde_json::{Value, json};

use super::Crictl;

/// The words of the table's row that begins with `first`.
fn row(table: &str, first: &str) -> Vec<String> {
    let row =
        table.lines().find(|line| line.starts_with(first)).unwrap_or_else(|| panic!("{first} in\n{table}"));
    row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
}

fn labels(pod: &str) -> Value {
    json!({"io.kubernetes.pod.name": pod, "io.kubernetes.pod.namespace": "harbour"})
}

#[tokio::test]
async fn crictl_has_every_verb_of_a_pods_life() {
    let daemon = Daemon::start("crictl").await;
    let crictl = Crictl::of(&daemon);
    let image = stock::busybox();
    about(&crictl, &daemon);
    let image_id = images(&crictl, &image);

    let pod = json!({
        "metadata": {"name": "ship", "uid": "ship-uid", "namespace": "harbour", "attempt": 3},
        "hostname": "ship", "labels": labels("ship"), "log_directory": daemon.logs("ship"),
        "linux": {"cgroup_parent": daemon.traces.cgroup, "security_context": {"namespace_options": {"pid": 1}}},
    });
    let script = "echo out; echo err >&2; trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let container = json!({
        "metadata": {"name": "deck", "attempt": 1}, "image": {"image": image}, "labels": labels("ship"),
        "command": ["sh", "-c", script], "log_path": "deck.log",
    });
    let pod_file = daemon.place().put("pod.json", pod.to_string()).display().to_string();
    let container_file = daemon.place().put("container.json", container.to_string()).display().to_string();
    let pod_id = crictl.says(&["runp", &pod_file]);
    assert_eq!(pod_id.len(), 64, "{pod_id}");
    let id = crictl.says(&["create", &pod_id, &container_file, &pod_file]);
    assert_eq!(row(&crictl.says(&["ps", "-a"]), &id[..13])[3], "Created");
    assert_eq!(crictl.says(&["start", &id]), id);
    eventually("it has said all", async || crictl.says(&["logs", &id]).contains("ready")).await;

    seen(&crictl, &pod_id, &id, &image);
    inspected(&crictl, &pod_id, &id, &image_id);
    executed(&crictl, &id);
    measured(&crictl, &pod_id, &id);
    down(&crictl, &pod_id, &id);
    let removed = crictl.says(&["rmi", &image]);
    assert!(removed.contains(&image), "{removed}");
    assert_eq!(crictl.says(&["images", "-q"]), "");
    daemon.end().await;
}

fn about(crictl: &Crictl, daemon: &Daemon) {
    let version = crictl.says(&["version"]);
    for line in ["Version:  0.1.0", "RuntimeName:  orlop", "RuntimeApiVersion:  v1"] {
        assert!(version.lines().any(|has| has == line), "{version}");
    }
    let info = crictl.json(&["info"]);
    let conditions: Vec<_> = info["status"]["conditions"].as_array().expect("conditions").iter().collect();
    let kinds: Vec<_> =
        conditions.iter().map(|one| (one["type"].as_str(), one["status"].as_bool())).collect();
    assert_eq!(kinds, [(Some("RuntimeReady"), Some(true)), (Some("NetworkReady"), Some(true))]);
    assert_eq!(info["node"]["root"], json!(daemon.root()), "what -v of a status adds");
}

/// Pulls; gives back the image's id.
fn images(crictl: &Crictl, image: &str) -> String {
    let pulled = crictl.says(&["pull", image]);
    let id = pulled.rsplit(' ').next().expect("an id").to_owned();
    assert!(id.starts_with("sha256:"), "{pulled}");
    assert_eq!(crictl.says(&["images", "-q"]), id);
    let (repository, tag) = image.rsplit_once(':').expect("a tag");
    let cells = row(&crictl.says(&["images"]), repository);
    assert_eq!((cells[1].as_str(), cells[2].as_str()), (tag, &id[7..20]), "{cells:?}");
    let inspected = crictl.json(&["inspecti", image]);
    assert_eq!((&inspected["status"]["id"], &inspected["status"]["repoTags"]), (&json!(id), &json!([image])));
    assert_eq!(inspected["info"]["imageSpec"]["config"]["Cmd"], json!(["sh"]));
    id
}

fn seen(crictl: &Crictl, pod_id: &str, id: &str, image: &str) {
    let cells = row(&crictl.says(&["ps"]), &id[..13]);
    assert_eq!(cells[1], image, "{cells:?}");
    let expected = ["Running", "deck", "1", &pod_id[..13], "ship", "harbour"];
    assert_eq!(cells[3..], expected, "{cells:?}");
    assert_eq!(crictl.says(&["ps", "-q", "--label", "io.kubernetes.pod.name=ship"]), id);
    assert_eq!(crictl.says(&["ps", "-q", "--label", "io.kubernetes.pod.name=boat"]), "");
    assert_eq!(crictl.says(&["ps", "-q", "--state", "exited"]), "");
    let cells = row(&crictl.says(&["pods"]), &pod_id[..13]);
    assert_eq!(cells[2..], ["Ready", "ship", "harbour", "3", "(default)"], "{cells:?}");
    assert_eq!(crictl.says(&["pods", "-q", "--name", "ship"]), pod_id);
    assert_eq!(crictl.says(&["pods", "-q", "--state", "notready"]), "");
    let logs = crictl.run(&["logs", id]);
    assert_eq!((&*logs.stdout, &*logs.stderr), (&b"out\nready\n"[..], &b"err\n"[..]));
    // Which of the streams was read last is nobody's promise; that it is one line is.
    let last = crictl.run(&["logs", "--tail", "1", id]);
    let lines = String::from_utf8([last.stdout, last.stderr].concat()).expect("text");
    assert_eq!(lines.lines().count(), 1, "{lines}");
}

fn inspected(crictl: &Crictl, pod_id: &str, id: &str, image_id: &str) {
    let container = crictl.json(&["inspect", id]);
    let status = &container["status"];
    assert_eq!((&status["id"], &status["state"]), (&json!(id), &json!("CONTAINER_RUNNING")));
    assert_eq!((&status["metadata"]["name"], &status["imageId"]), (&json!("deck"), &json!(image_id)));
    assert_eq!(container["info"]["sandboxID"], json!(pod_id));
    let process = container["info"]["pid"].as_i64().expect("a number");
    let command = std::fs::read(format!("/proc/{process}/cmdline")).expect("it runs");
    assert!(command.starts_with(b"sh\0-c\0echo out"), "{}", String::from_utf8_lossy(&command));
    let pod = crictl.json(&["inspectp", pod_id]);
    assert_eq!((&pod["status"]["id"], &pod["status"]["state"]), (&json!(pod_id), &json!("SANDBOX_READY")));
    assert_eq!(pod["status"]["linux"]["namespaces"]["options"]["pid"], json!("CONTAINER"));
    let address = pod["status"]["network"]["ip"].as_str().expect("an address");
    assert!(address.parse::<std::net::Ipv4Addr>().is_ok(), "{address}");
}

fn executed(crictl: &Crictl, id: &str) {
    assert_eq!(crictl.says(&["exec", "-s", id, "hostname"]), "ship");
    let failed = crictl.fails(&["exec", "-s", id, "sh", "-c", "exit 3"]);
    assert!(failed.contains("exited with 3"), "{failed}");
    let absent = crictl.fails(&["exec", "-s", id, "no-such-program"]);
    assert!(absent.contains("no-such-program") && absent.contains("No such file"), "{absent}");
    let unknown = crictl.fails(&["inspect", "feed"]);
    assert!(unknown.contains("feed"), "{unknown}");
}

fn measured(crictl: &Crictl, pod_id: &str, id: &str) {
    let stats = &crictl.json(&["stats", "-o", "json", id])["stats"][0];
    assert_eq!(stats["attributes"]["id"], json!(id));
    // Numbers of 64 bits are text in the JSON of protocol buffers.
    let number = |value: &Value| value["value"].as_str().and_then(|text| text.parse::<u64>().ok());
    assert!(number(&stats["memory"]["workingSetBytes"]) > Some(0), "{stats}");
    assert!(number(&stats["cpu"]["usageCoreNanoSeconds"]) > Some(0), "{stats}");
    let stats = &crictl.json(&["statsp", "-o", "json", "--id", pod_id])["stats"][0];
    assert_eq!(stats["attributes"]["metadata"]["name"], json!("ship"), "{stats}");
    assert_eq!(stats["linux"]["network"]["defaultInterface"]["name"], json!("eth0"), "{stats}");
    let names = crictl.says(&["metricdescs"]);
    let samples = crictl.says(&["metricsp"]);
    for name in ["container_cpu_usage_seconds_total", "container_sockets", "container_fs_usage_bytes"] {
        assert!(names.contains(name) && samples.contains(name), "{name} in\n{names}\n{samples}");
    }
}

fn down(crictl: &Crictl, pod_id: &str, id: &str) {
    assert_eq!(crictl.says(&["stop", "--timeout", "20", id]), id);
    let status = &crictl.json(&["inspect", id])["status"];
    let end = (&status["state"], &status["exitCode"], &status["reason"]);
    assert_eq!(end, (&json!("CONTAINER_EXITED"), &json!(9), &json!("Error")));
    assert_eq!(row(&crictl.says(&["ps", "-a"]), &id[..13])[3], "Exited");
    assert_eq!(crictl.says(&["rm", id]), id);
    assert_eq!(crictl.says(&["ps", "-a", "-q"]), "");
    assert!(crictl.says(&["stopp", pod_id]).contains(pod_id));
    assert_eq!(row(&crictl.says(&["pods"]), &pod_id[..13])[2], "NotReady");
    assert!(crictl.says(&["rmp", pod_id]).contains(pod_id));
    assert_eq!(crictl.says(&["pods", "-q"]), "");
}
