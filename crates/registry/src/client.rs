//! The client side of the distribution protocol: manifests and blobs of a repository.
//!
//! Specification: <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>.
//!
//! *Invariant:* every body is read to a limit that was known before it began.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use orlop_image::manifest::{ACCEPT, LARGEST_MANIFEST};
use orlop_image::{Descriptor, Fault, digest_of};
use orlop_model::reference::{DEFAULT_REGISTRY, Digest, Reference};
use reqwest::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode};
use tokio::time::timeout;

use crate::auth::Auth;
use crate::challenge::challenges;
use crate::connect::Connections;
use crate::error::{Error, said};
use crate::exchange::{Patience, Request, broken, protocol, same_origin, send};
use crate::hosts::{Endpoint, endpoints, host_of};
use crate::token;

/// How the client behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Directory of `<host[:port]>/hosts.toml`.
    pub certs_dir: PathBuf,
    /// How long registries are waited for.
    pub patience: Patience,
}

/// Speaks to registries. One for all pulls: it keeps connections and tokens.
pub struct Client {
    settings: Settings,
    pub(crate) connections: Connections,
    /// What was last accepted, by place, repository and credentials; used until it is refused.
    accepted: Mutex<HashMap<Access, HeaderValue>>,
}

/// What an authorization is good for.
#[derive(PartialEq, Eq, Hash, Clone)]
struct Access {
    base: String,
    repository: String,
    auth: Option<Auth>,
}

/// A repository, where it is reached, and as whom.
pub(crate) struct Source {
    pub(crate) endpoints: Vec<Endpoint>,
    registry: String,
    repository: String,
    auth: Option<Auth>,
}

/// What is wanted of a repository.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// `manifests` or `blobs`, and which.
    pub(crate) path: &'a str,
    pub(crate) accept: Option<&'static str>,
    pub(crate) from: u64,
}

