//! All that an instance has on this machine, found by its own names; and its removal by force, for tests that failed.
//!
//! *Invariant:* what does not bear the instance's names is not seen, and so never touched.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::number::Number;

/// Something of an instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trace {
    /// A mount in the node's table.
    Mount(PathBuf),
    /// A name in /run/netns.
    Netns(PathBuf),
    /// A network interface.
    Link(String),
    /// An nftables table.
    Table(String),
    /// A cgroup.
    Cgroup(PathBuf),
    /// A process, and what it is.
    Process(u32, String),
    /// A file of a thing that should be gone.
    File(PathBuf),
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trace::Mount(path) => write!(f, "mount {}", path.display()),
            Trace::Netns(path) => write!(f, "netns {}", path.display()),
            Trace::Link(name) => write!(f, "link {name}"),
            Trace::Table(name) => write!(f, "nft table inet {name}"),
            Trace::Cgroup(path) => write!(f, "cgroup {}", path.display()),
            Trace::Process(pid, what) => write!(f, "process {pid}: {what}"),
            Trace::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

/// An instance's names.
pub struct Traces {
    /// Its bridge.
    pub bridge: String,
    /// Parent of all its cgroups.
    pub cgroup: String,
    /// Its `--state`: short, since sockets lie in it, and on a tmpfs.
    pub state: PathBuf,
    /// Where everything else of it is.
    pub place: PathBuf,
    /// Whether its bridge is of CNI plugins, which never remove one.
    pub keeps_bridge: bool,
    /// Beginnings of its pods' ids, all that it ever had.
    pods: Mutex<BTreeSet<String>>,
}

impl Traces {
    /// The names of the instance of this number, which has its directories in `place`.
    #[must_use]
    pub fn new(number: &Number, place: &Path) -> Self {
        let value = number.value();
        Traces {
            bridge: format!("ot{value}"),
            cgroup: format!("orlop-test-{value}"),
            state: format!("/dev/shm/ot{value}").into(),
            place: place.to_owned(),
            keeps_bridge: false,
            pods: Mutex::default(),
        }
    }

