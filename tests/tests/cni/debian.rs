//! bridge, host-local, portmap, bandwidth, firewall, tuning: in every version, in both families.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;

use orlop_proto::runtime::v1::{PodSandboxConfig, PortMapping, Protocol};
use orlop_tests::cri::{container, pod};
use orlop_tests::daemon::eventually;
use orlop_tests::{http, port};
use serde_json::{Value, json};

use super::scene::{Scene, files};

const PAGE: &str = "orlop serves this page from a container\n";

impl Scene {
    /// Where host-local writes down addresses.
    fn ipam(&self) -> PathBuf {
        self.daemon.place().join("ipam")
    }

    /// The addresses that it holds, by its files.
    fn addresses(&self) -> Vec<String> {
        let names = files(&self.ipam().join(self.network()));
        names
            .into_iter()
            .filter(|name| name.contains('.') && !name.starts_with("last") || name.contains(':'))
            .collect()
    }

    /// The bridge, with addresses of both families.
    fn bridge(&self) -> Value {
        let number = &self.daemon.number;
        json!({
            "type": "bridge", "bridge": self.daemon.traces.bridge, "isGateway": true, "ipMasq": true, "hairpinMode": true,
            "ipam": {
                "type": "host-local", "dataDir": self.ipam(),
                "ranges": [[{"subnet": number.subnet()}], [{"subnet": number.subnet6()}]],
                "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
            },
        })
    }

    /// What the node's rules say of this network.
    fn rules(&self) -> String {
        let network = format!("\"{}", self.network());
        let mut all = String::new();
        for program in ["iptables-save", "ip6tables-save"] {
            let output = Command::new(program).output().expect("iptables is installed");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            all.extend(
                text.lines()
                    .filter(|line| line.contains(&format!("{network}\\\"")))
                    .map(|line| format!("{line}\n")),
            );
        }
        all
    }

    /// A web server in the pod.
    async fn serve(&mut self, id: &str, config: &PodSandboxConfig, image: &str) -> String {
        let web = container("web", image, &["httpd", "-f", "-p", "80", "-h", "/www"]);
        self.client.run(id, config, web).await.expect("a container")
    }

    async fn reaches(&self, address: &str) {
        let mut page = String::new();
        eventually(&format!("{address} serves"), async || {
            http::send(address, "GET", "/", &[], b"").is_ok_and(|answer| {
                page = String::from_utf8_lossy(&answer.body).into_owned();
                answer.status == 200
            })
        })
        .await;
        assert_eq!(page, PAGE, "{address}");
    }
}

/// Interfaces that the plugin `bandwidth` made for shaping, seen from the pod's: the other end leads its traffic there.
fn shapers() -> Vec<String> {
    files(std::path::Path::new("/sys/class/net")).into_iter().filter(|name| name.starts_with("bwp")).collect()
}

/// A pod with everything that these plugins have to offer; nothing is left of it.
async fn all_of_it(version: &str, plugins: &[&str]) {
    let mut scene = Scene::empty("cni-debian").await;
    let image = scene.daemon.pull_busybox().await;
    let mut list = vec![scene.bridge()];
    for plugin in plugins {
        list.push(match *plugin {
            "portmap" => json!({ "type": "portmap", "capabilities": {"portMappings": true} }),
            "bandwidth" => json!({ "type": "bandwidth", "capabilities": {"bandwidth": true} }),
            "tuning" => json!({ "type": "tuning", "sysctl": {"net.core.somaxconn": "777"} }),
            other => json!({ "type": other }),
        });
    }
    scene.put("10-net.conflist", &scene.list(version, &list));
    scene.ready().await;
    assert_eq!(scene.facts().await["inForce"]["version"], version);

    let port = port::free();
    let mut config = pod("pod", &scene.daemon.logs("pod"));
    config.port_mappings = vec![PortMapping {
        protocol: Protocol::Tcp.into(),
        container_port: 80,
        host_port: port.into(),
        host_ip: String::new(),
    }];
    config.annotations.insert("kubernetes.io/egress-bandwidth".into(), "800M".into());
    config.annotations.insert("kubernetes.io/ingress-bandwidth".into(), "800M".into());
    let shapers_before = shapers();
    let id = scene.client.run_pod(&config).await.expect("a pod");
    let network = scene.client.pod_status(&id).await.expect("its status").network.expect("a network");
    let v4: IpAddr = network.ip.parse().expect("an address");
    let v6: IpAddr = network.additional_ips[0].ip.parse().expect("an address");
    assert!(v4.is_ipv4() && v6.is_ipv6() && network.additional_ips.len() == 1, "{network:?}");
    assert_eq!(scene.addresses().len(), 2, "{:?}", scene.addresses());

    let web = scene.serve(&id, &config, &image).await;
    for address in [format!("{v4}:80"), format!("[{v6}]:80"), format!("127.0.0.1:{port}")] {
        scene.reaches(&address).await;
    }
    let inside = scene.client.sh(&web, "cat /proc/sys/net/core/somaxconn; ip addr show lo; ip route").await;
    assert!(inside.contains("inet 127.0.0.1/8"), "{inside}");
    assert!(inside.contains("default via "), "{inside}");
    assert_eq!(inside.starts_with("777\n"), plugins.contains(&"tuning"), "{inside}");
    assert!(scene.rules().contains(&format!("dnat name: \\\"{}\\\"", scene.network())), "{}", scene.rules());
    let shaper: Vec<String> = shapers().into_iter().filter(|name| !shapers_before.contains(name)).collect();
    assert!(!shaper.is_empty(), "bandwidth made an interface");

    // A second pod reaches the first.
    let other = pod("other", &scene.daemon.logs("other"));
    let other_id = scene.client.run_pod(&other).await.expect("a pod");
    let sleep = container("sleep", &image, &["sleep", "1000"]);
    let client = scene.client.run(&other_id, &other, sleep).await.expect("a container");
    for address in [format!("{v4}"), format!("[{v6}]")] {
        let page = scene.client.sh(&client, &format!("wget -q -O - http://{address}/")).await;
        assert_eq!(page, PAGE, "{address}");
    }
    for id in [&id, &other_id] {
        scene.client.stop_pod(id).await.expect("stopped");
    }
    assert!(
        http::send(&format!("127.0.0.1:{port}"), "GET", "/", &[], b"").is_err(),
        "nobody is there any more"
    );
    assert!(scene.addresses().is_empty(), "{:?}", scene.addresses());
    assert_eq!(scene.rules(), "");
    let ours = |name: &String| shaper.contains(name) && scene.owns(name, &id);
    assert!(!shapers().iter().any(ours), "{:?}", shapers());
    scene.end().await;
}

