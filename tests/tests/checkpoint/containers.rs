//! One container goes on elsewhere; the one that it was goes on, too.

use std::os::unix::fs::PermissionsExt as _;

use orlop_proto::runtime::v1::{ContainerState, Mount};
use orlop_tests::daemon::Daemon;
use orlop_tests::daemon::stage::{Stage, security};
use tonic::Code;

use super::scene::{
    checkpoint, configured, counted, criu, from_archive, numbers, own_processes, stage_with, started,
};

/// Counts, in its log and in a file of its root; ends by 7 when it is asked to.
const COUNTER: &str = "trap 'exit 7' TERM; echo kept > /kept; rm -r /etc/passwd; mkdir /new; ln -s kept /new/link; \
    echo kept > /vol/kept; exec 5>>/vol/open; i=0; \
    while :; do i=$((i+1)); echo $i; echo $i > /count; sleep 0.05; done";

fn volume(stage: &Stage, name: &str) -> Mount {
    let place = stage.daemon.place().join(name);
    std::fs::create_dir_all(&place).expect("a directory");
    Mount { host_path: place.display().to_string(), container_path: "/vol".into(), ..Mount::default() }
}

/// Whether each number follows the one before.
fn without_gap(numbers: &[u64]) -> bool {
    numbers.windows(2).all(|pair| pair[1] == pair[0] + 1)
}

#[tokio::test]
async fn a_container_goes_on_from_an_archive_and_the_one_that_it_was_goes_on_too() {
    let mut stage = stage_with("goes-on", &criu()).await;
    let mut config = stage.script("one", COUNTER);
    config.mounts = vec![volume(&stage, "volume")];
    let id = stage.start(&config).await;
    counted(&stage, "one", 5).await;
    let archive = stage.daemon.place().join("one.tar");
    checkpoint(&mut stage.client, &id, &archive).await.expect("written down");
    let mode = std::fs::metadata(&archive).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let before = *numbers(&stage, "one").last().expect("it has counted");
    counted(&stage, "one", before + 5).await;
    assert!(without_gap(&numbers(&stage, "one")), "nothing is lost of the one that it was");

    let again = from_archive(&config, "two", &archive);
    let two = stage.create(&again).await.expect("created");
    let stands = stage.client.status(&two).await.expect("its status").state;
    assert_eq!(stands, i32::from(ContainerState::ContainerCreated));
    started(&mut stage, &two).await;
    counted(&stage, "two", before + 10).await;
    assert!(without_gap(&numbers(&stage, "two")), "{:?}", numbers(&stage, "two"));
    let look =
        "cat /kept /vol/kept; readlink /new/link; readlink /proc/1/fd/5; test -e /etc/passwd || echo gone";
    assert_eq!(stage.client.sh(&two, look).await, "kept\nkept\nkept\n/vol/open\ngone\n");
    // In its own cgroup and its own view of it, and not in that of the one that it was.
    let outside = stage.client.sh(&two, "grep -c -v ':/$' /proc/1/cgroup; true").await;
    assert_eq!(outside, "0\n");
    stage.client.stop(&two, 10).await.expect("stopped");
    assert_eq!(stage.client.status(&two).await.expect("its status").exit_code, 7);
    let last = *numbers(&stage, "one").last().expect("it has counted");
    counted(&stage, "one", last + 5).await;
    stage.client.stop(&id, 10).await.expect("stopped");
    assert_eq!(stage.client.status(&id).await.expect("its status").exit_code, 7);
    stage.end().await;
}

#[tokio::test]
async fn a_container_goes_on_on_another_node() {
    let mut stage = stage_with("from", &criu()).await;
    let config = stage.script("one", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done");
    let id = stage.start(&config).await;
    counted(&stage, "one", 5).await;
    let archive = stage.daemon.place().join("one.tar");
    checkpoint(&mut stage.client, &id, &archive).await.expect("written down");
    let kept = std::env::temp_dir().join(format!("orlop-test-{}.tar", std::process::id()));
    std::fs::rename(&archive, &kept).expect("moved");
    // The image has another id there if its name leads elsewhere: the archive knows both.
    stage.end().await;

    let daemon = Daemon::build("to").config(&configured(&criu())).start().await;
    let mut other = Stage::on(daemon, own_processes).await;
    let config = from_archive(&config, "two", &kept);
    let id = other.create(&config).await.expect("created");
    started(&mut other, &id).await;
    std::fs::remove_file(&kept).expect("removed");
    counted(&other, "two", 10).await;
    assert!(without_gap(&numbers(&other, "two")));
    other.client.stop(&id, 0).await.expect("stopped");
    let left = other.daemon.root().join("containers").join(&id).join("restore");
    orlop_tests::daemon::eventually("its memory is removed", async || !left.exists()).await;
    other.end().await;
}

/// Whether this test, and so a daemon of it, has `CAP_SYS_RESOURCE`: `tests/all.sh` tells where it has not.
fn may_look_at_limits() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc(5)");
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("a mask");
    u64::from_str_radix(mask.trim(), 16).expect("a mask") & (1 << 24) != 0
}

