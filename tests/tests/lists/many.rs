//! 20,000 dead containers: found again by a daemon that starts, listed, and small.
//!
//! Nobody runs 20,000 containers for this: one is, and its records are written again and again under other ids, as if each had been
//! run by a daemon that was killed since.

use std::collections::BTreeSet;
use std::path::Path;

use orlop_proto::orlop::v1::ContainerRecord;
use orlop_proto::runtime::v1::{
    ContainerConfig, ContainerFilter, ListContainersRequest, PodSandboxStatusRequest, StreamContainersRequest,
};
use orlop_tests::daemon::stage::Stage;
use orlop_tests::leaks::memory;
use prost::Message as _;
use tonic::Code;

use crate::ask;

const MANY: usize = 20_000;
/// The most bytes of the daemon's memory that a dead container may take, as kubelet labels them.
const EACH: u64 = 8 << 10;

/// Writes the records of `id` again, under other ids; those ids.
fn multiply(state: &Path, id: &str) -> Vec<String> {
    let containers = state.join("containers");
    let read = |name: &str| std::fs::read(containers.join(id).join(name)).expect("a record");
    let (born, exit) = (read("born"), read("exit"));
    let record = ContainerRecord::decode(&*read("record")).expect("a record");
    let write = |number: usize| {
        let mut record = record.clone();
        record.id = format!("{number:064x}");
        record.created_at += i64::try_from(number).expect("a number");
        let metadata = record.config.as_mut().and_then(|config| config.metadata.as_mut()).expect("a name");
        metadata.attempt = u32::try_from(number).expect("a number");
        let directory = containers.join(&record.id);
        std::fs::create_dir(&directory).expect("a directory");
        for (name, bytes) in [("record", &record.encode_to_vec()), ("born", &born), ("exit", &exit)] {
            std::fs::write(directory.join(name), bytes).expect("written");
        }
        record.id
    };
    (1..=MANY).map(write).collect()
}

/// Labels and annotations as kubelet has them: some 700 bytes.
fn label(config: &mut ContainerConfig) {
    for (key, value) in [
        ("io.kubernetes.container.name", "crashes"),
        ("io.kubernetes.pod.name", "crashes-6d9f7c5b8d-x2x7k"),
        ("io.kubernetes.pod.namespace", "default"),
        ("io.kubernetes.pod.uid", "0d5bfa30-5a4d-4c9d-9a4a-6f1f6f0f3b52"),
    ] {
        config.labels.insert(key.into(), value.into());
    }
    for (key, value) in [
        ("io.kubernetes.container.hash", "5dbf0f3c"),
        ("io.kubernetes.container.restartCount", "17"),
        ("io.kubernetes.container.terminationMessagePath", "/dev/termination-log"),
        ("io.kubernetes.container.terminationMessagePolicy", "File"),
        ("io.kubernetes.pod.terminationGracePeriod", "30"),
        (
            "io.kubernetes.container.ports",
            "[{\"name\":\"http\",\"containerPort\":8080,\"protocol\":\"TCP\"}]",
        ),
    ] {
        config.annotations.insert(key.into(), value.into());
    }
}

#[tokio::test]
async fn twenty_thousand_dead_containers_are_found_and_listed() {
    let mut stage = Stage::new("many").await;
    let mut config = stage.script("crashes", "exit 7");
    label(&mut config);
    let first = stage.start(&config).await;
    stage.client.ended(&first).await;
    let lives = stage.run("lives", "exec sleep 1000").await;
    let before = memory(stage.daemon.pid());
    stage.daemon.kill9();
    // What was never told of them is not told now: there is no journal that lacks it.
    std::fs::remove_dir_all(stage.daemon.state().join("events")).expect("removed");
    let mut ids = multiply(stage.daemon.state(), &first);
    let begun = std::time::Instant::now();
    stage.daemon.up().await;
    let took = begun.elapsed();
    stage.client = stage.daemon.client().await;
    let after = memory(stage.daemon.pid());
    let each = after.saturating_sub(before) / MANY as u64;
    assert!(each <= EACH, "{each} bytes of memory each");

    let stream = stage.client.runtime.stream_containers(StreamContainersRequest::default()).await;
    let messages = ask::all(stream.expect("a stream").into_inner()).await.expect("all of it");
    let largest = messages.iter().map(prost::Message::encoded_len).max().expect("messages");
    assert!(largest <= 1 << 20, "a message of {largest} bytes");
    let rows: Vec<_> = messages.into_iter().flat_map(|message| message.containers).collect();
    ids.extend([first.clone(), lives.clone()]);
    assert_eq!(rows.len(), ids.len());
    let listed: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(listed, ids.iter().map(String::as_str).collect(), "each once");
    let size = rows.iter().map(prost::Message::encoded_len).sum::<usize>() / rows.len();
    println!("found in {took:?}; {each} bytes of memory and {size} of a list for each container");
    assert!((500..1500).contains(&size), "{size} bytes a row");

    // In one message they are more than kubelet takes, and the answer says what to do instead.
    let refused = stage.client.runtime.list_containers(ListContainersRequest::default()).await;
    let refused = refused.expect_err("more than 16 MiB");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("StreamContainers"), "{refused}");
    assert!(refused.message().contains("CRIListStreaming"), "{refused}");
    // A filter is a way, too; the daemon is as it was.
    let filter = ContainerFilter { id: "0".repeat(61), ..ContainerFilter::default() };
    assert_eq!(ask::containers(&mut stage.client, filter).await.expect("a list").len(), 0xfff);
    let row = rows.iter().find(|row| row.id == first).expect("the first");
    let filter = ContainerFilter { id: first.clone(), ..ContainerFilter::default() };
    assert_eq!(&ask::containers(&mut stage.client, filter).await.expect("a list")[0], row);
    assert_eq!(stage.client.status(&ids[77]).await.expect("its status").exit_code, 7);

    // The pod's status has those by which it is judged: what lives, though it is the oldest but one, and the newest.
    let request = PodSandboxStatusRequest { pod_sandbox_id: stage.pod_id.clone(), verbose: false };
    let answer = stage.client.runtime.pod_sandbox_status(request).await.expect("its status").into_inner();
    let told: Vec<&str> = answer.containers_statuses.iter().map(|status| status.id.as_str()).collect();
    assert!(
        told.contains(&&*lives) && told.contains(&&*ids[MANY - 1]) && told.len() <= 101,
        "{}",
        told.len()
    );

    // Made and removed beside them as ever.
    let config = stage.script("new", "exit 1");
    let id = stage.start(&config).await;
    stage.client.ended(&id).await;
    stage.client.remove(&id).await.expect("removed");
    // What was made of them is their records.
    stage.daemon.kill9();
    for id in &ids[300..MANY] {
        std::fs::remove_dir_all(stage.daemon.state().join("containers").join(id)).expect("removed");
    }
    stage.daemon.up().await;
    stage.client = stage.daemon.client().await;
    // The others go with their pod.
    stage.client.remove_pod(&stage.pod_id).await.expect("removed");
    stage.end().await;
}
