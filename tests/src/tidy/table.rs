//! The crates as ARCHITECTURE.md promises them.
//!
//! *Invariant:* the document is the source: a table that cannot be read is a failed test, not a table without rows.

use std::collections::{BTreeMap, BTreeSet};

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The package's name.
    pub name: String,
    /// Where it lies.
    pub directory: String,
    /// Names of packages of ours that it may use.
    pub stands_on: BTreeSet<String>,
    /// Whether it may wait.
    pub asynchronous: bool,
    /// Whether it has one of the doors behind which `unsafe` stands.
    pub red_door: bool,
}

/// The rows, in their order.
///
/// # Panics
/// If there is no such table, or a row does not have its five cells.
#[must_use]
pub fn rows(document: &str) -> Vec<Row> {
    let mut lines = document.lines().skip_while(|line| !line.starts_with("| crate |"));
    let cells: Vec<&str> = lines.next().expect("a table of crates").split('|').map(str::trim).collect();
    assert_eq!(cells[1..7], ["crate", "directory", "stands on", "async", "unsafe", "what it is for"]);
    lines.skip(1).take_while(|line| line.starts_with('|')).map(row).collect()
}

fn row(line: &str) -> Row {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    assert_eq!(cells.len(), 8, "six cells: {line}");
    let yes = |cell: &str| match cell {
        "yes" => true,
        "no" => false,
        other => panic!("yes or no, not {other:?}: {line}"),
    };
    Row {
        name: quoted(cells[1]).next().expect("a crate's name").to_owned(),
        directory: quoted(cells[2]).next().expect("a directory").to_owned(),
        stands_on: quoted(cells[3]).map(str::to_owned).collect(),
        asynchronous: yes(cells[4]),
        red_door: yes(cells[5]),
    }
}

/// What stands between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The first words of the rows of the table under a heading, with the rest of the row: what a list of things promises.
///
/// # Panics
/// If there is no such heading with a table.
#[must_use]
pub fn list(document: &str, heading: &str) -> BTreeMap<String, String> {
    let section = document.split(&format!("\n## {heading}\n")).nth(1).expect(heading);
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let list: BTreeMap<_, _> = rows
        .map(|row| {
            (
                quoted(row).next().unwrap_or_default().to_owned(),
                row.splitn(3, '|').nth(2).unwrap_or_default().to_owned(),
            )
        })
        .collect();
    assert!(!list.is_empty(), "a table under {heading:?}");
    list
}
