//! `orlop exec`: runs a command in a container to its end, and ends as it did.
//!
//! *Invariant:* an exit code that is not the command's own is 125, 126 or 127, as docker has it.

use std::io::{self, Write};
use std::path::Path;

use clap::Args;
use orlop_proto::runtime::v1::{ExecSyncRequest, ExecSyncResponse};
use tonic::{Code, Status};

use crate::client::Daemon;
use crate::failure::Failure;
use crate::resolve;

/// Its flags.
#[derive(Debug, Args)]
#[command(
    after_help = "Ends with the command's exit code; 127: there is no such command, 126: it cannot be executed, \
                        125: another failure.\n\nExample: orlop exec web sh -c 'ls /'"
)]
pub(crate) struct Exec {
    /// How many seconds it may take; then it is killed
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
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
        let container_id = resolve::container(&daemon, &self.id).await.map_err(ours)?;
        let timeout = self.timeout.map_or(0, i64::from);
        let request = ExecSyncRequest { container_id, cmd: self.command, timeout };
        match daemon.runtime().exec_sync(request).await {
            Ok(answer) => Ok(show(&answer.into_inner())?),
            Err(status) => {
                let cause = Box::new(daemon.refused(&format!("exec {}", self.id), &status));
                Err(Failure::Exec { code: code(&status), cause })
            }
        }
    }
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
fn code(status: &Status) -> u8 {
    let says = |words: &[&str]| words.iter().any(|words| status.message().contains(words));
    if status.code() != Code::InvalidArgument {
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
            assert_eq!(code(&Status::invalid_argument(message)), expected, "{message}");
            assert_eq!(code(&Status::internal(message)), 125, "{message}: not the command's fault");
        }
    }
}
