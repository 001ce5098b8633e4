//! `Version`: kubelet asks all the time; the answer is a constant.

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{VersionRequest, VersionResponse};

pub(crate) fn answer(_: VersionRequest) -> Result<VersionResponse, Report> {
    Ok(VersionResponse {
        // Of kubelet's runtime API: 0.1.0 ever since.
        version: "0.1.0".into(),
        runtime_name: "orlop".into(),
        runtime_version: env!("CARGO_PKG_VERSION").into(),
        runtime_api_version: "v1".into(),
    })
}
