//! The successor of a daemon that ended, however it ended, reads what it left.
//!
//! A directory with a record is a pod or a container that was finished: it is in the table before the socket is served. One without
//! is undone, behind the callers' back. A container whose life lock is held has a shim: it is adopted apart, with a deadline, and
//! holds back nobody. One whose lock is free ended as its exit record says, or was never started.
//!
//! Where the state directory outlives a boot, nothing that its records speak of does: its pods are stopped, its containers have ended.
//!
//! *Invariant:* nothing is guessed that a record or the kernel can say. What a ledger says was decided is gone on with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use orlop_model::container::ContainerName;
use orlop_model::id::{ContainerId, PodId};
use orlop_model::life::container::{Event, Exit, State};
use orlop_model::life::pod::State as PodState;
use orlop_model::pod::{PodConfig, PodName, PodNamespaces, Seccomp, Selinux};
use orlop_model::report::{Kind, Report};
use orlop_model::time::Timestamp;
use orlop_proto::orlop::v1::{ContainerRecord, PodRecord};
use orlop_proto::runtime::v1::PodSandboxConfig;
use orlop_wire::code::Wire as _;
use orlop_wire::message::Request;
use orlop_wire::record::{Born, file};

use super::container::Container;
use super::ledger::Ledger;
use super::pod::{Made, Pod};
use super::sums::Sums;
use super::{Core, down, record};
use crate::shims::{self, Link};

/// File that says which boot the records are of.
const BOOT: &str = "boot";
/// How long a shim that lives may take to answer at all.
const SHIM_PATIENCE: Duration = Duration::from_secs(5);

/// Reads all records into the table, and begins what has to be gone on with.
pub(crate) fn recover(core: &Arc<Core>) {
    let rebooted = rebooted(&core.places.state);
    let mut pods = entries::<PodId>(&core.places.state.join("pods"));
    // A pod that is on its way out may leave its name to one that came after it.
    pods.sort_by_key(|(_, directory)| is_going(directory));
    for (id, directory) in pods {
        if let Err(report) = recover_pod(core, &id, &directory, rebooted) {
            tracing::error!(pod = id.short(), "not recovered, left as it is: {report}");
        }
    }
    for (id, directory) in entries::<ContainerId>(&core.places.state.join("containers")) {
        if let Err(report) = recover_container(core, &id, &directory) {
            tracing::error!(container = id.short(), "not recovered, left as it is: {report}");
        }
    }
    for pod in core.table.pods() {
        go_on_with_pod(core, &pod);
    }
    sweep(core);
    let images = core.images.clone();
    core.later.spawn(async move { images.tidy(true).await });
}

/// The directories in `parent` whose names are ids.
fn entries<I: std::str::FromStr>(parent: &Path) -> Vec<(I, PathBuf)> {
    let all = std::fs::read_dir(parent).into_iter().flatten().filter_map(Result::ok);
    all.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()))).collect()
}

/// Whether the records are of an earlier boot; from now on they are of this one.
fn rebooted(state: &Path) -> bool {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let before = std::fs::read_to_string(state.join(BOOT)).unwrap_or_default();
    if before == boot {
        return false;
    }
    if let Err(report) = record::put(state, BOOT, boot.as_bytes()) {
        tracing::warn!("{report}");
    }
    !before.is_empty()
}

/// Whether a pod's removal was decided.
fn is_going(directory: &Path) -> bool {
    Ledger::open("pod", directory).is_ok_and(|ledger| ledger.has_decided("remove"))
}

fn recover_pod(core: &Arc<Core>, id: &PodId, directory: &Path, rebooted: bool) -> Result<(), Report> {
    let mut ledger = Ledger::open("pod", directory)?;
    if rebooted {
        ledger.decide("stop")?;
    }
    let Some(record) = record::read_pod(directory)? else {
        tracing::info!(pod = id.short(), "was half made; undone");
        undo_pod(core, id, ledger);
        return Ok(());
    };
    let asked = record.config.clone().unwrap_or_default();
    let config = crate::cri::convert::pod_config(&asked, &record.runtime_handler, core.node.door)?;
    let made = made(directory, &record);
    let sums = Sums { resources: record.resources.clone(), overhead: record.overhead.clone() };
    let state = if ledger.has_decided("stop") || ledger.has_decided("remove") {
        PodState::NotReady
    } else {
        PodState::Ready
    };
    let name = config.name.clone();
    let mut ledger = Some(ledger);
    core.table.claim_pod(&name, || {
        let stopped = state == PodState::NotReady;
        let pod = Pod::new(id.clone(), config, asked, Timestamp(record.created_at), state);
        pod.told.recovered(stopped);
        if !record.cgroup_parent.is_empty() {
            pod.cgroup.get_or_init(|| record.cgroup_parent.clone());
        }
        pod.set_made(made);
        pod.set_sums(sums);
        *pod.ledger() = ledger.take();
        pod
    });
    if let Some(ledger) = ledger {
        tracing::info!(pod = id.short(), "was being removed, and its name is another's; undone");
        undo_pod(core, id, ledger);
    }
    Ok(())
}

