//! What was made is unmade: the one walk of rollback, stop, remove and recovery.
//!
//! *Invariant:* the walk goes from the last entry of the ledger to the first, tries every one, and can be repeated. What is slow in
//! the kernel (the end of a veth pair, the deletion of a large layer) goes on behind the caller's back, and stays in the ledger or
//! in the trash until it is gone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use orlop_model::life::container::{Event as ContainerEvent, State as ContainerState};
use orlop_model::life::pod::Event;
use orlop_model::report::{Kind, Report};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::Core;
use super::container::Container;
use super::ledger::Thing;
use super::pod::Pod;
use crate::blocking::blocking;

/// The kernel ends a network namespace by itself and its veth pairs with it; looked after this long.
const VETH_PATIENCE: Duration = Duration::from_millis(300);
/// Between a pod that could not be undone and the next try; then twice as long, and so on.
const UNDO_PAUSE: Duration = Duration::from_secs(1);
/// At most.
const UNDO_PAUSE_MOST: Duration = Duration::from_mins(1);
/// How long a shim may take to end after its container.
const SHIM_PATIENCE: Duration = Duration::from_secs(5);
/// How long a cgroup may take to be empty.
const CGROUP_PATIENCE: Duration = Duration::from_secs(2);
/// Removals between two waits for what is told of them.
const SURGE: usize = 64;
/// How long one such wait may take.
const TELLING_PATIENCE: Duration = Duration::from_secs(1);
/// How long a pod's containers may take to end when it is stopped.
const END_PATIENCE: Duration = Duration::from_secs(30);

/// Undoes a pod whose making failed or was cut off. What does not come down is tried again behind the caller's back.
pub(super) async fn undo_pod(core: &Arc<Core>, pod: &Arc<Pod>) {
    let Err(report) = walk_pod(core, pod).await else { return finish_pod(core, pod) };
    tracing::warn!(pod = pod.id.short(), "not undone, tried again: {report}");
    let (core, pod) = (Arc::clone(core), Arc::clone(pod));
    tokio::spawn(async move {
        let mut pause = UNDO_PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            match walk_pod(&core, &pod).await {
                Ok(()) => return finish_pod(&core, &pod),
                Err(report) => tracing::warn!(pod = pod.id.short(), "not undone yet: {report}"),
            }
            pause = (pause * 2).min(UNDO_PAUSE_MOST);
        }
    });
}

/// Ends a pod's containers and takes its network down.
pub(super) async fn stop_pod(core: &Arc<Core>, pod: &Arc<Pod>) {
    let stopped = async {
        pod.with_ledger(|ledger| ledger.decide("stop"))?;
        end_containers(core, pod).await?;
        crate::nri::pod::stops(core, pod).await;
        walk_pod(core, pod).await
    };
    let event = match stopped.await {
        Ok(()) => Event::Stopped,
        Err(report) => {
            tracing::warn!(pod = pod.id.short(), "not stopped: {report}");
            pod.set_trouble(report);
            Event::StopFailed
        }
    };
    let _ = pod.tell(core, &event);
}

/// Ends and removes a pod's containers, takes all of it down.
pub(super) async fn remove_pod(core: &Arc<Core>, pod: &Arc<Pod>) {
    let removed = async {
        pod.with_ledger(|ledger| ledger.decide("remove"))?;
        end_containers(core, pod).await?;
        for (number, container) in core.table.containers_of(&pod.id).into_iter().enumerate() {
            container.remove(core).await?;
            if number % SURGE == SURGE - 1 {
                // Thousands at once are more than can be told at once: notes of them would pile up in memory.
                let _ = tokio::time::timeout(TELLING_PATIENCE, core.events.now()).await;
            }
        }
        crate::nri::pod::stops(core, pod).await;
        walk_pod(core, pod).await?;
        crate::nri::pod::removed(core, pod).await;
        Ok(())
    };
    let event = match removed.await {
        Ok(()) => {
            core.table.forget_pod(pod);
            crate::failpoint::pass("pod.walked");
            finish_pod(core, pod);
            crate::failpoint::pass("pod.forgotten");
            Event::TornDown
        }
        Err(report) => {
            tracing::warn!(pod = pod.id.short(), "not removed: {report}");
            pod.set_trouble(report);
            Event::Stuck
        }
    };
    let _ = pod.tell(core, &event);
}

