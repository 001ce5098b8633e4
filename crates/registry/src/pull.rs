//! One pull: from a name to an image in the store.
//!
//! ```text
//!   name -> manifest (-> through an index to the one for this node) -> config -> all layers at once -> image
//!                                                            each: known? shared : | blob -> pipe -> unpack |
//! ```
//!
//! *Invariant:* the image appears when everything it needs is verified and on disk, or not at all. When a pull has failed nothing of it is
//! being written any more.

use std::collections::HashSet;
use std::sync::Arc;

use orlop_image::config::LARGEST_CONFIG;
use orlop_image::manifest::{Candidate, Document, Manifest, Platform, choose};
use orlop_image::{
    Compression, Descriptor, Fault, Image, ImageConfig, LayerBlob, LayerHold, NewImage, Store,
};
use orlop_model::reference::{Digest, Reference};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, spawn_blocking};

use crate::blob::Body;
use crate::client::{Client, Source};
use crate::error::Error;
use crate::flights::{Boarding, Flights};
use crate::pipe::pipe;
use crate::progress::{LayerProgress, Progress, Stage};

/// How deep an index may name another.
const DEEPEST_INDEX: usize = 3;

/// What a pull works with; shared by all.
pub(crate) struct Means {
    pub(crate) store: Store,
    pub(crate) client: Client,
    pub(crate) flights: Flights,
    /// How many layers are fetched at once, of all pulls together.
    pub(crate) budget: Semaphore,
    pub(crate) node: Platform,
}

/// What a pull has brought.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The image, under its new name.
    pub image: Arc<Image>,
    /// What the name led to: a manifest, or an index.
    pub digest: Digest,
}

/// All documents of an image.
struct Documents {
    /// What the name led to.
    digest: Digest,
    /// From the name's own to the manifest.
    path: Vec<(Digest, Vec<u8>)>,
    manifest: Manifest,
    config: Vec<u8>,
    layers: Vec<LayerBlob>,
}

/// Pulls `reference` into the store.
pub(crate) async fn pull(
    means: &Arc<Means>,
    reference: &Reference,
    source: Source,
    progress: &Progress,
) -> Result<Pulled, Error> {
    let source = Arc::new(source);
    let documents = documents(means, reference, &source).await?;
    let descriptors = documents.layers.iter().map(|layer| (layer.descriptor.digest, layer.descriptor.size));
    let counters = progress.begin(descriptors);
    let fetched = layers(means, &source, &documents.layers, &counters).await;
    let store = means.store.clone();
    let name = reference.clone();
    let finish = move || -> Result<Pulled, Error> {
        let finished = fetched.and_then(|holds| put(&store, &name, &documents, &holds));
        if finished.as_ref().is_err_and(|error| !error.is_passing()) {
            // It will not be wanted again as it is: what was unpacked of it is only in the way.
            store.tidy()?;
        }
        finished
    };
    spawn_blocking(finish).await.map_err(|_| Error::Abandoned)?
}

fn put(store: &Store, name: &Reference, documents: &Documents, holds: &[LayerHold]) -> Result<Pulled, Error> {
    let manifest = documents.path.last().map_or(documents.digest, |(digest, _)| *digest);
    let new = NewImage {
        reference: name,
        digest: documents.digest,
        documents: &documents.path,
        manifest,
        config: (documents.manifest.config.digest, &documents.config),
        layers: holds,
        pinned: false,
    };
    Ok(Pulled { image: store.put_image(&new)?, digest: documents.digest })
}

async fn documents(means: &Means, reference: &Reference, source: &Source) -> Result<Documents, Error> {
    let (digest, bytes) = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => (digest, means.client.manifest(source, digest).await?),
        (None, tag) => means.client.manifest_by_tag(source, tag.unwrap_or("latest")).await?,
    };
    let mut path = vec![(digest, bytes)];
    let mut seen = HashSet::from([digest]);
    let manifest = loop {
        let (at, bytes) = &path[path.len() - 1];
        match Document::parse(*at, bytes)? {
            Document::Manifest(manifest) => break manifest,
            Document::Index(candidates) => {
                let next = next(means, reference, *at, &candidates)?;
                if path.len() > DEEPEST_INDEX || !seen.insert(next.digest) {
                    return Err(fault(digest, "indexes name indexes without end"));
                }
                let bytes = means.client.manifest(source, next.digest).await?;
                if bytes.len() as u64 != next.size {
                    let (said, got) = (next.size, bytes.len() as u64);
                    let fault = if got < said { Fault::Short { said, got } } else { Fault::Long { said } };
                    return Err(orlop_image::Error::Blob { digest: next.digest, fault }.into());
                }
                path.push((next.digest, bytes));
            }
        }
    };
    let (config, layers) = config(means, reference, source, &manifest).await?;
    Ok(Documents { digest, path, manifest, config, layers })
}

/// The entry of an index to go on with.
fn next(
    means: &Means,
    reference: &Reference,
    index: Digest,
    candidates: &[Candidate],
) -> Result<Descriptor, Error> {
    if let Some(candidate) = choose(candidates, &means.node) {
        return Ok(candidate.descriptor.clone());
    }
    let known = candidates.iter().filter_map(|candidate| candidate.platform.as_ref());
    let known: Vec<_> =
        known.filter(|platform| platform.os != "unknown").take(16).map(ToString::to_string).collect();
    let but = if known.is_empty() { String::new() } else { format!(", only for {}", known.join(", ")) };
    let image = format!("{reference} (index {index})");
    Err(Error::Platform { image, node: means.node.to_string(), but })
}

