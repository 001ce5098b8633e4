//! A container is created: request, OCI spec, plan; nothing of it runs.
//!
//! ```text
//!  claim the name ─▶ image held ─▶ directories, ledger ─▶ who it runs as ─▶ OCI spec ─▶ plan ─▶ record ─▶ Created
//! ```
//!
//! *Invariant:* whatever a container is refused for, it is refused for here, and nothing of it is left. A plan that is on disk can be
//! carried out.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use orlop_image::{Image, ImageConfig};
use orlop_model::container::{ContainerConfig, PidNamespace};
use orlop_model::id::ContainerId;
use orlop_model::life::pod::State as PodState;
use orlop_model::pod::{IdMap, UserMaps};
use orlop_model::report::{Kind, Report};
use orlop_proto::runtime::v1::{
    ContainerConfig as Asked, LinuxContainerResources, NamespaceMode, NamespaceOption,
};
use orlop_spec::accounts::{Identity, Wish, resolve};
use orlop_wire::code::Wire as _;
use orlop_wire::record::file;

use super::Core;
use super::container::{Container, Facts};
use super::ledger::{Ledger, Thing};
use super::plan::{Making, Planned};
use super::pod::Pod;
use super::table::Claim;
use crate::blocking::{DEADLINE, within};
use crate::checkpoint::restore::{Likeness, put_shared, restored};
use crate::checkpoint::source::{Origin, Source};

/// Where a container is to come from.
pub(crate) enum From {
    /// As its request says: from an image, or an archive that is named as one.
    Request,
    /// From an archive of a pod's checkpoint.
    PodArchive(PathBuf),
}

impl From {
    fn archive(&self) -> Option<&Path> {
        match self {
            From::Request => None,
            From::PodArchive(path) => Some(path),
        }
    }

    fn likeness(&self) -> Likeness {
        match self {
            From::Request => Likeness::Container,
            From::PodArchive(_) => Likeness::Pod,
        }
    }
}

/// How long it may take to make a container that is restored.
const RESTORE: Duration = Duration::from_mins(30);
/// The most that an image's account files may have.
const ACCOUNTS: u64 = 1 << 20;

/// Creates a container, or joins its creation; waits until it is created.
///
/// # Errors
/// Why it could not be created; then nothing of it is left.
pub(crate) async fn run(
    core: &Arc<Core>,
    pod: &Arc<Pod>,
    config: ContainerConfig,
    asked: Asked,
    from: From,
) -> Result<Arc<Container>, Report> {
    check_ready(pod)?;
    let name = config.name.clone();
    let claim = core.table.claim_container(&pod.id, &name, || {
        let id = ContainerId::from_random(super::random());
        Container::new(id, Arc::clone(pod), name.clone(), asked, super::now())
    });
    let container = match claim {
        Claim::Taken(container) => container,
        Claim::New(container) => {
            // Again, now that it is in the table: a removal that has begun meanwhile may have missed it, one that begins now will
            // not.
            if let Err(report) = check_ready(pod) {
                core.table.forget_container(&container);
                container.set_facts(Err(report.clone()));
                return Err(report);
            }
            let (core, creating) = (Arc::clone(core), Arc::clone(&container));
            tokio::spawn(async move { create(&core, &creating, config, from).await });
            container
        }
    };
    container.created().await?;
    Ok(container)
}

fn check_ready(pod: &Pod) -> Result<(), Report> {
    if pod.state() == PodState::Ready {
        return Ok(());
    }
    let cause = "the pod is not ready; containers are created in ready pods only";
    Err(Report::new(Kind::WrongState, "create container", pod.id.short(), cause))
}

async fn create(core: &Arc<Core>, container: &Arc<Container>, config: ContainerConfig, from: From) {
    let made = {
        let (core, container) = (Arc::clone(core), Arc::clone(container));
        let origin = origin(&core, &container, &config, &from);
        match origin {
            Err(report) => Err(report),
            Ok(origin) => {
                // A checkpoint has as much as its container had memory, and may need an image that is not here.
                let patience = if matches!(origin, Origin::Image(_)) { DEADLINE } else { RESTORE };
                let work = move || steps(&core, &container, &config, &origin, from.likeness());
                within("create container", patience, work).await.and_then(|made| made)
            }
        }
    };
    match made {
        Ok((facts, limits, block)) => {
            container.gauge.layer_is_new();
            let order = if core.nri.is_active() { Some(container.nri.order().await) } else { None };
            container.is_created(core, facts, limits);
            drop(block);
            if let Some(order) = order {
                crate::nri::container::created(core, container, order).await;
            }
            tracing::info!(container = container.id.short(), name = container.name.name, "created");
        }
        Err(report) => {
            crate::nri::container::undone(core, container).await;
            super::down::undo_container(core, container).await;
            core.table.forget_container(container);
            tracing::debug!(container = container.id.short(), "not created: {report}");
            container.set_facts(Err(report));
        }
    }
}

