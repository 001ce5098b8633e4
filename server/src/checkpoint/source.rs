//! An archive, or an image made of one, that a container is restored from.
//!
//! What is in it is put beside the container's own layer and goes with it: nothing of the archive or the image is needed afterwards.
//!
//! *Invariant:* bytes of an archive are a stranger's, unpacked by the rules of layers: files and directories alone, none of them
//! outside. Nothing is read through a link.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use orlop_image::{Allowed, Image, ImageConfig};
use orlop_model::container::ContainerConfig;
use orlop_model::reference::Reference;
use orlop_model::report::{Kind, Report};
use orlop_wire::plan::Plan;
use serde_json::Value;

use super::note::{self, Note, file};
use crate::pods::Core;

/// What an image's manifest says if it is made of an archive: CRIU's own word and CRI-O's.
const ANNOTATIONS: [&str; 2] =
    ["org.criu.checkpoint.container.name", "io.kubernetes.cri-o.annotations.checkpoint.name"];
/// The largest manifest that is looked into.
const MANIFEST: u64 = 4 << 20;
/// Directory in a container's own that has what it is restored from.
pub(crate) const DIRECTORY: &str = "restore";

/// Where a container comes from.
pub(crate) enum Origin {
    /// An image.
    Image(Arc<Image>),
    /// An image that is made of an archive.
    Packed(Arc<Image>),
    /// An archive on this node.
    Archive(PathBuf),
}

impl Origin {
    /// Where this container comes from: `archive` if it is given, else as its image says.
    ///
    /// # Errors
    /// If that is not on this node.
    pub(crate) fn of(core: &Core, config: &ContainerConfig, archive: Option<&Path>) -> Result<Self, Report> {
        if let Some(path) =
            archive.or_else(|| Some(Path::new(&config.image)).filter(|path| path.is_absolute()))
        {
            return if path.is_file() {
                Ok(Origin::Archive(path.to_owned()))
            } else {
                let cause = "there is no such archive of a checkpoint on this node";
                Err(Report::new(Kind::NotFound, "config.image.image", path.display().to_string(), cause))
            };
        }
        let image = core.images.find("config.image.image", &config.image)?;
        let document = core.images.config(&image)?;
        let is_packed = runs_nothing(&document) && is_packed(core, &image)?;
        Ok(if is_packed { Origin::Packed(image) } else { Origin::Image(image) })
    }
}

/// An image that is made of an archive has nothing to run: of all others the manifest need not be read.
fn runs_nothing(document: &ImageConfig) -> bool {
    let is_empty = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
    document.oci().config().as_ref().is_none_or(|run| is_empty(run.entrypoint()) && is_empty(run.cmd()))
}

fn is_packed(core: &Core, image: &Image) -> Result<bool, Report> {
    let bytes = core.images.store.blob(image.manifest, MANIFEST).map_err(Report::from)?;
    let manifest: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    Ok(ANNOTATIONS.iter().any(|key| manifest["annotations"][key].is_string()))
}

/// What a container is restored from, unpacked.
pub(crate) struct Source {
    /// Where it lies: in the container's own directory.
    pub(super) directory: PathBuf,
    pub(super) note: Note,
    /// The plan by which it was made.
    pub(super) plan: Plan,
    /// The image that it was made of: its id, and a name that it can be pulled by.
    base: (String, String),
}

impl Source {
    /// Unpacks it beside the container's own layer; `None` if the container comes from an image. Blocks.
    ///
    /// # Errors
    /// If it is not what it should be.
    pub(crate) fn open(core: &Core, origin: &Origin, layer: &Path) -> Result<Option<Self>, Report> {
        let directory = layer.join(DIRECTORY);
        match origin {
            Origin::Image(_) => return Ok(None),
            Origin::Archive(path) => {
                let label = path.display().to_string();
                let archive = std::fs::File::open(path)
                    .map_err(|error| Report::new(Kind::Failed, "open archive", label.clone(), error))?;
                let unpacked =
                    core.images.store.unpack_loose(&label, archive, &directory, Allowed::Files, &[]);
                unpacked.map_err(Report::from)?;
            }
            Origin::Packed(image) => copy(core, image, &directory)?,
        }
        note::images(&directory)?;
        let note = Note::read(&directory)?;
        let plan = note::plan(&directory)?;
        let base = base(&directory)?;
        Ok(Some(Source { directory, note, plan, base }))
    }

