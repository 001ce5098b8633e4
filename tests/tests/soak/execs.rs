//! Twenty thousand execs in one container, eight at a time: each says its own number and ends with its own code.
//! Their shim has no more memory after all of them than after the first thousand.
//!
//! *Invariant:* at the end nothing but the container's own process is left in it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use orlop_tests::cri;
use orlop_tests::leaks::own_memory;

use crate::patient::Patient;

const EXECS: usize = 20_000;
const LANES: usize = 8;
/// After so many the shim has all that it ever needs.
const WARM: usize = 1000;
/// Memory of the shim that is no growth, bytes.
const NOISE: u64 = 128 << 10;

/// Memory of the container's shim, bytes.
async fn shim(client: &mut Patient, id: &str) -> u64 {
    let facts = client.ask(async |client| client.facts(id).await).await.expect("its facts");
    own_memory(facts["shim"].as_u64().and_then(|pid| pid.try_into().ok()).expect("the shim's number"))
}

/// Runs those of these numbers, so many at a time.
async fn all(client: &Patient, id: &str, numbers: Range<usize>) {
    let next = Arc::new(AtomicUsize::new(numbers.start));
    let mut lanes = tokio::task::JoinSet::new();
    for _ in 0..LANES {
        let (mut client, id, next) = (client.clone(), id.to_owned(), Arc::clone(&next));
        let end = numbers.end;
        lanes.spawn_local(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= end {
                    return;
                }
                one(&mut client, &id, number).await;
            }
        });
    }
    while let Some(done) = lanes.join_next().await {
        done.expect("it went well");
    }
}

async fn one(client: &mut Patient, id: &str, number: usize) {
    let code = i32::try_from(number % 100).expect("small");
    let script = format!("echo {number}; exit {code}");
    let command = ["sh", "-c", &*script];
    let answer = client.ask(async |client| client.exec(id, &command, 20).await).await;
    let answer = answer.unwrap_or_else(|status| panic!("exec {number}: {status}"));
    assert_eq!((answer.exit_code, &*answer.stdout), (code, format!("{number}\n").as_bytes()));
    assert_eq!(answer.stderr, b"");
}

/// Runs them; what it did, in words.
pub(crate) async fn twenty_thousand(mut client: Patient, image: String, logs: String) -> String {
    let pod = cri::pod("execs", &logs);
    let pod_id = client.ask(async |client| client.run_pod(&pod).await).await.expect("a pod");
    let id = client.run(&pod_id, &pod, &cri::container("c", &image, &["sleep", "100000"])).await;
    all(&client, &id, 0..WARM).await;
    let before = shim(&mut client, &id).await;
    all(&client, &id, WARM..EXECS).await;
    let after = shim(&mut client, &id).await;
    assert!(
        after <= before + NOISE,
        "the shim grows: {before} bytes after {WARM} execs, {after} after {EXECS}"
    );
    let listed =
        client.ask(async |client| client.exec(&id, &["ps", "-o", "comm"], 20).await).await.expect("ps");
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "COMMAND\nsleep\nps\n");
    client.ask(async |client| client.remove_pod(&pod_id).await).await.expect("removed");
    format!("{EXECS} execs were answered")
}
