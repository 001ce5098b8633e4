//! Credentials, and where they may go.
//!
//! *Invariant:* a secret has no `Display`, and its `Debug` shows nothing. It leaves this program only towards the registry that it is
//! for, or to the place over https that this registry names for getting tokens.

use std::fmt;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use orlop_model::reference::DEFAULT_REGISTRY;

use crate::error::Error;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Takes it in.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// Lets it out, to be sent.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// What proves to a registry who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Auth {
    /// Name and password.
    Password {
        /// The name.
        user: Secret,
        /// The password.
        password: Secret,
    },
    /// A refresh token, to be exchanged for access tokens (OAuth 2).
    Identity(Secret),
    /// An access token, sent as it is.
    Bearer(Secret),
}

/// The fields in which CRI's `AuthConfig` carries credentials; empty ones are absent.
#[derive(Default)]
pub struct Fields<'a> {
    /// `username`.
    pub username: &'a str,
    /// `password`.
    pub password: &'a str,
    /// `auth`: base64 of `name:password`, as in docker's config.json.
    pub auth: &'a str,
    /// `server_address`: which registry they are for.
    pub server_address: &'a str,
    /// `identity_token`.
    pub identity_token: &'a str,
    /// `registry_token`.
    pub registry_token: &'a str,
}

impl Auth {
    /// Reads CRI's fields for a pull from `registry`; none if they hold no credentials, or those of another registry.
    ///
    /// # Errors
    /// `auth` is no base64 of a name and a password.
    pub fn from_fields(fields: &Fields<'_>, registry: &str) -> Result<Option<Self>, Error> {
        if !fields.server_address.is_empty() && !same_registry(fields.server_address, registry) {
            return Ok(None);
        }
        let password = |user: &str, password: &str| Auth::Password {
            user: Secret::new(user),
            password: Secret::new(password),
        };
        if !fields.identity_token.is_empty() {
            return Ok(Some(Auth::Identity(Secret::new(fields.identity_token))));
        }
        if !fields.registry_token.is_empty() {
            return Ok(Some(Auth::Bearer(Secret::new(fields.registry_token))));
        }
        if !fields.username.is_empty() {
            return Ok(Some(password(fields.username, fields.password)));
        }
        if fields.auth.is_empty() {
            return Ok(None);
        }
        let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let text = GeneralPurpose::new(&base64::alphabet::STANDARD, lenient).decode(fields.auth.trim());
        let text = text.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let text = text.ok_or(Error::Credentials("auth is no base64 of a text"))?;
        // Docker pads the password with NULs.
        let (user, secret) = text
            .trim_end_matches('\0')
            .split_once(':')
            .ok_or(Error::Credentials("auth has no colon between name and password"))?;
        Ok(Some(password(user, secret)))
    }

    /// `text` without anything of these credentials: a registry may say what it was sent, and we would repeat it.
    pub(crate) fn hide_in(&self, text: String) -> String {
        let secrets = match self {
            Auth::Password { password, .. } => vec![Some(password.reveal().to_owned()), self.basic()],
            Auth::Identity(token) | Auth::Bearer(token) => vec![Some(token.reveal().to_owned())],
        };
        let secrets = secrets.into_iter().flatten().filter(|secret| !secret.is_empty());
        secrets.fold(text, |text, secret| text.replace(&secret, "(secret)"))
    }

    /// The value of `Authorization` for a registry that wants name and password.
    pub(crate) fn basic(&self) -> Option<String> {
        match self {
            Auth::Password { user, password } => {
                let text = format!("{}:{}", user.reveal(), password.reveal());
                Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text)))
            }
            Auth::Identity(_) | Auth::Bearer(_) => None,
        }
    }
}

/// Whether an address of credentials (`https://index.docker.io/v1/`, `host:5000`) is that of `registry`.
fn same_registry(address: &str, registry: &str) -> bool {
    let host =
        address.split_once("://").map_or(address, |(_, rest)| rest).split('/').next().unwrap_or_default();
    let docker = |host: &str| matches!(host, DEFAULT_REGISTRY | "index.docker.io" | "registry-1.docker.io");
    let plain = |host: &str| host.trim_end_matches(":443").to_ascii_lowercase();
    plain(host) == plain(registry) || (docker(host) && docker(registry))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(user: &str, password: &str) -> Auth {
        Auth::Password { user: Secret::new(user), password: Secret::new(password) }
    }

    #[test]
    fn the_fields_of_cri_become_credentials() {
        let read = |fields: Fields<'_>| Auth::from_fields(&fields, "host:5000").unwrap();
        assert_eq!(read(Fields::default()), None);
        assert_eq!(
            read(Fields { username: "u", password: "p", ..Fields::default() }),
            Some(password("u", "p"))
        );
        for auth in ["dTpwOng=", "dTpwOng", " dTpwOng=\n", "dTpwOngAAA=="] {
            assert_eq!(read(Fields { auth, ..Fields::default() }), Some(password("u", "p:x")), "{auth}");
        }
        assert_eq!(
            read(Fields { identity_token: "t", username: "u", ..Fields::default() }),
            Some(Auth::Identity(Secret::new("t")))
        );
        assert_eq!(
            read(Fields { registry_token: "t", ..Fields::default() }),
            Some(Auth::Bearer(Secret::new("t")))
        );
        for auth in ["****", "dQ=="] {
            assert!(Auth::from_fields(&Fields { auth, ..Fields::default() }, "host").is_err(), "{auth}");
        }
    }

    #[test]
    fn credentials_of_another_registry_are_none() {
        let read = |server_address: &str, registry: &str| {
            let fields = Fields { username: "u", server_address, ..Fields::default() };
            Auth::from_fields(&fields, registry).unwrap().is_some()
        };
        assert!(read("https://index.docker.io/v1/", "docker.io"));
        assert!(
            read("host:5000", "host:5000")
                && read("http://Host:5000/v2/", "host:5000")
                && read("host:443", "host")
        );
        assert!(
            !read("host:5001", "host:5000") && !read("other", "host") && !read("host.evil.example", "host")
        );
    }

    #[test]
    fn nothing_secret_is_shown() {
        let shown =
            format!("{:?} {:?}", password("canary-u", "canary-p"), Auth::Bearer(Secret::new("canary-t")));
        assert!(!shown.contains("canary"), "{shown}");
    }
}
