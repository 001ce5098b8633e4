//! A pod is made.
//!
//! ```text
//!  claim the name ─▶ directory, ledger ─▶ namespaces ─▶ pin ─▶ network ─▶ init process ─▶ files ─▶ record ─▶ Ready
//! ```
//!
//! *Invariant:* the ledger has each thing before it is made; a step that fails is followed by the one walk that takes all down.

use std::sync::Arc;
use std::time::Instant;

use orlop_model::id::PodId;
use orlop_model::life::pod::{Event, State};
use orlop_model::pod::{PodConfig, PodName};
use orlop_model::report::{Kind, Report};
use orlop_proto::runtime::v1::PodSandboxConfig;

use super::ledger::{Ledger, Thing};
use super::pod::{Made, Pod};
use super::table::Claim;
use super::{Core, Places};
use crate::blocking::blocking;
use crate::room::Shape;

/// Makes a pod, or joins its making; waits until it is ready.
///
/// # Errors
/// Why it could not be made; then nothing of it is left.
pub(crate) async fn run(
    core: &Arc<Core>,
    config: PodConfig,
    asked: PodSandboxConfig,
) -> Result<Arc<Pod>, Report> {
    let name = config.name.clone();
    let claim = claim(core, config, asked)?;
    let pod = match claim {
        Claim::Taken(pod) => pod,
        Claim::New(pod) => {
            supersede(core, &name);
            let (core, making) = (Arc::clone(core), Arc::clone(&pod));
            tokio::spawn(async move { make(&core, &making).await });
            pod
        }
    };
    pod.ready().await?;
    Ok(pod)
}

/// Makes a pod that is not there yet; waits until it is ready.
///
/// # Errors
/// If there is one with this name, or why it could not be made; then nothing of it is left.
pub(crate) async fn run_new(
    core: &Arc<Core>,
    config: PodConfig,
    asked: PodSandboxConfig,
) -> Result<Arc<Pod>, Report> {
    let name = config.name.clone();
    let claim = claim(core, config, asked)?;
    let Claim::New(pod) = claim else {
        let cause = "there is a pod with this name, namespace, UID and attempt";
        return Err(Report::new(Kind::WrongState, "make pod", name.name, cause).advise("remove it first"));
    };
    supersede(core, &name);
    make(core, &pod).await;
    pod.ready().await?;
    Ok(pod)
}

/// The pod of this name, new if there is none; where its containers' cgroups are is decided then.
fn claim(core: &Core, config: PodConfig, asked: PodSandboxConfig) -> Result<Claim<Pod>, Report> {
    let named = match config.cgroup_parent.as_str() {
        "" => None,
        parent => Some(core.node.named_cgroup(parent)?),
    };
    let name = config.name.clone();
    Ok(core.table.claim_pod(&name, || {
        let pod = Pod::new(PodId::from_random(super::random()), config, asked, super::now(), State::Making);
        pod.cgroup.get_or_init(|| named.unwrap_or_else(|| core.node.pod_cgroup(&pod.id)));
        pod
    }))
}

/// Earlier attempts that are still being made are given up: nobody waits for them.
fn supersede(core: &Core, name: &PodName) {
    for other in core.table.attempts(name) {
        if other.config.name.attempt < name.attempt && other.state() == State::Making {
            other.supersede();
        }
    }
}

async fn make(core: &Arc<Core>, pod: &Arc<Pod>) {
    // Until it can be seen.
    let mut block = None;
    let event = match steps(core, pod).await {
        Ok((made, seen)) => {
            pod.set_made(made);
            block = Some(seen);
            Event::Made
        }
        Err(report) => {
            crate::nri::pod::undone(core, pod).await;
            super::down::undo_pod(core, pod).await;
            core.table.forget_pod(pod);
            Event::Failed(report)
        }
    };
    if let Event::Failed(report) = &event {
        tracing::warn!(pod = pod.id.short(), "not made: {report}");
    }
    let _ = pod.tell(core, &event);
    drop(block);
    if pod.state() == State::Ready {
        tracing::info!(pod = pod.id.short(), name = pod.config.name.name, "ready");
    }
}

/// Where the time goes, and whether it is still worth going on.
pub(super) struct Steps<'a> {
    pod: &'a Pod,
    last: Instant,
    taken: Vec<(String, u64)>,
}

