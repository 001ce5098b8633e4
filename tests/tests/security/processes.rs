//! Who a process is, and what it may do: the first one of a container, and one beside it.

use orlop_proto::runtime::v1::security_profile::ProfileType;
use orlop_proto::runtime::v1::{
    Capability, ContainerConfig, Int64Value, NamespaceMode, NamespaceOption, SecurityProfile,
    SupplementalGroupsPolicy,
};
use orlop_tests::cri::container;
use orlop_tests::daemon::stage::{Stage, namespaces, security};
use orlop_tests::daemon::{eventually, stock};
use orlop_tests::image::{Flavour, Image};
use orlop_tests::layer::{Packing, Tree};
use orlop_tests::{busybox, daemon::Daemon};
use tonic::Code;

use crate::outside::{Outside, inode};

type Change = fn(&mut ContainerConfig);
type Ask = Box<dyn Fn(&mut ContainerConfig)>;

/// What every engine grants a container that says nothing, as a mask.
const USUAL: u64 = 0xa804_25fb;
const NET_ADMIN: u64 = 1 << 12;
const NET_BIND_SERVICE: u64 = 1 << 10;
const CHOWN: u64 = 1;

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|&word| word.to_owned()).collect()
}

fn user(config: &mut ContainerConfig, uid: i64) {
    security(config).run_as_user = Some(Int64Value { value: uid });
}

fn capabilities(config: &mut ContainerConfig, add: &[&str], drop: &[&str], ambient: &[&str]) {
    security(config).capabilities = Some(Capability {
        add_capabilities: words(add),
        drop_capabilities: words(drop),
        add_ambient_capabilities: words(ambient),
    });
}

/// An image in which uid 1001 is `sailor`, of the groups 2001, 2002 and 2003.
async fn crew(stage: &mut Stage) -> String {
    let passwd = "root:x:0:0::/root:/bin/sh\nsailor:x:1001:2001::/home:/bin/sh\n";
    let group = "root:x:0:\nwatch:x:2002:sailor\ndeck:x:2003:sailor\n";
    let etc = Tree::new().directory("etc", 0o755);
    let etc = etc.file("etc/passwd", 0o644, passwd).file("etc/group", 0o644, group);
    let layers = vec![busybox::layer(Packing::Gzip), etc.pack(Packing::Plain)];
    stock::registry().push("security", "crew", &Image::new(Flavour::Oci, layers));
    let name = format!("{}/security:crew", stock::registry().address);
    stage.client.pull(&name).await.expect("pulled");
    name
}

/// Runs a command in the container that goes on until the container ends, and finds it from outside.
async fn beside(stage: &Stage, id: &str, seconds: &str) -> Outside {
    let mut client = stage.daemon.client().await;
    let (id, command) = (id.to_owned(), seconds.to_owned());
    tokio::spawn(async move { client.exec(&id, &["sleep", &command], 0).await });
    eventually("the command runs", async || Outside::with_argument(seconds).is_some()).await;
    Outside::with_argument(seconds).expect("it was there")
}

