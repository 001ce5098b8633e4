//! What becomes of what a container writes.

use std::process::Command;

use orlop_tests::daemon::stage::{Stage, lines, text};
use orlop_tests::daemon::{Daemon, eventually};

/// `2026-01-02T15:04:05.123456789Z` or with an offset.
fn is_time(text: &str) -> bool {
    let shape = |letter: char| if letter.is_ascii_digit() { '0' } else { letter };
    let shape: String = text.chars().map(shape).collect();
    ["Z", "+00:00", "-00:00"].iter().any(|zone| shape == format!("0000-00-00T00:00:00.000000000{zone}"))
}

#[tokio::test]
async fn lines_have_time_stream_and_tag() {
    let mut stage = Stage::new("lines").await;
    let script = "echo one; echo two >&2; printf 'three\\n\\n four  \\nno end'; printf '\\377\\000\\n' >&2";
    let config = stage.script("c", script);
    stage.to_end(&config).await;
    let log = stage.log("c");
    assert!(log.iter().all(|line| is_time(&line.time)), "{log:?}");
    let of = |stream: &str| -> Vec<(&str, bool)> {
        log.iter().filter(|line| line.stream == stream).map(|line| (&*line.text, line.whole)).collect()
    };
    let out = of("stdout");
    assert_eq!(out[..4], [("one", true), ("three", true), ("", true), (" four  ", true)]);
    assert_eq!(out[4].0, "no end");
    assert_eq!(of("stderr"), [("two", true), ("\u{fffd}\0", true)]);
    let times: Vec<&String> =
        log.iter().filter(|line| line.stream == "stdout").map(|line| &line.time).collect();
    assert!(times.is_sorted(), "{times:?}");
    stage.end().await;
}

#[tokio::test]
async fn a_long_line_comes_in_parts() {
    let mut stage = Stage::new("parts").await;
    let config = stage.script(
        "c",
        "head -c 51200 /dev/zero | tr '\\0' x; echo; echo short; head -c 16384 /dev/zero | tr '\\0' y; echo",
    );
    stage.to_end(&config).await;
    let log = stage.log("c");
    let tags: Vec<bool> = log.iter().map(|line| line.whole).collect();
    assert_eq!(tags, [false, false, false, true, true, true]);
    assert!(log.iter().all(|line| line.text.len() <= 16384));
    assert_eq!(text(&log, "stdout"), format!("{}\nshort\n{}\n", "x".repeat(51200), "y".repeat(16384)));
    stage.end().await;
}

#[tokio::test]
async fn without_a_log_path_there_is_no_log() {
    let mut stage = Stage::new("no-log").await;
    let mut config = stage.script("c", "head -c 1m /dev/zero; exit 4");
    config.log_path = String::new();
    let id = stage.start(&config).await;
    let status = stage.client.ended(&id).await;
    assert_eq!((status.exit_code, &*status.log_path), (4, ""));
    stage.end().await;
}

/// How many numbers a log has that goes on from `from`, each in its place, each line whole.
fn counted(path: &str, from: usize) -> usize {
    let log = std::fs::read(path).expect("a log");
    assert!(log.is_empty() || log.ends_with(b"\n"), "{path} ends within a line");
    let mut count = 0;
    for line in log.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let expected = format!(" stdout F {}", from + count);
        assert!(line.ends_with(expected.as_bytes()), "{expected}: {}", String::from_utf8_lossy(line));
        count += 1;
    }
    count
}

