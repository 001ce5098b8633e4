//! What is told over crashes and restarts of the daemon: everything, once.

use orlop_proto::orlop::v1::Event;
use orlop_proto::runtime::v1::ContainerState;
use orlop_tests::cri::{Client, container, pod};
use orlop_tests::daemon::stage::Stage;
use orlop_tests::daemon::{Daemon, eventually};

use crate::told::*;

#[tokio::test]
async fn ends_that_nobody_saw_are_told_once() {
    let mut stage = Stage::new("unseen").await;
    let script = |flag: &str| format!("while ! [ -e /dev/shm/{flag} ]; do sleep 0.01; done; exit 7");
    let ended = stage.run("ended", &script("go")).await;
    let lives = stage.run("lives", "exec sleep 1000").await;
    let before = kept(&stage.daemon, None).await.expect("events");
    let last = before.last().expect("events").number;
    // It is to end soon; its shim sees it, the daemon does not.
    stage.client.sh(&lives, "(sleep 0.3; touch /dev/shm/go) >/dev/null 2>&1 &").await;
    stage.daemon.kill9();
    let exit = stage.daemon.state().join("containers").join(&ended).join("exit");
    eventually("it has ended", async || exit.exists()).await;
    stage.daemon.up().await;
    stage.client = stage.daemon.client().await;
    let after = kept(&stage.daemon, Some(last)).await.expect("events");
    assert_eq!(short(&after), [(ended.clone(), Stopped)]);
    let told = after[0].event.as_ref().expect("an event");
    let end = status(told, &ended).expect("its status");
    assert_eq!((end.state(), end.exit_code), (ContainerState::ContainerExited, 7));
    assert_eq!(status(told, &lives).expect("the other's").state(), ContainerState::ContainerRunning);
    assert_eq!(told.pod_sandbox_status.as_ref().expect("the pod's").metadata, stage.pod.metadata);
    // A further restart has nothing to tell.
    for _ in 0..3 {
        stage.daemon.restart().await;
    }
    stage.client = stage.daemon.client().await;
    let same = kept(&stage.daemon, None).await.expect("events");
    assert_eq!(short(&same), [short(&before), short(&after)].concat());
    stage.end().await;
}

/// One who listens by number, and comes back where it was after every crash.
async fn until(daemon: &Daemon, told: &mut Vec<Event>, enough: impl Fn(&[Event]) -> bool) {
    let since = told.last().map_or(0, |event| event.number);
    let mut stream = follow(daemon, since).await;
    while !enough(told) {
        told.push(next(&mut stream).await);
    }
}

#[tokio::test]
async fn who_comes_back_with_its_number_misses_nothing_and_hears_nothing_twice() {
    let mut stage = Stage::new("comes-back").await;
    let mut told = Vec::new();
    let mut ids = Vec::new();
    for round in 0..5 {
        for number in 0..4 {
            // Some end before the crash, some while no daemon runs, some after it.
            let script = format!("sleep 0.{number}; exit {number}");
            ids.push(stage.run(&format!("c{round}-{number}"), &script).await);
        }
        let count = told.len() + 3;
        until(&stage.daemon, &mut told, |told| told.len() >= count).await;
        stage.daemon.restart().await;
        stage.client = stage.daemon.client().await;
    }
    for id in &ids {
        stage.client.ended(id).await;
    }
    until(&stage.daemon, &mut told, |told| told.len() == 2 + ids.len() * 3).await;
    let all = by_id(&told);
    for id in &ids {
        assert_eq!(all[id], [Created, Started, Stopped]);
    }
    assert_eq!(all[&stage.pod_id], [Created, Started]);
    assert_eq!(short(&kept(&stage.daemon, None).await.expect("events")), short(&told), "that is all");
    stage.end().await;
}

/// A life of a pod with a container, as far as the daemon lives.
async fn life(client: &mut Client, image: &str, log: &str) -> Result<(), tonic::Status> {
    let config = pod("p", log);
    let pod_id = client.run_pod(&config).await?;
    let id = client.create(&pod_id, &config, &container("c", image, &["sleep", "1000"])).await?;
    client.start(&id).await?;
    client.stop(&id, 0).await?;
    client.remove(&id).await?;
    client.stop_pod(&pod_id).await?;
    client.remove_pod(&pod_id).await
}