/// Where it comes from. Only this runtime's own pods have containers that are restored.
fn origin(
    core: &Core,
    container: &Container,
    config: &ContainerConfig,
    from: &From,
) -> Result<Origin, Report> {
    let origin = Origin::of(core, config, from.archive())?;
    if !matches!(origin, Origin::Image(_)) {
        crate::checkpoint::export::is_native(core, &container.pod.config.handler)?;
    }
    Ok(origin)
}

/// If it is restored: by another plan, with what its pod shared, under its log.
fn go_on(
    core: &Core,
    container: &Container,
    source: Option<&Source>,
    planned: Planned,
    likeness: Likeness,
) -> Result<Planned, Report> {
    let Some(source) = source else { return Ok(planned) };
    let plan = restored(core, source, planned.plan, likeness)?;
    put_shared(core, source, &container.pod)?;
    source.continue_log(&planned.log_path)?;
    Ok(Planned { plan, ..planned })
}

/// What creating it brought, the limits that it has if plugins changed them, and what keeps plugins from being told what there is
/// before it can be seen.
type Made = (Facts, Option<LinuxContainerResources>, crate::nri::Block);

fn steps(
    core: &Core,
    container: &Container,
    config: &ContainerConfig,
    origin: &Origin,
    likeness: Likeness,
) -> Result<Made, Report> {
    // Before anything of it is there.
    let devices = core.cdi.edits(&config.named_devices)?;
    let directory = core.places.container(&container.id);
    std::fs::create_dir(&directory).map_err(|error| {
        Report::new(Kind::Failed, "make directory", directory.display().to_string(), error)
    })?;
    container.life().ledger = Some(Ledger::open("container", &directory)?);
    let layer = core.places.layer(&container.id);
    container.with_ledger(|ledger| ledger.will(Thing::Layer(layer.clone())))?;
    for part in ["work", "root"] {
        make(&layer.join(part))?;
    }
    let source = Source::open(core, origin, &layer)?;
    let image = image(core, config, origin, source.as_ref())?;
    is_of_image(core, config, &image, likeness)?;
    let document = core.images.config(&image)?;
    container.with_ledger(|ledger| ledger.will(Thing::Image(image.id.to_string())))?;
    let hold = core.images.store.hold(image.id).map_err(Report::from)?;
    container.life().holds.push(hold);
    let layers = core.images.store.chain(document.diff_ids()).map_err(Report::from)?;
    let upper = layer.join("upper");
    let user = container.pod.config.namespaces.user;
    make_upper(core, source.as_ref(), &upper, layers.first(), user)?;
    super::travel::check(config)?;
    let labels = core.contexts.labels(core, &container.pod, config);
    super::context::relabel(config, labels.as_ref())?;
    let volumes = super::volumes::volumes(core, container, config, &layer)?;
    crate::failpoint::pass("container.made.layer");

    let identity = identity(core, config, &document)?;
    if let Some(maps) = user {
        is_mapped(&identity, maps)?;
    }
    let target = target(core, container, config)?;
    let (volumes, images) = volumes.into_iter().map(|volume| (volume.image, volume.directories)).unzip();
    let making = Making {
        core,
        container,
        config,
        document: &document,
        identity: &identity,
        layers: &layers,
        images,
        labels: labels.as_ref(),
        target: target.as_deref(),
        devices: &devices,
    };
    let block = tokio::runtime::Handle::current().block_on(core.nri.block());
    let mut planned = making.plan()?;
    make_log_directory(&planned.log_path)?;
    planned = go_on(core, container, source.as_ref(), planned, likeness)?;
    put_plan(&directory, &planned)?;
    let facts = Facts {
        image: image.id.to_string(),
        image_ref: image_ref(&image),
        log_path: planned.log_path,
        stop_signal: planned.stop_signal,
        user: (identity.uid, identity.gid, identity.groups.clone()),
        cgroups: planned.cgroups,
        unified: planned.unified,
        layers,
        volumes,
        target: target.map(|target| target.id.clone()),
        poststop: super::hooks::patience(&planned.plan),
        exec: planned.exec,
        bundle: super::foreign::bundle_of(&directory),
        restored: source.is_some(),
    };
    crate::failpoint::pass("container.made.plan");
    super::record::write_container(core, container, &facts, planned.limits.as_ref())?;
    crate::failpoint::pass("container.made.record");
    Ok((facts, planned.limits, block))
}

/// What a shim, a runtime of others and hooks read.
fn put_plan(directory: &Path, planned: &Planned) -> Result<(), Report> {
    super::foreign::write(directory, &planned.files)?;
    super::record::put(directory, file::PLAN, &planned.plan.to_bytes())?;
    let config = planned.config.as_ref();
    config.map_or(Ok(()), |config| super::record::put(directory, orlop_spec::bundle::file::CONFIG, config))
}

/// The container's own layer: empty, or with what it is restored from.
fn make_upper(
    core: &Core,
    source: Option<&Source>,
    upper: &Path,
    top: Option<&PathBuf>,
    user: Option<UserMaps>,
) -> Result<(), Report> {
    if let Some(source) = source {
        return source.make_layer(core, upper);
    }
    make(upper)?;
    top.map_or(Ok(()), |top| like(upper, top, user))
}

