//! Two gibibytes of log, rotated as kubelet rotates them: renamed, reopened, read, and gone.
//!
//! *Invariant:* the lines are numbered, and each is read once and in its place.

use std::io::BufRead as _;
use std::path::Path;
use std::time::Duration;

use orlop_proto::runtime::v1::ContainerState;
use orlop_tests::cri;

use crate::patient::Patient;

/// A round of lines, which the container has as a file: numbered, and 64 bytes each.
const LINES: u64 = 1 << 19;
/// How often it writes them all: 2 GiB.
const ROUNDS: u64 = 64;

/// Has them written; what was, in words.
pub(crate) async fn two_gibibytes(mut client: Patient, image: String, logs: String) -> String {
    let pod = cri::pod("logs", &logs);
    let pod_id = client.ask(async |client| client.run_pod(&pod).await).await.expect("a pod");
    // Slowly enough that it goes on over several lives of the daemon.
    let script = format!(
        "seq -w 0 {} | sed 's/$/ {}/' >/lines; i=0; while [ $i -lt {ROUNDS} ]; do cat /lines; i=$((i + 1)); sleep 0.7; done",
        LINES - 1,
        "x".repeat(56),
    );
    let id = client.run(&pod_id, &pod, &cri::container("c", &image, &["sh", "-c", &script])).await;
    let path = format!("{logs}/c/0.log");
    let (mut next, mut rotations) = (0, 0);
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let over = client.status(&id).await.state() == ContainerState::ContainerExited;
        let aside = format!("{path}.{rotations}");
        std::fs::rename(&path, &aside).expect("the log is there");
        if !over {
            let reopened = client.ask(async |client| client.reopen_log(&id).await).await;
            if reopened.is_err() {
                // It ended between the two calls: what is there is all.
                client.ended(&id).await;
            }
            rotations += 1;
        }
        next = tokio::task::spawn_blocking(move || read(Path::new(&aside), next)).await.expect("it is whole");
        if over {
            break;
        }
        if !Path::new(&path).exists() {
            assert_eq!(client.ended(&id).await.exit_code, 0);
            break;
        }
    }
    assert_eq!(next, LINES * ROUNDS, "lines were lost at the end");
    assert!(rotations > 10, "{rotations} rotations only");
    client.ask(async |client| client.remove_pod(&pod_id).await).await.expect("removed");
    format!("{} lines came whole over {rotations} rotations", LINES * ROUNDS)
}

/// Reads a log from the line numbered `next`, and removes it; the number after its last.
fn read(path: &Path, mut next: u64) -> u64 {
    let file = std::io::BufReader::with_capacity(1 << 20, std::fs::File::open(path).expect("a log"));
    for line in file.split(b'\n') {
        let line = line.expect("a line");
        let text = line.splitn(4, |&byte| byte == b' ').nth(3).expect("four words");
        let number = std::str::from_utf8(&text[..6]).ok().and_then(|text| text.parse::<u64>().ok());
        assert_eq!(number, Some(next % LINES), "line {next}");
        assert_eq!(text.len(), 63, "line {next}");
        next += 1;
    }
    std::fs::remove_file(path).expect("it is there");
    next
}
