//! From a checked request to a plan: what the pure stages of `orlop_spec` need is gathered here.
//!
//! *Invariant:* of the node only what the request names is looked at: device nodes and a seccomp profile, with bounds. Paths of
//! volumes are left to the shim, so a dead server behind one hangs nobody here.

use std::ffi::CString;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use orlop_cgroup::{DeviceRule, Planned as Cgroups};
use orlop_image::ImageConfig;
use orlop_model::container::{ContainerConfig, PidNamespace, Resources};
use orlop_model::pod::Seccomp;
use orlop_model::report::{Kind, Report};
use orlop_proto::runtime::v1::LinuxContainerResources;
use orlop_spec::accounts::Identity;
use orlop_spec::input::{DeviceNode, Granted, Input, Node, PodFacts};
use orlop_spec::lower::user::maps;
use orlop_spec::lower::{ExecFacts, Facts as LowerFacts, Root, Slot, exec, kinds, lower};
use orlop_spec::seccomp::Filters;
use orlop_spec::selinux::Labels;
use orlop_spec::{c_path, oci};
use orlop_wire::plan::{Cgroup, Operation, Plan, Stdio};

use super::container::Container;
use super::devices::{all_devices, device_node, rule};
use super::edits::Draft;
use super::pod::Pod;
use super::{Core, Places};
use crate::config::Config;

/// The most that a seccomp profile may have.
const PROFILE: u64 = 1 << 20;

/// Seccomp: what was compiled already, and the default profile where the node has its own.
pub(crate) struct Profiles {
    filters: Filters,
    default: Option<Vec<u8>>,
}

impl Profiles {
    /// As configured.
    ///
    /// # Errors
    /// If the node's own default profile cannot be read.
    pub(crate) fn new(config: &Config) -> Result<Self, Report> {
        let default = config.seccomp.default_profile.as_deref();
        let default = default.map(|path| read_profile("[seccomp] default_profile", path)).transpose()?;
        Ok(Profiles { filters: Filters::default(), default })
    }
}

/// Everything that a plan is made of.
pub(super) struct Making<'a> {
    pub(super) core: &'a Core,
    pub(super) container: &'a Container,
    pub(super) config: &'a ContainerConfig,
    pub(super) document: &'a ImageConfig,
    pub(super) identity: &'a Identity,
    pub(super) layers: &'a [PathBuf],
    /// Of each mount that is of an image, in order: what is put together.
    pub(super) images: Vec<Vec<PathBuf>>,
    /// Its contexts of SELinux, where the node has it.
    pub(super) labels: Option<&'a Labels>,
    pub(super) target: Option<&'a Container>,
    /// What the devices need that are asked for by name.
    pub(super) devices: &'a orlop_cdi::Edits,
}

