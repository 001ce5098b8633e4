//! What plugins are told, in which order, and what is made of their answers.

use orlop_proto::runtime::v1::NetworkConfig;
use orlop_proto::runtime::v1::{
    DnsConfig, NamespaceMode, PortMapping, Protocol, RuntimeConfig, UpdateRuntimeConfigRequest,
};
use orlop_tests::cri;
use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::namespaces;
use serde_json::json;

use super::scene::{Scene, install};

/// An old plugin's result, of two families, among interfaces that are not the pod's.
const OLD: &str = r#"echo '{"cniVersion":"0.4.0","interfaces":[{"name":"br0"},{"name":"eth0","sandbox":"'$CNI_NETNS'","mtu":9}],
    "ips":[{"version":"6","address":"fd00:9::7/64","interface":1},{"version":"4","address":"10.9.8.1/24","interface":0},
           {"version":"4","address":"10.9.8.7/24","gateway":"10.9.8.1","interface":1}],"routes":[{"dst":"0.0.0.0/0"}]}' | tr -d '\n'; exit 0"#;

#[tokio::test]
async fn plugins_are_called_in_order_each_with_the_result_of_the_one_before() {
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let mut scene = Scene::fake("cni-chain", version, &["one", "two", "three"]).await;
        scene.on("ADD", &format!("[ $name = one ] && {{ {OLD}; }}\nprintf %s \"$config\" | sed 's/.*\"prevResult\":\\(.*\\),\"type\".*/\\1/'; exit 0"));
        let id = scene.run("pod").await.expect("a pod");
        let status = scene.client.pod_status(&id).await.expect("its status").network.expect("a network");
        let more: Vec<&str> = status.additional_ips.iter().map(|ip| ip.ip.as_str()).collect();
        assert_eq!((status.ip.as_str(), more), ("fd00:9::7", vec!["10.9.8.7"]), "in the order of the result");

        scene.client.remove_pod(&id).await.expect("removed");
        let calls: Vec<String> = scene.calls(&["ADD", "DEL"]).into_iter().map(|(call, ..)| call).collect();
        assert_eq!(calls, ["one ADD", "two ADD", "three ADD", "three DEL", "two DEL", "one DEL"]);
        for told in scene.told(&["ADD", "DEL"]) {
            assert_eq!(told.config["cniVersion"], version);
            assert_eq!(told.config["type"], told.plugin);
            let before = &told.config["prevResult"];
            let has_none = if told.command == "ADD" { told.plugin == "one" } else { version == "0.3.1" };
            assert_eq!(before.is_null(), has_none, "{told:?}");
            if !has_none {
                assert_eq!(before["cniVersion"], version);
                assert_eq!(before["ips"][0]["version"] == "6", version < "1.0.0", "{before}");
                assert_eq!(before["interfaces"][1]["mtu"] == 9, version == "1.1.0", "{before}");
            }
        }
        scene.end().await;
    }
}

