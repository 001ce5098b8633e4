//! Twenty thousand execs in one container, eight at a time: each says its own number and ends with its own code.
//!
//! *Invariant:* at the end nothing but the container's own process is left in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use orlop_tests::cri;

use crate::patient::Patient;

const EXECS: usize = 20_000;
const LANES: usize = 8;

/// Runs them; what it did, in words.
pub(crate) async fn twenty_thousand(mut client: Patient, image: String, logs: String) -> String {
    let pod = cri::pod("execs", &logs);
    let pod_id = client.ask(async |client| client.run_pod(&pod).await).await.expect("a pod");
    let id = client.run(&pod_id, &pod, &cri::container("c", &image, &["sleep", "100000"])).await;
    let next = Arc::new(AtomicUsize::new(0));
    let mut lanes = tokio::task::JoinSet::new();
    for _ in 0..LANES {
        let (mut client, id, next) = (client.clone(), id.clone(), Arc::clone(&next));
        lanes.spawn_local(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= EXECS {
                    return;
                }
                let code = i32::try_from(number % 100).expect("small");
                let script = format!("echo {number}; exit {code}");
                let command = ["sh", "-c", &*script];
                let answer = client.ask(async |client| client.exec(&id, &command, 20).await).await;
                let answer = answer.unwrap_or_else(|status| panic!("exec {number}: {status}"));
                assert_eq!((answer.exit_code, &*answer.stdout), (code, format!("{number}\n").as_bytes()));
                assert_eq!(answer.stderr, b"");
            }
        });
    }
    while let Some(done) = lanes.join_next().await {
        done.expect("it went well");
    }
    let listed =
        client.ask(async |client| client.exec(&id, &["ps", "-o", "comm"], 20).await).await.expect("ps");
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "COMMAND\nsleep\nps\n");
    client.ask(async |client| client.remove_pod(&pod_id).await).await.expect("removed");
    format!("{EXECS} execs were answered")
}
