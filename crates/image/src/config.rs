//! The config of an image: what it runs, as whom, and which layers it is made of.
//!
//! *Invariant:* a config is a claim. Nothing in it makes a layer be what it says; that is checked where the layer is unpacked.

use oci_spec::image::ImageConfiguration;
use orlop_model::reference::{Digest, NotADigest};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Fault, shown};
use crate::manifest::Platform;

/// The largest config that is read, in bytes.
pub const LARGEST_CONFIG: u64 = 4 << 20;

/// The config of an image, in the types of the OCI image specification.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageConfig {
    raw: ImageConfiguration,
    diff_ids: Vec<Digest>,
}

/// Whom an image's process runs as, as far as the config alone says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageUser {
    /// It says nothing: root.
    Unset,
    /// By number.
    Uid(i64),
    /// By a name that the image's own `/etc/passwd` has, or has not.
    Name(String),
}

impl ImageConfig {
    /// Reads the config `bytes`, whose digest is `digest`.
    ///
    /// # Errors
    /// What it says that cannot be.
    pub fn parse(digest: Digest, bytes: &[u8]) -> Result<Self, Error> {
        let fault = |why: String| Error::Blob { digest, fault: Fault::Document(why) };
        let raw: ImageConfiguration = serde_json::from_slice(bytes)
            .map_err(|error| fault(format!("is no image config: {}", shown(error.to_string().as_bytes()))))?;
        let diff_ids = raw.rootfs().diff_ids().iter().map(|text| {
            text.parse()
                .map_err(|error: NotADigest| fault(format!("diff_id {}: {error}", shown(text.as_bytes()))))
        });
        let diff_ids = diff_ids.collect::<Result<_, _>>()?;
        Ok(ImageConfig { raw, diff_ids })
    }

    /// All of it.
    #[must_use]
    pub fn oci(&self) -> &ImageConfiguration {
        &self.raw
    }

    /// The layers that it is made of, unpacked, lowest first.
    #[must_use]
    pub fn diff_ids(&self) -> &[Digest] {
        &self.diff_ids
    }

    /// What it runs on.
    #[must_use]
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.raw.os().to_string(),
            architecture: self.raw.architecture().to_string(),
            variant: self.raw.variant().clone(),
        }
    }

    /// Whom it runs as.
    #[must_use]
    pub fn user(&self) -> ImageUser {
        let user = self.raw.config().as_ref().and_then(|config| config.user().as_deref()).unwrap_or_default();
        let user = user.split(':').next().unwrap_or_default();
        match user.parse() {
            _ if user.is_empty() => ImageUser::Unset,
            Ok(uid) => ImageUser::Uid(uid),
            Err(_) => ImageUser::Name(user.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ImageConfig, Error> {
        ImageConfig::parse(Digest::from_sha256([1; 32]), text.as_bytes())
    }

    fn with(config: &str) -> ImageConfig {
        parse(&format!(
            r#"{{"architecture":"amd64","os":"linux","config":{config},"rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#,
            "0a".repeat(32)
        ))
        .unwrap()
    }

    #[test]
    fn dockers_nulls_are_read() {
        let config = with(
            r#"{"Hostname":"","User":"","AttachStdin":false,"ExposedPorts":null,"Volumes":null,"Env":null,"Cmd":["sh"],
                "Entrypoint":null,"Labels":null,"OnBuild":null,"Healthcheck":{"Test":["CMD"]},"ArgsEscaped":true}"#,
        );
        assert_eq!(config.oci().config().as_ref().unwrap().cmd().as_deref(), Some(&["sh".to_owned()][..]));
        assert_eq!((config.diff_ids().len(), config.platform().to_string()), (1, "linux/amd64".into()));
        assert_eq!(config.user(), ImageUser::Unset);
    }

    #[test]
    fn the_user_is_a_number_or_a_name() {
        for (user, is) in [
            ("1002", ImageUser::Uid(1002)),
            ("1002:1003", ImageUser::Uid(1002)),
            ("www-data", ImageUser::Name("www-data".into())),
            ("www-data:www-data", ImageUser::Name("www-data".into())),
            (":5", ImageUser::Unset),
        ] {
            assert_eq!(with(&format!(r#"{{"User":"{user}"}}"#)).user(), is, "{user}");
        }
    }

    #[test]
    fn a_config_that_cannot_be_is_refused() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for text in [
            "",
            "[]",
            "{}",
            r#"{"architecture":"amd64","os":"linux"}"#,
            r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:../../x"]}}"#,
            r#"{"architecture":"amd64","os":"linux","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#,
            &format!(
                r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":{deep}}}}}"#
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.kind(), orlop_model::report::Kind::Corrupt, "{}", &text[..text.len().min(120)]);
        }
    }
}
