//! Hooks that fail, that hang, that are not there.

use std::time::Instant;

use orlop_tests::daemon::{PATIENCE, eventually};
use serde_json::json;
use tonic::Code;

use super::{hook, lives, order, place, said, script, stage, witness};

#[tokio::test]
async fn a_hook_that_fails_before_the_program_fails_the_start_by_its_name() {
    for point in ["prestart", "createRuntime", "createContainer", "startContainer"] {
        let place = place(&format!("hooks-fail-{point}"));
        witness(&place, "poststart");
        witness(&place, "poststop");
        let bad = script(&place, "bad", "#!/bin/sh\necho no luck >&2\nexit 3\n");
        let inside = json!({"path": "/bin/sh", "args": ["sh", "-c", "echo no luck; exit 3"]});
        let outside = json!({"path": bad});
        let bad_hook = if point == "startContainer" { inside } else { outside };
        hook(&place, "10-bad", &bad_hook, &[point]);
        let mut stage = stage(&place, |_| {}).await;
        let config = stage.script("c", "echo never");
        let id = stage.create(&config).await.expect("created");
        let error = stage.client.start(&id).await.expect_err("its hook fails");
        let path = bad_hook["path"].as_str().expect("a path");
        for word in [&format!("{point} hook"), path, "exit code 3", "no luck"] {
            assert!(error.message().contains(word), "{word} in {}", error.message());
        }
        let status = stage.client.ended(&id).await;
        assert_eq!((status.exit_code, &*status.reason), (128, "StartError"));
        assert!(status.message.contains("no luck"), "{}", status.message);
        // What comes after the end comes, and nothing else does.
        eventually("the last hook has been run", async || order(&place) == ["poststop"]).await;
        assert!(stage.log("c").is_empty(), "the program never ran");
        stage.client.remove(&id).await.expect("removed");
        stage.end().await;
        assert_eq!(order(&place), ["poststop"], "once");
    }
}

#[tokio::test]
async fn a_hook_that_fails_after_the_program_began_is_a_warning() {
    let place = place("hooks-warn");
    let bad = script(&place, "bad", "#!/bin/sh\necho no luck $1\nexit 4\n");
    for point in ["poststart", "poststop"] {
        hook(&place, &format!("10-{point}"), &json!({"path": bad, "args": ["bad", point]}), &[point]);
        witness(&place, point);
    }
    let mut stage = stage(&place, |_| {}).await;
    let config = stage.script("c", "exec sleep 1000");
    let id = stage.start(&config).await;
    stage.client.stop(&id, 0).await.expect("stopped");
    assert_eq!(stage.client.status(&id).await.expect("its status").exit_code, 137);
    // The next one is run all the same.
    assert_eq!(order(&place), ["poststart", "poststop"]);
    eventually("both are told", async || {
        let log = stage.daemon.log();
        ["poststart", "poststop"].iter().all(|point| log.contains(&format!("no luck {point}")))
    })
    .await;
    stage.end().await;
}

#[tokio::test]
async fn a_hook_that_does_not_end_is_killed_with_all_it_started() {
    for point in ["createRuntime", "createContainer"] {
        let place = place(&format!("hooks-late-{point}"));
        let text = "#!/bin/sh\nsleep 1000 &\necho $! > ${0%/*}/out/child\necho $$ > ${0%/*}/out/pid\nwait\n";
        let late = script(&place, "late", text);
        hook(&place, "late", &json!({"path": late, "timeout": 1}), &[point]);
        let mut stage = stage(&place, |_| {}).await;
        let config = stage.script("c", "true");
        let id = stage.create(&config).await.expect("created");
        let error = stage.client.start(&id).await.expect_err("its hook hangs");
        for word in [&format!("{point} hook"), "late", "did not end within 1000 ms"] {
            assert!(error.message().contains(word), "{word} in {}", error.message());
        }
        assert_eq!(stage.client.ended(&id).await.exit_code, 128);
        if point == "createRuntime" {
            // In the node's PID namespace the numbers are those that the test sees.
            for name in ["pid", "child"] {
                eventually("it is gone", async || !lives(&said(&place, name))).await;
            }
        }
        stage.end().await;
    }
}