impl Steps<'_> {
    pub(super) fn mark(&mut self, what: &str) -> Result<(), Report> {
        let took = u64::try_from(self.last.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.taken.push((what.into(), took));
        self.last = Instant::now();
        crate::failpoint::pass(&format!("pod.made.{what}"));
        if self.pod.is_superseded() {
            let cause = "a later attempt of the same pod has come";
            return Err(Report::new(Kind::WrongState, "make pod", self.pod.id.short(), cause));
        }
        Ok(())
    }
}

async fn steps(core: &Arc<Core>, pod: &Arc<Pod>) -> Result<(Made, crate::nri::Block), Report> {
    let mut steps = Steps { pod, last: Instant::now(), taken: Vec::new() };
    let directory = core.places.pod(&pod.id);
    std::fs::create_dir(&directory).map_err(|error| {
        Report::new(Kind::Failed, "make directory", directory.display().to_string(), error)
    })?;
    *pod.ledger() = Some(Ledger::open("pod", &directory)?);
    steps.mark("directory")?;

    if pod.config.cgroup_parent.is_empty() {
        let group = core.pod_cgroup(pod);
        pod.with_ledger(|ledger| ledger.will(Thing::Group(group)))?;
    }
    pod.with_ledger(|ledger| ledger.will(Thing::Room))?;
    let spaces = match pod.config.namespaces.user {
        None => Vec::new(),
        Some(maps) => {
            let (core, pod) = (Arc::clone(core), Arc::clone(pod));
            blocking("make user namespace", move || super::spaces::make(&core, &pod, maps)).await??
        }
    };
    let context = core.contexts.give(core, pod)?;
    let shape = Shape { context: context.clone(), ..shape(core, pod) };
    let network = core.room.make(&pod.id, shape, spaces).await?;
    steps.mark("namespaces")?;

    let mut made = Made::default();
    if let Some(network) = network {
        made.addresses = super::connect::connect(core, pod, network, &mut steps).await?;
    }
    if pod.has_init() {
        made.init = Some(init(core, pod).await?);
        steps.mark("init")?;
    }
    super::record::write_pod_files(core, pod, &made.addresses, context.as_deref())?;
    let block = core.nri.block().await;
    crate::nri::pod::runs(core, pod, &made.addresses).await?;
    if core.nri.is_active() {
        steps.mark("nri")?;
    }
    made.stages.clone_from(&steps.taken);
    super::record::write_pod(core, pod, &made, &pod.sums())?;
    steps.mark("record")?;
    made.stages = steps.taken;
    Ok((made, block))
}

fn shape(core: &Core, pod: &Pod) -> Shape {
    let namespaces = pod.config.namespaces;
    let own_network = !namespaces.host_network;
    let mut sysctls: Vec<(String, String)> = Vec::new();
    if own_network {
        // A pod's ports are its own: no privilege guards them, and its ping needs none.
        for (name, value) in
            [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")]
        {
            sysctls.push((name.into(), value.into()));
        }
    }
    let written = |name: &str| namespaces.user.is_some() && super::spaces::is_roots(name);
    let asked = pod.config.sysctls.iter().filter(|(name, _)| !written(name));
    sysctls.extend(asked.map(|(name, value)| (name.clone(), value.clone())));
    let hostname =
        if pod.config.hostname.is_empty() { core.node.hostname.clone() } else { pod.config.hostname.clone() };
    Shape {
        network: own_network,
        ipc: !namespaces.host_ipc,
        // In the node's network a pod has the node's name, as Kubernetes expects.
        hostname: own_network.then_some(hostname),
        sysctls,
        user: namespaces.user,
        context: None,
    }
}

/// The first process of a PID namespace that the pod's containers share.
async fn init(core: &Arc<Core>, pod: &Arc<Pod>) -> Result<i32, Report> {
    pod.with_ledger(|ledger| ledger.will(Thing::Init))?;
    let handles = core.room.handles(&pod.id).await?;
    let directory = core.places.pod(&pod.id);
    let netns = (!pod.config.namespaces.host_network).then(|| Places::netns(&pod.id));
    let core = Arc::clone(core);
    blocking("start init", move || super::deeds::start_init(&core, &directory, netns.as_deref(), &handles))
        .await?
}
