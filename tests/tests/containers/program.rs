//! Arguments, environment, directory, terminal.

use orlop_proto::runtime::v1::{ContainerConfig, KeyValue};
use orlop_tests::busybox;
use orlop_tests::cri::container;
use orlop_tests::daemon::stage::Stage;
use orlop_tests::daemon::stock;
use orlop_tests::image::Flavour;
use orlop_tests::layer::Packing;
use serde_json::json;

/// A container of `image` that shows its own arguments.
fn shown(name: &str, image: &str, command: &[&str], args: &[&str]) -> ContainerConfig {
    let mut config = container(name, image, command);
    config.args = args.iter().map(|&word| word.to_owned()).collect();
    config
}

#[tokio::test]
async fn command_and_args_stand_for_the_image_s_entrypoint_and_cmd() {
    let mut stage = Stage::new("entrypoint").await;
    // A shell says what follows its script: $0, $1, ...
    let show = ["sh", "-c", "echo $0 $*"];
    let image = busybox::image(Flavour::Oci, Packing::Gzip)
        .with("Entrypoint", json!([show[0], show[1], show[2], "entrypoint"]))
        .with("Cmd", json!(["cmd", "two"]));
    stock::registry().push("busybox", "entrypoint", &image);
    let image = format!("{}/busybox:entrypoint", stock::registry().address);
    stage.client.pull(&image).await.expect("pulled");
    let own = [show[0], show[1], show[2], "command"];
    // As https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/ has it.
    let table: [(&str, &[&str], &[&str], &str); 5] = [
        ("neither", &[], &[], "entrypoint cmd two"),
        ("args", &[], &["args"], "entrypoint args"),
        ("command", &own, &[], "command"),
        ("both", &own, &["args", "three"], "command args three"),
        ("empty", &own, &["", "end"], "command end"),
    ];
    for (name, command, args, expected) in table {
        let config = shown(name, &image, command, args);
        let (status, said) = stage.to_end(&config).await;
        let words: Vec<&str> = said.split_whitespace().collect();
        assert_eq!((status.exit_code, words.join(" ")), (0, expected.to_owned()), "{name}");
    }
    stage.end().await;
}

#[tokio::test]
async fn the_environment_is_the_image_s_and_the_request_s_over_it() {
    let mut stage = Stage::new("environment").await;
    let image = busybox::image(Flavour::Oci, Packing::Gzip)
        .with("Env", json!(["PATH=/bin", "FROM_IMAGE=image", "BOTH=image", "EMPTY="]));
    stock::registry().push("busybox", "environment", &image);
    let image = format!("{}/busybox:environment", stock::registry().address);
    stage.client.pull(&image).await.expect("pulled");
    let mut config = container("c", &image, &["env"]);
    for (key, value) in
        [("BOTH", &b"request"[..]), ("TEXT", b"with spaces = and \"marks\""), ("BYTES", b"\xff\xfe")]
    {
        config.envs.push(KeyValue { key: key.into(), value: value.into() });
    }
    let (status, _) = stage.to_end(&config).await;
    assert_eq!(status.exit_code, 0);
    let log = std::fs::read(status.log_path).expect("its log");
    let said: Vec<&[u8]> = log
        .split(|&byte| byte == b'\n')
        .filter_map(|line| line.splitn(4, |&byte| byte == b' ').nth(3))
        .collect();
    let expected: [&[u8]; 6] = [
        b"PATH=/bin",
        b"FROM_IMAGE=image",
        b"BOTH=request",
        b"EMPTY=",
        b"TEXT=with spaces = and \"marks\"",
        b"BYTES=\xff\xfe",
    ];
    for line in expected {
        let count = said.iter().filter(|other| **other == line).count();
        assert_eq!(count, 1, "{} in {}", String::from_utf8_lossy(line), String::from_utf8_lossy(&log));
    }
    let names = ["PATH", "FROM_IMAGE", "BOTH", "EMPTY", "TEXT", "BYTES", "HOME", "HOSTNAME"];
    for line in &said {
        let name = line.split(|&byte| byte == b'=').next().map(String::from_utf8_lossy).expect("a name");
        assert!(names.contains(&&*name), "nobody asked for {name}");
    }
    stage.end().await;
}

#[tokio::test]
async fn the_working_directory_is_made_where_it_is_missing() {
    let mut stage = Stage::new("directory").await;
    let image = busybox::image(Flavour::Oci, Packing::Gzip).with("WorkingDir", json!("/www"));
    stock::registry().push("busybox", "directory", &image);
    let other = format!("{}/busybox:directory", stock::registry().address);
    stage.client.pull(&other).await.expect("pulled");
    let plain = stage.image.clone();
    let table = [
        ("none", &plain, "", "/"),
        ("there", &plain, "/etc", "/etc"),
        ("missing", &plain, "/deep/in/nowhere", "/deep/in/nowhere"),
        ("image", &other, "", "/www"),
        ("over", &other, "/etc", "/etc"),
    ];
    for (name, image, directory, expected) in table {
        let mut config = container(name, image, &["sh", "-c", "pwd; touch here && stat -c %u:%a ."]);
        config.working_dir = directory.into();
        let (status, said) = stage.to_end(&config).await;
        let mode = said.lines().nth(1).unwrap_or_default().to_owned();
        assert_eq!((status.exit_code, said.lines().next()), (0, Some(expected)), "{name}: {said}");
        assert_eq!(mode, "0:755", "{name}");
    }
    stage.end().await;
}

#[tokio::test]
async fn a_terminal_is_one_and_its_output_is_in_the_log() {
    let mut stage = Stage::new("terminal").await;
    let mut config =
        stage.script("c", "test -t 0 && test -t 1 && test -t 2 && tty; echo out; echo err >&2; exit 3");
    config.tty = true;
    let (status, said) = stage.to_end(&config).await;
    assert_eq!(status.exit_code, 3);
    let lines: Vec<&str> = said.lines().map(|line| line.trim_end_matches('\r')).collect();
    assert!(lines.len() == 3 && lines[0].starts_with("/dev/"), "{said}");
    assert_eq!(&lines[1..], ["out", "err"], "a terminal has one stream");
    // Without: no terminal, and nothing to read.
    let config = stage.script("plain", "test -t 0 || test -t 1 || echo none; cat; echo end");
    assert_eq!(stage.to_end(&config).await.1, "none\nend\n");
    stage.end().await;
}

#[tokio::test]
async fn a_container_inherits_nothing_of_the_daemon_s() {
    let mut stage = Stage::new("inherits").await;
    let id = stage.run("c", "exec sleep 1000").await;
    let script = "ls /proc/1/fd; cat /proc/1/limits | grep -i 'open files'; grep -E 'SigBlk|SigIgn' /proc/1/status; \
                  cat /proc/1/cgroup | cut -d: -f3 | sort -u";
    let said = stage.client.sh(&id, script).await;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..3], ["0", "1", "2"], "{said}");
    assert!(!lines[3].chars().next().is_some_and(|letter| letter.is_ascii_digit()), "{said}");
    for line in lines.iter().filter(|line| line.starts_with("Sig")) {
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
    assert_eq!(lines.last(), Some(&"/"), "its cgroup is the root of its own view: {said}");
    stage.end().await;
}
