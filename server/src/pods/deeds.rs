//! A container is launched, asked to end, killed.
//!
//! *Invariant:* each deed ends in an event, whatever happens: `Started` or `Ended` after a launch, `Ended` after a kill. A shim that
//! does not answer is passed over: cgroup.kill, then its own end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use orlop_model::container::Resources;
use orlop_model::life::container::{Event, Exit, State};
use orlop_model::report::{Kind, Report};
use orlop_model::time::Timestamp;
use orlop_proto::runtime::v1::NamespaceMode;
use orlop_wire::code::Wire as _;
use orlop_wire::message::Request;
use orlop_wire::record::{Exited, file};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::sync::mpsc;

use super::container::Container;
use super::ledger::Thing;
use super::{Core, Places};
use crate::room::Handles;
use crate::shims::{self, Heard, Link};
use crate::units::Place;

/// How long a shim may take to answer a request that needs nothing but itself.
const ANSWER: Duration = Duration::from_secs(2);
/// How long processes may take to be gone once the kernel was told to kill them.
const DEATH: Duration = Duration::from_secs(10);

/// Gives the plan to a shim.
pub(super) async fn launch(core: &Arc<Core>, container: &Arc<Container>) {
    if let Err(report) = try_launch(core, container).await {
        tracing::warn!(container = container.id.short(), "not started: {report}");
        let exit = Exit { code: 128, oom_killed: false, at: super::now(), report: Some(report) };
        keep_exit(core, container, &exit);
        let _ = container.tell(core, &Event::Ended(exit));
    }
}

async fn try_launch(core: &Arc<Core>, container: &Arc<Container>) -> Result<(), Report> {
    let facts = container.created().await?;
    // A plan that is being changed is carried out as it is then.
    let _updating = container.updating().await;
    container.with_ledger(|ledger| {
        if facts.poststop.is_some() {
            ledger.will(Thing::Poststop)?;
        }
        for cgroup in &facts.cgroups {
            ledger.will(Thing::Cgroup(cgroup.clone()))?;
        }
        if facts.bundle.is_some() {
            ledger.will(Thing::Runtime)?;
        }
        ledger.will(Thing::Shim)
    })?;
    let handles = core.room.handles(&container.pod.id).await?;
    let mut slots = slots(core, container, handles)?;
    if let Some(scope) = core.scope(container) {
        // The last slot: see `plan::slots`.
        slots.push(place(core, container, &scope).await?);
    }
    let directory = core.places.container(&container.id);
    let failed = |what: &'static str| {
        let object = container.id.short().to_owned();
        move |errno: rustix::io::Errno| Report::new(Kind::Failed, what, object.clone(), errno)
    };
    let life = shims::lock(&directory).map_err(failed("lock"))?;
    unmark(&core.places.layer(&container.id));
    if facts.bundle.is_some() {
        // Of a shim that was killed on its way.
        let (core, directory) = (Arc::clone(core), directory.clone());
        crate::blocking::blocking("delete by runtime", move || super::foreign::delete(&core, &directory))
            .await??;
    }
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(failed("control socket"))?;
    let handed: Vec<BorrowedFd<'_>> =
        [theirs.as_fd(), life.as_fd()].into_iter().chain(slots.iter().map(AsFd::as_fd)).collect();
    let spawned = core.shim.start(&["run", &directory.to_string_lossy()], &handed)?;
    crate::failpoint::pass("container.launched");
    listen(core, container, ours, spawned.pidfd)
}

/// The scope that the container will be born into, made by systemd; what keeps it until then.
async fn place(core: &Core, container: &Container, scope: &str) -> Result<OwnedFd, Report> {
    let path = core.pod_cgroup(&container.pod);
    let slice = orlop_cgroup::slice::name(&path);
    let sums = container.pod.sums().total();
    if container.pod.config.cgroup_parent.is_empty() && sums != Resources::default() {
        core.units.slice(slice, &sums).await?;
    }
    let limits = crate::cri::convert::resources("linux", &container.limits().unwrap_or_default())?;
    let place = Place::hold(&core.shim)?;
    core.units.scope(scope, slice, place.pid, &limits).await?;
    crate::failpoint::pass("container.placed");
    Ok(place.held)
}

/// Takes away the mark that a volatile overlay leaves where it was not unmounted in order: with it a second mount is refused
/// (`Documentation/filesystems/overlayfs.rst`). The lock that is held says that no shim has the layer mounted; one may have died on
/// its way, and what it mounted has had no time to be written to.
fn unmark(layer: &Path) {
    // Where there is none there is nothing to do; what cannot be taken away is told by the mount.
    let _ = std::fs::remove_dir_all(layer.join("work/work/incompat"));
}

