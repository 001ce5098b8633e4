//! What the room's thread does: makes, opens and unmakes a pod's namespaces.

use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use orlop_model::id::PodId;
use orlop_model::report::{Kind, Report};
use orlop_network::PodSocket;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_bind, move_mount, open_tree, unmount,
};
use rustix::thread::move_into_link_name_space;

use super::{Handles, Network, Shape};

const NET: u64 = libc::CLONE_NEWNET as u64;
const IPC: u64 = libc::CLONE_NEWIPC as u64;
const UTS: u64 = libc::CLONE_NEWUTS as u64;

/// Of `/dev/shm`, as every engine has it.
const SHM_SIZE: &str = "64m";

/// The thread inside: where it came from.
pub(crate) struct Inside {
    net: OwnedFd,
    ipc: OwnedFd,
    uts: OwnedFd,
}

fn own(kind: &str) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/thread-self/ns/{kind}");
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

fn place(pod: &PodId) -> PathBuf {
    Path::new("/pods").join(pod.as_str())
}

fn failed(step: &'static str, pod: &PodId) -> impl Fn(Errno) -> Report {
    move |errno| Report::new(Kind::Failed, step, pod.short(), errno)
}

fn failed_io(step: &'static str, pod: &PodId) -> impl Fn(std::io::Error) -> Report {
    move |error| Report::new(Kind::Failed, step, pod.short(), error)
}

impl Inside {
    pub(super) fn new() -> Result<Self, Errno> {
        Ok(Inside { net: own("net")?, ipc: own("ipc")?, uts: own("uts")? })
    }

    pub(super) fn make(
        &self,
        pod: &PodId,
        shape: &Shape,
        made: &[OwnedFd],
    ) -> Result<Option<Network>, Report> {
        let made = Self::make_away(pod, shape, made);
        // Whatever happened: back to the node's own.
        for home in [&self.net, &self.ipc, &self.uts] {
            move_into_link_name_space(home.as_fd(), None).map_err(failed("return from namespace", pod))?;
        }
        made
    }

    /// The same; leaves the thread in the new namespaces.
    fn make_away(pod: &PodId, shape: &Shape, made: &[OwnedFd]) -> Result<Option<Network>, Report> {
        std::fs::create_dir(place(pod)).map_err(failed_io("room of pod", pod))?;
        match made {
            [] => Self::unshare(pod, shape)?,
            [user, others @ ..] => {
                Self::keep(pod, "user", &format!("/proc/thread-self/fd/{}", user.as_raw_fd()))?;
                for other in others {
                    move_into_link_name_space(other.as_fd(), None).map_err(failed("join namespace", pod))?;
                }
            }
        }
        if shape.ipc {
            Self::keep(pod, "ipc", "/proc/thread-self/ns/ipc")?;
            Self::shm(pod, shape)?;
        }
        if let Some(hostname) = &shape.hostname {
            rustix::system::sethostname(hostname.as_bytes()).map_err(failed("hostname", pod))?;
            Self::keep(pod, "uts", "/proc/thread-self/ns/uts")?;
        }
        for (name, value) in &shape.sysctls {
            sysctl(name, value)?;
        }
        if !shape.network {
            return Ok(None);
        }
        let socket = PodSocket::open()
            .map_err(|error| Report::new(Kind::Failed, "network socket", pod.short(), error))?;
        let namespace = own("net").map_err(failed("open namespace", pod))?;
        Ok(Some(Network { namespace, socket }))
    }

    /// New namespaces for the thread.
    fn unshare(pod: &PodId, shape: &Shape) -> Result<(), Report> {
        let mut kinds = 0;
        for (wanted, kind) in [(shape.network, NET), (shape.ipc, IPC), (shape.hostname.is_some(), UTS)] {
            kinds |= if wanted { kind } else { 0 };
        }
        if kinds == 0 {
            return Ok(());
        }
        orlop_sys::namespace::unshare(kinds).map_err(failed("make namespaces", pod))
    }

