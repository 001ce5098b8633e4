//! `ListImages` and `StreamImages`: all images, from memory.

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{
    Image, ImageFilter, ListImagesRequest, ListImagesResponse, StreamImagesRequest, StreamImagesResponse,
};
use tonic::codegen::BoxStream;

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
    let wanted =
        filter.and_then(|filter| filter.image).map(|spec| spec.image).filter(|name| !name.is_empty());
    let images = match wanted {
        Some(name) => core.images.resolve("filter.image.image", &name)?.into_iter().collect(),
        None => core.images.store.images(),
    };
    Ok(images.into_iter().map(|image| shape::image(&image)))
}