/// A plan, and what has to be remembered of its making.
pub(super) struct Planned {
    pub(super) plan: Plan,
    /// The spec as hooks find it in the bundle, if there are any.
    pub(super) config: Option<Vec<u8>>,
    pub(super) exec: Vec<Operation>,
    pub(super) cgroups: Vec<PathBuf>,
    pub(super) unified: Option<PathBuf>,
    pub(super) log_path: String,
    pub(super) stop_signal: i32,
    /// The limits that it has, if plugins changed them.
    pub(super) limits: Option<LinuxContainerResources>,
    /// What a runtime of others reads, by name.
    pub(super) files: Vec<(&'static str, Vec<u8>)>,
}

/// The slots of a container's plan: network, IPC, UTS, `/dev/shm`, PID, user, those that there are, in this order. Where systemd makes
/// the container's cgroup there is one more, which no operation names: while somebody has it, the cgroup stays.
pub(super) fn slots(facts: &PodFacts, target: Option<&Path>) -> Vec<Slot> {
    let pods = [&facts.net, &facts.ipc, &facts.uts, &facts.shm].map(|path| path.as_deref());
    let paths = pods.into_iter().chain([target, facts.user.as_deref()]);
    let paths = paths.flatten().map(Path::to_path_buf);
    (0..).zip(paths).map(|(number, path)| Slot { path, number }).collect()
}

/// What the pod's namespaces are called in a spec. Those in the room have no path on the host: the shim gets them by descriptor.
fn pod_facts(core: &Core, pod: &Pod) -> PodFacts {
    let namespaces = pod.config.namespaces;
    let directory = core.places.pod(&pod.id);
    let own_network = !namespaces.host_network;
    let in_room = |name: &str| PathBuf::from(format!("/pods/{}/{name}", pod.id));
    let hostname = if pod.config.hostname.is_empty() { &core.node.hostname } else { &pod.config.hostname };
    PodFacts {
        id: pod.id.clone(),
        hostname: hostname.clone(),
        user: namespaces.user.map(|_| in_room("user")),
        net: own_network.then(|| Places::netns(&pod.id)),
        ipc: (!namespaces.host_ipc).then(|| in_room("ipc")),
        uts: own_network.then(|| in_room("uts")),
        pid: pod.has_init().then(|| in_room("pid")),
        shm: (!namespaces.host_ipc).then(|| in_room("shm")),
        resolv_conf: Some(directory.join("resolv.conf")),
        hosts: Some(directory.join("hosts")),
        hostname_file: Some(directory.join("hostname")),
    }
}

/// The spec of a container that is created, as it was asked for: what was put together at its making, put together again.
///
/// # Errors
/// If what it was made of is gone.
pub(crate) fn spec_again(core: &Core, container: &Container) -> Result<Spec, Report> {
    let missing =
        || Report::new(Kind::WrongState, "show container", container.id.short(), "it is not created");
    let facts = container.facts().ok_or_else(missing)?;
    let config =
        crate::cri::convert::container_config(&container.asked, &container.pod.config, core.node.door)?;
    let document = core.images.config(&*core.images.find("image", &facts.image)?)?;
    let identity = super::create::identity(core, &config, &document)?;
    let target = facts.target.as_ref().and_then(|target| core.table.exact_container(target));
    let images = facts.volumes.iter().map(|_| Vec::new()).collect();
    let labels = core.contexts.labels(core, &container.pod, &config);
    let making = Making {
        core,
        container,
        config: &config,
        document: &document,
        identity: &identity,
        layers: &facts.layers,
        images,
        labels: labels.as_ref(),
        target: target.as_deref(),
        devices: &orlop_cdi::Edits::default(),
    };
    making.with_draft(|draft, _, _, _| Ok(draft.composed.spec))
}

impl Making<'_> {
    pub(super) fn plan(&self) -> Result<Planned, Report> {
        self.with_draft(|mut draft, node, slots, cgroup_path| {
            super::edits::edit(self, &mut draft)?;
            let limits = crate::nri::container::limits_of(&draft, &self.config.resources);
            let Draft { composed, resources } = draft;
            for warning in &composed.warnings {
                tracing::warn!(container = self.container.id.short(), "{warning}");
            }
            self.confined(&composed.spec)?;
            self.filter(&composed.spec)?;
            let cgroups = self.cgroups(cgroup_path, &composed.spec, &resources)?;
            // In a user namespace nodes are bound, from wherever the node has them.
            let bound = self.container.pod.config.namespaces.user.is_some()
                && composed
                    .spec
                    .linux()
                    .as_ref()
                    .is_some_and(|linux| linux.devices().iter().flatten().next().is_some());
            let on_node = if bound { all_devices(Path::new("/dev")) } else { Vec::new() };
            Ok(Planned { limits, ..self.lower(&composed, node, slots, cgroups, &on_node)? })
        })
    }

    /// As it was asked for, before anyone changes it; with the slots of its plan and its cgroup's path.
    fn with_draft<T>(
        &self,
        then: impl FnOnce(Draft, &Node, &[Slot], &str) -> Result<T, Report>,
    ) -> Result<T, Report> {
        let pod = &self.container.pod;
        let facts = pod_facts(self.core, pod);
        let target_pid = self.target.map(|target| PathBuf::from(format!("/containers/{}/pid", target.id)));
        let pid_path = match &self.config.security.pid {
            PidNamespace::Pod => facts.pid.as_deref(),
            PidNamespace::Target(_) => target_pid.as_deref(),
            PidNamespace::Container | PidNamespace::Node => None,
        };
        let slots = slots(&facts, pid_path);
        let node = self.node();
        let devices = self.devices()?;
        let profile = self.profile()?;
        let apparmor = self.apparmor()?;
        let cgroup_path = self.core.container_cgroup(self.container);
        let input = Input {
            container: &self.container.id,
            pod: &pod.config,
            facts: &facts,
            config: self.config,
            image: self.document.oci().config().as_ref(),
            identity: self.identity,
            node: &node,
            devices: &devices,
            images: &self.images,
            seccomp_profile: profile.as_deref(),
            apparmor: apparmor.as_deref(),
            labels: self.labels,
            target_pid: target_pid.as_ref(),
            cgroups_path: &cgroup_path,
        };
        let draft = Draft { composed: oci::container(&input)?, resources: self.config.resources.clone() };
        then(draft, &node, &slots, &cgroup_path)
    }

