//! Hook directories: which programs of others are run at points of which containers' lives.
//!
//! *Invariant:* what is told of a broken file is its path and its line; the others count as if it were not there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use orlop_spec::hooks::Registry;

use crate::config;
use crate::watched::{Found, Watched};

/// The hooks of the node's hook directories.
pub(crate) struct Hooks {
    directories: Vec<PathBuf>,
    files: Arc<Watched<Registry>>,
    /// How long a hook may take that does not say.
    pub(crate) patience: Duration,
}

fn registry(found: Vec<Found>) -> Registry {
    Registry::new(found.into_iter().map(|found| (found.path, found.bytes)).collect())
}

fn tell(registry: &Registry) {
    let files = registry.files().count();
    if files != 0 {
        tracing::info!(files, "hooks");
    }
    for fault in registry.faults() {
        tracing::warn!("hooks: {fault}");
    }
}

impl Hooks {
    /// As configured.
    pub(crate) fn new(config: &config::Hooks) -> Self {
        let directories = config.directories.clone();
        let files = Watched::new(directories.clone(), Registry::takes, registry);
        Hooks { directories, files, patience: config.timeout }
    }

    /// Watches them from now on.
    pub(crate) fn begin(&self) {
        self.files.begin(tell);
    }

    /// As they were seen last. Never waits.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.files.last()
    }

    /// What is known of them, for people.
    pub(crate) fn facts(&self) -> serde_json::Value {
        let registry = self.files.last();
        serde_json::json!({
            "directories": self.directories,
            "timeoutSeconds": self.patience.as_secs(),
            "files": registry.files().collect::<Vec<_>>(),
            "faults": registry.faults(),
        })
    }
}