async fn end_containers(core: &Arc<Core>, pod: &Arc<Pod>) -> Result<(), Report> {
    let containers = core.table.containers_of(&pod.id);
    for container in &containers {
        let _ = container.tell(core, &ContainerEvent::Stop { grace: Duration::ZERO });
    }
    for container in &containers {
        let patience = END_PATIENCE + container.lingers();
        if tokio::time::timeout(patience, container.until(ContainerState::has_ended)).await.is_err() {
            let cause = "its processes do not end, though the kernel was told to kill them; they may wait for a dead disk or server";
            return Err(Report::new(Kind::TimedOut, "end container", container.id.short(), cause));
        }
        crate::nri::container::ended(core, container).await;
    }
    Ok(())
}

/// Unmakes everything of a pod but its records; what the kernel does by itself is left to [`finish_pod`].
async fn walk_pod(core: &Arc<Core>, pod: &Arc<Pod>) -> Result<(), Report> {
    let standing = pod.ledger().as_ref().map(super::ledger::Ledger::standing).unwrap_or_default();
    let mut first = Ok(());
    let mut attached = false;
    pod.gauge.let_go();
    for thing in standing.iter().rev().filter(|thing| !matches!(thing, Thing::Veth(_))) {
        if attached && matches!(thing, Thing::Netns(_)) {
            // A plugin that is asked again may need to look into it.
            continue;
        }
        match unmake_of_pod(core, pod, thing).await {
            Ok(()) => first = first.and(pod.with_ledger(|ledger| ledger.gone(thing))),
            Err(report) => {
                attached |= *thing == Thing::Attachment;
                first = first.and(Err(report));
            }
        }
    }
    if first.is_ok() && standing.iter().any(|thing| matches!(thing, Thing::Veth(_))) {
        let (owned, pod) = (Arc::clone(core), Arc::clone(pod));
        core.later.spawn(async move { end_veth(&owned, &pod).await });
    }
    first
}

async fn end_veth(core: &Arc<Core>, pod: &Arc<Pod>) {
    tokio::time::sleep(VETH_PATIENCE).await;
    let standing = pod.ledger().as_ref().map(super::ledger::Ledger::standing).unwrap_or_default();
    for thing in standing.iter().filter(|thing| matches!(thing, Thing::Veth(_))) {
        let gone = core.network.detach(&pod.id).await;
        if let Err(report) = gone.and_then(|()| pod.with_ledger(|ledger| ledger.gone(thing))) {
            tracing::warn!(pod = pod.id.short(), "veth not removed, tried again at the next start: {report}");
        }
    }
    if core.table.pod(pod.id.as_str()).is_err() {
        finish_pod(core, pod);
    }
}

/// Removes a pod's records, once nothing stands in its ledger. Idempotent.
fn finish_pod(core: &Core, pod: &Pod) {
    let ledger = pod.ledger();
    if ledger.as_ref().is_none_or(|ledger| ledger.standing().is_empty()) {
        remove_directory(&core.places.pod(&pod.id));
    }
}

async fn unmake_of_pod(core: &Arc<Core>, pod: &Arc<Pod>, thing: &Thing) -> Result<(), Report> {
    match thing {
        Thing::Room => core.room.unmake(&pod.id).await,
        Thing::Netns(path) => {
            let path = path.clone();
            blocking("unpin netns", move || unpin_netns(&path)).await?
        }
        Thing::Lease => core.network.release(&pod.id).await,
        Thing::HostPorts => core.network.close_ports(&pod.id).await,
        Thing::Attachment => core.network.leave(pod.id.as_str()).await,
        Thing::Veth(_) => core.network.detach(&pod.id).await,
        Thing::Init => {
            let directory = core.places.pod(&pod.id);
            blocking("end init", move || end_holder(&directory, "init")).await?
        }
        Thing::Group(path) => {
            if orlop_cgroup::slice::is_slice(path) {
                core.units.stop(orlop_cgroup::slice::name(path)).await?;
            }
            let (core, path) = (Arc::clone(core), path.clone());
            blocking("remove cgroup", move || {
                let directories = core.node.hierarchies.directories(&path).map_err(Report::from)?;
                for directory in directories {
                    orlop_cgroup::act::remove(&directory, CGROUP_PATIENCE).map_err(Report::from)?;
                }
                Ok(())
            })
            .await?
        }
        // Of containers only.
        Thing::Layer(_)
        | Thing::Image(_)
        | Thing::Cgroup(_)
        | Thing::Poststop
        | Thing::Shim
        | Thing::Runtime
        | Thing::Frozen(_)
        | Thing::Dump(_)
        | Thing::Partial(_) => Ok(()),
    }
}

