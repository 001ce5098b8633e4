//! Archives at the place that was asked for: of one container, or of a pod's as one consistent cut.
//!
//! *Invariant:* an archive has its name once it is whole and durable; of several either all have theirs, or none. Until then it is in
//! its container's ledger under another name.

use std::fs::File;
use std::io::BufWriter;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use orlop_image::pack::Pack;
use orlop_model::life::container::State;
use orlop_model::report::{Kind, Report};
use orlop_proto::runtime::v1::NamespaceMode;
use rustix::fs::{Mode, OFlags};
use serde_json::{Value, json};

use super::cut::Cut;
use super::dump::{Around, dump};
use super::note::file;
use super::undo;
use crate::pods::container::Container;
use crate::pods::ledger::Thing;
use crate::pods::pod::Pod;
use crate::pods::{Core, Places};

/// What is written where.
struct Job {
    container: Arc<Container>,
    /// Where the archive will be.
    place: PathBuf,
    /// Where it is until it is whole.
    partial: PathBuf,
    /// Where the container is written down.
    dumped: Option<PathBuf>,
}

impl Job {
    fn new(container: Arc<Container>, place: PathBuf) -> Self {
        let name = format!(".orlop-{}.partial", container.id);
        let partial = place.with_file_name(name);
        Job { container, place, partial, dumped: None }
    }
}

/// What is written of a pod beside its containers.
pub(super) mod of_pod {
    /// Which containers there are: as `checkpointctl`'s `lib/metadata.go` has it.
    pub(crate) const OPTIONS: &str = "pod.options";
    /// The version of that.
    pub(crate) const VERSION: u64 = 1;
}

/// Writes a container that runs to the archive `place`.
///
/// # Errors
/// What cannot be; then nothing is left, and the container runs as before.
pub(crate) async fn container(
    core: &Arc<Core>,
    container: &Arc<Container>,
    place: PathBuf,
    timeout: Duration,
) -> Result<(), Report> {
    is_fit(core, container)?;
    let job = Job::new(Arc::clone(container), place);
    carry_out(core, &container.pod, vec![job], None, timeout).await
}

/// Writes these containers of a pod to the directory `output`, as they are at one moment.
///
/// # Errors
/// What cannot be; then nothing is left in it, and the pod runs as before.
pub(crate) async fn pod(
    core: &Arc<Core>,
    pod: &Arc<Pod>,
    mut containers: Vec<Arc<Container>>,
    output: PathBuf,
    timeout: Duration,
) -> Result<(), Report> {
    for container in &containers {
        is_fit(core, container)?;
    }
    // Whoever waits for several of them waits in the same order.
    containers.sort_by(|one, other| one.id.cmp(&other.id));
    let job = |container: Arc<Container>| {
        let place = output.join(format!("{}.tar", container.name.name));
        Job::new(container, place)
    };
    carry_out(core, pod, containers.into_iter().map(job).collect(), Some(output), timeout).await
}

/// Checkpoints are of pods that this runtime runs itself.
///
/// # Errors
/// If another does, or the handler is not known.
pub(crate) fn is_native(core: &Core, handler: &str) -> Result<(), Report> {
    if core.handlers.find("runtime_handler", handler)?.is_none() {
        return Ok(());
    }
    let cause = "pods of this handler are neither written down nor restored";
    Err(Report::new(Kind::Unsupported, "runtime_handler", handler, cause).advise("use the handler native"))
}

/// Whether it can be written down at all.
fn is_fit(core: &Core, container: &Container) -> Result<(), Report> {
    let wrong =
        |kind, cause: &str| Err(Report::new(kind, "checkpoint container", container.id.short(), cause));
    is_native(core, &container.pod.config.handler)?;
    if container.state() != State::Running {
        return wrong(Kind::WrongState, "it is not running");
    }
    if container.pod.config.namespaces.user.is_some() {
        return wrong(Kind::Unsupported, "it is in a user namespace, whose mappings no archive has");
    }
    let shares = match crate::pods::create::pid_namespace(&container.asked) {
        NamespaceMode::Container => false,
        NamespaceMode::Pod => container.pod.config.namespaces.pid != orlop_model::pod::PidMode::Container,
        NamespaceMode::Node | NamespaceMode::Target => true,
    };
    if shares {
        let cause = "it shares its PID namespace with others; a container with a PID namespace of its own can be written down";
        return wrong(Kind::Unsupported, cause);
    }
    Ok(())
}

async fn carry_out(
    core: &Arc<Core>,
    pod: &Arc<Pod>,
    jobs: Vec<Job>,
    output: Option<PathBuf>,
    timeout: Duration,
) -> Result<(), Report> {
    let deadline = Instant::now() + timeout;
    let handles = core.room.handles(&pod.id).await?;
    let mut around = Around { namespaces: Vec::new(), shm: handles.shm };
    if !pod.config.namespaces.host_network {
        around.namespaces.push(open(&Places::netns(&pod.id))?);
    }
    around.namespaces.extend(handles.ipc.into_iter().chain(handles.uts));
    let containers: Vec<Arc<Container>> = jobs.iter().map(|job| Arc::clone(&job.container)).collect();
    let mut guards = Vec::new();
    for container in &containers {
        guards.push(container.updating().await);
    }
    let core = Arc::clone(core);
    let work = move || {
        let mut work = Work { core: &core, jobs, around, output, deadline };
        let done = work.steps();
        for job in &work.jobs {
            undo::clean(&job.container);
        }
        done
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Report::new(Kind::Failed, "checkpoint", "", error)))
}