    fn lower(
        &self,
        composed: &oci::Composed,
        node: &Node,
        slots: &[Slot],
        cgroups: Cgroups,
        devices: &[DeviceNode],
    ) -> Result<Planned, Report> {
        let layer = self.core.places.layer(&self.container.id);
        let log_path = self.log_path();
        let filters = &self.core.seccomp.filters;
        let own = |cgroup: &orlop_wire::plan::Cgroup| {
            (!cgroup.keep).then(|| PathBuf::from(cgroup.directory.to_string_lossy().into_owned()))
        };
        let paths = cgroups.cgroups.iter().filter_map(own).collect();
        let unified = cgroups.unified.as_ref().map(|path| PathBuf::from(path.to_string_lossy().into_owned()));
        let shim_cgroups = self.core.node.shim_cgroups.iter().map(|path| c_path(path));
        let facts = LowerFacts {
            container: self.container.id.to_string(),
            slots,
            root: Root::Overlay {
                lower: self.layers.to_vec(),
                upper: layer.join("upper"),
                work: layer.join("work"),
                volatile: true,
                place: layer.join("root"),
            },
            layout: &node.cgroups,
            enter: cgroups.procs,
            cgroups: cgroups.cgroups,
            unified: cgroups.unified,
            oom: cgroups.oom,
            shim_cgroups: shim_cgroups.collect::<Result<_, _>>()?,
            stdio: Stdio {
                terminal: self.config.tty,
                stdin: self.config.stdin,
                stdin_once: self.config.stdin_once,
                log: (!log_path.is_empty()).then(|| c_path(Path::new(&log_path))).transpose()?,
                log_cap: self.core.node.log_cap,
            },
            create_sources: true,
            bundle: self.core.places.container(&self.container.id),
            hook_patience: self.core.hooks.patience,
            raw_environment: &composed.raw_environment,
            filters,
            devices,
        };
        let handler = self.core.handlers.find("runtime_handler", &self.container.pod.config.handler)?;
        let (mut plan, exec, files) = match handler {
            None => (lower(&composed.spec, &facts)?, self.exec(composed, &facts.enter)?, Vec::new()),
            Some(handler) => self.bundle(handler, composed, &facts)?,
        };
        plan.slots += u32::from(self.core.scope(self.container).is_some());
        let image = self.document.oci().config().as_ref();
        let stop = image.and_then(|config| config.stop_signal().clone());
        let stop_signal = orlop_spec::signal::stop_signal(self.config.stop_signal, stop.as_deref());
        let config = plan.hooks.as_ref().map(|_| bundle(&composed.spec, &layer.join("root"))).transpose()?;
        Ok(Planned {
            plan,
            config,
            exec,
            cgroups: paths,
            unified,
            log_path,
            stop_signal,
            limits: None,
            files,
        })
    }

    /// What an exec's child does: the container's process without its terminal; its program is a pattern.
    fn exec(&self, composed: &oci::Composed, enter: &[CString]) -> Result<Vec<Operation>, Report> {
        let missing = || Report::new(Kind::Failed, "plan", "exec", "the spec has no process");
        let mut process = composed.spec.process().clone().ok_or_else(missing)?;
        process.set_terminal(Some(false));
        let linux = composed.spec.linux().as_ref().ok_or_else(missing)?;
        exec(
            &process,
            &ExecFacts {
                enter,
                kinds: kinds(linux),
                seccomp: linux.seccomp().as_ref(),
                raw_environment: &composed.raw_environment,
                filters: &self.core.seccomp.filters,
                user: maps(linux)?,
            },
        )
    }

    fn log_path(&self) -> String {
        let directory = &self.container.pod.config.log_directory;
        if directory.is_empty() || self.config.log_path.is_empty() {
            return String::new();
        }
        format!("{}/{}", directory.trim_end_matches('/'), self.config.log_path)
    }

    fn cgroups(&self, path: &str, spec: &Spec, asked: &Resources) -> Result<Cgroups, Report> {
        if let Some(report) = orlop_cgroup::unsupported(&self.core.node.hierarchies, asked) {
            return Err(Report { stage: format!("config.{}", report.stage), ..report });
        }
        let resources = spec.linux().as_ref().and_then(|linux| linux.resources().clone());
        let rules: Vec<DeviceRule> = resources
            .and_then(|resources| resources.devices().clone())
            .unwrap_or_default()
            .iter()
            .map(rule)
            .collect();
        let mut planned = orlop_cgroup::plan(&self.core.node.hierarchies, path, asked, &rules)
            .map_err(|error| Report::new(Kind::BadRequest, "config.linux.resources", path, error))?;
        planned.cgroups.splice(0..0, self.pod_cgroup()?);
        Ok(planned)
    }

    /// The pod's own cgroup with its sums, where it is the daemon's. As far as the kernel has it: they are a notice.
    fn pod_cgroup(&self) -> Result<Vec<Cgroup>, Report> {
        let pod = &self.container.pod;
        let total = pod.sums().total();
        if !pod.config.cgroup_parent.is_empty() || total == Resources::default() {
            return Ok(Vec::new());
        }
        let path = self.core.pod_cgroup(pod);
        let planned = orlop_cgroup::plan(&self.core.node.hierarchies, &path, &total, &[]);
        let mut cgroups = planned.map_err(Report::from)?.cgroups;
        for cgroup in &mut cgroups {
            cgroup.keep = true;
            cgroup.writes.iter_mut().for_each(|write| write.required = false);
        }
        Ok(cgroups)
    }

