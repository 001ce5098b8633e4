//! The composition root: what is made of what, in which order, and how it ends.
//!
//! ```text
//!  log ─▶ directories ─▶ socket ─▶ node ─▶ room ─▶ network, images, shim ─▶ records read ─▶ plugins ─▶ socket served ─▶ shims adopted
//! ```
//!
//! *Invariant:* the socket answers before any shim has been heard. An orderly end leaves containers running and, where there is no
//! pod, leaves nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use orlop_model::report::{Kind, Report};
use orlop_proto::orlop::v1::orlop_server::OrlopServer;
use orlop_proto::runtime::v1::image_service_server::ImageServiceServer;
use orlop_proto::runtime::v1::runtime_service_server::RuntimeServiceServer;
use rustix::fs::{FlockOperation, Mode, OFlags};
use tokio::signal::unix::{SignalKind, signal};
use tonic::service::Routes;

use crate::cdi::Cdi;
use crate::config::{Config, Flags, Listen};
use crate::cri::Edge;
use crate::events::Events;
use crate::gauges::{self, Gauges};
use crate::handlers::Handlers;
use crate::hooks::Hooks;
use crate::images::Images;
use crate::later::Later;
use crate::network::Network;
use crate::node::Node;
use crate::observe::{self, Calls};
use crate::own::Own;
use crate::pods::context::Contexts;
use crate::pods::table::Table;
use crate::pods::{Core, Places, recover};
use crate::room::Room;
use crate::shims::Program;
use crate::streams::{Door, tokens::Tokens};
use crate::units::Units;

/// The largest message of a pod with many mounts and annotations; kubelet's own limit.
const LARGEST_MESSAGE: usize = 16 << 20;
/// How long work behind callers' backs may go on after the daemon was asked to end.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// How long a daemon that was killed may take to be gone.
const LAST_BREATH: Duration = Duration::from_secs(1);

fn failed(stage: &str, path: &Path) -> impl Fn(std::io::Error) -> Report {
    let (stage, path) = (stage.to_owned(), path.display().to_string());
    move |error| Report::new(Kind::Failed, stage.clone(), path.clone(), error)
}

/// Runs the daemon to its end.
///
/// # Errors
/// What it could not begin with.
pub(crate) fn run(flags: &Flags, config: &Config) -> Result<(), Report> {
    // What the daemon makes has the mode that it says, wherever it was started.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    begin_log(config);
    let places = Places { root: flags.root.clone(), state: flags.state.clone() };
    places.make()?;
    let _alone = alone(&places)?;
    let socket = flags.socket().map_err(|cause| Report::new(Kind::BadRequest, "--socket", "", cause))?;
    // Before all that takes time: who comes meanwhile waits a moment, and is not refused. A refused gRPC client waits a whole second
    // before it tries again.
    let listener = observe::listen(&socket).map_err(failed("listen", &socket))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 4))
        .thread_keep_alive(Duration::from_secs(2))
        .thread_stack_size(512 << 10)
        .enable_all()
        .build()
        .map_err(failed("start threads", &places.state))?;
    let plugins = flags.nri(config);
    let outcome = runtime.block_on(serve(config, plugins, places, &socket, listener));
    let _ = std::fs::remove_file(&socket);
    // Threads that hang in the kernel end with the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

