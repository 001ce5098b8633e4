//! What a container gets.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use orlop_tests::daemon::stage::security;
use orlop_tests::place::Place;
use serde_json::json;

use super::{ask, facts, put, simple, stage};

/// The file of a vendor, with all that this node can serve.
fn vendor(place: &Place) -> String {
    place.put("share/note", "of the vendor");
    json!({
        "cdiVersion": "0.7.0",
        "kind": "vendor.com/gpu",
        "devices": [
            {"name": "0", "containerEdits": {
                "deviceNodes": [
                    {"path": "/dev/vendor/gpu0", "hostPath": "/dev/zero", "permissions": "r"},
                    {"path": "/dev/vendor/said", "type": "c", "major": 1, "minor": 7, "fileMode": 0o640, "uid": 7, "gid": 8},
                ],
                "env": ["GPU=0", "GPU0=yes"],
                "additionalGids": [4444],
            }},
            {"name": "1", "containerEdits": {"env": ["GPU=1"], "additionalGids": [4444, 4445]}},
        ],
        "containerEdits": {
            "env": ["VENDOR=yes", "HOME=/vendor"],
            "mounts": [{"hostPath": place.join("share"), "containerPath": "/usr/share/vendor", "options": ["ro", "rbind", "nosuid"]}],
        },
    })
    .to_string()
}

#[tokio::test]
async fn nodes_mounts_variables_and_groups_are_the_containers() {
    let place = Place::new("cdi-given");
    let mut stage = stage(&place).await;
    put(&place.join("first/vendor.json"), &vendor(&place));
    let mut config = stage.script("c", "exec sleep 1000");
    ask(&mut config, &["vendor.com/gpu=0"]);
    config.annotations.insert("cdi.k8s.io/plugin_1".into(), "vendor.com/gpu=1,vendor.com/gpu=0".into());
    let id = stage.start(&config).await;
    let pid = stage.client.facts(&id).await.expect("facts")["pid"].as_i64().expect("it runs");

    let environment = std::fs::read(format!("/proc/{pid}/environ")).expect("its environment");
    let mut environment: Vec<String> = environment
        .split(|byte| *byte == 0)
        .map(|entry| String::from_utf8_lossy(entry).into_owned())
        .filter(|entry| ["GPU", "VENDOR", "HOME"].iter().any(|name| entry.starts_with(name)))
        .collect();
    environment.sort();
    // Of two devices that set one variable the one that was asked for last counts.
    assert_eq!(environment, ["GPU0=yes", "GPU=1", "HOME=/vendor", "VENDOR=yes"]);

    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).expect("groups");
    let groups: Vec<&str> = groups.split_whitespace().collect();
    assert!(groups.contains(&"4444") && groups.contains(&"4445"), "{groups:?}");

    let node = |path: &str| std::fs::metadata(format!("/proc/{pid}/root/dev/vendor/{path}")).expect("a node");
    let zero = std::fs::metadata("/dev/zero").expect("of the node");
    let gpu = node("gpu0");
    assert!(gpu.file_type().is_char_device());
    assert_eq!((gpu.rdev(), gpu.mode(), gpu.uid(), gpu.gid()), (zero.rdev(), zero.mode(), 0, 0));
    let said = node("said");
    assert_eq!((said.rdev(), said.mode() & 0o7777, said.uid(), said.gid()), (0x107, 0o640, 7, 8));

    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("its mounts");
    let mount = mounts.lines().find(|line| line.contains(" /usr/share/vendor ")).expect("mounted");
    assert!(mount.contains(" ro,nosuid"), "{mount}");
    assert_eq!(stage.client.sh(&id, "cat /usr/share/vendor/note; echo $VENDOR").await, "of the vendoryes\n");
    assert_eq!(stage.client.sh(&id, "head -c 3 /dev/vendor/gpu0 | od -An -tx1").await.trim(), "00 00 00");

    let known = &stage.client.facts(&id).await.expect("facts")["cdiDevices"];
    assert_eq!(*known, json!(["vendor.com/gpu=0", "vendor.com/gpu=1", "vendor.com/gpu=0"]));
    let explained = stage.daemon.orlop(&["explain", &id]).output().expect("orlop runs");
    let explained = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(explained.contains("vendor.com/gpu=1"), "{explained}");

    // What was given stays, whoever comes after the daemon and whatever becomes of the file.
    std::fs::remove_file(place.join("first/vendor.json")).expect("removed");
    stage.daemon.restart().await;
    stage.client = stage.daemon.client().await;
    assert_eq!(stage.client.sh(&id, "echo $GPU; id -G | tr ' ' '\\n' | grep -c 444").await, "1\n2\n");
    stage.end().await;
}

