//! Verbs that end and remove things, and put things right.

use orlop_proto::orlop::v1::{AuditResponse, Difference, DifferenceKind};

use crate::daemon::{Daemon, id};
use crate::run::orlop;

#[test]
fn stop_takes_containers_and_pods_by_any_name() {
    let daemon = Daemon::new();
    assert_eq!(orlop(&daemon, "stop -t 3 test/shop/web db b1").well(), "test/shop/web\ndb\nb1\n");
    assert_eq!(daemon.asked(), ["stop within 3 s: a1", "stop within 3 s: a3", "stop pod b1"]);
}

#[test]
fn one_failure_does_not_keep_the_others_from_it() {
    let daemon = Daemon::new();
    daemon.world().stuck.push(id("a1"));
    let ran = orlop(&daemon, "stop a1 web nothing db");
    assert_eq!((ran.code, ran.stdout.as_str()), (1, "db\n"));
    assert!(ran.stderr.contains("orlop: stop a1: it is\\nstuck\\u{1b}[2J\n"), "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("orlop: \"web\" fits 2 things:\n  container a10000000000  test/shop/web, running\n")
    );
    assert!(ran.stderr.contains("orlop: no container or pod has the name"), "{}", ran.stderr);
    assert_eq!(daemon.asked(), ["stop within 10 s: a1", "stop within 10 s: a3"]);
}

#[test]
fn what_lives_is_removed_by_force_only() {
    let daemon = Daemon::new();
    let said = orlop(&daemon, "rm db").badly();
    assert_eq!(said, "orlop: rm db: it is running\n  `orlop stop` it first, or use --force\n");
    orlop(&daemon, "rm test/shop").badly();
    assert_eq!(daemon.asked(), Vec::<String>::new());
    orlop(&daemon, "rm job default/shop").well();
    assert_eq!(daemon.asked(), ["remove a2", "stop pod b2", "remove pod b2"]);
    daemon.world().asked.clear();
    orlop(&daemon, "rm -f db test/shop").well();
    assert_eq!(daemon.asked(), ["remove a3", "stop pod b1", "remove pod b1"]);
}

#[test]
fn a_type_chooses_between_a_pod_and_a_container_of_one_name() {
    let daemon = Daemon::new();
    daemon.world().pods[1].metadata.as_mut().unwrap().name = "job".into();
    assert!(orlop(&daemon, "stop job").badly().contains("choose with --type"));
    orlop(&daemon, "stop --type pod job").well();
    orlop(&daemon, "rm --type container job").well();
    assert_eq!(daemon.asked(), ["stop pod b2", "remove a2"]);
}

#[test]
fn an_image_with_several_names_is_removed_by_force_only() {
    let daemon = Daemon::new();
    let said = orlop(&daemon, "rmi alpine").badly();
    assert!(
        said.contains("has 2 names: docker.io/library/alpine:latest, docker.io/library/alpine:3\n"),
        "{said}"
    );
    assert_eq!(orlop(&daemon, "rmi --force alpine:3 localhost:5000/busybox:1").well().lines().count(), 2);
    assert_eq!(daemon.asked(), ["remove image sha256:e2", "remove image sha256:e1"]);
}

#[test]
fn an_audit_ends_with_1_if_something_is_not_as_it_should_be() {
    let daemon = Daemon::new();
    daemon.world().audit.things_checked = 12;
    let shown = orlop(&daemon, "audit").well();
    assert_eq!(shown, "12 things of the ledger were looked for; ledger and kernel agree\n");

    let difference = |thing: &str, fixed| Difference {
        owner: id("b1"),
        thing: thing.into(),
        kind: DifferenceKind::Foreign.into(),
        fixed,
        detail: "busy".into(),
    };
    let differences = vec![difference("mount /x\u{1b}", false), difference("link y", true)];
    daemon.world().audit = AuditResponse { differences, things_checked: 12 };
    let ran = orlop(&daemon, "audit --fix");
    assert_eq!((ran.code, ran.stderr.as_str()), (1, ""));
    assert!(
        ran.stdout.contains("b10000000000   mount /x\\u{1b}   nobody's     no      busy\n"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.ends_with("12 things of the ledger were looked for; 2 differed, 1 were put right\n"));
    let ran = orlop(&daemon, "audit -o json");
    let first: serde_json::Value = serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap();
    assert_eq!((ran.code, &first["kind"], &first["fixed"]), (1, &"foreign".into(), &false.into()));

    daemon.world().audit.differences.remove(0);
    assert_eq!(orlop(&daemon, "audit --fix").code, 0, "all is right again");
    assert_eq!(daemon.asked(), ["audit ", "audit and fix", "audit ", "audit and fix"]);
}
