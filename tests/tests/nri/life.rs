//! What plugins hear, and when.
//!
//! *Invariant:* each event of a pod or container once, in order, whatever is repeated.

use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::Stage;
use orlop_tests::nri::{Actor, program};
use serde_json::{Value, json};

use super::{daemon, shares, sleeper, update};

#[tokio::test]
async fn a_plugin_hears_of_everything_once_and_in_order() {
    let daemon = daemon("order", "").await;
    let actor = Actor::ready(&daemon, "10", "actor", &json!({ "whole": true })).await;
    let mut stage = Stage::on(daemon, |_| {}).await;
    let id = stage.run("c", "exec sleep 1000").await;
    update(&mut stage.client, &id, 512).await.expect("updated");
    let ended = stage.run("d", "exit 3").await;
    actor.hears("StopContainer", "d").await;
    stage.client.remove(&ended).await.expect("removed");
    for _ in 0..2 {
        stage.client.stop(&id, 0).await.expect("stopped");
    }
    for _ in 0..2 {
        stage.client.remove(&id).await.expect("removed");
    }
    let unborn = sleeper(&stage, "e");
    stage.create(&unborn).await.expect("created");
    for _ in 0..2 {
        stage.client.stop_pod(&stage.pod_id).await.expect("stopped");
    }
    for _ in 0..2 {
        stage.client.remove_pod(&stage.pod_id).await.expect("removed");
    }
    let made = ["CreateContainer", "ValidateContainerAdjustment", "PostCreateContainer"];
    let ran = ["StartContainer", "PostStartContainer"];
    let gone = ["StopContainer", "RemoveContainer"];
    let updated = ["UpdateContainer", "PostUpdateContainer"];
    assert_eq!(actor.heard("pod"), ["RunPodSandbox", "StopPodSandbox", "RemovePodSandbox"]);
    assert_eq!(actor.heard("c"), [&made[..], &ran[..], &updated[..], &gone[..]].concat());
    assert_eq!(actor.heard("e"), [&made[..], &gone[..]].concat());
    let short = actor.heard("d");
    assert_eq!(short.iter().filter(|event| **event != "PostStartContainer").count(), 6, "{short:?}");

    let pod = actor.told("RunPodSandbox", "pod")["pod"].clone();
    assert_eq!(
        (&pod["id"], &pod["uid"], &pod["namespace"]),
        (&json!(stage.pod_id), &json!("pod-uid"), &json!("default"))
    );
    assert_eq!(pod["ips"].as_array().map(Vec::is_empty), Some(false), "{pod}");
    let container = actor.told("PostStartContainer", "c")["container"].clone();
    assert_eq!((&container["state"], &container["args"][0]), (&json!("CONTAINER_RUNNING"), &json!("sh")));
    assert!(container["pid"].as_u64().is_some_and(|pid| pid > 1), "{container}");
    let container = actor.told("StopContainer", "d")["container"].clone();
    assert_eq!((&container["state"], &container["exit_code"]), (&json!("CONTAINER_STOPPED"), &json!(3)));
    let asked = actor.told("UpdateContainer", "c")["linux_resources"]["cpu"]["shares"]["value"].clone();
    assert_eq!(asked, json!("512"));
    drop(actor);
    stage.end().await;
}

#[tokio::test]
async fn a_late_plugin_is_told_what_there_is_and_loses_nothing() {
    let daemon = daemon("late", "").await;
    let mut stage = Stage::on(daemon, |_| {}).await;
    let before = stage.run("before", "exec sleep 1000").await;
    let ended = stage.run("ended", "true").await;
    stage.client.ended(&ended).await;
    // While it is told, one more is made.
    let script = json!({ "on": { "Synchronize": [{ "sleep": 800, "answer": { "update": [{
        "container_id": before, "linux": { "resources": { "cpu": { "shares": { "value": 333 } } } } }] } }] } });
    let actor = Actor::start(&stage.daemon, "10", "late", &script);
    actor.hears("Synchronized", "").await;
    let meanwhile = sleeper(&stage, "meanwhile");
    stage.create(&meanwhile).await.expect("created");
    actor.hears("PostCreateContainer", "meanwhile").await;
    let told = actor.said().into_iter().find(|line| line["event"] == "Synchronized").expect("told");
    assert_eq!((&told["pods"], &told["containers"]), (&json!([stage.pod_id]), &json!([before])));
    eventually("the update", async || shares(&mut stage.client, &before).await == 333).await;
    drop(actor);
    stage.end().await;
}

