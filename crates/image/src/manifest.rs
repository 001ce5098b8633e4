//! Manifests and indexes, as OCI and Docker's schema 2 write them.
//!
//! *Invariant:* a document is one thing. What could be read as a manifest and as an index is refused (CVE-2021-41190), so is what
//! calls itself other than it is; `urls` of a descriptor are never looked at.

use orlop_model::reference::{Digest, NotADigest};
use serde::Deserialize;

use crate::descriptor::Descriptor;
use crate::error::{Error, Fault, shown};

/// The largest manifest or index that is read, in bytes.
pub const LARGEST_MANIFEST: u64 = 4 << 20;
/// The most layers that an image may have: what overlayfs stacks at most, less those that a container adds.
pub const MOST_LAYERS: usize = 490;
/// What a client says it understands, as the value of `Accept`.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// What a registry has under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// Several images for several platforms.
    Index(Vec<Candidate>),
    /// One image.
    Manifest(Manifest),
}

/// One image: its config and its layers, lowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its digest is the image's id.
    pub config: Descriptor,
    /// As they are transferred.
    pub layers: Vec<Descriptor>,
}

/// One entry of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// A manifest, or an index again.
    pub descriptor: Descriptor,
    /// What it runs on, if it says so.
    pub platform: Option<Platform>,
}

/// What an image runs on, in the words of Go: `linux`, `amd64`, `v8`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// GOOS.
    pub os: String,
    /// GOARCH.
    pub architecture: String,
    /// What the architecture has beyond its least.
    #[serde(default)]
    pub variant: Option<String>,
}

impl Platform {
    /// What this program was built for.
    #[must_use]
    pub fn native() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "riscv64" => "riscv64",
            other => other,
        };
        Platform { os: "linux".into(), architecture: architecture.into(), variant: None }
    }

    /// Whether an image for `other` runs here. A variant beyond the architecture's least is not taken for granted.
    #[must_use]
    pub fn runs(&self, other: &Platform) -> bool {
        let least = match self.architecture.as_str() {
            "amd64" => "v1",
            "arm64" => "v8",
            _ => "",
        };
        let variant = other.variant.as_deref().unwrap_or_default();
        self.os == other.os
            && self.architecture == other.architecture
            && (variant.is_empty() || variant == least)
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", shown(self.os.as_bytes()), shown(self.architecture.as_bytes()))?;
        match self.variant.as_deref() {
            Some(variant) if !variant.is_empty() => write!(f, "/{}", shown(variant.as_bytes())),
            _ => Ok(()),
        }
    }
}

/// The entry of an index to take on `node`: the first that runs on it, else the first that does not say what it runs on.
#[must_use]
pub fn choose<'a>(candidates: &'a [Candidate], node: &Platform) -> Option<&'a Candidate> {
    let runs =
        |candidate: &&Candidate| candidate.platform.as_ref().is_some_and(|platform| node.runs(platform));
    candidates.iter().find(runs).or_else(|| candidates.iter().find(|candidate| candidate.platform.is_none()))
}

#[derive(Deserialize)]
struct RawDocument {
    #[serde(rename = "schemaVersion")]
    schema_version: Option<u64>,
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
}

#[derive(Deserialize)]
struct RawDescriptor {
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    digest: String,
    size: i64,
    platform: Option<Platform>,
}

impl Document {
    /// Reads the document `bytes`, whose digest is `digest`.
    ///
    /// # Errors
    /// What it says that cannot be.
    pub fn parse(digest: Digest, bytes: &[u8]) -> Result<Self, Error> {
        let fault = |why: String| Error::Blob { digest, fault: Fault::Document(why) };
        let raw: RawDocument = serde_json::from_slice(bytes)
            .map_err(|error| fault(format!("is no manifest: {}", shown(error.to_string().as_bytes()))))?;
        if raw.schema_version != Some(2) {
            let why = "the manifest is not of schema version 2; older ones cannot be verified by digest";
            return Err(Error::Unsupported { object: format!("manifest {digest}"), why: why.into() });
        }
        let said = raw
            .media_type
            .as_deref()
            .map(|said| said.contains(".index.") || said.contains(".manifest.list."));
        match (raw.manifests, raw.layers, raw.config) {
            (Some(manifests), None, None) if said != Some(false) => {
                let candidates = manifests.into_iter().map(|raw| candidate(digest, raw));
                Ok(Document::Index(candidates.collect::<Result<_, _>>()?))
            }
            (None, Some(layers), Some(config)) if said != Some(true) => {
                if layers.len() > MOST_LAYERS {
                    return Err(Error::Limit {
                        digest,
                        limit: format!("{} layers, {MOST_LAYERS} are allowed", layers.len()),
                    });
                }
                let config = candidate(digest, config)?.descriptor;
                let layers = layers.into_iter().map(|raw| Ok(candidate(digest, raw)?.descriptor));
                Ok(Document::Manifest(Manifest { config, layers: layers.collect::<Result<_, Error>>()? }))
            }
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
                Err(fault("could be read as a manifest and as an index".into()))
            }
            (Some(_), None, None) | (None, Some(_), Some(_)) => {
                Err(fault("calls itself what it is not".into()))
            }
            (None, _, _) => Err(fault("is no manifest: config or layers are absent".into())),
        }
    }
}

