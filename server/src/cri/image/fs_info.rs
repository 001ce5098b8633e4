//! `ImageFsInfo`: how much the images take, from the index: nothing is walked.
//!
//! Containers' layers lie on the images' filesystem, so both answers are that filesystem's, as kubelet expects where it is one.

use orlop_model::report::Report;
use orlop_proto::runtime::v1::{FilesystemIdentifier, FilesystemUsage, ImageFsInfoResponse, UInt64Value};

use crate::pods::{Core, now};

pub(crate) fn answer(core: &Core) -> Result<ImageFsInfoResponse, Report> {
    let usage = core.images.store.usage();
    let filesystem = FilesystemUsage {
        timestamp: now().0,
        fs_id: Some(FilesystemIdentifier { mountpoint: core.images.store.root().display().to_string() }),
        used_bytes: Some(UInt64Value { value: usage.bytes }),
        inodes_used: Some(UInt64Value { value: usage.inodes }),
    };
    Ok(ImageFsInfoResponse {
        image_filesystems: vec![filesystem.clone()],
        container_filesystems: vec![filesystem],
    })
}
