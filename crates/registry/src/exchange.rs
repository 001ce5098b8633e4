//! One request, to its answer's headers: through redirects, within deadlines.
//!
//! *Invariant:* `Authorization`, the host's own headers and our own certificate go to the host of the first URL and to no other. No
//! redirect leads from https to http, to another scheme, to a link-local address, or from elsewhere to this machine itself.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode, Url};
use tokio::time::timeout;

use crate::connect::Connections;
use crate::error::{Error, said};
use crate::hosts::{Tls, host_of};

/// The most redirects of one request.
const MOST_REDIRECTS: usize = 10;

/// How long a registry is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For the answer's headers.
    pub first_byte: Duration,
    /// For the next bytes of a body.
    pub idle: Duration,
    /// In which span a body has to bring [`Patience::LEAST`] bytes for each second.
    pub window: Duration,
    /// How often a request is made before it is given up.
    pub attempts: u32,
    /// The pause before the second attempt; doubled for each further one.
    pub pause: Duration,
    /// The longest pause, whatever the registry asks for.
    pub longest_pause: Duration,
}

impl Patience {
    /// How many bytes a second are too few, over a whole [`Patience::window`].
    pub const LEAST: u64 = 1 << 10;
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(30),
            idle: Duration::from_secs(30),
            window: Duration::from_mins(1),
            attempts: 4,
            pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(30),
        }
    }
}

/// What is asked, of whom.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) tls: &'a Tls,
    /// For the first host alone.
    pub(crate) headers: HeaderMap,
    /// For the first host alone.
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) accept: Option<&'static str>,
    /// From which byte on.
    pub(crate) from: u64,
    pub(crate) form: Option<String>,
}

impl<'a> Request<'a> {
    pub(crate) fn get(url: Url, tls: &'a Tls) -> Self {
        let headers = HeaderMap::new();
        Request {
            method: Method::GET,
            url,
            tls,
            headers,
            authorization: None,
            accept: None,
            from: 0,
            form: None,
        }
    }
}

/// Makes the request and follows where it leads.
pub(crate) async fn send(
    connections: &Connections,
    patience: &Patience,
    request: &Request<'_>,
) -> Result<Response, Error> {
    let mut url = request.url.clone();
    let elsewhere = Tls { client: Vec::new(), ..request.tls.clone() };
    for _ in 0..=MOST_REDIRECTS {
        let home = same_origin(&url, &request.url);
        let tls = if home { request.tls } else { &elsewhere };
        let pool = connections.pool(tls, is_loopback(&url), patience.connect)?;
        let mut headers = if home { request.headers.clone() } else { HeaderMap::new() };
        if let (Some(authorization), true) = (&request.authorization, home) {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        if let Some(accept) = request.accept {
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
        }
        if request.from > 0 {
            let range = HeaderValue::try_from(format!("bytes={}-", request.from));
            headers.extend(range.ok().map(|range| (RANGE, range)));
        }
        let mut builder = pool.request(request.method.clone(), url.clone()).headers(headers);
        if let Some(form) = &request.form {
            builder = builder.header("content-type", "application/x-www-form-urlencoded").body(form.clone());
        }
        let wait = patience.first_byte + patience.connect;
        let Ok(response) = timeout(wait, builder.send()).await else {
            return Err(Error::Stalled { host: host_of(&url), what: "no answer", seconds: wait.as_secs() });
        };
        let response = response.map_err(|error| broken(&url, error))?;
        match redirect(&url, &response)? {
            // A form may hold a token: it is not carried on.
            Some(_) if request.form.is_some() => {
                return Err(protocol(&url, "redirects a request for a token"));
            }
            Some(next) => url = next,
            None => return Ok(response),
        }
    }
    Err(protocol(&request.url, "redirects more than 10 times"))
}

fn redirect(from: &Url, response: &Response) -> Result<Option<Url>, Error> {
    let redirects = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    if !redirects {
        return Ok(None);
    }
    let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    let next = location.and_then(|location| from.join(location).ok());
    let next = next.ok_or_else(|| protocol(from, "redirects to nowhere"))?;
    may_go(from, &next).map_err(|why| protocol(from, why))?;
    Ok(Some(next))
}

/// Whether a registry at `from` may send us to `next`.
fn may_go(from: &Url, next: &Url) -> Result<(), &'static str> {
    match (from.scheme(), next.scheme()) {
        ("https", "http") => return Err("redirects from https to http"),
        (_, "http" | "https") => {}
        _ => return Err("redirects to what is neither http nor https"),
    }
    if !next.username().is_empty() || next.password().is_some() {
        return Err("redirects to an address with a password in it");
    }
    let link_local = match address(next) {
        Some(IpAddr::V4(address)) => address.is_link_local(),
        Some(IpAddr::V6(address)) => {
            address.is_unicast_link_local()
                || address.to_ipv4_mapped().is_some_and(|address| address.is_link_local())
        }
        None => false,
    };
    if link_local {
        return Err("redirects to a link-local address");
    }
    if is_loopback(next) && !is_loopback(from) {
        return Err("redirects to this machine itself");
    }
    Ok(())
}

fn address(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Whether it leads to this machine: such requests take no proxy.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let mapped = |address: IpAddr| match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    };
    url.host_str() == Some("localhost")
        || address(url).map(mapped).is_some_and(|address| address.is_loopback() || address.is_unspecified())
}

/// Scheme, host and port alike.
pub(crate) fn same_origin(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

/// A connection that could not be made, or broke.
pub(crate) fn broken(url: &Url, error: reqwest::Error) -> Error {
    // The URL may be signed; and the chain of causes has what matters.
    let error = error.without_url();
    let mut why = String::new();
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !why.ends_with(&text) {
            why = if why.is_empty() { text } else { format!("{why}: {text}") };
        }
        cause = error.source();
    }
    Error::Connection { host: host_of(url), why: said(why.as_bytes()) }
}

pub(crate) fn protocol(url: &Url, why: impl Into<String>) -> Error {
    Error::Protocol { host: host_of(url), why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_redirect_may_lead() {
        for (from, next, may) in [
            ("https://a/", "https://b/x", true),
            ("http://a/", "https://b/x", true),
            ("http://a/", "http://b/x", true),
            ("http://127.0.0.1:1/", "http://127.0.0.1:2/", true),
            ("https://a/", "http://a/", false),
            ("http://a/", "file:///etc/passwd", false),
            ("http://a/", "ftp://b/", false),
            ("http://a/", "http://169.254.169.254/latest", false),
            ("http://a/", "http://[fe80::1]/", false),
            ("http://a/", "http://[::ffff:169.254.1.1]/", false),
            ("http://a/", "http://0xa9fea9fe/", false),
            ("http://a/", "http://127.0.0.1/", false),
            ("http://a/", "http://[::1]/", false),
            ("http://a/", "http://[::ffff:127.0.0.1]/", false),
            ("http://a/", "http://localhost/", false),
            ("http://a/", "http://u:p@b/", false),
        ] {
            let (from, to) = (Url::parse(from).unwrap(), Url::parse(next).unwrap());
            assert_eq!(may_go(&from, &to).is_ok(), may, "{from} to {next}");
        }
    }
}
