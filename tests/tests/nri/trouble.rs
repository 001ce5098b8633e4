//! Plugins that are slow, dead, of different minds, in the way; and what they may do to others.
//!
//! *Invariant:* the container that a plugin fails is made or refused as the rules say, and nothing of one that is refused is left.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::Stage;
use orlop_tests::nri::{Actor, socket};
use serde_json::{Value, json};

use super::{adjusting, daemon, shares, sleeper};

/// Does this at the creation of `c`.
fn at_creation(deed: &Value) -> Value {
    let mut deed = deed.clone();
    deed["name"] = json!("c");
    json!({ "on": { "CreateContainer": [deed] } })
}

#[tokio::test]
async fn an_optional_plugin_that_is_late_or_dies_is_let_go_and_the_container_made() {
    let daemon = daemon("late-or-dead", "[nri]\nrequest_timeout = 1\n").await;
    let late = Actor::ready(&daemon, "10", "late", &at_creation(&json!({ "sleep": 5000 }))).await;
    let dead = Actor::ready(&daemon, "20", "dead", &at_creation(&json!({ "exit": true }))).await;
    let after = Actor::ready(
        &daemon,
        "30",
        "after",
        &adjusting("c", &json!({ "env": [{ "key": "A", "value": "1" }] })),
    )
    .await;
    let mut stage = Stage::on(daemon, |_| {}).await;
    let id = stage.run("c", "exec sleep 1000").await;
    assert_eq!(stage.client.sh(&id, "echo $A").await.trim(), "1", "who comes after them is asked");
    for name in ["10-late", "20-dead"] {
        eventually(name, async || {
            stage.daemon.log().contains(&format!("an NRI plugin is gone plugin={name}"))
        })
        .await;
    }
    stage.run("d", "exec sleep 1000").await;
    assert!(late.heard("d").is_empty() && dead.heard("d").is_empty());
    assert!(after.heard("d").contains(&"CreateContainer".to_owned()));
    drop((late, dead, after));
    stage.end().await;
}

#[tokio::test]
async fn a_plugin_can_ask_that_its_lateness_fails_the_request_or_is_forgiven() {
    let daemon = daemon("policy", "[nri]\nrequest_timeout = 1\n").await;
    let mut script = at_creation(&json!({ "sleep": 3000 }));
    script["policy"] = json!({ "fail_request": true, "keep_connected": true });
    let actor = Actor::ready(&daemon, "10", "slow", &script).await;
    let mut stage = Stage::on(daemon, |_| {}).await;
    let config = sleeper(&stage, "c");
    let refused = stage.create(&config).await.expect_err("late");
    assert!(refused.message().contains("plugin 10-slow"), "{refused}");
    assert!(stage.client.containers().await.expect("a list").is_empty());
    let other = sleeper(&stage, "d");
    stage.create(&other).await.expect("made");
    actor.hears("CreateContainer", "d").await;
    drop(actor);
    stage.end().await;
}

#[tokio::test]
async fn two_that_want_different_things_are_named_and_nothing_is_made() {
    let daemon = daemon("conflict", "").await;
    let env = |value: &str| adjusting("c", &json!({ "env": [{ "key": "E", "value": value }] }));
    let one = Actor::ready(&daemon, "10", "one", &env("1")).await;
    let other = Actor::ready(&daemon, "20", "other", &env("2")).await;
    let mut stage = Stage::on(daemon, |_| {}).await;
    let config = sleeper(&stage, "c");
    let refused = stage.create(&config).await.expect_err("a conflict");
    assert!(refused.message().contains("plugins 10-one and 20-other both set Env \"E\""), "{refused}");
    assert!(stage.client.containers().await.expect("a list").is_empty());
    drop(other);
    eventually("one is left", async || stage.daemon.log().contains("is gone plugin=20-other")).await;
    stage.create(&config).await.expect("made");
    drop(one);
    stage.end().await;
}

#[tokio::test]
async fn what_a_plugin_refuses_is_refused_in_its_words() {
    let daemon = daemon("refuses", "").await;
    let no = |event: &str| json!({ "on": { event: [{ "name": "c", "error": "not on my node" }] } });
    let mut stage = Stage::on(daemon, |_| {}).await;
    for (number, event) in ["CreateContainer", "StartContainer"].into_iter().enumerate() {
        let name = format!("no{number}");
        let actor = Actor::ready(&stage.daemon, "10", &name, &no(event)).await;
        let config = sleeper(&stage, "c");
        let outcome = match stage.create(&config).await {
            Ok(id) => {
                let started = stage.client.start(&id).await;
                stage.client.remove(&id).await.expect("removed");
                started.map(|()| String::new())
            }
            Err(status) => Err(status),
        };
        let refused = outcome.expect_err(event);
        assert!(refused.message().contains("not on my node"), "{refused}");
        drop(actor);
        eventually("it is gone", async || stage.daemon.log().contains(&format!("is gone plugin=10-{name}")))
            .await;
    }
    assert!(stage.client.containers().await.expect("a list").is_empty());
    stage.end().await;
}

