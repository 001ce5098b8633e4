//! What a container may not do.

use orlop_proto::runtime::v1::security_profile::ProfileType;
use orlop_proto::runtime::v1::{Capability, ContainerConfig, Device, Int64Value, SecurityProfile};
use orlop_tests::daemon::stage::{Stage, security};
use tonic::Code;

/// What a row of a table changes of a good request.
type Change = fn(&mut ContainerConfig);

/// What every engine grants a container that says nothing, as a mask.
const USUAL: u64 = 0xa804_25fb;
const CHOWN: u64 = 1;
const NET_BIND_SERVICE: u64 = 1 << 10;
const NET_ADMIN: u64 = 1 << 12;

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|&word| word.to_owned()).collect()
}

fn capabilities(config: &mut ContainerConfig, add: &[&str], drop: &[&str], ambient: &[&str]) {
    security(config).capabilities = Some(Capability {
        add_capabilities: words(add),
        drop_capabilities: words(drop),
        add_ambient_capabilities: words(ambient),
    });
}

/// The masks of `/proc/self/status`: inheritable, permitted, effective, bounding, ambient.
fn masks(said: &str) -> [u64; 5] {
    ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|name| {
        let line = said.lines().find_map(|line| line.strip_prefix(name)).expect("a mask");
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).expect("a number")
    })
}

#[tokio::test]
async fn capabilities_are_the_usual_ones_and_what_is_added_and_dropped() {
    let mut stage = Stage::new("capabilities").await;
    let sailor = |config: &mut ContainerConfig| {
        security(config).run_as_user = Some(Int64Value { value: 1001 });
    };
    let table: [(&str, Change, [u64; 5]); 6] = [
        ("usual", |_| {}, [0, USUAL, USUAL, USUAL, 0]),
        ("none", |c| capabilities(c, &[], &["ALL"], &[]), [0; 5]),
        (
            "more",
            |c| capabilities(c, &["NET_ADMIN"], &[], &[]),
            [0, USUAL | NET_ADMIN, USUAL | NET_ADMIN, USUAL | NET_ADMIN, 0],
        ),
        ("one", |c| capabilities(c, &["CAP_CHOWN"], &["all"], &[]), [0, CHOWN, CHOWN, CHOWN, 0]),
        (
            "less",
            |c| capabilities(c, &[], &["CHOWN"], &[]),
            [0, USUAL & !CHOWN, USUAL & !CHOWN, USUAL & !CHOWN, 0],
        ),
        ("sailor", |_| {}, [0, 0, 0, USUAL, 0]),
    ];
    for (name, change, expected) in table {
        let mut config = stage.script(name, "cat /proc/self/status; exec sleep 1000");
        change(&mut config);
        if name == "sailor" {
            sailor(&mut config);
        }
        let id = stage.start(&config).await;
        let status = stage.client.sh(&id, "cat /proc/1/status").await;
        assert_eq!(masks(&status), expected, "{name}: the first process");
        let status = stage.client.sh(&id, "cat /proc/self/status").await;
        assert_eq!(masks(&status), expected, "{name}: an exec");
    }
    let mut config = stage.script("ambient", "exec sleep 1000");
    sailor(&mut config);
    capabilities(&mut config, &["NET_BIND_SERVICE"], &["ALL"], &["NET_BIND_SERVICE"]);
    let id = stage.start(&config).await;
    let status = stage.client.sh(&id, "cat /proc/1/status").await;
    assert_eq!(masks(&status), [NET_BIND_SERVICE; 5], "ambient ones are a user's, too");
    let mut config = stage.script("unknown", "true");
    capabilities(&mut config, &["FLY"], &[], &[]);
    assert_eq!(stage.create(&config).await.expect_err("no such").code(), Code::InvalidArgument);
    stage.end().await;
}

#[tokio::test]
async fn privileges_are_gained_only_where_nobody_forbids_it() {
    let mut stage = Stage::new("privileges").await;
    for (name, forbidden) in [("free", false), ("bound", true)] {
        let mut config = stage.script(name, "exec sleep 1000");
        security(&mut config).no_new_privs = forbidden;
        let id = stage.start(&config).await;
        let said = stage.client.sh(&id, "grep -h NoNewPrivs /proc/1/status /proc/self/status").await;
        let line = format!("NoNewPrivs:\t{}\n", u8::from(forbidden));
        assert_eq!(said, line.repeat(2), "{name}");
    }
    stage.end().await;
}