/// What the plan's slots hold, in their order: see [`super::plan::slots`].
fn slots(core: &Core, container: &Container, handles: Handles) -> Result<Vec<OwnedFd>, Report> {
    let pod = &container.pod;
    let open = |path: PathBuf| {
        rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Report::new(Kind::Failed, "open namespace", path.display().to_string(), errno))
    };
    let mut all = Vec::new();
    if !pod.config.namespaces.host_network {
        all.push(open(Places::netns(&pod.id))?);
    }
    all.extend(handles.ipc);
    all.extend(handles.uts);
    all.extend(handles.shm);
    if let Some(pid) = pid_holder(core, container)? {
        all.push(open(format!("/proc/{pid}/ns/pid").into())?);
    }
    all.extend(handles.user);
    Ok(all)
}

/// The process whose PID namespace the container is born into, if it is another's.
fn pid_holder(core: &Core, container: &Container) -> Result<Option<i32>, Report> {
    if let Some(target) = container.facts().and_then(|facts| facts.target.clone()) {
        let running = core.table.exact_container(&target).filter(|target| !target.state().has_ended());
        let pid = running.and_then(|target| target.life().born.as_ref().map(|born| born.pid));
        return pid.map(Some).ok_or_else(|| {
            Report::new(
                Kind::WrongState,
                "join PID namespace",
                target.short(),
                "the target container is not running",
            )
        });
    }
    match super::create::pid_namespace(&container.asked) {
        // POD means as the pod has it, which may be: each its own.
        NamespaceMode::Pod if container.pod.has_init() => {
            let init = container.pod.made().and_then(|made| made.init);
            init.map(Some).ok_or_else(|| {
                Report::new(
                    Kind::WrongState,
                    "join PID namespace",
                    container.pod.id.short(),
                    "the pod shares none",
                )
            })
        }
        _ => Ok(None),
    }
}

/// Listens to a container's shim from now on.
pub(super) fn listen(
    core: &Arc<Core>,
    container: &Arc<Container>,
    socket: OwnedFd,
    process: OwnedFd,
) -> Result<(), Report> {
    let (heard, news) = mpsc::unbounded_channel();
    let link = Link::begin(socket, process, heard)?;
    container.life().link = Some(link);
    let (core, container) = (Arc::clone(core), Arc::clone(container));
    tokio::spawn(async move { follow(&core, &container, news).await });
    Ok(())
}

async fn follow(core: &Arc<Core>, container: &Arc<Container>, mut news: mpsc::UnboundedReceiver<Heard>) {
    while let Some(heard) = news.recv().await {
        let event = match heard {
            Heard::Born(born) => {
                container.life().born = Some(born);
                if container.facts().is_some_and(|facts| facts.restored) {
                    discard_checkpoint(core, container);
                }
                Event::Started
            }
            Heard::Exited(exited) => {
                let mut exit = exit(&exited);
                if container.facts().is_some_and(|facts| facts.restored) {
                    let layer = core.places.layer(&container.id);
                    exit.report =
                        exit.report.map(|report| crate::checkpoint::restore::explain(&layer, report));
                }
                Event::Ended(exit)
            }
            Heard::HookFailed(failure) => {
                tracing::warn!(container = container.id.short(), "{}", shims::report(&failure));
                continue;
            }
            Heard::Gone => {
                container.life().link = None;
                let exit = silent_end(core, container);
                super::hooks::after(core, container).await;
                Event::Ended(exit)
            }
            Heard::Cut => {
                container.life().link = None;
                tracing::warn!(container = container.id.short(), "its shim was lost; spoken to again");
                let (core, container) = (Arc::clone(core), Arc::clone(container));
                tokio::spawn(async move { super::recover::adopt(&core, &container).await });
                return;
            }
        };
        let _ = container.tell(core, &event);
    }
}

/// What a container was restored from is needed no more, and has all of its memory.
fn discard_checkpoint(core: &Arc<Core>, container: &Container) {
    let path = core.places.layer(&container.id).join(crate::checkpoint::source::DIRECTORY);
    core.later.spawn(async move {
        let _ = crate::blocking::blocking("discard checkpoint", move || super::down::remove_directory(&path))
            .await;
    });
}

/// How a container ended whose shim is gone: as its record says, else nobody knows.
pub(super) fn silent_end(core: &Core, container: &Container) -> Exit {
    if let Some(exit) = read_exit(&core.places.container(&container.id)) {
        return exit;
    }
    if container.state().has_ended() {
        return Exit::unborn(super::now());
    }
    // The shim was killed from outside: what it held is ended with it.
    if let Some(directory) = ending(container) {
        let _ = orlop_cgroup::act::kill(&directory, DEATH);
    }
    let report =
        Report::new(Kind::Failed, "container", container.id.short(), "its shim was killed, and it with it");
    let exit = Exit { code: 137, oom_killed: false, at: super::now(), report: Some(report) };
    keep_exit(core, container, &exit);
    exit
}

/// The cgroup by which all of a container is ended.
fn ending(container: &Container) -> Option<PathBuf> {
    let facts = container.facts()?;
    let all: Vec<&Path> = facts.cgroups.iter().map(PathBuf::as_path).collect();
    orlop_cgroup::act::ending(facts.unified.as_deref(), &all).map(Path::to_owned)
}

/// The exit record of a state directory.
pub(super) fn read_exit(directory: &Path) -> Option<Exit> {
    let bytes = std::fs::read(directory.join(file::EXIT)).ok()?;
    Exited::from_bytes(&bytes).ok().map(|exited| exit(&exited))
}

