//! Faults with their lines, and which device is whose.

use std::path::{Path, PathBuf};

use crate::file::Content;
use crate::name;
use crate::{Registry, Source};

#[test]
fn names_are_vendor_class_and_device() {
    let good = ["vendor.com/gpu=0", "a/b=c", "V-1_x.y/C_2-d=GPU:0.1", "v/c=all"];
    for name in good {
        assert!(name::parse(name).is_ok(), "{name}");
    }
    let bad = [
        "",
        "gpu",
        "vendor.com/gpu",
        "vendor.com=0",
        "=",
        "/=",
        "v/=0",
        "/c=0",
        "v/c=",
        "1v/c=0",
        "v/1c=0",
        "v-/c=0",
        "v/c-=0",
        "v/c=-0",
        "v/c=0-",
        "v/c=a b",
        "v/c/d=0",
        "v/c=a=b",
        "v\u{e9}/c=0",
        "v/c=:a",
    ];
    for name in bad {
        assert!(name::parse(name).is_err(), "{name}");
    }
    assert_eq!(name::listed("v/c=0,v/c=1"), Ok(vec!["v/c=0", "v/c=1"]));
    for list in ["", "v/c=0,", "v/c=0, v/c=1"] {
        assert!(name::listed(list).is_err(), "{list}");
    }
}

/// A file, the line and place of its fault, and words of the cause.
const BROKEN: &[(&str, usize, &str, &str)] = &[
    ("", 1, "", "nothing in it"),
    ("[]", 1, "", "a list where an object belongs"),
    ("cdiVersion: \"1.0.0\"\nkind: [\n", 3, "", ""),
    ("a: 1\na: 2\n", 2, "", "\"a\" stands there twice"),
    ("---\na: 1\n---\nb: 1\n", 4, "", "second document"),
    ("a: *b\n", 1, "", ""),
    ("[a]: 1\n", 1, "", "a list as a name"),
    ("kind: v/c\ndevices: []\n", 1, "cdiVersion", "is missing or empty"),
    ("cdiVersion: 0.3.0\nkind: gpu\n", 2, "kind", "must be VENDOR/CLASS"),
    ("cdiVersion: 0.3.0\nkind: v/9c\n", 2, "kind", "class that does not begin with a letter"),
    ("cdiVersion: 0.3.0\nkind: v/c\n", 1, "devices", "no device in it"),
    ("cdiVersion: 0.3.0\nkind: v/c\ndevices: 5\n", 3, "devices", "a single value where a list belongs"),
    ("cdiVersion: 0.3.0\nkind: v/c\ndevices:\n- name: a/b\n", 4, "devices[0].name", "'/' in it"),
    (
        "cdiVersion: 0.3.0\nkind: v/c\ndevices:\n- name: a\n  containerEdits: {}\n",
        5,
        "devices[0].containerEdits",
        "changes nothing",
    ),
    (
        "cdiVersion: 0.3.0\nkind: v/c\ndevices:\n- name: a\n  containerEdits:\n    env:\n    - A=1\n    - B\n",
        8,
        "devices[0].containerEdits.env[1]",
        "NAME=VALUE",
    ),
    (
        "cdiVersion: 0.3.0\nkind: v/c\ndevices:\n- name: a\n  containerEdits:\n    mount:\n    - A=1\n",
        6,
        "devices[0].containerEdits",
        "there is no \"mount\" here; known are env, deviceNodes",
    ),
    (
        "{\n\t\"cdiVersion\": \"0.3.0\",\n\t\"kind\": \"v/c\",\n\t\"devices\": [\n\t\t{\n\t\t\t\"name\": \"a\",\n\t\t\t\"containerEdits\": {\n\t\t\t\t\"deviceNodes\": [{\"path\": \"/dev/a\", \"major\": \"7\"}]\n}}]}",
        8,
        "devices[0].containerEdits.deviceNodes[0].major",
        "whole number",
    ),
    (
        "cdiVersion: 0.3.0\nkind: v/c\ndevices:\n- name: a\n  containerEdits:\n    deviceNodes:\n    - {path: /dev/a, uid: -1}\n",
        7,
        "devices[0].containerEdits.deviceNodes[0].uid",
        "beyond what it may be",
    ),
    (
        "cdiVersion: 0.3.0\nkind: v/c\ndevices:\n- name: a\n  containerEdits: {env: [A=1]}\n- name: a\n  containerEdits: {env: [A=1]}\n",
        6,
        "devices[1].name",
        "a device \"a\" already",
    ),
    (
        "cdiVersion: 0.6.0\nkind: v/c\ndevices:\n- name: a\n  containerEdits: {additionalGids: [5]}\n",
        1,
        "cdiVersion",
        "0.6.0 does not have additionalGids, which came with 0.7.0",
    ),
    (
        "kind: v/c\ndevices: [{name: a, containerEdits: {env: [A=1]}}]\ncdiVersion: 7\n",
        3,
        "cdiVersion",
        "newest is 1.1.0",
    ),
];

