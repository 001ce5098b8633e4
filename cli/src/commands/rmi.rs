//! `orlop rmi`: removes images.

use clap::Args;
use orlop_proto::runtime::v1::{ImageSpec, RemoveImageRequest};

use crate::args::Kind;
use crate::client::Daemon;
use crate::failure::Failure;
use crate::resolve::Catalogue;

/// Its flags.
#[derive(Debug, Args)]
pub(crate) struct Rmi {
    /// Names or ids of images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Also one that has several names: it is gone under all of them
    #[arg(short, long)]
    force: bool,
}

impl Rmi {
    pub(super) async fn run(self, daemon: &Daemon) -> Result<u8, Failure> {
        let all = Catalogue::read(daemon, &[Kind::Image]).await?;
        super::each(&self.images, async |given| {
            let image = all.find(given)?;
            if image.tags().len() > 1 && !self.force {
                return Err(Failure::ManyNames { given: given.into(), names: image.tags() });
            }
            let spec = ImageSpec { image: image.id, ..ImageSpec::default() };
            let answer = daemon.images().remove_image(RemoveImageRequest { image: Some(spec) }).await;
            answer.map(drop).map_err(|status| daemon.refused(&format!("rmi {given}"), &status))
        })
        .await
    }
}