#[tokio::test]
async fn wherever_the_daemon_dies_each_event_is_told_once() {
    let points = [
        "pod.made.record",
        "container.made.plan",
        "container.made.record",
        "container.launched",
        "container.asking",
        "container.decide.remove",
        "container.gone.layer",
        "container.walked",
        "pod.decide.stop",
        "pod.gone.room",
        "pod.decide.remove",
        "pod.walked",
        "event.written",
    ];
    for point in points {
        let mut daemon = Daemon::start("dies").await;
        let image = daemon.pull_busybox().await;
        daemon.kill9();
        daemon.spawn(&[("ORLOP_FAILPOINT".into(), point.into())]);
        assert!(daemon.answers().await, "{}", daemon.log());
        let mut client = daemon.client().await;
        let log = daemon.logs("p");
        let _ = Box::pin(life(&mut client, &image, &log)).await;
        drop(client);
        daemon.kill9();
        daemon.up().await;
        // What was begun is ended, from the beginning.
        let mut client = daemon.client().await;
        let config = pod("p", &log);
        let pod_id = client.run_pod(&config).await.expect("a pod");
        for container in client.containers().await.expect("a list") {
            client.remove(&container.id).await.expect("removed");
        }
        client.remove_pod(&pod_id).await.expect("removed");
        eventually("nothing is listed", async || client.pods().await.expect("a list").is_empty()).await;
        daemon.restart().await;
        let told = kept(&daemon, None).await.expect("events");
        for (id, its) in by_id(&told) {
            // A container that was not started when the daemon died may have been removed before it was.
            let whole: &[&[_]] =
                &[&[Created, Started, Stopped, Deleted], &[Created, Stopped, Deleted], &[Created, Deleted]];
            let expected = if id == pod_id { &whole[..1] } else { whole };
            assert!(expected.contains(&&*its), "{point}: {id}: {its:?}");
        }
        assert!(told.len() >= 4, "{point}: {told:?}");
        drop(client);
        daemon.end().await;
    }
}

#[tokio::test]
async fn what_went_while_it_was_not_told_is_told_with_its_pod() {
    // The daemon dies after a pod's directory is gone and before that is told.
    let mut daemon = Daemon::build("went").environment("ORLOP_FAILPOINT", "pod.forgotten").start().await;
    let image = daemon.pull_busybox().await;
    let mut client = daemon.client().await;
    let config = {
        let mut config = pod("p", &daemon.logs("p"));
        // Nothing of it outlives its removal, not even for a moment: no link.
        config.linux.get_or_insert_default().security_context.get_or_insert_default().namespace_options =
            Some(orlop_proto::runtime::v1::NamespaceOption {
                network: orlop_proto::runtime::v1::NamespaceMode::Node.into(),
                ..Default::default()
            });
        config
    };
    let pod_id = client.run_pod(&config).await.expect("a pod");
    let made = container("c", &image, &["sleep", "1000"]);
    let id = client.run(&pod_id, &config, made).await.expect("a container");
    client.remove_pod(&pod_id).await.expect_err("it dies");
    drop(client);
    daemon.kill9();
    daemon.up().await;
    assert!(daemon.client().await.pods().await.expect("a list").is_empty());
    let told = kept(&daemon, None).await.expect("events");
    assert_eq!(by_id(&told)[&id], [Created, Started, Stopped, Deleted]);
    assert_eq!(by_id(&told)[&pod_id], [Created, Started, Stopped, Deleted]);
    let last = told.last().and_then(|event| event.event.clone()).expect("the last");
    assert_eq!((last.container_id.as_str(), last.container_event_type()), (&*pod_id, Deleted));
    assert_eq!(last.pod_sandbox_status.expect("what the pod was").metadata, config.metadata);
    daemon.end().await;
}
