//! What a URL is good for.

use orlop_tests::daemon::stage::Stage;
use orlop_tests::daemon::{Daemon, eventually};
use orlop_tests::http;
use orlop_tests::session::{Session, V4, V5};
use tonic::Code;

use super::{attach, exec, soon};

/// The status that a URL is answered with instead of a session.
async fn refused(url: &str, protocol: &str) -> u16 {
    match soon("an answer", Session::open(url, protocol)).await {
        Err(status) => status,
        Ok(_) => panic!("{url} was good"),
    }
}

#[tokio::test]
async fn a_url_is_good_once_for_what_it_was_given_for() {
    let mut stage = Stage::new("once").await;
    let id = stage.run("c", "exec sleep 1000").await;
    let url = stage.client.exec_url(&id, &["echo", "said"], "o").await.expect("a URL");
    let (base, token) = url.rsplit_once("/exec/").expect("its path");
    assert!(base.starts_with("http://127.0.0.1:") && token.len() == 64, "{url}");
    // Another kind's, a part of it, another, none.
    for wrong in [
        format!("{base}/attach/{token}"),
        format!("{base}/exec/{}", &token[..63]),
        format!("{base}/exec/{}", "0".repeat(64)),
        format!("{base}/exec/"),
        format!("{base}/portforward/{token}"),
        format!("{base}/"),
    ] {
        assert!((400..500).contains(&refused(&wrong, V5).await), "{wrong}");
    }
    let session = Session::open(&url, V5).await.expect("it is good still");
    assert_eq!(soon("its end", session.finish()).await.text(), "said\n");
    assert_eq!(refused(&url, V5).await, 404, "a replay");

    // Each call has its own, and a container that has gone has none.
    let first = stage.client.exec_url(&id, &["true"], "o").await.expect("a URL");
    let second = stage.client.attach_url(&id, "o").await.expect("a URL");
    let third = stage.client.port_forward_url(&stage.pod_id.clone(), &[80]).await.expect("a URL");
    stage.client.stop(&id, 0).await.expect("stopped");
    stage.client.remove(&id).await.expect("removed");
    assert_eq!(refused(&first, V5).await, 404);
    assert_eq!(refused(&second, V5).await, 404);
    // Nor is one good after the daemon that gave it.
    stage.daemon.restart().await;
    stage.client = stage.daemon.client().await;
    let again = stage.client.port_forward_url(&stage.pod_id.clone(), &[80]).await.expect("a URL");
    let (base, _) = again.rsplit_once("/portforward/").expect("its path");
    let (_, token) = third.rsplit_once('/').expect("its token");
    assert_eq!(refused(&format!("{base}/portforward/{token}"), V4).await, 404);
    assert!(!stage.daemon.log().contains(token), "no token is logged");
    stage.end().await;
}

#[tokio::test]
async fn at_most_a_thousand_wait() {
    let mut stage = Stage::new("thousand").await;
    let pod = stage.pod_id.clone();
    let first = stage.client.port_forward_url(&pod, &[80]).await.expect("a URL");
    for _ in 1..1000 {
        stage.client.port_forward_url(&pod, &[80]).await.expect("a URL");
    }
    let error = stage.client.port_forward_url(&pod, &[80]).await.expect_err("one too many");
    assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
    assert!(Session::open(&first, V4).await.is_ok(), "the first is as good as ever");
    stage.client.port_forward_url(&pod, &[80]).await.expect("its place is free");
    stage.end().await;
}

#[tokio::test]
async fn the_address_is_the_configured_one() {
    let config = "[streaming]\naddress = \"[::1]:0\"";
    let daemon = Daemon::build("six").config(config).start().await;
    let mut stage = Stage::on(daemon, |_| {}).await;
    let id = stage.run("c", "exec sleep 1000").await;
    let url = stage.client.exec_url(&id, &["echo", "six"], "o").await.expect("a URL");
    assert!(url.starts_with("http://[::1]:"), "{url}");
    let session = Session::open(&url, V5).await.expect("a session");
    assert_eq!(soon("its end", session.finish()).await.text(), "six\n");
    stage.end().await;
}

#[tokio::test]
async fn sessions_are_counted_while_they_are_open_and_after() {
    let daemon = Daemon::build("figures").config("[metrics]\naddress = \"127.0.0.1:0\"").start().await;
    let log = daemon.log();
    let said = log.lines().find(|line| line.contains(" metrics ")).expect("the log says where");
    let address = said.rsplit("address=").next().expect("an address").trim().to_owned();
    let mut stage = Stage::on(daemon, |_| {}).await;
    let id = stage.run("c", "exec sleep 1000").await;
    let figures = |expected: &[String]| {
        let page = http::send(&address, "GET", "/metrics", &[], b"").expect("an answer");
        let text = String::from_utf8(page.body).expect("text");
        expected.iter().all(|line| text.lines().any(|has| has == line))
    };
    let counted = |kind: &str, total: u32, open: u32| {
        [
            format!("orlop_streaming_sessions_total{{kind=\"{kind}\"}} {total}"),
            format!("orlop_streaming_sessions_open{{kind=\"{kind}\"}} {open}"),
        ]
    };
    let first = exec(&mut stage, &id, &["cat"], "io").await;
    let second = attach(&mut stage, &id, "o").await;
    let expected = [counted("exec", 1, 1), counted("attach", 1, 1)].concat();
    eventually("both are open", async || figures(&expected)).await;
    drop((first, second));
    let expected = [counted("exec", 1, 0), counted("attach", 1, 0)].concat();
    eventually("both are over", async || figures(&expected)).await;
    stage.end().await;
}
