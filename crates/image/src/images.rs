//! Images and their names: put, found, listed, removed.
//!
//! *Invariant:* an image is listed only when all its layers and documents are here. An image and its names come and go in one change.

use std::io::Read;
use std::sync::Arc;
use std::time::SystemTime;

use orlop_model::reference::{Digest, Reference};
use orlop_model::time::Timestamp;
use sha2::Digest as _;

use crate::config::{ImageConfig, LARGEST_CONFIG};
use crate::error::{Error, Fault, shown};
use crate::hold::LayerHold;
use crate::known::{Change, Image};
use crate::scratch::Scratch;
use crate::store::{Store, is_absent, lock, sync_directory};

/// The fewest digits that abbreviate an id.
const FEWEST_DIGITS: usize = 4;

/// An image that has arrived: its documents, and holds on its layers.
pub struct NewImage<'a> {
    /// What it was asked for by.
    pub reference: &'a Reference,
    /// What the reference led to: the index's digest if it was one, else the manifest's.
    pub digest: Digest,
    /// Index, if there was one, and manifest: with the digests that they were verified to have.
    pub documents: &'a [(Digest, Vec<u8>)],
    /// The manifest for this node.
    pub manifest: Digest,
    /// Its config's digest, which becomes the image's id.
    pub config: (Digest, &'a [u8]),
    /// Its layers, in any order: held, so that none goes before the image has it.
    pub layers: &'a [LayerHold],
    /// Whether garbage collection has to leave it alone.
    pub pinned: bool,
}

/// What [`Store::remove`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// There was no such image.
    Nothing,
    /// It is gone, with all its names.
    Gone(Digest),
    /// It is listed no more; its layers go when nothing holds it any more and [`Store::sweep`] is called.
    WhenReleased(Digest),
}

impl Store {
    /// Makes an image whose layers are all here visible, under the name it was pulled by. If it was here before it gets the name.
    ///
    /// # Errors
    /// A document is not what its digest says, a layer is not held, or the disk fails; then nothing has changed.
    pub fn put_image(&self, new: &NewImage<'_>) -> Result<Arc<Image>, Error> {
        let config = ImageConfig::parse(new.config.0, new.config.1)?;
        if let Some(absent) =
            config.diff_ids().iter().find(|id| new.layers.iter().all(|hold| hold.diff_id() != **id))
        {
            return Err(Error::Missing(format!("layer {absent}")));
        }
        // Settling may refuse the image: before it is visible, not when a container wants it.
        self.chain(config.diff_ids())?;
        let (id, bytes) = new.config;
        let mut blobs = vec![(id, bytes)];
        blobs.extend(new.documents.iter().map(|(digest, bytes)| (*digest, bytes.as_slice())));
        let written = self.write_blobs(&blobs)?;

        let _turn = self.0.turn();
        self.place_blobs(&written, &blobs)?;
        let sizes = blobs.iter().map(|(digest, bytes)| (*digest, bytes.len() as u64));
        let had = self.0.known().images.get(&id).cloned();
        let unpacked: u64 =
            config.diff_ids().iter().filter_map(|layer| self.layer(*layer)).map(|l| l.usage.bytes).sum();
        let mut image = Image {
            id,
            manifest: new.manifest,
            size: unpacked + sizes.clone().map(|(_, size)| size).sum::<u64>(),
            layers: config.diff_ids().to_vec(),
            tags: had.as_ref().map_or(Vec::new(), |had| had.tags.clone()),
            digests: had.as_ref().map_or(Vec::new(), |had| had.digests.clone()),
            pinned: new.pinned || had.as_ref().is_some_and(|had| had.pinned),
            user: config.user(),
            created: had.as_ref().map_or_else(|| Timestamp::of(SystemTime::now()), |had| had.created),
            blobs: sizes.collect(),
            removed: false,
        };
        let before = had.iter().flat_map(|had| had.blobs.iter().copied());
        let more: Vec<_> = before.filter(|blob| !image.blobs.contains(blob)).collect();
        image.blobs.extend(more);
        let mut changes = vec![Change::PutImage(image)];
        let names = new.reference.by_tag().into_iter().chain([new.reference.by_digest(new.digest)]);
        changes.extend(names.map(|name| Change::PutName { name, id }));
        self.0.commit(&changes)?;
        lock(&self.0.configs).insert(id, Arc::new(config));
        self.0.known().images.get(&id).cloned().ok_or_else(|| Error::Missing(format!("image {id}")))
    }

    /// All images. Reads memory only.
    #[must_use]
    pub fn images(&self) -> Vec<Arc<Image>> {
        self.0.known().images.values().filter(|image| !image.removed).cloned().collect()
    }