#[tokio::test]
async fn what_a_device_may_be_used_for_is_what_its_file_says() {
    let place = Place::new("cdi-permissions");
    let mut stage = stage(&place).await;
    // The node's tunnels: opening one makes none, and it is in no container's default rules.
    let node = |name: &str, permissions: &str| {
        json!({"name": name, "containerEdits": {"deviceNodes": [
            {"path": "/dev/x", "hostPath": "/dev/net/tun", "permissions": permissions, "fileMode": 0o666}]}})
    };
    let file = json!({"cdiVersion": "0.5.0", "kind": "v.com/tun",
        "devices": [node("w", "w"), node("none", "none"), node("all", "")]});
    put(&place.join("first/v.json"), &file.to_string());
    for (name, reads, writes) in [("w", false, true), ("none", false, false), ("all", true, true)] {
        let script = "(: < /dev/x) 2>/dev/null && echo reads; (: > /dev/x) 2>/dev/null && echo writes; true";
        let mut config = stage.script(name, script);
        ask(&mut config, &[&format!("v.com/tun={name}")]);
        let (status, said) = stage.to_end(&config).await;
        assert_eq!(status.exit_code, 0, "{name}");
        let expected = [("reads\n", reads), ("writes\n", writes)];
        let expected: String = expected.iter().filter(|(_, may)| *may).map(|(word, _)| *word).collect();
        assert_eq!(said, expected, "{name}");
    }
    stage.end().await;
}

#[tokio::test]
async fn a_node_is_its_users_unless_the_file_says_whose() {
    let place = Place::new("cdi-owner");
    let mut stage = stage(&place).await;
    let file = json!({"cdiVersion": "0.5.0", "kind": "v.com/c", "devices": [
        {"name": "a", "containerEdits": {"deviceNodes": [{"path": "/dev/x", "hostPath": "/dev/null", "gid": 9}]}}]});
    put(&place.join("second/v.json"), &file.to_string());
    let mut config = stage.script("c", "stat -c '%u %g' /dev/x");
    security(&mut config).run_as_user = Some(orlop_proto::runtime::v1::Int64Value { value: 1234 });
    ask(&mut config, &["v.com/c=a"]);
    assert_eq!(stage.to_end(&config).await.1, "1234 9\n");
    stage.end().await;
}

#[tokio::test]
async fn a_later_directory_stands_for_an_earlier_one() {
    let place = Place::new("cdi-later");
    let mut stage = stage(&place).await;
    put(&place.join("first/a.yaml"), &simple("v.com/c", "a", "first"));
    let run = async |stage: &mut orlop_tests::daemon::stage::Stage, name: &str| {
        let mut config = stage.script(name, "echo $CDI");
        ask(&mut config, &["v.com/c=a"]);
        stage.to_end(&config).await.1
    };
    assert_eq!(run(&mut stage, "one").await, "first\n");
    // Seen at once, by whoever asks right after it was written.
    put(&place.join("second/a.yaml"), &simple("v.com/c", "a", "second"));
    assert_eq!(run(&mut stage, "two").await, "second\n");
    std::fs::remove_file(place.join("second/a.yaml")).expect("removed");
    assert_eq!(run(&mut stage, "three").await, "first\n");
    assert_eq!(facts(&mut stage.client).await["devices"], json!(["v.com/c=a"]));
    stage.end().await;
}
