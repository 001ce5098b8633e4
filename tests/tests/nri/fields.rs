//! Every field of an adjustment: its effect, or its refusal by name.
//!
//! *Invariant:* no field is left out in silence: what is not applied is refused, and nothing of the container is left.

use orlop_tests::daemon::stage::Stage;
use orlop_tests::nri::Actor;
use serde_json::{Value, json};

use super::{adjusted, adjusting, daemon, sleeper};

/// The process of a container, as the node numbers it.
async fn pid(stage: &mut Stage, id: &str) -> u64 {
    let facts = stage.client.facts(id).await.expect("facts");
    facts["pid"].as_u64().unwrap_or_else(|| panic!("{facts}"))
}

fn proc(pid: u64, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[tokio::test]
async fn environment_arguments_mounts_limits_and_devices() {
    let shared = orlop_tests::place::Place::new("nri-mount");
    shared.put("file", "from the node");
    let (stage, actor) = adjusted("fields", &json!({
        "annotations": { "added": "yes" },
        "env": [{ "key": "-GONE" }, { "key": "CHANGED", "value": "after" }, { "key": "NEW", "value": "here" }],
        "args": ["sh", "-c", "exec sleep 2000"],
        "mounts": [{ "destination": "/shared", "type": "bind", "source": shared.path(), "options": ["rbind", "ro"] }],
        "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 333, "soft": 222 }],
        "linux": {
            "devices": [{ "path": "/dev/own-null", "type": "c", "major": 1, "minor": 3, "file_mode": { "value": 0o640 }, "uid": { "value": 7 } }],
            "oom_score_adj": { "value": 555 },
            "sysctl": { "net.core.somaxconn": "77" },
            "resources": {
                "memory": { "limit": { "value": 67_108_864 } },
                "cpu": { "shares": { "value": 200 }, "quota": { "value": 20_000 }, "period": { "value": 100_000 }, "cpus": "0" },
                "pids": { "limit": 50 },
                "devices": [{ "allow": true, "type": "c", "major": { "value": 10 }, "minor": { "value": 200 }, "access": "rwm" }] } }
    })).await;
    let mut stage = stage;
    let mut config = sleeper(&stage, "c");
    for (key, value) in [("GONE", "x"), ("CHANGED", "before")] {
        config.envs.push(orlop_proto::runtime::v1::KeyValue { key: key.into(), value: value.into() });
    }
    let id = stage.start(&config).await;
    let script = "echo $GONE-$CHANGED-$NEW; cat /shared/file; echo; (echo x >/shared/new) 2>/dev/null || echo ro; \
                  echo x >/dev/own-null && stat -c %a:%u /dev/own-null; cat /proc/sys/net/core/somaxconn";
    let said = stage.client.sh(&id, script).await;
    assert_eq!(said.lines().collect::<Vec<_>>(), ["-after-here", "from the node", "ro", "640:7", "77"]);
    let pid = pid(&mut stage, &id).await;
    assert_eq!(proc(pid, "cmdline").split('\0').take(2).collect::<Vec<_>>(), ["sleep", "2000"]);
    assert_eq!(proc(pid, "oom_score_adj").trim(), "555");
    let limits = proc(pid, "limits");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    assert_eq!(files.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["222", "333"]);
    assert_eq!(
        proc(pid, "status").lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t")),
        Some("0")
    );
    let limits =
        stage.client.status(&id).await.expect("a status").resources.expect("limits").linux.expect("of Linux");
    assert_eq!(
        (limits.memory_limit_in_bytes, limits.cpu_shares, limits.cpu_quota),
        (67_108_864, 200, 20_000)
    );
    // What plugins set is kept by a successor of the daemon.
    stage.daemon.restart().await;
    stage.client = stage.daemon.client().await;
    let limits =
        stage.client.status(&id).await.expect("a status").resources.expect("limits").linux.expect("of Linux");
    assert_eq!(limits.memory_limit_in_bytes, 67_108_864);
    drop(actor);
    stage.end().await;
}

#[tokio::test]
async fn namespaces_and_system_calls() {
    let (stage, actor) = adjusted("policies", &json!({ "linux": {
        "namespaces": [{ "type": "-ipc" }],
        "seccomp_policy": { "default_action": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errno_ret": { "value": 95 } }] } } })).await;
    let mut stage = stage;
    let config = sleeper(&stage, "c");
    let id = stage.start(&config).await;
    let pid = pid(&mut stage, &id).await;
    let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/ipc")).expect("a namespace");
    assert_eq!(namespace(&pid.to_string()), namespace("self"));
    assert_eq!(proc(pid, "status").lines().find_map(|line| line.strip_prefix("Seccomp:\t")), Some("2"));
    let said = stage.client.sh(&id, "mkdir /tmp/x 2>&1 || true").await;
    assert!(said.contains("not supported"), "{said}");
    drop(actor);
    stage.end().await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_its_name() {
    let linux = |linux: Value| json!({ "linux": linux });
    let limits = |resources: Value| json!({ "linux": { "resources": resources } });
    let cases = [
        (linux(json!({ "cgroups_path": "/elsewhere" })), "cgroups_path"),
        (linux(json!({ "rdt": { "clos_id": { "value": "gold" } } })), "intelRdt"),
        (linux(json!({ "net_devices": { "eth9": { "name": "eth1" } } })), "netDevices"),
        (linux(json!({ "oom_score_adj": { "value": 2000 } })), "oom_score_adj"),
        (linux(json!({ "namespaces": [{ "type": "nonsense" }] })), "namespaces.type"),
        (linux(json!({ "namespaces": [{ "type": "network", "path": "/proc/1/ns/net" }] })), "namespaces"),
        (linux(json!({ "devices": [{ "path": "/dev/x", "type": "z" }] })), "devices.type"),
        (linux(json!({ "devices": [{ "path": "x", "type": "c" }] })), "devices.path"),
        (linux(json!({ "seccomp_policy": { "default_action": "SCMP_ACT_NONSENSE" } })), "seccomp_policy"),
        (linux(json!({ "sysctl": { "kernel.panic": "1" } })), "kernel.panic"),
        (limits(json!({ "memory": { "kernel": { "value": 1 } } })), "memory.kernel"),
        (limits(json!({ "memory": { "use_hierarchy": { "value": false } } })), "memory.use_hierarchy"),
        (limits(json!({ "blockio_class": { "value": "fast" } })), "blockio_class"),
        (limits(json!({ "rdt_class": { "value": "gold" } })), "rdt_class"),
        (limits(json!({ "cpu": { "shares": { "value": 1 } } })), "cpu_shares"),
        (limits(json!({ "cpu": { "cpus": "nonsense" } })), "cpuset_cpus"),
        (limits(json!({ "unified": { "cgroup.procs": "1" } })), "unified"),
        (limits(json!({ "hugepage_limits": [{ "page_size": "7x", "limit": 1 }] })), "hugepage_limits"),
        (limits(json!({ "devices": [{ "allow": true, "type": "z" }] })), "resources.devices.type"),
        (
            json!({ "mounts": [{ "destination": "relative", "type": "bind", "source": "/" }] }),
            "mounts.destination",
        ),
        (
            json!({ "mounts": [{ "destination": "/x", "type": "bind", "source": "/", "options": ["nonsense=1", "rbind"] }] }),
            "nonsense",
        ),
        (json!({ "hooks": { "poststop": [{ "path": "relative" }] } }), "hooks.path"),
        (json!({ "rlimits": [{ "type": "RLIMIT_NONSENSE", "hard": 1, "soft": 1 }] }), "rlimits.type"),
        (json!({ "rlimits": [{ "type": "RLIMIT_CORE", "hard": 1, "soft": 2 }] }), "rlimits"),
        (json!({ "CDI_devices": [{ "name": "vendor.com/class=absent" }] }), "CDI_devices"),
    ];
    let daemon = daemon("refused", "").await;
    let mut script = json!({ "on": { "CreateContainer": [] } });
    for (number, (adjust, _)) in cases.iter().enumerate() {
        let one = adjusting(&format!("c{number}"), adjust);
        script["on"]["CreateContainer"]
            .as_array_mut()
            .expect("a list")
            .push(one["on"]["CreateContainer"][0].clone());
    }
    let actor = Actor::ready(&daemon, "10", "actor", &script).await;
    let mut stage = Stage::on(daemon, |_| {}).await;
    for (number, (adjust, word)) in cases.iter().enumerate() {
        let config = sleeper(&stage, &format!("c{number}"));
        let refused = stage.create(&config).await.expect_err(&adjust.to_string());
        assert!(refused.message().contains(word), "{adjust}: {refused}");
    }
    assert!(stage.client.containers().await.expect("a list").is_empty());
    drop(actor);
    stage.end().await;
}
