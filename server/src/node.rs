//! What this node is and can do, asked once at start.
//!
//! *Invariant:* looked at, never changed.

use std::path::{Path, PathBuf};

use orlop_cgroup::{Hierarchies, Layout, slice};
use orlop_model::id::PodId;
use orlop_model::report::{Kind, Report};
use orlop_spec::input::{CgroupLayout, Hierarchy};
use orlop_spec::selinux::Policy;

use crate::config::{CgroupDriver, Config};
use crate::cri::convert;

/// What is known of the node.
#[derive(Debug)]
pub(crate) struct Node {
    /// Release of its kernel.
    pub(crate) kernel: String,
    /// The same: major, minor.
    pub(crate) kernel_version: (u32, u32),
    /// How cgroups are mounted, as a container sees it.
    pub(crate) layout: CgroupLayout,
    /// Its host name.
    pub(crate) hostname: String,
    /// Capabilities that this daemon may hand on: its bounding set, as a mask.
    pub(crate) capabilities: u64,
    /// Its cgroup hierarchies.
    pub(crate) hierarchies: Hierarchies,
    /// Cgroup below which pods live that name none.
    pub(crate) cgroup_parent: String,
    /// Whether systemd makes what pods and containers are in.
    pub(crate) systemd: bool,
    /// Files by which a shim leaves this daemon's cgroups.
    pub(crate) shim_cgroups: Vec<PathBuf>,
    /// The lowest `oom_score_adj` that the kernel grants a child of this daemon.
    pub(crate) oom_floor: i32,
    /// Bytes that a container's log file may have between two rotations; 0: any.
    pub(crate) log_cap: u64,
    /// What SELinux gives containers; none: it is not there.
    pub(crate) selinux: Option<Policy>,
    /// What the door has to know.
    pub(crate) door: convert::Node,
}

impl Node {
    /// Looks at the node.
    ///
    /// # Errors
    /// If what a daemon cannot do without is not there.
    pub(crate) fn probe(config: &Config) -> Result<Self, Report> {
        let read = |path: &str| {
            std::fs::read_to_string(path)
                .map_err(|error| Report::new(Kind::Failed, "look at node", path, error))
        };
        let uname = rustix::system::uname();
        let hierarchies = Hierarchies::detect(&read("/proc/self/mountinfo")?, Path::new("/"));
        let status = read("/proc/self/status")?;
        let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
        let capabilities = bounding.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        let adjustment = read("/proc/self/oom_score_adj")?.trim().parse().unwrap_or(0);
        let selinux = crate::pods::context::policy();
        let systemd = systemd(config.cgroup.driver, &hierarchies)?;
        let parent = &config.cgroup.parent;
        let cgroup_parent = if systemd {
            slice::expand(&slice::of_path(parent))
                .map_err(|error| Report::new(Kind::BadRequest, "[cgroup] parent", parent.clone(), error))?
        } else {
            format!("/{}", parent.trim_matches('/'))
        };
        Ok(Node {
            kernel_version: version(&uname.release().to_string_lossy()),
            layout: layout(&hierarchies),
            kernel: uname.release().to_string_lossy().into_owned(),
            hostname: uname.nodename().to_string_lossy().into_owned(),
            capabilities,
            shim_cgroups: Vec::new(),
            log_cap: config.log.container_cap,
            cgroup_parent,
            systemd,
            oom_floor: if capabilities & CAP_SYS_RESOURCE == 0 { adjustment } else { -1000 },
            hierarchies,
            door: convert::Node::probe(version(&uname.release().to_string_lossy()), selinux.is_some()),
            selinux,
        })
    }

