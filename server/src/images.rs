//! Images, as the core asks for them.
//!
//! *Invariant:* the store's own work is done on a thread that may block.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use orlop_image::{Image, ImageConfig, Lease, Removed, Store};
use orlop_model::reference::{Digest, NotAName, Reference};
use orlop_model::report::{Kind, Report};
use orlop_registry::{Auth, Client, Patience, Pulls, Settings};

use crate::blocking::blocking;
use crate::config::Config;

/// The store, and the way into it.
#[derive(Clone)]
pub(crate) struct Images {
    pub(crate) store: Store,
    pub(crate) pulls: Pulls,
    pub(crate) pins: Pins,
}

/// The names of images that are not to be collected. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pins(Arc<HashSet<String>>);

impl Pins {
    /// As configured.
    pub(crate) fn new(names: &[Reference]) -> Self {
        let name = |name: &Reference| match name.digest() {
            Some(digest) => Some(name.by_digest(digest)),
            None => name.by_tag(),
        };
        Pins(Arc::new(names.iter().filter_map(name).collect()))
    }

    /// Whether one of an image's names is among them.
    pub(crate) fn has(&self, image: &Image) -> bool {
        image.tags.iter().chain(&image.digests).any(|name| self.0.contains(name))
    }
}

impl Images {
    /// The image that a name or id leads to.
    ///
    /// # Errors
    /// `NotFound`; a name that is none.
    pub(crate) fn find(&self, field: &str, name: &str) -> Result<Arc<Image>, Report> {
        self.resolve(field, name)?.ok_or_else(|| {
            let shown: String = name.chars().take(128).flat_map(char::escape_debug).collect();
            Report::new(
                Kind::NotFound,
                field.to_owned(),
                format!("\"{shown}\""),
                "this image is not on the node",
            )
            .advise("pull it first")
        })
    }

    /// The same; `None` if there is none.
    ///
    /// # Errors
    /// A name that is none.
    pub(crate) fn resolve(&self, field: &str, name: &str) -> Result<Option<Arc<Image>>, Report> {
        is_name(field, name)?;
        self.store.resolve(name).map_err(|error| of_field(field, error.into()))
    }

    /// Keeps an image's layers as long as the lease lives; `None` if the image is not known.
    pub(crate) fn hold(&self, id: &str) -> Option<Lease> {
        self.store.hold(id.parse().ok()?).ok()
    }

    /// The image's configuration.
    pub(crate) fn config(&self, image: &Image) -> Result<Arc<ImageConfig>, Report> {
        self.store.config(image.id).map_err(Report::from)
    }

    /// Opens the store, and the way to registries.
    ///
    /// # Errors
    /// If the store cannot be opened.
    pub(crate) fn open(root: &Path, config: &Config) -> Result<Self, Report> {
        let store = Store::open(root).map_err(Report::from)?;
        for lost in store.lost() {
            tracing::warn!("{lost}");
        }
        let client = Client::new(Settings {
            certs_dir: config.registry.certs_dir.clone(),
            patience: Patience::default(),
        });
        let pulls = Pulls::new(store.clone(), client, Pulls::usual_budget());
        Ok(Images { store, pulls, pins: Pins::new(&config.registry.pinned) })
    }

    /// Pulls, or joins the pull of the same.
    ///
    /// # Errors
    /// As the registry or the disk says.
    pub(crate) async fn pull(&self, reference: &Reference, auth: Option<Auth>) -> Result<Arc<Image>, Report> {
        crate::failpoint::pass("pull.begun");
        let outcome = self.pulls.pull(reference, auth).outcome().await;
        crate::failpoint::pass("pull.done");
        outcome.map(|pulled| pulled.image).map_err(|error| error.report(&reference.to_string()))
    }

    /// Removes what nothing needs any more. At start, once everything that is used is held again, with `first`.
    pub(crate) async fn tidy(&self, first: bool) {
        let store = self.store.clone();
        let tidied = blocking("tidy images", move || if first { store.sweep() } else { store.tidy() }).await;
        if let Err(report) = tidied.and_then(|tidied| tidied.map_err(Report::from)) {
            tracing::warn!("images not tidied, tried again later: {report}");
        }
    }

    /// Removes an image with all its names. Idempotent.
    ///
    /// # Errors
    /// A name that is none; the disk's own.
    pub(crate) async fn remove(&self, field: &str, name: &str) -> Result<Removed, Report> {
        is_name(field, name)?;
        let (store, name) = (self.store.clone(), name.to_owned());
        blocking("remove image", move || {
            let removed = store.remove(&name)?;
            store.tidy()?;
            Ok(removed)
        })
        .await?
        .map_err(|error: orlop_image::Error| of_field(field, error.into()))
    }
}

/// Whether an image could have this name, or this id or beginning of one: what no image can have is not merely absent.
fn is_name(field: &str, name: &str) -> Result<(), Report> {
    match name.parse::<Reference>() {
        Ok(_) | Err(NotAName::Id) => Ok(()),
        Err(_) if name.parse::<Digest>().is_ok() => Ok(()),
        Err(error) => Err(Report::field(field, name, error)),
    }
}

/// The report, with the field where it is the request's fault.
fn of_field(field: &str, mut report: Report) -> Report {
    if report.kind == Kind::BadRequest {
        field.clone_into(&mut report.stage);
    }
    report
}
