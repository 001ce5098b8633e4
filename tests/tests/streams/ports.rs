//! Connections into pods.

use std::net::TcpListener;

use orlop_proto::runtime::v1::NamespaceMode;
use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::{Stage, namespaces};
use orlop_tests::session::{Session, V4};
use tonic::Code;

use super::soon;

const GET: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
const PAGE: &str = "orlop serves this page from a container\n";

/// One connection: what the port says, and what its channel for errors says.
async fn get(stage: &mut Stage, port: i32) -> (String, String) {
    let url = stage.client.port_forward_url(&stage.pod_id, &[port]).await.expect("a URL");
    let mut session = Session::open(&url, V4).await.expect("a session");
    session.outgoing.send(0, GET).await;
    let (mut said, mut errors) = (Vec::new(), Vec::new());
    let all = async {
        while let Some((channel, bytes)) = session.incoming.next().await {
            if channel == 0 {
                said.extend(bytes);
            } else {
                errors.extend(bytes);
            }
            if said.ends_with(PAGE.as_bytes()) || errors.len() > 2 {
                break;
            }
        }
    };
    soon("an answer", all).await;
    // Each channel says its port first.
    let port = u16::try_from(port).expect("a port").to_le_bytes();
    assert!(said.starts_with(&port) || said.is_empty());
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(bytes.get(2..).unwrap_or_default()).into_owned();
    (text(said), text(errors))
}

async fn serve(stage: &mut Stage, address: &str) {
    let script = format!("exec httpd -f -p {address} -h /www");
    let name = format!("web-{}", address.replace([':', '[', ']', '.'], "-"));
    stage.run(&name, &script).await;
}

/// Waits until the page is served.
async fn served(stage: &mut Stage, port: i32) {
    eventually("the page is served", async || get(stage, port).await.0.ends_with(PAGE)).await;
}

#[tokio::test]
async fn a_pod_s_ports_are_reached_by_its_own_localhost() {
    let mut stage = Stage::new("own").await;
    // On loopback alone, by IPv4 and by IPv6: nothing outside of the pod reaches those.
    serve(&mut stage, "127.0.0.1:8081").await;
    serve(&mut stage, "[::1]:8082").await;
    served(&mut stage, 8081).await;
    served(&mut stage, 8082).await;
    let (said, errors) = get(&mut stage, 8083).await;
    assert_eq!(said, "");
    for word in ["8083", "refused", "127.0.0.1", "::1"] {
        assert!(errors.contains(word), "{errors}");
    }
    stage.end().await;
}

#[tokio::test]
async fn a_pod_of_the_node_s_network_has_the_node_s_ports() {
    let mut stage = Stage::with("node", |pod| namespaces(pod).network = NamespaceMode::Node.into()).await;
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port();
    serve(&mut stage, &format!("127.0.0.1:{port}")).await;
    served(&mut stage, port.into()).await;
    stage.end().await;
}

#[tokio::test]
async fn a_pod_that_is_not_ready_and_a_port_that_cannot_be_are_refused() {
    let mut stage = Stage::new("refused").await;
    for port in [0, -1, 65536] {
        let pod = stage.pod_id.clone();
        let error = stage.client.port_forward_url(&pod, &[80, port]).await.expect_err("no port");
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains("port[1]"), "{error}");
    }
    let error = stage.client.port_forward_url("feed", &[]).await.expect_err("no pod");
    assert_eq!(error.code(), Code::NotFound);
    // A URL that was given before its pod was stopped leads nowhere any more.
    let pod = stage.pod_id.clone();
    let url = stage.client.port_forward_url(&pod, &[80]).await.expect("a URL");
    stage.client.stop_pod(&pod).await.expect("stopped");
    let error = stage.client.port_forward_url(&pod, &[80]).await.expect_err("not ready");
    assert_eq!(error.code(), Code::FailedPrecondition);
    let mut session = Session::open(&url, V4).await.expect("a session");
    let mut errors = Vec::new();
    let all = async {
        while let Some((channel, bytes)) = session.incoming.next().await {
            if channel == 1 {
                errors.extend(bytes);
            }
            if errors.len() > 2 {
                break;
            }
        }
    };
    soon("the cause", all).await;
    assert!(String::from_utf8_lossy(&errors).contains("not ready"));
    drop(session);
    stage.end().await;
}