async fn config(
    means: &Means,
    reference: &Reference,
    source: &Source,
    manifest: &Manifest,
) -> Result<(Vec<u8>, Vec<LayerBlob>), Error> {
    const CONFIGS: [&str; 2] =
        ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
    let digest = manifest.config.digest;
    if !CONFIGS.contains(&manifest.config.media_type.as_str()) {
        let media_type = orlop_image::error::shown(manifest.config.media_type.as_bytes());
        let (object, why) = (reference.to_string(), format!("is no container image but {media_type}"));
        return Err(orlop_image::Error::Unsupported { object, why }.into());
    }
    let bytes = means.client.small_blob(source, &manifest.config, LARGEST_CONFIG).await?;
    let config = ImageConfig::parse(digest, &bytes)?;
    let platform = config.platform();
    if !platform.architecture.is_empty() && !means.node.runs(&platform) {
        let but = format!(", only for {platform}");
        return Err(Error::Platform { image: reference.to_string(), node: means.node.to_string(), but });
    }
    if config.diff_ids().len() != manifest.layers.len() {
        let counts = (config.diff_ids().len(), manifest.layers.len());
        return Err(fault(digest, &format!("has {} diff_ids for {} layers", counts.0, counts.1)));
    }
    let layer = |(descriptor, diff_id): (&Descriptor, &Digest)| {
        let (compression, descriptor) = (Compression::of(descriptor)?, descriptor.clone());
        Ok(LayerBlob { descriptor, compression, diff_id: *diff_id })
    };
    let layers = manifest.layers.iter().zip(config.diff_ids()).map(layer).collect::<Result<_, Error>>()?;
    Ok((bytes, layers))
}

fn fault(digest: Digest, why: &str) -> Error {
    orlop_image::Error::Blob { digest, fault: Fault::Document(why.to_owned()) }.into()
}

/// All layers, held; the largest begin first, since the last one decides when the pull ends.
async fn layers(
    means: &Arc<Means>,
    source: &Arc<Source>,
    layers: &[LayerBlob],
    counters: &[Arc<LayerProgress>],
) -> Result<Vec<LayerHold>, Error> {
    let (stop, stopped) = watch::channel(false);
    let mut wanted: Vec<_> = layers.iter().zip(counters).collect();
    wanted.sort_by_key(|(layer, _)| std::cmp::Reverse(layer.descriptor.size));
    let mut tasks = JoinSet::new();
    for (layer, counter) in wanted {
        let flight = Layer {
            means: Arc::clone(means),
            source: Arc::clone(source),
            blob: layer.clone(),
            counter: Arc::clone(counter),
            stopped: stopped.clone(),
        };
        tasks.spawn(flight.bring());
    }
    let mut holds = Ok(Vec::new());
    // All are waited for, also after a failure: nothing of this pull is written after it has answered.
    while let Some(ended) = tasks.join_next().await {
        match (ended.unwrap_or(Err(Error::Abandoned)), &mut holds) {
            (Ok(hold), Ok(holds)) => holds.push(hold),
            (Ok(_) | Err(_), Err(_)) => {}
            (Err(error), Ok(_)) => {
                holds = Err(error);
                stop.send_replace(true);
            }
        }
    }
    holds
}

/// One layer on its way.
struct Layer {
    means: Arc<Means>,
    source: Arc<Source>,
    blob: LayerBlob,
    counter: Arc<LayerProgress>,
    stopped: watch::Receiver<bool>,
}

impl Layer {
    async fn bring(mut self) -> Result<LayerHold, Error> {
        let key = (self.blob.descriptor.digest, self.blob.diff_id);
        loop {
            if let Some(hold) = self.means.store.hold_verified(key.0, key.1)? {
                self.counter.enter(Stage::Shared);
                return Ok(hold);
            }
            match self.means.flights.board(key) {
                Boarding::Ours(_seat) => return self.fetch().await,
                Boarding::Theirs(mut landed) => tokio::select! {
                    _ = landed.changed() => {}
                    () = stop(&mut self.stopped) => return Err(Error::Abandoned),
                },
            }
        }
    }

    async fn fetch(&mut self) -> Result<LayerHold, Error> {
        let means = Arc::clone(&self.means);
        let permit = tokio::select! {
            permit = means.budget.acquire() => permit.map_err(|_| Error::Abandoned)?,
            () = stop(&mut self.stopped) => return Err(Error::Abandoned),
        };
        self.counter.enter(Stage::Fetching);
        let (inlet, outlet) = pipe();
        let (store, blob, counter) = (means.store.clone(), self.blob.clone(), Arc::clone(&self.counter));
        let unpacking = spawn_blocking(move || store.unpack(&blob, outlet, &|bytes| counter.unpacked(bytes)));
        let (client, counter) = (&means.client, &self.counter);
        let mut body = Body::new(client, &self.source, &self.blob.descriptor);
        let feeding = async {
            while let Some(bytes) = body.next().await? {
                counter.fetched(bytes.len() as u64);
                if inlet.send(bytes).await.is_err() {
                    // The other end has failed, and says why itself.
                    return Ok(());
                }
            }
            Ok(())
        };
        let fed = tokio::select! {
            fed = feeding => fed,
            // The other end has failed while the network is silent.
            () = inlet.closed() => Ok(()),
            () = stop(&mut self.stopped) => Err(Error::Abandoned),
        };
        // The stream ends here, and with it the thread, whether all has come or not.
        drop(inlet);
        let unpacked = unpacking.await.map_err(|_| Error::Abandoned)?;
        drop(permit);
        fed?;
        self.counter.enter(Stage::Done);
        Ok(unpacked?)
    }
}

async fn stop(stopped: &mut watch::Receiver<bool>) {
    // The sender outlives the layers; if it does not there is nobody to stop for.
    if stopped.wait_for(|stopped| *stopped).await.is_err() {
        std::future::pending::<()>().await;
    }
}
