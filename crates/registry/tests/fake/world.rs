//! A store and a client that reaches fake registries.

use std::sync::Arc;
use std::time::Duration;

use orlop_image::Store;
use orlop_model::reference::Reference;
use orlop_registry::{Auth, Client, Error, Fields, Outcome, Patience, Pulls, Settings};

use super::Fake;
use crate::making::names;

pub struct World {
    pub store: Store,
    pub pulls: Pulls,
    certs: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

/// Patience for tests: pauses are short, deadlines long enough for a loaded machine.
pub fn patience() -> Patience {
    Patience {
        connect: Duration::from_secs(5),
        first_byte: Duration::from_secs(20),
        idle: Duration::from_secs(20),
        window: Duration::from_mins(1),
        attempts: 4,
        pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(50),
    }
}

impl World {
    pub fn new() -> Self {
        World::with(patience())
    }

    pub fn with(patience: Patience) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        store.sweep().unwrap();
        let certs = directory.path().join("certs.d");
        let client = Client::new(Settings { certs_dir: certs.clone(), patience });
        World { pulls: Pulls::new(store.clone(), client, 6), store, certs, _directory: directory }
    }

    /// The file that says how `host` is reached.
    pub fn hosts(&self, host: &str, text: &str) {
        let directory = self.certs.join(host);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("hosts.toml"), text).unwrap();
    }

    /// A file beside the one that says how `host` is reached.
    pub fn file(&self, host: &str, name: &str, text: &str) -> std::path::PathBuf {
        let directory = self.certs.join(host);
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Reaches `fake` without TLS, under its own address.
    pub fn plain(&self, fake: &Fake) {
        let host = fake.host();
        self.hosts(&host, &format!("server = \"http://{host}\"\n"));
    }

    /// Pulls `127.0.0.1:PORT/a/b:1`.
    pub async fn pull(&self, fake: &Fake) -> Outcome {
        self.pull_as(fake, "a/b:1", None).await
    }

    pub async fn pull_as(&self, fake: &Fake, name: &str, auth: Option<Auth>) -> Outcome {
        self.plain(fake);
        self.pull_name(&format!("{}/{name}", fake.host()), auth).await
    }

    pub async fn pull_name(&self, name: &str, auth: Option<Auth>) -> Outcome {
        let reference: Reference = name.parse().unwrap();
        self.pulls.pull(&reference, auth).outcome().await
    }

    /// Nothing is there, and nothing is being made.
    #[track_caller]
    pub fn is_empty(&self, what: &str) {
        assert!(self.store.images().is_empty(), "{what}: an image is there");
        for directory in ["ingest", "layers", "blobs/sha256", "fix-ups"] {
            assert!(
                names(&self.store, directory).is_empty(),
                "{what}: {directory} has {:?}",
                names(&self.store, directory)
            );
        }
        assert!(self.pulls.running().is_empty(), "{what}: it is still running");
    }
}

/// Name and password, as a pull takes them.
pub fn password(user: &str, password: &str) -> Option<Auth> {
    let fields = Fields { username: user, password, ..Fields::default() };
    Auth::from_fields(&fields, "any").unwrap()
}

/// The report of a failed pull as it would be answered.
#[track_caller]
pub fn told(outcome: Outcome) -> (orlop_model::report::Kind, String) {
    let error: Arc<Error> = outcome.expect_err("the pull should have failed");
    let report = error.report("NAME");
    (report.kind, report.to_string())
}
