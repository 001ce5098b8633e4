//! What went wrong, what to do, and with which exit code to end.
//!
//! | code | means |
//! | --- | --- |
//! | 1 | an error; of `audit`: differences |
//! | 2 | a command line that cannot be (of `exec`: 125) |
//! | 125 | `exec` could not be carried out, for another reason than the command itself |
//! | 126, 127 | the command cannot be executed, is not there |
//! | 130 | a question was answered with Ctrl-C |
//! | 141 | whoever read our output went away, as a shell says of a program that died of SIGPIPE |
//! | others | the command's own |
//!
//! *Invariant:* texts of the daemon are escaped when they enter a failure; `Display` never repeats its source.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;

use tonic::Code;

use crate::render::text::escape;

/// One failure of the command line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Nobody answers at the socket.
    #[error("cannot reach the daemon at {}", escape(&socket.display().to_string()))]
    Unreachable { socket: PathBuf, source: io::Error },
    /// The connection broke during a call.
    #[error("{what}: the daemon at {} went away: {cause}", escape(&socket.display().to_string()))]
    Lost { what: String, socket: PathBuf, cause: String },
    /// The daemon is there and says nothing.
    #[error("{what}: the daemon at {} has not answered for {seconds} s", escape(&socket.display().to_string()))]
    Mute { what: String, socket: PathBuf, seconds: u64 },
    /// Somebody answers, but not to this call.
    #[error("{what}: the daemon at {} does not know this call", escape(&socket.display().to_string()))]
    NotServed { what: String, socket: PathBuf },
    /// The daemon said no.
    #[error("{what}: {said}")]
    Refused { what: String, code: Code, said: String },
    /// The daemon's answer lacks what must be in it.
    #[error("{what}: the daemon's answer lacks {lacks}")]
    Incomplete { what: String, lacks: &'static str },
    /// Nothing fits.
    #[error("no {kinds} has the name or an id that begins with \"{}\"", escape(given))]
    NoSuch { kinds: String, given: String, advice: &'static str },
    /// Several fit.
    #[error("\"{}\" fits {} things:{}", escape(given), candidates.len(), listed(candidates))]
    Ambiguous { given: String, candidates: Vec<String> },
    /// A thing that lives is not removed by the way.
    #[error("rm {}: it is running", escape(given))]
    Alive { given: String },
    /// To remove an image takes all its names.
    #[error("rmi {}: the image has {} names: {}", escape(given), names.len(), escape(&names.join(", ")))]
    ManyNames { given: String, names: Vec<String> },
    /// A log file cannot be read.
    #[error("cannot read the log {}", escape(&path.display().to_string()))]
    Log { path: PathBuf, source: io::Error },
    /// There is no log file.
    #[error("container {} has no log file: its pod was made without a log directory", escape(given))]
    NoLog { given: String },
    /// A pull came to nothing; the daemon says which and why.
    #[error("{said}")]
    Pull { said: String },
    /// A password is needed and nobody can be asked.
    #[error("a password is needed for --username, and standard input is no terminal to ask at")]
    NoPassword,
    /// Whoever was asked for a password left.
    #[error("no password was given")]
    Interrupted,
    /// A password cannot be read.
    #[error("cannot read the password")]
    Password(#[source] io::Error),
    /// This program cannot begin: no descriptors, no memory.
    #[error("cannot start")]
    Start(#[source] io::Error),
    /// Output cannot be written.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    /// A session with the daemon's streaming port broke.
    #[error("{}", escape(what))]
    Session { what: String, source: io::Error },
    /// `exec` could not be carried out.
    #[error("{}", cause.tell())]
    Exec { code: u8, cause: Box<Failure> },
}

/// At most this many candidates are shown.
const CANDIDATES: usize = 12;

fn listed(candidates: &[String]) -> String {
    let mut lines: Vec<String> = candidates.iter().take(CANDIDATES).cloned().collect();
    if let Some(more @ 1..) = candidates.len().checked_sub(CANDIDATES) {
        lines.push(format!("and {more} more"));
    }
    format!("\n  {}", lines.join("\n  "))
}

impl Failure {
    /// All that a person should read: what, because of what, what to do.
    pub(crate) fn tell(&self) -> String {
        let mut causes = vec![self.to_string()];
        let mut source = self.source();
        while let Some(error) = source {
            causes.push(escape(&error.to_string()));
            source = error.source();
        }
        let text = causes.join(": ");
        self.advice().map_or(text.clone(), |advice| format!("{text}\n  {advice}"))
    }

    /// What would help, where we know.
    fn advice(&self) -> Option<&'static str> {
        match self {
            Failure::Unreachable { source, .. } => Some(match source.kind() {
                io::ErrorKind::NotFound => {
                    "is orlopd running? `systemctl status orlopd` says; another socket is named by --host or ORLOP_HOST"
                }
                io::ErrorKind::PermissionDenied => {
                    "the socket is for root and its group: use sudo, or join the group"
                }
                io::ErrorKind::ConnectionRefused => {
                    "orlopd has ended and left its socket: start it again, `systemctl start orlopd`"
                }
                _ => "is it the socket of orlopd? another one is named by --host or ORLOP_HOST",
            }),
            Failure::Lost { .. } => Some("was orlopd stopped? `systemctl status orlopd` says"),
            Failure::Mute { .. } => Some("its log may say what it does: `journalctl -u orlopd`"),
            Failure::NotServed { .. } => Some("is it orlopd, and of this version? `orlop version` says"),
            Failure::NoSuch { advice, .. } => Some(advice),
            Failure::Ambiguous { .. } => Some(
                "say more of the id, POD/NAME or NAMESPACE/POD/NAME, or choose with --type where there is one",
            ),
            Failure::Alive { .. } => Some("`orlop stop` it first, or use --force"),
            Failure::ManyNames { .. } => Some("--force removes it under all of them"),
            Failure::Log { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("logs are read as files: use sudo")
            }
            Failure::NoPassword => Some("put it into ORLOP_PASSWORD, or pipe it in with --password-stdin"),
            Failure::Refused { .. }
            | Failure::Incomplete { .. }
            | Failure::Log { .. }
            | Failure::NoLog { .. }
            | Failure::Pull { .. }
            | Failure::Interrupted
            | Failure::Password(_)
            | Failure::Start(_)
            | Failure::Output(_)
            | Failure::Session { .. }
            | Failure::Exec { .. } => None,
        }
    }

    /// The exit code to end with.
    pub(crate) fn code(&self) -> u8 {
        if let Failure::Exec { code, .. } = self {
            *code
        } else if self.is_silent() {
            141
        } else if matches!(self, Failure::Interrupted) {
            130
        } else {
            1
        }
    }

    /// Whether there is nobody to be told: our reader left.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