    /// Makes the cgroup that shims are charged to, beside the pods', where memory has a hierarchy of its own (v1). In the unified
    /// hierarchy they stay in the daemon's: entering another would cost each start a grace period of RCU.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn make_shim_cgroups(&mut self) -> Result<(), Report> {
        let path = format!("{}/shims", self.cgroup_parent);
        let relative = path.trim_start_matches('/');
        if let Some(mount) = self.hierarchies.v1("memory") {
            let directory = mount.join(relative);
            orlop_cgroup::act::make(&directory).map_err(|error| {
                Report::new(Kind::Failed, "make cgroup", directory.display().to_string(), error)
            })?;
            self.shim_cgroups.push(directory.join("tasks"));
        }
        Ok(())
    }

    /// The cgroup of a pod that names none.
    pub(crate) fn pod_cgroup(&self, pod: &PodId) -> String {
        match slice::name(&self.cgroup_parent).strip_suffix(".slice").filter(|_| self.systemd) {
            Some(stem) => format!("{}/{stem}-{pod}.slice", self.cgroup_parent),
            None => format!("{}/{pod}", self.cgroup_parent),
        }
    }

    /// The cgroup that a pod names, as a path: the name of a slice stands for where that lies.
    ///
    /// # Errors
    /// If it is of the other driver.
    pub(crate) fn named_cgroup(&self, parent: &str) -> Result<String, Report> {
        const FIELD: &str = "config.linux.cgroup_parent";
        let path = parent.trim_end_matches('/');
        if !self.systemd && slice::is_slice(path) {
            let cause = "it is a slice of systemd, and the cgroup driver here is cgroupfs";
            return Err(Report::field(FIELD, parent, cause).advise(
                "let kubelet take the driver from the runtime, or set [cgroup] driver = \"systemd\"",
            ));
        }
        if !self.systemd {
            return Ok(path.to_owned());
        }
        let advice = "let kubelet take the driver from the runtime, or set [cgroup] driver = \"cgroupfs\"";
        let expanded = slice::expand(slice::name(path)).map_err(|_| {
            Report::field(FIELD, parent, "the cgroup driver here is systemd, and it is no slice")
                .advise(advice)
        })?;
        if path.trim_start_matches('/').contains('/') && expanded != path {
            let cause = format!("systemd has this slice at {expanded}");
            return Err(Report::field(FIELD, parent, cause));
        }
        Ok(expanded)
    }

    /// Takes the daemon's own cgroups away, where nothing is in them.
    pub(crate) fn remove_cgroups(&self) {
        for path in [format!("{}/shims", self.cgroup_parent), self.cgroup_parent.clone()] {
            for directory in self.hierarchies.directories(&path).unwrap_or_default() {
                let _ = std::fs::remove_dir(directory);
            }
        }
    }
}

/// Whether systemd is to make units, and can.
fn systemd(driver: CgroupDriver, hierarchies: &Hierarchies) -> Result<bool, Report> {
    // sd_booted(3); the bus that everybody uses.
    let runs = Path::new("/run/systemd/system").is_dir() && Path::new(crate::units::BUS).exists();
    let unified = hierarchies.layout() == Layout::V2;
    match driver {
        CgroupDriver::Cgroupfs => Ok(false),
        CgroupDriver::Auto => Ok(runs && unified),
        CgroupDriver::Systemd if runs && unified => Ok(true),
        CgroupDriver::Systemd => {
            let cause = if runs {
                format!("it needs cgroup v2 alone, and here is {}", hierarchies.layout().name())
            } else {
                "systemd is not PID 1 here, or its bus is not there".into()
            };
            Err(Report::new(Kind::Unsupported, "[cgroup] driver", "\"systemd\"", cause)
                .advise("set it to \"auto\" or \"cgroupfs\""))
        }
    }
}

const CAP_SYS_RESOURCE: u64 = 1 << 24;

/// Major and minor of a kernel's release, `6.18.44-x`.
fn version(release: &str) -> (u32, u32) {
    let mut numbers =
        release.split(|letter: char| !letter.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// What a container's view of the cgroups is made of.
fn layout(hierarchies: &Hierarchies) -> CgroupLayout {
    let mounts = hierarchies.v1_mounts();
    if mounts.is_empty() {
        return hierarchies
            .unified()
            .map_or(CgroupLayout::Nowhere, |mount| CgroupLayout::V2(mount.to_owned()));
    }
    let hierarchy = |(mountpoint, options): (&Path, Vec<&str>)| Hierarchy {
        mountpoint: mountpoint.to_owned(),
        options: options.into_iter().map(str::to_owned).collect(),
    };
    CgroupLayout::V1(mounts.into_iter().map(hierarchy).collect())
}
