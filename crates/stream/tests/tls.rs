//! The same over TLS.
//!
//! *Invariant:* the certificate is made for the test.

mod world;

use std::sync::Arc;

use orlop_stream::Limits;
use orlop_stream::session::{Duplex, End};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::sync::oneshot;
use world::client::{Client, FORMS};
use world::wire::{Heard, Spdy};
use world::{ALL, OUT, World, ended, played, soon};

fn certificates() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let server = server.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    let server = server.with_single_cert(vec![made.cert.der().clone()], key).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let client = ClientConfig::builder_with_provider(provider);
    let client =
        client.with_safe_default_protocol_versions().expect("versions").with_root_certificates(roots);
    (Arc::new(server), Arc::new(client.with_no_client_auth()))
}

#[tokio::test]
async fn exec_works_in_every_form() {
    let world = World::with(Limits::default(), Some(certificates())).await;
    for form in FORMS {
        let (tell, told) = oneshot::channel();
        let path = world.exec(ALL, move || {
            let (running, process) = played(1 << 16);
            let _ = tell.send(process);
            Ok(running)
        });
        let mut client = Client::connect(&world, &path, form, ALL).await;
        client.stdin(b"in").await;
        let mut process = soon("the command begins", told).await.expect("it begins");
        let mut input = [0; 2];
        soon("input", process.stdin.read_exact(&mut input)).await.expect("a pipe");
        // Longer than TLS records, pipes and buffers.
        let long: Vec<u8> = (0..=250).cycle().take(1_000_000).collect();
        let sent = long.clone();
        tokio::spawn(async move {
            process.stdout.take().expect("stdout").write_all(&sent).await.expect("a pipe");
            process.end.take().expect("an end").send(End::Exited(3)).expect("it is waited for");
        });
        let outcome = client.finish().await;
        assert!(
            outcome.stdout == long && outcome.clean && outcome.error.contains('3'),
            "{form:?}: {}",
            outcome.error
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn ports_work_in_both_forms() {
    let world = World::with(Limits::default(), Some(certificates())).await;
    for tunnel in [false, true] {
        let path = world.ports(&[], |_| {
            let (ours, theirs) = duplex(4096);
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(theirs);
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
            Ok(Box::new(ours) as Box<dyn Duplex>)
        });
        let mut client = if tunnel {
            Spdy::tunnel(&world, &path).await
        } else {
            Spdy::connect(&world, &path, "portforward.k8s.io").await
        };
        client.opened(&[("streamtype", "error"), ("port", "80"), ("requestid", "0")]).await;
        let stream = client.opened(&[("streamtype", "data"), ("port", "80"), ("requestid", "0")]).await;
        client.send(stream, &[7; 5000], true).await;
        let mut heard = Heard::default();
        while !heard.ends.contains(&stream) {
            assert!(Spdy::hear(&mut heard, client.frame().await));
        }
        assert!(heard.data[&stream] == [7; 5000]);
    }
}

#[tokio::test]
async fn who_does_not_speak_tls_or_does_not_trust_is_no_trouble() {
    let world = World::with(Limits::default(), Some(certificates())).await;
    let mut plain = tokio::net::TcpStream::connect(world.address).await.expect("the server listens");
    plain.write_all(b"GET /exec/a HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("a socket");
    let mut said = Vec::new();
    soon("it is cut off", plain.read_to_end(&mut said)).await.ok();
    assert!(!said.starts_with(b"HTTP"), "nothing is said in clear");
    let stream = tokio::net::TcpStream::connect(world.address).await.expect("the server listens");
    let stranger = tokio_rustls::TlsConnector::from(certificates().1);
    assert!(stranger.connect("localhost".try_into().expect("a name"), stream).await.is_err());
    let path = world.exec(OUT, || Ok(ended(End::Exited(0))));
    assert!(Client::connect(&world, &path, FORMS[0], OUT).await.finish().await.clean);
}
