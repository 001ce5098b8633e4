//! `orlop version`: who this is and who answers.

use std::io::Write as _;
use std::path::Path;

use clap::Args;
use orlop_proto::runtime::v1::{VersionRequest, VersionResponse};
use serde_json::json;

use crate::args::Style;
use crate::client::{Daemon, question};
use crate::failure::Failure;
use crate::render::json;
use crate::render::text::escape;

/// Its flags.
#[derive(Debug, Args)]
pub(crate) struct Version {
    /// For people, or as JSON
    #[arg(short, long, value_enum, default_value_t = Style::Text)]
    output: Style,
}

impl Version {
    /// Says its own version also where no daemon answers.
    pub(super) async fn run(self, host: &Path) -> Result<u8, Failure> {
        let daemon = ask(host).await;
        let (mut out, _) = super::output();
        let client = env!("CARGO_PKG_VERSION");
        match self.output {
            Style::Text => {
                writeln!(out, "client  orlop {client}")?;
                if let Ok(daemon) = &daemon {
                    let VersionResponse { runtime_name, runtime_version, runtime_api_version, .. } = daemon;
                    let named =
                        escape(&format!("{runtime_name} {runtime_version}, CRI {runtime_api_version}"));
                    writeln!(out, "daemon  {named}, at unix://{}", escape(&host.display().to_string()))?;
                }
            }
            Style::Json => {
                let daemon = daemon.as_ref().ok().map(|daemon| {
                    json!({
                        "name": daemon.runtime_name,
                        "version": daemon.runtime_version,
                        "apiVersion": daemon.runtime_api_version,
                        "host": format!("unix://{}", host.display()),
                    })
                });
                json::line(
                    &mut out,
                    &json!({"client": {"name": "orlop", "version": client}, "daemon": daemon}),
                )?;
            }
        }
        out.flush()?;
        daemon.map(|_| 0)
    }
}

async fn ask(host: &Path) -> Result<VersionResponse, Failure> {
    let daemon = Daemon::connect(host).await?;
    let answer = daemon.runtime().version(question(VersionRequest { version: "v1".into() })).await;
    Ok(answer.map_err(|status| daemon.refused("version", &status))?.into_inner())
}
