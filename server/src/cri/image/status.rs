//! `ImageStatus`: one image; an image that is not there is no error.

use std::collections::BTreeMap;

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{ImageStatusRequest, ImageStatusResponse};

use crate::cri::shape;
use crate::pods::Core;

pub(crate) fn answer(core: &Core, request: ImageStatusRequest) -> Result<ImageStatusResponse, Report> {
    let name = request.image.unwrap_or_default().image;
    let found = core.images.resolve("image.image", &name)?;
    let mut info = BTreeMap::new();
    if let (true, Some(image)) = (request.verbose, &found) {
        let config = core.images.config(image)?;
        let facts = serde_json::json!({
            "imageSpec": config.oci(),
            "manifest": image.manifest.to_string(),
            "layers": image.layers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        });
        info.insert("info".to_owned(), facts.to_string());
    }
    Ok(ImageStatusResponse { image: found.as_deref().map(shape::image), info })
}
