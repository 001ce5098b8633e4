//! Which containers get which hooks.

use orlop_proto::runtime::v1::CdiDevice;
use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::Stage;
use serde_json::json;

use super::{facts, order, place, show_out, stage, witness};

#[tokio::test]
async fn conditions_choose_and_others_pay_nothing() {
    let place = place("hooks-chosen");
    for (name, when) in [
        ("annotated", json!({"annotations": {"^vendor\\.com/wants$": "^(hook|all)$"}})),
        ("binds", json!({"hasBindMounts": true})),
        ("command", json!({"commands": ["^/bin/ech[o]$"]})),
    ] {
        let hook = json!({"path": place.join("witness"), "args": ["witness", name]});
        let text = json!({"version": "1.0.0", "hook": hook, "when": when, "stages": ["createRuntime"]});
        place.put(format!("hooks.d/{name}.json"), text.to_string());
    }
    let mut stage = stage(&place, |_| {}).await;
    let config = stage.script("none", "true");
    let id = stage.start(&config).await;
    stage.client.ended(&id).await;
    assert_eq!(order(&place), Vec::<String>::new());
    let directory = stage.daemon.state().join("containers").join(&id);
    assert!(!directory.join("config.json").exists() && !directory.join("poststop").exists());
    assert_eq!(
        stage.client.facts(&id).await.expect("facts")["ledger"]
            .as_array()
            .map(|all| all.iter().any(|one| one == "poststop")),
        Some(false)
    );

    let mut config = stage.script("annotated", "true");
    config.annotations.insert("vendor.com/wants".into(), "all".into());
    stage.to_end(&config).await;
    let mut config = stage.script("binds", "true");
    show_out(&place, &mut config);
    stage.to_end(&config).await;
    let config = orlop_tests::cri::container("command", &stage.image, &["/bin/echo", "x"]);
    stage.to_end(&config).await;
    assert_eq!(order(&place), ["annotated", "binds", "command"]);
    stage.end().await;
}

#[tokio::test]
async fn files_are_watched_and_a_broken_one_is_told() {
    let place = place("hooks-watched");
    let mut stage = stage(&place, |_| {}).await;
    witness(&place, "createRuntime");
    place.put(
        "hooks.d/broken.json",
        "{\"version\": \"1.0.0\",\n\"hook\": {\"path\": \"/a\"},\n\"when\": {},\n\"stages\": [\"never\"]}",
    );
    let told = format!("{}:4: stages: \"never\"", place.join("hooks.d/broken.json").display());
    eventually("both are seen", async || {
        let facts = facts(&mut stage.client).await;
        facts["files"] == json!([place.join("hooks.d/50-createRuntime.json")])
            && facts["faults"][0].as_str().is_some_and(|fault| fault.starts_with(&told))
    })
    .await;
    let config = stage.script("c", "true");
    stage.to_end(&config).await;
    assert_eq!(order(&place), ["createRuntime"]);
    stage.end().await;
}

#[tokio::test]
async fn a_device_by_name_brings_its_hooks() {
    let place = place("hooks-cdi");
    let file = json!({"cdiVersion": "0.5.0", "kind": "v.com/c", "devices": [{"name": "a", "containerEdits": {"hooks": [
        {"hookName": "createContainer", "path": place.join("witness"), "args": ["witness", "createContainer"]},
        {"hookName": "poststop", "path": place.join("witness"), "args": ["witness", "poststop"], "timeout": 9},
    ]}}]});
    place.put("hooks.d/v.yaml", file.to_string());
    let mut stage: Stage = stage(&place, |_| {}).await;
    let mut config = stage.script("c", "true");
    config.cdi_devices = vec![CdiDevice { name: "v.com/c=a".into() }];
    stage.to_end(&config).await;
    assert_eq!(order(&place), ["createContainer", "poststop"]);
    stage.end().await;
}
