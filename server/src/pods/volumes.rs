//! Volumes that are images: found, held, and cut to the part that is asked for.
//!
//! *Invariant:* nothing is mounted here. What comes out are directories of layers, which the shim puts together in the container's own
//! mount namespace; the image is in the ledger before it is held.

use std::path::{Path, PathBuf};

use orlop_image::Part;
use orlop_model::container::{ContainerConfig, ImageVolume};
use orlop_model::report::{Kind, Report};

use super::Core;
use super::container::Container;
use super::ledger::Thing;
use crate::cri::convert::IMAGE_VOLUME;

/// A directory of a container's own layer with nothing in it: an overlay that nothing is written to needs two directories.
const NOTHING: &str = "none";

/// An image that is mounted.
pub(super) struct Volume {
    /// The image's id.
    pub(super) image: String,
    /// What is put together, topmost first.
    pub(super) directories: Vec<PathBuf>,
}

/// The images of the container's mounts, in the order of the mounts; held from here on.
///
/// # Errors
/// An image or a part of one that is not there. The message begins with the word that kubelet looks for.
pub(super) fn volumes(
    core: &Core,
    container: &Container,
    config: &ContainerConfig,
    layer: &Path,
) -> Result<Vec<Volume>, Report> {
    let mut all = Vec::new();
    for (at, mount) in config.mounts.iter().enumerate() {
        let Some(asked) = &mount.image else { continue };
        let volume = volume(core, container, asked, layer);
        let named = |mut report: Report| {
            let part = if report.stage == SUB_PATH { "image_sub_path" } else { "image.image" };
            report.stage = format!("{IMAGE_VOLUME}: config.mounts[{at}].{part}");
            report
        };
        all.push(volume.map_err(named)?);
    }
    Ok(all)
}

/// What a report is about that is about the part, not the image.
const SUB_PATH: &str = "image_sub_path";

fn volume(core: &Core, container: &Container, asked: &ImageVolume, layer: &Path) -> Result<Volume, Report> {
    let image = core.images.find("image", &asked.image)?;
    container.with_ledger(|ledger| ledger.will(Thing::Image(image.id.to_string())))?;
    let hold = core.images.store.hold(image.id).map_err(Report::from)?;
    container.life().holds.push(hold);
    let document = core.images.config(&image)?;
    let part = core.images.store.part(document.diff_ids(), &asked.sub_path).map_err(Report::from)?;
    let mut directories = match part {
        Part::Directory(directories) => directories,
        Part::Nothing => {
            return Err(Report::field(SUB_PATH, &asked.sub_path, "the image has no such directory"));
        }
        Part::Other => {
            let cause = "it is no directory in the image, and only a directory is mounted";
            return Err(Report::field(SUB_PATH, &asked.sub_path, cause));
        }
    };
    if directories.is_empty() {
        return Err(Report::new(Kind::BadRequest, "image", asked.image.clone(), "the image has no files"));
    }
    if directories.len() == 1 {
        let nothing = layer.join(NOTHING);
        std::fs::create_dir_all(&nothing).map_err(|error| {
            Report::new(Kind::Failed, "make directory", nothing.display().to_string(), error)
        })?;
        directories.push(nothing);
    }
    Ok(Volume { image: image.id.to_string(), directories })
}
