//! What the programs of a container can, and what they cannot.

use std::process::Command;

use orlop_proto::runtime::v1::Device;
use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::security;
use orlop_tests::session::{STDIN, Session, V4, V5};

use super::{UID, pid, script_of, stage};

fn status(pid: i64, name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("it is there");
    line.trim_start_matches(':').trim().to_owned()
}

#[tokio::test]
async fn root_has_the_default_capabilities_of_its_namespace_alone() {
    let mut stage = stage("userns-caps").await;
    let id = stage.run("c", "exec sleep 1000").await;
    let number = pid(&mut stage, &id).await;
    // As those of a container without a user namespace: chown to mknod, as every engine has them.
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(status(number, set), "00000000a80425fb", "{set}");
    }
    assert_eq!(status(number, "Uid").split('\t').next(), Some(UID.to_string().as_str()));
    let tries = "mknod /dev/x c 1 3; mknod /x b 8 0; chown 70000 /etc; mkdir /m; mount -t tmpfs x /m; echo 1 > /proc/sys/kernel/panic; kill -9 1 ; true";
    let said = stage.client.exec(&id, &["sh", "-c", tries], 10).await.expect("it ran");
    let errors = String::from_utf8_lossy(&said.stderr);
    for (what, why) in [
        ("mknod: /dev/x", "not permitted"),
        ("mknod: /x", "not permitted"),
        ("chown: /etc", "Invalid argument"),
        ("mount:", "denied"),
        ("kernel/panic", "denied"),
    ] {
        assert!(errors.lines().any(|line| line.contains(what) && line.contains(why)), "{what}: {errors}");
    }
    // Of its namespace it is root.
    stage
        .client
        .sh(&id, "touch /x; chown 65535:65535 /x; chmod 4755 /x; mkdir -m 700 /d; chown 12 /d; touch /d/x")
        .await;
    stage.end().await;
}

#[tokio::test]
async fn devices_are_the_nodes_and_can_be_used() {
    let mut stage = stage("userns-devices").await;
    let mut config = script_of(
        &stage,
        "c",
        33,
        "echo x > /dev/null; head -c 3 /dev/zero | wc -c; head -c 2 /dev/urandom | wc -c; echo full > /dev/full; exec sleep 1000",
    );
    config.devices = vec![Device {
        host_path: "/dev/zero".into(),
        container_path: "/dev/mine".into(),
        permissions: "rw".into(),
    }];
    let id = stage.start(&config).await;
    eventually("it has written", async || stage.log("c").len() >= 3).await;
    let said = orlop_tests::daemon::stage::text(&stage.log("c"), "stdout");
    assert_eq!(said, "3\n2\n");
    let seen = stage.client.sh(&id, "stat -c '%n %F %t:%T' /dev/null /dev/tty /dev/mine; head -c 4 /dev/mine | wc -c; readlink /dev/ptmx; readlink /dev/stdin").await;
    assert_eq!(
        seen,
        "/dev/null character special file 1:3\n/dev/tty character special file 5:0\n/dev/mine character special file 1:5\n4\npts/ptmx\n/proc/self/fd/0\n"
    );
    stage.end().await;
}

#[tokio::test]
async fn output_can_be_opened_anew_by_whoever_runs() {
    let mut stage = stage("userns-streams").await;
    for (name, uid) in [("root", 0), ("user", 1000)] {
        let config = script_of(&stage, name, uid, "echo out > /dev/stdout; echo err > /dev/stderr");
        let (status, said) = stage.to_end(&config).await;
        let errors = orlop_tests::daemon::stage::text(&stage.log(name), "stderr");
        assert_eq!((status.exit_code, said.as_str(), errors.as_str()), (0, "out\n", "err\n"), "{name}");
    }
    let config = script_of(&stage, "long", 1000, "exec sleep 1000");
    let id = stage.start(&config).await;
    assert_eq!(
        stage
            .client
            .sh(&id, "id -u; id -g; echo again > /dev/stdout; cat /proc/self/uid_map | tr -s ' '")
            .await,
        format!("1000\n1000\nagain\n 0 {UID} 65536\n")
    );
    stage.end().await;
}

