//! `ListImages` and `StreamImages`: all images, from memory.

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{
    Image, ImageFilter, ListImagesRequest, ListImagesResponse, StreamImagesRequest, StreamImagesResponse,
};
use tonic::codegen::BoxStream;

use super::asked;
use crate::cri::{shape, stream};
use crate::pods::Core;

pub(crate) fn answer(core: &Core, request: ListImagesRequest) -> Result<ListImagesResponse, Report> {
    let images = rows(core, request.filter)?.collect();
    stream::whole(ListImagesResponse { images }, "images", "StreamImages")
}

pub(crate) fn streamed(
    core: &Core,
    request: StreamImagesRequest,
) -> Result<BoxStream<StreamImagesResponse>, Report> {
    let rows = rows(core, request.filter)?;
    Ok(stream::rows(rows, |images| StreamImagesResponse { images }))
}

fn rows(core: &Core, filter: Option<ImageFilter>) -> Result<impl Iterator<Item = Image> + use<>, Report> {
    let wanted = asked::name(core, "filter.image", filter.and_then(|filter| filter.image))?;
    let images = if wanted.is_empty() {
        core.images.store.images()
    } else {
        core.images.resolve("filter.image.image", &wanted)?.into_iter().collect()
    };
    let pins = core.images.pins.clone();
    Ok(images.into_iter().map(move |image| shape::image(&image, pins.has(&image))))
}