#[tokio::test]
async fn of_a_million_lines_none_is_lost_in_a_hundred_rotations() {
    const LINES: usize = 1_000_000;
    const ROTATIONS: usize = 100;
    let mut stage = Stage::new("rotation").await;
    // It writes until all rotations are done, and a million lines at the least.
    let script = format!(
        "i=0; while [ ! -e /stop ] || [ $i -lt {LINES} ]; do seq $i $((i + 9999)); i=$((i + 10000)); done; \
         echo $i; touch /done; exec sleep 1000"
    );
    let id = stage.run("c", &script).await;
    let path = format!("{}/c/0.log", stage.pod.log_directory);
    let size = |path: &str| std::fs::metadata(path).map_or(0, |file| file.len());
    for rotation in 0..ROTATIONS {
        eventually("something is written", async || size(&path) > 4096).await;
        std::fs::rename(&path, format!("{path}.{rotation}")).expect("renamed");
        stage.client.reopen_log(&id).await.expect("reopened");
        assert!(std::fs::exists(&path).expect("a look"), "the new file is there when the answer is");
    }
    stage.client.sh(&id, "touch /stop").await;
    let deadline = std::time::Instant::now() + 6 * orlop_tests::daemon::PATIENCE;
    while stage.client.exec(&id, &["test", "-e", "/done"], 60).await.expect("exec").exit_code != 0 {
        assert!(std::time::Instant::now() < deadline, "it does not come to its end");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    stage.client.stop(&id, 0).await.expect("stopped");
    let names = (0..ROTATIONS).map(|rotation| format!("{path}.{rotation}")).chain([path.clone()]);
    let all = names.fold(0, |count, path| count + counted(&path, count));
    assert!(all > LINES && all % 10_000 == 1, "{all} lines: the last is the number of the others");
    assert!(stage.client.reopen_log(&id).await.is_err(), "nobody writes it any more");
    stage.end().await;
}

#[tokio::test]
async fn sixty_four_mebibytes_come_whole() {
    let mut stage = Stage::new("much").await;
    // 64 bytes a line, and one MiB of them; the last stays without its newline.
    let line = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.";
    let config = stage.script("c", &format!("yes {line} | head -c 67108863; exit 5"));
    let id = stage.start(&config).await;
    let status = stage.client.ended(&id).await;
    assert_eq!(status.exit_code, 5);
    let log = std::fs::read(status.log_path).expect("its log");
    let mut count = 0_usize;
    for said in log.split(|&byte| byte == b'\n').filter(|said| !said.is_empty()) {
        let said = said.splitn(4, |&byte| byte == b' ').nth(3).expect("four words");
        assert_eq!(said, line.as_bytes(), "line {count}");
        count += 1;
    }
    assert_eq!(count, 1 << 20);
    stage.end().await;
}

#[tokio::test]
async fn a_full_disk_stops_no_container() {
    let mut stage = Stage::new("full").await;
    let directory = stage.pod.log_directory.clone();
    std::fs::create_dir_all(&directory).expect("a directory");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "test", &directory]).status();
    assert!(mounted.is_ok_and(|status| status.success()));
    let id =
        stage.run("c", "yes lost | head -n 200000; echo end >&2; sleep 0.05; touch /done; sleep 1000").await;
    eventually("it has written all", async || {
        let there = stage.client.exec(&id, &["test", "-e", "/done"], 60).await.expect("exec");
        there.exit_code == 0
    })
    .await;
    // Whole lines only, and room made later is used.
    let path = format!("{directory}/c/0.log");
    assert!(!lines(&std::fs::read(&path).expect("a log")).is_empty());
    std::fs::remove_file(&path).expect("room is made");
    stage.client.reopen_log(&id).await.expect("reopened");
    let script = "echo again > /proc/1/fd/1";
    stage.client.sh(&id, script).await;
    eventually("it is logged again", async || {
        lines(&std::fs::read(&path).expect("a log")).iter().any(|line| line.text == "again")
    })
    .await;
    stage.client.stop(&id, 0).await.expect("stopped");
    assert_eq!(stage.client.status(&id).await.expect("its status").exit_code, 137);
    stage.client.remove(&id).await.expect("removed");
    let config = stage.script("other", "yes lost | head -n 200000; exit 9");
    let id = stage.start(&config).await;
    assert_eq!(stage.client.ended(&id).await.exit_code, 9);
    stage.client.remove_pod(&stage.pod_id).await.expect("removed");
    let unmounted = Command::new("umount").arg(&directory).status();
    assert!(unmounted.is_ok_and(|status| status.success()), "nobody holds it");
    stage.end().await;
}

#[tokio::test]
async fn a_log_grows_to_its_cap_and_says_what_is_missing() {
    let daemon = Daemon::build("cap").config("[log]\ncontainer_cap = \"64KiB\"").start().await;
    let mut stage = Stage::on(daemon, |_| {}).await;
    // As fast as it can, far beyond the cap; then it waits for the rotation.
    let script =
        "yes 0123456789 | head -n 1000000; touch /done; while [ ! -e /go ]; do sleep 0.01; done; echo after";
    let id = stage.run("c", script).await;
    stage.client.sh(&id, "while [ ! -e /done ]; do sleep 0.01; done").await;
    let path = format!("{}/c/0.log", stage.pod.log_directory);
    let full = std::fs::read(&path).expect("a log");
    assert!(full.len() <= 64 << 10 && full.len() > 60 << 10, "{} bytes", full.len());
    let kept = lines(&full);
    assert!(kept.iter().all(|line| line.text == "0123456789"));
    std::fs::rename(&path, format!("{path}.old")).expect("renamed");
    stage.client.reopen_log(&id).await.expect("reopened");
    stage.client.sh(&id, "touch /go").await;
    stage.client.ended(&id).await;
    let log = lines(&std::fs::read(&path).expect("a log"));
    let said = format!(
        "orlop: {} bytes of this log were dropped",
        (1_000_000 - kept.len()) * (full.len() / kept.len())
    );
    assert_eq!(
        (&*log[0].stream, log[0].text.starts_with(&said)),
        ("stderr", true),
        "{:?}, not {said}",
        log[0]
    );
    assert_eq!((log.len(), &*log[1].text), (2, "after"));
    stage.end().await;
}

#[tokio::test]
async fn a_child_that_holds_the_output_open_delays_no_end() {
    // In a shared PID namespace nothing but the shim ends it.
    for (name, shared) in [("shared", true), ("own", false)] {
        let mut stage = Stage::with(&format!("held-{name}"), |pod| {
            if shared {
                pod.linux = None;
            }
        })
        .await;
        let config = stage.script("c", "setsid sleep 5000 & echo said; exit 6");
        let (status, said) = stage.to_end(&config).await;
        assert_eq!((status.exit_code, &*said), (6, "said\n"));
        stage.end().await;
    }
}