/// Writes the exit record in place of a shim that could not.
pub(super) fn keep_exit(core: &Core, container: &Container, exit: &Exit) {
    let failure = exit.report.as_ref().map(|report| orlop_wire::record::Failure {
        stage: report.stage.clone(),
        object: report.object.clone(),
        operation: None,
        errno: 0,
        detail: report.cause.clone(),
    });
    let exited = Exited {
        version: orlop_wire::VERSION,
        code: exit.code,
        signal: 0,
        oom_killed: exit.oom_killed,
        at: exit.at.0,
        failure,
    };
    let directory = core.places.container(&container.id);
    if let Err(report) = super::record::put(&directory, file::EXIT, &exited.to_bytes()) {
        tracing::error!(container = container.id.short(), "{report}");
    }
}

/// An exit as the shim recorded it.
pub(super) fn exit(exited: &Exited) -> Exit {
    Exit {
        code: exited.code,
        oom_killed: exited.oom_killed,
        at: Timestamp(exited.at),
        report: exited.failure.as_ref().map(shims::report),
    }
}

/// Sends the stop signal.
pub(super) async fn ask(container: &Arc<Container>) {
    let signal = container.facts().map_or(libc::SIGTERM, |facts| facts.stop_signal);
    let link = container.life().link.clone();
    let asked = async {
        let link =
            link.ok_or_else(|| Report::new(Kind::WrongState, "stop", container.id.short(), "no shim"))?;
        link.ask(Request::Signal { exec: None, signal }, Vec::new()).await
    };
    crate::failpoint::pass("container.asking");
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(Ok(())) => {}
        // Its shim cannot be asked; at the end of its grace it is killed without it.
        Ok(Err(report)) => tracing::warn!(container = container.id.short(), "stop signal not sent: {report}"),
        Err(_) => {
            tracing::warn!(
                container = container.id.short(),
                "stop signal not sent: its shim does not answer"
            );
        }
    }
}

/// Ends every process of it: by its shim, else by the kernel, else with its shim.
pub(super) async fn kill(core: &Arc<Core>, container: &Arc<Container>) {
    let link = container.life().link.clone();
    if let Some(link) = &link
        && let Ok(Ok(())) = tokio::time::timeout(ANSWER, link.ask(Request::KillAll, Vec::new())).await
        && tokio::time::timeout(DEATH + container.lingers(), container.until(State::has_ended)).await.is_ok()
    {
        return;
    }
    if container.state().has_ended() {
        return;
    }
    tracing::warn!(container = container.id.short(), "its shim does not answer; killed by its cgroup");
    if let Some(directory) = ending(container) {
        let _ = crate::blocking::blocking("kill cgroup", move || orlop_cgroup::act::kill(&directory, DEATH))
            .await;
    }
    match link {
        Some(link) if tokio::time::timeout(ANSWER, container.until(State::has_ended)).await.is_err() => {
            link.kill();
        }
        Some(_) => {}
        None => {
            let _ = container.tell(core, &Event::Ended(silent_end(core, container)));
        }
    }
}

/// Starts the init process of a pod's shared PID namespace; its number in the node's.
pub(super) fn start_init(
    core: &Core,
    directory: &Path,
    netns: Option<&Path>,
    handles: &Handles,
) -> Result<i32, Report> {
    let failed = |what: &'static str| {
        move |errno: rustix::io::Errno| {
            Report::new(Kind::Failed, what, directory.display().to_string(), errno)
        }
    };
    let life = shims::lock(directory).map_err(failed("lock"))?;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(failed("control socket"))?;
    let netns = netns
        .map(|path| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))
        .transpose()
        .map_err(failed("open namespace"))?;
    let user = handles.user.as_ref();
    let namespaces = [netns.as_ref(), handles.ipc.as_ref(), handles.uts.as_ref(), user].into_iter().flatten();
    let handed: Vec<BorrowedFd<'_>> =
        [theirs.as_fd(), life.as_fd()].into_iter().chain(namespaces.map(AsFd::as_fd)).collect();
    let count = handed.len().to_string();
    let directory_name = directory.to_string_lossy();
    let mut arguments = vec!["init", &directory_name, &count];
    arguments.extend(user.map(|_| "user"));
    let spawned = core.shim.start(&arguments, &handed)?;
    drop(theirs);
    let mut pid = [0; 4];
    let length = rustix::io::read(&ours, &mut pid).map_err(failed("hear init"))?;
    // It leaves its child behind and ends.
    let options = rustix::process::WaitIdOptions::EXITED;
    let _ = rustix::process::waitid(rustix::process::WaitId::PidFd(spawned.pidfd.as_fd()), options);
    if length != pid.len() {
        return Err(Report::new(
            Kind::Failed,
            "start init",
            directory.display().to_string(),
            "it could not settle",
        ));
    }
    let pid = i32::from_ne_bytes(pid);
    super::record::put(directory, "init", pid.to_string().as_bytes())?;
    Ok(pid)
}