    fn node(&self) -> Node {
        let node = &self.core.node;
        Node {
            capabilities: node.capabilities,
            cgroups: node.layout.clone(),
            devices: if self.config.security.privileged {
                all_devices(Path::new("/dev"))
            } else {
                Vec::new()
            },
            kernel: node.kernel_version,
            oom_floor: node.oom_floor,
            cgroup_namespaces: true,
        }
    }

    fn devices(&self) -> Result<Vec<Granted>, Report> {
        let mut all = Vec::new();
        for (number, device) in self.config.devices.iter().enumerate() {
            let field = format!("config.devices[{number}].host_path");
            let path = Path::new(&device.host_path);
            let found =
                if path.is_dir() { all_devices(path) } else { device_node(path).into_iter().collect() };
            if found.is_empty() {
                return Err(Report::field(field, &device.host_path, "there is no device on this node"));
            }
            for node in found {
                let below = node.path.strip_prefix(path).unwrap_or(Path::new(""));
                let container_path = Path::new(&device.container_path).join(below);
                let container_path = container_path.to_string_lossy().trim_end_matches('/').to_owned();
                all.push(Granted { node, container_path, permissions: device.permissions.clone() });
            }
        }
        Ok(all)
    }

    /// Compiles the filter of system calls, so that what is wrong with a profile is told by the field that names it.
    fn filter(&self, spec: &Spec) -> Result<(), Report> {
        let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
        let compiled = profile.map(|profile| self.core.seccomp.filters.get(profile)).transpose();
        compiled.map(drop).map_err(|report| match &self.config.security.seccomp {
            Seccomp::Localhost(path) => oci::in_profile(path, report),
            Seccomp::RuntimeDefault | Seccomp::Unconfined => report,
        })
    }

    /// Whether the kernel can confine the process as the spec says, whoever wrote that.
    fn confined(&self, spec: &Spec) -> Result<(), Report> {
        let process = spec.process().as_ref();
        let profile = process.and_then(|process| process.apparmor_profile().as_deref()).unwrap_or_default();
        let label = process.and_then(|process| process.selinux_label().as_deref()).unwrap_or_default();
        let door = self.core.node.door;
        let (field, asked, cause) = if !door.apparmor && !matches!(profile, "" | "unconfined") {
            (
                "process.apparmorProfile",
                profile,
                "the kernel of this node has no AppArmor, or it is turned off",
            )
        } else if !door.selinux && !label.is_empty() {
            ("process.selinuxLabel", label, "the kernel of this node has no SELinux")
        } else {
            return Ok(());
        };
        Err(Report { kind: Kind::Unsupported, ..Report::field(field, asked, cause) })
    }

    fn apparmor(&self) -> Result<Option<String>, Report> {
        let (core, security) = (self.core, &self.config.security);
        core.apparmor.choose(&security.apparmor, security.privileged, core.node.door.apparmor)
    }

    fn profile(&self) -> Result<Option<Vec<u8>>, Report> {
        match &self.config.security.seccomp {
            _ if self.config.security.privileged => Ok(None),
            Seccomp::Localhost(path) => {
                let field = "config.linux.security_context.seccomp.localhost_ref";
                read_profile(field, Path::new(path)).map(Some)
            }
            Seccomp::RuntimeDefault => Ok(self.core.seccomp.default.clone()),
            Seccomp::Unconfined => Ok(None),
        }
    }
}

/// The spec in JSON, with its root where it is mounted until it is the root.
fn bundle(spec: &Spec, root: &Path) -> Result<Vec<u8>, Report> {
    let mut spec = spec.clone();
    if let Some(of) = spec.root_mut() {
        of.set_path(root.to_owned());
    }
    serde_json::to_vec(&spec).map_err(|error| Report::new(Kind::Failed, "write bundle", "", error))
}

/// A profile's bytes: of a regular file, and not more than a profile can have.
fn read_profile(field: &str, path: &Path) -> Result<Vec<u8>, Report> {
    let bad = |cause: String| {
        Report::field(field, path.display(), cause).advise("put the profile on the node first")
    };
    let file = std::fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = file.map_err(|error| bad(error.to_string()))?;
    if !file.metadata().map_err(|error| bad(error.to_string()))?.is_file() {
        return Err(bad("it is not a regular file".into()));
    }
    let mut bytes = Vec::new();
    file.take(PROFILE + 1).read_to_end(&mut bytes).map_err(|error| bad(error.to_string()))?;
    if bytes.len() as u64 > PROFILE {
        return Err(bad("it has more than 1 MiB".into()));
    }
    Ok(bytes)
}