    /// Takes note of the pods that there are: what is left of one is known by its id alone.
    pub fn note(&self) {
        let names = entries(&self.state.join("pods"))
            .into_iter()
            .filter_map(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()));
        self.remember(names);
    }

    /// Takes note of the pods that a log names.
    pub fn read(&self, log: &str) {
        let named = log.split("pod=").skip(1).filter_map(|rest| {
            let id: String =
                rest.trim_start_matches('"').chars().take_while(char::is_ascii_hexdigit).collect();
            (id.len() >= SHORT).then_some(id)
        });
        self.remember(named);
    }

    fn remember(&self, ids: impl Iterator<Item = String>) {
        let short = ids.filter_map(|id| id.get(..SHORT).map(str::to_owned));
        self.pods.lock().expect("nothing panics while it holds them").extend(short);
    }

    fn has_pod(&self, id: &str) -> bool {
        let pods = self.pods.lock().expect("nothing panics while it holds them");
        id.get(..SHORT).is_some_and(|short| pods.contains(short))
    }

    /// Everything that there is, but files.
    #[must_use]
    pub fn find(&self) -> BTreeSet<Trace> {
        let mut found = BTreeSet::new();
        found.extend(self.mounts().into_iter().map(Trace::Mount));
        let named =
            |path: &PathBuf| path.file_name().is_some_and(|name| self.has_pod(&name.to_string_lossy()));
        found.extend(entries(Path::new("/run/netns")).into_iter().filter(named).map(Trace::Netns));
        found.extend(self.links().into_iter().map(Trace::Link));
        found.extend(self.table().map(Trace::Table));
        found.extend(self.cgroups().into_iter().map(Trace::Cgroup));
        found.extend(self.processes().into_iter().map(|(pid, what)| Trace::Process(pid, what)));
        found
    }

    /// Mount points of its own, in the order of mounting.
    fn mounts(&self) -> Vec<PathBuf> {
        let table = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
        let of_pod = |path: &Path| {
            path.starts_with("/run/netns")
                && path.file_name().is_some_and(|name| self.has_pod(&name.to_string_lossy()))
        };
        points
            .filter(|path| path.starts_with(&self.state) || path.starts_with(&self.place) || of_pod(path))
            .collect()
    }

    fn links(&self) -> Vec<String> {
        let names = entries(Path::new("/sys/class/net"));
        let names = names.iter().filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
        names
            .filter(|name| {
                let of_pod = name.strip_prefix("ve").is_some_and(|id| self.has_pod(id));
                let port = Path::new("/sys/class/net").join(name).join("brport/bridge");
                let bridge = std::fs::read_link(port).ok();
                let on_bridge = bridge.is_some_and(|path| path.ends_with(&self.bridge));
                *name == self.bridge || of_pod || on_bridge
            })
            .collect()
    }

    fn table(&self) -> Option<String> {
        let listed = Command::new("nft").args(["list", "tables"]).output().expect("nft is installed");
        let name = format!("orlop-{}", self.bridge);
        let there =
            String::from_utf8_lossy(&listed.stdout).lines().any(|line| line.ends_with(&format!(" {name}")));
        there.then_some(name)
    }

    /// Its cgroups in every hierarchy, parents first.
    fn cgroups(&self) -> Vec<PathBuf> {
        let mut all = Vec::new();
        let mount = Path::new("/sys/fs/cgroup");
        let hierarchies = entries(mount).into_iter().filter(|path| path.is_dir()).chain([mount.to_owned()]);
        let mut left: Vec<PathBuf> = hierarchies
            .map(|path| path.join(&self.cgroup))
            .chain([mount.join(self.slice())])
            .filter(|path| path.is_dir())
            .collect();
        while let Some(directory) = left.pop() {
            left.extend(entries(&directory).into_iter().filter(|path| path.is_dir()));
            all.push(directory);
        }
        all
    }

    /// Where its parent is if systemd makes it: a dash in a slice's name is a level.
    #[must_use]
    pub fn slice(&self) -> PathBuf {
        let dashes = self.cgroup.match_indices('-').map(|(at, _)| at).chain([self.cgroup.len()]);
        dashes.map(|end| format!("{}.slice", &self.cgroup[..end])).collect()
    }

    /// Whether a path in /proc/PID/cgroup is below its parent, by whatever driver.
    fn is_below(&self, path: &str) -> bool {
        let path = Path::new(path.trim_start_matches('/'));
        path.starts_with(&self.cgroup) || path.starts_with(self.slice())
    }

    /// Whether this is the parent of its cgroups itself.
    #[must_use]
    pub fn is_parent(&self, path: &Path) -> bool {
        path.ends_with(&self.cgroup) || path.ends_with(self.slice())
    }

    /// Its processes: shims and daemon by their arguments, containers' by their cgroups.
    fn processes(&self) -> Vec<(u32, String)> {
        let numbers = entries(Path::new("/proc"))
            .into_iter()
            .filter_map(|path| path.file_name()?.to_str()?.parse::<u32>().ok());
        numbers.filter_map(|pid| self.has_process(pid).map(|what| (pid, what))).collect()
    }

    fn has_process(&self, pid: u32) -> Option<String> {
        let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let line =
            read("cmdline").iter().map(|&byte| if byte == 0 { b' ' } else { byte }).collect::<Vec<_>>();
        let line = String::from_utf8_lossy(&line).into_owned();
        let cgroups = String::from_utf8_lossy(&read("cgroup")).into_owned();
        let inside =
            cgroups.lines().any(|line| line.splitn(3, ':').nth(2).is_some_and(|path| self.is_below(path)));
        let state = self.state.to_str().expect("a plain path");
        let named = line.split([' ', '/']).count() > 1
            && line.split(' ').any(|word| Path::new(word).starts_with(state));
        (inside || named).then_some(line)
    }

    /// Takes everything away that there is.
    pub fn remove(&self) {
        self.note();
        self.kill();
        for mount in self.mounts().iter().rev() {
            let _ = unmount(mount, UnmountFlags::DETACH);
        }
        for trace in self.find() {
            match trace {
                Trace::Netns(path) => drop(std::fs::remove_file(path)),
                Trace::Link(name) => quietly(&["ip", "link", "delete", &name]),
                Trace::Table(name) => quietly(&["nft", "delete", "table", "inet", &name]),
                Trace::Mount(_) | Trace::Cgroup(_) | Trace::Process(..) | Trace::File(_) => {}
            }
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        // Where systemd made them its units end with it.
        if Path::new("/run/systemd/system").is_dir() {
            quietly(&["systemctl", "stop", &format!("{}.slice", self.cgroup)]);
        }
        // A cgroup is busy as long as a process of it is ending.
        while !self.cgroups().is_empty() && Instant::now() < deadline {
            for cgroup in self.cgroups().iter().rev() {
                let _ = std::fs::remove_dir(cgroup);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = std::fs::remove_dir_all(&self.state);
    }

    fn kill(&self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let processes = self.processes();
            if processes.is_empty() || Instant::now() > deadline {
                return;
            }
            for (number, _) in processes {
                let Some(pid) = Pid::from_raw(number.cast_signed()) else { continue };
                let Ok(held) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
                // Looked at again, now that the number can be no other's.
                if self.has_process(number).is_some() {
                    let _ = pidfd_send_signal(&held, Signal::KILL);
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// As many digits of a pod's id as a log shows.
const SHORT: usize = 12;

/// What is in a directory; nothing, if it is not there.
pub(crate) fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.path()).collect()
}

fn quietly(command: &[&str]) {
    let _ = Command::new(command[0]).args(&command[1..]).output();
}

/// A path of mountinfo: blanks and the like stand there as octal numbers (proc_pid_mountinfo(5)).
fn unescape(text: &str) -> PathBuf {
    let mut parts = text.split('\\');
    let mut path = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let number = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        path.extend(number.map(char::from));
        path.push_str(part.get(3..).unwrap_or_default());
    }
    path.into()
}