#[test]
fn what_is_broken_is_told_with_its_line_and_place() {
    for (text, line, place, words) in BROKEN {
        let fault = Content::parse(text.as_bytes()).expect_err(text);
        assert_eq!((fault.line, fault.place.as_str()), (*line, *place), "{text:?}: {fault}");
        assert!(fault.cause.contains(words), "{words:?} in {fault}");
    }
    assert_eq!(Content::parse(b"a: 1\nb: \xff").expect_err("no text").line, 2);
}

#[test]
fn a_file_cannot_grow_beyond_bounds() {
    let level = |level: usize| {
        let before = if level == 0 { "x".to_owned() } else { format!("*a{}", level - 1) };
        format!("a{level}: &a{level} [{}]\n", [before.as_str(); 10].join(", "))
    };
    let bomb: String = (0..12).map(level).collect();
    assert!(Content::parse(bomb.as_bytes()).expect_err("too much").cause.contains("values"));
    for depth in [40, 100_000] {
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Content::parse(deep.as_bytes()).is_err(), "{depth}");
    }
}

fn source(path: &str, directory: usize, text: &str) -> Source {
    Source { path: PathBuf::from(path), directory, bytes: Ok(text.as_bytes().to_vec()) }
}

fn file(device: &str, value: &str) -> String {
    format!(
        "cdiVersion: 0.5.0\nkind: v/c\ndevices: [{{name: {device}, containerEdits: {{env: [\"D={value}\"]}}}}]\n"
    )
}

#[test]
fn a_later_directory_wins_and_one_directory_may_not_say_two_things() {
    let registry = Registry::new(vec![
        source("/etc/cdi/a.yaml", 0, &file("x", "early")),
        source("/etc/cdi/b.yaml", 0, &file("y", "early")),
        source("/run/cdi/a.yaml", 1, &file("x", "late")),
        source("/run/cdi/b.yaml", 1, &file("z", "one")),
        source("/run/cdi/c.yaml", 1, &file("z", "other")),
        source("/run/cdi/d.yaml", 1, "cdiVersion: 0.5.0\nkind: v/c\ndevices: [{]\n"),
        Source { path: "/run/cdi/e.yaml".into(), directory: 1, bytes: Err("it is no regular file".into()) },
    ]);
    assert_eq!(registry.devices().collect::<Vec<_>>(), ["v/c=x", "v/c=y"]);
    let edits = registry.edits(&["v/c=x", "v/c=y", "v/c=x"]).expect("both are there");
    assert_eq!(edits.env, ["D=late", "D=early"]);

    let (at, why) = registry.edits(&["v/c=x", "v/c=z"]).expect_err("of none");
    assert_eq!(at, 1);
    assert!(why.contains("/run/cdi/b.yaml, /run/cdi/c.yaml"), "{why}");
    let (_, why) = registry.edits(&["v/c=w"]).expect_err("not there");
    assert!(why.contains("no such device in /etc/cdi/a.yaml"), "{why}");
    let (_, why) = registry.edits(&["v/d=w"]).expect_err("not there");
    assert!(why.contains("no CDI file describes a v/d"), "{why}");

    let faults = registry.faults();
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(faults.iter().any(|fault| fault.starts_with("/run/cdi/d.yaml:3: ")), "{faults:?}");
    assert!(faults.iter().any(|fault| fault == "/run/cdi/e.yaml: it is no regular file"), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.starts_with("v/c=z is of none: ")), "{faults:?}");
}

#[test]
fn files_are_known_by_their_ends() {
    for (name, takes) in
        [("a.json", true), ("a.yaml", true), ("a.yml", false), ("json", false), ("a.json.tmp", false)]
    {
        assert_eq!(Registry::takes(Path::new(name)), takes, "{name}");
    }
}
