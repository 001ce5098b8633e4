//! The index's records as bytes.
//!
//! *Invariant:* what cannot be read is none, never a panic and never a guess.

use orlop_model::reference::Digest;
use orlop_model::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::ImageUser;
use crate::extract::Traps;
use crate::known::{FixUp, Image, LayerRecord};
use crate::scratch::Usage;

/// 32 bytes.
pub(crate) fn digest(bytes: &[u8]) -> Option<Digest> {
    Some(Digest::from_sha256(bytes.try_into().ok()?))
}

impl LayerRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        [&self.usage.bytes.to_le_bytes()[..], &self.usage.inodes.to_le_bytes(), &[u8::from(self.open)]]
            .concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (usage, open) = bytes.split_at_checked(16)?;
        Some(LayerRecord { usage: usage_of(usage)?, open: open.first()? & 1 == 1 })
    }
}

impl FixUp {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let usage = self.usage.map(|usage| [usage.bytes.to_le_bytes(), usage.inodes.to_le_bytes()].concat());
        usage.unwrap_or_default()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let usage = if bytes.is_empty() { None } else { Some(usage_of(bytes)?) };
        Some(FixUp { usage })
    }
}

fn usage_of(bytes: &[u8]) -> Option<Usage> {
    let (one, two) = bytes.split_at_checked(8)?;
    Some(Usage {
        bytes: u64::from_le_bytes(one.try_into().ok()?),
        inodes: u64::from_le_bytes(two.try_into().ok()?),
    })
}

#[derive(Serialize, Deserialize)]
struct ImageRecord {
    manifest: String,
    size: u64,
    layers: Vec<String>,
    pinned: bool,
    user: ImageUser,
    created: i64,
    blobs: Vec<(String, u64)>,
    removed: bool,
}

/// An image without its names, which have a table of their own.
pub(crate) fn encode_image(image: &Image) -> Vec<u8> {
    let record = ImageRecord {
        manifest: image.manifest.to_string(),
        size: image.size,
        layers: image.layers.iter().map(ToString::to_string).collect(),
        pinned: image.pinned,
        user: image.user.clone(),
        created: image.created.0,
        blobs: image.blobs.iter().map(|(digest, size)| (digest.to_string(), *size)).collect(),
        removed: image.removed,
    };
    serde_json::to_vec(&record).expect("invariant: numbers, texts and lists always become JSON")
}

/// Reads what [`encode_image`] wrote.
pub(crate) fn image(id: Digest, bytes: &[u8]) -> Option<Image> {
    let record: ImageRecord = serde_json::from_slice(bytes).ok()?;
    let blobs = record.blobs.iter().map(|(digest, size)| Some((digest.parse().ok()?, *size)));
    Some(Image {
        id,
        manifest: record.manifest.parse().ok()?,
        size: record.size,
        layers: record.layers.iter().map(|layer| layer.parse().ok()).collect::<Option<_>>()?,
        tags: Vec::new(),
        digests: Vec::new(),
        pinned: record.pinned,
        user: record.user,
        created: Timestamp(record.created),
        blobs: blobs.collect::<Option<_>>()?,
        removed: record.removed,
    })
}

/// Lists of paths, each path behind its length.
pub(crate) fn encode_traps(traps: &Traps) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut put = |path: &[u8]| {
        // Paths are at most as long as the kernel allows.
        bytes.extend_from_slice(&u32::try_from(path.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(path);
    };
    put(&u64::try_from(traps.implied.len()).unwrap_or(u64::MAX).to_le_bytes());
    traps.implied.iter().for_each(|path| put(path));
    for (path, target) in &traps.links {
        put(path);
        put(target);
    }
    bytes
}

/// Reads what [`encode_traps`] wrote.
pub(crate) fn traps(mut bytes: &[u8]) -> Option<Traps> {
    let mut take = || -> Option<Option<Vec<u8>>> {
        if bytes.is_empty() {
            return Some(None);
        }
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (path, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        bytes = rest;
        Some(Some(path.to_vec()))
    };
    let count = u64::from_le_bytes(take()??.try_into().ok()?);
    let mut traps = Traps::default();
    for _ in 0..count {
        traps.implied.insert(take()??);
    }
    while let Some(path) = take()? {
        traps.links.push((path, take()??));
    }
    Some(traps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_went() {
        let usage = Usage { bytes: 1 << 40, inodes: 7 };
        for open in [false, true] {
            let layer = LayerRecord { usage, open };
            assert_eq!(LayerRecord::decode(&layer.encode()), Some(layer));
        }
        for fix_up in [FixUp { usage: None }, FixUp { usage: Some(usage) }] {
            assert_eq!(FixUp::decode(&fix_up.encode()), Some(fix_up));
        }
        let implied = [&b""[..], b"a", b"a/\xff\n"].map(<[u8]>::to_vec).into_iter().collect();
        let open = Traps { implied, links: vec![(b"x".to_vec(), b"y/z".to_vec())] };
        let bytes = encode_traps(&open);
        assert_eq!(traps(&bytes), Some(open));
        for cut in 0..bytes.len() {
            assert_ne!(traps(&bytes[..cut]).map(|traps| encode_traps(&traps)), Some(bytes.clone()), "{cut}");
        }
    }
}
