//! A thousand pods: each with a container that ends with a code of its own, which is told as it was.
//!
//! *Invariant:* a pod that was removed is in no list afterwards.

use orlop_tests::cri;

use crate::patient::Patient;

const PODS: usize = 1000;
const LANES: usize = 4;

/// Makes and removes them; what it did, in words.
pub(crate) async fn thousand(client: Patient, image: String, logs: String) -> String {
    let mut lanes = tokio::task::JoinSet::new();
    for lane in 0..LANES {
        lanes.spawn_local(one_lane(lane, client.clone(), image.clone(), logs.clone()));
    }
    while let Some(done) = lanes.join_next().await {
        done.expect("it went well");
    }
    format!("{PODS} pods came and went")
}

async fn one_lane(lane: usize, mut client: Patient, image: String, logs: String) {
    for number in (lane..PODS).step_by(LANES) {
        let name = format!("pod-{number}");
        let pod = cri::pod(&name, &format!("{logs}/{name}"));
        let pod_id = client.ask(async |client| client.run_pod(&pod).await).await.expect("a pod");
        let code = i32::try_from(number % 120).expect("small") + 1;
        let script = format!("echo {number}; exit {code}");
        let id = client.run(&pod_id, &pod, &cri::container("c", &image, &["sh", "-c", &script])).await;
        let status = client.ended(&id).await;
        assert_eq!((status.exit_code, &*status.reason), (code, "Error"), "{name}: {}", status.message);
        let log = std::fs::read_to_string(&status.log_path).expect("its log");
        assert!(log.ends_with(&format!(" stdout F {number}\n")), "{name}: {log:?}");
        client.ask(async |client| client.stop_pod(&pod_id).await).await.expect("stopped");
        client.ask(async |client| client.remove_pod(&pod_id).await).await.expect("removed");
        let _ = std::fs::remove_dir_all(format!("{logs}/{name}"));
    }
    let left = client.ask(async |client| client.pods().await).await.expect("a list");
    let mine = |name: &str| {
        name.strip_prefix("pod-")
            .is_some_and(|number| number.parse().is_ok_and(|number: usize| number % LANES == lane))
    };
    let named =
        |pod: &orlop_proto::runtime::v1::PodSandbox| pod.metadata.as_ref().is_some_and(|is| mine(&is.name));
    assert!(!left.iter().any(named), "a removed pod is listed");
}
