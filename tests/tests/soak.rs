//! A hard day: a thousand pods come and go, twenty thousand execs are answered, two gibibytes of log are written and rotated, and all
//! the while the daemon is killed every twenty seconds.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`patient`] | a client that asks again when the daemon was killed under it |
//! | [`pods`], [`execs`], [`logs`] | what is done at the same time |
//!
//! *Invariant:* every exit code, every exec's answer and every line of log is counted; what a kill took the answer of is asked for
//! again, as kubelet would, with the same names.

#[path = "soak/execs.rs"]
mod execs;
#[path = "soak/logs.rs"]
mod logs;
#[path = "soak/patient.rs"]
mod patient;
#[path = "soak/pods.rs"]
mod pods;

use std::time::Duration;

use orlop_tests::daemon::Daemon;
use orlop_tests::leaks::memory;

use patient::Patient;

/// How long the daemon lives.
const LIFE: Duration = Duration::from_secs(20);

/// More than the first life's memory by this much is growth, less is noise.
const NOISE: u64 = 12 << 20;

#[tokio::test]
async fn a_hard_day_with_a_daemon_that_is_killed_loses_nothing() {
    tokio::task::LocalSet::new().run_until(Box::pin(day())).await;
}

async fn day() {
    let mut daemon = Daemon::build("soak").level("warn").start().await;
    let image = daemon.pull_busybox().await;
    let client = Patient::new(&daemon);
    let logs_at = |name: &str| daemon.logs(name);
    let mut work = tokio::task::JoinSet::new();
    work.spawn_local(pods::thousand(client.clone(), image.clone(), logs_at("pods")));
    work.spawn_local(execs::twenty_thousand(client.clone(), image.clone(), logs_at("execs")));
    work.spawn_local(logs::two_gibibytes(client.clone(), image.clone(), logs_at("logs")));
    let mut peaks = vec![0];
    let mut born = tokio::time::Instant::now();
    while !work.is_empty() {
        let pulse = tokio::time::timeout(Duration::from_millis(250), work.join_next()).await;
        if let Ok(Some(done)) = pulse {
            println!("{}", done.expect("it went well"));
        }
        let peak = peaks.last_mut().expect("one a life");
        *peak = memory(daemon.pid()).max(*peak);
        if born.elapsed() >= LIFE && !work.is_empty() {
            daemon.restart().await;
            born = tokio::time::Instant::now();
            peaks.push(0);
        }
    }
    let mebibytes: Vec<u64> = peaks.iter().map(|peak| peak >> 20).collect();
    println!("{} lives; memory of each at most, MiB: {mebibytes:?}", peaks.len());
    assert!(peaks.len() > 1, "nobody was killed");
    assert!(peaks.iter().all(|peak| *peak <= peaks[0] + NOISE), "it grows: {mebibytes:?} MiB");
    daemon.end().await;
}
