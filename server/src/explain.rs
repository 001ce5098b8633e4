//! What is known of a pod or a container: namespaces, cgroups, layers, mounts, addresses, shim, and where its start's time went.
//!
//! *Invariant:* what can be read from the kernel is read there, now; what the kernel does not say comes from the records.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use orlop_model::report::Report;
use orlop_proto::orlop::v1::{
    CgroupFact, ConfinementFact, ExplainResponse, LayerFact, MountFact, NamespaceFact, ShimFact, Stage,
    ThingKind,
};
use orlop_wire::code::Wire as _;
use orlop_wire::plan::Plan;

use crate::pods::container::Container;
use crate::pods::pod::Pod;
use crate::pods::{Core, Places};

/// Kinds of namespaces, as /proc names them.
const KINDS: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];

/// What is known of the pod or container whose id, prefix or name `id` is.
///
/// # Errors
/// `NotFound`; `BadRequest` if it leads to several.
pub(crate) async fn explain(core: &Arc<Core>, id: &str, plan: bool) -> Result<ExplainResponse, Report> {
    match (core.table.container(id), core.table.pod(id)) {
        (Ok(container), _) => Ok(of_container(core, &container, plan)),
        (Err(_), Ok(pod)) => of_pod(core, &pod).await,
        (Err(report), Err(_)) => match named(core, id) {
            Some(Named::Container(container)) => Ok(of_container(core, &container, plan)),
            Some(Named::Pod(pod)) => of_pod(core, &pod).await,
            None => Err(report),
        },
    }
}

enum Named {
    Container(Arc<Container>),
    Pod(Arc<Pod>),
}

/// The only container or pod of this name.
fn named(core: &Core, name: &str) -> Option<Named> {
    let mut containers = core.table.containers().into_iter().filter(|container| container.name.name == name);
    if let (Some(container), None) = (containers.next(), containers.next()) {
        return Some(Named::Container(container));
    }
    let mut pods = core.table.pods().into_iter().filter(|pod| pod.config.name.name == name);
    match (pods.next(), pods.next()) {
        (Some(pod), None) => Some(Named::Pod(pod)),
        _ => None,
    }
}

fn stages(stages: &[(String, u64)]) -> Vec<Stage> {
    stages
        .iter()
        .map(|(name, microseconds)| Stage { name: name.clone(), microseconds: *microseconds })
        .collect()
}

fn inode(path: impl AsRef<Path>) -> u64 {
    std::fs::metadata(path).map(|metadata| metadata.ino()).unwrap_or_default()
}

async fn of_pod(core: &Arc<Core>, pod: &Arc<Pod>) -> Result<ExplainResponse, Report> {
    let made = pod.made().cloned().unwrap_or_default();
    let handles = core.room.handles(&pod.id).await.unwrap_or_default();
    let held = |handle: &Option<rustix::fd::OwnedFd>| {
        handle.as_ref().and_then(|handle| rustix::fs::fstat(handle).ok()).map(|stat| stat.st_ino)
    };
    let mut namespaces = Vec::new();
    let mut add = |kind: &str, inode: Option<u64>, path: String, pid: i32| {
        namespaces.push(NamespaceFact {
            kind: kind.into(),
            inode: inode.unwrap_or_default(),
            path,
            pid,
            shared_with: if inode.is_none() { "node".into() } else { String::new() },
        });
    };
    let netns = Places::netns(&pod.id);
    let net = inode(&netns);
    add("net", (net != 0).then_some(net), netns.display().to_string(), 0);
    add("ipc", held(&handles.ipc), format!("room:/pods/{}/ipc", pod.id), 0);
    add("uts", held(&handles.uts), format!("room:/pods/{}/uts", pod.id), 0);
    if let Some(maps) = pod.config.namespaces.user {
        let path = format!("room:/pods/{}/user, uids {}, gids {}", pod.id, maps.uids, maps.gids);
        add("user", held(&handles.user), path, 0);
    }
    if let Some(init) = made.init {
        add("pid", Some(inode(format!("/proc/{init}/ns/pid"))), String::new(), init);
    }
    let ledger = pod.ledger().as_ref().map(crate::pods::ledger::Ledger::standing).unwrap_or_default();
    Ok(ExplainResponse {
        kind: ThingKind::Pod.into(),
        id: pod.id.to_string(),
        name: format!("{}/{}", pod.config.name.namespace, pod.config.name.name),
        pod_id: pod.id.to_string(),
        state: format!("{:?}", pod.state()).split('(').next().unwrap_or_default().to_owned(),
        created_at: pod.created_at.0,
        namespaces,
        addresses: made.addresses.iter().map(ToString::to_string).collect(),
        host_veth: core.network.veth(&pod.id).filter(|_| net != 0).unwrap_or_default(),
        pid: made.init.unwrap_or_default(),
        stages: stages(&made.stages),
        things: ledger.iter().map(ToString::to_string).collect(),
        resources: pod.sums().resources,
        overhead: pod.sums().overhead,
        ..ExplainResponse::default()
    })
}

