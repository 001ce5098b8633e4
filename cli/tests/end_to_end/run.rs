//! The program, run to its end.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::daemon::Daemon;

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Ran {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// Standard output of a run that went well and said nothing beside it.
    pub(crate) fn well(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""), "{}", self.stdout);
        self.stdout
    }

    /// Standard error of a run that failed with 1 and gave nothing out.
    pub(crate) fn badly(self) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (1, ""), "{}", self.stderr);
        self.stderr
    }
}

/// The program with `line` as its arguments, to talk to `socket`.
pub(crate) fn command(socket: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orlop"));
    command.args(line.split(' ')).env_clear().env("ORLOP_HOST", format!("unix://{}", socket.display()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it.
pub(crate) fn orlop(daemon: &Daemon, line: &str) -> Ran {
    command(&daemon.socket(), line).output().unwrap().into()
}

/// A terminal of 100 columns: its own side, and the program's.
pub(crate) fn terminal() -> (File, OwnedFd) {
    let ours = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    rustix::pty::grantpt(&ours).unwrap();
    rustix::pty::unlockpt(&ours).unwrap();
    let name = rustix::pty::ptsname(&ours, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let theirs = rustix::fs::open(name, flags, Mode::empty()).unwrap();
    let size = Winsize { ws_row: 40, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&theirs, size).unwrap();
    (ours.into(), theirs)
}

/// What comes out of a terminal until the program has closed its side.
pub(crate) fn all_of(mut terminal: &File) -> String {
    let (mut out, mut block) = (Vec::new(), [0; 4096]);
    // A terminal whose other side is closed gives EIO.
    while let Ok(count @ 1..) = terminal.read(&mut block) {
        out.extend_from_slice(&block[..count]);
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Reads from a terminal until `text` came.
pub(crate) fn await_text(mut terminal: &File, text: &str) -> String {
    let mut out = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&out).contains(text) {
        terminal.read_exact(&mut byte).unwrap();
        out.push(byte[0]);
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Types `keys`.
pub(crate) fn type_in(mut terminal: &File, keys: &str) {
    terminal.write_all(keys.as_bytes()).unwrap();
}

/// Waits for a program that was started with pipes.
pub(crate) fn wait(child: Child) -> Ran {
    child.wait_with_output().unwrap().into()
}
