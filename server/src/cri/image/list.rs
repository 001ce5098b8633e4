//! `ListImages`: all images, from memory.

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{ListImagesRequest, ListImagesResponse};

use crate::cri::shape;
use crate::pods::Core;

pub(crate) fn answer(core: &Core, request: ListImagesRequest) -> Result<ListImagesResponse, Report> {
    let wanted =
        request.filter.and_then(|filter| filter.image).map(|spec| spec.image).filter(|name| !name.is_empty());
    let images = match wanted {
        Some(name) => core.images.resolve("filter.image.image", &name)?.into_iter().collect(),
        None => core.images.store.images(),
    };
    Ok(ListImagesResponse { images: images.iter().map(|image| shape::image(image)).collect() })
}
