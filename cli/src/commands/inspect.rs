//! `orlop inspect`: all that the daemon says of pods, containers or images, as JSON.

use std::io::Write as _;

use clap::Args;
use orlop_proto::runtime::v1::{ImageSpec, ImageStatusRequest, PodSandboxStatusRequest};
use serde_json::Value;

use crate::args::Kind;
use crate::client::{Daemon, question};
use crate::failure::Failure;
use crate::render::json;
use crate::resolve::Catalogue;
use crate::shape;

/// Its flags.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Containers, pods or images
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// What is meant, where a name may mean several
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    kind: Option<Kind>,
}

impl Inspect {
    /// An array with all that was found, in the order in which it was asked for.
    pub(super) async fn run(self, daemon: &Daemon) -> Result<u8, Failure> {
        let every = [Kind::Container, Kind::Pod, Kind::Image];
        let all = Catalogue::read(daemon, self.kind.as_ref().map_or(&every, std::slice::from_ref)).await?;
        let mut found = Vec::new();
        for given in &self.ids {
            let thing = all.find(given)?;
            found.push(look(daemon, thing.kind, thing.id).await.map_err(|status| match status {
                Some(status) => daemon.refused(&format!("inspect {given}"), &status),
                None => {
                    Failure::Incomplete { what: format!("inspect {}", thing.kind.name()), lacks: "a status" }
                }
            })?);
        }
        let (mut out, _) = super::output();
        json::pretty(&mut out, &Value::Array(found))?;
        out.flush()?;
        Ok(0)
    }
}

/// What the daemon says of one thing; `None` for an answer without a status.
async fn look(daemon: &Daemon, kind: Kind, id: String) -> Result<Value, Option<tonic::Status>> {
    match kind {
        Kind::Container => {
            let answer = daemon.container_status(&id, true).await?;
            Ok(shape::container::whole(&answer.status.ok_or(None)?, &answer.info))
        }
        Kind::Pod => {
            let request = PodSandboxStatusRequest { pod_sandbox_id: id, verbose: true };
            let answer = daemon.runtime().pod_sandbox_status(question(request)).await?.into_inner();
            Ok(shape::pod::whole(&answer.status.ok_or(None)?, &answer.info))
        }
        Kind::Image => {
            let image = Some(ImageSpec { image: id, ..ImageSpec::default() });
            let request = question(ImageStatusRequest { image, verbose: true });
            let answer = daemon.images().image_status(request).await?.into_inner();
            Ok(shape::image::with_info(&answer.image.ok_or(None)?, &answer.info))
        }
    }
}
