//! `orlop ps`: containers.

use std::io::Write as _;

use clap::Args;
use orlop_proto::runtime::v1::{Container, ContainerState, PodSandbox};

use crate::args::{Format, Kind, Listing};
use crate::client::Daemon;
use crate::failure::Failure;
use crate::render::table::{Cell, Table};
use crate::render::{json, paint, text, time};
use crate::resolve::{Catalogue, container_state, pod_name};
use crate::shape;

/// Its flags.
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Also those that do not run
    #[arg(short, long)]
    all: bool,
    /// Only those of one pod
    #[arg(long, value_name = "POD")]
    pod: Option<String>,
    #[command(flatten)]
    listing: Listing,
}

impl Ps {
    pub(super) async fn run(self, daemon: &Daemon) -> Result<u8, Failure> {
        let pods = daemon.list_pods().await?;
        let mut containers = daemon.list_containers().await?;
        if let Some(pod) = &self.pod {
            let pod = Catalogue::read(daemon, &[Kind::Pod]).await?.find(pod)?;
            containers.retain(|container| container.pod_sandbox_id == pod.id);
        }
        containers.retain(|container| self.all || container.state() == ContainerState::ContainerRunning);
        sort(&mut containers, &pods);
        self.show(&containers, &pods)?;
        Ok(0)
    }

    fn show(&self, containers: &[Container], pods: &[PodSandbox]) -> Result<(), Failure> {
        let (mut out, paint) = super::output();
        let Listing { quiet, output, no_trunc } = self.listing;
        if quiet {
            for container in containers {
                writeln!(out, "{}", text::escape(text::id(&container.id, no_trunc)))?;
            }
        } else if output == Format::Json {
            for container in containers {
                json::line(&mut out, &shape::container::listed(container, pods))?;
            }
        } else {
            table(containers, pods, no_trunc).write(&mut out, paint)?;
        }
        Ok(out.flush()?)
    }
}

/// By namespace, pod and name; the newest attempt first.
fn sort(containers: &mut [Container], pods: &[PodSandbox]) {
    let name = |container: &Container| container.metadata.as_ref().map(|metadata| metadata.name.clone());
    containers.sort_by_cached_key(|container| {
        let (namespace, pod) = pod_name(pods, &container.pod_sandbox_id);
        let newest = std::cmp::Reverse(container.created_at);
        (namespace.to_owned(), pod.to_owned(), name(container), newest, container.id.clone())
    });
}

fn table(containers: &[Container], pods: &[PodSandbox], whole: bool) -> Table {
    let now = super::now();
    let mut table =
        Table::new(&["CONTAINER", "NAME", "IMAGE", "STATE", "CREATED", "ATTEMPT", "POD", "NAMESPACE"]);
    for container in containers {
        let metadata = container.metadata.clone().unwrap_or_default();
        let (namespace, pod) = pod_name(pods, &container.pod_sandbox_id);
        let state = container_state(container.state());
        let image = shape::container::image(container);
        let image = if image.starts_with("sha256:") { text::id(&image, whole) } else { &image };
        table.row([
            text::id(&container.id, whole).into(),
            metadata.name.into(),
            image.into(),
            Cell::inked(state, paint::of_state(state)),
            time::ago(container.created_at, now).into(),
            metadata.attempt.to_string().into(),
            pod.into(),
            namespace.into(),
        ]);
    }
    table
}
