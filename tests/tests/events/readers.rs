//! Many listeners, slow ones, those who come back, and what they are told that cannot be told all.

use orlop_proto::orlop::v1::{EventsRequest, ThingKind};
use orlop_tests::daemon::stage::Stage;
use orlop_tests::daemon::{Daemon, PATIENCE};
use tonic::Code;

use crate::told::*;

#[tokio::test]
async fn every_listener_hears_all() {
    let mut stage = Stage::new("many").await;
    let mut listeners = Vec::new();
    for _ in 0..20 {
        let mut client = stage.daemon.client().await;
        listeners.push(listen(&mut client).await);
    }
    let mut by_number = follow(&stage.daemon, 0).await;
    let id = stage.run("c", "true").await;
    stage.client.ended(&id).await;
    let expected = [(id.clone(), Created), (id.clone(), Started), (id.clone(), Stopped)];
    for listener in &mut listeners {
        let told = take(listener, 3).await;
        let told: Vec<_> =
            told.iter().map(|event| (event.container_id.clone(), event.container_event_type())).collect();
        assert_eq!(told, expected);
    }
    // Who asks by number hears what was before, too: the pod's beginning.
    let mut told = Vec::new();
    while told.len() < 5 {
        told.push(next(&mut by_number).await);
    }
    assert_eq!(short(&told)[2..], expected);
    assert_eq!((told[0].kind(), &*told[0].name), (ThingKind::Pod, "default/pod"));
    assert_eq!(
        (told[2].kind(), &*told[2].name, &*told[2].pod_id),
        (ThingKind::Container, "c", &*stage.pod_id)
    );
    drop((listeners, by_number));
    stage.end().await;
}

#[tokio::test]
async fn a_slow_listener_misses_nothing() {
    let mut stage = Stage::new("slow").await;
    let mut client = stage.daemon.client().await;
    let mut slow = listen(&mut client).await;
    let mut ids = Vec::new();
    for number in 0..60 {
        let id = stage.run(&format!("c{number}"), "true").await;
        stage.client.ended(&id).await;
        stage.client.remove(&id).await.expect("removed");
        ids.push(id);
    }
    // It has not read anything until now; others were not held up by it.
    let told = take(&mut slow, 240).await;
    let expected = ids.iter().flat_map(|id| [Created, Started, Stopped, Deleted].map(|what| (&**id, what)));
    for (number, (told, expected)) in told.iter().map(said).zip(expected).enumerate() {
        assert_eq!(told, expected, "event {number}");
    }
    drop((slow, client));
    stage.end().await;
}

#[tokio::test]
async fn a_listener_that_falls_behind_too_far_is_told_so() {
    let mut stage = Stage::new("behind").await;
    let mut client = stage.daemon.client().await;
    let mut slow = listen(&mut client).await;
    let mut config = stage.script("c", "true");
    // Large ones, so that the bound of 8 MiB is reached soon; at most twice of it is kept.
    config.annotations.insert("large".into(), "x".repeat(200 << 10));
    let mut ids = Vec::new();
    for number in 0..16 {
        config.metadata.as_mut().expect("a name").name = format!("c{number}");
        ids.push(stage.create(&config).await.expect("created"));
    }
    for id in &ids {
        stage.client.remove(id).await.expect("removed");
    }
    // By number all is told to its end, so all is in the journal now; the slow one has not read anything.
    let last = kept(&stage.daemon, None).await.expect("what is kept");
    let mut heard = Vec::new();
    let end = loop {
        match tokio::time::timeout(PATIENCE, slow.message()).await.expect("in time") {
            Ok(Some(event)) => heard.push((event.container_id.clone(), event.container_event_type())),
            Ok(None) => panic!("a stream that ends says why"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::OutOfRange, "{end}");
    assert!(end.message().contains("no longer kept") && end.message().contains("list pods"), "{end}");
    // Up to there nothing is missing.
    let all: Vec<_> = ids.iter().map(|id| (id.clone(), Created)).collect();
    assert!(heard.len() < all.len() && heard == all[..heard.len()], "{heard:?}");

    // By number the same is said at once, and the last 8 MiB are there.
    let refused = kept(&stage.daemon, Some(2)).await.expect_err("it is gone");
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    let bytes: usize = last.iter().map(prost_len).sum();
    assert!((8 << 20..20 << 20).contains(&bytes), "{bytes}");
    assert!(last.windows(2).all(|two| two[0].number + 1 == two[1].number), "no gap");
    let from = last[0].number - 1;
    assert_eq!(kept(&stage.daemon, Some(from)).await.expect("kept").len(), last.len());
    drop((slow, client));
    stage.end().await;
}

fn prost_len(event: &orlop_proto::orlop::v1::Event) -> usize {
    let told = event.event.as_ref().expect("an event");
    told.containers_statuses.iter().flat_map(|status| status.annotations.values()).map(String::len).sum()
}

#[tokio::test]
async fn a_number_that_no_event_has_is_refused() {
    let daemon = Daemon::start("no-number").await;
    let refused = kept(&daemon, Some(77)).await.expect_err("there is none yet");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert!(refused.message().starts_with("since \"77\""), "{refused}");
    assert!(kept(&daemon, None).await.expect("none").is_empty());
    assert!(kept(&daemon, Some(0)).await.expect("none").is_empty());
    daemon.end().await;
}

#[tokio::test]
async fn an_orderly_end_is_told_to_listeners() {
    let mut daemon = Daemon::start("told-end").await;
    let mut client = daemon.client().await;
    let mut cri = listen(&mut client).await;
    let mut own = own(&daemon).await;
    let mut numbered =
        own.events(EventsRequest { since: None, follow: true }).await.expect("a stream").into_inner();
    daemon.stop();
    for end in [cri.message().await.expect_err("an end"), numbered.message().await.expect_err("an end")] {
        assert_eq!(end.code(), Code::Unavailable, "{end}");
        assert!(end.message().contains("the daemon ends"), "{end}");
    }
    drop((cri, numbered, own, client));
    daemon.up().await;
    daemon.end().await;
}
