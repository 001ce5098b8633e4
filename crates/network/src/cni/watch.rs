//! The directory of configurations is watched, and its plugins are asked how they are.
//!
//! ```text
//!   inotify on the directory and on the one above it ──┐
//!   every five seconds (what inotify does not see) ────┴──▶ look: files ─▶ choice ─▶ programs there? ─▶ VERSION ─▶ View
//!                                                                                              STATUS ─(own thread)─┘
//! ```
//!
//! *Invariant:* who asks for the condition waits for nobody: it is made of what was seen last.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use serde_json::{Value, json};

use super::client::{Client, Settings};
use super::directory::{self, Choice, InForce};
use super::failure::Failure;
use super::list::List;
use super::version::Version;

/// Between two looks when nothing is heard of.
const LOOK: Duration = Duration::from_secs(5);
/// Writers write more than once.
const SETTLE: Duration = Duration::from_millis(10);
/// Between two questions for the status of plugins that are well.
const STATUS: Duration = Duration::from_secs(30);
/// How long VERSION and STATUS may take.
const QUESTION: Duration = Duration::from_secs(10);

/// Whether pods can be attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Whether they can.
    pub ready: bool,
    /// In a word, why not.
    pub reason: String,
    /// What is wrong, and where. May say something though all is well: that a file is broken and the last good one is in force.
    pub message: String,
}

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct View {
    /// Whether anything was looked at yet.
    pub(super) looked: bool,
    choice: Choice,
    /// What is spoken with the plugins of the configuration in force.
    version: Option<Version>,
    /// Why they cannot be spoken with, or why there is no configuration.
    trouble: Option<String>,
    /// What they said to STATUS, if they are to be asked; none: not asked yet.
    status: Option<Result<(), Box<Failure>>>,
}

impl View {
    pub(super) fn in_force(&self) -> Option<(Arc<List>, Version)> {
        let list = &self.choice.in_force.as_ref()?.list;
        Some((Arc::clone(list), self.version.unwrap_or_else(|| list.newest())))
    }

    pub(super) fn condition(&self, settings: &Settings) -> Condition {
        let not =
            |message: String| Condition { ready: false, reason: "NetworkPluginNotReady".into(), message };
        let directory = settings.conf_dir.display();
        let faults = self.choice.faults.join("; ");
        if !self.looked {
            return not(format!("{directory} has not been looked at yet"));
        }
        let Some(InForce { file, list }) = &self.choice.in_force else {
            let none = self.trouble.clone().unwrap_or_else(|| format!("no CNI configuration in {directory}"));
            return not(if faults.is_empty() {
                none
            } else {
                format!("no valid CNI configuration in {directory}: {faults}")
            });
        };
        if let Some(trouble) = &self.trouble {
            return not(format!("{directory}/{file}: {trouble}"));
        }
        if self.asks_status() {
            match &self.status {
                None => {
                    return not(format!("{directory}/{file}: the plugins have not told their status yet"));
                }
                Some(Err(failure)) => return not(format!("{directory}/{file}: {failure}")),
                Some(Ok(())) => {}
            }
        }
        let message = match (faults.is_empty(), self.choice.kept) {
            (true, _) => String::new(),
            (false, true) => format!(
                "the last good configuration of {file} stays in force (network {}): {faults}",
                list.name
            ),
            (false, false) => {
                format!("{file} is in force (network {}), though there are: {faults}", list.name)
            }
        };
        Condition { ready: true, reason: String::new(), message }
    }

    pub(super) fn facts(&self, settings: &Settings) -> Value {
        let Condition { ready, reason, message } = self.condition(settings);
        let in_force = self.choice.in_force.as_ref().map(|of| {
            let plugins: Vec<&str> = of.list.plugins.iter().map(|plugin| plugin.kind.as_str()).collect();
            json!({ "file": of.file, "network": of.list.name, "plugins": plugins, "kept": self.choice.kept,
                    "version": self.version.map(Version::name) })
        });
        json!({ "directory": settings.conf_dir, "programs": settings.bin_dirs, "ready": ready, "reason": reason,
                "message": message, "inForce": in_force, "faults": self.choice.faults })
    }

