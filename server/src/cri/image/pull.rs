//! `PullImage`: pulls, or joins the pull of the same. The pull goes on when the client leaves.

use std::sync::Arc;

use orlop_model::reference::Reference;
use orlop_model::report::Report;
use orlop_proto::runtime::v1::{PullImageRequest, PullImageResponse};
use orlop_registry::{Auth, Fields};

use super::asked;
use crate::pods::Core;

pub(crate) async fn answer(core: Arc<Core>, request: PullImageRequest) -> Result<PullImageResponse, Report> {
    let name = asked::name(&core, "image", request.image)?;
    let reference: Reference = name.parse().map_err(|error| Report::field("image.image", &name, error))?;
    let given = request.auth.unwrap_or_default();
    let fields = Fields {
        username: &given.username,
        password: &given.password,
        auth: &given.auth,
        server_address: &given.server_address,
        identity_token: &given.identity_token,
        registry_token: &given.registry_token,
    };
    let auth = Auth::from_fields(&fields, reference.registry()).map_err(|error| error.report(&name))?;
    let image = core.images.pull(&reference, auth).await?;
    Ok(PullImageResponse { image_ref: image.id.to_string() })
}
