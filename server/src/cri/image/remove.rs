//! `RemoveImage`: removes an image with all its names. Can be said again.

use std::sync::Arc;

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{RemoveImageRequest, RemoveImageResponse};

use crate::pods::Core;

pub(crate) async fn answer(
    core: Arc<Core>,
    request: RemoveImageRequest,
) -> Result<RemoveImageResponse, Report> {
    let name = request.image.unwrap_or_default().image;
    core.images.remove("image.image", &name).await?;
    Ok(RemoveImageResponse {})
}
