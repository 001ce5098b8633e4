//! A cgroup for each plugin's process, so that its end can be the end of all that it started.
//!
//! On v1 the thread that starts the program enters the cgroup first and leaves it afterwards: whatever the program forks is in it
//! from the first moment. In the unified hierarchy, where one thread cannot be elsewhere than its process, the program is moved
//! after its start and before it is given its configuration; what it forks before it has read that may escape. Where cgroups
//! cannot be made, a plugin's session is all that is killed.
//!
//! A daemon that a plugin leaves behind when it ends by itself is let be: it moves to the cgroup `left`.
//!
//! *Invariant:* nothing is killed but what is in a pen, and this process never is in one when it is killed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use orlop_cgroup::{Hierarchies, act};

/// How long the kernel may take to end what it was told to kill.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long plugins of an earlier daemon may take to end by themselves.
const GRACE: Duration = Duration::from_secs(1);
/// The cgroup of what plugins leave behind.
const LEFT: &str = "left";
/// Any controller of v1 will do; these cost the least.
const CONTROLLERS: [&str; 6] = ["pids", "freezer", "net_cls", "devices", "cpuacct", "cpu"];

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Where pens are made.
#[derive(Debug, Clone)]
pub struct Pens {
    /// The cgroup that they are all in.
    directory: PathBuf,
    /// On v1: the file by which a thread of this process returns to where it belongs.
    home: Option<PathBuf>,
}

/// One plugin's cgroup.
#[derive(Debug)]
pub(crate) struct Pen<'a> {
    pens: &'a Pens,
    directory: PathBuf,
}

impl Pens {
    /// Below the cgroup `parent` (a path from the root of each hierarchy), if any hierarchy serves. Makes nothing yet.
    #[must_use]
    pub fn new(hierarchies: &Hierarchies, parent: &str) -> Option<Self> {
        let below = |mount: &Path| mount.join(parent.trim_start_matches('/')).join("cni");
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let v1 = CONTROLLERS.iter().find_map(|controller| {
            let mount = hierarchies.v1(controller)?;
            let home = mount.join(own_path(&own, controller)?.trim_start_matches('/')).join("tasks");
            home.exists().then(|| Pens { directory: below(mount), home: Some(home) })
        });
        v1.or_else(|| Some(Pens { directory: below(hierarchies.unified()?), home: None }))
    }

    /// Ends what plugins of an earlier daemon do still, since it may undo what this one does. They have a second to end by
    /// themselves: one that is killed between two of its own files leaves what its own DEL does not find. Blocks.
    pub fn sweep(&self) {
        let entries = std::fs::read_dir(&self.directory).into_iter().flatten().filter_map(Result::ok);
        let pens: Vec<PathBuf> = entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()) && entry.file_name() != LEFT)
            .map(|entry| entry.path())
            .collect();
        let at_work = |pen: &&PathBuf| act::processes(pen).is_ok_and(|all| !all.is_empty());
        let deadline = Instant::now() + GRACE;
        while pens.iter().any(|pen| at_work(&pen)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        for pen in pens {
            if at_work(&&pen) {
                tracing::warn!(cgroup = %pen.display(), "a plugin of an earlier daemon is killed");
            }
            Pen { pens: self, directory: pen }.kill();
        }
    }

    /// Takes the cgroups away where nothing is in them.
    pub fn remove(&self) {
        for directory in [self.directory.join(LEFT), self.directory.clone()] {
            let _ = std::fs::remove_dir(directory);
        }
    }

    #[cfg(test)]
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// A new one; none, if it cannot be made.
    pub(crate) fn pen(&self) -> Option<Pen<'_>> {
        // No two daemons that meet for a moment share one.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = self.directory.join(format!("{}-{number}", std::process::id()));
        match act::make(&directory) {
            Ok(()) => Some(Pen { pens: self, directory }),
            Err(error) => {
                tracing::warn!("a plugin runs without a cgroup of its own: {error}");
                None
            }
        }
    }
}

/// This process's cgroup of a v1 controller: `4:pids:/a/b` of cgroups(7).
fn own_path<'a>(table: &'a str, controller: &str) -> Option<&'a str> {
    table.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let named = parts.next()?.split(',').any(|name| name == controller);
        parts.next().filter(|_| named)
    })
}

impl Pen<'_> {
    /// Starts a program in it: `start` gives back the program's number with whatever else.
    pub(crate) fn start<T: Send>(
        &self,
        start: impl FnOnce() -> io::Result<(i32, T)> + Send,
    ) -> io::Result<T> {
        let Some(home) = &self.pens.home else {
            let (pid, started) = start()?;
            if let Err(error) = act::enter(&self.directory, pid.unsigned_abs()) {
                tracing::warn!("a plugin runs outside of its cgroup: {error}");
            }
            return Ok(started);
        };
        let enter = |file: &Path| {
            std::fs::File::options().write(true).open(file).and_then(|mut file| {
                // 0: the thread that writes.
                io::Write::write_all(&mut file, b"0")
            })
        };
        // A thread for this alone: should it not come home, it ends, and nobody goes on in the wrong place.
        std::thread::scope(|scope| {
            let started = scope.spawn(|| {
                if let Err(error) = enter(&self.directory.join("tasks")) {
                    tracing::warn!(cgroup = %self.directory.display(), %error, "a plugin runs outside of its cgroup");
                }
                let started = start();
                if let Err(error) = enter(home) {
                    tracing::warn!(cgroup = %home.display(), %error, "a thread cannot return to its cgroup");
                }
                started
            });
            let started =
                started.join().map_err(|_| io::Error::other("the thread that starts plugins panicked"))?;
            started.map(|(_, started)| started)
        })
    }

    /// Kills all that is in it, and takes it away.
    pub(crate) fn kill(&self) {
        let own = std::process::id().cast_signed();
        if act::processes(&self.directory).is_ok_and(|all| all.contains(&own)) {
            tracing::error!(cgroup = %self.directory.display(), "this daemon is in a plugin's cgroup: nothing is killed there");
            return;
        }
        if let Err(error) =
            act::kill(&self.directory, PATIENCE).and_then(|()| act::remove(&self.directory, PATIENCE))
        {
            tracing::warn!("{error}");
        }
    }

    /// Takes it away after its plugin has ended; what that left behind goes on elsewhere.
    pub(crate) fn leave(&self) {
        if std::fs::remove_dir(&self.directory).is_ok() {
            return;
        }
        let left = self.pens.directory.join(LEFT);
        let own = std::process::id().cast_signed();
        let _ = act::make(&left);
        for process in act::processes(&self.directory).unwrap_or_default() {
            if process != own {
                let _ = act::enter(&left, process.unsigned_abs());
            }
        }
        if let Err(error) = act::remove(&self.directory, PATIENCE) {
            tracing::warn!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_cgroup_is_found() {
        let table = "12:pids:/a/b\n3:cpu,cpuacct:/c\n1:name=systemd:/d\n0::/e:f\n";
        assert_eq!(own_path(table, "pids"), Some("/a/b"));
        assert_eq!(own_path(table, "cpuacct"), Some("/c"));
        assert_eq!(own_path(table, "freezer"), None);
    }
}
