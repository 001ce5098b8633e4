//! The order of the source: what ARCHITECTURE.md and the rules of the house promise, checked on the text.
//!
//! *Invariant:* a check says file, line and rule, for all places at once, not only for the first.

use std::collections::BTreeSet;

use orlop_tests::tidy::table::{Row, list, rows};
use orlop_tests::tidy::{Source, cargo, is_kind, paths, root, sources};

/// The longest file that needs no reason.
const LONGEST: usize = 500;

/// Where `unsafe` may stand: the two red doors.
const RED_DOORS: [&str; 2] = ["crates/sys/src/", "shim/src/birth.rs"];

/// Licences that let others use orlop under Apache-2.0.
const LICENCES: [&str; 10] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn crates() -> Vec<Row> {
    rows(&read("ARCHITECTURE.md"))
}

/// Fails with all faults, if there are some.
fn none(rule: &str, faults: impl IntoIterator<Item = String>) {
    let faults: Vec<String> = faults.into_iter().collect();
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}

/// A fault for each line of code with one of `words`.
fn lines_with(source: &Source, words: &[&str]) -> Vec<String> {
    let found =
        words.iter().flat_map(|word| source.lines_with(word).into_iter().map(move |line| (line, *word)));
    found.map(|(line, word)| format!("{}:{line}: {word}", source.path)).collect()
}

#[test]
fn arrows_go_down_and_only_where_the_table_has_them() {
    let (rows, packages) = (crates(), cargo::packages());
    let ours: BTreeSet<&str> = packages.iter().map(|package| &*package.name).collect();
    let mut faults = Vec::new();
    for package in &packages {
        match rows.iter().find(|row| row.name == package.name) {
            None => faults.push(format!("{} is not in the table", package.name)),
            Some(row) if row.directory != package.directory => {
                faults.push(format!("{} lies in {}", row.name, package.directory));
            }
            Some(row) => {
                let used = package
                    .uses
                    .iter()
                    .filter(|name| ours.contains(&***name) && !row.stands_on.contains(*name));
                faults.extend(used.map(|name| format!("{} uses {name}", row.name)));
            }
        }
    }
    for (at, row) in rows.iter().enumerate() {
        faults.extend((!ours.contains(&*row.name)).then(|| format!("{} is no package", row.name)));
        let above: BTreeSet<&str> = rows[..at].iter().map(|row| &*row.name).collect();
        let wrong = row.stands_on.iter().filter(|name| !above.contains(&***name));
        faults.extend(wrong.map(|name| format!("{} stands on {name}, which is not above it", row.name)));
    }
    none("crates", faults);
}

#[test]
fn no_program_uses_a_program() {
    let programs = ["orlopd", "orlop-shim", "orlop", "orlop-tests"];
    let mut faults = Vec::new();
    for package in cargo::packages() {
        let used = package.uses.union(&package.tests_use).filter(|name| programs.contains(&&***name));
        faults.extend(used.map(|name| format!("{} uses {name}", package.name)));
    }
    none("programs meet in bytes", faults);
}

#[test]
fn the_shim_is_made_of_what_is_written_down() {
    let promised = list(&read("ARCHITECTURE.md"), "What the shim is made of");
    assert_eq!(cargo::made_of("orlop-shim"), promised.into_keys().collect());
}

#[test]
fn unsafe_stands_behind_the_red_doors() {
    let outside = sources().into_iter().filter(|source| !source.is_in(&RED_DOORS));
    none("unsafe", outside.flat_map(|source| lines_with(&source, &["unsafe"])));
    for row in crates() {
        let door = RED_DOORS.iter().any(|door| door.starts_with(&format!("{}/", row.directory)));
        assert_eq!(row.red_door, door, "{}: the table", row.name);
    }
}

#[test]
fn every_unsafe_block_says_what_makes_it_sound() {
    let mut faults = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for line in source.lines_with("unsafe") {
            // The comment stands above the statement, which may have begun some lines earlier.
            let above = lines[..line].iter().rev().take(10).any(|line| line.contains("// SAFETY:"));
            let item = ["unsafe fn", "unsafe extern", "unsafe impl"]
                .iter()
                .any(|item| lines[line - 1].contains(item));
            if !above && !item {
                faults.push(format!("{}:{line}", source.path));
            }
        }
    }
    none("// SAFETY: is missing", faults);
}

#[test]
fn only_some_crates_wait() {
    let still: Vec<String> = crates()
        .into_iter()
        .filter(|row| !row.asynchronous)
        .map(|row| format!("{}/", row.directory))
        .collect();
    let still: Vec<&str> = still.iter().map(|directory| &**directory).collect();
    let sources = sources().into_iter().filter(|source| source.is_in(&still));
    none("async", sources.flat_map(|source| lines_with(&source, &["async", "await"])));
}

