//! `orlop exec`: runs a command in a container to its end, and ends as it did.
//!
//! Its streams are this program's, as they come. With `--timeout`, or a daemon that streams nothing, the output comes at the end: the
//! daemon waits for it and keeps so much of it as an answer holds.
//!
//! *Invariant:* an exit code that is not the command's own is 125, 126 or 127, as docker has it.

use std::io::{self, Write};
use std::path::Path;

use clap::Args;
use orlop_proto::runtime::v1::{ExecRequest, ExecSyncRequest, ExecSyncResponse};
use tonic::{Code, Status};

use crate::client::{Daemon, question};
use crate::failure::Failure;
use crate::resolve;
use crate::session::talk::{Ended, Wanted, talk};
use crate::session::{STREAMS, open};

/// Its flags.
#[derive(Debug, Args)]
#[command(
    after_help = "Ends with the command's exit code; 127: there is no such command, 126: it cannot be executed, \
                        125: another failure.\n\nExample: orlop exec web sh -c 'ls /'"
)]
pub(crate) struct Exec {
    /// Pass our input on
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// How many seconds it may take; then it is killed
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..),
          conflicts_with_all = ["interactive", "tty"])]
    pub(crate) timeout: Option<u32>,
    /// A container
    pub(crate) id: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

impl Exec {
    pub(super) async fn run(self, host: &Path) -> Result<u8, Failure> {
        let ours = |cause| Failure::Exec { code: 125, cause: Box::new(cause) };
        let daemon = Daemon::connect(host).await.map_err(ours)?;
        let container = resolve::container(&daemon, &self.id).await.map_err(ours)?;
        let what = format!("exec {}", self.id);
        if self.timeout.is_none() {
            match self.url(&daemon, &container).await {
                Ok(url) => return self.talk(&what, &url).await,
                Err(status) if status.code() == Code::Unimplemented && !self.interactive && !self.tty => {}
                Err(status) => return Err(refused(&daemon, &what, &status)),
            }
        }
        let timeout = self.timeout.map_or(0, i64::from);
        let request = ExecSyncRequest { container_id: container, cmd: self.command, timeout };
        match daemon.runtime().exec_sync(request).await {
            Ok(answer) => Ok(show(&answer.into_inner())?),
            Err(status) => Err(refused(&daemon, &what, &status)),
        }
    }

    async fn url(&self, daemon: &Daemon, container: &str) -> Result<String, Status> {
        let request = ExecRequest {
            container_id: container.to_owned(),
            cmd: self.command.clone(),
            tty: self.tty,
            stdin: self.interactive,
            stdout: true,
            stderr: !self.tty,
        };
        Ok(daemon.runtime().exec(question(request)).await?.into_inner().url)
    }

    async fn talk(&self, what: &str, url: &str) -> Result<u8, Failure> {
        let failed = |source: io::Error| {
            let cause = Failure::Session { what: what.to_owned(), source };
            Failure::Exec { code: 125, cause: Box::new(cause) }
        };
        let (incoming, outgoing) = open(url, STREAMS).await.map_err(failed)?;
        let wanted = Wanted { input: self.interactive, terminal: self.tty, leaves: false };
        match talk(incoming, outgoing, wanted).await.map_err(failed)? {
            Ended::Well => Ok(0),
            Ended::Code(code) => Ok(code),
            Ended::Failed(said) => {
                let code = code(Code::InvalidArgument, &said);
                let (what, said) = (crate::render::text::escape(what), crate::render::text::escape(&said));
                let cause = Failure::Refused { what, code: Code::Unknown, said };
                Err(Failure::Exec { code, cause: Box::new(cause) })
            }
        }
    }
}

fn refused(daemon: &Daemon, what: &str, status: &Status) -> Failure {
    let cause = Box::new(daemon.refused(what, status));
    Failure::Exec { code: code(status.code(), status.message()), cause }
}

fn show(answer: &ExecSyncResponse) -> io::Result<u8> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(&answer.stdout)?;
    stdout.flush()?;
    io::stderr().lock().write_all(&answer.stderr)?;
    // The kernel gives eight bits, the daemon 128 and a signal's number: what is more is no success, whatever it is.
    Ok(u8::try_from(answer.exit_code).unwrap_or(255))
}

/// What to end with when the daemon did not run the command.
///
/// That it cannot be executed is a bad request; why, only the kernel's words in the message tell (strerror(3)).
fn code(code: Code, message: &str) -> u8 {
    let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
    if code != Code::InvalidArgument {
        125
    } else if says(&["No such file or directory", "not found", "Not a directory"]) {
        127
    } else if says(&["Permission denied", "Exec format error", "Is a directory", "Text file busy"]) {
        126
    } else {
        125
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_cannot_be_executed_has_its_code() {
        for (message, expected) in [
            ("exec /bin/nope: No such file or directory (os error 2)", 127),
            ("exec /etc/passwd: Permission denied (os error 13)", 126),
            ("exec /x: Exec format error (os error 8)", 126),
            ("cmd \"\": names no program", 125),
        ] {
            assert_eq!(code(Code::InvalidArgument, message), expected, "{message}");
            assert_eq!(code(Code::Internal, message), 125, "{message}: not the command's fault");
        }
    }
}
