//! The room: a mount namespace of the daemon's own, in which the pods' namespaces are pinned and their `/dev/shm` mounted.
//!
//! ```text
//!  host                          the room (pinned at STATE/ns/room)
//!  /run/netns/POD  net pin       /proc
//!                                /pods/POD/ipc   /pods/POD/uts   pins
//!                                /pods/POD/user                  pin, where the pod has a user namespace
//!                                /pods/POD/shm                   tmpfs
//! ```
//!
//! So a pod has one mount in the host's table, a container none, and PID 1 of the node hears of neither. What a container's birth
//! needs of its pod is opened here and handed to its shim as descriptors.
//!
//! One thread lives in the room and does all of this in turn; each deed is a handful of system calls on memory filesystems, and
//! none of them touches a path that a pod's owner controls.
//!
//! *Invariant:* between two jobs the thread is in the node's own network, IPC and UTS namespaces. The room outlives the daemon and
//! is entered again by the next one.

mod deeds;
mod entry;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::mpsc;

use orlop_model::id::PodId;
use orlop_model::pod::UserMaps;
use orlop_model::report::{Kind, Report};
use orlop_network::PodSocket;
use rustix::io::Errno;

pub(crate) use deeds::{sysctl_path, sysctl_refused};

/// Which namespaces a pod gets, and what they hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    /// A network of its own.
    pub(crate) network: bool,
    /// An IPC namespace and a `/dev/shm` of its own.
    pub(crate) ipc: bool,
    /// A UTS namespace of its own, with this host name.
    pub(crate) hostname: Option<String>,
    /// Sysctls of these namespaces: dotted name, value.
    pub(crate) sysctls: Vec<(String, String)>,
    /// The maps of its user namespace, if it has one: then its namespaces are made already, all of its own.
    pub(crate) user: Option<UserMaps>,
    /// The SELinux context of its `/dev/shm`; none: there is no SELinux.
    pub(crate) context: Option<String>,
}

/// A pod's network namespace, just made.
pub(crate) struct Network {
    /// The namespace.
    pub(crate) namespace: OwnedFd,
    /// A netlink socket in it.
    pub(crate) socket: PodSocket,
}

/// What a container's birth needs of its pod.
#[derive(Default)]
pub(crate) struct Handles {
    /// The pod's IPC namespace, if it has its own.
    pub(crate) ipc: Option<OwnedFd>,
    /// The pod's user namespace, if it has one.
    pub(crate) user: Option<OwnedFd>,
    /// The pod's UTS namespace, if it has its own.
    pub(crate) uts: Option<OwnedFd>,
    /// The pod's `/dev/shm`, as a detached mount, if it has its own.
    pub(crate) shm: Option<OwnedFd>,
}

type Job = Box<dyn FnOnce(&deeds::Inside) + Send>;

/// The door to the thread that lives in the room.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    jobs: mpsc::Sender<Job>,
}

impl Room {
    /// Enters the room that is pinned under `state`, or makes it.
    ///
    /// # Errors
    /// Which step could not be done.
    pub(crate) fn enter(state: &Path) -> Result<Self, Report> {
        let directory = state.join("ns");
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let mut tries = std::iter::once(None).chain((0..processors).map(Some));
        loop {
            match Self::enter_on(&directory, tries.next().flatten())? {
                Ok(room) => return Ok(room),
                // A mount namespace can be pinned only in one that is older, and since Linux 6.18 the kernel tells that by numbers
                // that each processor gives out in runs of its own: the right one is tried, whichever it is.
                Err(Errno::INVAL) if tries.size_hint().0 > 0 => {}
                Err(errno) => {
                    return Err(Report::new(
                        Kind::Failed,
                        "pin room",
                        directory.display().to_string(),
                        errno,
                    ));
                }
            }
        }
    }

    /// One try, with a new room made on this processor; the inner error is the pin's.
    fn enter_on(directory: &Path, processor: Option<usize>) -> Result<Result<Self, Errno>, Report> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready, entered) = mpsc::channel();
        let failed =
            |cause: String| Report::new(Kind::Failed, "enter room", directory.display().to_string(), cause);
        std::thread::Builder::new()
            .name("room".into())
            .stack_size(256 << 10)
            .spawn({
                let directory = directory.to_owned();
                move || entry::live(&directory, processor, &ready, &inbox)
            })
            .map_err(|error| failed(error.to_string()))?;
        let outcome = entered.recv().unwrap_or_else(|_| Err(failed("its thread ended".into())));
        Ok(match outcome? {
            Some(thread) => entry::pin(directory, thread).map(|()| Room { jobs }),
            None => Ok(Room { jobs }),
        })
    }

    /// Lets go of the room's pins in the host; the room is gone when its thread is. For a daemon that leaves no pod.
    pub(crate) fn leave(state: &Path) {
        entry::unpin(&state.join("ns"));
    }

    async fn within<T: Send + 'static>(
        &self,
        job: impl FnOnce(&deeds::Inside) -> Result<T, Report> + Send + 'static,
    ) -> Result<T, Report> {
        let (answer, heard) = tokio::sync::oneshot::channel();
        let gone = || Report::new(Kind::Failed, "room", "", "its thread has ended; restart orlopd");
        self.jobs
            .send(Box::new(move |inside| {
                let _ = answer.send(job(inside));
            }))
            .map_err(|_| gone())?;
        heard.await.map_err(|_| gone())?
    }

    /// Makes a pod's namespaces and pins all but the network's. With a user namespace they are `made` already, and it is the first.
    ///
    /// # Errors
    /// Which step could not be done; what was made is taken down by [`Room::unmake`].
    pub(crate) async fn make(
        &self,
        pod: &PodId,
        shape: Shape,
        made: Vec<OwnedFd>,
    ) -> Result<Option<Network>, Report> {
        let pod = pod.clone();
        self.within(move |inside| inside.make(&pod, &shape, &made)).await
    }

    /// Opens what a container's birth needs.
    ///
    /// # Errors
    /// Which of the pins could not be opened.
    pub(crate) async fn handles(&self, pod: &PodId) -> Result<Handles, Report> {
        let pod = pod.clone();
        self.within(move |_| deeds::handles(&pod)).await
    }

    /// Takes a pod's pins and `/dev/shm` down. Idempotent.
    ///
    /// # Errors
    /// What is still there.
    pub(crate) async fn unmake(&self, pod: &PodId) -> Result<(), Report> {
        let pod = pod.clone();
        self.within(move |_| deeds::unmake(&pod)).await
    }

    /// The pods that have something in the room.
    ///
    /// # Errors
    /// If its directory could not be read.
    pub(crate) async fn pods(&self) -> Result<Vec<String>, Report> {
        self.within(|_| deeds::pods()).await
    }
}
