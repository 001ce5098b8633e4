//! Lists: sorted, escaped, in three forms; and what says all of one thing.

use std::process::Stdio;

use orlop_proto::runtime::v1::{ContainerMetadata, ContainerState};
use serde_json::Value;

use crate::daemon::{Daemon, container, id};
use crate::run::{all_of, command, orlop, terminal};

fn lines(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .map(|line| line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect()
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn ps_shows_what_runs_sorted_by_namespace_pod_and_name() {
    let daemon = Daemon::new();
    let shown = orlop(&daemon, "ps").well();
    let lines = lines(&shown);
    let headings = ["CONTAINER", "NAME", "IMAGE", "STATE", "CREATED", "ATTEMPT", "POD", "NAMESPACE"];
    assert_eq!(lines[0], headings);
    let short = |digits: &str| id(digits)[..12].to_owned();
    assert_eq!(
        (lines[1][0], lines[1][1], lines[1][6], lines[1][7]),
        (&*short("a3"), "db", "shop", "default")
    );
    assert_eq!((lines[2][0], lines[2][1], lines[2][6], lines[2][7]), (&*short("a1"), "web", "shop", "test"));
    assert_eq!((lines[2][2], lines[2][3], lines[2][5]), ("localhost:5000/busybox:1", "running", "2"));
    assert_eq!(lines.len(), 3);
}

#[test]
fn ps_all_shows_what_has_ended_too() {
    let daemon = Daemon::new();
    let shown = orlop(&daemon, "ps -a").well();
    let names: Vec<&str> = lines(&shown)[1..].iter().map(|line| line[1]).collect();
    assert_eq!(names, ["db", "web", "job", "web"]);
    let shown = orlop(&daemon, "ps -a --pod test/shop").well();
    let names: Vec<&str> = lines(&shown)[1..].iter().map(|line| line[1]).collect();
    assert_eq!(names, ["job", "web"]);
}

#[test]
fn ids_alone_are_short_unless_asked_for_whole() {
    let daemon = Daemon::new();
    assert_eq!(orlop(&daemon, "ps -q").well(), format!("{}\n{}\n", &id("a3")[..12], &id("a1")[..12]));
    assert_eq!(orlop(&daemon, "ps -q --no-trunc").well(), format!("{}\n{}\n", id("a3"), id("a1")));
    assert_eq!(orlop(&daemon, "pods -q").well(), format!("{}\n{}\n", &id("b2")[..12], &id("b1")[..12]));
    assert_eq!(orlop(&daemon, "images -q").well(), format!("{}\n{}\n", &id("e2")[..12], &id("e1")[..12]));
    assert!(orlop(&daemon, "images --no-trunc").well().contains(&format!("sha256:{}", id("e1"))));
}

#[test]
fn json_is_an_object_a_line() {
    let daemon = Daemon::new();
    let shown = json_lines(&orlop(&daemon, "ps -a -o json").well());
    assert_eq!(shown.len(), 4);
    let db = &shown[0];
    assert_eq!((&db["id"], &db["name"], &db["state"]), (&id("a3").into(), &"db".into(), &"running".into()));
    assert_eq!((&db["pod"], &db["namespace"]), (&"shop".into(), &"default".into()));
    assert_eq!(db["createdAt"], "2026-01-02T15:04:05.000000000Z");
    let pods = json_lines(&orlop(&daemon, "pods -o json").well());
    assert_eq!((&pods[0]["state"], &pods[1]["state"]), (&"not ready".into(), &"ready".into()));
    let images = json_lines(&orlop(&daemon, "images -o json").well());
    assert_eq!(images[0]["repoTags"][1], "docker.io/library/alpine:3");
}

#[test]
fn pods_and_images_are_tables() {
    let daemon = Daemon::new();
    let shown = orlop(&daemon, "pods").well();
    let pods = lines(&shown);
    assert_eq!(pods[0], ["ID", "POD", "NAMESPACE", "STATE", "CREATED", "ATTEMPT", "RUNTIME"]);
    assert_eq!(pods[1][1..4], ["shop", "default", "not ready"]);
    assert_eq!(pods[2][1..4], ["shop", "test", "ready"]);
    let shown = orlop(&daemon, "images").well();
    let images = lines(&shown);
    assert_eq!(images[0], ["IMAGE", "TAG", "ID", "SIZE", "PINNED"]);
    let rows: Vec<&[&str]> = images[1..].iter().map(|row| &row[..2]).collect();
    let alpine = "docker.io/library/alpine";
    assert_eq!(rows, [[alpine, "3"], [alpine, "latest"], ["localhost:5000/busybox", "1"]]);
    assert_eq!(images[1][3..], ["152 KiB", "pinned"]);
}

#[test]
fn hostile_names_reach_the_terminal_in_no_form() {
    let daemon = Daemon::new();
    let hostile = "x\u{1b}[2J\n\u{9b}1m\u{202e}";
    let metadata = Some(ContainerMetadata { name: hostile.into(), attempt: 0 });
    let state = ContainerState::ContainerRunning;
    daemon.world().containers = vec![container("a1", "b1", "", state), container("a2", "b1", "", state)];
    for container in &mut daemon.world().containers {
        container.metadata.clone_from(&metadata);
        container.id.push_str(hostile);
    }
    daemon.world().images[0].repo_tags = vec![hostile.into()];
    let harmful = |text: &str| text.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{202e}'));
    for line in
        ["ps", "ps -q --no-trunc", "ps -o json", "images", "logs a", "inspect e1", "inspect a1", "version"]
    {
        let ran = orlop(&daemon, line);
        assert!(!harmful(&ran.stdout) && !harmful(&ran.stderr), "{line}: {ran:?}");
        assert!(!ran.stdout.is_empty() || !ran.stderr.is_empty(), "{line}");
    }
    assert_eq!(orlop(&daemon, "ps").well().lines().count(), 3, "a row is a line");
    let names = json_lines(&orlop(&daemon, "ps -o json").well());
    assert_eq!(names[0]["name"], hostile, "programs get what it is");
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let daemon = Daemon::new();
    let at_terminal = |key: &str, value: &str| {
        let (ours, theirs) = terminal();
        let mut command = command(&daemon.socket(), "ps");
        command.env(key, value).stdout(Stdio::from(theirs));
        let mut child = command.spawn().unwrap();
        drop(command);
        let shown = all_of(&ours);
        assert!(child.wait().unwrap().success());
        shown
    };
    assert!(at_terminal("TERM", "xterm").contains("\u{1b}[32mrunning\u{1b}[0m"));
    for (key, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let shown = at_terminal(key, value);
        assert!(shown.contains("running") && !shown.contains('\u{1b}'), "{key}: {shown:?}");
    }
    assert!(at_terminal("NO_COLOR", "").contains('\u{1b}'), "set, but empty");
}

#[test]
fn inspect_says_all_in_the_order_in_which_it_was_asked() {
    let daemon = Daemon::new();
    let shown: Value = serde_json::from_str(&orlop(&daemon, "inspect busybox e2 job test/shop a1").badly())
        .unwrap_or_default();
    assert_eq!(shown, Value::Null, "busybox alone means docker.io/library/busybox");
    let shown = orlop(&daemon, "inspect localhost:5000/busybox:1 e2 job test/shop a1").well();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown[0]["status"]["id"], format!("sha256:{}", id("e1")));
    assert_eq!(shown[1]["status"]["pinned"], true);
    assert_eq!(shown[2]["status"]["state"], "CONTAINER_EXITED");
    assert_eq!(shown[2]["info"]["info"]["pid"], 7, "JSON within JSON is taken apart");
    assert_eq!(shown[3]["status"]["network"]["ip"], "10.88.0.2");
    assert_eq!(shown[3]["status"]["metadata"]["namespace"], "test");
    assert_eq!(shown[4]["status"]["metadata"], serde_json::json!({"name": "web", "attempt": 2}));
    assert_eq!(shown.as_array().unwrap().len(), 5);
}

#[test]
fn version_is_told_of_both() {
    let daemon = Daemon::new();
    let shown = orlop(&daemon, "version").well();
    assert!(
        shown.starts_with("client  orlop 0.1.0\ndaemon  orlop\\u{1b} 9.8.7, CRI v1, at unix:///"),
        "{shown}"
    );
    let shown: Value = serde_json::from_str(&orlop(&daemon, "version -o json").well()).unwrap();
    assert_eq!(shown["daemon"]["version"], "9.8.7");
}

#[test]
fn completions_are_scripts() {
    let daemon = Daemon::new();
    for (shell, sign) in
        [("bash", "complete -F _orlop"), ("zsh", "#compdef orlop"), ("fish", "complete -c orlop")]
    {
        let script = orlop(&daemon, &format!("completion {shell}")).well();
        assert!(script.contains(sign) && script.contains("explain"), "{shell}");
    }
}