/// The image that its root is made of.
fn image(
    core: &Core,
    config: &ContainerConfig,
    origin: &Origin,
    source: Option<&Source>,
) -> Result<Arc<Image>, Report> {
    match (origin, source) {
        (_, Some(source)) => source.image(core),
        (Origin::Image(image) | Origin::Packed(image), None) => Ok(Arc::clone(image)),
        (Origin::Archive(_), None) => core.images.find("config.image.image", &config.image),
    }
}

/// A container of a restored pod is of the image that its request names, where that is known here.
fn is_of_image(
    core: &Core,
    config: &ContainerConfig,
    image: &Image,
    likeness: Likeness,
) -> Result<(), Report> {
    if likeness == Likeness::Container {
        return Ok(());
    }
    match core.images.resolve("image.image", &config.image)? {
        Some(named) if named.id != image.id => {
            let cause = format!("what is restored is of the image {}", image.id);
            Err(Report::new(Kind::WrongState, "image.image", config.image.clone(), cause))
        }
        _ => Ok(()),
    }
}

fn make(path: &Path) -> Result<(), Report> {
    std::fs::create_dir_all(path)
        .map_err(|error| Report::new(Kind::Failed, "make directory", path.display().to_string(), error))
}

/// Gives a container's own layer the owner and mode that the image's root has: it is what the container sees as `/`. In a user
/// namespace the owner is the one that is seen as that; one whom it does not know is nobody there, and stays.
fn like(own: &Path, top: &Path, user: Option<UserMaps>) -> Result<(), Report> {
    let seen = |id: u32, map: Option<IdMap>| map.map_or(id, |map| map.of(id).unwrap_or(id));
    let copy = || -> std::io::Result<()> {
        let metadata = std::fs::metadata(top)?;
        let uid = seen(metadata.uid(), user.map(|maps| maps.uids));
        let gid = seen(metadata.gid(), user.map(|maps| maps.gids));
        std::os::unix::fs::chown(own, Some(uid), Some(gid))?;
        std::fs::set_permissions(own, metadata.permissions())
    };
    copy().map_err(|error| Report::new(Kind::Failed, "make layer", own.display().to_string(), error))
}

/// The directory of the log, where the request names one that nobody has made yet.
fn make_log_directory(path: &str) -> Result<(), Report> {
    let Some(parent) = Path::new(path).parent() else { return Ok(()) };
    std::fs::create_dir_all(parent).map_err(|error| Report::field("config.log_path", path, error))
}

/// The image by digest, where it has a name; kubelet shows it as `imageID`.
fn image_ref(image: &Image) -> String {
    image.digests.first().cloned().unwrap_or_else(|| image.id.to_string())
}

/// The container whose PID namespace it is to live in.
fn target(
    core: &Core,
    container: &Container,
    config: &ContainerConfig,
) -> Result<Option<Arc<Container>>, Report> {
    let PidNamespace::Target(id) = &config.security.pid else { return Ok(None) };
    let field = "config.linux.security_context.namespace_options.target_id";
    let target = core.table.container(id).map_err(|report| Report::field(field, id, report.cause))?;
    if target.pod.id != container.pod.id {
        return Err(Report::field(field, id, "this container is of another pod"));
    }
    if target.state().has_ended() {
        return Err(Report::field(field, id, "this container has ended"));
    }
    Ok(Some(target))
}

/// Who runs it, as the image's own account files say.
pub(super) fn identity(
    core: &Core,
    config: &ContainerConfig,
    document: &ImageConfig,
) -> Result<Identity, Report> {
    let read = |path: &str| {
        core.images.store.read_in_root(document.diff_ids(), path, ACCOUNTS).map_err(Report::from)
    };
    let (passwd, group) = (read("etc/passwd")?, read("etc/group")?);
    let image_user =
        document.oci().config().as_ref().and_then(|config| config.user().clone()).unwrap_or_default();
    let wish = Wish {
        user: &config.security.user,
        image_user: &image_user,
        group: config.security.group,
        supplemental: &config.security.supplemental_groups,
        policy: config.security.groups_policy,
    };
    resolve(&wish, passwd.as_deref(), group.as_deref())
}

/// Whether the pod's user namespace knows all that the program is to be.
fn is_mapped(identity: &Identity, maps: UserMaps) -> Result<(), Report> {
    const CONTEXT: &str = "config.linux.security_context";
    let check = |field: &str, id: u32, map: IdMap| {
        let beyond = || {
            let cause = format!("the pod's user namespace has ids 0 to {} only", map.length - 1);
            Report::field(format!("{CONTEXT}.{field}"), id, cause)
        };
        map.of(id).map(drop).ok_or_else(beyond)
    };
    check("run_as_user", identity.uid, maps.uids)?;
    check("run_as_group", identity.gid, maps.gids)?;
    identity.groups.iter().try_for_each(|group| check("supplemental_groups", *group, maps.gids))
}

/// Which PID namespace mode was asked for.
pub(crate) fn pid_namespace(asked: &Asked) -> NamespaceMode {
    let context = asked.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    context
        .and_then(|context| context.namespace_options.as_ref())
        .map(NamespaceOption::pid)
        .unwrap_or_default()
}
