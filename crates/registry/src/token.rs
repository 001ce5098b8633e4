//! Answers to a registry's challenge: name and password, or a token fetched from where it says.
//!
//! Specification: <https://distribution.github.io/distribution/spec/auth/token/>.
//!
//! *Invariant:* credentials go to a realm over https, or to one on the very host that is configured to be spoken to without TLS. Nothing
//! at all is fetched from a realm without TLS anywhere else.

use orlop_image::manifest::LARGEST_MANIFEST;
use reqwest::header::HeaderValue;
use reqwest::{Method, Url};
use serde::Deserialize;

use crate::auth::{Auth, Secret};
use crate::challenge::Challenge;
use crate::client::Client;
use crate::error::Error;
use crate::exchange::{Request, protocol, same_origin, send};
use crate::hosts::{Endpoint, Tls};

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

/// What to send as `Authorization` to a place that asked `asked`.
pub(crate) async fn answer(
    client: &Client,
    place: &Endpoint,
    asked: &[Challenge],
    auth: Option<&Auth>,
    scope: &str,
) -> Result<HeaderValue, Error> {
    let denied = |why: &str| Error::Denied { host: place.host(), why: why.to_owned() };
    for challenge in asked {
        match challenge {
            Challenge::Bearer { realm, service, scope: wanted } => {
                if let Some(Auth::Bearer(_)) = auth {
                    return Err(denied("does not accept the token that was given"));
                }
                let scope = wanted.as_deref().unwrap_or(scope);
                return fetch(client, place, realm, service.as_deref(), scope, auth).await;
            }
            Challenge::Basic => {
                if let Some(basic) = auth.and_then(Auth::basic) {
                    return header(basic);
                }
            }
        }
    }
    Err(match (asked.is_empty(), auth) {
        (true, _) => denied("wants credentials, but says not which"),
        (false, None) => denied("wants a name and a password, and none are given for it"),
        (false, Some(_)) => denied("wants a name and a password, and what is given is a token"),
    })
}

async fn fetch(
    client: &Client,
    place: &Endpoint,
    realm: &str,
    service: Option<&str>,
    scope: &str,
    auth: Option<&Auth>,
) -> Result<HeaderValue, Error> {
    let url =
        Url::parse(realm).map_err(|_| protocol(&place.base, "names a place for tokens that is none"))?;
    let home = same_origin(&url, &place.base);
    if !(url.scheme() == "https" || home && url.scheme() == "http") || !url.username().is_empty() {
        return Err(protocol(&place.base, "names a place for tokens that is not safe to ask"));
    }
    // Elsewhere neither our certificate nor the leave to take any of theirs holds.
    let elsewhere = Tls { authorities: place.tls.authorities.clone(), ..Tls::default() };
    let mut request = Request::get(url, if home { &place.tls } else { &elsewhere });
    let mut pairs = vec![("scope", scope)];
    pairs.extend(service.map(|service| ("service", service)));
    match auth {
        Some(Auth::Identity(token)) => {
            pairs.extend([
                ("grant_type", "refresh_token"),
                ("client_id", "orlop"),
                ("refresh_token", token.reveal()),
            ]);
            request.method = Method::POST;
            let mut form = Url::parse("form:").map_err(|error| protocol(&place.base, error.to_string()))?;
            form.query_pairs_mut().extend_pairs(pairs);
            request.form = form.query().map(ToOwned::to_owned);
        }
        other => {
            request.url.query_pairs_mut().extend_pairs(pairs);
            request.authorization = other.and_then(Auth::basic).map(header).transpose()?;
        }
    }
    let response = send(&client.connections, client.patience(), &request).await?;
    let status = response.status();
    if status.is_client_error() && status.as_u16() != 429 {
        let why = format!("its place for tokens refuses the credentials ({})", status.as_u16());
        return Err(Error::Denied { host: place.host(), why });
    }
    if !status.is_success() {
        let host = crate::hosts::host_of(response.url());
        return Err(Error::Status {
            host,
            status: status.as_u16(),
            what: "a token".into(),
            said: String::new(),
        });
    }
    let bytes = client.whole(response, LARGEST_MANIFEST, "a token").await?;
    let answer: Option<Answer> = serde_json::from_slice(&bytes).ok();
    let token =
        answer.and_then(|answer| answer.token.or(answer.access_token)).filter(|token| !token.is_empty());
    let token = Secret::new(token.ok_or_else(|| protocol(&request.url, "answers without a token"))?);
    header(format!("Bearer {}", token.reveal()))
}

/// A header that no log shows.
pub(crate) fn header(text: String) -> Result<HeaderValue, Error> {
    let mut value =
        HeaderValue::try_from(text).map_err(|_| Error::Credentials("they cannot be sent in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}