fn open(path: &Path) -> Result<OwnedFd, Report> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Report::new(Kind::Failed, "open namespace", path.display().to_string(), errno))
}

struct Work<'a> {
    core: &'a Core,
    jobs: Vec<Job>,
    around: Around,
    /// The directory of a pod's checkpoint.
    output: Option<PathBuf>,
    deadline: Instant,
}

impl Work<'_> {
    fn steps(&mut self) -> Result<(), Report> {
        let program = self.core.criu.able()?;
        for job in &self.jobs {
            job.container.with_ledger(|ledger| ledger.will(Thing::Partial(job.partial.clone())))?;
        }
        let containers: Vec<Arc<Container>> =
            self.jobs.iter().map(|job| Arc::clone(&job.container)).collect();
        let cut = Cut::begin(&containers)?;
        for job in &mut self.jobs {
            let dumped = dump(self.core, &job.container, &program, &cut, &self.around, self.deadline)?;
            job.dumped = Some(dumped);
        }
        drop(cut);
        crate::failpoint::pass("checkpoint.cut");
        for job in &self.jobs {
            self.is_in_time()?;
            archive(job)?;
        }
        self.is_in_time()?;
        self.name()
    }

    fn is_in_time(&self) -> Result<(), Report> {
        if Instant::now() < self.deadline {
            return Ok(());
        }
        Err(Report::new(Kind::TimedOut, "checkpoint", "", "it did not come to its end in time"))
    }

    /// All of them get their names, the document of a pod last.
    fn name(&self) -> Result<(), Report> {
        let mut named: Vec<PathBuf> = Vec::new();
        let mut name = || -> Result<(), Report> {
            for job in &self.jobs {
                let failed = |error| {
                    Report::new(Kind::Failed, "place archive", job.place.display().to_string(), error)
                };
                std::fs::rename(&job.partial, &job.place).map_err(failed)?;
                named.push(job.place.clone());
                crate::failpoint::pass("checkpoint.named");
            }
            if let Some(output) = &self.output {
                named.push(output.join(of_pod::OPTIONS));
                put(output, of_pod::OPTIONS, &self.options())?;
            }
            let directories = self.jobs.iter().filter_map(|job| job.place.parent());
            directories.take(1).try_for_each(make_durable)
        };
        name().inspect_err(|_| {
            for path in &named {
                let _ = std::fs::remove_file(path);
            }
        })
    }

    fn options(&self) -> Value {
        let containers: serde_json::Map<String, Value> = self
            .jobs
            .iter()
            .map(|job| (job.container.name.name.clone(), json!(job.container.id.to_string())))
            .collect();
        let mut annotations = serde_json::Map::new();
        if let Some(job) = self.jobs.first() {
            let name = &job.container.pod.config.name;
            for (key, value) in [
                ("org.criu.checkpoint.engine.name", "orlop"),
                ("org.criu.checkpoint.engine.version", env!("CARGO_PKG_VERSION")),
                ("org.criu.checkpoint.pod.name", name.name.as_str()),
                ("org.criu.checkpoint.pod.namespace", name.namespace.as_str()),
                ("org.criu.checkpoint.pod.uid", name.uid.as_str()),
                ("org.criu.checkpoint.pod.id", job.container.pod.id.as_str()),
                ("org.criu.checkpoint.host.arch", std::env::consts::ARCH),
                ("org.criu.checkpoint.host.kernel", self.core.node.kernel.as_str()),
            ] {
                annotations.insert(key.into(), json!(value));
            }
        }
        json!({"version": of_pod::VERSION, "containers": containers, "annotations": annotations})
    }
}

fn put(directory: &Path, name: &str, value: &Value) -> Result<(), Report> {
    let path = directory.join(name);
    let mut options = File::options();
    let file = options.write(true).create_new(true).mode(0o600).open(&path);
    let written = file.and_then(|mut file| {
        std::io::Write::write_all(&mut file, format!("{value:#}\n").as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| Report::new(Kind::Failed, "write", path.display().to_string(), error))
}

fn make_durable(directory: &Path) -> Result<(), Report> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| Report::new(Kind::Failed, "make durable", directory.display().to_string(), error))
}

/// What the archive has beside CRIU's images, in this order: what tells what it is comes first.
const FILES: [&str; 14] = [
    file::CONFIG,
    file::SPEC,
    file::STATUS,
    file::TIMES,
    file::NETWORK,
    file::BINDS,
    file::NOTE,
    file::PLAN,
    file::LOG,
    file::STATISTICS,
    file::DELETED,
    file::CHANGES,
    file::SHARED,
    file::OUTPUT,
];

/// Writes what a dump has left as one archive, under its first name.
fn archive(job: &Job) -> Result<(), Report> {
    let Some(dumped) = &job.dumped else { return Ok(()) };
    let path = &job.partial;
    let failed =
        |error: std::io::Error| Report::new(Kind::Failed, "write archive", path.display().to_string(), error);
    let out = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path);
    crate::failpoint::pass("checkpoint.partial");
    let mut pack = Pack::new(BufWriter::with_capacity(1 << 20, out.map_err(failed)?), path);
    for name in FILES {
        let from = dumped.join(name);
        if from.exists() {
            pack.copy(name, &from).map_err(Report::from)?;
        }
    }
    pack.files(file::IMAGES, &dumped.join(file::IMAGES)).map_err(Report::from)?;
    let out = pack.end().map_err(Report::from)?;
    let out = out.into_inner().map_err(|error| failed(error.into_error()))?;
    out.sync_all().map_err(failed)
}