/// Takes the pin of a network namespace down.
fn unpin_netns(path: &Path) -> Result<(), Report> {
    let failed =
        |error: std::io::Error| Report::new(Kind::Failed, "unpin netns", path.display().to_string(), error);
    // As often as it is mounted: `ip netns add` may have mounted it over itself.
    while unmount(path, UnmountFlags::DETACH).is_ok() {}
    match std::fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        // Mounted a second time where no path leads (`ip netns add` binds /run/netns over itself): the namespace is let go,
        // the name remains until that mount is gone.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::BUSY) => {
            tracing::warn!(path = %path.display(), "the name of a network namespace that is gone cannot be removed yet");
            Ok(())
        }
        Err(error) => Err(failed(error)),
    }
}

/// Kills the process that holds the life lock of `directory`, whose number the file `name` has, and waits for its end.
fn end_holder(directory: &Path, name: &str) -> Result<(), Report> {
    let failed =
        |cause: &str| Report::new(Kind::Failed, "end process", directory.display().to_string(), cause);
    let patience = std::time::Instant::now() + SHIM_PATIENCE;
    while crate::shims::is_locked(directory) {
        if std::time::Instant::now() > patience {
            return Err(failed("it does not end"));
        }
        let text = std::fs::read_to_string(directory.join(name)).unwrap_or_default();
        if let Some(pid) = text.trim().parse().ok().and_then(rustix::process::Pid::from_raw)
            && let Ok(pidfd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
            // Locked still, now that the descriptor is held: so the number is the holder's.
            && crate::shims::is_locked(directory)
        {
            let _ = orlop_sys::signal::send(std::os::fd::AsFd::as_fd(&pidfd), libc::SIGKILL);
        } else {
            crate::shims::kill_holders(directory);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Takes a container down, once it has ended.
pub(super) async fn remove_container(core: &Arc<Core>, container: &Arc<Container>) {
    let removed = async {
        container.with_ledger(|ledger| ledger.decide("remove"))?;
        crate::nri::container::ended(core, container).await;
        walk_container(core, container).await?;
        crate::nri::container::removed(core, container).await;
        Ok(())
    };
    let event = match removed.await {
        Ok(()) => {
            core.table.forget_container(container);
            crate::failpoint::pass("container.walked");
            remove_directory(&core.places.container(&container.id));
            ContainerEvent::TornDown
        }
        Err(report) => {
            tracing::warn!(container = container.id.short(), "not removed: {report}");
            container.life().trouble = Some(report);
            ContainerEvent::Stuck
        }
    };
    let _ = container.tell(core, &event);
}

/// Undoes a container whose creation failed or was cut off.
pub(super) async fn undo_container(core: &Arc<Core>, container: &Arc<Container>) {
    match walk_container(core, container).await {
        Ok(()) => remove_directory(&core.places.container(&container.id)),
        Err(report) => {
            tracing::warn!(
                container = container.id.short(),
                "not undone, tried again at the next start: {report}"
            );
        }
    }
}

async fn walk_container(core: &Arc<Core>, container: &Arc<Container>) -> Result<(), Report> {
    let standing = container.life().ledger.as_ref().map(super::ledger::Ledger::standing).unwrap_or_default();
    let mut first = Ok(());
    for thing in standing.iter().rev() {
        match unmake_of_container(core, container, thing).await {
            Ok(()) => first = first.and(container.with_ledger(|ledger| ledger.gone(thing))),
            Err(report) => first = first.and(Err(report)),
        }
    }
    first
}

async fn unmake_of_container(
    core: &Arc<Core>,
    container: &Arc<Container>,
    thing: &Thing,
) -> Result<(), Report> {
    match thing {
        Thing::Shim => end_shim(core, container).await,
        Thing::Runtime => {
            let (core, directory) = (Arc::clone(core), core.places.container(&container.id));
            blocking("delete by runtime", move || super::foreign::delete(&core, &directory)).await?
        }
        Thing::Poststop => {
            super::hooks::after(core, container).await;
            Ok(())
        }
        Thing::Cgroup(path) => {
            let path = path.clone();
            if let Some(unit) = core.scope(container).filter(|unit| path.ends_with(unit)) {
                // It ends by itself with the last process in it; this is for one that did not.
                core.units.stop(&unit).await?;
            }
            blocking("remove cgroup", move || {
                // Usually the shim has removed it.
                if orlop_cgroup::act::exists(&path) {
                    let _ = orlop_cgroup::act::kill(&path, CGROUP_PATIENCE);
                    orlop_cgroup::act::remove(&path, CGROUP_PATIENCE).map_err(|error| {
                        Report::new(Kind::Failed, "remove cgroup", path.display().to_string(), error)
                    })
                } else {
                    Ok(())
                }
            })
            .await?
        }
        Thing::Layer(path) => discard(core, path),
        Thing::Frozen(_) | Thing::Dump(_) | Thing::Partial(_) => {
            let thing = thing.clone();
            blocking("undo checkpoint", move || crate::checkpoint::undo::unmake(&thing)).await?
        }
        Thing::Image(_) => {
            let holds = std::mem::take(&mut container.life().holds);
            drop(holds);
            // If an image was removed while it was held, its layers go now.
            let images = core.images.clone();
            core.later.spawn(async move { images.tidy(false).await });
            Ok(())
        }
        // Of pods only.
        Thing::Room
        | Thing::Netns(_)
        | Thing::Lease
        | Thing::Veth(_)
        | Thing::HostPorts
        | Thing::Attachment
        | Thing::Init
        | Thing::Group(_) => Ok(()),
    }
}

async fn end_shim(core: &Arc<Core>, container: &Arc<Container>) -> Result<(), Report> {
    let directory = core.places.container(&container.id);
    let patience = tokio::time::Instant::now() + SHIM_PATIENCE + container.lingers();
    let mut pause = Duration::from_micros(200);
    // A shim that nobody has spoken to since a restart: its container was undone before it was adopted.
    if container.life().link.is_none()
        && crate::shims::is_locked(&directory)
        && let Ok(link) = super::recover::connect(core, container, &directory)
    {
        let _ =
            tokio::time::timeout(SHIM_PATIENCE, link.ask(orlop_wire::message::Request::KillAll, Vec::new()))
                .await;
    }
    while crate::shims::is_locked(&directory) {
        let link = container.life().link.clone();
        let now = tokio::time::Instant::now();
        if now > patience + SHIM_PATIENCE {
            return Err(Report::new(Kind::TimedOut, "end shim", container.id.short(), "it does not end"));
        }
        match link {
            Some(link) if now > patience => link.kill(),
            None if now > patience => {
                let directory = directory.clone();
                blocking("end shim", move || crate::shims::kill_holders(&directory)).await?;
            }
            Some(_) | None => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    Ok(())
}

/// Moves a container's own layer to the trash by one rename, and empties the trash behind the caller's back.
fn discard(core: &Arc<Core>, path: &Path) -> Result<(), Report> {
    let Some(name) = path.file_name() else { return Ok(()) };
    let trash = core.places.trash().join(name);
    match std::fs::rename(path, &trash) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(Report::new(Kind::Failed, "discard layer", path.display().to_string(), error));
        }
    }
    core.later.spawn(async move {
        let _ = blocking("empty trash", move || remove_directory(&trash)).await;
    });
    Ok(())
}

/// Removes a directory of ours with all in it.
pub(super) fn remove_directory(path: &Path) {
    if let Err(error) = std::fs::remove_dir_all(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), "not removed, tried again at the next start: {error}");
    }
}