    fn asks_status(&self) -> bool {
        self.choice.in_force.is_some() && self.version >= Some(Version::V110)
    }
}

/// Begins to watch.
pub(super) fn start(client: &Arc<Client>) -> std::io::Result<()> {
    let heard = listen(&client.settings().conf_dir);
    let client = Arc::downgrade(client);
    let watch = move || Watch::default().run(&client, heard);
    std::thread::Builder::new().name("cni-watch".into()).spawn(watch).map(drop)
}

/// What tells one program from another that takes its name.
type Stamp = (u64, u64, i64, i64, u64);

#[derive(Default)]
struct Watch {
    /// Versions that programs know, as they said.
    known: HashMap<PathBuf, (Stamp, Option<Vec<String>>)>,
    asked: Option<Instant>,
    asking: Arc<AtomicBool>,
}

impl Watch {
    fn run(mut self, client: &Weak<Client>, mut heard: Option<OwnedFd>) {
        while let Some(now) = client.upgrade() {
            self.look(&now);
            drop(now);
            wait(heard.as_ref());
            let Some(now) = client.upgrade() else { return };
            // The directory may be another by now. Before the look, so that what happens during it is heard afterwards.
            heard = listen(&now.settings().conf_dir);
        }
    }

    fn look(&mut self, client: &Arc<Client>) {
        let before = client.view().choice.in_force.clone();
        let (choice, mut trouble) = match directory::scan(&client.settings().conf_dir) {
            Ok(all) => (directory::choose(before.as_ref(), all), None),
            Err(error) => {
                let trouble = format!("{}: {error}", client.settings().conf_dir.display());
                let gone = error.kind() == std::io::ErrorKind::NotFound;
                // A disk that cannot be read for a moment takes no network away.
                let in_force = before.clone().filter(|_| !gone);
                let faults = if in_force.is_some() { vec![trouble.clone()] } else { Vec::new() };
                (Choice { kept: in_force.is_some(), in_force, faults }, Some(trouble))
            }
        };
        let mut version = None;
        if let Some(InForce { list, .. }) = &choice.in_force {
            (version, trouble) = match self.agree(client, list) {
                Ok(version) => (Some(version), None),
                Err(trouble) => (None, Some(trouble)),
            };
        }
        let mut view = client.view();
        let same = view.choice.in_force == choice.in_force && view.version == version;
        if !view.looked || view.choice != choice || view.trouble != trouble {
            tell(client, &choice, trouble.as_deref());
        }
        let status = view.status.take().filter(|_| same);
        *view = View { looked: true, choice, version, trouble, status };
        let asks = view.asks_status();
        let due = match (&view.status, self.asked) {
            _ if !asks => false,
            (Some(Ok(())), Some(asked)) => asked.elapsed() >= STATUS,
            _ => true,
        };
        drop(view);
        client.has_looked();
        if due {
            self.ask_status(client);
        }
    }

    /// The newest version that the configuration and all its plugins know.
    fn agree(&mut self, client: &Client, list: &List) -> Result<Version, String> {
        let mut common = list.versions.clone();
        for plugin in &list.plugins {
            for program in plugin.programs() {
                let Some(path) = client.find(program) else {
                    let looked: Vec<String> = client
                        .settings()
                        .bin_dirs
                        .iter()
                        .map(|directory| directory.display().to_string())
                        .collect();
                    return Err(format!("its plugin {program} is not in {}", looked.join(", ")));
                };
                // What a program does not say it may know.
                if let Some(known) = self.known(client, program, &path, list.newest()) {
                    common.retain(|version| known.iter().any(|name| name == version.name()));
                    if common.is_empty() {
                        let asked: Vec<&str> = list.versions.iter().map(|version| version.name()).collect();
                        return Err(format!(
                            "its cniVersion is {}, and its plugin {program} ({}) knows {}",
                            asked.join(", "),
                            path.display(),
                            super::failure::shown(&known.join(", "))
                        ));
                    }
                }
            }
        }
        Ok(common.last().copied().unwrap_or_else(|| list.newest()))
    }