#[tokio::test]
async fn terminals_belong_to_whoever_runs() {
    let mut stage = stage("userns-terminals").await;
    for (name, uid) in [("root", 0), ("user", 1000)] {
        let mut config = script_of(
            &stage,
            name,
            uid,
            "read word; echo got $word; tty; stat -c '%u' $(tty); exec sleep 1000",
        );
        (config.tty, config.stdin) = (true, true);
        let id = stage.start(&config).await;
        let url = stage.client.attach_url(&id, "iot").await.expect("a URL");
        let mut session = Session::open(&url, V5).await.expect("upgraded");
        session.outgoing.send(STDIN, b"hello\n").await;
        let owner = uid.to_string();
        let said = session
            .incoming
            .until(|said| said.contains("got hello") && said.trim_end().ends_with(&owner))
            .await;
        assert!(said.contains("/dev/"), "{said}");
        let url = stage
            .client
            .exec_url(&id, &["sh", "-c", "tty; stat -c '%u' $(tty); id -u"], "iot")
            .await
            .expect("a URL");
        let outcome = Session::open(&url, V5).await.expect("upgraded").finish().await;
        let words: Vec<&str> = outcome.text().split_whitespace().collect();
        assert!(words[0].starts_with("/dev/pts/"), "{words:?}");
        assert_eq!(words[1..], [owner.as_str(), owner.as_str()]);
    }
    stage.end().await;
}

#[tokio::test]
async fn a_port_of_the_pod_is_reached() {
    let mut stage = stage("userns-ports").await;
    stage.run("c", "exec httpd -f -p 127.0.0.1:8080 -h /www").await;
    eventually("the page is served", async || {
        let url = stage.client.port_forward_url(&stage.pod_id.clone(), &[8080]).await.expect("a URL");
        let mut session = Session::open(&url, V4).await.expect("a session");
        session.outgoing.send(0, b"GET / HTTP/1.0\r\n\r\n").await;
        let (mut said, mut errors) = (Vec::new(), Vec::new());
        while let Some((channel, bytes)) = session.incoming.next().await {
            if channel == 0 {
                said.extend(bytes);
            } else {
                errors.extend(bytes);
            }
            if errors.len() > 2 || said.ends_with(b"from a container\n") {
                break;
            }
        }
        String::from_utf8_lossy(&said).contains("orlop serves this page")
    })
    .await;
    stage.end().await;
}

#[tokio::test]
async fn message_queues_are_the_pods() {
    let mut stage = stage("userns-mqueue").await;
    let one = stage.run("one", "exec sleep 1000").await;
    let two = stage.run("two", "exec sleep 1000").await;
    stage.client.sh(&one, "touch /dev/mqueue/q").await;
    assert_eq!(stage.client.sh(&two, "ls /dev/mqueue").await, "q\n");
    stage.end().await;
}

#[tokio::test]
async fn a_privileged_container_is_privileged_in_its_namespace_alone() {
    let mut stage = orlop_tests::daemon::stage::Stage::with("userns-privileged", |pod| {
        super::ask(pod);
        let linux = pod.linux.as_mut().expect("set");
        linux.security_context.as_mut().expect("set").privileged = true;
    })
    .await;
    let mut config = stage.script("c", "exec sleep 1000");
    security(&mut config).privileged = true;
    let id = stage.start(&config).await;
    let said = stage
        .client
        .sh(&id, "mkdir /m && mount -t tmpfs x /m && touch /m/x && umount /m && hostname other && hostname")
        .await;
    assert_eq!(said, "other\n");
    let tries = "mknod /x c 1 3; echo 1 > /proc/sys/kernel/panic; date -s 2000-01-01; dmesg -c; true";
    let said = stage.client.exec(&id, &["sh", "-c", tries], 10).await.expect("it ran");
    let errors = String::from_utf8_lossy(&said.stderr);
    for what in ["mknod: /x", "kernel/panic", "date:"] {
        assert!(errors.lines().any(|line| line.contains(what)), "{what}: {errors}");
    }
    // A device is the node's, and may be a peer of its mount there: what is mounted on it is not the node's.
    stage.client.sh(&id, "mount -o bind /etc/hosts /dev/null").await;
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    assert!(!table.lines().any(|line| line.split(' ').nth(4) == Some("/dev/null")), "{table}");
    let own = Command::new("hostname").output().expect("hostname");
    assert_ne!(own.stdout, b"other\n");
    stage.end().await;
}

#[tokio::test]
async fn the_view_of_cgroups_is_its_own() {
    let mut stage = stage("userns-cgroups").await;
    let id = stage.run("c", "exec sleep 1000").await;
    let seen = stage
        .client
        .sh(&id, "cat /proc/self/cgroup; ls -d /sys/fs/cgroup/* | wc -l; touch /sys/fs/cgroup/x 2>&1 || true")
        .await;
    assert!(!seen.contains(&id), "{seen}");
    assert!(seen.contains("Read-only") || seen.contains("denied"), "{seen}");
    stage.end().await;
}
