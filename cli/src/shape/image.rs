//! Images as JSON.

use std::collections::BTreeMap;

use orlop_proto::runtime::v1::Image;
use serde_json::{Value, json};

/// All that is known of an image.
pub(crate) fn whole(image: &Image) -> Value {
    json!({
        "id": image.id,
        "repoTags": image.repo_tags,
        "repoDigests": image.repo_digests,
        "size": image.size,
        "uid": image.uid.as_ref().map(|uid| uid.value),
        "username": image.username,
        "pinned": image.pinned,
    })
}

/// Likewise, with what the daemon adds.
pub(crate) fn with_info(image: &Image, info: &BTreeMap<String, String>) -> Value {
    json!({"status": whole(image), "info": super::info(info)})
}
