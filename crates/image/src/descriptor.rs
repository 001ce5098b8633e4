//! What points to a blob, and how a blob is packed.
//!
//! *Invariant:* the media type decides how a blob is read, never its first bytes: a blob that is not what it was announced as is
//! refused.

use orlop_model::reference::Digest;

use crate::error::{Error, shown};

/// A blob as its manifest or index announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Of its bytes, as they are transferred.
    pub digest: Digest,
    /// Number of these bytes.
    pub size: u64,
}

/// How a layer's archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// RFC 1952, any number of members.
    Gzip,
    /// RFC 8878, any number of frames, windows up to 128 MiB.
    Zstd,
}

impl Compression {
    /// What a layer's media type says about it: those of OCI (with `nondistributable`) and of Docker's schema 2 (with `foreign`).
    ///
    /// # Errors
    /// Where it is no layer, or packed in a way that is not known here.
    pub fn of(layer: &Descriptor) -> Result<Self, Error> {
        let media_type = layer.media_type.as_str();
        let oci = media_type
            .strip_prefix("application/vnd.oci.image.layer.")
            .map(|rest| rest.strip_prefix("nondistributable.").unwrap_or(rest))
            .and_then(|rest| rest.strip_prefix("v1."));
        let docker = media_type
            .strip_prefix("application/vnd.docker.image.rootfs.")
            .map(|rest| rest.strip_prefix("foreign.").unwrap_or(rest))
            .and_then(|rest| rest.strip_prefix("diff."));
        match oci.or(docker) {
            Some("tar") => Ok(Compression::Plain),
            Some("tar+gzip" | "tar.gzip") => Ok(Compression::Gzip),
            Some("tar+zstd" | "tar.zstd") => Ok(Compression::Zstd),
            _ => Err(Error::Unsupported {
                object: format!("layer {}", layer.digest),
                why: format!("media type {} is not one this node can unpack", shown(media_type.as_bytes())),
            }),
        }
    }

    /// Its name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Compression::Plain => "plain",
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_say_how_a_layer_is_packed() {
        let of = |media_type: &str| {
            let digest = Digest::from_sha256([7; 32]);
            Compression::of(&Descriptor { media_type: media_type.into(), digest, size: 1 })
        };
        for (media_type, packed) in [
            ("application/vnd.oci.image.layer.v1.tar", Compression::Plain),
            ("application/vnd.oci.image.layer.v1.tar+gzip", Compression::Gzip),
            ("application/vnd.oci.image.layer.v1.tar+zstd", Compression::Zstd),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Compression::Gzip),
            ("application/vnd.docker.image.rootfs.diff.tar", Compression::Plain),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", Compression::Gzip),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Compression::Gzip),
        ] {
            assert_eq!(of(media_type).unwrap(), packed, "{media_type}");
        }
        for other in [
            "",
            "application/json",
            "application/vnd.oci.image.layer.v1.tar+xz",
            "application/vnd.oci.image.layer.v2.tar",
        ] {
            assert!(matches!(of(other), Err(Error::Unsupported { .. })), "{other}");
        }
    }
}
