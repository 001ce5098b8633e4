//! The command line.
//!
//! *Invariant:* nothing is opened or made here.

use std::path::{Path, PathBuf};

use super::value::SOCKET_PATH_MAX;
use super::{Config, Fault, Level, read};

/// Read unless `--config` names another, and only if it is there.
const FILE: &str = "/etc/orlop/config.toml";

/// Where records of running things are.
const STATE: &str = "/run/orlop";

/// Serves Kubernetes' container runtime interface (CRI v1) on a Unix socket.
///
/// Several daemons can run side by side, each with its own --root, --state and --socket.
#[derive(Debug, Clone, PartialEq, Eq, clap::Parser)]
#[command(name = "orlopd", version, about)]
pub(crate) struct Flags {
    /// Configuration file; drop-ins are in the directory of that name with .d in place of .toml.
    /// Without it: /etc/orlop/config.toml, if that is there.
    #[arg(long, value_name = "FILE", value_parser = absolute)]
    pub(crate) config: Option<PathBuf>,
    /// Directory of what outlives a boot: images, containers' layers.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/orlop", value_parser = absolute)]
    pub(crate) root: PathBuf,
    /// Directory of what does not: records of running things, sockets. A tmpfs.
    #[arg(long, value_name = "DIR", default_value = STATE, value_parser = absolute)]
    pub(crate) state: PathBuf,
    /// Socket that is served; without it: orlop.sock in --state.
    #[arg(long, value_name = "PATH", value_parser = absolute)]
    pub(crate) socket: Option<PathBuf>,
    /// The least important line that is logged; overrides `[log] level`.
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<Level>,
    /// Read the configuration, say whether it is understood, and end.
    #[arg(long)]
    pub(crate) check_config: bool,
}

/// The path from the root, wherever the daemon is started; it need not be there.
fn absolute(text: &str) -> Result<PathBuf, String> {
    std::path::absolute(text).map_err(|error| error.to_string())
}

impl Flags {
    /// What the files say, and the flags over them.
    ///
    /// # Errors
    /// The first [`Fault`].
    pub(crate) fn configuration(&self) -> Result<Config, Fault> {
        let file = self.config.as_deref().unwrap_or(Path::new(FILE));
        let mut config = read(file, self.config.is_some())?;
        if let Some(level) = self.log_level {
            config.log.level = level;
        }
        Ok(config)
    }

    /// What is to be known of plugins: the files, and where the socket is if they do not say.
    pub(crate) fn nri(&self, config: &Config) -> crate::nri::Settings {
        let nri = config.nri.clone();
        // A daemon with a state of its own is not the node's only one: it takes nothing away from another.
        let usual = || {
            if self.state == Path::new(STATE) {
                crate::nri::SOCKET.into()
            } else {
                self.state.join("nri.sock")
            }
        };
        crate::nri::Settings {
            enabled: nri.enabled,
            external: nri.external,
            socket: nri.socket.unwrap_or_else(usual),
            plugin_path: nri.plugin_path,
            plugin_config_path: nri.plugin_config_path,
            registration_timeout: nri.registration_timeout,
            request_timeout: nri.request_timeout,
            rules: orlop_nri::rules::Rules {
                reject_oci_hooks: nri.reject_oci_hooks,
                reject_runtime_default_seccomp: nri.reject_runtime_default_seccomp,
                reject_unconfined_seccomp: nri.reject_unconfined_seccomp,
                reject_custom_seccomp: nri.reject_custom_seccomp,
                reject_namespaces: nri.reject_namespaces,
                reject_sysctls: nri.reject_sysctls,
                required: nri.required_plugins,
                tolerate_missing: nri.tolerate_missing_annotation,
            },
        }
    }

    /// The socket that is served.
    ///
    /// # Errors
    /// What is wrong with its path: the kernel takes only so many bytes.
    pub(crate) fn socket(&self) -> Result<PathBuf, String> {
        let socket = self.socket.clone().unwrap_or_else(|| self.state.join("orlop.sock"));
        let bytes = socket.as_os_str().len();
        if bytes > SOCKET_PATH_MAX {
            return Err(format!(
                "--socket {}: a socket's path has up to {SOCKET_PATH_MAX} bytes, this one {bytes}",
                socket.display()
            ));
        }
        Ok(socket)
    }
}