    /// The image that it was made of, pulled if it is not here. Blocks.
    ///
    /// # Errors
    /// If it cannot be had.
    pub(crate) fn image(&self, core: &Core) -> Result<Arc<Image>, Report> {
        let (id, name) = &self.base;
        for known in [id, name].into_iter().filter(|name| !name.is_empty()) {
            if let Ok(Some(image)) = core.images.resolve(file::CONFIG, known) {
                return self.checked(image);
            }
        }
        let reference: Reference = name
            .parse()
            .map_err(|error| Report::new(Kind::Corrupt, "read checkpoint", file::CONFIG, error))?;
        tracing::info!(image = %reference, "pulled for a container that was made of it");
        let image = tokio::runtime::Handle::current().block_on(core.images.pull(&reference, None))?;
        self.checked(image)
    }

    /// What changed in a root is of use on that root alone.
    fn checked(&self, image: Arc<Image>) -> Result<Arc<Image>, Report> {
        let (id, name) = &self.base;
        if id.is_empty() || image.id.to_string() == *id {
            return Ok(image);
        }
        let cause = format!("it leads to {}, and the container was made of {id}", image.id);
        Err(Report::new(Kind::WrongState, "restore from image", name.clone(), cause)
            .advise("pull that image first"))
    }

    /// Makes the container's own layer of what was changed. Blocks.
    ///
    /// # Errors
    /// If the archive is damaged, or the disk does not take it.
    pub(crate) fn make_layer(&self, core: &Core, upper: &Path) -> Result<(), Report> {
        let bad = |cause: String| Report::new(Kind::Corrupt, "read checkpoint", file::DELETED, cause);
        let hidden: Vec<Vec<u8>> = match note::read(&self.directory, file::DELETED)? {
            None => Vec::new(),
            Some(bytes) => {
                let names: Vec<String> =
                    serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
                names.into_iter().map(String::into_bytes).collect()
            }
        };
        let changes = note::open(&self.directory, file::CHANGES)?
            .ok_or_else(|| Report::new(Kind::Corrupt, "read checkpoint", file::CHANGES, "it is not there"))?;
        core.images
            .store
            .unpack_loose(file::CHANGES, changes, upper, Allowed::Layer, &hidden)
            .map_err(Report::from)?;
        let _ = std::fs::remove_file(self.directory.join(file::CHANGES));
        Ok(())
    }

    /// The container's log goes on where it was, if `path` has none yet.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub(crate) fn continue_log(&self, path: &str) -> Result<(), Report> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let Some(mut from) = note::open(&self.directory, file::OUTPUT)? else { return Ok(()) };
        if path.is_empty() {
            return Ok(());
        }
        let failed = |error| Report::new(Kind::Failed, "continue log", path, error);
        match std::fs::File::options().write(true).create_new(true).mode(0o640).open(path) {
            Ok(mut log) => std::io::copy(&mut from, &mut log).map(drop).map_err(failed),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }
}

/// What config.dump says of the image.
fn base(directory: &Path) -> Result<(String, String), Report> {
    let bad = |cause: String| Report::new(Kind::Corrupt, "read checkpoint", file::CONFIG, cause);
    let bytes = note::read(directory, file::CONFIG)?.ok_or_else(|| bad("it is not there".into()))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let base = (text("rootfsImageRef"), text("rootfsImageName"));
    if base.0.is_empty() && base.1.is_empty() { Err(bad("it names no image".into())) } else { Ok(base) }
}

/// Copies the files of an image that is made of an archive.
fn copy(core: &Core, image: &Image, to: &Path) -> Result<(), Report> {
    let _held = core.images.store.hold(image.id).map_err(Report::from)?;
    let document = core.images.config(image)?;
    let layers = core.images.store.chain(document.diff_ids()).map_err(Report::from)?;
    let from = layers.iter().find(|layer| layer.join(file::CONFIG).is_file()).ok_or_else(|| {
        Report::new(Kind::Corrupt, "read checkpoint", image.id.to_string(), "the image has no config.dump")
    })?;
    note::images(from)?;
    let failed =
        |error: std::io::Error| Report::new(Kind::Failed, "copy checkpoint", to.display().to_string(), error);
    let images = to.join(file::IMAGES);
    std::fs::create_dir_all(&images).map_err(failed)?;
    for (from, to) in [(from.clone(), to.to_owned()), (from.join(file::IMAGES), images)] {
        for entry in std::fs::read_dir(from).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_file() {
                std::fs::copy(entry.path(), to.join(entry.file_name())).map_err(failed)?;
            }
        }
    }
    Ok(())
}