    /// The image that `name` means: a tag, a digest of a repository, an id with or without `sha256:`, or the beginning of an id. Reads
    /// memory only.
    ///
    /// # Errors
    /// The beginning of an id fits several. What is not here, or cannot be a name, is `Ok(None)`.
    pub fn resolve(&self, name: &str) -> Result<Option<Arc<Image>>, Error> {
        let known = self.0.known();
        let shown_image = |id: &Digest| known.images.get(id).filter(|image| !image.removed).cloned();
        if let Ok(id) = name.parse::<Digest>() {
            return Ok(shown_image(&id));
        }
        if let Ok(reference) = name.parse::<Reference>() {
            let canonical = match reference.digest() {
                Some(digest) => Some(reference.by_digest(digest)),
                None => reference.by_tag(),
            };
            if let Some(image) = canonical.and_then(|name| known.names.get(&name)).and_then(shown_image) {
                return Ok(Some(image));
            }
        }
        let digits = name.strip_prefix("sha256:").unwrap_or(name);
        let is_prefix =
            digits.len() >= FEWEST_DIGITS && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_prefix {
            return Ok(None);
        }
        let mut fits =
            known.images.values().filter(|image| !image.removed && image.id.hex().starts_with(digits));
        match (fits.next(), fits.next()) {
            (first, None) => Ok(first.cloned()),
            (_, Some(_)) => Err(Error::Ambiguous(shown(name.as_bytes()))),
        }
    }

    /// Removes the image that `name` means, with all its names, and what only it had. Once this returns it is not listed, whoever else
    /// removes it at the same time; what is held stays on disk until it is released.
    ///
    /// # Errors
    /// The beginning of an id fits several, or the disk fails.
    pub fn remove(&self, name: &str) -> Result<Removed, Error> {
        let removed = {
            let _turn = self.0.turn();
            let Some(image) = self.resolve(name)? else { return Ok(Removed::Nothing) };
            let names = image.tags.iter().chain(&image.digests).cloned().map(Change::DropName);
            let hidden = Image { removed: true, pinned: false, ..(*image).clone() };
            let changes: Vec<_> = names.chain([Change::PutImage(hidden)]).collect();
            // Names go after the record is hidden, so that none leads to it in between.
            self.0.commit(&[&changes[changes.len() - 1..], &changes[..changes.len() - 1]].concat())?;
            image.id
        };
        self.tidy()?;
        let gone = !self.0.known().images.contains_key(&removed);
        Ok(if gone { Removed::Gone(removed) } else { Removed::WhenReleased(removed) })
    }

    /// Says whether garbage collection has to leave the image alone.
    ///
    /// # Errors
    /// There is no such image, or the disk fails.
    pub fn pin(&self, id: Digest, pinned: bool) -> Result<(), Error> {
        let _turn = self.0.turn();
        let image = self.0.known().images.get(&id).filter(|image| !image.removed).cloned();
        let image = image.ok_or_else(|| Error::Missing(format!("image {id}")))?;
        self.0.commit(&[Change::PutImage(Image { pinned, ..(*image).clone() })])
    }

    /// The config of the image `id`. Read from disk once.
    ///
    /// # Errors
    /// There is no such image, or its config on disk is damaged.
    pub fn config(&self, id: Digest) -> Result<Arc<ImageConfig>, Error> {
        if let Some(config) = lock(&self.0.configs).get(&id) {
            return Ok(Arc::clone(config));
        }
        if !self.0.known().images.contains_key(&id) {
            return Err(Error::Missing(format!("image {id}")));
        }
        let config = Arc::new(ImageConfig::parse(id, &self.blob(id, LARGEST_CONFIG)?)?);
        lock(&self.0.configs).insert(id, Arc::clone(&config));
        Ok(config)
    }

    /// A document of an image (config, manifest, index), verified again.
    ///
    /// # Errors
    /// It is not here, larger than `most` bytes, or damaged.
    pub fn blob(&self, digest: Digest, most: u64) -> Result<Vec<u8>, Error> {
        let path = self.0.blob_path(digest);
        let file = std::fs::File::open(&path).map_err(|error| {
            if is_absent(&error) {
                Error::Missing(format!("blob {digest}"))
            } else {
                Error::io("open", &path, error)
            }
        })?;
        let mut bytes = Vec::new();
        let read = file.take(most + 1).read_to_end(&mut bytes);
        read.map_err(|error| Error::io("read", &path, error))?;
        if bytes.len() as u64 > most {
            return Err(Error::Blob { digest, fault: Fault::Long { said: most } });
        }
        match digest_of(&bytes) {
            got if got == digest => Ok(bytes),
            got => Err(Error::Blob { digest, fault: Fault::Digest { got } }),
        }
    }

    /// Verifies documents and writes them where they are not yet seen; durable when this returns.
    fn write_blobs(&self, blobs: &[(Digest, &[u8])]) -> Result<Scratch, Error> {
        let scratch = Scratch::new(&self.0.ingest())?;
        for (digest, bytes) in blobs {
            let got = digest_of(bytes);
            if got != *digest {
                return Err(Error::Blob { digest: *digest, fault: Fault::Digest { got } });
            }
            let path = scratch.path().join(digest.hex());
            std::fs::write(&path, bytes).map_err(|error| Error::io("write", &path, error))?;
        }
        self.0.sync()?;
        Ok(scratch)
    }

    /// Puts written documents in their place. Only in one's turn.
    fn place_blobs(&self, written: &Scratch, blobs: &[(Digest, &[u8])]) -> Result<(), Error> {
        for (digest, _) in blobs {
            let (from, to) = (written.path().join(digest.hex()), self.0.blob_path(*digest));
            // A file in place of another one is replaced at once; the same document twice is placed once.
            match std::fs::rename(&from, &to) {
                Err(error) if is_absent(&error) => {}
                done => done.map_err(|error| Error::io("put in its place", &to, error))?,
            }
        }
        sync_directory(&self.0.root.join("blobs/sha256"))
    }
}

/// The digest of bytes in memory.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_sha256(sha2::Sha256::digest(bytes).into())
}