fn candidate(document: Digest, raw: RawDescriptor) -> Result<Candidate, Error> {
    let fault = |why: String| Error::Blob { digest: document, fault: Fault::Document(why) };
    let digest = raw.digest.parse().map_err(|error: NotADigest| match error {
        NotADigest::Malformed => fault(format!("{}: {error}", shown(raw.digest.as_bytes()))),
        NotADigest::Unsupported(_) => {
            Error::Unsupported { object: format!("manifest {document}"), why: error.to_string() }
        }
    })?;
    let size = u64::try_from(raw.size).map_err(|_| fault(format!("gives blob {digest} a negative size")))?;
    let descriptor = Descriptor { media_type: raw.media_type.unwrap_or_default(), digest, size };
    Ok(Candidate { descriptor, platform: raw.platform })
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_model::report::Kind;

    fn parse(text: &str) -> Result<Document, Error> {
        Document::parse(Digest::from_sha256([1; 32]), text.as_bytes())
    }

    fn descriptor(byte: &str, more: &str) -> String {
        format!(r#"{{"mediaType":"m","digest":"sha256:{}","size":3{more}}}"#, byte.repeat(32))
    }

    #[test]
    fn manifests_and_indexes_are_told_apart() {
        let (config, layer) = (descriptor("0a", ""), descriptor("0b", r#","urls":["http://elsewhere"]"#));
        let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#);
        let Document::Manifest(manifest) = parse(&manifest).unwrap() else { panic!("a manifest") };
        assert_eq!((manifest.config.digest.hex(), manifest.layers.len()), ("0a".repeat(32), 1));
        let entry = descriptor("0c", r#","platform":{"os":"linux","architecture":"amd64","variant":"v1"}"#);
        let Document::Index(entries) =
            parse(&format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#)).unwrap()
        else {
            panic!("an index")
        };
        assert_eq!(entries[0].platform.as_ref().unwrap().to_string(), "linux/amd64/v1");
    }

    #[test]
    fn what_is_not_one_thing_is_refused() {
        let one = descriptor("0a", "");
        let index = "application/vnd.oci.image.index.v1+json";
        let manifest = "application/vnd.docker.distribution.manifest.v2+json";
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for (text, kind) in [
            ("", Kind::Corrupt),
            ("{}", Kind::Unsupported),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, Kind::Unsupported),
            (r#"{"schemaVersion":2}"#, Kind::Corrupt),
            (&format!(r#"{{"schemaVersion":2,"layers":[{one}]}}"#), Kind::Corrupt),
            (&format!(r#"{{"schemaVersion":2,"layers":[],"config":{one},"manifests":[]}}"#), Kind::Corrupt),
            (r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#, Kind::Corrupt),
            (
                &format!(r#"{{"schemaVersion":2,"mediaType":"{index}","layers":[],"config":{one}}}"#),
                Kind::Corrupt,
            ),
            (
                &format!(r#"{{"schemaVersion":2,"mediaType":"{manifest}","manifests":[{one}]}}"#),
                Kind::Corrupt,
            ),
            (&format!(r#"{{"schemaVersion":2,"schemaVersion":2,"manifests":[{one}]}}"#), Kind::Corrupt),
            (&format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, one.replace(":3", ":-3")), Kind::Corrupt),
            (
                &format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, one.replace(":3", ":1e30")),
                Kind::Corrupt,
            ),
            (&format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, one.replace("0a", "..")), Kind::Corrupt),
            (
                &format!(
                    r#"{{"schemaVersion":2,"manifests":[{{"digest":"sha512:{}","size":1}}]}}"#,
                    "0a".repeat(64)
                ),
                Kind::Unsupported,
            ),
            (
                &format!(
                    r#"{{"schemaVersion":2,"config":{one},"layers":[{}]}}"#,
                    vec![one.clone(); 491].join(",")
                ),
                Kind::Exhausted,
            ),
            (&format!(r#"{{"schemaVersion":2,"manifests":{deep}}}"#), Kind::Corrupt),
        ] {
            assert_eq!(parse(text).unwrap_err().kind(), kind, "{}", &text[..text.len().min(120)]);
        }
    }

    #[test]
    fn the_entry_for_this_node_is_chosen() {
        let candidate = |platform: Option<(&str, &str, Option<&str>)>| Candidate {
            descriptor: Descriptor {
                media_type: String::new(),
                digest: Digest::from_sha256([0; 32]),
                size: 0,
            },
            platform: platform.map(|(os, architecture, variant)| Platform {
                os: os.into(),
                architecture: architecture.into(),
                variant: variant.map(Into::into),
            }),
        };
        let node = Platform { os: "linux".into(), architecture: "amd64".into(), variant: None };
        let entries = [
            candidate(Some(("unknown", "unknown", None))),
            candidate(None),
            candidate(Some(("windows", "amd64", None))),
            candidate(Some(("linux", "arm64", Some("v8")))),
            candidate(Some(("linux", "amd64", Some("v3")))),
            candidate(Some(("linux", "amd64", None))),
        ];
        assert!(std::ptr::eq(choose(&entries, &node).unwrap(), &raw const entries[5]));
        assert!(std::ptr::eq(choose(&entries[..5], &node).unwrap(), &raw const entries[1]));
        assert_eq!(choose(&entries[2..5], &node), None);
        let arm = Platform { architecture: "arm64".into(), ..node };
        assert!(std::ptr::eq(choose(&entries, &arm).unwrap(), &raw const entries[3]));
    }
}