#[tokio::test]
async fn others_are_updated_and_evicted() {
    let daemon = daemon("others", "").await;
    let mut stage = Stage::on(daemon, |_| {}).await;
    let kept = stage.run("kept", "exec sleep 1000").await;
    let evicted = stage.run("evicted", "exec sleep 1000").await;
    let limits = |shares: u64| json!({ "resources": { "cpu": { "shares": { "value": shares } } } });
    let script = at_creation(&json!({ "answer": {
        "update": [{ "container_id": kept, "linux": limits(300) }],
        "evict": [{ "container_id": evicted, "reason": "room" }] } }));
    let mut actor = Actor::ready(&stage.daemon, "10", "actor", &script).await;
    let config = sleeper(&stage, "c");
    stage.create(&config).await.expect("created");
    assert_eq!(shares(&mut stage.client, &kept).await, 300, "before the call is answered");
    let status = stage.client.ended(&evicted).await;
    assert_eq!(status.exit_code, 137);
    actor.hears("StopContainer", "evicted").await;

    actor.ask(&json!({ "update": [
        { "container_id": kept, "linux": limits(400) },
        { "container_id": kept, "linux": { "resources": { "cpu": { "shares": { "value": 1 } } } } },
        { "container_id": kept, "ignore_failure": true, "linux": { "resources": { "rdt_class": { "value": "x" } } } },
        { "container_id": "ffffffffffff", "linux": limits(400) } ] }));
    actor.hears("Updated", "1").await;
    assert_eq!(shares(&mut stage.client, &kept).await, 400);
    actor.ask(&json!({ "evict": [{ "container_id": kept, "reason": "room" }] }));
    stage.client.ended(&kept).await;
    drop(actor);
    stage.end().await;
}

#[tokio::test]
async fn an_update_goes_through_plugins() {
    let daemon = daemon("updates", "").await;
    let mut stage = Stage::on(daemon, |_| {}).await;
    let id = stage.run("c", "exec sleep 1000").await;
    let answer = json!({ "update": [{ "container_id": id, "linux": { "resources": { "cpu": { "shares": { "value": 999 } } } } }] });
    let script = json!({ "on": { "UpdateContainer": [{ "answer": answer }] } });
    let actor = Actor::ready(&stage.daemon, "10", "actor", &script).await;
    super::update(&mut stage.client, &id, 512).await.expect("updated");
    assert_eq!(shares(&mut stage.client, &id).await, 999);
    drop(actor);
    stage.end().await;
}

#[tokio::test]
async fn who_judges_can_reject_and_so_can_the_node() {
    let daemon = daemon("judges", "[nri]\nreject_oci_hooks = true\n").await;
    let hooks = json!({ "hooks": { "poststop": [{ "path": "/bin/true" }] } });
    let hooking = Actor::ready(&daemon, "10", "hooking", &adjusting("c", &hooks)).await;
    let mut stage = Stage::on(daemon, |_| {}).await;
    let config = sleeper(&stage, "c");
    let refused = stage.create(&config).await.expect_err("a rule of the node");
    assert!(refused.message().contains("plugin 10-hooking adds OCI hooks"), "{refused}");
    drop(hooking);
    let reject = json!({ "on": { "ValidateContainerAdjustment": [{ "name": "c", "answer": { "reject": true, "reason": "because" } }] } });
    let judge = Actor::ready(&stage.daemon, "20", "judge", &reject).await;
    eventually("one is left", async || stage.daemon.log().contains("is gone plugin=10-hooking")).await;
    let refused = stage.create(&config).await.expect_err("a judge");
    assert!(refused.message().contains("plugin 20-judge rejects it: because"), "{refused}");
    assert!(stage.client.containers().await.expect("a list").is_empty());
    drop(judge);
    stage.end().await;
}

#[tokio::test]
async fn who_says_nothing_or_nonsense_is_let_go_and_harms_nobody() {
    let daemon = daemon("nonsense", "[nri]\nregistration_timeout = 1\n").await;
    let mute = Actor::start(&daemon, "10", "mute", &json!({}));
    let wrong = Actor::start(&daemon, "xx", "wrong", &json!({}));
    let strange = Actor::start(&daemon, "10", "strange", &json!({ "events": 1 << 30 }));
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 64],
        &[0, 0, 0, 1, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 1, 9, 9],
    ] {
        let mut connection = UnixStream::connect(socket(&daemon)).expect("connected");
        connection.write_all(bytes).expect("sent");
        connection.shutdown(std::net::Shutdown::Write).expect("shut");
        let _ = connection.read_to_end(&mut Vec::new());
    }
    let good = Actor::ready(&daemon, "10", "good", &json!({})).await;
    for cause in ["nothing within 1 s", "xx-wrong", "it asks for unknown events"] {
        eventually(cause, async || daemon.log().contains(cause)).await;
    }
    let stage = Stage::on(daemon, |_| {}).await;
    good.hears("RunPodSandbox", "pod").await;
    assert!(mute.heard("pod").is_empty() && wrong.heard("pod").is_empty() && strange.heard("pod").is_empty());
    drop((mute, wrong, strange, good));
    stage.end().await;
}
