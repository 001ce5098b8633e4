//! What is told of a life, and when.

use orlop_proto::runtime::v1::ContainerState::{self, ContainerCreated, ContainerExited, ContainerRunning};
use orlop_proto::runtime::v1::PodSandboxState;
use orlop_tests::cri::{container, pod};
use orlop_tests::daemon::Daemon;
use orlop_tests::daemon::stage::Stage;

use crate::told::*;

#[tokio::test]
async fn a_life_is_told_in_order_with_all_that_was_known_then() {
    let daemon = Daemon::start("life-told").await;
    let mut client = daemon.client().await;
    let mut events = listen(&mut client).await;
    let mut stage = Stage::on(daemon, |pod| drop(pod.labels.insert("app".into(), "shop".into()))).await;
    let quick = stage.run("quick", "exit 3").await;
    stage.client.ended(&quick).await;
    let mut config = stage.script("slow", "exec sleep 1000");
    config.annotations.insert("note".into(), "a text".into());
    let slow = stage.start(&config).await;
    stage.client.stop(&slow, 0).await.expect("stopped");
    stage.client.remove(&quick).await.expect("removed");
    stage.client.stop_pod(&stage.pod_id).await.expect("stopped");
    stage.client.remove_pod(&stage.pod_id).await.expect("removed");

    let told = take(&mut events, 12).await;
    let pod = stage.pod_id.as_str();
    let expected = [
        (pod, Created),
        (pod, Started),
        (&*quick, Created),
        (&*quick, Started),
        (&*quick, Stopped),
        (&*slow, Created),
        (&*slow, Started),
        (&*slow, Stopped),
        (&*quick, Deleted),
        (pod, Stopped),
        (&*slow, Deleted),
        (pod, Deleted),
    ];
    assert_eq!(told.iter().map(said).collect::<Vec<_>>(), expected);
    nothing_more(&mut events).await;
    assert!(told.windows(2).all(|two| two[0].created_at < two[1].created_at), "times rise");
    for event in &told {
        let status = event.pod_sandbox_status.as_ref().expect("the pod's status, in each");
        assert_eq!((&*status.id, &status.metadata), (pod, &stage.pod.metadata));
        assert_eq!(status.labels, stage.pod.labels);
    }
    let ready = |at: usize| told[at].pod_sandbox_status.as_ref().expect("a status").state();
    assert!((0..9).all(|at| ready(at) == PodSandboxState::SandboxReady));
    assert!((9..12).all(|at| ready(at) == PodSandboxState::SandboxNotready));
    assert_ne!(
        told[1].pod_sandbox_status.as_ref().and_then(|status| status.network.clone()).expect("its").ip,
        ""
    );

    // Each container as it was when the event came, and all of them in each.
    let states = |at: usize| {
        let of = |id: &str| status(&told[at], id).map(|status| (status.state(), status.exit_code));
        (of(&quick), of(&slow))
    };
    let (ended, killed) = (Some((ContainerExited, 3)), Some((ContainerExited, 137)));
    assert_eq!(states(1), (None, None));
    assert_eq!(states(2), (Some((ContainerCreated, 0)), None));
    assert_eq!(states(3), (Some((ContainerRunning, 0)), None));
    assert_eq!(states(4), (ended, None));
    assert_eq!(states(5), (ended, Some((ContainerCreated, 0))));
    assert_eq!(states(6), (ended, Some((ContainerRunning, 0))));
    assert_eq!(states(7), (ended, killed));
    assert_eq!(states(8), (None, killed), "what is deleted is no longer there");
    assert_eq!(states(9), (None, killed));
    assert_eq!(states(10), (None, None));
    let last = status(&told[7], &slow).expect("its status");
    assert_eq!((&*last.reason, &last.annotations), ("Error", &config.annotations));
    assert!(last.created_at <= last.started_at && last.started_at <= last.finished_at);
    assert!(last.finished_at <= told[7].created_at, "an end is told after it");
    drop((events, client));
    stage.end().await;
}

#[tokio::test]
async fn what_is_said_again_is_told_once() {
    let mut stage = Stage::new("said-again").await;
    let id = stage.run("c", "exec sleep 1000").await;
    for _ in 0..3 {
        stage.client.start(&id).await.expect("it runs");
    }
    for _ in 0..3 {
        stage.client.stop(&id, 0).await.expect("stopped");
    }
    for _ in 0..3 {
        stage.client.remove(&id).await.expect("removed");
    }
    for _ in 0..3 {
        stage.client.stop_pod(&stage.pod_id).await.expect("stopped");
    }
    for _ in 0..3 {
        stage.client.remove_pod(&stage.pod_id).await.expect("removed");
    }
    let told = by_id(&kept(&stage.daemon, None).await.expect("events"));
    assert_eq!(told[&id], [Created, Started, Stopped, Deleted]);
    assert_eq!(told[&stage.pod_id], [Created, Started, Stopped, Deleted]);
    assert_eq!(told.len(), 2);
    stage.end().await;
}

