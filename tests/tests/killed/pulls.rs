//! Death in the midst of a pull.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use orlop_tests::daemon::stage::Stage;
use orlop_tests::daemon::{Daemon, eventually};

use super::story::say;

const MOMENTS: u32 = 16;

/// How far a pull has come, as its files tell.
fn files(directory: &Path, depth: usize) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
        let name = entry.path().display().to_string();
        if depth > 0 && entry.path().is_dir() {
            found.extend(files(&entry.path(), depth - 1));
        }
        found.insert(name);
    }
    found
}

#[tokio::test]
async fn a_pull_that_was_cut_off_leaves_nothing_half_and_is_done_again() {
    let mut daemon = Daemon::start("pulls").await;
    // The first one is slower than those to come: the registry reads its disk.
    let image = daemon.pull_busybox().await;
    daemon.client().await.remove_image(&image).await.expect("removed");
    let began = Instant::now();
    daemon.pull_busybox().await;
    let length = began.elapsed();
    let mut states = BTreeSet::new();
    for moment in 0..MOMENTS {
        daemon.client().await.remove_image(&image).await.expect("removed");
        let (mut client, name) = (daemon.client().await, image.clone());
        let pull = tokio::spawn(async move { client.pull(&name).await });
        tokio::time::sleep(length * moment / MOMENTS + Duration::from_micros(200)).await;
        daemon.kill9();
        let cut_off = pull.await.expect("a call").is_err();
        states.insert((cut_off, files(&daemon.root().join("images"), 2)));
        daemon.up().await;
        let mut client = daemon.client().await;
        let listed = client.images.list_images(orlop_proto::runtime::v1::ListImagesRequest::default()).await;
        let listed = listed.expect("a list").into_inner().images;
        // Either it is there, whole, or it is not.
        assert!(listed.len() <= 1 && (cut_off || listed.len() == 1), "{listed:?}");
        let pulled = client.pull(&image).await.expect("the retry works");
        assert!(listed.iter().all(|image| image.id == pulled));
        eventually("what was half is gone", async || {
            std::fs::read_dir(daemon.root().join("images/ingest"))
                .is_ok_and(|mut entries| entries.next().is_none())
        })
        .await;
    }
    say(&format!("a pull died in {} different states of its files", states.len()));
    assert!(states.len() >= 3, "{states:?}");
    let mut stage = Stage::on(daemon, |_| {}).await;
    let config = stage.script("c", "busybox | head -c 7");
    assert_eq!(stage.to_end(&config).await.1, "BusyBox", "what was pulled last is whole");
    stage.end().await;
}
