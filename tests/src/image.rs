//! An image in memory: layers, a configuration, a manifest; several make an index.
//!
//! *Invariant:* true unless a test lies on purpose: digests and sizes are counted from the bytes.

use std::path::Path;

use serde_json::{Value, json};

use crate::hash::digest;
use crate::layer::{Layer, Packing};

/// Whose media types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Open Container Initiative, image specification 1.
    Oci,
    /// Docker, image manifest version 2, schema 2.
    Docker,
}

impl Flavour {
    fn layer(self, packing: Packing) -> &'static str {
        match (self, packing) {
            (Flavour::Oci, Packing::Plain) => "application/vnd.oci.image.layer.v1.tar",
            (Flavour::Oci, Packing::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (Flavour::Oci, Packing::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (Flavour::Docker, Packing::Plain) => "application/vnd.docker.image.rootfs.diff.tar",
            (Flavour::Docker, Packing::Gzip) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (Flavour::Docker, Packing::Zstd) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
        }
    }

    fn config(self) -> &'static str {
        match self {
            Flavour::Oci => "application/vnd.oci.image.config.v1+json",
            Flavour::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }

    /// Media type of a manifest.
    #[must_use]
    pub fn manifest(self) -> &'static str {
        match self {
            Flavour::Oci => "application/vnd.oci.image.manifest.v1+json",
            Flavour::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }

    /// Media type of an index.
    #[must_use]
    pub fn index(self) -> &'static str {
        match self {
            Flavour::Oci => "application/vnd.oci.image.index.v1+json",
            Flavour::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }
}

/// An image. Everything is open: a test that needs a false one changes it.
#[derive(Debug, Clone)]
pub struct Image {
    /// Whose media types it uses.
    pub flavour: Flavour,
    /// From the lowest to the topmost.
    pub layers: Vec<Layer>,
    /// `config` of the configuration: `Entrypoint`, `Env`, `User`, ...
    pub run: Value,
    /// GOARCH.
    pub architecture: String,
}

impl Image {
    /// An image of these layers for this machine.
    #[must_use]
    pub fn new(flavour: Flavour, layers: Vec<Layer>) -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Image { flavour, layers, run: json!({}), architecture: architecture.into() }
    }

    /// The same with `value` as `key` of what a container is run with.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.run[key] = value;
        self
    }

    /// The configuration's bytes; their digest is the image's id.
    #[must_use]
    pub fn config(&self) -> Vec<u8> {
        let diff_ids: Vec<&String> = self.layers.iter().map(|layer| &layer.diff_id).collect();
        let config = json!({
            "architecture": self.architecture,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": self.run,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": self.layers.iter().map(|_| json!({"created_by": "orlop-tests"})).collect::<Vec<_>>(),
        });
        config.to_string().into_bytes()
    }

    /// The manifest's bytes; their digest is what a pull by digest names.
    #[must_use]
    pub fn manifest(&self) -> Vec<u8> {
        let layers =
            self.layers.iter().map(|layer| descriptor(self.flavour.layer(layer.packing), &layer.bytes));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": self.flavour.manifest(),
            "config": descriptor(self.flavour.config(), &self.config()),
            "layers": layers.collect::<Vec<_>>(),
        });
        manifest.to_string().into_bytes()
    }

    /// What a registry has to hold before it takes the manifest.
    #[must_use]
    pub fn blobs(&self) -> Vec<Vec<u8>> {
        self.layers.iter().map(|layer| layer.bytes.clone()).chain([self.config()]).collect()
    }

    /// Writes it as an OCI image layout (image-spec, image-layout.md), with `tag` as the manifest's name.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write_layout(&self, directory: &Path, tag: &str) {
        let blobs = directory.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).expect("a directory");
        let manifest = self.manifest();
        for blob in self.blobs().iter().chain([&manifest]) {
            let name = digest(blob).replace("sha256:", "");
            std::fs::write(blobs.join(name), blob).expect("a file");
        }
        let mut of_manifest = descriptor(self.flavour.manifest(), &manifest);
        of_manifest["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        let index = json!({"schemaVersion": 2, "manifests": [of_manifest]}).to_string();
        std::fs::write(directory.join("index.json"), index).expect("a file");
        std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a file");
    }
}

/// An index of images, one an architecture.
#[must_use]
pub fn index(flavour: Flavour, images: &[Image]) -> Vec<u8> {
    let manifests = images.iter().map(|image| {
        let mut of_manifest = descriptor(image.flavour.manifest(), &image.manifest());
        of_manifest["platform"] = json!({"architecture": image.architecture, "os": "linux"});
        of_manifest
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": flavour.index(),
        "manifests": manifests.collect::<Vec<_>>(),
    });
    index.to_string().into_bytes()
}

/// A descriptor of `bytes`.
#[must_use]
pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}
