//! Images for the fake registry.

use std::collections::HashMap;

use orlop_image::{Compression, digest_of};

use super::{Asked, Reply, reply};
use crate::making::{Tar, config, gzip, zstd};

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// An image in parts, to be changed before it is served.
#[derive(Clone)]
pub struct Parts {
    pub config: Vec<u8>,
    /// Media type and blob.
    pub layers: Vec<(String, Vec<u8>)>,
}

impl Parts {
    /// An image of these layers, given as archives.
    pub fn of(archives: &[(Vec<u8>, Compression)]) -> Self {
        let diff_ids: Vec<_> = archives.iter().map(|(archive, _)| digest_of(archive)).collect();
        let layer = |(archive, compression): &(Vec<u8>, Compression)| {
            let media_type = "application/vnd.oci.image.layer.v1.tar";
            match compression {
                Compression::Plain => (media_type.to_owned(), archive.clone()),
                Compression::Gzip => (format!("{media_type}+gzip"), gzip(archive)),
                Compression::Zstd => (format!("{media_type}+zstd"), zstd(archive)),
            }
        };
        Parts { config: config(&diff_ids, "{}"), layers: archives.iter().map(layer).collect() }
    }

    /// A small image of one layer, which holds `what`.
    pub fn small(what: &str) -> Self {
        Parts::of(&[(Tar::new().file("file", what.as_bytes()).end(), Compression::Gzip)])
    }

    pub fn manifest(&self) -> Vec<u8> {
        let layers: Vec<_> =
            self.layers.iter().map(|(media_type, blob)| descriptor(media_type, blob)).collect();
        let (config, layers) = (descriptor(CONFIG, &self.config), layers.join(","));
        format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{config},"layers":[{layers}]}}"#)
            .into_bytes()
    }

    /// A registry's content: this image under the tag `1`.
    pub fn content(&self) -> Content {
        let mut content = Content::default();
        content.document("1", MANIFEST, &self.manifest());
        content.blob(&self.config);
        self.layers.iter().for_each(|(_, blob)| content.blob(blob));
        content
    }
}

pub fn descriptor(media_type: &str, bytes: &[u8]) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#, digest_of(bytes), bytes.len())
}

/// An entry of an index.
pub fn entry(bytes: &[u8], media_type: &str, os: &str, architecture: &str) -> String {
    let platform = format!(r#","platform":{{"os":"{os}","architecture":"{architecture}"}}}}"#);
    descriptor(media_type, bytes).strip_suffix('}').unwrap().to_owned() + &platform
}

/// What a registry has, by the end of its path.
#[derive(Clone, Default)]
pub struct Content(pub HashMap<String, (String, Vec<u8>)>);

impl Content {
    pub fn document(&mut self, tag: &str, media_type: &str, bytes: &[u8]) {
        for name in [tag.to_owned(), digest_of(bytes).to_string()] {
            self.0.insert(format!("manifests/{name}"), (media_type.to_owned(), bytes.to_vec()));
        }
    }

    pub fn blob(&mut self, bytes: &[u8]) {
        let octets = "application/octet-stream".to_owned();
        self.0.insert(format!("blobs/{}", digest_of(bytes)), (octets, bytes.to_vec()));
    }

    /// Other bytes in place of a blob's.
    pub fn replace(&mut self, blob: &[u8], by: Vec<u8>) {
        self.0.get_mut(&format!("blobs/{}", digest_of(blob))).unwrap().1 = by;
    }

    /// As a good registry answers, with ranges.
    pub fn answer(&self, asked: &Asked) -> Reply {
        let path = asked.path.split('?').next().unwrap();
        let found =
            self.0.iter().find(|(name, _)| path.starts_with("/v2/") && path.ends_with(&format!("/{name}")));
        let Some((_, (media_type, bytes))) = found else {
            return reply(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#);
        };
        match asked.from() {
            Some(from) if from < bytes.len() => {
                let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                reply(206, &bytes[from..]).with("content-range", range)
            }
            _ => reply(200, bytes.clone()).with("content-type", media_type.clone()),
        }
    }
}