#[tokio::test]
async fn a_removed_pod_tells_of_all_that_was_in_it() {
    let mut stage = Stage::new("removed-told").await;
    let mut ids = vec![stage.run("a", "exec sleep 1000").await, stage.run("b", "exec sleep 1000").await];
    let config = stage.script("c", "true");
    let never = stage.create(&config).await.expect("created");
    // At once, without a stop.
    stage.client.remove_pod(&stage.pod_id).await.expect("removed");
    let events = kept(&stage.daemon, None).await.expect("events");
    let told = by_id(&events);
    for id in &ids {
        assert_eq!(told[id], [Created, Started, Stopped, Deleted]);
    }
    assert_eq!(told[&never], [Created, Stopped, Deleted], "it never started");
    assert_eq!(told[&stage.pod_id], [Created, Started, Stopped, Deleted]);
    ids.extend([never, stage.pod_id.clone()]);
    let last = short(&events).pop().expect("events");
    assert_eq!(last, (stage.pod_id.clone(), Deleted), "the pod goes last");
    assert!(events.iter().all(|event| event.event.as_ref().is_some_and(|told| {
        told.pod_sandbox_status.as_ref().is_some_and(|status| status.metadata == stage.pod.metadata)
    })));
    assert_eq!(told.len(), ids.len());
    stage.end().await;
}

#[tokio::test]
async fn nothing_is_told_of_what_never_was() {
    let mut stage = Stage::new("never-was").await;
    let before = kept(&stage.daemon, None).await.expect("events").len();
    let mut config = pod("refused", "");
    config.hostname = "no/name".into();
    stage.client.run_pod(&config).await.expect_err("it has no such name");
    let config = container("c", "no-such-image", &["true"]);
    stage.create(&config).await.expect_err("there is no such image");
    // It begins, and its program is not there: a container that was created, did not start, and has ended.
    let config = container("c", &stage.image, &["/no/such/program"]);
    let id = stage.create(&config).await.expect("created");
    stage.client.start(&id).await.expect_err("there is nothing to run");
    stage.client.ended(&id).await;
    stage.client.remove(&id).await.expect("removed");
    let events = kept(&stage.daemon, None).await.expect("events");
    let expected: Vec<_> = [Created, Stopped, Deleted].map(|what| (id.clone(), what)).into();
    assert_eq!(short(&events[before..]), expected);
    let end = events[before + 1].event.as_ref().and_then(|told| status(told, &id)).expect("its status");
    assert_eq!((end.exit_code, &*end.reason), (128, "StartError"));
    stage.end().await;
}

#[tokio::test]
async fn nothing_is_missing_of_a_hundred_quick_containers() {
    let daemon = Daemon::start("hundred").await;
    let mut client = daemon.client().await;
    let mut events = listen(&mut client).await;
    let image = daemon.pull_busybox().await;
    let mut pods = Vec::new();
    for number in 0..10 {
        let config = pod(&format!("p{number}"), &daemon.logs("p"));
        pods.push((client.run_pod(&config).await.expect("a pod"), config));
    }
    let mut lives = Vec::new();
    for (pod_id, config) in &pods {
        let (mut client, image) = (daemon.client().await, image.clone());
        let (pod_id, config) = (pod_id.clone(), config.clone());
        lives.push(tokio::spawn(async move {
            let mut ids = Vec::new();
            for number in 0..10 {
                let made = container(&format!("c{number}"), &image, &["sh", "-c", &format!("exit {number}")]);
                ids.push(client.run(&pod_id, &config, made).await.expect("a container"));
            }
            for id in &ids {
                // Removed only once it has ended by itself.
                while client.status(id).await.expect("its status").state() != ContainerState::ContainerExited
                {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
                client.remove(id).await.expect("removed");
            }
            ids
        }));
    }
    let mut ids = Vec::new();
    for life in lives {
        ids.extend(life.await.expect("a life"));
    }
    assert_eq!(ids.len(), 100);
    let told = take(&mut events, 100 * 4 + 10 * 2).await;
    nothing_more(&mut events).await;
    for (number, id) in (0..).zip(&ids) {
        let its: Vec<_> = told.iter().filter(|event| event.container_id == *id).collect();
        let what: Vec<_> = its.iter().map(|event| event.container_event_type()).collect();
        assert_eq!(what, [Created, Started, Stopped, Deleted], "{id}");
        let end = status(its[2], id).expect("its status");
        assert_eq!((end.state(), end.exit_code), (ContainerState::ContainerExited, number % 10));
    }
    // An event never shows an earlier state of anything than one before it.
    for id in &ids {
        let states = told.iter().filter_map(|event| status(event, id)).map(|status| status.state);
        assert!(states.is_sorted(), "{id} went back");
    }
    // By number it is the same.
    let numbered = kept(&daemon, None).await.expect("events");
    let same: Vec<_> =
        told.iter().map(|event| (event.container_id.clone(), event.container_event_type())).collect();
    assert_eq!(short(&numbered), same);
    assert!(numbered.windows(2).all(|two| two[0].number + 1 == two[1].number), "no gap");
    drop((events, client));
    daemon.end().await;
}

#[tokio::test]
async fn a_stop_before_the_start_is_an_end_that_lasts() {
    let mut stage = Stage::new("stop-first").await;
    let config = stage.script("c", "true");
    let id = stage.create(&config).await.expect("created");
    stage.client.stop(&id, 10).await.expect("stopped");
    stage.daemon.restart().await;
    stage.client = stage.daemon.client().await;
    let status = stage.client.status(&id).await.expect("its status");
    assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 0));
    assert!(status.started_at == 0 && status.finished_at >= status.created_at);
    stage.client.start(&id).await.expect_err("what has ended is not started");
    let told = by_id(&kept(&stage.daemon, None).await.expect("events"));
    assert_eq!(told[&id], [Created, Stopped]);
    stage.end().await;
}
