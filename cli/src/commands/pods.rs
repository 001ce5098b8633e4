//! `orlop pods`: pods.

use std::io::Write as _;

use clap::Args;
use orlop_proto::runtime::v1::PodSandbox;

use crate::args::{Format, Listing};
use crate::client::Daemon;
use crate::failure::Failure;
use crate::render::table::{Cell, Table};
use crate::render::{json, paint, text, time};
use crate::resolve::pod_state;
use crate::shape;

/// Its flags.
#[derive(Debug, Args)]
pub(crate) struct Pods {
    #[command(flatten)]
    listing: Listing,
}

impl Pods {
    pub(super) async fn run(self, daemon: &Daemon) -> Result<u8, Failure> {
        let mut pods = daemon.list_pods().await?;
        pods.sort_by_cached_key(|pod| {
            let metadata = pod.metadata.clone().unwrap_or_default();
            (metadata.namespace, metadata.name, std::cmp::Reverse(pod.created_at), pod.id.clone())
        });
        let (mut out, paint) = super::output();
        let Listing { quiet, output, no_trunc } = self.listing;
        if quiet {
            for pod in &pods {
                writeln!(out, "{}", text::escape(text::id(&pod.id, no_trunc)))?;
            }
        } else if output == Format::Json {
            for pod in &pods {
                json::line(&mut out, &shape::pod::listed(pod))?;
            }
        } else {
            table(&pods, no_trunc).write(&mut out, paint)?;
        }
        out.flush()?;
        Ok(0)
    }
}

fn table(pods: &[PodSandbox], whole: bool) -> Table {
    let now = super::now();
    let mut table = Table::new(&["ID", "POD", "NAMESPACE", "STATE", "CREATED", "ATTEMPT", "RUNTIME"]);
    for pod in pods {
        let metadata = pod.metadata.clone().unwrap_or_default();
        let state = pod_state(pod.state());
        let runtime = if pod.runtime_handler.is_empty() { "native" } else { &pod.runtime_handler };
        table.row([
            text::id(&pod.id, whole).into(),
            metadata.name.into(),
            metadata.namespace.into(),
            Cell::inked(state, paint::of_state(state)),
            time::ago(pod.created_at, now).into(),
            metadata.attempt.to_string().into(),
            runtime.into(),
        ]);
    }
    table
}