    fn known(
        &mut self,
        client: &Client,
        program: &str,
        path: &Path,
        version: Version,
    ) -> Option<Vec<String>> {
        let file = std::fs::metadata(path).ok()?;
        let stamp = (file.dev(), file.ino(), file.mtime(), file.mtime_nsec(), file.size());
        match self.known.get(path) {
            Some((seen, known)) if *seen == stamp => known.clone(),
            _ => {
                let known = client.versions(program, version, client.settings().deadline.min(QUESTION));
                self.known.insert(path.to_owned(), (stamp, known.clone()));
                known
            }
        }
    }

    /// Asks on a thread of its own: a plugin that does not answer must not keep a new configuration from being seen.
    fn ask_status(&mut self, client: &Arc<Client>) {
        let Some((list, version)) = client.view().in_force() else { return };
        if self.asking.swap(true, Ordering::AcqRel) {
            return;
        }
        self.asked = Some(Instant::now());
        let (client, asking) = (Arc::clone(client), Arc::clone(&self.asking));
        let ask = move || {
            let deadline = client.settings().deadline.min(QUESTION);
            let status = client.each(&list, version, "STATUS", &[], deadline, false);
            let mut view = client.view();
            if view.in_force().is_some_and(|(now, _)| now == list) {
                if view.status.as_ref().map(Result::is_ok) != Some(status.is_ok()) {
                    match &status {
                        Ok(()) => tracing::info!(network = list.name, "the plugins are ready"),
                        Err(failure) => tracing::warn!("{failure}"),
                    }
                }
                view.status = Some(status);
            }
            drop(view);
            asking.store(false, Ordering::Release);
        };
        if let Err(error) = std::thread::Builder::new().name("cni-status".into()).spawn(ask) {
            self.asking.store(false, Ordering::Release);
            tracing::warn!("plugins cannot be asked for their status: {error}");
        }
    }
}

/// Says in the log what has changed.
fn tell(client: &Client, choice: &Choice, trouble: Option<&str>) {
    let directory = client.settings().conf_dir.display();
    if let Some(InForce { file, list }) = &choice.in_force {
        let (network, kept) = (&list.name, choice.kept);
        tracing::info!(%directory, file, network, kept, "the CNI configuration in force");
    } else {
        tracing::info!(%directory, "no CNI configuration is in force");
    }
    for fault in choice.faults.iter().map(String::as_str).chain(trouble) {
        tracing::warn!(%directory, "CNI configuration: {fault}");
    }
}

/// Listens for changes: in the directory, and in the next one above it that is there, where it may be made or exchanged.
fn listen(directory: &Path) -> Option<OwnedFd> {
    let heard = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
    let changes = WatchFlags::CREATE
        | WatchFlags::MOVED_TO
        | WatchFlags::MOVED_FROM
        | WatchFlags::DELETE
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR;
    let _ = inotify::add_watch(&heard, directory, changes);
    let entries = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM | WatchFlags::ONLYDIR;
    let above = directory.ancestors().skip(1);
    let _ = above.into_iter().find(|above| inotify::add_watch(&heard, *above, entries).is_ok());
    Some(heard)
}

/// Waits until something is heard of, or it is time.
fn wait(heard: Option<&OwnedFd>) {
    let Some(heard) = heard else {
        std::thread::sleep(LOOK);
        return;
    };
    let time = rustix::time::Timespec::try_from(LOOK).ok();
    if matches!(poll(&mut [PollFd::new(&heard.as_fd(), PollFlags::IN)], time.as_ref()), Ok(1..)) {
        std::thread::sleep(SETTLE);
    }
}