#[tokio::test]
async fn ids_and_groups_are_those_asked_for() {
    let mut stage = Stage::new("sec-ids").await;
    let image = crew(&mut stage).await;
    let strict = SupplementalGroupsPolicy::Strict;
    // uid, gid, groups: the kernel has them sorted.
    let table: [(&str, Change, u32, u32, &str); 7] = [
        ("nobody-said", |_| {}, 0, 0, "0"),
        ("by-number", |c| user(c, 1001), 1001, 2001, "2001 2002 2003"),
        ("by-name", |c| security(c).run_as_username = "sailor".into(), 1001, 2001, "2001 2002 2003"),
        (
            "with-group",
            |c| {
                user(c, 1001);
                security(c).run_as_group = Some(Int64Value { value: 77 });
            },
            1001,
            77,
            "77 2002 2003",
        ),
        (
            "merged",
            |c| {
                user(c, 1001);
                security(c).supplemental_groups = vec![3000];
            },
            1001,
            2001,
            "2001 2002 2003 3000",
        ),
        (
            "strict",
            |c| {
                user(c, 1001);
                security(c).supplemental_groups = vec![3000];
            },
            1001,
            2001,
            "2001 3000",
        ),
        ("strict-alone", |c| user(c, 1001), 1001, 2001, "2001"),
    ];
    for (number, (name, change, uid, gid, groups)) in table.into_iter().enumerate() {
        let mut config = container(name, &image, &["sleep", "1000"]);
        change(&mut config);
        if name.starts_with("strict") {
            security(&mut config).supplemental_groups_policy = strict.into();
        }
        let id = stage.start(&config).await;
        let first = Outside::of(&mut stage, &id).await;
        let command = beside(&stage, &id, &format!("77{}{number}", std::process::id())).await;
        for (which, process) in [("first", &first), ("beside", &command)] {
            assert_eq!(process.status("Uid"), format!("{uid} {uid} {uid} {uid}"), "{name}, {which}");
            assert_eq!(process.status("Gid"), format!("{gid} {gid} {gid} {gid}"), "{name}, {which}");
            assert_eq!(process.status("Groups"), groups, "{name}, {which}");
        }
        let told = stage.client.status(&id).await.expect("its status").user.and_then(|user| user.linux);
        let told = told.expect("a user");
        let mut listed = told.supplemental_groups.clone();
        listed.sort_unstable();
        let listed: Vec<String> = listed.iter().map(ToString::to_string).collect();
        assert_eq!(
            (told.uid, told.gid, listed.join(" ")),
            (uid.into(), gid.into(), groups.to_owned()),
            "{name}"
        );
    }
    stage.end().await;
}

#[tokio::test]
async fn capabilities_are_in_the_sets_where_they_belong() {
    let mut stage = Stage::new("sec-caps").await;
    let table: [(&str, Change, [u64; 5]); 8] = [
        ("usual", |_| {}, [0, USUAL, USUAL, USUAL, 0]),
        ("none", |c| capabilities(c, &[], &["ALL"], &[]), [0; 5]),
        ("one-of-none", |c| capabilities(c, &["CHOWN"], &["ALL"], &[]), [0, CHOWN, CHOWN, CHOWN, 0]),
        (
            "more",
            |c| capabilities(c, &["CAP_NET_ADMIN"], &[], &[]),
            [0, USUAL | NET_ADMIN, USUAL | NET_ADMIN, USUAL | NET_ADMIN, 0],
        ),
        (
            "less",
            |c| capabilities(c, &[], &["chown"], &[]),
            [0, USUAL & !CHOWN, USUAL & !CHOWN, USUAL & !CHOWN, 0],
        ),
        (
            "both-ways",
            |c| capabilities(c, &["CHOWN"], &["CHOWN"], &[]),
            [0, USUAL & !CHOWN, USUAL & !CHOWN, USUAL & !CHOWN, 0],
        ),
        ("not-root", |c| user(c, 1000), [0, 0, 0, USUAL, 0]),
        (
            "ambient",
            |c| {
                user(c, 1000);
                capabilities(c, &["NET_BIND_SERVICE"], &["ALL"], &["NET_BIND_SERVICE"]);
            },
            [NET_BIND_SERVICE; 5],
        ),
    ];
    for (name, change, expected) in table {
        let mut config = stage.script(name, "exec sleep 1000");
        change(&mut config);
        let id = stage.start(&config).await;
        assert_eq!(Outside::of(&mut stage, &id).await.capabilities(), expected, "{name}");
    }
    // All that the daemon itself may hand on.
    let own = Outside { pid: stage.daemon.pid().into() }.capabilities()[3];
    let mut config = stage.script("all", "exec sleep 1000");
    capabilities(&mut config, &["ALL"], &[], &[]);
    let id = stage.start(&config).await;
    assert_eq!(Outside::of(&mut stage, &id).await.capabilities(), [0, own, own, own, 0]);
    stage.end().await;
}

fn profile(kind: ProfileType, reference: &str) -> SecurityProfile {
    SecurityProfile { profile_type: kind.into(), localhost_ref: reference.into() }
}

