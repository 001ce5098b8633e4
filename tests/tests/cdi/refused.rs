//! What is refused, and files that are broken.

use std::path::{Path, PathBuf};

use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::Stage;
use orlop_tests::place::Place;
use serde_json::json;
use tonic::{Code, Status};

use super::{ask, facts, put, simple, stage};

fn entries(directory: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(directory).expect("it is there");
    all.map(|entry| entry.expect("read").path()).collect()
}

/// Asks for a container with this device, and sees that nothing of it is there.
async fn refused(stage: &mut Stage, device: &str) -> Status {
    let before =
        (entries(&stage.daemon.state().join("containers")), entries(&stage.daemon.root().join("containers")));
    let mut config = stage.script("refused", "true");
    ask(&mut config, &[device]);
    let error = stage.create(&config).await.expect_err(device);
    let after =
        (entries(&stage.daemon.state().join("containers")), entries(&stage.daemon.root().join("containers")));
    assert_eq!(before, after, "{device}: something is left");
    error
}

#[tokio::test]
async fn a_device_that_is_not_to_be_had_is_refused_by_its_name() {
    let place = Place::new("cdi-refused");
    let mut stage = stage(&place).await;
    put(&place.join("first/a.yaml"), &simple("v.com/c", "a", "1"));
    put(&place.join("first/b.yaml"), &simple("v.com/c", "twice", "1"));
    put(&place.join("first/c.yaml"), &simple("v.com/c", "twice", "2"));
    put(&place.join("first/d.yaml"), "cdiVersion: 0.5.0\nkind: v.com/broken\ndevices:\n- name: [\n");
    let gone = json!({"cdiVersion": "1.1.0", "kind": "v.com/e", "devices": [
        {"name": "gone", "containerEdits": {"deviceNodes": [{"path": "/dev/no-such-device"}]}},
        {"name": "nic", "containerEdits": {"netDevices": [{"hostInterfaceName": "eth7", "name": "net0"}]}},
        {"name": "class", "containerEdits": {"intelRdt": {"closID": "gold"}}},
    ]});
    put(&place.join("first/e.json"), &gone.to_string());
    for (device, words) in [
        ("v.com/c=b", &["config.CDI_devices[0].name", "v.com/c=b", "no such device", "first/a.yaml"][..]),
        ("v.com/d=a", &["config.CDI_devices[0].name", "no CDI file describes a v.com/d", "second"]),
        ("v.com/c=twice", &["v.com/c=twice", "first/b.yaml", "first/c.yaml"]),
        ("v.com/broken=a", &["v.com/broken=a", "no CDI file describes"]),
        ("v.com/e=gone", &["v.com/e=gone", "deviceNodes", "/dev/no-such-device"]),
        ("gpu0", &["config.CDI_devices[0].name", "gpu0", "no full name"]),
    ] {
        let error = refused(&mut stage, device).await;
        assert_eq!(error.code(), Code::InvalidArgument, "{device}: {error}");
        for word in words {
            assert!(error.message().contains(word), "{word} in {}", error.message());
        }
    }
    for (device, part) in [("v.com/e=nic", "linux.netDevices"), ("v.com/e=class", "linux.intelRdt")] {
        let error = refused(&mut stage, device).await;
        assert_eq!(error.code(), Code::Unimplemented, "{device}: {error}");
        assert!(error.message().contains(part), "{}", error.message());
    }
    let mut config = stage.script("annotated", "true");
    config.annotations.insert("cdi.k8s.io/x".into(), "v.com/c=a,v.com/c=b".into());
    let error = stage.create(&config).await.expect_err("one of them is not there");
    assert!(error.message().contains("config.annotations[\"cdi.k8s.io/x\"]"), "{}", error.message());
    assert!(error.message().contains("v.com/c=b"), "{}", error.message());
    config.annotations.insert("cdi.k8s.io/x".into(), "nothing".into());
    let error = stage.create(&config).await.expect_err("no names");
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");

    // What is asked for beside them is to be had all the same, and the name is free.
    config.annotations.insert("cdi.k8s.io/x".into(), "v.com/c=a".into());
    stage.to_end(&config).await;
    stage.end().await;
}

#[tokio::test]
async fn a_broken_file_is_told_with_its_line_and_breaks_no_other() {
    let place = Place::new("cdi-broken");
    let mut stage = stage(&place).await;
    put(&place.join("first/a.yaml"), &simple("v.com/c", "a", "1"));
    let bad = "cdiVersion: 0.5.0\nkind: v.com/d\ndevices:\n- name: a\n  containerEdits:\n    envs: [A=1]\n";
    put(&place.join("first/b.yaml"), bad);
    let told = format!(
        "{}:6: devices[0].containerEdits: there is no \"envs\" here",
        place.join("first/b.yaml").display()
    );
    eventually("the fault is told", async || {
        let facts = facts(&mut stage.client).await;
        let faults = facts["faults"].as_array().expect("a list");
        faults.iter().any(|fault| fault.as_str().expect("a text").starts_with(&told))
            && facts["devices"] == json!(["v.com/c=a"])
    })
    .await;
    assert!(stage.daemon.log().contains(&told), "it is in the log");
    // Mended, it counts; and a directory that was taken away and made anew is watched as before.
    put(&place.join("first/b.yaml"), &bad.replace("envs", "env"));
    eventually("it is mended", async || {
        let facts = facts(&mut stage.client).await;
        facts["faults"] == json!([]) && facts["devices"] == json!(["v.com/c=a", "v.com/d=a"])
    })
    .await;
    std::fs::remove_dir_all(place.join("first")).expect("removed");
    eventually("they are gone", async || facts(&mut stage.client).await["devices"] == json!([])).await;
    std::fs::create_dir(place.join("first")).expect("made");
    put(
        &place.join("first/a.json"),
        "{\"cdiVersion\": \"0.5.0\", \"kind\": \"v.com/new\", \"devices\": [{\"name\": \"a\", \"containerEdits\": {\"env\": [\"A=1\"]}}]}",
    );
    eventually("a new one is seen", async || {
        facts(&mut stage.client).await["devices"] == json!(["v.com/new=a"])
    })
    .await;
    stage.end().await;
}