    /// Pins a namespace, under the name of its kind.
    fn keep(pod: &PodId, kind: &'static str, namespace: &str) -> Result<(), Report> {
        let file = place(pod).join(kind);
        std::fs::File::create(&file).map_err(failed_io("pin namespace", pod))?;
        mount_bind(namespace, &file).map_err(failed("pin namespace", pod))
    }

    /// Files in it bear ids of the node, so it is nobody's in a user namespace but its root's.
    fn shm(pod: &PodId, shape: &Shape) -> Result<(), Report> {
        let directory = place(pod).join("shm");
        std::fs::create_dir(&directory).map_err(failed_io("make /dev/shm", pod))?;
        let root = shape.user.map_or((0, 0), |maps| (maps.uids.host, maps.gids.host));
        let (uid, gid) = (root.0.to_string(), root.1.to_string());
        let mut options = vec![("mode", "1777"), ("size", SHM_SIZE), ("source", "shm")];
        if shape.user.is_some() {
            options.extend([("uid", uid.as_str()), ("gid", gid.as_str())]);
        }
        options.extend(shape.context.as_deref().map(|context| ("context", context)));
        let mounted = super::entry::fresh("tmpfs", &options).map_err(failed("make /dev/shm", pod))?;
        move_mount(mounted.as_fd(), "", CWD, &directory, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(failed("make /dev/shm", pod))
    }
}

/// Opens what a container's birth needs of its pod.
pub(super) fn handles(pod: &PodId) -> Result<Handles, Report> {
    let directory = place(pod);
    let pin = |kind: &str| match rustix::fs::open(
        directory.join(kind),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Ok(held) => Ok(Some(held)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(failed("open namespace", pod)(errno)),
    };
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let shm = match open_tree(CWD, directory.join("shm"), clone) {
        Ok(tree) => Some(tree),
        Err(Errno::NOENT) => None,
        Err(errno) => return Err(failed("open /dev/shm", pod)(errno)),
    };
    Ok(Handles { user: pin("user")?, ipc: pin("ipc")?, uts: pin("uts")?, shm })
}

/// Takes a pod's pins and `/dev/shm` down. Idempotent.
pub(super) fn unmake(pod: &PodId) -> Result<(), Report> {
    let directory = place(pod);
    for name in ["shm", "uts", "ipc", "user"] {
        let path = directory.join(name);
        match unmount(&path, UnmountFlags::DETACH) {
            Ok(()) | Err(Errno::NOENT | Errno::INVAL) => {}
            Err(errno) => return Err(failed("unpin namespace", pod)(errno)),
        }
        let removed = if name == "shm" { std::fs::remove_dir(&path) } else { std::fs::remove_file(&path) };
        absent_is_fine(removed).map_err(failed_io("unpin namespace", pod))?;
    }
    absent_is_fine(std::fs::remove_dir(&directory)).map_err(failed_io("room of pod", pod))
}

/// The pods that have something here.
pub(super) fn pods() -> Result<Vec<String>, Report> {
    let entries =
        std::fs::read_dir("/pods").map_err(|error| Report::new(Kind::Failed, "read room", "/pods", error))?;
    Ok(entries.filter_map(Result::ok).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

fn absent_is_fine(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Writes a sysctl of the namespaces that the thread is in.
fn sysctl(name: &str, value: &str) -> Result<(), Report> {
    std::fs::write(Path::new("/proc/sys").join(sysctl_path(name)), value)
        .map_err(|error| sysctl_refused(name, value, error))
}

/// Where a sysctl is below /proc/sys. A slash in a dotted name stands for a dot that is part of it, as sysctl(8) has it.
pub(crate) fn sysctl_path(name: &str) -> String {
    let swap = |letter| match letter {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    name.chars().map(swap).collect()
}

/// One that was not written.
pub(crate) fn sysctl_refused(name: &str, value: &str, why: impl std::fmt::Display) -> Report {
    let report = Report::field(format!("config.linux.sysctls[{name}]"), value, why);
    report.advise("the kernel of this node has no such sysctl, or refuses the value")
}
