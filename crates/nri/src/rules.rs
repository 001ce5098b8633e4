//! What the node's owner does not let plugins do, and which plugins there have to be.
//!
//! A pod can ask for plugins of its own by an annotation, and for the whole pod or one container to do without:
//! `KEY/container.NAME`, `KEY/pod` or `KEY`, the first that is there.
//!
//! *Invariant:* without a setting nothing is refused. A pod's annotation adds to what the node asks for; it takes away only by the key
//! that the node's owner named for that.

use std::collections::BTreeMap;

use orlop_proto::nri::v1alpha1::security_profile::ProfileType;
use orlop_proto::nri::v1alpha1::{Field, SecurityProfile, ValidateContainerAdjustmentRequest as Validation};

use crate::owners::{entries, simple};

/// The annotation by which a pod asks for plugins: a list, `[ one, two ]`.
pub const REQUIRED: &str = "required-plugins.noderesource.dev";

/// What the node's owner says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own, by the protocol's name")]
pub struct Rules {
    /// No plugin adds OCI hooks.
    pub reject_oci_hooks: bool,
    /// None replaces the runtime's default seccomp profile.
    pub reject_runtime_default_seccomp: bool,
    /// None gives a profile to what is unconfined.
    pub reject_unconfined_seccomp: bool,
    /// None replaces a profile of the node's.
    pub reject_custom_seccomp: bool,
    /// None changes namespaces.
    pub reject_namespaces: bool,
    /// None changes sysctls.
    pub reject_sysctls: bool,
    /// Plugins without which no pod and no container is made.
    pub required: Vec<String>,
    /// The annotation by which a pod or container does without them; none: there is none.
    pub tolerate_missing: Option<String>,
}

/// The annotation that counts for a container.
fn effective<'a>(annotations: &'a BTreeMap<String, String>, key: &str, container: &str) -> Option<&'a str> {
    [format!("{key}/container.{container}"), format!("{key}/pod"), key.to_owned()]
        .iter()
        .find_map(|key| annotations.get(key))
        .map(String::as_str)
}

/// A list of words as YAML has them, in one line or one a line.
fn list(text: &str) -> Option<Vec<String>> {
    let bare = |word: &str| {
        let word = word.trim();
        let quoted = |quote: char| word.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        quoted('"').or_else(|| quoted('\'')).unwrap_or(word).to_owned()
    };
    let text = text.trim();
    if let Some(inner) = text.strip_prefix('[') {
        let words = inner.strip_suffix(']')?.split(',').map(bare);
        return Some(words.filter(|word| !word.is_empty()).collect());
    }
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| line.trim().strip_prefix("- ").map(bare)).collect()
}

impl Rules {
    /// The plugins that a pod, or a container of it, cannot be made without.
    ///
    /// # Errors
    /// The annotation that cannot be read, and its value.
    pub fn required(
        &self,
        annotations: &BTreeMap<String, String>,
        container: &str,
    ) -> Result<Vec<String>, (String, String)> {
        if let Some(key) = &self.tolerate_missing
            && let Some(value) = effective(annotations, key, container)
        {
            match value {
                "true" | "True" | "TRUE" | "t" | "T" | "1" => return Ok(Vec::new()),
                "false" | "False" | "FALSE" | "f" | "F" | "0" => {}
                other => return Err((key.clone(), other.to_owned())),
            }
        }
        let mut all = self.required.clone();
        if let Some(value) = effective(annotations, REQUIRED, container) {
            all.extend(list(value).ok_or_else(|| (REQUIRED.to_owned(), value.to_owned()))?);
        }
        Ok(all)
    }

    /// Whether what plugins want may be.
    ///
    /// # Errors
    /// Which plugin wants what may not be.
    pub fn check(&self, wanted: &Validation) -> Result<(), String> {
        let (Some(container), Some(owners)) = (&wanted.container, &wanted.owners) else { return Ok(()) };
        let id = container.id.as_str();
        if self.reject_oci_hooks
            && let Some(plugins) = simple(owners, id, Field::OciHooks)
        {
            return Err(format!("plugin {plugins} adds OCI hooks, and [nri] reject_oci_hooks is set"));
        }
        if let Some(plugin) = simple(owners, id, Field::SeccompPolicy) {
            let profile = container.linux.as_ref().and_then(|linux| linux.seccomp_profile.as_ref());
            let kind = profile.map_or(ProfileType::Unconfined, SecurityProfile::profile_type);
            let (rejected, key) = match kind {
                ProfileType::Unconfined => (self.reject_unconfined_seccomp, "unconfined"),
                ProfileType::RuntimeDefault => (self.reject_runtime_default_seccomp, "runtime_default"),
                ProfileType::Localhost => (self.reject_custom_seccomp, "custom"),
            };
            if rejected {
                return Err(format!(
                    "plugin {plugin} sets a seccomp policy, and [nri] reject_{key}_seccomp is set"
                ));
            }
        }
        for (rejected, field, what, key) in [
            (self.reject_namespaces, Field::Namespace, "namespace", "namespaces"),
            (self.reject_sysctls, Field::Sysctl, "sysctl", "sysctls"),
        ] {
            if rejected && let Some((entry, plugin)) = entries(owners, id, field).into_iter().next() {
                let plugin = plugin.trim_start_matches('-');
                return Err(format!(
                    "plugin {plugin} changes the {what} {entry}, and [nri] reject_{key} is set"
                ));
            }
        }
        Ok(())
    }
}
