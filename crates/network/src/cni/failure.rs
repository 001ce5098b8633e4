//! How a plugin failed.
//!
//! *Invariant:* what a plugin wrote is shown escaped and bounded.

use std::fmt;
use std::time::Duration;

/// How much of what a plugin wrote an error shows, in characters.
const SHOWN: usize = 600;

/// A plugin that did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The plugin's name, as the configuration has it.
    pub plugin: String,
    /// The network's name.
    pub network: String,
    /// `ADD`, `DEL`, ...
    pub command: &'static str,
    /// What happened.
    pub what: What,
    /// The end of what it wrote to stderr.
    pub stderr: String,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// None of the directories has it.
    Missing {
        /// Where it was looked for.
        looked: String,
    },
    /// Its program could not be started.
    NotStarted {
        /// What the kernel said.
        cause: String,
    },
    /// It answered with an error of the specification.
    Said {
        /// The error's number; 0 if it gave none.
        code: u64,
        /// In short.
        message: String,
        /// In long; may be empty.
        details: String,
    },
    /// It ended badly and said nothing that can be understood.
    Ended {
        /// `exit status 1`, `signal 9`.
        how: String,
        /// The beginning of what it printed.
        stdout: String,
    },
    /// It ended well, and what it printed is no result.
    Garbage {
        /// What is wrong with it.
        cause: String,
        /// The beginning of what it printed.
        stdout: String,
    },
    /// It did not end in time, and was killed with its children.
    Late {
        /// How long it had.
        deadline: Duration,
    },
    /// It printed more than any result has, and was killed with its children.
    Endless {
        /// How many bytes are read.
        limit: usize,
    },
}

/// The code with which a plugin says that there is nothing to clean up.
pub(crate) const UNKNOWN_CONTAINER: u64 = 3;

impl Failure {
    /// The specification's number of the error, if the plugin gave one.
    #[must_use]
    pub fn code(&self) -> Option<u64> {
        match self.what {
            What::Said { code, .. } => Some(code),
            What::Missing { .. }
            | What::NotStarted { .. }
            | What::Ended { .. }
            | What::Garbage { .. }
            | What::Late { .. }
            | What::Endless { .. } => None,
        }
    }

    /// Whether it had to be killed at its deadline.
    #[must_use]
    pub fn is_late(&self) -> bool {
        matches!(self.what, What::Late { .. })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { plugin, network, command, what, stderr } = self;
        write!(f, "CNI plugin {} of network {}: {command}: {what}", shown(plugin), shown(network))?;
        if stderr.is_empty() { Ok(()) } else { write!(f, "; on stderr: {}", shown(stderr)) }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Missing { looked } => write!(f, "there is no such program in {looked}"),
            What::NotStarted { cause } => write!(f, "it cannot be started: {cause}"),
            What::Said { code, message, details } => {
                write!(f, "code {code}: {}", shown(message))?;
                if details.is_empty() { Ok(()) } else { write!(f, ": {}", shown(details)) }
            }
            What::Ended { how, stdout } if stdout.is_empty() => write!(f, "{how}, without an error message"),
            What::Ended { how, stdout } => {
                write!(f, "{how}, and no error that can be read: {}", shown(stdout))
            }
            What::Garbage { cause, stdout } => {
                write!(f, "no result that can be read ({cause}): {}", shown(stdout))
            }
            What::Late { deadline } => {
                write!(f, "it did not end within {} s and was killed", deadline.as_secs_f32())
            }
            What::Endless { limit } => write!(f, "it printed more than {limit} bytes and was killed"),
        }
    }
}

impl std::error::Error for Failure {}

/// A text short and escaped, for a line of a log or an answer.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.trim().chars().take(SHOWN).flat_map(escaped).collect();
    if text.trim().chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    shown
}

/// Quotes stay: plugins quote names.
fn escaped(letter: char) -> impl Iterator<Item = char> {
    let plain = matches!(letter, '"' | '\'');
    let escape = (!plain).then(|| letter.escape_debug());
    plain.then_some(letter).into_iter().chain(escape.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plugin_wrote_is_bounded_and_escaped() {
        let failure = Failure {
            plugin: "bridge".into(),
            network: "net".into(),
            command: "ADD",
            what: What::Said { code: 11, message: "try \"later\"".into(), details: "x".repeat(10_000) },
            stderr: "\u{1b}[31mred\n".into(),
        };
        let text = failure.to_string();
        assert!(
            text.starts_with("CNI plugin bridge of network net: ADD: code 11: try \"later\": xxx"),
            "{text}"
        );
        assert!(text.ends_with("xxx...; on stderr: \\u{1b}[31mred"), "{text}");
        assert!(text.len() < 1000);
        assert_eq!(failure.code(), Some(11));
    }
}