fn begin_log(config: &Config) {
    let filter = tracing_subscriber::EnvFilter::new(format!(
        "warn,orlopd={level},orlop_registry={level},orlop_network={level}",
        level = config.log.level.name()
    ));
    let terminal = rustix::termios::isatty(std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(terminal).init();
}

/// Two daemons in one place would undo each other's work.
fn alone(places: &Places) -> Result<rustix::fd::OwnedFd, Report> {
    let path = places.state.join("lock");
    let io = |errno: rustix::io::Errno| failed("lock", &path)(errno.into());
    let file =
        rustix::fs::open(&path, OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC, Mode::from_raw_mode(0o600));
    let file = file.map_err(io)?;
    let locked = || rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
    let deadline = Instant::now() + LAST_BREATH;
    while locked().is_err() {
        if Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        return Err(Report::new(
            Kind::WrongState,
            "--state",
            places.state.display().to_string(),
            "another orlopd works here",
        )
        .advise("give each daemon its own --root, --state and --socket"));
    }
    Ok(file)
}

async fn serve(
    config: &Config,
    plugins: crate::nri::Settings,
    places: Places,
    socket: &Path,
    listener: std::os::unix::net::UnixListener,
) -> Result<(), Report> {
    let (door, tokens) = Door::open(&config.streaming)?;
    let core = compose(config, plugins, places, tokens)?;
    if core.node.systemd
        && let Err(report) = core.units.begin_to_speak().await
    {
        tracing::warn!("containers cannot be started yet: {report}");
    }
    let calls =
        Arc::new(Calls::new().map_err(|error| Report::new(Kind::Failed, "register metrics", "", error))?);
    Network::begin(&core)?;
    recover::recover(&core);
    core.events.begin(&core)?;
    crate::nri::begin(&core).await;
    gauges::begin(&core);
    core.cdi.begin();
    core.hooks.begin();
    let listener = tokio::net::UnixListener::from_std(listener).map_err(failed("listen", socket))?;
    if let Some(address) = &config.metrics.address {
        observe::serve(address, Arc::clone(&calls))
            .await
            .map_err(failed("listen", Path::new("[metrics] address")))?;
    }
    let streams = door
        .serve(Arc::clone(&core), Arc::clone(&calls), asked_to_end())
        .map_err(failed("listen", Path::new("[streaming] address")))?;
    let edge = Edge::new(Arc::clone(&core), calls);
    tracing::info!(socket = %socket.display(), pods = core.table.pods().len(), "serving");
    notify("READY=1");
    let events = Arc::clone(&core);
    let routes =
        Routes::new(RuntimeServiceServer::new(edge.clone()).max_decoding_message_size(LARGEST_MESSAGE))
            .add_service(ImageServiceServer::new(edge).max_decoding_message_size(LARGEST_MESSAGE))
            .add_service(OrlopServer::new(Own::new(Arc::clone(&core))));
    let asked = async move {
        asked_to_end().await;
        notify("STOPPING=1");
        // Connections are waited for, and a listener's would never end.
        events.events.end();
    };
    crate::serve::serve(listener, routes, asked, END_PATIENCE).await;
    let _ = tokio::time::timeout(END_PATIENCE, streams).await;
    core.later.finish(END_PATIENCE).await;
    crate::nri::end(&core);
    leave_nothing(&core).await;
    if let Some(Listen::Unix(path)) = &config.metrics.address {
        let _ = std::fs::remove_file(path);
    }
    tracing::info!("ended; containers go on");
    Ok(())
}

fn compose(
    config: &Config,
    plugins: crate::nri::Settings,
    places: Places,
    tokens: Tokens,
) -> Result<Arc<Core>, Report> {
    let mut node = Node::probe(config)?;
    node.make_shim_cgroups()?;
    let room = Room::enter(&places.state)?;
    let network = Network::new(&config.network, &places, &node)?;
    let images = Images::open(&places.root.join("images"), config)?;
    let shim = match &config.shim.path {
        Some(path) => Program::open(path)?,
        None => Program::open(&beside("orlop-shim"))?,
    };
    let handlers = Arc::new(Handlers::new(&config.handlers));
    handlers.look_again();
    let seccomp = crate::pods::plan::Profiles::new(config)?;
    let contexts = Contexts::new(node.selinux.clone(), &places.state.join("pods"));
    let events = Events::open(&places)?;
    let gauges = Gauges::new(&places.root.join("containers"));
    Ok(Arc::new(Core {
        places,
        room,
        network,
        images,
        node,
        units: Units::default(),
        shim,
        handlers,
        seccomp,
        apparmor: crate::pods::confine::Loader::default(),
        cdi: Cdi::new(&config.cdi.directories),
        contexts,
        hooks: Hooks::new(&config.hooks),
        table: Table::default(),
        tokens,
        events,
        later: Later::default(),
        criu: crate::checkpoint::criu::Criu::new(&config.checkpoint),
        gauges,
        undoing: Arc::default(),
        nri: crate::nri::Nri::new(plugins),
    }))
}

/// A program in this program's own directory.
fn beside(name: &str) -> std::path::PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().unwrap_or(Path::new("/")).join(name)
}

/// SIGTERM or SIGINT.
async fn asked_to_end() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// Where no pod is left: bridge, rules, room and cgroups go too.
async fn leave_nothing(core: &Arc<Core>) {
    let left = std::fs::read_dir(core.places.state.join("pods")).map_or(1, Iterator::count);
    if left != 0 {
        return;
    }
    if let Err(report) = core.network.teardown().await {
        tracing::warn!("network not taken down: {report}");
    }
    Room::leave(&core.places.state);
    if core.node.systemd {
        let slice = orlop_cgroup::slice::name(&core.node.cgroup_parent);
        if let Err(report) = core.units.stop(slice).await {
            tracing::warn!("slice not stopped: {report}");
        }
    }
    core.node.remove_cgroups();
}

/// sd_notify(3): tells systemd how the daemon stands, where systemd asks.
fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let Some(path) = path.to_str() else { return };
    let Ok(socket) = std::os::unix::net::UnixDatagram::unbound() else { return };
    let address = match path.strip_prefix('@') {
        Some(name) => {
            <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)
        }
        None => std::os::unix::net::SocketAddr::from_pathname(path),
    };
    // Where nobody listens nobody is told.
    if let Ok(address) = address {
        let _ = socket.send_to_addr(state.as_bytes(), &address);
    }
}