fn profile(kind: ProfileType, reference: &str) -> SecurityProfile {
    SecurityProfile { profile_type: kind.into(), localhost_ref: reference.into() }
}

/// Whether a filter is there, in the words of proc(5): 0 none, 2 a filter.
const FILTER: &str = "grep -h Seccomp: /proc/1/status /proc/self/status | tr -d '\\n'";

#[tokio::test]
async fn the_runtime_s_own_filter_refuses_what_no_container_needs() {
    let mut stage = Stage::new("seccomp").await;
    let mut config = stage.script("c", "exec sleep 1000");
    security(&mut config).seccomp = Some(profile(ProfileType::RuntimeDefault, ""));
    capabilities(&mut config, &["SYS_ADMIN"], &[], &[]);
    let id = stage.start(&config).await;
    assert_eq!(stage.client.sh(&id, FILTER).await, "Seccomp:\t2Seccomp:\t2");
    let refused = "swapon /dev/null 2>&1; true";
    let said = stage.client.sh(&id, refused).await;
    assert!(said.contains("Operation not permitted"), "{said}");
    // What the capability allows, the filter does.
    assert_eq!(stage.client.sh(&id, "unshare -m true && echo done").await, "done\n");

    let mut config = stage.script("plain", "exec sleep 1000");
    security(&mut config).seccomp = Some(profile(ProfileType::RuntimeDefault, ""));
    let id = stage.start(&config).await;
    let said = stage.client.sh(&id, "unshare -U true 2>&1; true").await;
    assert!(said.contains("Operation not permitted"), "{said}");

    for (name, asked) in [("unconfined", Some(profile(ProfileType::Unconfined, ""))), ("unsaid", None)] {
        let mut config = stage.script(name, "exec sleep 1000");
        security(&mut config).seccomp = asked;
        capabilities(&mut config, &["SYS_ADMIN"], &[], &[]);
        let id = stage.start(&config).await;
        assert_eq!(stage.client.sh(&id, FILTER).await, "Seccomp:\t0Seccomp:\t0");
        let said = stage.client.sh(&id, refused).await;
        assert!(said.contains("Invalid argument"), "the kernel itself answers: {said}");
        assert_eq!(stage.client.sh(&id, "unshare -U true && echo done").await, "done\n");
    }
    stage.end().await;
}

#[tokio::test]
async fn a_filter_of_the_node_s_own_is_kept_to() {
    let mut stage = Stage::new("localhost").await;
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30}]}"#;
    let path = stage.daemon.place().put("profiles/no-mkdir.json", text).display().to_string();
    let mut config = stage.script("c", "exec sleep 1000");
    security(&mut config).seccomp = Some(profile(ProfileType::Localhost, &path));
    let id = stage.start(&config).await;
    let said = stage.client.sh(&id, &format!("mkdir /tmp/x 2>&1; touch /tmp/y && echo done; {FILTER}")).await;
    assert!(said.contains("Read-only file system") && said.contains("done\nSeccomp:\t2"), "{said}");
    let missing = stage.daemon.place().join("profiles/none.json").display().to_string();
    let broken = stage.daemon.place().put("profiles/broken.json", "{").display().to_string();
    for reference in [&missing, &broken, &"relative.json".to_owned(), &String::new()] {
        let mut config = stage.script("refused", "true");
        security(&mut config).seccomp = Some(profile(ProfileType::Localhost, reference));
        let error = stage.create(&config).await.expect_err("refused");
        assert_eq!(error.code(), Code::InvalidArgument, "{reference}: {error}");
    }
    stage.end().await;
}

#[tokio::test]
async fn masked_paths_show_nothing_and_read_only_ones_take_nothing() {
    let mut stage = Stage::new("masked").await;
    let mut config = stage.script("c", "exec sleep 1000");
    security(&mut config).masked_paths =
        words(&["/proc/timer_list", "/proc/keys", "/www", "/etc/group", "/no/such"]);
    security(&mut config).readonly_paths = words(&["/proc/sys", "/tmp", "/no/such"]);
    let id = stage.start(&config).await;
    let script = "wc -c < /proc/keys; ls -A /www; wc -c < /etc/group; touch /www/x 2>&1; touch /tmp/x 2>&1; \
                  echo x > /proc/sys/kernel/domainname; true";
    let answer = stage.client.exec(&id, &["sh", "-c", script], 60).await.expect("exec");
    let (said, errors) = (String::from_utf8_lossy(&answer.stdout), String::from_utf8_lossy(&answer.stderr));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..2], ["0", "0"], "{said}");
    assert_eq!(lines.iter().filter(|line| line.contains("Read-only file system")).count(), 2, "{said}");
    assert!(errors.contains("Read-only file system"), "{errors}");
    // Nor can they be taken off: its mounts are not its own to change.
    let said = stage.client.sh(&id, "umount /proc/keys 2>&1; wc -c < /proc/keys").await;
    assert!(said.ends_with("0\n") && said.contains("not permitted"), "{said}");
    stage.end().await;
}

