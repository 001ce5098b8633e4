//! Every field of a request for a pod or a container has its row in CONFORMANCE.md.
//!
//! *Invariant:* the interface's own list is what is gone by, so that a field that comes with a later version is missed here first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The fields of each message, and the types that they are of.
fn messages(tsv: &str) -> BTreeMap<&str, Vec<(&str, &str)>> {
    let mut messages: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for line in tsv.lines() {
        if let ["field", message, field, _, _, kind, ..] = line.split('\t').collect::<Vec<_>>()[..] {
            messages.entry(message).or_default().push((field, kind));
        }
    }
    messages
}

/// `Message.field` of all that can be said in these messages. What is for Windows is refused as a whole.
fn reachable(messages: &BTreeMap<&str, Vec<(&str, &str)>>, from: &[&'static str]) -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    let mut ahead: Vec<&str> = from.to_vec();
    let mut seen = BTreeSet::new();
    while let Some(message) = ahead.pop() {
        if !seen.insert(message) {
            continue;
        }
        for (field, kind) in &messages[message] {
            fields.insert(format!("{message}.{field}"));
            ahead.extend(
                Some(*kind).filter(|kind| messages.contains_key(kind) && !kind.starts_with("Windows")),
            );
        }
    }
    fields
}

#[test]
fn every_field_of_a_pod_and_a_container_has_a_row() {
    let (tsv, page) = (read("proto/runtime/v1/cri-v1.tsv"), read("CONFORMANCE.md"));
    let asked = reachable(&messages(&tsv), &["RunPodSandboxRequest", "CreateContainerRequest"]);
    assert!(asked.len() > 100, "{} fields", asked.len());
    let (_, section) = page.split_once("\n## Fields\n").expect("a section Fields");
    let section = section.split("\n## ").next().expect("its text");
    let mut rows = BTreeSet::new();
    for line in section.lines().filter(|line| line.starts_with("| ") && line.contains('.')) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        assert!(["supported", "taken", "refused"].contains(&cells[2]), "{line}");
        // Who takes a field and does nothing with it says why.
        assert!(cells[2] == "supported" || !cells[3].is_empty(), "{line}");
        assert!(rows.insert(cells[1].to_owned()), "twice: {line}");
    }
    let without: Vec<_> = asked.difference(&rows).collect();
    assert!(without.is_empty(), "fields without a row: {without:?}");
    let strange: Vec<_> = rows.difference(&asked).collect();
    assert!(strange.is_empty(), "rows of no field: {strange:?}");
}
