//! Registries over TLS: whose certificates are believed, and who sees ours.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fake;
#[path = "../../image/tests/making/mod.rs"]
mod making;

use std::sync::Arc;

use fake::image::Parts;
use fake::world::{World, told};
use fake::{Fake, reply};
use orlop_model::report::Kind;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;

/// An authority of our own, and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for the loopback address, and its key.
    fn sign(&self) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    /// What a server needs; `clients`: it wants a certificate of this authority.
    fn server(&self, clients: bool) -> rustls::ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = if clients {
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let (certificate, key) = self.sign();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        builder.with_single_cert(vec![certificate.der().clone()], key).unwrap()
    }
}

fn registry(config: rustls::ServerConfig) -> Fake {
    let content = Parts::small("x").content();
    Fake::start_tls(config, move |asked| content.answer(asked))
}

/// Pulls with this in the file of the host.
async fn pull(world: &World, fake: &Fake, settings: &str) -> orlop_registry::Outcome {
    let host = fake.host();
    world.hosts(&host, &format!("server = \"https://{host}\"\n{settings}\n"));
    world.pull_name(&format!("{host}/a/b:1"), None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_certificate_is_not_believed_unless_a_file_says_so() {
    let (authority, other) = (Authority::new(), Authority::new());
    let fake = registry(authority.server(false));
    let world = World::new();
    let (kind, text) = told(pull(&world, &fake, "").await);
    assert!(kind == Kind::NoRegistry && text.contains("certificate"), "{text}");
    let file = |name: &str| world.file(&fake.host(), name, "");
    std::fs::write(file("other.crt"), other.0.pem()).unwrap();
    let (kind, text) = told(pull(&world, &fake, "ca = \"other.crt\"").await);
    assert!(kind == Kind::NoRegistry && text.contains("certificate"), "{text}");
    let (kind, text) = told(pull(&world, &fake, "ca = \"absent.crt\"").await);
    assert!(kind == Kind::Failed && text.contains("absent.crt"), "{text}");
    assert!(fake.asked().is_empty());
    std::fs::write(file("ca.crt"), authority.0.pem()).unwrap();
    pull(&world, &fake, "ca = [\"other.crt\", \"ca.crt\"]").await.unwrap();
    // A file that is replaced counts at once.
    std::fs::write(file("ca.crt"), other.0.pem()).unwrap();
    told(pull(&world, &fake, "ca = \"ca.crt\"").await);
    pull(&world, &fake, "skip_verify = true").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn our_certificate_is_shown_to_the_host_that_it_is_for() {
    let authority = Authority::new();
    let fake = registry(authority.server(true));
    let world = World::new();
    world.file(&fake.host(), "ca.crt", &authority.0.pem());
    told(pull(&world, &fake, "ca = \"ca.crt\"").await);
    let (certificate, key) = authority.sign();
    world.file(&fake.host(), "c.crt", &certificate.pem());
    world.file(&fake.host(), "c.key", &key.serialize_pem());
    world.file(&fake.host(), "both.pem", &(key.serialize_pem() + &certificate.pem()));
    for client in ["[[\"c.crt\", \"c.key\"]]", "\"both.pem\"", "[\"both.pem\"]"] {
        pull(&world, &fake, &format!("ca = \"ca.crt\"\nclient = {client}")).await.unwrap();
    }
    let (kind, text) = told(pull(&world, &fake, "ca = \"ca.crt\"\nclient = \"c.crt\"").await);
    assert!(kind == Kind::Failed && text.contains("private key"), "{text}");
    // Another host that wants one as well, and to which the first redirects, does not get it.
    let to = fake.host();
    let first = Fake::start_tls(authority.server(true), move |asked| {
        reply(307, "").with("location", format!("https://{to}{}", asked.path))
    });
    for (name, text) in
        [("ca.crt", authority.0.pem()), ("both.pem", key.serialize_pem() + &certificate.pem())]
    {
        world.file(&first.host(), name, &text);
    }
    let before = fake.asked().len();
    let (kind, text) = told(pull(&world, &first, "ca = \"ca.crt\"\nclient = \"both.pem\"").await);
    assert_eq!((kind, fake.asked().len()), (Kind::NoRegistry, before), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn https_is_not_left_for_http() {
    let authority = Authority::new();
    let content = Parts::small("x").content();
    let plain = Fake::start(move |asked| content.answer(asked));
    let to = plain.host();
    let fake = Fake::start_tls(authority.server(false), move |asked| {
        reply(302, "").with("location", format!("http://{to}{}", asked.path))
    });
    let world = World::new();
    let (kind, text) = told(pull(&world, &fake, "skip_verify = true").await);
    assert!(kind == Kind::NoRegistry && text.contains("from https to http"), "{text}");
    assert!(plain.asked().is_empty());
}
