//! `UpdateRuntimeConfig` and `RuntimeConfig`.

use orlop_proto::runtime::v1::{
    CgroupDriver, NetworkConfig, RuntimeConfig, RuntimeConfigRequest, UpdateRuntimeConfigRequest,
};
use orlop_tests::cri::{Client, pod};
use orlop_tests::daemon::Daemon;
use tonic::{Code, Status};

async fn pod_cidr(client: &mut Client, cidr: &str) -> Result<(), Status> {
    let network_config = Some(NetworkConfig { pod_cidr: cidr.into() });
    let request = UpdateRuntimeConfigRequest { runtime_config: Some(RuntimeConfig { network_config }) };
    client.runtime.update_runtime_config(request).await.map(drop)
}

/// Subnets that are the instance's own, and not the one that it is configured with.
fn others(daemon: &Daemon) -> (String, String) {
    let number: u16 =
        daemon.traces.bridge.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(7);
    (format!("172.{}.{}.0/24", 20 + number / 256, number % 256), format!("fd6f:726c:6f71:{number:x}::/64"))
}

#[tokio::test]
async fn a_pod_cidr_is_where_later_pods_get_their_addresses() {
    let mut daemon = Daemon::start("cidr").await;
    let mut client = daemon.client().await;
    let (v4, v6) = others(&daemon);
    for _ in 0..2 {
        pod_cidr(&mut client, &format!("{v4},{v6}")).await.expect("taken over, and once more");
    }
    let within = |ip: &str| ip.starts_with(v4.trim_end_matches("0/24"));
    let id = client.run_pod(&pod("a", "")).await.expect("a pod");
    let network = client.pod_status(&id).await.expect("its status").network.expect("a network");
    assert!(within(&network.ip), "{network:?} of {v4}");
    assert!(network.additional_ips[0].ip.starts_with(v6.trim_end_matches("::/64")), "{network:?} of {v6}");

    // The pods that there are would be cut off by another.
    let error = pod_cidr(&mut client, "10.99.99.0/24").await.expect_err("pods have addresses");
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    assert!(error.message().starts_with("runtime_config.network_config.pod_cidr"), "{error}");
    assert!(error.message().contains("remove the pods"), "{error}");
    pod_cidr(&mut client, &v4).await.expect("the same is no change");
    pod_cidr(&mut client, "").await.expect("none is no change");
    client.runtime.update_runtime_config(UpdateRuntimeConfigRequest::default()).await.expect("nothing asked");

    // It outlives the daemon.
    drop(client);
    daemon.restart().await;
    let mut client = daemon.client().await;
    let id = client.run_pod(&pod("b", "")).await.expect("a pod");
    let network = client.pod_status(&id).await.expect("its status").network.expect("a network");
    assert!(within(&network.ip), "{network:?} of {v4}");
    drop(client);
    daemon.end().await;
}

#[tokio::test]
async fn a_pod_cidr_that_is_none_is_refused_and_changes_nothing() {
    let daemon = Daemon::start("no-cidr").await;
    let mut client = daemon.client().await;
    for (cidr, said) in [
        ("nonsense", "\"nonsense\""),
        ("10.244.1.1/24", "behind the prefix"),
        ("10.244.0.0/24,10.245.0.0/24", "two subnets of one family"),
        ("10.244.0.0/24,", "\"\""),
        ("127.0.0.0/8", "cannot be given to pods"),
    ] {
        let error = pod_cidr(&mut client, cidr).await.expect_err(cidr);
        assert_eq!(error.code(), Code::InvalidArgument, "{cidr}: {error}");
        let named = error.message().starts_with("runtime_config.network_config.pod_cidr");
        assert!(named && error.message().contains(said), "{cidr}: {error}");
    }
    client.run_pod(&pod("a", "")).await.expect("pods come as before");
    drop(client);
    daemon.end().await;
}

#[tokio::test]
async fn the_cgroup_driver_is_told() {
    let daemon = Daemon::start("driver").await;
    let mut client = daemon.client().await;
    for _ in 0..3 {
        let answer = client.runtime.runtime_config(RuntimeConfigRequest {}).await.expect("an answer");
        let linux = answer.into_inner().linux.expect("kubelet takes its driver from here");
        let systemd = orlop_tests::daemon::limits::is_systemd();
        let expected = if systemd { CgroupDriver::Systemd } else { CgroupDriver::Cgroupfs };
        assert_eq!(linux.cgroup_driver(), expected);
    }
    drop(client);
    daemon.end().await;
}