#[tokio::test]
async fn the_time_of_a_hook_that_says_none_is_the_nodes() {
    let place = place("hooks-default");
    let late = script(&place, "late", "#!/bin/sh\nexec sleep 1000\n");
    hook(&place, "late", &json!({"path": late}), &["prestart"]);
    let directory = place.join("hooks.d").display().to_string();
    let config = format!("[hooks]\ntimeout = 1\ndirectories = [{directory:?}]");
    let daemon = orlop_tests::daemon::Daemon::build("hooks").config(&config).start().await;
    let mut stage = orlop_tests::daemon::stage::Stage::on(daemon, |_| {}).await;
    let config = stage.script("c", "true");
    let id = stage.create(&config).await.expect("created");
    let error = stage.client.start(&id).await.expect_err("its hook hangs");
    assert!(error.message().contains("did not end within 1000 ms"), "{}", error.message());
    stage.end().await;
}

#[tokio::test]
async fn a_container_can_be_stopped_while_its_hook_runs() {
    for point in ["createRuntime", "createContainer", "startContainer"] {
        let place = place(&format!("hooks-stop-{point}"));
        witness(&place, "poststop");
        let text = "#!/bin/sh\necho $$ > ${0%/*}/out/begun\nexec sleep 1000\n";
        let long = script(&place, "long", text);
        let inside = json!({"path": "/bin/sh", "args": ["sh", "-c", "echo x > /out/begun; exec sleep 1000"], "timeout": 900});
        let outside = json!({"path": long, "timeout": 900});
        hook(&place, "long", if point == "startContainer" { &inside } else { &outside }, &[point]);
        let mut stage = stage(&place, |_| {}).await;
        let mut config = stage.script("c", "true");
        super::show_out(&place, &mut config);
        let id = stage.create(&config).await.expect("created");
        let starting = {
            let (mut client, id) = (stage.daemon.client().await, id.clone());
            tokio::spawn(async move { client.start(&id).await })
        };
        eventually("the hook runs", async || !said(&place, "begun").is_empty()).await;
        let before = Instant::now();
        stage.client.stop(&id, 0).await.expect("stopped");
        assert!(before.elapsed() < PATIENCE, "nobody waits for the hook");
        starting.await.expect("a call").expect_err("it was stopped before its program ran");
        assert_eq!(order(&place), ["poststop"]);
        if point == "createRuntime" {
            eventually("the hook is gone", async || !lives(&said(&place, "begun"))).await;
        }
        stage.end().await;
    }
}

#[tokio::test]
async fn a_hook_that_is_not_there_is_refused_before_anything_is_made() {
    let place = place("hooks-absent");
    let plain = place.join("plain");
    place.put("plain", "no program");
    let mut stage = stage(&place, |_| {}).await;
    for (file, path, point, words) in [
        ("absent", place.join("absent"), "createRuntime", "No such file"),
        ("plain", plain, "poststop", "is no program"),
    ] {
        hook(&place, file, &json!({"path": path}), &[point]);
        eventually("it is seen", async || {
            super::facts(&mut stage.client).await["files"]
                == json!([place.join(format!("hooks.d/{file}.json"))])
        })
        .await;
        let config = stage.script("c", "true");
        let error = stage.create(&config).await.expect_err(words);
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        for word in [&format!("hooks.{point}[0].path"), &path.display().to_string(), words] {
            assert!(error.message().contains(word), "{word} in {}", error.message());
        }
        let left = std::fs::read_dir(stage.daemon.state().join("containers")).expect("there").count();
        assert_eq!(left, 0);
        std::fs::remove_file(place.join(format!("hooks.d/{file}.json"))).expect("removed");
    }
    // In the container it is seen when it is to be run.
    hook(&place, "inside", &json!({"path": "/no/such/hook"}), &["startContainer"]);
    eventually("it is seen", async || {
        super::facts(&mut stage.client).await["files"] == json!([place.join("hooks.d/inside.json")])
    })
    .await;
    let config = stage.script("c", "true");
    let id = stage.create(&config).await.expect("created");
    let error = stage.client.start(&id).await.expect_err("it is not there");
    assert!(
        error.message().contains("startContainer hook /no/such/hook: No such file"),
        "{}",
        error.message()
    );
    stage.end().await;
}
