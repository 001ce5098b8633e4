//! What messages with a secret show of themselves.
//!
//! A secret is a password, a token, an environment's value, an address with a token in it. That it is set is shown, what it is
//! never. Messages that contain such a message show it by way of these.
//!
//! *Invariant:* every message named in examples/generate/compile.rs has its `Debug` here; a field marked `debug_redact` is in one
//! of them (a test looks).

use std::fmt;

use crate::nri::v1alpha1 as nri;
use crate::orlop::v1::{ContainerRecord, PullRequest};
use crate::runtime::v1::{AttachResponse, AuthConfig, ExecResponse, KeyValue, PortForwardResponse};

/// Shown in place of a secret.
const REDACTED: &str = "[redacted]";

fn hidden(secret: &str) -> &'static str {
    if secret.is_empty() { "" } else { REDACTED }
}

impl fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("password", &hidden(&self.password))
            .field("auth", &hidden(&self.auth))
            .field("server_address", &self.server_address)
            .field("identity_token", &hidden(&self.identity_token))
            .field("registry_token", &hidden(&self.registry_token))
            .finish()
    }
}

impl fmt::Debug for PullRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullRequest")
            .field("image", &self.image)
            .field("username", &self.username)
            .field("password", &hidden(&self.password))
            .finish()
    }
}

/// Kubernetes resolves secrets into environments: the name is shown, and how long the value is.
impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyValue")
            .field("key", &self.key)
            .field("value", &format_args!("[{} bytes]", self.value.len()))
            .finish()
    }
}

/// Its operations hold the container's environment.
impl fmt::Debug for ContainerRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContainerRecord")
            .field("version", &self.version)
            .field("id", &self.id)
            .field("pod_id", &self.pod_id)
            .field("image_id", &self.image_id)
            .finish_non_exhaustive()
    }
}

/// Its environment may hold secrets.
impl fmt::Debug for nri::Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Container")
            .field("id", &self.id)
            .field("pod_sandbox_id", &self.pod_sandbox_id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for nri::KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyValue")
            .field("key", &self.key)
            .field("value", &format_args!("[{} bytes]", self.value.len()))
            .finish()
    }
}

/// What a plugin's own configuration file says.
impl fmt::Debug for nri::ConfigureRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigureRequest")
            .field("config", &format_args!("[{} bytes]", self.config.len()))
            .field("runtime_name", &self.runtime_name)
            .field("runtime_version", &self.runtime_version)
            .finish_non_exhaustive()
    }
}

/// An address of the streaming server is good for whoever knows it.
macro_rules! address {
    ($($message:ident),*) => {$(
        impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($message)).field("url", &hidden(&self.url)).finish()
            }
        }
    )*};
}

address!(ExecResponse, AttachResponse, PortForwardResponse);
