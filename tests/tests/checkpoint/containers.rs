//! One container goes on elsewhere; the one that it was goes on, too.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use orlop_proto::runtime::v1::{ContainerState, Mount};
use orlop_tests::daemon::Daemon;
use orlop_tests::daemon::stage::Stage;

use super::scene::{checkpoint, configured, counted, criu, from_archive, numbers, own_processes, stage_with};

/// Counts, in its log and in a file of its root; ends by 7 when it is asked to.
const COUNTER: &str = "trap 'exit 7' TERM; echo kept > /kept; rm -r /etc/passwd; mkdir /new; ln -s kept /new/link; \
    i=0; while :; do i=$((i+1)); echo $i; echo $i > /count; echo $i > /vol/count; sleep 0.05; done";

fn volume(stage: &Stage, name: &str) -> Mount {
    let place = stage.daemon.place().join(name);
    std::fs::create_dir_all(&place).expect("a directory");
    Mount { host_path: place.display().to_string(), container_path: "/vol".into(), ..Mount::default() }
}

/// Whether each number follows the one before.
fn without_gap(numbers: &[u64]) -> bool {
    numbers.windows(2).all(|pair| pair[1] == pair[0] + 1)
}

#[tokio::test]
async fn a_container_goes_on_from_an_archive_and_the_one_that_it_was_goes_on_too() {
    let mut stage = stage_with("goes-on", &criu()).await;
    let mut config = stage.script("one", COUNTER);
    config.mounts = vec![volume(&stage, "volume")];
    let id = stage.start(&config).await;
    counted(&stage, "one", 5).await;
    let archive = stage.daemon.place().join("one.tar");
    checkpoint(&mut stage.client, &id, &archive).await.expect("written down");
    let mode = std::fs::metadata(&archive).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let before = *numbers(&stage, "one").last().expect("it has counted");
    counted(&stage, "one", before + 5).await;
    assert!(without_gap(&numbers(&stage, "one")), "nothing is lost of the one that it was");

    let mut again = from_archive(&config, "two", &archive);
    again.mounts = vec![volume(&stage, "other")];
    let two = stage.create(&again).await.expect("created");
    assert_eq!(
        stage.client.status(&two).await.expect("its status").state,
        i32::from(ContainerState::ContainerCreated)
    );
    stage
        .client
        .start(&two)
        .await
        .unwrap_or_else(|status| panic!("{}: {}", status.message(), stage.daemon.log()));
    counted(&stage, "two", before + 10).await;
    assert!(without_gap(&numbers(&stage, "two")), "{:?}", numbers(&stage, "two"));
    let seen = stage.client.sh(&two, "cat /kept; readlink /new/link; test -e /etc/passwd || echo gone; cat /proc/1/cgroup | grep -c -v ':/$'; true").await;
    assert_eq!(seen, "kept\nkept\ngone\n0\n");
    let host = stage.daemon.place().join("other/count");
    assert!(
        std::fs::read_to_string(host).expect("written").trim().parse::<u64>().expect("a number") > before
    );
    stage.client.stop(&two, 10).await.expect("stopped");
    assert_eq!(stage.client.status(&two).await.expect("its status").exit_code, 7);
    let last = *numbers(&stage, "one").last().expect("it has counted");
    counted(&stage, "one", last + 5).await;
    stage.client.stop(&id, 10).await.expect("stopped");
    assert_eq!(stage.client.status(&id).await.expect("its status").exit_code, 7);
    stage.end().await;
}

#[tokio::test]
async fn a_container_goes_on_on_another_node() {
    let mut stage = stage_with("from", &criu()).await;
    let config = stage.script("one", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done");
    let id = stage.start(&config).await;
    counted(&stage, "one", 5).await;
    let archive = stage.daemon.place().join("one.tar");
    checkpoint(&mut stage.client, &id, &archive).await.expect("written down");
    let kept = std::env::temp_dir().join(format!("orlop-test-{}.tar", std::process::id()));
    std::fs::rename(&archive, &kept).expect("moved");
    stage.end().await;

    let daemon = Daemon::build("to").config(&configured(&criu())).start().await;
    let mut other = Stage::on(daemon, own_processes).await;
    let config = from_archive(&config, "two", &kept);
    let id = other.start(&config).await;
    std::fs::remove_file(&kept).expect("removed");
    counted(&other, "two", 10).await;
    assert!(without_gap(&numbers(&other, "two")));
    other.client.stop(&id, 0).await.expect("stopped");
    assert!(!Path::new(&other.daemon.root()).join("containers").join(&id).join("restore").exists());
    other.end().await;
}
