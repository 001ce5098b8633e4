//! A program run to its end, and what it said.

use std::process::{Command, Output};

use orlop_tests::daemon::Daemon;
use serde_json::Value;

/// What a program said, and how it ended.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().expect("the program is there");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Said { code: status.code().expect("it ended by itself"), out: text(stdout), err: text(stderr) }
    }

    /// The cells of the row that begins with `first`; columns are two blanks apart.
    pub(crate) fn row(&self, first: &str) -> Vec<&str> {
        let row = self.out.lines().find(|line| line.starts_with(first));
        let row = row.unwrap_or_else(|| panic!("{first:?} begins no line of\n{}", self.out));
        row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
    }

    /// Its lines as JSON, an object each.
    pub(crate) fn json(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

/// `orlop`, which has to end well.
pub(crate) fn orlop(daemon: &Daemon, arguments: &[&str]) -> Said {
    let said = ends(daemon, arguments);
    assert_eq!(said.code, 0, "orlop {arguments:?}: {}", said.err);
    said
}

/// `orlop`, however it ends.
pub(crate) fn ends(daemon: &Daemon, arguments: &[&str]) -> Said {
    Said::of(&mut daemon.orlop(arguments))
}
