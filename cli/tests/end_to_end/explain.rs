//! `explain`: the right thing is asked for, and shown in two forms.

use orlop_proto::orlop::v1::{ExplainResponse, NamespaceFact, Stage, ThingKind};

use crate::daemon::{Daemon, id};
use crate::run::orlop;

fn facts() -> ExplainResponse {
    ExplainResponse {
        kind: ThingKind::Container.into(),
        id: id("a1"),
        name: "web".into(),
        state: "running".into(),
        namespaces: vec![NamespaceFact {
            kind: "net".into(),
            inode: 4_026_532_211,
            shared_with: "pod".into(),
            ..NamespaceFact::default()
        }],
        stages: vec![Stage { name: "clone".into(), microseconds: 1250 }],
        plan: vec!["mount proc".into()],
        ..ExplainResponse::default()
    }
}

#[test]
fn it_is_a_tree_or_an_object() {
    let daemon = Daemon::new();
    daemon.world().explain = facts();
    let shown = orlop(&daemon, "explain test/shop/web").well();
    assert!(shown.starts_with("container web  a10000000000  running\n├─ namespaces\n"), "{shown}");
    assert!(
        shown.contains("net  4026532211  shared in the pod") && shown.contains("clone  1.25 ms  █"),
        "{shown}"
    );
    let shown = orlop(&daemon, "explain db --plan -o json").well();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["kind"], &shown["plan"][0]), (&"container".into(), &"mount proc".into()));
    assert_eq!(shown["stages"][0]["microseconds"], 1250);
    orlop(&daemon, "explain --type pod test/shop").well();
    assert_eq!(daemon.asked(), ["explain a1", "explain with its plan a3", "explain b1"]);
}

#[test]
fn another_daemon_does_not_know_it() {
    let daemon = Daemon::of_others();
    for line in ["explain a1", "audit", "pull busybox"] {
        let said = orlop(&daemon, line).badly();
        let socket = daemon.socket();
        let expected = format!("orlop: {line}: the daemon at {} does not know this call\n", socket.display());
        assert!(said.starts_with(&expected) && said.contains("is it orlopd"), "{said}");
    }
    orlop(&daemon, "ps").well();
}
