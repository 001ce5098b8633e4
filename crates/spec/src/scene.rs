//! A pod, an image, a node and a request to begin with, for tests: each changes what it is about.
//!
//! *Invariant:* what stands here composes and lowers; a test that sees a refusal has caused it.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::PathBuf;

use oci_spec::image::Config as ImageConfig;
use orlop_model::container::{ContainerConfig, ContainerName, Mount, Resources, Security};
use orlop_model::id::{ContainerId, PodId};
use orlop_model::pod::{PidMode, PodConfig, PodName, PodNamespaces, Seccomp, Selinux};
use orlop_model::report::Report;
use orlop_wire::plan::{Cgroup, CgroupWrite, Oom, Plan, Stdio};

use crate::accounts::Identity;
use crate::capability;
use crate::input::{CgroupLayout, Granted, Hierarchy, Input, Node, PodFacts};
use crate::lower::{Facts, Root, Slot, lower};
use crate::oci::{Composed, container};
use crate::seccomp::Filters;
use crate::selinux::Labels;

pub(crate) struct Scene {
    pub(crate) id: ContainerId,
    pub(crate) pod: PodConfig,
    pub(crate) facts: PodFacts,
    pub(crate) config: ContainerConfig,
    pub(crate) image: ImageConfig,
    pub(crate) identity: Identity,
    pub(crate) node: Node,
    pub(crate) devices: Vec<Granted>,
    pub(crate) images: Vec<Vec<PathBuf>>,
    pub(crate) profile: Option<Vec<u8>>,
    pub(crate) apparmor: Option<String>,
    pub(crate) labels: Option<Labels>,
    pub(crate) target: Option<PathBuf>,
    pub(crate) filters: Filters,
}

pub(crate) fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|&word| word.to_owned()).collect()
}

pub(crate) fn mount(container_path: &str, host_path: &str) -> Mount {
    Mount { container_path: container_path.into(), host_path: host_path.into(), ..Mount::default() }
}

fn hierarchy(place: &str, options: &[&str]) -> Hierarchy {
    Hierarchy { mountpoint: PathBuf::from("/sys/fs/cgroup").join(place), options: words(options) }
}

fn pod() -> PodConfig {
    PodConfig {
        name: PodName { name: "web".into(), namespace: "default".into(), uid: "u-1".into(), attempt: 0 },
        hostname: "web".into(),
        log_directory: "/var/log/pods/web".into(),
        dns: None,
        ports: Vec::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        handler: String::new(),
        cgroup_parent: "/kubepods/pod1".into(),
        sysctls: BTreeMap::new(),
        namespaces: PodNamespaces { pid: PidMode::Container, ..PodNamespaces::default() },
        privileged: true,
        seccomp: Seccomp::Unconfined,
        selinux: Selinux::default(),
    }
}

fn request() -> ContainerConfig {
    ContainerConfig {
        name: ContainerName { name: "main".into(), attempt: 0 },
        image: "busybox".into(),
        user_image: String::new(),
        command: Vec::new(),
        args: Vec::new(),
        working_dir: String::new(),
        envs: Vec::new(),
        mounts: Vec::new(),
        devices: Vec::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        log_path: "main/0.log".into(),
        stdin: false,
        stdin_once: false,
        tty: false,
        resources: Resources::default(),
        security: Security {
            masked_paths: words(&["/proc/kcore", "/sys/firmware"]),
            readonly_paths: words(&["/proc/sys"]),
            ..Security::default()
        },
        named_devices: Vec::new(),
        stop_signal: None,
    }
}

