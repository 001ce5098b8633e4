//! `logs`: what a container wrote, also over rotations, also while the daemon is away.

use std::fs::{File, rename};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Child;

use orlop_proto::runtime::v1::ContainerState;
use tonic::Status;

use crate::daemon::Daemon;
use crate::run::{command, orlop, wait};

fn append(path: &Path, lines: &[(u32, &str, &str)]) {
    let mut file = File::options().create(true).append(true).open(path).unwrap();
    for (second, stream, content) in lines {
        writeln!(file, "2026-01-02T15:04:{second:02}.000000000Z {stream} {content}").unwrap();
    }
}

fn with_log(lines: &[(u32, &str, &str)]) -> (Daemon, PathBuf) {
    let daemon = Daemon::new();
    let path = daemon.place().join("0.log");
    append(&path, lines);
    daemon.world().log_path = path.display().to_string();
    (daemon, path)
}

const LINES: [(u32, &str, &str); 5] = [
    (1, "stdout", "F one"),
    (2, "stderr", "F oops"),
    (3, "stdout", "P tw"),
    (4, "stdout", "F o"),
    (5, "stdout", "F three"),
];

#[test]
fn each_stream_goes_to_its_place() {
    let (daemon, _) = with_log(&LINES);
    let ran = orlop(&daemon, "logs a2");
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "one\ntwo\nthree\n", "oops\n"));
}

#[test]
fn the_last_lines_and_the_latest_can_be_had() {
    let (daemon, _) = with_log(&LINES);
    assert_eq!(orlop(&daemon, "logs --tail 2 a2").well(), "two\nthree\n");
    assert_eq!(orlop(&daemon, "logs -n 0 a2").well(), "");
    assert_eq!(orlop(&daemon, "logs --since 2026-01-02T15:04:05Z a2").well(), "three\n");
    assert_eq!(orlop(&daemon, "logs --since 1s a2").well(), "");
    let shown = orlop(&daemon, "logs -t -n 2 a2").well();
    assert_eq!(shown, "2026-01-02T15:04:03.000000000Z two\n2026-01-02T15:04:05.000000000Z three\n");
}

#[test]
fn what_cannot_be_read_is_named() {
    let (daemon, path) = with_log(&[]);
    std::fs::remove_file(&path).unwrap();
    let said = orlop(&daemon, "logs a2").badly();
    let expected = format!("orlop: cannot read the log {}: No such file or directory", path.display());
    assert!(said.starts_with(&expected), "{said}");
    daemon.world().containers[1].state = ContainerState::ContainerCreated.into();
    assert_eq!(orlop(&daemon, "logs a2").well(), "", "it has not written anything yet");
    daemon.world().log_path = String::new();
    assert!(orlop(&daemon, "logs a2").badly().contains("has no log file"));
}

fn follow(daemon: &Daemon) -> (Child, impl FnMut() -> String + use<>) {
    let mut child = command(&daemon.socket(), "logs -f a1").spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, move || lines.next().map_or_else(|| "the end".into(), Result::unwrap))
}

#[test]
fn following_goes_over_rotations_and_ends_with_the_container() {
    let (daemon, path) = with_log(&LINES[..1]);
    let (child, mut next) = follow(&daemon);
    assert_eq!(next(), "one");
    append(&path, &[(6, "stdout", "F four")]);
    assert_eq!(next(), "four");
    let old = daemon.place().join("0.log.1");
    rename(&path, &old).unwrap();
    append(&old, &[(7, "stdout", "F last of the old")]);
    append(&path, &[(8, "stdout", "F first of the new")]);
    assert_eq!(next(), "last of the old");
    assert_eq!(next(), "first of the new");
    append(&path, &[(9, "stdout", "F goodbye")]);
    daemon.world().containers[0].state = ContainerState::ContainerExited.into();
    assert_eq!(next(), "goodbye");
    assert_eq!(next(), "the end");
    let ran = wait(child);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}

#[test]
fn following_waits_for_a_container_that_has_not_started() {
    let (daemon, path) = with_log(&[]);
    std::fs::remove_file(&path).unwrap();
    daemon.world().containers[0].state = ContainerState::ContainerCreated.into();
    let (child, mut next) = follow(&daemon);
    append(&path, &LINES[..1]);
    assert_eq!(next(), "one");
    // A container that is removed has ended, too.
    daemon.world().containers.remove(0);
    assert_eq!(next(), "the end");
    assert_eq!(wait(child).code, 0);
}

#[test]
fn following_goes_on_while_the_daemon_is_away() {
    let (daemon, path) = with_log(&LINES[..1]);
    let (child, mut next) = follow(&daemon);
    assert_eq!(next(), "one");
    daemon.world().refused_statuses = vec![Status::unavailable("starting"), Status::unavailable("starting")];
    while !daemon.world().refused_statuses.is_empty() {
        std::thread::yield_now();
    }
    append(&path, &[(6, "stdout", "F still here")]);
    assert_eq!(next(), "still here");
    daemon.world().containers[0].state = ContainerState::ContainerExited.into();
    assert_eq!(next(), "the end");
    let ran = wait(child);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "orlop: logs a1: starting; following its file\n"));
}
