//! `exec`: outputs to their places, and the command's own exit code.

use orlop_proto::runtime::v1::ExecSyncResponse;
use tonic::Status;

use crate::daemon::Daemon;
use crate::run::{command, orlop};

#[test]
fn it_ends_as_the_command_did() {
    let daemon = Daemon::new();
    for code in [0, 1, 42, 137, 255] {
        let (stdout, stderr) = (b"\0out\xff\n".to_vec(), b"\x1b[31merr".to_vec());
        daemon.world().exec =
            Ok(ExecSyncResponse { stdout: stdout.clone(), stderr: stderr.clone(), exit_code: code });
        let output = command(&daemon.socket(), "exec test/shop/web sh -c x").output().unwrap();
        assert_eq!(output.status.code(), Some(code));
        assert_eq!((output.stdout, output.stderr), (stdout, stderr), "byte for byte");
    }
}

#[test]
fn the_command_goes_as_it_was_typed() {
    let daemon = Daemon::new();
    orlop(&daemon, "exec --timeout 5 a1 ls -l --timeout 7").well();
    orlop(&daemon, "exec db -- --odd").well();
    assert_eq!(
        daemon.asked(),
        [r#"exec a1 ["ls", "-l", "--timeout", "7"] for 5 s"#, r#"exec a3 ["--odd"] for 0 s"#]
    );
}

#[test]
fn what_is_not_the_commands_own_code_is_125_126_or_127() {
    let daemon = Daemon::new();
    for (status, code) in [
        (Status::invalid_argument("exec nope: No such file or directory (os error 2)"), 127),
        (Status::invalid_argument("exec /etc/passwd: Permission denied (os error 13)"), 126),
        (Status::failed_precondition("exec a1: the container is not running"), 125),
        (Status::deadline_exceeded("exec: the process did not end in time"), 125),
        (Status::internal("No such file or directory"), 125),
    ] {
        daemon.world().exec = Err(status.clone());
        let ran = orlop(&daemon, "exec a1 nope");
        assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{status:?}");
        assert_eq!(ran.stderr, format!("orlop: exec a1: {}\n", status.message()));
    }
    assert_eq!(orlop(&daemon, "exec web ls").code, 125, "which web?");
    assert_eq!(orlop(&daemon, "exec nothing ls").code, 125);
    assert_eq!(orlop(&daemon, "exec a1").code, 125, "no command");
}

#[test]
fn a_large_output_comes_whole() {
    let daemon = Daemon::new();
    let stdout = vec![b'x'; 16 << 20];
    daemon.world().exec = Ok(ExecSyncResponse { stderr: stdout.clone(), stdout, exit_code: 3 });
    let ran = orlop(&daemon, "exec a1 yes");
    assert_eq!((ran.code, ran.stdout.len(), ran.stderr.len()), (3, 16 << 20, 16 << 20));
}