impl Client {
    /// A client with no connection yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Client { settings, connections: Connections::default(), accepted: Mutex::default() }
    }

    pub(crate) fn patience(&self) -> &Patience {
        &self.settings.patience
    }

    /// Where the repository of `reference` is reached, as the files say now.
    pub(crate) fn source(&self, reference: &Reference, auth: Option<Auth>) -> Result<Source, Error> {
        Ok(Source {
            endpoints: endpoints(&self.settings.certs_dir, reference.registry())?,
            registry: reference.registry().to_owned(),
            repository: reference.repository().to_owned(),
            auth,
        })
    }

    /// The manifest or index that a tag names, and its digest.
    pub(crate) async fn manifest_by_tag(
        &self,
        source: &Source,
        tag: &str,
    ) -> Result<(Digest, Vec<u8>), Error> {
        let path = format!("manifests/{tag}");
        let response = self.ask(source, Wanted { path: &path, accept: Some(ACCEPT), from: 0 }, true).await?;
        let said = response
            .headers()
            .get("docker-content-digest")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = self.whole(response, LARGEST_MANIFEST, "a manifest").await?;
        let digest = digest_of(&bytes);
        match said {
            Some(said) if said != digest => {
                Err(orlop_image::Error::Blob { digest: said, fault: Fault::Digest { got: digest } }.into())
            }
            _ => Ok((digest, bytes)),
        }
    }

    /// The manifest or index of that digest.
    pub(crate) async fn manifest(&self, source: &Source, digest: Digest) -> Result<Vec<u8>, Error> {
        let wanted = Wanted { path: &format!("manifests/{digest}"), accept: Some(ACCEPT), from: 0 };
        let response = self.ask(source, wanted, false).await?;
        let bytes = self.whole(response, LARGEST_MANIFEST, "a manifest").await?;
        verified(digest, bytes)
    }

    /// A small blob, whole; `most` bytes at most.
    pub(crate) async fn small_blob(
        &self,
        source: &Source,
        blob: &Descriptor,
        most: u64,
    ) -> Result<Vec<u8>, Error> {
        let (digest, said) = (blob.digest, blob.size);
        if said > most {
            let limit = format!("has {said} bytes, {most} are allowed");
            return Err(orlop_image::Error::Limit { digest, limit }.into());
        }
        let wanted = Wanted { path: &format!("blobs/{digest}"), accept: None, from: 0 };
        let response = self.ask(source, wanted, false).await?;
        let bytes = match self.whole(response, said, "").await {
            Err(Error::TooLong { .. }) => {
                Err(orlop_image::Error::Blob { digest, fault: Fault::Long { said } })?
            }
            bytes => bytes?,
        };
        match bytes.len() as u64 {
            got if got < said => {
                Err(orlop_image::Error::Blob { digest, fault: Fault::Short { said, got } }.into())
            }
            _ => verified(digest, bytes),
        }
    }

    /// Asks one place after the other, the last one several times.
    pub(crate) async fn ask(
        &self,
        source: &Source,
        wanted: Wanted<'_>,
        tag: bool,
    ) -> Result<Response, Error> {
        let places: Vec<_> = source.endpoints.iter().filter(|endpoint| endpoint.resolves || !tag).collect();
        let mut failed = None;
        for (index, place) in places.iter().enumerate() {
            let attempts = if index + 1 == places.len() { self.patience().attempts } else { 1 };
            match self.insist(source, place, wanted, attempts).await {
                Ok(response) => return Ok(response),
                Err(error) => {
                    tracing::debug!(host = place.host(), %error, "a registry's place failed");
                    failed = Some(error);
                }
            }
        }
        let nowhere = || Error::Hosts {
            path: source.registry.clone(),
            why: "no host may be asked what a tag means".into(),
        };
        Err(failed.unwrap_or_else(nowhere))
    }

    async fn insist(
        &self,
        source: &Source,
        place: &Endpoint,
        wanted: Wanted<'_>,
        attempts: u32,
    ) -> Result<Response, Error> {
        let mut pause = self.patience().pause;
        for attempt in 1.. {
            let (error, after) = match self.authorized(source, place, wanted).await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => {
                    let after = retry_after(&response);
                    (self.status(source, response, wanted).await, after)
                }
                Err(error) => (error, None),
            };
            if attempt >= attempts || !error.is_passing() {
                return Err(error);
            }
            tokio::time::sleep(after.unwrap_or(pause).min(self.patience().longest_pause)).await;
            pause *= 2;
        }
        Err(Error::Abandoned)
    }

    /// One request, with the authorization that was good before, or the one that the registry then asks for.
    async fn authorized(
        &self,
        source: &Source,
        place: &Endpoint,
        wanted: Wanted<'_>,
    ) -> Result<Response, Error> {
        let auth = source.auth.as_ref().filter(|_| place.own);
        let access = Access {
            base: place.base.to_string(),
            repository: source.repository.clone(),
            auth: auth.cloned(),
        };
        let mut url = place.base.join(&format!("{}/{}", source.repository, wanted.path));
        if let (Ok(url), false) = (&mut url, place.own) {
            // A mirror of many registries has to know which one is meant.
            let registry = if source.registry == DEFAULT_REGISTRY { "docker.io" } else { &source.registry };
            url.query_pairs_mut().append_pair("ns", registry);
        }
        let url = url.map_err(|error| protocol(&place.base, error.to_string()))?;
        let mut request = Request::get(url, &place.tls);
        request.headers.clone_from(&place.headers);
        (request.accept, request.from) = (wanted.accept, wanted.from);
        request.authorization = self.lock().get(&access).cloned();
        if let (None, Some(Auth::Bearer(token))) = (&request.authorization, auth) {
            request.authorization = Some(token::header(format!("Bearer {}", token.reveal()))?);
        }
        // Once for a token that is no longer good, once for the one that was got then.
        for last in [false, true] {
            let response = send(&self.connections, self.patience(), &request).await?;
            let ours = same_origin(response.url(), &request.url);
            if response.status() != StatusCode::UNAUTHORIZED || last || !ours {
                if response.status().is_success()
                    && let Some(good) = &request.authorization
                {
                    self.lock().insert(access, good.clone());
                }
                return Ok(response);
            }
            self.lock().remove(&access);
            let header = response.headers().get_all(WWW_AUTHENTICATE).iter();
            let header: Vec<_> = header.filter_map(|value| value.to_str().ok()).collect();
            let asked = challenges(&header.join(", "));
            let scope = format!("repository:{}:pull", source.repository);
            request.authorization = Some(token::answer(self, place, &asked, auth, &scope).await?);
        }
        Err(Error::Abandoned)
    }

    /// The failure that a status is.
    async fn status(&self, source: &Source, response: Response, wanted: Wanted<'_>) -> Error {
        let (host, status) = (host_of(response.url()), response.status().as_u16());
        let text = self.first_of(response, 1 << 10).await;
        let said = if text.is_empty() { String::new() } else { format!(": {}", said(&text)) };
        let said = source.auth.iter().fold(said, |said, auth| auth.hide_in(said));
        Error::Status { host, status, what: wanted.path.to_owned(), said }
    }

    /// The beginning of a body, as much of it as comes soon.
    async fn first_of(&self, mut response: Response, most: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < most {
            match timeout(self.patience().idle.min(Duration::from_secs(5)), response.chunk()).await {
                Ok(Ok(Some(chunk))) => bytes.extend_from_slice(&chunk[..chunk.len().min(most - bytes.len())]),
                Ok(Ok(None) | Err(_)) | Err(_) => break,
            }
        }
        bytes
    }

    /// All of a body that has `limit` bytes at most.
    pub(crate) async fn whole(
        &self,
        mut response: Response,
        limit: u64,
        what: &str,
    ) -> Result<Vec<u8>, Error> {
        let url = response.url().clone();
        let mut bytes = Vec::new();
        // Small bodies come at once or are being dripped: the whole of one gets the span in which a blob must prove its speed.
        let reading = async {
            while let Some(chunk) = response.chunk().await.map_err(|error| broken(&url, error))? {
                if (bytes.len() + chunk.len()) as u64 > limit {
                    return Err(Error::TooLong { host: host_of(&url), what: what.to_owned(), limit });
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok(())
        };
        let window = self.patience().window;
        let stalled =
            |_| Error::Stalled { host: host_of(&url), what: "too little", seconds: window.as_secs() };
        timeout(window, reading).await.map_err(stalled)??;
        Ok(bytes)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Access, HeaderValue>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn verified(digest: Digest, bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
    match digest_of(&bytes) {
        got if got == digest => Ok(bytes),
        got => Err(orlop_image::Error::Blob { digest, fault: Fault::Digest { got } }.into()),
    }
}

/// How long a registry asks us to wait, in seconds; a date is not heeded.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.settings.certs_dir.display())
    }
}