#[tokio::test]
#[expect(deprecated, reason = "older clients set the older form of a profile")]
async fn a_filter_is_there_where_one_was_asked_for_in_either_form() {
    let mut stage = Stage::new("sec-filter").await;
    let allow =
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]}"#;
    let path = stage.daemon.place().put("profiles/allow.json", allow).display().to_string();
    let missing = format!("localhost/{path}.missing");
    let newer = |kind, reference: &str| -> Ask {
        let profile = profile(kind, reference);
        Box::new(move |config| security(config).seccomp = Some(profile.clone()))
    };
    let older = |text: &str| -> Ask {
        let text = text.to_owned();
        Box::new(move |config| security(config).seccomp_profile_path.clone_from(&text))
    };
    let both = |kind, text: &str| -> Ask {
        let (profile, text) = (profile(kind, ""), text.to_owned());
        Box::new(move |config| {
            security(config).seccomp = Some(profile.clone());
            security(config).seccomp_profile_path.clone_from(&text);
        })
    };
    let table: [(&str, Ask, &str); 11] = [
        ("unset", Box::new(|_| {}), "0"),
        ("default", newer(ProfileType::RuntimeDefault, ""), "2"),
        ("unconfined", newer(ProfileType::Unconfined, ""), "0"),
        ("localhost", newer(ProfileType::Localhost, &path), "2"),
        ("old-default", older("runtime/default"), "2"),
        ("docker-default", older("docker/default"), "2"),
        ("old-unconfined", older("unconfined"), "0"),
        ("old-localhost", older(&format!("localhost/{path}")), "2"),
        ("newer-wins", both(ProfileType::Unconfined, "runtime/default"), "0"),
        ("newer-wins-too", both(ProfileType::RuntimeDefault, "unconfined"), "2"),
        ("older-is-not-read", both(ProfileType::RuntimeDefault, &missing), "2"),
    ];
    for (name, ask, mode) in table {
        let mut config = stage.script(name, "exec sleep 1000");
        ask(&mut config);
        let id = stage.start(&config).await;
        let process = Outside::of(&mut stage, &id).await;
        assert_eq!(process.status("Seccomp"), mode, "{name}");
        assert_eq!(process.status("Seccomp_filters"), if mode == "2" { "1" } else { "0" }, "{name}");
    }
    stage.end().await;
}

#[tokio::test]
async fn no_new_privileges_is_a_bit_of_the_process() {
    let mut stage = Stage::new("sec-nnp").await;
    for (name, asked) in [("free", false), ("bound", true)] {
        let mut config = stage.script(name, "exec sleep 1000");
        security(&mut config).no_new_privs = asked;
        // The filter goes another way then: behind the change of user.
        security(&mut config).seccomp = Some(profile(ProfileType::RuntimeDefault, ""));
        user(&mut config, 1000);
        let id = stage.start(&config).await;
        let process = Outside::of(&mut stage, &id).await;
        assert_eq!(
            (process.status("NoNewPrivs"), process.status("Seccomp")),
            (u8::from(asked).to_string(), "2".into())
        );
    }
    stage.end().await;
}

#[tokio::test]
async fn namespaces_are_the_pod_s_the_node_s_or_its_own() {
    let mut stage = Stage::new("sec-ns").await;
    let node = |kind: &str| inode(&format!("/proc/self/ns/{kind}"));
    let one = stage.run("one", "exec sleep 1000").await;
    let mut config = stage.script("two", "exec sleep 1000");
    security(&mut config).namespace_options = Some(NamespaceOption {
        pid: NamespaceMode::Target.into(),
        target_id: one.clone(),
        ..NamespaceOption::default()
    });
    let two = stage.start(&config).await;
    let three = stage.run("three", "exec sleep 1000").await;
    let (one, two) = (Outside::of(&mut stage, &one).await, Outside::of(&mut stage, &two).await);
    let three = Outside::of(&mut stage, &three).await;
    for kind in ["net", "ipc", "uts"] {
        assert_eq!(one.namespace(kind), two.namespace(kind), "{kind} is the pod's");
        assert_ne!(one.namespace(kind), node(kind), "{kind} is not the node's");
    }
    assert_eq!(one.namespace("net"), inode(&format!("/run/netns/{}", stage.pod_id)));
    for kind in ["mnt", "cgroup"] {
        assert_ne!(one.namespace(kind), two.namespace(kind), "{kind} is each one's own");
        assert_ne!(one.namespace(kind), node(kind), "{kind} is not the node's");
    }
    assert_eq!(one.namespace("pid"), two.namespace("pid"), "it lives in its target's");
    assert_ne!(one.namespace("pid"), three.namespace("pid"), "a PID namespace of its own");
    assert_ne!(one.namespace("pid"), node("pid"));
    stage.end().await;

    let mut stage = Stage::with("sec-ns-node", |pod| {
        let options = namespaces(pod);
        let mode = NamespaceMode::Node.into();
        (options.network, options.ipc, options.pid) = (mode, mode, mode);
    })
    .await;
    let id = stage.run("one", "exec sleep 1000").await;
    let process = Outside::of(&mut stage, &id).await;
    for kind in ["net", "ipc", "uts", "pid"] {
        assert_eq!(process.namespace(kind), node(kind), "{kind} is the node's");
    }
    assert_ne!(process.namespace("mnt"), node("mnt"));
    stage.end().await;
}

