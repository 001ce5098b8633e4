//! Where the URLs lead: the listener, and what a redeemed token begins.
//!
//! *Invariant:* what a token stands for is looked up anew when it is redeemed: what has gone meanwhile is not there.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use orlop_model::report::{Kind as Class, Report};
use orlop_stream::Limits;
use orlop_stream::session::{Backend, Kind, Work};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::task::JoinHandle;

use super::attach::Attach;
use super::exec::Exec;
use super::ports::PodPorts;
use super::tokens::{Asked, Tokens};
use crate::config::Streaming;
use crate::observe::Calls;
use crate::pods::Core;

/// A listener that nobody serves yet.
pub(crate) struct Door {
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
}

impl Door {
    /// Listens as configured; URLs will lead here.
    ///
    /// # Errors
    /// If the address cannot be listened on, or certificate and key are not there or do not fit.
    pub(crate) fn open(config: &Streaming) -> Result<(Self, Tokens), Report> {
        let tls = match (&config.tls_cert, &config.tls_key) {
            (Some(certificate), Some(key)) => Some(Arc::new(tls(certificate, key)?)),
            (None, None) => None,
            (Some(given), None) => return Err(alone("tls_key", "tls_cert", given)),
            (None, Some(given)) => return Err(alone("tls_cert", "tls_key", given)),
        };
        let failed = |error| {
            Report::new(Class::Failed, "listen", format!("[streaming] address {}", config.address), error)
        };
        let listener = TcpListener::bind(config.address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let tokens = Tokens::new(listener.local_addr().map_err(failed)?, tls.is_some());
        Ok((Door { listener, tls }, tokens))
    }
}

impl Door {
    /// Serves until `end`, and closes what is open then; the task that does it.
    ///
    /// # Errors
    /// If the runtime cannot watch the listener.
    pub(crate) fn serve(
        self,
        core: Arc<Core>,
        calls: Arc<Calls>,
        end: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<JoinHandle<()>> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        tracing::info!(address = %listener.local_addr()?, tls = self.tls.is_some(), "streaming");
        let behind = Arc::new(Behind { core, calls });
        Ok(tokio::spawn(orlop_stream::serve(listener, self.tls, behind, Limits::default(), end)))
    }
}

fn alone(missing: &str, given: &str, path: &Path) -> Report {
    let object = format!("[streaming] {missing}");
    let cause = format!("it is not set, and {given} is \"{}\"", path.display());
    Report::new(Class::BadRequest, "configure", object, cause).advise("set both or neither")
}

fn tls(certificate: &Path, key: &Path) -> Result<ServerConfig, Report> {
    let failed = |name: &str, path: &Path, cause: &dyn std::fmt::Display| {
        Report::new(Class::BadRequest, format!("[streaming] {name}"), path.display().to_string(), cause)
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| failed("tls_cert", certificate, &error))?;
    if chain.is_empty() {
        return Err(failed("tls_cert", certificate, &"no certificate in it"));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| failed("tls_key", key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(|error| failed("tls_key", key, &error))
}

/// What is behind the tokens.
struct Behind {
    core: Arc<Core>,
    calls: Arc<Calls>,
}

impl Backend for Behind {
    fn redeem(&self, kind: Kind, token: &str) -> Option<Work> {
        let asked = self.core.tokens.redeem(kind, token, Instant::now())?;
        let session = self.calls.session(asked.name());
        let table = &self.core.table;
        match asked {
            Asked::Exec { container, command, streams } => {
                let container = table.exact_container(&container)?;
                Some(Work::Command(streams, Box::new(Exec { container, command, streams, session })))
            }
            Asked::Attach { container, streams } => {
                let container = table.exact_container(&container)?;
                Some(Work::Command(streams, Box::new(Attach { container, streams, session })))
            }
            Asked::Ports { pod, ports } => {
                let pod = table.pod(pod.as_str()).ok()?;
                Some(Work::Ports(Box::new(PodPorts { pod, asked: ports, _session: session })))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streaming(certificate: Option<&Path>, key: Option<&Path>) -> Streaming {
        Streaming {
            tls_cert: certificate.map(Into::into),
            tls_key: key.map(Into::into),
            ..Streaming::default()
        }
    }

    fn refused(config: &Streaming) -> String {
        Door::open(config).err().expect("refused").to_string()
    }

    #[tokio::test]
    async fn certificate_and_key_come_together_and_are_named_where_they_are_wrong() {
        let room = tempfile::tempdir().expect("a directory");
        let (certificate, key) = (room.path().join("cert.pem"), room.path().join("key.pem"));
        let said = refused(&streaming(Some(&certificate), None));
        assert!(said.contains("tls_key") && said.contains("cert.pem") && said.contains("both"), "{said}");
        let said = refused(&streaming(None, Some(&key)));
        assert!(said.contains("[streaming] tls_cert") && said.contains("key.pem"), "{said}");
        let both = streaming(Some(&certificate), Some(&key));
        let said = refused(&both);
        assert!(said.contains("tls_cert") && said.contains("cert.pem"), "not there: {said}");
        std::fs::write(&certificate, "nothing").expect("written");
        let said = refused(&both);
        assert!(said.contains("no certificate"), "{said}");

        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
        std::fs::write(&certificate, made.cert.pem()).expect("written");
        let said = refused(&both);
        assert!(said.contains("tls_key") && said.contains("key.pem"), "{said}");
        let other = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("another");
        std::fs::write(&key, other.signing_key.serialize_pem()).expect("written");
        let said = refused(&both);
        assert!(said.contains("tls_key"), "of another certificate: {said}");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        assert!(Door::open(&both).is_ok());
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("its number");
        let said = refused(&Streaming { address, ..Streaming::default() });
        assert!(said.contains("[streaming] address") && said.contains(&address.to_string()), "{said}");
    }
}