#[tokio::test]
async fn a_plugin_is_told_what_it_asked_to_be_told() {
    let mut scene = Scene::empty("cni-told").await;
    install(&scene.daemon, "other");
    let network = NetworkConfig { pod_cidr: "10.77.0.0/24,fd00:77::/64".into() };
    let update =
        UpdateRuntimeConfigRequest { runtime_config: Some(RuntimeConfig { network_config: Some(network) }) };
    scene.client.runtime.update_runtime_config(update).await.expect("taken over");
    let capabilities = json!({
        "portMappings": true, "bandwidth": true, "ipRanges": true, "dns": true, "cgroupPath": true,
        "io.kubernetes.cri.pod-annotations": true, "mac": true,
    });
    let plugins = [
        json!({ "type": "fake", "capabilities": capabilities, "own": {"x": [1]} }),
        json!({ "type": "other" }),
    ];
    scene.put("10-net.conflist", &scene.list("1.0.0", &plugins));
    scene.ready().await;

    let mut pod = cri::pod("told", &scene.daemon.logs("told"));
    pod.port_mappings = vec![PortMapping {
        protocol: Protocol::Udp.into(),
        container_port: 53,
        host_port: 5353,
        host_ip: "127.0.0.1".into(),
    }];
    pod.dns_config = Some(DnsConfig { servers: vec!["10.0.0.10".into()], ..Default::default() });
    pod.annotations.insert("kubernetes.io/egress-bandwidth".into(), "1M".into());
    let group = format!("/{}/pods", scene.daemon.traces.cgroup);
    pod.linux.get_or_insert_default().cgroup_parent = group.clone();
    let id = scene.client.run_pod(&pod).await.expect("a pod");
    let told = scene.told(&["ADD"]);
    let arguments = format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=told;K8S_POD_INFRA_CONTAINER_ID={id};K8S_POD_UID=told-uid"
    );
    assert!(told.iter().all(|told| told.args == arguments), "{told:?}");
    let expected = json!({
        "portMappings": [{"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"}],
        "bandwidth": {"egressRate": 1_000_000, "egressBurst": u32::MAX},
        "ipRanges": [[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd00:77::/64"}]],
        "dns": {"servers": ["10.0.0.10"], "searches": [], "options": []},
        "cgroupPath": group,
        "io.kubernetes.cri.pod-annotations": {"kubernetes.io/egress-bandwidth": "1M"},
    });
    assert_eq!(told[0].config["runtimeConfig"], expected);
    assert_eq!(told[0].config["own"], json!({"x": [1]}));
    assert!(told[0].config["capabilities"].is_null() && told[1].config["runtimeConfig"].is_null());
    // And the same when it is undone.
    scene.client.remove_pod(&id).await.expect("removed");
    let undone = scene.told(&["DEL"]);
    assert_eq!(undone[1].config["runtimeConfig"], expected);
    assert_eq!(undone[1].args, arguments);
    scene.end().await;
}

#[tokio::test]
async fn a_pod_of_the_node_s_network_needs_no_plugin() {
    let mut scene = Scene::empty("cni-host").await;
    scene.until("false", |is| !is.status).await;
    let status = scene.run("pod").await.expect_err("there is no network");
    assert!(status.message().contains("NetworkPluginNotReady"), "{}", status.message());
    let mut pod = cri::pod("host", &scene.daemon.logs("host"));
    namespaces(&mut pod).network = NamespaceMode::Node.into();
    scene.client.run_pod(&pod).await.expect("it has the node's");
    assert!(scene.attached().is_empty());
    scene.end().await;
}

/// Attachments are told when the daemon starts; what is nobody's is asked to be undone before.
#[tokio::test]
async fn plugins_hear_at_start_which_attachments_there_are() {
    let mut scene = Scene::fake("cni-gc", "1.1.0", &["fake"]).await;
    let first = scene.run("a").await.expect("a pod");
    let second = scene.run("b").await.expect("a pod");
    let begun = scene.count("GC");
    scene.daemon.kill9();
    // One is lost with its records, as if they lay on a tmpfs.
    std::fs::remove_dir_all(scene.daemon.state().join("pods").join(&second)).expect("removed");
    scene.daemon.up().await;
    scene.client = scene.daemon.client().await;
    eventually("GC", async || scene.count("GC") > begun).await;
    let told = scene.told(&["GC"]).pop().expect("a call");
    assert_eq!(told.config["cni.dev/valid-attachments"], json!([{"containerID": first, "ifname": "eth0"}]));
    let undone: Vec<String> = scene.calls(&["DEL"]).into_iter().map(|(_, id, _)| id).collect();
    assert_eq!(undone, std::slice::from_ref(&second));
    assert_eq!(scene.attached(), [first]);
    // Its namespace goes with the test's own cleaning: no ledger has it any more.
    let pin = std::path::Path::new("/run/netns").join(&second);
    let _ = rustix::mount::unmount(&pin, rustix::mount::UnmountFlags::DETACH);
    std::fs::remove_file(pin).expect("a pin");
    scene.end().await;
}

/// An older list is not told, and one that says so neither.
#[tokio::test]
async fn who_does_not_want_to_hear_of_attachments_does_not() {
    let mut scene = Scene::fake("cni-no-gc", "1.0.0", &["fake"]).await;
    let mut list = scene.list("1.1.0", &[json!({ "type": "fake" })]);
    list["disableGC"] = true.into();
    scene.run("a").await.expect("a pod");
    scene.daemon.restart().await;
    scene.client = scene.daemon.client().await;
    scene.ready().await;
    scene.put("10-net.conflist", &list);
    scene.daemon.restart().await;
    scene.client = scene.daemon.client().await;
    scene.ready().await;
    scene.run("b").await.expect("a pod");
    assert_eq!(scene.count("GC"), 0);
    assert_eq!(scene.count("ADD"), 2);
    scene.end().await;
}

/// `orlop audit` asks the plugins.
#[tokio::test]
async fn an_audit_checks_attachments() {
    let mut scene = Scene::fake("cni-check", "0.4.0", &["fake"]).await;
    let id = scene.run("a").await.expect("a pod");
    let audit = |scene: &Scene| {
        let output = scene.daemon.orlop(&["audit"]).output().expect("orlop");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let told = audit(&scene);
    assert!(!told.contains("CHECK"), "{told}");
    assert_eq!(scene.calls(&["CHECK"]), [("fake CHECK".to_owned(), id.clone(), format!("/run/netns/{id}"))]);
    scene.on("CHECK", r#"echo '{"code":101,"msg":"eth0 has lost its address"}'; exit 1"#);
    let told = audit(&scene);
    assert!(told.contains("CHECK: code 101: eth0 has lost its address"), "{told}");
    let mut list = scene.list("1.0.0", &[json!({ "type": "fake" })]);
    list["disableCheck"] = true.into();
    scene.put("10-net.conflist", &list);
    scene.until("in force", |is| is.status).await;
    eventually("the list is in force", async || scene.facts().await["inForce"]["version"] == "1.0.0").await;
    scene.client.remove_pod(&id).await.expect("removed");
    scene.run("b").await.expect("a pod");
    let told = audit(&scene);
    assert!(!told.contains("CHECK"), "{told}");
    scene.end().await;
}