#[tokio::test]
async fn sysctls_are_of_the_pod_s_namespaces_and_of_no_other() {
    let before = std::fs::read_to_string("/proc/sys/kernel/shmmni").expect("the node's");
    let mut stage = Stage::with("sec-sysctls", |pod| {
        let sysctls = &mut pod.linux.get_or_insert_default().sysctls;
        for (name, value) in [
            // Those that kubelet calls safe, and some that it does not.
            ("kernel.shm_rmid_forced", "1"),
            ("net.ipv4.ip_local_port_range", "40000\t50000"),
            ("net.ipv4.tcp_syncookies", "0"),
            ("net/ipv4/ip_forward", "1"),
            ("kernel.shmmni", "77"),
            ("kernel.sem", "32000\t1024000000\t500\t77"),
            ("kernel.msgmax", "7777"),
            ("fs.mqueue.msg_max", "7"),
        ] {
            sysctls.insert(name.into(), value.into());
        }
    })
    .await;
    let id = stage.run("c", "exec sleep 1000").await;
    let process = Outside::of(&mut stage, &id).await;
    let table = [
        ("kernel.shm_rmid_forced", "1"),
        ("net.ipv4.ip_local_port_range", "40000\t50000"),
        ("net.ipv4.tcp_syncookies", "0"),
        ("net.ipv4.ip_forward", "1"),
        ("kernel.shmmni", "77"),
        ("kernel.sem", "32000\t1024000000\t500\t77"),
        ("kernel.msgmax", "7777"),
        ("fs.mqueue.msg_max", "7"),
    ];
    for (name, value) in table {
        assert_eq!(process.sysctl(name), value, "{name}");
    }
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/shmmni").expect("the node's"), before);
    stage.end().await;
}

#[tokio::test]
async fn limits_of_a_process_are_the_daemon_s_own() {
    let mut stage = Stage::new("sec-rlimits").await;
    let id = stage.run("c", "exec sleep 1000").await;
    let daemon = Outside { pid: stage.daemon.pid().into() };
    assert_eq!(Outside::of(&mut stage, &id).await.read("limits"), daemon.read("limits"));
    stage.end().await;
}

#[tokio::test]
async fn a_named_apparmor_profile_needs_a_kernel_that_has_it() {
    let daemon = Daemon::start("sec-apparmor").await;
    let enabled =
        std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"));
    let mut stage = Stage::on(daemon, |_| {}).await;
    let mut config = stage.script("c", "exec sleep 1000");
    security(&mut config).apparmor = Some(profile(ProfileType::Localhost, "orlop-test-no-such"));
    let error = stage.create(&config).await.expect_err("there is no such profile");
    let code = if enabled { Code::InvalidArgument } else { Code::Unimplemented };
    assert_eq!(error.code(), code, "{error}");
    assert!(
        error.message().contains("apparmor.localhost_ref") && error.message().contains("orlop-test-no-such"),
        "{error}"
    );
    // Where nobody says a thing the runtime's own is there, if there can be one.
    for (name, asked) in [("unsaid", None), ("default", Some(profile(ProfileType::RuntimeDefault, "")))] {
        let mut config = stage.script(name, "exec sleep 1000");
        security(&mut config).apparmor = asked;
        let id = stage.start(&config).await;
        let path = format!("/proc/{}/attr/apparmor/current", Outside::of(&mut stage, &id).await.pid);
        let current = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(current.trim(), if enabled { "orlop-default (enforce)" } else { "" }, "{name}");
    }
    stage.end().await;
}