/// As kubelet asks for it: masked and read-only paths, the default filter, no new privileges, a user.
#[tokio::test]
async fn a_confined_container_goes_on_confined_and_no_other_request_gets_it() {
    let mut stage = stage_with("confined", &criu()).await;
    let mut config = stage.script("one", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done");
    {
        let security = security(&mut config);
        security.masked_paths =
            ["/proc/kcore", "/proc/acpi", "/proc/timer_list", "/sys/firmware"].map(str::to_owned).into();
        security.readonly_paths = ["/proc/sys", "/proc/bus", "/proc/irq"].map(str::to_owned).into();
        // CRIU reads the limits of a process of another user by prlimit(2), which takes CAP_SYS_RESOURCE.
        if may_look_at_limits() {
            security.run_as_user = Some(orlop_proto::runtime::v1::Int64Value { value: 1000 });
        }
        security.no_new_privs = true;
        security.readonly_rootfs = true;
        security.seccomp = Some(orlop_proto::runtime::v1::SecurityProfile::default());
    }
    let id = stage.start(&config).await;
    counted(&stage, "one", 3).await;
    let archive = stage.daemon.place().join("one.tar");
    checkpoint(&mut stage.client, &id, &archive).await.expect("written down");
    let again = from_archive(&config, "two", &archive);
    let two = stage.create(&again).await.expect("created");
    started(&mut stage, &two).await;
    counted(&stage, "two", 6).await;
    let pids = [&id, &two];
    let mut seen = Vec::new();
    for id in pids {
        let pid = stage.client.facts(id).await.expect("facts")["pid"].clone();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let wanted = ["Uid:", "Gid:", "Groups:", "CapEff:", "CapBnd:", "CapPrm:", "NoNewPrivs:", "Seccomp:"];
        let lines = status.lines().filter(|line| wanted.iter().any(|word| line.starts_with(word)));
        let lines: Vec<String> = lines.map(str::to_owned).collect();
        let table = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("it runs");
        let mut mounts: Vec<String> =
            table.lines().map(|line| line.split(' ').skip(4).take(2).collect::<Vec<_>>().join(" ")).collect();
        mounts.sort();
        seen.push((lines, mounts));
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[1].1.iter().any(|mount| mount == "/ ro,relatime"), "{:?}", seen[1].1);

    let mut refused = Vec::new();
    let mut other = from_archive(&config, "three", &archive);
    security(&mut other).run_as_user = Some(orlop_proto::runtime::v1::Int64Value { value: 1001 });
    refused.push((other, "user"));
    let mut other = from_archive(&config, "three", &archive);
    security(&mut other).masked_paths.clear();
    refused.push((other, "masked"));
    let mut other = from_archive(&config, "three", &archive);
    other.mounts = vec![volume(&stage, "volume")];
    refused.push((other, "config.mounts"));
    let mut other = from_archive(&config, "three", &archive);
    other.tty = true;
    refused.push((other, "config.tty"));
    for (config, words) in refused {
        let status = stage.create(&config).await.expect_err("refused");
        assert!(status.code() == Code::FailedPrecondition && status.message().contains(words), "{status}");
    }
    stage.end().await;
}

#[tokio::test]
async fn a_terminal_and_an_open_stdin_go_on() {
    let mut stage = stage_with("terminal", &criu()).await;
    let count =
        "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done & while read -r line; do echo $line; done";
    for (name, tty, kind) in [("tty", true, "character special file"), ("stdin", false, "fifo")] {
        let mut config = stage.script(name, count);
        (config.tty, config.stdin) = (tty, true);
        let id = stage.start(&config).await;
        counted(&stage, name, 3).await;
        let archive = stage.daemon.place().join(format!("{name}.tar"));
        checkpoint(&mut stage.client, &id, &archive).await.expect("written down");
        let own = format!("{name}2");
        let two = from_archive(&config, &own, &archive);
        let two = stage.create(&two).await.expect("created");
        started(&mut stage, &two).await;
        counted(&stage, &own, 8).await;
        let seen = stage.client.sh(&two, "stat -L -c %F /proc/1/fd/0").await;
        assert_eq!(seen.trim(), kind);
        stage.client.stop(&two, 0).await.expect("stopped");
    }
    stage.end().await;
}

/// A restore that fails says why, and the container has ended.
#[tokio::test]
async fn a_restore_that_fails_says_what_criu_said() {
    let mut stage = stage_with("fails", &criu()).await;
    let mut config = stage.script("one", "exec 5>/vol/needed; while :; do sleep 1; done");
    config.mounts = vec![volume(&stage, "volume")];
    let id = stage.start(&config).await;
    let archive = stage.daemon.place().join("one.tar");
    let needed = stage.daemon.place().join("volume/needed");
    orlop_tests::daemon::eventually("it is open", async || needed.exists()).await;
    checkpoint(&mut stage.client, &id, &archive).await.expect("written down");
    let mut again = from_archive(&config, "two", &archive);
    again.mounts = vec![volume(&stage, "empty")];
    let two = stage.create(&again).await.expect("created");
    let status = stage.client.start(&two).await.expect_err("a file of it is not there");
    assert!(status.message().contains("needed"), "{status}");
    let stands = stage.client.status(&two).await.expect("its status").state;
    assert_eq!(stands, i32::from(ContainerState::ContainerExited));
    stage.end().await;
}
