//! What was typed.
//!
//! The flags of a verb stand with the verb; here is what they have in common.
//!
//! *Invariant:* nothing is done here. A secret is never an argument: everybody on the machine can read those.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, ValueEnum};

use crate::commands::Verb;

/// Where the daemon listens unless told otherwise.
const DEFAULT_HOST: &str = "unix:///run/orlop/orlop.sock";

/// Pods, containers and images of this node.
///
/// An ID is a whole id, the beginning of one, or a name; also POD/NAME and NAMESPACE/POD/NAME. Among several attempts of
/// one name it is the newest.
#[derive(Debug, Parser)]
#[command(name = "orlop", version, max_term_width = 100)]
pub(crate) struct Typed {
    /// Where the daemon listens: unix://SOCKET
    #[arg(long, short = 'H', global = true, env = "ORLOP_HOST", default_value = DEFAULT_HOST, value_parser = host)]
    pub(crate) host: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The socket of a host as it is typed.
fn host(text: &str) -> Result<PathBuf, String> {
    let path = match text.split_once("://") {
        Some(("unix", path)) => path,
        Some((scheme, _)) => return Err(format!("{scheme}:// is not served; give unix://SOCKET")),
        None => text,
    };
    if path.starts_with('/') {
        Ok(path.into())
    } else {
        Err("the socket's path must be absolute: unix:///run/orlop/orlop.sock".into())
    }
}

/// How a list is shown.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Listing {
    /// Ids only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// As a table, or as JSON, an object a line
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// Whole ids
    #[arg(long)]
    pub(crate) no_trunc: bool,
}

/// In which form a list is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// In which form one thing is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Style {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What kind of thing is meant, where a name may mean several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// A container.
    Container,
    /// A pod.
    Pod,
    /// An image.
    Image,
}

impl Kind {
    /// As people are told.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Container => "container",
            Kind::Pod => "pod",
            Kind::Image => "image",
        }
    }
}

/// The exit code for a command line that clap refused, or answered by itself.
///
/// What `exec` ends with must not be taken for the command's own code.
pub(crate) fn usage_code(error: &clap::Error, arguments: impl Iterator<Item = OsString>) -> u8 {
    if !error.use_stderr() {
        return 0;
    }
    let mut value_follows = false;
    let verb = arguments.map(|argument| argument.to_string_lossy().into_owned()).find(|argument| {
        let is_value = std::mem::replace(&mut value_follows, argument == "--host" || argument == "-H");
        !is_value && !argument.starts_with('-')
    });
    if verb.as_deref() == Some("exec") { 125 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn typed(line: &str) -> Result<Typed, clap::Error> {
        Typed::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        Typed::command().debug_assert();
    }

    #[test]
    fn a_host_is_a_socket() {
        assert_eq!(host("unix:///run/a.sock"), Ok("/run/a.sock".into()));
        assert_eq!(host("/run/a.sock"), Ok("/run/a.sock".into()));
        assert!(host("tcp://127.0.0.1:1").unwrap_err().contains("tcp:// is not served"));
        assert!(host("unix://run/a.sock").unwrap_err().contains("absolute"));
        assert!(host("").is_err());
    }

    #[test]
    fn the_host_may_stand_after_the_verb() {
        assert_eq!(typed("orlop ps --host /a").unwrap().host, PathBuf::from("/a"));
        assert_eq!(typed("orlop -H unix:///a ps").unwrap().host, PathBuf::from("/a"));
    }

    #[test]
    fn flags_after_a_command_are_the_commands_own() {
        for line in
            ["orlop exec --timeout 3 web ls -l --host x", "orlop exec --timeout 3 web -- ls -l --host x"]
        {
            let Verb::Exec(exec) = typed(line).unwrap().verb else { panic!("{line}") };
            assert_eq!(exec.command, ["ls", "-l", "--host", "x"], "{line}");
            assert_eq!((exec.id.as_str(), exec.timeout), ("web", Some(3)));
        }
    }

    #[test]
    fn a_password_is_no_argument() {
        assert!(typed("orlop pull --username u --password p a").is_err());
        assert!(typed("orlop pull --password-stdin a").is_err(), "whose password?");
        assert!(typed("orlop pull --username u --password-stdin a").is_ok());
    }

    #[test]
    fn a_wrong_line_ends_with_2_and_with_125_for_exec() {
        for (line, code) in [
            ("orlop", 2),
            ("orlop nonsense", 2),
            ("orlop ps --nonsense", 2),
            ("orlop ps -H tcp://a", 2),
            ("orlop exec", 125),
            ("orlop -H /exec exec web", 125),
            ("orlop --host exec exec web", 125),
            ("orlop -H exec ps -x", 2),
            ("orlop --version", 0),
            ("orlop exec --help", 0),
        ] {
            let arguments = line.split(' ').skip(1).map(OsString::from);
            assert_eq!(usage_code(&typed(line).unwrap_err(), arguments), code, "{line}");
        }
    }
}