impl Scene {
    pub(crate) fn new() -> Scene {
        let id: PodId = "ab".repeat(32).parse().expect("64 digits");
        let run = |name: &str| Some(PathBuf::from(format!("/run/orlop/pods/web/{name}")));
        let mut image = ImageConfig::default();
        image.set_cmd(Some(words(&["sh"]))).set_env(Some(words(&["PATH=/bin:/usr/bin"])));
        Scene {
            id: "cd".repeat(32).parse().expect("64 digits"),
            pod: pod(),
            facts: PodFacts {
                id,
                hostname: "web".into(),
                user: None,
                net: Some(PathBuf::from("/run/netns/web")),
                ipc: run("ipc"),
                uts: run("uts"),
                pid: run("pid"),
                shm: run("shm"),
                resolv_conf: run("resolv.conf"),
                hosts: run("hosts"),
                hostname_file: run("hostname"),
            },
            config: request(),
            image,
            identity: Identity {
                uid: 0,
                gid: 0,
                groups: vec![0],
                home: "/root".into(),
                username: "root".into(),
            },
            node: Node {
                capabilities: capability::EVERY,
                cgroups: CgroupLayout::V1(vec![
                    hierarchy("cpu,cpuacct", &["cpu", "cpuacct"]),
                    hierarchy("memory", &["memory"]),
                    hierarchy("systemd", &["name=systemd"]),
                ]),
                devices: Vec::new(),
                kernel: (6, 18),
                oom_floor: -1000,
                cgroup_namespaces: true,
            },
            devices: Vec::new(),
            images: Vec::new(),
            profile: None,
            apparmor: None,
            labels: None,
            target: None,
            filters: Filters::default(),
        }
    }

    pub(crate) fn input(&self) -> Input<'_> {
        Input {
            container: &self.id,
            pod: &self.pod,
            facts: &self.facts,
            config: &self.config,
            image: Some(&self.image),
            identity: &self.identity,
            node: &self.node,
            devices: &self.devices,
            images: &self.images,
            seccomp_profile: self.profile.as_deref(),
            apparmor: self.apparmor.as_deref(),
            labels: self.labels.as_ref(),
            target_pid: self.target.as_ref(),
            cgroups_path: "/kubepods/pod1/main",
        }
    }

    pub(crate) fn compose(&self) -> Result<Composed, Report> {
        container(&self.input())
    }

    /// The pod's namespaces and its /dev/shm, in this order.
    pub(crate) fn slots(&self) -> Vec<Slot> {
        let facts = &self.facts;
        let paths = [&facts.net, &facts.ipc, &facts.uts, &facts.pid, &facts.shm, &self.target, &facts.user];
        let numbered = paths.into_iter().flatten().zip(0..);
        numbered.map(|(path, number)| Slot { path: path.clone(), number }).collect()
    }

    pub(crate) fn lower_facts<'a>(&'a self, composed: &'a Composed, slots: &'a [Slot]) -> Facts<'a> {
        let own =
            |place: &str| CString::new(format!("/sys/fs/cgroup/{place}/kubepods/pod1/main")).expect("no NUL");
        let limit =
            CgroupWrite { file: c"memory.limit_in_bytes".into(), value: c"67108864".into(), required: true };
        Facts {
            container: self.id.to_string(),
            slots,
            root: Root::Overlay {
                lower: vec![PathBuf::from("/l/2"), PathBuf::from("/l/1")],
                upper: PathBuf::from("/c/upper"),
                work: PathBuf::from("/c/work"),
                volatile: true,
                place: PathBuf::from("/run/orlop/root"),
            },
            layout: &self.node.cgroups,
            cgroups: vec![Cgroup {
                directory: own("memory"),
                writes: vec![limit],
                keep: false,
                devices: vec![],
            }],
            enter: vec![CString::new("/sys/fs/cgroup/memory/kubepods/pod1/main/tasks").expect("no NUL")],
            unified: None,
            oom: Oom::V1 { directory: own("memory") },
            shim_cgroups: Vec::new(),
            stdio: Stdio {
                terminal: false,
                stdin: false,
                stdin_once: false,
                log: Some(c"/var/log/pods/web/main/0.log".into()),
                log_cap: 0,
            },
            create_sources: true,
            bundle: "/run/orlop/containers/c".into(),
            hook_patience: std::time::Duration::from_secs(7),
            raw_environment: &composed.raw_environment,
            filters: &self.filters,
            devices: &self.node.devices,
        }
    }

    pub(crate) fn plan(&self) -> Result<Plan, Report> {
        let composed = self.compose()?;
        let slots = self.slots();
        lower(&composed.spec, &self.lower_facts(&composed, &slots))
    }
}