#[test]
fn every_file_has_a_door_plate() {
    let bare = sources().into_iter().filter(|source| !source.text.starts_with("//! "));
    none("the first line is //! and says what the file is for", bare.map(|source| source.path));
}

#[test]
fn a_long_file_has_a_reason() {
    let long = sources().into_iter().filter(|source| {
        let reason = source.text.lines().any(|line| line.starts_with("//! Long because: "));
        source.text.lines().count() > LONGEST && !reason
    });
    none("over 500 lines without \"//! Long because: ...\"", long.map(|source| source.path));
}

#[test]
fn nothing_is_left_to_do_or_to_debug() {
    let words = ["todo", "unimplemented", "dbg"];
    let mut faults = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.code.lines().collect();
        for word in words {
            let macros = source
                .lines_with(word)
                .into_iter()
                .filter(|line| lines[line - 1].contains(&format!("{word}!")));
            faults.extend(macros.map(|line| format!("{}:{line}: {word}!", source.path)));
        }
    }
    none("macros that are not for the finished", faults);
}

#[test]
fn no_room_has_a_name_that_says_nothing() {
    let empty =
        ["util", "utils", "common", "commons", "helper", "helpers", "misc", "shared", "manager", "lib2"];
    let named = paths().into_iter().filter(|path| {
        let name = path.rsplit('/').next().unwrap_or_default();
        empty.contains(&name.split('.').next().unwrap_or_default())
    });
    none("names", named);
}

#[test]
fn every_decision_has_its_four_parts() {
    let mut faults = Vec::new();
    let mut numbers = BTreeSet::new();
    for path in paths().into_iter().filter(|path| path.starts_with("docs/decisions/")) {
        let name = path.trim_start_matches("docs/decisions/");
        let number = name.split('-').next().unwrap_or_default();
        if number.len() != 4 || number.parse::<u16>().is_err() || !is_kind(name, "md") {
            faults.push(format!("{path}: the name is a number of four digits, a title, .md"));
        }
        if !numbers.insert(number.to_owned()) {
            faults.push(format!("{path}: the number is taken"));
        }
        let text = read(&path);
        if !text.starts_with(&format!("# {number}: ")) {
            faults.push(format!("{path}: the title begins with its number"));
        }
        let missing = ["Context", "Decision", "Consequences", "Measured"]
            .into_iter()
            .filter(|heading| !text.lines().any(|line| line == format!("## {heading}")));
        faults.extend(missing.map(|heading| format!("{path}: ## {heading}")));
    }
    none("decisions", faults);
    assert!(!numbers.is_empty(), "there are decisions");
}

#[test]
fn every_rpc_has_its_row_in_the_conformance_page() {
    let interface = read("proto/runtime/v1/api.proto");
    let names = interface.lines().filter_map(|line| line.trim().strip_prefix("rpc ")?.split('(').next());
    let page = read("CONFORMANCE.md");
    let mut faults = Vec::new();
    let mut count = 0;
    for name in names {
        count += 1;
        let row = format!("| {name} | ");
        let states: Vec<&str> =
            page.lines().filter_map(|line| line.strip_prefix(&row)?.split(" |").next()).collect();
        match states[..] {
            ["supported" | "partial" | "in work" | "planned"] => {}
            _ => faults.push(format!("{name}: {states:?}")),
        }
    }
    none("one row, one known state", faults);
    assert_eq!(count, 43);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut faults = Vec::new();
    for path in paths().into_iter().filter(|path| is_kind(path, "md")) {
        let text = read(&path);
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !root().join(directory).join(target).exists()
            {
                faults.push(format!("{path}: {target}"));
            }
        }
    }
    none("links", faults);
}

#[test]
fn what_the_programs_are_made_of_is_free_to_use() {
    let mut faults = BTreeSet::new();
    for program in ["orlopd", "orlop-shim", "orlop"] {
        for (package, licence) in cargo::licences(program) {
            // One of several by choice; of those joined by AND, all. "MIT/Apache-2.0" is an old way to say OR.
            let choices = licence.replace('/', " OR ").replace(['(', ')'], " ");
            let free = choices.split(" OR ").any(|choice| {
                let mut terms =
                    choice.split(" AND ").map(|term| term.split(" WITH ").next().unwrap_or_default().trim());
                terms.all(|term| LICENCES.contains(&term))
            });
            if !free {
                faults.insert(format!("{package}: {licence:?}"));
            }
        }
    }
    none("licences", faults);
}
