//! Every key that a file may have, and what it sets.
//!
//! *Invariant:* a key stands here once. What is not here is not known.

use toml::de::DeValue;

use super::Config;
use super::value::{self, Wrong};

/// A key.
pub(super) struct Key {
    /// `section.name`.
    pub(super) name: &'static str,
    /// What its value may be, for people.
    pub(super) allowed: &'static str,
    /// Takes a value into the configuration, or says what is wrong with it.
    pub(super) set: fn(&mut Config, &DeValue<'_>) -> Result<(), Wrong>,
}

macro_rules! keys {
    ($($section:ident . $name:ident = $parse:ident, $allowed:literal;)*) => {
        /// All of them.
        pub(super) const KEYS: &[Key] = &[$(Key {
            name: concat!(stringify!($section), ".", stringify!($name)),
            allowed: $allowed,
            set: |config, value| {
                config.$section.$name = value::$parse(value)?;
                Ok(())
            },
        }),*];
    };
}

keys! {
    registry.certs_dir = path, "an absolute path without ..";
    registry.pinned = images, "a list of names of images, \"registry.k8s.io/pause:3.10\"";
    network.mode = network_mode, "\"bridge\", \"cni\"";
    network.bridge = interface, "1 to 15 bytes without space, / or :";
    network.subnet = subnet, "an IPv4 network, \"10.88.0.0/16\", with a prefix of 8 to 29 bits";
    network.subnet6 = subnet6, "an IPv6 network, \"fd00:88::/64\", with a prefix of 16 to 120 bits, or \"\"";
    network.cni_conf_dir = path, "an absolute path without ..";
    network.cni_bin_dirs = paths, "a list of absolute paths without .., one at least";
    network.cni_timeout = seconds, "whole seconds, 1 to 3600";
    streaming.address = socket, "ADDRESS:PORT, \"127.0.0.1:0\"; [ADDRESS]:PORT for IPv6";
    streaming.tls_cert = optional_path, "an absolute path without .., or \"\" for plain http";
    streaming.tls_key = optional_path, "an absolute path without .., or \"\" for plain http";
    metrics.address = listen, "ADDRESS:PORT, [ADDRESS]:PORT, unix:PATH, or \"\"";
    cgroup.parent = cgroup, "a cgroup's path below the root, \"orlop\" or \"node/orlop\"";
    cgroup.driver = cgroup_driver, "\"auto\", \"cgroupfs\", \"systemd\"";
    storage.driver = storage_driver, "\"overlay\"";
    log.level = level, "\"error\", \"warn\", \"info\", \"debug\", \"trace\"";
    log.container_cap = size, "bytes, or a number with KiB, MiB, GiB: \"512MiB\"; 0 for no cap";
    seccomp.default_profile = optional_path, "an absolute path without .., or \"\" for the built-in profile";
    checkpoint.criu = program, "a program's name, looked for in PATH, or an absolute path without ..";
    checkpoint.timeout = seconds, "whole seconds, 1 to 3600";
    shim.path = optional_path, "an absolute path without .., or \"\" for orlop-shim beside the daemon";
    cdi.directories = some_paths, "a list of absolute paths without .., or [] for none";
    hooks.directories = some_paths, "a list of absolute paths without .., or [] for none";
    hooks.timeout = seconds, "whole seconds, 1 to 3600";
    cli.cgroup_parent = cgroup, "a cgroup's path below the root, \"orlop\" or \"node/orlop\"";
    cli.userns_remap = remap, "USER or USER:GROUP as in /etc/subuid, or \"\"";
    nri.enabled = flag, "true, false";
    nri.external = flag, "true, false";
    nri.socket = optional_path, "an absolute path without .., or \"\" for the usual place";
    nri.plugin_path = path, "an absolute path without ..";
    nri.plugin_config_path = path, "an absolute path without ..";
    nri.registration_timeout = seconds, "whole seconds, 1 to 3600";
    nri.request_timeout = seconds, "whole seconds, 1 to 3600";
    nri.required_plugins = words, "a list of plugins' names, with or without their indices";
    nri.tolerate_missing_annotation = optional_word, "an annotation's key, or \"\"";
    nri.reject_oci_hooks = flag, "true, false";
    nri.reject_runtime_default_seccomp = flag, "true, false";
    nri.reject_unconfined_seccomp = flag, "true, false";
    nri.reject_custom_seccomp = flag, "true, false";
    nri.reject_namespaces = flag, "true, false";
    nri.reject_sysctls = flag, "true, false";
}

/// The names of a section's keys; none, if there is no such section.
pub(super) fn of_section(section: &str) -> Vec<&'static str> {
    let split = |key: &Key| key.name.split_once('.').expect("invariant: a key's name has a dot");
    KEYS.iter().map(split).filter(|(of, _)| *of == section).map(|(_, name)| name).collect()
}

/// The names of all sections, each once.
pub(super) fn sections() -> Vec<&'static str> {
    let mut sections: Vec<_> = KEYS.iter().filter_map(|key| key.name.split('.').next()).collect();
    sections.dedup();
    sections
}
