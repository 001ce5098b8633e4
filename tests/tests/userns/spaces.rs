//! Namespaces, who owns them, and what their maps are.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use orlop_proto::runtime::v1::NamespaceMode;
use orlop_tests::daemon::stage::{Stage, namespaces, security};

use super::{GID, UID, ask, pid, stage};

/// Says of each namespace of a process: kind, number, number of the user namespace that owns it (ioctl_nsfs(2), `NS_GET_USERNS`).
const OWNERS: &str = r"
import fcntl, os, sys
for kind in ('mnt', 'net', 'ipc', 'uts', 'pid', 'cgroup', 'user'):
    held = os.open(f'/proc/{sys.argv[1]}/ns/{kind}', os.O_RDONLY)
    owner = 0 if kind == 'user' else os.fstat(fcntl.ioctl(held, 0xb701)).st_ino
    print(kind, os.fstat(held).st_ino, owner)
";

/// Namespaces of a process by kind: number, and that of the user namespace that owns it.
fn spaces(pid: i64) -> BTreeMap<String, (u64, u64)> {
    let said = Command::new("python3").args(["-c", OWNERS, &pid.to_string()]).output().expect("python");
    let said = String::from_utf8(said.stdout).expect("text");
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse().expect("a number");
        (words[0].to_owned(), (number(1), number(2)))
    };
    said.lines().map(line).collect()
}

fn map_of(pid: i64, kind: &str) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{kind}_map")).expect("it runs");
    text.split_whitespace().map(|word| word.parse().expect("a number")).collect()
}

#[tokio::test]
async fn a_pods_user_namespace_owns_all_its_others() {
    let mut stage = stage("userns-owner").await;
    let one = stage.run("one", "exec sleep 1000").await;
    let two = stage.run("two", "exec sleep 1000").await;
    let (first, second) = (pid(&mut stage, &one).await, pid(&mut stage, &two).await);
    let own = spaces(std::process::id().into());
    let (first_spaces, second_spaces) = (spaces(first), spaces(second));
    let user = first_spaces["user"].0;
    for kind in ["mnt", "net", "ipc", "uts", "pid", "cgroup"] {
        assert_ne!(first_spaces[kind].0, own[kind].0, "{kind} is not the node's");
        assert_eq!(
            first_spaces[kind].1, user,
            "{kind} is owned by the pod's user namespace: {first_spaces:?}"
        );
        assert_eq!(second_spaces[kind].1, user, "{kind}: {second_spaces:?}");
    }
    assert_ne!(user, own["user"].0);
    assert_eq!(second_spaces["user"].0, user, "one user namespace for all containers of the pod");
    for kind in ["net", "ipc", "uts"] {
        assert_eq!(first_spaces[kind].0, second_spaces[kind].0, "{kind} is the pod's");
    }
    for kind in ["mnt", "pid"] {
        assert_ne!(first_spaces[kind].0, second_spaces[kind].0, "{kind} is each container's");
    }
    for pid in [first, second] {
        assert_eq!(map_of(pid, "uid"), [0, UID, 65536]);
        assert_eq!(map_of(pid, "gid"), [0, GID, 65536]);
        let process = std::fs::metadata(format!("/proc/{pid}")).expect("it runs");
        assert_eq!((process.uid(), process.gid()), (UID, GID));
    }
    // The pin of the network is where it always is.
    let pin = std::fs::metadata(format!("/run/netns/{}", stage.pod_id)).expect("a pin");
    assert_eq!(pin.ino(), first_spaces["net"].0);
    assert_eq!(
        stage.client.sh(&one, "hostname; id -u; id -g; ls -A /proc/1/root | head -n1 | wc -l").await,
        "pod\n0\n0\n1\n"
    );
    stage.end().await;
}

#[tokio::test]
async fn a_shared_pid_namespace_is_owned_too() {
    let mut stage = Stage::with("userns-pid", |pod| {
        ask(pod);
        namespaces(pod).pid = NamespaceMode::Pod.into();
    })
    .await;
    let one = stage.run("one", "exec sleep 1001").await;
    let two = stage.run("two", "exec sleep 1002").await;
    let (first, second) = (pid(&mut stage, &one).await, pid(&mut stage, &two).await);
    let (first, second) = (spaces(first), spaces(second));
    assert_eq!(first["pid"], second["pid"]);
    assert_eq!(first["pid"].1, first["user"].0);
    let seen = stage
        .client
        .sh(&one, "ps -o pid,user,args; kill -9 $(ps -o pid,args | awk '$3 == 1002 { print $1 }')")
        .await;
    assert!(seen.contains("sleep 1002"), "{seen}");
    let init = seen.lines().find(|line| line.trim_start().starts_with("1 ")).expect("an init");
    assert!(init.contains("root"), "the init is nobody's but the pod's root's: {seen}");
    assert_eq!(stage.client.ended(&two).await.exit_code, 137);
    stage.end().await;
}

#[tokio::test]
async fn a_container_enters_the_pid_namespace_of_its_target() {
    let mut stage = stage("userns-target").await;
    let target = stage.run("target", "exec sleep 1001").await;
    let mut config = stage.script("debugger", "exec sleep 1002");
    let options = security(&mut config).namespace_options.get_or_insert_default();
    options.pid = NamespaceMode::Target.into();
    options.target_id.clone_from(&target);
    options.userns_options = Some(super::user());
    let debugger = stage.start(&config).await;
    let seen = stage.client.sh(&debugger, "ps -o pid,args").await;
    assert!(seen.lines().any(|line| line.trim() == "1 sleep 1001") && seen.contains("sleep 1002"), "{seen}");
    let (one, two) = (pid(&mut stage, &target).await, pid(&mut stage, &debugger).await);
    assert_eq!(spaces(one)["pid"], spaces(two)["pid"]);
    stage.end().await;
}

#[tokio::test]
async fn sysctls_are_of_the_pods_namespaces() {
    let mut stage = Stage::with("userns-sysctl", |pod| {
        ask(pod);
        let linux = pod.linux.as_mut().expect("set");
        for (name, value) in [
            ("net.ipv4.ip_local_port_range", "2000 3000"),
            ("kernel.shm_rmid_forced", "1"),
            ("fs.mqueue.msg_max", "17"),
        ] {
            linux.sysctls.insert(name.into(), value.into());
        }
    })
    .await;
    let id = stage.run("c", "exec sleep 1000").await;
    let read = "cd /proc/sys; cat net/ipv4/ip_local_port_range kernel/shm_rmid_forced fs/mqueue/msg_max net/ipv4/ip_unprivileged_port_start | tr '\\t' ' '";
    assert_eq!(stage.client.sh(&id, read).await, "2000 3000\n1\n17\n0\n");
    stage.end().await;
}

#[tokio::test]
async fn a_user_of_the_namespace_may_ping_and_open_low_ports() {
    let mut stage = stage("userns-ping").await;
    let id = stage.run("c", "exec sleep 1000").await;
    let number = pid(&mut stage, &id).await;
    // A program of the node's, since busybox knows no ping without privilege: as a user of the pod's, in its network.
    let ping = "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).sendto(b'\\x08' + bytes(7), ('127.0.0.1', 0))\nsocket.socket().bind(('', 80))";
    let mut command = Command::new("nsenter");
    command.args(["-t", &number.to_string(), "-U", "-n", "-S", "4711", "-G", "4711", "python3", "-c", ping]);
    let done = command.output().expect("nsenter is installed");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    stage.end().await;
}