/// Undoes a pod that nobody can ask for.
fn undo_pod(core: &Arc<Core>, id: &PodId, ledger: Ledger) {
    let pod = Pod::new(id.clone(), nameless(), PodSandboxConfig::default(), super::now(), PodState::Making);
    let pod = Arc::new(pod);
    *pod.ledger() = Some(ledger);
    let owned = Arc::clone(core);
    // Nobody writes yet: no call is served.
    let undoing = Arc::clone(&core.undoing).try_read_owned();
    core.later.spawn(async move {
        down::undo_pod(&owned, &pod).await;
        drop(undoing);
    });
}

/// A pod that was not finished has no name that anyone could ask for.
fn nameless() -> PodConfig {
    PodConfig {
        name: PodName { name: String::new(), namespace: String::new(), uid: String::new(), attempt: 0 },
        hostname: String::new(),
        log_directory: String::new(),
        dns: None,
        ports: Vec::new(),
        labels: std::collections::BTreeMap::new(),
        annotations: std::collections::BTreeMap::new(),
        handler: String::new(),
        cgroup_parent: String::new(),
        sysctls: std::collections::BTreeMap::new(),
        namespaces: PodNamespaces::default(),
        privileged: false,
        seccomp: Seccomp::Unconfined,
        selinux: Selinux::default(),
    }
}

fn made(directory: &Path, record: &PodRecord) -> Made {
    let init = std::fs::read_to_string(directory.join("init")).ok().and_then(|text| text.trim().parse().ok());
    Made {
        addresses: record.addresses.iter().filter_map(|address| address.parse().ok()).collect(),
        init,
        stages: record.stages.iter().map(|stage| (stage.name.clone(), stage.microseconds)).collect(),
    }
}

/// A stop or a removal that was under way goes on.
fn go_on_with_pod(core: &Arc<Core>, pod: &Arc<Pod>) {
    let (stop, remove) = {
        let ledger = pod.ledger();
        let decided = |word| ledger.as_ref().is_some_and(|ledger| ledger.has_decided(word));
        (decided("stop"), decided("remove"))
    };
    if remove || stop {
        let (owned, pod) = (Arc::clone(core), Arc::clone(pod));
        core.later.spawn(async move {
            let done = if remove { pod.remove(&owned).await } else { pod.stop(&owned).await };
            if let Err(report) = done {
                tracing::warn!(pod = pod.id.short(), "not gone on with: {report}");
            }
        });
    }
}

fn recover_container(core: &Arc<Core>, id: &ContainerId, directory: &Path) -> Result<(), Report> {
    let ledger = Ledger::open("container", directory)?;
    let recorded = record::read_container(directory)?;
    let pod = recorded.as_ref().and_then(|record| core.table.pod(&record.pod_id).ok());
    let (Some(record), Some(pod)) = (recorded, pod) else {
        tracing::info!(container = id.short(), "was half made, or its pod is gone; undone");
        undo(core, id, ledger);
        return Ok(());
    };
    let facts = record::facts(&record, directory)?;
    let holds = std::iter::once(&facts.image).chain(&facts.volumes);
    let holds = holds.filter_map(|image| core.images.hold(image)).collect();
    let name = name(&record);
    let removing = ledger.has_decided("remove");
    let claim = core.table.claim_container(&pod.id, &name, || {
        let asked = record.config.clone().unwrap_or_default();
        let container =
            Container::new(id.clone(), Arc::clone(&pod), name.clone(), asked, Timestamp(record.created_at));
        match record.resources.clone() {
            Some(limits) => container.set_limits(limits, facts),
            None => container.set_facts(Ok(facts)),
        }
        {
            let mut life = container.life();
            life.ledger = Some(ledger);
            life.holds = holds;
            life.born = read_born(directory);
        }
        container
    });
    if let super::table::Claim::New(container) = claim {
        place(core, &container, directory);
        container.nri.recovered(container.life().born.is_some(), container.has_ended());
        crate::checkpoint::undo::recover(core, &container);
        if removing {
            let owned = Arc::clone(core);
            core.later.spawn(async move {
                if let Err(report) = container.remove(&owned).await {
                    tracing::warn!(container = container.id.short(), "not gone on with: {report}");
                }
            });
        }
    }
    Ok(())
}

fn name(record: &ContainerRecord) -> ContainerName {
    let metadata = record.config.as_ref().and_then(|config| config.metadata.clone()).unwrap_or_default();
    ContainerName { name: metadata.name, attempt: metadata.attempt }
}

fn read_born(directory: &Path) -> Option<Born> {
    Born::from_bytes(&std::fs::read(directory.join(file::BORN)).ok()?).ok()
}

