//! Who it is and what it may do.

use orlop_proto::runtime::v1::{
    Capability, Int64Value, KeyValue, SecurityProfile, security_profile::ProfileType,
};
use orlop_tests::daemon::stage::{Stage, security};
use tonic::Code;

use crate::Handler;
use crate::table::differs;

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// A line of a process's status, as the node has it.
async fn status(stage: &mut Stage, id: &str, name: &str) -> String {
    let facts = stage.client.facts(id).await.expect("facts");
    let text = std::fs::read_to_string(format!("/proc/{}/status", facts["pid"])).expect("it lives");
    let line =
        text.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).expect("a line of that name");
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(crate) async fn environment(stage: &mut Stage, _: Handler) {
    let mut config = stage.script("c", "pwd; echo $WORD; echo $HOME; echo $HOSTNAME; echo \"$0 $1\"");
    config.working_dir = "/made/for/it".into();
    config.envs.push(KeyValue { key: "WORD".into(), value: "said: ä \"x\"".into() });
    config.args = words(&["name", "argument"]);
    let (status, said) = stage.to_end(&config).await;
    let host = &stage.pod.hostname;
    assert_eq!(
        (said, status.exit_code),
        (format!("/made/for/it\nsaid: ä \"x\"\n/root\n{host}\nname argument\n"), 0)
    );
}

pub(crate) async fn bytes(stage: &mut Stage, handler: Handler) {
    let mut config = stage.script("c", "printf %s \"$BYTES\" | wc -c");
    config.envs.push(KeyValue { key: "BYTES".into(), value: vec![0xff, 0xfe, b'x'] });
    if differs(handler, "bytes-in-the-environment") {
        let error = stage.create(&config).await.expect_err("it cannot be said");
        assert!(error.code() == Code::InvalidArgument && error.message().contains("BYTES"), "{error}");
    } else {
        assert_eq!(stage.to_end(&config).await.1, "3\n");
    }
}

pub(crate) async fn user(stage: &mut Stage, _: Handler) {
    let mut config = stage.script("c", "id -u; id -g; id -G; echo fine > /dev/stderr; exec sleep 1000");
    security(&mut config).run_as_user = Some(Int64Value { value: 1234 });
    security(&mut config).run_as_group = Some(Int64Value { value: 2345 });
    security(&mut config).supplemental_groups = vec![3456, 4567];
    let id = stage.start(&config).await;
    assert_eq!(status(stage, &id, "Uid").await, "1234 1234 1234 1234");
    assert_eq!(status(stage, &id, "Gid").await, "2345 2345 2345 2345");
    let groups = status(stage, &id, "Groups").await;
    assert!(["3456", "4567"].iter().all(|group| groups.contains(group)), "{groups}");
    assert_eq!(stage.client.sh(&id, "id -u; id -g").await, "1234\n2345\n");
}

pub(crate) async fn capabilities(stage: &mut Stage, _: Handler) {
    let mut config = stage.script("c", "exec sleep 1000");
    security(&mut config).capabilities = Some(Capability {
        add_capabilities: words(&["NET_ADMIN"]),
        drop_capabilities: words(&["ALL"]),
        add_ambient_capabilities: vec![],
    });
    let id = stage.start(&config).await;
    for name in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(status(stage, &id, name).await, "0000000000001000", "{name}");
    }
    assert_eq!(stage.client.sh(&id, "grep CapEff /proc/self/status").await, "CapEff:\t0000000000001000\n");
    let id = stage.run("default", "exec sleep 1000").await;
    assert_eq!(status(stage, &id, "CapEff").await, "00000000a80425fb");
    assert_eq!(status(stage, &id, "CapInh").await, "0000000000000000");
}

pub(crate) async fn no_new_privileges(stage: &mut Stage, _: Handler) {
    for (name, wanted) in [("with", true), ("without", false)] {
        let mut config = stage.script(name, "exec sleep 1000");
        security(&mut config).no_new_privs = wanted;
        let id = stage.start(&config).await;
        assert_eq!(status(stage, &id, "NoNewPrivs").await, u8::from(wanted).to_string());
        let inside = stage.client.sh(&id, "grep NoNewPrivs /proc/self/status").await;
        assert_eq!(inside, format!("NoNewPrivs:\t{}\n", u8::from(wanted)));
    }
}

pub(crate) async fn seccomp(stage: &mut Stage, _: Handler) {
    let profile = stage.daemon.place().put(
        "no-chmod.json",
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["chmod","fchmodat","fchmodat2"],"action":"SCMP_ACT_ERRNO","errnoRet":1}]}"#,
    );
    let named = |kind: ProfileType, path: &str| {
        Some(SecurityProfile { profile_type: kind.into(), localhost_ref: path.into() })
    };
    let path = profile.display().to_string();
    for (name, asked, mode, chmod) in [
        ("default", named(ProfileType::RuntimeDefault, ""), "2", "done\n"),
        ("localhost", named(ProfileType::Localhost, &path), "2", "refused\n"),
        ("unconfined", named(ProfileType::Unconfined, ""), "0", "done\n"),
    ] {
        let mut config = stage.script(name, "exec sleep 1000");
        security(&mut config).seccomp = asked;
        let id = stage.start(&config).await;
        assert_eq!(status(stage, &id, "Seccomp").await, mode, "{name}");
        let script = "touch /f; chmod 600 /f 2> /dev/null && echo done || echo refused";
        assert_eq!(stage.client.sh(&id, script).await, chmod, "{name}");
    }
}

pub(crate) async fn paths(stage: &mut Stage, _: Handler) {
    let mut config = stage.script("c", "exec sleep 1000");
    security(&mut config).masked_paths = words(&["/proc/keys", "/www", "/no/such"]);
    security(&mut config).readonly_paths = words(&["/proc/sys", "/tmp", "/no/such"]);
    let id = stage.start(&config).await;
    let script = "wc -c < /proc/keys; ls -A /www | wc -l; touch /tmp/x 2>&1; (echo x > /proc/sys/kernel/domainname) 2>&1; true";
    let said = stage.client.sh(&id, script).await;
    assert!(said.starts_with("0\n0\n"), "{said}");
    assert_eq!(said.matches("Read-only file system").count(), 2, "{said}");
}

pub(crate) async fn read_only_root(stage: &mut Stage, _: Handler) {
    let mut config = stage.script("c", "exec sleep 1000");
    security(&mut config).readonly_rootfs = true;
    let id = stage.start(&config).await;
    let said = stage.client.sh(&id, "touch /x 2>&1; touch /dev/shm/y && echo shm; true").await;
    assert!(said.contains("Read-only file system") && said.ends_with("shm\n"), "{said}");
}

pub(crate) async fn privileged(stage: &mut Stage, _: Handler) {
    let mut config = stage.script("c", "exec sleep 1000");
    security(&mut config).privileged = true;
    let id = stage.start(&config).await;
    let own = std::fs::read_to_string("/proc/self/status").expect("a status");
    let all = own.lines().find_map(|line| line.strip_prefix("CapBnd:")).expect("a mask").trim();
    assert_eq!(status(stage, &id, "CapEff").await, all);
    assert_eq!(status(stage, &id, "Seccomp").await, "0");
    let script = "ls /dev | wc -l; mkdir /tmp/m && mount -t tmpfs none /tmp/m && echo mounted";
    let said = stage.client.sh(&id, script).await;
    let (devices, rest) = said.split_once('\n').expect("two lines");
    assert!(devices.parse::<u32>().expect("a number") > 20 && rest == "mounted\n", "{said}");
}