#[tokio::test]
async fn devices_are_those_that_were_asked_for() {
    let mut stage = Stage::new("devices").await;
    let mut config = stage.script("c", "exec sleep 1000");
    config.devices.push(Device {
        container_path: "/dev/deep/nothing".into(),
        host_path: "/dev/null".into(),
        permissions: "rw".into(),
    });
    config.devices.push(Device {
        container_path: "/dev/reads".into(),
        host_path: "/dev/net/tun".into(),
        permissions: "r".into(),
    });
    let id = stage.start(&config).await;
    let script = "echo x > /dev/deep/nothing && head -c 1 /dev/deep/nothing && head -c 4 /dev/zero | wc -c; \
                  mknod /tmp/mem c 1 1 && head -c 1 /tmp/mem 2>&1; \
                  sh -c ': < /dev/reads' && echo read; sh -c ': 2>&1 > /dev/reads'; true";
    let answer = stage.client.exec(&id, &["sh", "-c", script], 60).await.expect("exec");
    let (said, errors) = (String::from_utf8_lossy(&answer.stdout), String::from_utf8_lossy(&answer.stderr));
    assert!(said.starts_with("4\n") && said.contains("read\n"), "{said} {errors}");
    for refused in ["/tmp/mem", "/dev/reads"] {
        let line = format!("{refused}: Operation not permitted");
        assert!(said.contains(&line) || errors.contains(&line), "{line} in {said} {errors}");
    }
    let mut config = stage.script("missing", "true");
    config.devices.push(Device {
        container_path: "/dev/x".into(),
        host_path: "/dev/no-such".into(),
        permissions: "r".into(),
    });
    assert_eq!(stage.create(&config).await.expect_err("no such device").code(), Code::InvalidArgument);
    stage.end().await;
}

#[tokio::test]
async fn a_privileged_container_may_all_that_the_daemon_may() {
    let mut stage = Stage::with("privileged", |pod| {
        let linux = pod.linux.get_or_insert_default();
        linux.security_context.get_or_insert_default().privileged = true;
    })
    .await;
    let mut config = stage.script("c", "exec sleep 1000");
    security(&mut config).privileged = true;
    // What it is told beside that counts for nothing.
    security(&mut config).masked_paths = words(&["/proc/keys"]);
    security(&mut config).readonly_paths = words(&["/proc/sys"]);
    security(&mut config).seccomp = Some(profile(ProfileType::RuntimeDefault, ""));
    let id = stage.start(&config).await;
    let status = stage.client.sh(&id, "cat /proc/1/status").await;
    let own = std::fs::read_to_string("/proc/self/status").expect("a status");
    let all = masks(&own)[3];
    assert_eq!(masks(&status)[1..4], [all; 3]);
    assert_eq!(stage.client.sh(&id, FILTER).await, "Seccomp:\t0Seccomp:\t0");
    let script = "mknod /tmp/null c 1 3 && echo x > /tmp/null && ls /dev | wc -l; \
                  awk '$2 == \"/sys\" || $2 == \"/proc/sys\" { print $2, substr($4, 1, 2) }' /proc/mounts; \
                  mkdir /tmp/m && mount -t tmpfs none /tmp/m && echo mounted";
    let said = stage.client.sh(&id, script).await;
    let lines: Vec<&str> = said.lines().collect();
    let devices: usize = lines[0].parse().expect("a number");
    assert!(devices > 20, "it has all devices of the node: {said}");
    assert_eq!(lines[1..], ["/sys rw", "mounted"], "{said}");
    stage.end().await;
}

#[tokio::test]
async fn a_privileged_container_needs_a_privileged_pod() {
    let mut stage = Stage::new("unprivileged").await;
    let mut config = stage.script("c", "true");
    security(&mut config).privileged = true;
    let error = stage.create(&config).await.expect_err("its pod is not");
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    stage.end().await;
}
