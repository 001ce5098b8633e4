//! One container's, one pod's figures.
//!
//! *Invariant:* a container that does not run uses nothing: it has no reading, and still has its layer.

use std::sync::Arc;

use orlop_cgroup::count::{self, Detail};
use orlop_model::life::pod::State as PodState;
use orlop_model::report::Report;
use orlop_model::time::Timestamp;

use super::layer::Count;
use super::links::{self, Links};
use super::process::{self, Processes};
use super::rate::per_second;
use super::{Reading, runs};
use crate::pods::container::Container;
use crate::pods::pod::Pod;
use crate::pods::{Core, Places, now};

/// What a container uses.
pub(crate) struct ContainerFigures {
    pub(crate) container: Arc<Container>,
    /// None if it does not run.
    pub(crate) reading: Option<Reading>,
    /// None if it was never counted.
    pub(crate) layer: Option<Count>,
}

/// What a pod uses.
pub(crate) struct PodFigures {
    pub(crate) pod: Arc<Pod>,
    pub(crate) reading: Reading,
    /// None if it has no network of its own, or no more.
    pub(crate) links: Option<Links>,
    /// Its running containers.
    pub(crate) containers: Vec<ContainerFigures>,
    /// Processes of these, and when they were counted.
    pub(crate) processes: (u64, Timestamp),
}

/// What only metrics show of a cgroup.
pub(crate) struct Details {
    pub(crate) detail: Detail,
    /// Of containers only.
    pub(crate) processes: Option<Processes>,
    /// How many files its first process may have open.
    pub(crate) most_open_files: Option<u64>,
}

/// A container's figures.
///
/// # Errors
/// If the kernel's own files cannot be read.
pub(crate) fn container(core: &Core, container: &Arc<Container>) -> Result<ContainerFigures, Report> {
    let layer = core.gauges.layers.ask(container, &core.places.layer(&container.id));
    let mut reading = None;
    if runs(&container.state()) {
        let mut read = container.gauge.read(core, &core.container_cgroup(container), true)?;
        read.rate = read.rate.or_else(|| {
            let born = container.started_at();
            (born != Timestamp::NEVER).then_some(per_second(read.usage.cpu?, read.at.since(born)))
        });
        reading = Some(read);
    }
    Ok(ContainerFigures { container: Arc::clone(container), reading, layer })
}

/// A container's figures, if it runs, and still did when they were read.
///
/// # Errors
/// If the kernel's own files cannot be read.
pub(crate) fn running(core: &Core, one: &Arc<Container>) -> Result<Option<ContainerFigures>, Report> {
    if !runs(&one.state()) {
        return Ok(None);
    }
    let figures = container(core, one)?;
    Ok(runs(&one.state()).then_some(figures))
}

/// The figures of pods, in their order.
///
/// # Errors
/// If the kernel's own files cannot be read.
pub(crate) fn pods(core: &Core, pods: Vec<Arc<Pod>>) -> Result<Vec<PodFigures>, Report> {
    let pin = |pod: &Arc<Pod>| {
        let has = !pod.config.namespaces.host_network && pod.state() == PodState::Ready;
        has.then(|| Places::netns(&pod.id))
    };
    let links = links::read(&pods.iter().map(pin).collect::<Vec<_>>())?;
    let all = core.table.containers();
    let figures = |(pod, links): (Arc<Pod>, _)| {
        let own = all.iter().filter(|container| container.pod.id == pod.id);
        one_pod(core, Arc::clone(&pod), links, own)
    };
    pods.into_iter().zip(links).map(figures).collect()
}

fn one_pod<'a>(
    core: &Core,
    pod: Arc<Pod>,
    links: Option<Links>,
    own: impl Iterator<Item = &'a Arc<Container>>,
) -> Result<PodFigures, Report> {
    let containers = own.filter_map(|one| running(core, one).transpose()).collect::<Result<Vec<_>, _>>()?;
    let mut reading = match core.pod_cgroup(&pod).as_str() {
        // Its containers are right below the root, whose figures are the machine's.
        "" => Reading { at: now(), ..Reading::default() },
        path => pod.gauge.read(core, path, !containers.is_empty())?,
    };
    // Where nobody has looked at the pod yet: what its containers do is what it does.
    let rate = || containers.iter().filter_map(|one| one.reading.as_ref()?.rate).sum();
    reading.rate = Some(reading.rate.unwrap_or_else(rate));
    let at = now();
    let mut processes = 0;
    for one in &containers {
        let path = core.container_cgroup(&one.container);
        processes += count::processes(&core.node.hierarchies, &path).map_err(Report::from)?.len() as u64;
    }
    Ok(PodFigures { pod, reading, links, containers, processes: (processes, at) })
}

/// What only metrics show of a container.
///
/// # Errors
/// If the kernel's own files cannot be read.
pub(crate) fn container_details(core: &Core, container: &Container) -> Result<Details, Report> {
    let path = core.container_cgroup(container);
    let pids = count::processes(&core.node.hierarchies, &path)?;
    let first = container.life().born.as_ref().map(|born| born.pid);
    Ok(Details {
        detail: Detail::read(&core.node.hierarchies, &path)?,
        processes: Some(process::read(&pids)),
        most_open_files: first.and_then(process::most_open_files),
    })
}

/// What only metrics show of a pod.
///
/// # Errors
/// If the kernel's own files cannot be read.
pub(crate) fn pod_details(core: &Core, pod: &Pod) -> Result<Details, Report> {
    let detail = match core.pod_cgroup(pod).as_str() {
        "" => Detail::default(),
        path => Detail::read(&core.node.hierarchies, path)?,
    };
    Ok(Details { detail, processes: None, most_open_files: None })
}