impl Scene {
    /// Whether a shaper is of this pod: others run such tests at the same time.
    fn owns(&self, shaper: &str, id: &str) -> bool {
        // The plugin names it by a hash of network and id, of which it takes the first eleven digits.
        let name = format!("{}{id}", self.network());
        let output = Command::new("sh")
            .args(["-c", "printf %s \"$0\" | sha512sum", &name])
            .output()
            .expect("sha512sum");
        String::from_utf8_lossy(&output.stdout).starts_with(shaper.trim_start_matches("bwp"))
    }
}

#[tokio::test]
async fn of_0_3_1() {
    Box::pin(all_of_it("0.3.1", &["portmap", "bandwidth", "tuning"])).await;
}

#[tokio::test]
async fn of_0_4_0() {
    Box::pin(all_of_it("0.4.0", &["portmap", "bandwidth", "firewall", "tuning"])).await;
}

#[tokio::test]
async fn of_1_0_0() {
    Box::pin(all_of_it("1.0.0", &["firewall", "tuning", "bandwidth", "portmap"])).await;
}

/// These plugins know 1.0.0 at most: of a list that may be spoken in several versions the newest that all know is.
#[tokio::test]
async fn a_list_of_several_versions_is_spoken_in_one_that_all_plugins_know() {
    let mut scene = Scene::empty("cni-versions").await;
    let mut list = scene.list("0.4.0", &[scene.bridge()]);
    list["cniVersions"] = json!(["1.1.0", "1.0.0", "0.3.1"]);
    scene.put("10-net.conflist", &list);
    scene.ready().await;
    assert_eq!(scene.facts().await["inForce"]["version"], "1.0.0");
    scene.run("pod").await.expect("a pod");
    scene.end().await;
}

/// After a hundred pods, twenty at once, some of them cut off, all addresses are free.
#[tokio::test]
async fn addresses_are_all_given_back() {
    let mut scene = Scene::empty("cni-ipam").await;
    scene.put("10-net.conflist", &scene.list("1.0.0", &[scene.bridge()]));
    scene.ready().await;
    for round in 0..3 {
        let mut calls = Vec::new();
        for number in 0..12 {
            let (mut client, config) =
                (scene.client.clone(), pod(&format!("p{round}-{number}"), &scene.daemon.logs("p")));
            calls.push(tokio::spawn(async move { client.run_pod(&config).await }));
        }
        if round == 1 {
            // In the midst of it.
            eventually("some have addresses", async || scene.addresses().len() >= 6).await;
            scene.daemon.restart().await;
            scene.client = scene.daemon.client().await;
        }
        for call in calls {
            let answer = call.await.expect("a call");
            assert!(answer.is_ok() || round == 1, "{answer:?}");
        }
        if round != 1 {
            assert_eq!(scene.addresses().len(), 24);
        }
        for pod in scene.client.pods().await.expect("a list") {
            scene.client.remove_pod(&pod.id).await.expect("removed");
        }
        eventually("all are free", async || scene.addresses().is_empty()).await;
    }
    scene.end().await;
}

/// A node that is started anew with pods of its own on the disk alone.
#[tokio::test]
async fn after_a_reboot_all_addresses_are_free() {
    let mut scene = Scene::empty("cni-ipam-boot").await;
    // Its rules of masquerading a boot takes, and the plugin does not where there is no namespace.
    let mut bridge = scene.bridge();
    bridge["ipMasq"] = false.into();
    scene.put("10-net.conflist", &scene.list("1.0.0", &[bridge]));
    scene.ready().await;
    for name in ["a", "b", "c"] {
        scene.run(name).await.expect("a pod");
    }
    assert_eq!(scene.addresses().len(), 6);
    scene.daemon.kill9();
    scene.daemon.traces.remove();
    std::fs::create_dir(scene.daemon.state()).expect("a directory");
    scene.daemon.up().await;
    scene.client = scene.daemon.client().await;
    eventually("all is undone", async || scene.attached().is_empty()).await;
    assert!(scene.addresses().is_empty(), "{:?}", scene.addresses());
    scene.run("a").await.expect("the same again");
    scene.end().await;
}
