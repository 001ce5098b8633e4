//! Where nobody answers, and where nobody listens.

use std::os::unix::net::UnixListener;
use std::process::Stdio;

use crate::daemon::Daemon;
use crate::run::{Ran, command};

#[test]
fn a_socket_that_is_not_there_is_named_with_what_to_do() {
    let place = tempfile::tempdir().unwrap();
    let (absent, left, file) =
        (place.path().join("absent"), place.path().join("left"), place.path().join("file"));
    drop(UnixListener::bind(&left).unwrap());
    std::fs::write(&file, "").unwrap();
    for (socket, cause, advice) in [
        (&absent, "No such file or directory", "is orlopd running?"),
        (&left, "Connection refused", "orlopd has ended"),
        (&file, "Connection refused", "orlopd has ended"),
    ] {
        let ran = Ran::from(command(socket, "ps").output().unwrap());
        let said = ran.badly();
        let expected = format!("orlop: cannot reach the daemon at {}: {cause}", socket.display());
        assert!(said.starts_with(&expected) && said.contains(advice), "{said}");
    }
    let ran = Ran::from(command(&absent, "exec a ls").output().unwrap());
    assert_eq!(ran.code, 125, "not to be taken for the command's own");
    let ran = Ran::from(command(&absent, "version").output().unwrap());
    assert_eq!((ran.code, ran.stdout.as_str()), (1, "client  orlop 0.1.0\n"));
}

#[test]
fn the_hosts_flag_outweighs_the_environment() {
    let daemon = Daemon::new();
    let line = format!("ps -q --host unix://{}", daemon.socket().display());
    let ran = Ran::from(command("/nowhere".as_ref(), &line).output().unwrap());
    assert_eq!(ran.well().lines().count(), 2);
}

#[test]
fn a_daemon_that_hangs_up_is_said_to_have() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let thread = std::thread::spawn(move || drop(listener.accept()));
    let ran = Ran::from(command(&socket, "ps").output().unwrap());
    thread.join().unwrap();
    let said = ran.badly();
    assert!(said.contains(&socket.display().to_string()), "{said}");
}

#[test]
fn whoever_stops_reading_is_not_complained_to() {
    let daemon = Daemon::new();
    for line in ["ps", "images -o json", "completion bash", "inspect a1", "explain a1"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(&daemon.socket(), line).stdout(Stdio::from(writer)).output().unwrap();
        assert_eq!(output.status.code(), Some(141), "{line}");
        assert_eq!(output.stderr, b"", "{line}");
    }
}
