//! `ImageFsInfo`: how much images and containers take, from what is known: nothing is walked, and no file is looked at.
//!
//! Images and containers' own layers have a directory each, so each is answered for itself; kubelet finds out by the directories
//! whether they are of one filesystem. What containers have written is the sum of what was counted last for their statistics; nothing is
//! counted anew for this.

use orlop_image::Usage;
use orlop_model::report::Report;
use orlop_proto::runtime::v1::{FilesystemIdentifier, FilesystemUsage, ImageFsInfoResponse, UInt64Value};

use crate::pods::{Core, now};

pub(crate) fn answer(core: &Core) -> Result<ImageFsInfoResponse, Report> {
    let filesystem = |directory: &std::path::Path, usage: Usage| FilesystemUsage {
        timestamp: now().0,
        fs_id: Some(FilesystemIdentifier { mountpoint: directory.display().to_string() }),
        used_bytes: Some(UInt64Value { value: usage.bytes }),
        inodes_used: Some(UInt64Value { value: usage.inodes }),
    };
    let images = filesystem(core.images.store.root(), core.images.store.usage());
    let mut written = Usage::default();
    for count in core.table.containers().iter().filter_map(|container| container.gauge.layer_count()) {
        written.bytes += count.bytes;
        written.inodes += count.inodes;
    }
    let containers = filesystem(&core.places.layers(), written);
    Ok(ImageFsInfoResponse { image_filesystems: vec![images], container_filesystems: vec![containers] })
}
