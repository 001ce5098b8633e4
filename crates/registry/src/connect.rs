//! Connections: one pool for each way of speaking TLS.
//!
//! *Invariant:* certificates are verified with the system's authorities and those that the host's file names, unless that file says
//! that any will do; our own certificate is shown to the configured host alone.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::Error;
use crate::hosts::Tls;

/// The most pools that are kept.
const MOST_POOLS: usize = 64;

/// All pools.
#[derive(Default)]
pub(crate) struct Connections {
    pools: Mutex<HashMap<Key, reqwest::Client>>,
}

/// What tells pools apart: contents, not names, of files, so that a renewed certificate is used at once.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    authorities: Vec<Vec<u8>>,
    client: Vec<Vec<u8>>,
    skip_verify: bool,
    direct: bool,
}

impl Connections {
    /// The pool for `tls`; `direct`: no proxy, whatever the environment says.
    pub(crate) fn pool(&self, tls: &Tls, direct: bool, patience: Duration) -> Result<reqwest::Client, Error> {
        let read = |path: &std::path::PathBuf| std::fs::read(path).map_err(|error| bad_file(path, &error));
        let key = Key {
            authorities: tls.authorities.iter().map(read).collect::<Result<_, _>>()?,
            client: tls.client.iter().map(read).collect::<Result<_, _>>()?,
            skip_verify: tls.skip_verify,
            direct,
        };
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&key) {
            return Ok(pool.clone());
        }
        let config = config(&key, tls)?;
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .user_agent(concat!("orlop/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(patience)
            .http1_only();
        let builder = if direct { builder.no_proxy() } else { builder };
        let pool =
            builder.build().map_err(|error| Error::Hosts { path: "TLS".into(), why: error.to_string() })?;
        if pools.len() >= MOST_POOLS {
            pools.clear();
        }
        pools.insert(key, pool.clone());
        Ok(pool)
    }
}

fn config(key: &Key, tls: &Tls) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = system_roots().clone();
    for (path, pem) in tls.authorities.iter().zip(&key.authorities) {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| bad_file(path, &error))?;
            roots.add(certificate).map_err(|error| bad_file(path, &error))?;
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Hosts { path: "TLS".into(), why: error.to_string() })?;
    let builder = if key.skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
    } else {
        builder.with_root_certificates(roots)
    };
    let Some(path) = tls.client.first() else { return Ok(builder.with_no_client_auth()) };
    let mut chain = Vec::new();
    let mut secret = None;
    for pem in &key.client {
        chain.extend(CertificateDer::pem_slice_iter(pem).filter_map(Result::ok));
        secret = secret.or_else(|| PrivateKeyDer::from_pem_slice(pem).ok());
    }
    let secret = secret.ok_or_else(|| bad_file(path, &"there is no private key"))?;
    builder.with_client_auth_cert(chain, secret).map_err(|error| bad_file(path, &error))
}

/// What the system trusts; read once. A node without any can still speak to hosts whose file names an authority, or http.
fn system_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    })
}

fn bad_file(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::Hosts { path: path.display().to_string(), why: why.to_string() }
}

/// Takes any certificate, where the operator said so; the handshake itself is still checked.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