/// Where a container stands, as its files and its lock say.
fn place(core: &Arc<Core>, container: &Arc<Container>, directory: &Path) {
    if let Some(exit) = super::deeds::read_exit(directory) {
        container.recovered(State::Exited(exit));
        last_hooks(core, container);
    } else if shims::is_locked(directory) {
        let running = container.life().born.is_some();
        container.recovered(if running { State::Running } else { State::Starting });
        let (owned, container) = (Arc::clone(core), Arc::clone(container));
        tokio::spawn(async move { adopt(&owned, &container).await });
    } else if container.life().born.is_some() {
        let exit = super::deeds::silent_end(core, container);
        container.recovered(State::Exited(exit));
        last_hooks(core, container);
    }
    // Neither an end nor a beginning nor a shim: created, and not started yet.
}

/// Hooks that its shim did not come to run, behind the callers' backs.
fn last_hooks(core: &Arc<Core>, container: &Arc<Container>) {
    if !container.lingers().is_zero() {
        let (owned, container) = (Arc::clone(core), Arc::clone(container));
        core.later.spawn(async move { super::hooks::after(&owned, &container).await });
    }
}

/// Speaks to a shim that an earlier daemon started.
pub(super) async fn adopt(core: &Arc<Core>, container: &Arc<Container>) {
    let directory = core.places.container(&container.id);
    let until = tokio::time::Instant::now() + SHIM_PATIENCE;
    let mut pause = Duration::from_millis(1);
    loop {
        match connect(core, container, &directory) {
            Ok(link) => match tokio::time::timeout_at(until, link.ask(Request::Hello, Vec::new())).await {
                Ok(Ok(())) => return,
                Ok(Err(_)) => {}
                Err(_) => break,
            },
            Err(_) if !shims::is_locked(&directory) => {
                // It ended while it was looked for.
                let exit = super::deeds::silent_end(core, container);
                super::hooks::after(core, container).await;
                let _ = container.tell(core, &Event::Ended(exit));
                return;
            }
            Err(_) if tokio::time::Instant::now() > until => break,
            Err(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
    tracing::error!(
        container = container.id.short(),
        "its shim lives and does not answer; stop the container to end it"
    );
}

/// Begins a conversation with the shim that lives in `directory`.
///
/// # Errors
/// If it does not listen.
pub(super) fn connect(
    core: &Arc<Core>,
    container: &Arc<Container>,
    directory: &Path,
) -> Result<Link, Report> {
    let failed = |errno| Report::new(Kind::Failed, "connect to shim", container.id.short(), errno);
    let socket = Link::connect(directory).map_err(failed)?;
    let peer = rustix::net::sockopt::socket_peercred(&socket).map_err(failed)?;
    let process =
        rustix::process::pidfd_open(peer.pid, rustix::process::PidfdFlags::empty()).map_err(failed)?;
    super::deeds::listen(core, container, socket, process)?;
    container.life().link.clone().ok_or_else(|| failed(rustix::io::Errno::NOTCONN))
}

/// Undoes a container that was not finished.
fn undo(core: &Arc<Core>, id: &ContainerId, ledger: Ledger) {
    let pod = Pod::new(
        PodId::from_random([0; 32]),
        nameless(),
        PodSandboxConfig::default(),
        Timestamp::NEVER,
        PodState::NotReady,
    );
    let name = ContainerName { name: String::new(), attempt: 0 };
    let container = Container::new(
        id.clone(),
        Arc::new(pod),
        name,
        orlop_proto::runtime::v1::ContainerConfig::default(),
        Timestamp::NEVER,
    );
    container.recovered(State::Exited(Exit::unborn(Timestamp::NEVER)));
    container.life().ledger = Some(ledger);
    let (owned, container) = (Arc::clone(core), Arc::new(container));
    core.later.spawn(async move { down::undo_container(&owned, &container).await });
}

/// Removes what lies in our directories and is nobody's: the trash, and layers whose container's records did not outlive a boot.
fn sweep(core: &Arc<Core>) {
    let known: Vec<PathBuf> = entries::<ContainerId>(&core.places.state.join("containers"))
        .into_iter()
        .map(|(id, _)| core.places.layer(&id))
        .collect();
    let layers =
        entries::<ContainerId>(&core.places.root.join("containers")).into_iter().map(|(_, path)| path);
    let mut nobodys: Vec<PathBuf> = layers.filter(|path| !known.contains(path)).collect();
    let dumps = entries::<ContainerId>(&core.places.dumps()).into_iter();
    nobodys.extend(dumps.filter(|(id, _)| !core.places.container(id).exists()).map(|(_, path)| path));
    let trash = std::fs::read_dir(core.places.trash()).into_iter().flatten().filter_map(Result::ok);
    nobodys.extend(trash.map(|entry| entry.path()));
    if !nobodys.is_empty() {
        core.later.spawn(async move {
            for path in nobodys {
                let _ = crate::blocking::blocking("sweep", move || down::remove_directory(&path)).await;
            }
        });
    }
}
