//! Pods' networks by CNI plugins.
//!
//! *Invariant:* plugins are waited for on threads of their own, one a pod: however many hang, calls, lists and other pods do not
//! notice. Each plugin has a deadline, so each thread has an end.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use orlop_model::id::PodId;
use orlop_model::pod::PodConfig;
use orlop_model::report::{Kind, Report};
use orlop_network::cni::{Attachment, Client, Pens, Settings};

use super::Network;
use crate::config::{self, NetworkMode};
use crate::node::Node;
use crate::pods::{Core, Places};

/// Between two looks for attachments that are nobody's.
const COLLECTION: Duration = Duration::from_mins(1);

/// What the client needs to know.
pub(super) fn settings(config: &config::Network, places: &Places, node: &Node) -> Settings {
    Settings {
        conf_dir: config.cni_conf_dir.clone(),
        bin_dirs: config.cni_bin_dirs.clone(),
        records: places.root.join("cni"),
        deadline: config.cni_timeout,
        pens: Pens::new(&node.hierarchies, &node.cgroup_parent),
    }
}

impl Network {
    /// Does `work` on a thread of its own, and waits for it however long it takes: plugins have deadlines.
    async fn on_thread<T: Send + 'static>(
        &self,
        stage: &'static str,
        work: impl FnOnce(&Client) -> T + Send + 'static,
    ) -> Result<T, Report> {
        let (done, wait) = tokio::sync::oneshot::channel();
        let client = Arc::clone(&self.plugins);
        let work = move || drop(done.send(work(&client)));
        let thread = std::thread::Builder::new().name("cni".into()).stack_size(256 << 10).spawn(work);
        thread.map_err(|error| Report::new(Kind::Exhausted, stage, "", error))?;
        wait.await.map_err(|_| Report::new(Kind::Failed, stage, "", "its thread ended before it"))
    }

    /// Begins what goes on by itself: the configuration is watched; what is nobody's is taken down.
    ///
    /// # Errors
    /// If there can be no thread.
    pub(crate) fn begin(core: &Arc<Core>) -> Result<(), Report> {
        match core.network.mode {
            NetworkMode::Bridge => {}
            NetworkMode::Cni => {
                let failed = |error| Report::new(Kind::Failed, "watch", "CNI configuration", error);
                core.network.plugins.start().map_err(failed)?;
            }
        }
        if core.network.mode == NetworkMode::Cni || !core.network.plugins.attached().is_empty() {
            let core = Arc::clone(core);
            tokio::spawn(async move { keep_clean(&core).await });
        }
        Ok(())
    }

    /// Attaches a pod; its addresses in the order that the plugins gave.
    ///
    /// # Errors
    /// What a plugin said; then [`Network::leave`] takes down what was made.
    pub(crate) async fn join(
        &self,
        pod: &PodId,
        config: &PodConfig,
        netns: PathBuf,
    ) -> Result<Vec<IpAddr>, Report> {
        let cidr = self.pod_cidr();
        let attachment = Attachment::new(pod.as_str(), netns, config, (cidr.v4, cidr.v6))?;
        let has_ports = config.ports.iter().any(|port| port.host_port != 0);
        let short = pod.short().to_owned();
        self.on_thread("attach", move |client| {
            let addresses = client.attach(&attachment)?;
            if has_ports && !client.maps_ports() {
                // A network may lead ports by other ways than this; then it does not ask to be told.
                tracing::warn!(pod = short, "no plugin of its network asked for its host ports");
            }
            Ok(addresses)
        })
        .await?
        .map_err(|error: orlop_network::Error| Report::from(error))
    }

    /// Detaches a pod, if it is attached. Idempotent.
    ///
    /// # Errors
    /// What a plugin said; the next call begins anew.
    pub(crate) async fn leave(&self, pod: &str) -> Result<(), Report> {
        let pod = pod.to_owned();
        self.on_thread("detach", move |client| client.detach(&pod)).await?.map_err(Report::from)
    }

    /// Asks the plugins whether the pod's attachment is as it should be.
    ///
    /// # Errors
    /// What one of them said.
    pub(crate) async fn check(&self, pod: &PodId) -> Result<(), Report> {
        let pod = pod.clone();
        self.on_thread("check", move |client| client.check(pod.as_str())).await?.map_err(Report::from)
    }

    /// The ids of pods that are attached, or half attached.
    pub(crate) fn attached(&self) -> Vec<String> {
        self.plugins.attached()
    }
}

/// Takes down attachments of pods that are gone: their records did not outlive a boot, or their making was cut off and could not be
/// undone. Then tells the plugins once which there are.
async fn keep_clean(core: &Arc<Core>) {
    let mut collected = core.network.mode != NetworkMode::Cni;
    loop {
        for id in core.network.attached() {
            if is_owned(core, &id) {
                continue;
            }
            match core.network.leave(&id).await {
                Ok(()) => tracing::info!(pod = id, "detached: its pod is gone"),
                Err(report) => tracing::warn!(pod = id, "not detached, tried again in a minute: {report}"),
            }
        }
        if !collected {
            let owned: BTreeSet<String> =
                core.network.attached().into_iter().filter(|id| is_owned(core, id)).collect();
            let known = Arc::clone(core);
            let told = core.network.on_thread("collect", move |client| {
                client.collect(|id| owned.contains(id) || is_owned(&known, id))
            });
            match told.await {
                Ok(Ok(done)) => collected = done,
                Ok(Err(error)) => {
                    collected = true;
                    tracing::warn!("plugins cannot collect: {}", Report::from(error));
                }
                Err(report) => tracing::warn!("{report}"),
            }
        }
        tokio::time::sleep(COLLECTION).await;
    }
}

/// Whether there is a pod of this id, or its directory still: then it is taken down from there.
fn is_owned(core: &Core, id: &str) -> bool {
    core.table.pods().iter().any(|pod| pod.id.as_str() == id)
        || core.places.state.join("pods").join(id).exists()
}
