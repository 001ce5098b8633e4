//! When, where and with what each of the six kinds is run.

use std::collections::BTreeMap;

use orlop_proto::runtime::v1::Int64Value;
use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::{Stage, security};
use orlop_tests::place::Place;
use serde_json::{Value, json};

use super::{POINTS, hook, order, place, said, script, show_out, stage, witness};

/// Namespaces by kind, of a process.
fn namespaces(pid: &str) -> BTreeMap<String, String> {
    let one = |kind: &str| {
        let link = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a namespace");
        (kind.to_owned(), link.display().to_string())
    };
    ["cgroup", "ipc", "mnt", "net", "pid", "uts"].into_iter().map(one).collect()
}

/// As a hook has written them.
fn seen(place: &Place, point: &str) -> BTreeMap<String, String> {
    let text = said(place, &format!("{point}.ns"));
    let pair = |line: &str| line.split_once(' ').map(|(kind, link)| (kind.to_owned(), link.to_owned()));
    text.lines().filter_map(pair).collect()
}

fn state(place: &Place, point: &str) -> Value {
    let text = said(place, &format!("{point}.state"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{point}: {error}: {text}"))
}

/// All kinds for all containers; the one that is run in the container is the container's own shell.
fn all(place: &Place) {
    for point in POINTS.into_iter().filter(|point| *point != "startContainer") {
        witness(place, point);
    }
    let inside = "echo startContainer >> /out/order; cat > /out/startContainer.state; \
        for kind in cgroup ipc mnt net pid uts; do echo \"$kind $(readlink /proc/self/ns/$kind)\"; done > /out/startContainer.ns; \
        pwd > /out/startContainer.cwd; tr '\\0' '\\n' < /proc/self/environ > /out/startContainer.env; \
        id -u > /out/startContainer.uid; grep CapEff /proc/self/status > /out/startContainer.caps";
    let hook_of = json!({"path": "/bin/sh", "args": ["sh", "-c", inside], "env": ["ONLY=this"]});
    hook(place, "50-startContainer", &hook_of, &["startContainer"]);
}

async fn run(stage: &mut Stage, place: &Place) -> (String, String) {
    let mut config = stage.script("c", "echo program >> /out/order; exec sleep 1000");
    show_out(place, &mut config);
    config.annotations.insert("vendor.com/said".into(), "with \"quotes\" and ü".into());
    let id = stage.start(&config).await;
    let pid = stage.client.facts(&id).await.expect("facts")["pid"].as_i64().expect("it runs");
    (id, pid.to_string())
}

#[tokio::test]
async fn each_kind_is_run_at_its_point_in_its_namespaces_with_the_state() {
    let place = place("hooks-points");
    all(&place);
    let mut stage = stage(&place, |_| {}).await;
    let (id, pid) = run(&mut stage, &place).await;
    eventually("the program runs", async || order(&place).contains(&"program".to_owned())).await;
    let before_end: Vec<String> = order(&place).into_iter().filter(|name| name != "program").collect();
    assert_eq!(before_end, &POINTS[..5], "when the start is answered");
    assert!(order(&place).iter().position(|name| name == "program") > Some(3), "{:?}", order(&place));

    let containers = namespaces(&pid);
    let nodes = namespaces(&stage.daemon.pid().to_string());
    assert_eq!(seen(&place, "startContainer"), containers);
    assert_eq!(seen(&place, "createContainer"), containers);
    // An exec is born as before, once hooks have been run.
    assert_eq!(stage.client.sh(&id, "readlink /proc/self/ns/pid").await.trim(), containers["pid"]);

    let explained = stage.daemon.orlop(&["explain", "--plan", &id]).output().expect("orlop runs");
    let explained = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(explained.contains(&format!("createRuntime {}", place.join("witness").display())), "{explained}");
    assert!(explained.contains("wait for hooks up to createContainer"), "{explained}");

    stage.client.stop(&id, 0).await.expect("stopped");
    assert_eq!(order(&place).last().map(String::as_str), Some("poststop"), "when the stop is answered");
    for point in ["prestart", "createRuntime", "poststart", "poststop"] {
        assert_eq!(seen(&place, point), nodes, "{point}");
    }
    let bundle = stage.daemon.state().join("containers").join(&id);
    for (point, status, number) in [
        ("prestart", "creating", Some(pid.as_str())),
        ("createRuntime", "creating", Some(&pid)),
        ("createContainer", "creating", Some("1")),
        ("startContainer", "created", Some("1")),
        ("poststart", "running", Some(&pid)),
        ("poststop", "stopped", None),
    ] {
        let mut expected = json!({"ociVersion": "1.2.0", "id": id, "status": status, "bundle": bundle,
            "annotations": {"vendor.com/said": "with \"quotes\" and ü"}});
        if let Some(number) = number {
            expected["pid"] = json!(number.parse::<i32>().expect("a number"));
        }
        assert_eq!(state(&place, point), expected, "{point}");
        let cwd = if point == "startContainer" { "/".into() } else { bundle.display().to_string() };
        assert_eq!(said(&place, &format!("{point}.cwd")).trim(), cwd, "{point}");
        let environment = said(&place, &format!("{point}.env"));
        assert_eq!(environment.trim(), "ONLY=this", "{point}");
    }
    let config: Value = serde_json::from_str(&said(&place, "createContainer.config")).expect("the bundle");
    let root = stage.daemon.root().join("containers").join(&id).join("root");
    assert_eq!(config["root"]["path"], json!(root));
    assert_eq!(config["process"]["args"][0], "sh");
    assert_eq!(config["hooks"]["poststop"].as_array().map(Vec::len), Some(1));
    stage.end().await;
    assert_eq!(order(&place).iter().filter(|name| *name == "poststop").count(), 1);
}

#[tokio::test]
async fn in_a_pod_that_shares_its_processes_a_hook_is_in_the_right_namespace_too() {
    let place = place("hooks-shared");
    all(&place);
    let mut stage = stage(&place, |pod| pod.linux = None).await;
    let (id, pid) = run(&mut stage, &place).await;
    let (containers, nodes) = (namespaces(&pid), namespaces(&stage.daemon.pid().to_string()));
    for point in ["createContainer", "startContainer"] {
        assert_eq!(seen(&place, point), containers, "{point}");
        let inside = state(&place, point)["pid"].as_i64().expect("a number");
        assert!(inside > 1 && inside < 100, "{point}: {inside}");
    }
    assert_eq!(stage.client.sh(&id, "readlink /proc/self/ns/pid").await.trim(), containers["pid"]);
    stage.client.stop(&id, 0).await.expect("stopped");
    for point in ["prestart", "createRuntime", "poststart", "poststop"] {
        assert_eq!(seen(&place, point), nodes, "{point}");
    }
    stage.end().await;
}

#[tokio::test]
async fn what_runs_in_the_container_may_no_more_than_its_program() {
    let place = place("hooks-user");
    all(&place);
    std::os::unix::fs::chown(place.join("out"), Some(1234), None).expect("its owner");
    place.put("out/order", "");
    std::os::unix::fs::chown(place.join("out/order"), Some(1234), None).expect("its owner");
    let mut stage = stage(&place, |_| {}).await;
    let mut config = stage.script("c", "true");
    show_out(&place, &mut config);
    security(&mut config).run_as_user = Some(Int64Value { value: 1234 });
    let (status, _) = stage.to_end(&config).await;
    assert_eq!(status.exit_code, 0);
    assert_eq!(said(&place, "startContainer.uid"), "1234\n");
    assert_eq!(said(&place, "startContainer.caps"), "CapEff:\t0000000000000000\n");
    stage.end().await;
}

#[tokio::test]
async fn a_hook_before_the_root_is_entered_can_change_what_the_container_sees() {
    let place = place("hooks-change");
    let text = "#!/bin/sh\nroot=$(sed 's/.*\"root\":{\"path\":\"\\([^\"]*\\)\".*/\\1/' config.json)\n\
                echo made > $root/made-by-hook\nmount -t tmpfs none $root/www\necho mounted > $root/www/by-hook\n";
    let path = script(&place, "change", text);
    hook(
        &place,
        "change",
        &json!({"path": path, "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}),
        &["createContainer"],
    );
    let mut stage = stage(&place, |_| {}).await;
    let config = stage.script("c", "cat /made-by-hook /www/by-hook");
    let (_, said) = stage.to_end(&config).await;
    assert_eq!(said, "made\nmounted\n");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let root = stage.daemon.root().display().to_string();
    assert!(!mounts.contains(&root), "nothing of it is the node's");
    stage.end().await;
}

#[tokio::test]
async fn hooks_of_one_point_are_run_one_after_the_other_by_their_files_names() {
    let place = place("hooks-order");
    let slow = script(&place, "slow", "#!/bin/sh\nsleep 0.2\necho $1 >> ${0%/*}/out/order\n");
    for name in ["10-a", "20-B", "30-c"] {
        hook(&place, name, &json!({"path": slow, "args": ["slow", name]}), &["createRuntime", "poststop"]);
    }
    let mut stage = stage(&place, |_| {}).await;
    let config = stage.script("c", "true");
    stage.to_end(&config).await;
    assert_eq!(order(&place), ["10-a", "20-B", "30-c", "10-a", "20-B", "30-c"]);
    stage.end().await;
}
