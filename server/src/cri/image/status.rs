//! `ImageStatus`: one image; an image that is not there is no error.

use std::collections::BTreeMap;

use orlop_image::Image;
use orlop_model::report::Report;
use orlop_proto::runtime::v1::{ImageStatusRequest, ImageStatusResponse};

use super::asked;
use crate::cri::shape;
use crate::pods::Core;

pub(crate) fn answer(core: &Core, request: ImageStatusRequest) -> Result<ImageStatusResponse, Report> {
    let name = asked::name(core, "image", request.image)?;
    let found = core.images.resolve("image.image", &name)?;
    let mut info = BTreeMap::new();
    if let (true, Some(image)) = (request.verbose, &found) {
        info.insert("info".to_owned(), facts(core, image)?.to_string());
    }
    let image = found.as_deref().map(|image| shape::image(image, core.images.pins.has(image)));
    Ok(ImageStatusResponse { image, info })
}

/// What `crictl inspecti` shows: `chainID` and `imageSpec` as under other runtimes, and what each part takes.
fn facts(core: &Core, image: &Image) -> Result<serde_json::Value, Report> {
    let config = core.images.config(image)?;
    let layer = |id: &orlop_model::reference::Digest| {
        let usage = core.images.store.layer(*id).map(|layer| layer.usage).unwrap_or_default();
        serde_json::json!({ "diffID": id.to_string(), "bytes": usage.bytes, "inodes": usage.inodes })
    };
    Ok(serde_json::json!({
        "chainID": orlop_image::chain_id(&image.layers).map(|id| id.to_string()),
        "imageSpec": config.oci(),
        "config": image.id.to_string(),
        "manifest": image.manifest.to_string(),
        "layers": image.layers.iter().map(layer).collect::<Vec<_>>(),
        "size": image.size,
        "pulledAt": image.created.0,
    }))
}