fn of_container(core: &Core, container: &Arc<Container>, plan: bool) -> ExplainResponse {
    let (born, ledger) = {
        let life = container.life();
        (
            life.born.clone(),
            life.ledger.as_ref().map(crate::pods::ledger::Ledger::standing).unwrap_or_default(),
        )
    };
    let alive = born.as_ref().filter(|_| !container.state().has_ended());
    let pod = &container.pod;
    let addresses = pod.made().map(|made| made.addresses.clone()).unwrap_or_default();
    let mut answer = ExplainResponse {
        kind: ThingKind::Container.into(),
        id: container.id.to_string(),
        name: container.name.name.clone(),
        pod_id: pod.id.to_string(),
        state: crate::pods::container::word(&container.state()).to_owned(),
        created_at: container.created_at.0,
        image: container.asked.image.clone().unwrap_or_default().image,
        layers: layers(core, container),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        stages: born.as_ref().map(|born| stages(&born.stages)).unwrap_or_default(),
        things: ledger.iter().map(ToString::to_string).collect(),
        resources: container.limits(),
        hooks: hooks(core, container),
        cdi_devices: crate::cri::convert::cdi_devices(&container.asked),
        plan: if plan { plan_text(core, container) } else { Vec::new() },
        ..ExplainResponse::default()
    };
    if let Some(facts) = container.facts() {
        answer.image_id.clone_from(&facts.image);
    }
    if !pod.config.namespaces.host_network {
        answer.host_veth = core.network.veth(&pod.id).unwrap_or_default();
    }
    if let Some(born) = alive {
        answer.pid = born.pid;
        answer.namespaces = namespaces(born.pid, container);
        answer.cgroups = cgroups(born.pid);
        answer.mounts = mounts(born.pid);
        answer.confinement = Some(confinement(born.pid));
        answer.shim = Some(ShimFact {
            pid: born.shim,
            memory_bytes: pss(born.shim),
            cgroup: cgroups(born.shim)
                .into_iter()
                .find(|fact| fact.hierarchy == "memory")
                .map(|fact| fact.path)
                .unwrap_or_default(),
        });
    }
    answer
}

fn namespaces(pid: i32, container: &Container) -> Vec<NamespaceFact> {
    let pod_net = inode(Places::netns(&container.pod.id));
    let init = container.pod.made().and_then(|made| made.init);
    let pod_pid = init.map(|init| inode(format!("/proc/{init}/ns/pid"))).unwrap_or_default();
    let own: Vec<u64> = KINDS.iter().map(|kind| inode(format!("/proc/{pid}/ns/{kind}"))).collect();
    KINDS
        .iter()
        .zip(own)
        .map(|(kind, number)| {
            let of_the_pod = match *kind {
                // A container has none of its own of these.
                "ipc" | "uts" => true,
                "net" => number == pod_net,
                "pid" => number == pod_pid,
                _ => false,
            };
            let shared_with = if number == inode(format!("/proc/self/ns/{kind}")) {
                "node"
            } else if of_the_pod {
                "pod"
            } else {
                ""
            };
            NamespaceFact {
                kind: (*kind).into(),
                inode: number,
                path: format!("/proc/{pid}/ns/{kind}"),
                pid,
                shared_with: shared_with.into(),
            }
        })
        .collect()
}

fn confinement(pid: i32) -> ConfinementFact {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let said = |file| read(file).trim_end_matches(['\0', '\n']).to_owned();
    let status = read("status");
    let line = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_default().trim().to_owned()
    };
    let mask = |name| u64::from_str_radix(&line(name), 16).unwrap_or_default();
    let selinux = Path::new("/sys/fs/selinux/enforce").exists();
    ConfinementFact {
        apparmor: said("attr/apparmor/current"),
        selinux: if selinux { said("attr/current") } else { String::new() },
        // proc_pid_status(5).
        seccomp: match line("Seccomp").as_str() {
            "1" => "strict",
            "2" => "filter",
            _ => "none",
        }
        .to_owned(),
        no_new_privs: line("NoNewPrivs") == "1",
        effective: mask("CapEff"),
        bounding: mask("CapBnd"),
    }
}

fn cgroups(pid: i32) -> Vec<CgroupFact> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let facts = text.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let hierarchy = if controllers.is_empty() { "unified" } else { controllers };
        Some(CgroupFact { hierarchy: hierarchy.into(), path: path.into() })
    });
    facts.collect()
}

fn mounts(pid: i32) -> Vec<MountFact> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    // proc_pid_mountinfo(5): id parent major:minor root target options optional... - kind source superoptions
    let facts = text.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let options = left.get(5)?.split(',').chain([*right.first()?]);
        Some(MountFact {
            source: (*right.get(1)?).into(),
            target: (*left.get(4)?).into(),
            options: options.map(str::to_owned).collect(),
        })
    });
    facts.collect()
}

/// Proportional set size: what the process costs, shared pages divided.
fn pss(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

fn layers(core: &Core, container: &Container) -> Vec<LayerFact> {
    let Some(facts) = container.facts() else { return Vec::new() };
    let sizes = |path: &Path| {
        let diff_id = path.file_name()?.to_str()?;
        core.images.store.layer(format!("sha256:{diff_id}").parse().ok()?).map(|layer| layer.usage.bytes)
    };
    let mut all = vec![LayerFact {
        diff_id: String::new(),
        path: core.places.layer(&container.id).join("upper").display().to_string(),
        size: 0,
    }];
    all.extend(facts.layers.iter().map(|path| LayerFact {
        diff_id: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        path: path.display().to_string(),
        size: sizes(path).unwrap_or_default(),
    }));
    all
}

fn plan(core: &Core, container: &Container) -> Option<Plan> {
    let file = core.places.container(&container.id).join(orlop_wire::record::file::PLAN);
    std::fs::read(file).ok().and_then(|bytes| Plan::from_bytes(&bytes).ok())
}

/// Programs of others that are run at points of its life.
fn hooks(core: &Core, container: &Container) -> Vec<String> {
    let hooks = plan(core, container).and_then(|plan| plan.hooks);
    let all = hooks.iter().flat_map(|hooks| &hooks.all);
    all.map(|hook| format!("{} {}", hook.point.name(), hook.path())).collect()
}

fn plan_text(core: &Core, container: &Container) -> Vec<String> {
    plan(core, container)
        .map(|plan| orlop_spec::text::plan(&plan).lines().map(str::to_owned).collect())
        .unwrap_or_default()
}
