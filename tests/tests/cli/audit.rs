//! What belongs to nobody is found, and taken down when that is asked for.

use orlop_tests::daemon::stage::Stage;

use crate::said::{ends, orlop};

#[tokio::test]
async fn ledger_and_kernel_agree_until_something_is_planted() {
    let mut stage = Stage::new("cliaudit").await;
    stage.run("web", "sleep 1000").await;
    let agree = orlop(&stage.daemon, &["audit"]);
    assert!(agree.out.ends_with("ledger and kernel agree\n"), "{}", agree.out);
    assert_eq!(orlop(&stage.daemon, &["audit", "-o", "json"]).out, "");

    let layer = stage.daemon.root().join("containers").join("f".repeat(64));
    std::fs::create_dir_all(layer.join("upper/etc")).expect("a layer of nobody");
    let found = ends(&stage.daemon, &["audit"]);
    assert_eq!(found.code, 1, "{}", found.out);
    let row = found.row("ffffffffffff");
    assert_eq!(
        (row[1], row[2], row[3]),
        (&*format!("layer {}", layer.display()), "nobody's", "no"),
        "{row:?}"
    );
    assert!(layer.exists(), "looking changes nothing");
    let json = ends(&stage.daemon, &["audit", "-o", "json"]).json();
    assert_eq!((json.len(), json[0]["fixed"].as_bool()), (1, Some(false)), "{json:?}");
    assert!(json[0]["kind"].as_str().is_some_and(|kind| kind.to_lowercase().contains("foreign")), "{json:?}");

    let fixed = orlop(&stage.daemon, &["audit", "--fix"]);
    assert_eq!(fixed.row("ffffffffffff")[3], "yes", "{}", fixed.out);
    assert!(!layer.exists(), "it is gone");
    assert!(orlop(&stage.daemon, &["audit"]).out.ends_with("ledger and kernel agree\n"));
    stage.end().await;
}

#[tokio::test]
async fn what_was_taken_away_behind_its_back_is_missed() {
    let mut stage = Stage::new("climissing").await;
    let config = stage.script("idle", "true");
    let id = stage.create(&config).await.expect("a container");
    let layer = stage.daemon.root().join("containers").join(&id);
    std::fs::remove_dir_all(&layer).expect("its layer");
    let found = ends(&stage.daemon, &["audit"]);
    let row = found.row(&id[..12]);
    assert_eq!((found.code, row[2], row[3]), (1, "missing", "no"), "{row:?}");
    // Its removal does not need what is gone already.
    orlop(&stage.daemon, &["rm", &id]);
    assert!(orlop(&stage.daemon, &["audit"]).out.ends_with("ledger and kernel agree\n"));
    stage.end().await;
}
