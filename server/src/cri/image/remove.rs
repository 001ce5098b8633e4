//! `RemoveImage`: removes an image with all its names, by whichever it is called. Can be said again.
//!
//! A container that uses it goes on: the layers stay until the last one is removed. An image that is pinned is removed, too, since it is
//! asked for by its name: pinned ones are left alone by those who choose what to remove, kubelet's collection and `crictl rmi --prune`.

use std::sync::Arc;

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{RemoveImageRequest, RemoveImageResponse};

use super::asked;
use crate::pods::Core;

pub(crate) async fn answer(
    core: Arc<Core>,
    request: RemoveImageRequest,
) -> Result<RemoveImageResponse, Report> {
    let name = asked::name(&core, "image", request.image)?;
    core.images.remove("image.image", &name).await?;
    Ok(RemoveImageResponse {})
}
