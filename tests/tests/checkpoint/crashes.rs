//! orlopd dies in the middle of a checkpoint: no container stays frozen, nothing is left.

use std::path::Path;
use std::time::Duration;

use orlop_tests::daemon::stage::Stage;
use orlop_tests::daemon::{Daemon, eventually};

use super::scene::{checkpoint, configured, counted, criu, numbers, own_processes};

const COUNTER: &str = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done";

fn entries(directory: &Path) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}

async fn clean(stage: &mut Stage, id: &str, output: &Path, point: &str) {
    let last = numbers(stage, "c").last().copied().unwrap_or_default();
    counted(stage, "c", last + 3).await;
    let dumps = stage.daemon.root().join("checkpoints");
    eventually("nothing of it is left", async || entries(&dumps) == 0).await;
    let partial = std::fs::read_dir(output).expect("a directory").filter_map(Result::ok);
    let partial = partial.filter(|entry| entry.file_name().to_string_lossy().starts_with('.')).count();
    assert_eq!(partial, 0, "{point}: half an archive is left");
    assert_eq!(stage.client.sh(id, "echo here").await, "here\n", "{point}");
}

#[tokio::test]
async fn a_daemon_that_dies_at_any_step_leaves_no_container_frozen() {
    for point in [
        "container.will.partial",
        "container.will.frozen",
        "checkpoint.frozen",
        "container.will.dump",
        "checkpoint.directory",
        "checkpoint.dumped",
        "checkpoint.thawed",
        "container.gone.frozen",
        "checkpoint.cut",
        "checkpoint.partial",
        "checkpoint.named",
        "container.gone.dump",
    ] {
        let daemon = Daemon::build(&format!("dies-{}", point.replace('.', "-")))
            .config(&configured(&criu()))
            .environment("ORLOP_FAILPOINT", point)
            .start()
            .await;
        let mut stage = Stage::on(daemon, own_processes).await;
        let id = stage.run("c", COUNTER).await;
        counted(&stage, "c", 2).await;
        let output = stage.daemon.place().join("output");
        std::fs::create_dir(&output).expect("made");
        checkpoint(&mut stage.client, &id, &output.join("a.tar")).await.expect_err(point);
        eventually("it dies", async || stage.daemon.ended().is_some()).await;
        stage.daemon.restart().await;
        stage.client = stage.daemon.client().await;
        clean(&mut stage, &id, &output, point).await;
        // It can be written down now.
        std::fs::remove_file(output.join("a.tar")).ok();
        checkpoint(&mut stage.client, &id, &output.join("a.tar")).await.expect("written down");
        stage.end().await;
    }
}

/// CRIU has the processes in its hands then, and goes on by itself.
#[tokio::test]
async fn a_daemon_that_is_killed_while_criu_works_leaves_no_container_frozen() {
    let daemon = Daemon::build("killed-dump").config(&configured(&criu())).start().await;
    let mut stage = Stage::on(daemon, own_processes).await;
    let memory = "dd if=/dev/urandom of=/dev/shm/x bs=1M count=8 2>/dev/null; ";
    let id = stage.run("c", &format!("{memory}{COUNTER}")).await;
    counted(&stage, "c", 2).await;
    let output = stage.daemon.place().join("output");
    std::fs::create_dir(&output).expect("made");
    let dumps = stage.daemon.root().join("checkpoints");
    for delay in [0, 5, 10, 20, 40, 80, 160] {
        let mut client = stage.daemon.client().await;
        let (asked, place) = (id.clone(), output.join("a.tar"));
        let asking = tokio::spawn(async move { checkpoint(&mut client, &asked, &place).await });
        let begun = dumps.clone();
        eventually("it has begun", async || entries(&begun) != 0 || asking.is_finished()).await;
        tokio::time::sleep(Duration::from_millis(delay)).await;
        stage.daemon.kill9();
        let _ = asking.await;
        stage.daemon.restart().await;
        stage.client = stage.daemon.client().await;
        clean(&mut stage, &id, &output, &format!("{delay} ms")).await;
    }
    stage.end().await;
}