#[tokio::test]
async fn a_plugin_comes_back_to_a_daemon_that_was_killed() {
    let daemon = daemon("back", "").await;
    let actor = Actor::ready(&daemon, "10", "actor", &json!({})).await;
    let mut stage = Stage::on(daemon, |_| {}).await;
    let id = stage.run("c", "exec sleep 1000").await;
    stage.daemon.kill9();
    actor.hears("Closed", "").await;
    drop(actor);
    stage.daemon.up().await;
    stage.client = stage.daemon.client().await;
    let actor = Actor::start(&stage.daemon, "20", "again", &json!({ "whole": true }));
    actor.hears("Synchronized", "").await;
    let told = actor.said().into_iter().find(|line| line["event"] == "Synchronized").expect("told");
    assert_eq!((&told["pods"], &told["containers"]), (&json!([stage.pod_id]), &json!([id])));
    eventually("it is asked", async || stage.daemon.log().contains("plugin=20-again")).await;
    stage.client.stop(&id, 0).await.expect("stopped");
    actor.hears("StopContainer", "c").await;
    assert_eq!(actor.told("StopContainer", "c")["container"]["args"][0], json!("sh"));
    drop(actor);
    stage.end().await;
}

#[tokio::test]
async fn installed_plugins_are_there_before_the_daemon_answers() {
    let prepared = orlop_tests::daemon::Daemon::build("installed");
    let place = orlop_tests::place::Place::new("nri-installed");
    let plugins = place.join("plugins");
    std::fs::create_dir_all(&plugins).expect("a directory");
    let own = plugins.join("10-actor");
    std::fs::copy(program(), &own).expect("a plugin");
    std::fs::write(plugins.join("10-actor.script"), json!({}).to_string()).expect("a script");
    std::fs::write(place.join("actor.conf"), "what it is told").expect("a configuration");
    let config = format!(
        "[nri]\nplugin_path = \"{}\"\nplugin_config_path = \"{}\"\n",
        plugins.display(),
        place.join("").display()
    );
    let daemon = prepared.config(&config).start().await;
    let out = plugins.join("10-actor.out");
    let said = || -> Vec<Value> {
        let text = std::fs::read_to_string(&out).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    let events = |said: &[Value]| -> Vec<String> {
        said.iter().filter_map(|line| line["event"].as_str().map(str::to_owned)).collect()
    };
    let first = said();
    assert_eq!(events(&first)[0], "Configure");
    assert_eq!((&first[0]["name"], &first[0]["runtime"]), (&json!("what it is told"), &json!("orlop")));
    assert!(events(&first).contains(&"Synchronized".into()), "{first:?}");
    let stage = Stage::on(daemon, |_| {}).await;
    assert!(events(&said()).contains(&"RunPodSandbox".into()));
    // One that dies is let go and waited for: nothing of it is left under the daemon.
    let pid = i32::try_from(first[0]["pid"].as_i64().expect("a number")).expect("a number");
    let pid = rustix::process::Pid::from_raw(pid).expect("a number");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is there");
    stage.end().await;
}

#[tokio::test]
async fn a_plugin_of_an_older_version_is_told_in_its_words() {
    let daemon = daemon("old", "").await;
    let old = json!([{ "unimplemented": true }]);
    let actor = Actor::ready(&daemon, "10", "old", &json!({ "on": { "RunPodSandbox": old } })).await;
    let mut stage = Stage::on(daemon, |_| {}).await;
    actor.hears("StateChange", "RUN_POD_SANDBOX").await;
    let id = stage.run("c", "exec sleep 1000").await;
    actor.hears("StateChange", "START_CONTAINER").await;
    stage.client.stop(&id, 0).await.expect("stopped");
    actor.hears("StopContainer", "c").await;
    drop(actor);
    stage.end().await;
}
