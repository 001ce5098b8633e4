//! `pull`: the id on standard output, how far it is on standard error, the password on no command line.

use std::io::Write as _;
use std::process::Stdio;

use orlop_proto::orlop::v1::pull_progress::Event;
use orlop_proto::orlop::v1::{LayerProgress, LayerState, PullProgress};
use tonic::Status;

use crate::daemon::{Daemon, id};
use crate::run::{Ran, all_of, await_text, command, orlop, terminal, type_in, wait};

fn layer(digits: &str, state: LayerState, downloaded: u64, shared: bool) -> PullProgress {
    let layer = LayerProgress {
        digest: format!("sha256:{}", id(digits)),
        total_bytes: 4096,
        downloaded_bytes: downloaded,
        unpacked_bytes: downloaded * 2,
        state: state.into(),
        verified: state == LayerState::Done,
        shared,
    };
    PullProgress { event: Some(Event::Layer(layer)) }
}

fn end(event: Event) -> PullProgress {
    PullProgress { event: Some(event) }
}

fn daemon_with_image() -> Daemon {
    let daemon = Daemon::new();
    daemon.world().pull = vec![
        layer("c1", LayerState::Waiting, 0, false),
        layer("c2", LayerState::Done, 0, true),
        layer("c1", LayerState::Fetching, 1024, false),
        layer("c1", LayerState::Done, 4096, false),
        layer("c1", LayerState::Done, 4096, false),
        end(Event::ImageId("sha256:feed".into())),
    ];
    daemon
}

#[test]
fn without_a_terminal_it_is_a_line_a_layer() {
    let daemon = daemon_with_image();
    let ran = orlop(&daemon, "pull busybox");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "sha256:feed\n"));
    let expected = "\
c20000000000  shared: it was here already
c10000000000  4.0 KiB downloaded, verified, unpacked to 8.0 KiB
total         2 of 2 layers, 4.0 KiB of 4.0 KiB, 1 shared
";
    assert_eq!(ran.stderr, expected);
    assert_eq!(daemon.asked(), [r#"pull busybox as "" """#]);
}

#[test]
fn quiet_says_the_id_alone() {
    assert_eq!(orlop(&daemon_with_image(), "pull -q busybox").well(), "sha256:feed\n");
}

#[test]
fn at_a_terminal_there_are_bars_on_standard_error_only() {
    let daemon = daemon_with_image();
    let (ours, theirs) = terminal();
    let mut command = command(&daemon.socket(), "pull busybox");
    command.env("TERM", "xterm").stderr(Stdio::from(theirs));
    let child = command.spawn().unwrap();
    drop(command);
    let drawn = all_of(&ours);
    let ran = wait(child);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "sha256:feed\n"));
    assert!(drawn.contains('█') && drawn.contains("c10000000000"), "{drawn:?}");
    assert!(
        drawn.contains("unpacked to 8.0 KiB") && drawn.contains("shared: it was here already"),
        "{drawn:?}"
    );
    assert!(drawn.contains("2 of 2 layers, 4.0 KiB of 4.0 KiB, 1 shared"), "{drawn:?}");
}

#[test]
fn a_failure_says_so_and_gives_no_id() {
    let daemon = Daemon::new();
    daemon.world().pull = vec![end(Event::Failure("pull a/b: no such\u{1b} tag; look".into()))];
    assert_eq!(orlop(&daemon, "pull a/b").badly(), "orlop: pull a/b: no such\\u{1b} tag; look\n");
    daemon.world().pull = vec![layer("c1", LayerState::Fetching, 1, false)];
    daemon.world().pull_breaks = Some(Status::internal("broke"));
    let ran = orlop(&daemon, "pull a/b");
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.ends_with("orlop: pull a/b: broke\n"), "{}", ran.stderr);
    assert!(orlop(&daemon, "pull a/b").badly().contains("lacks its end"), "a stream that just ends");
}

#[test]
fn a_password_comes_from_the_environment_or_standard_input() {
    let daemon = daemon_with_image();
    let output = command(&daemon.socket(), "pull -q -u me a").env("ORLOP_PASSWORD", "s1").output().unwrap();
    assert_eq!(Ran::from(output).well(), "sha256:feed\n");

    daemon.world().pull = vec![end(Event::ImageId("x".into()))];
    let mut child =
        command(&daemon.socket(), "pull -q -u me --password-stdin a").stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"s2 with blank \n").unwrap();
    assert_eq!(wait(child).well(), "x\n");
    assert_eq!(daemon.asked(), [r#"pull a as "me" "s1""#, r#"pull a as "me" "s2 with blank ""#]);

    let said = orlop(&daemon, "pull -u me a").badly();
    assert!(said.contains("no terminal to ask at") && said.contains("ORLOP_PASSWORD"), "{said}");
}

#[test]
fn at_a_terminal_a_password_is_asked_for_and_not_shown() {
    for (keys, code) in [("geheim\n", 0), ("gehei\u{3}", 130)] {
        let daemon = Daemon::new();
        daemon.world().pull = vec![end(Event::ImageId("x".into()))];
        let (ours, theirs) = terminal();
        let before = rustix::termios::tcgetattr(&theirs).unwrap();
        let mut command = command(&daemon.socket(), "pull -q -u me a");
        command.stdin(Stdio::from(theirs.try_clone().unwrap()));
        command.stderr(Stdio::from(theirs.try_clone().unwrap()));
        let child = command.spawn().unwrap();
        drop(command);
        await_text(&ours, "password of me: ");
        type_in(&ours, keys);
        let ran = wait(child);
        assert_eq!(ran.code, code);
        let after = rustix::termios::tcgetattr(&theirs).unwrap();
        assert_eq!(after.local_modes, before.local_modes, "the terminal is as it was");
        drop(theirs);
        assert!(!all_of(&ours).contains("gehei"));
        let asked: &[&str] = if code == 0 { &[r#"pull a as "me" "geheim""#] } else { &[] };
        assert_eq!(daemon.asked(), asked);
    }
}
