//! The verbs: a pod is attached, detached, checked; what is nobody's is collected.
//!
//! *Invariant:* what goes up has its record first; the way down needs nothing but the record, and may be gone twice.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::attachment::{Attachment, INTERFACE};
use super::failure::{Failure, UNKNOWN_CONTAINER, What};
use super::gate::Gate;
use super::list::{List, Plugin};
use super::outcome::Outcome;
use super::pen::Pens;
use super::record::{Record, Records};
use super::run::{self, Call, End};
use super::version::Version;
use super::watch::{self, Condition, View};
use crate::error::Error;

/// How long a pod waits for the first look at the configuration.
const LOOK_PATIENCE: Duration = Duration::from_secs(10);
/// How long a collection waits for a moment without attachments, and each of its plugins may take.
const COLLECTION: Duration = Duration::from_secs(30);

/// What a client needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where configurations are.
    pub conf_dir: PathBuf,
    /// Where plugins are; the first that has one wins.
    pub bin_dirs: Vec<PathBuf>,
    /// Where records of attachments are kept: on a disk that outlives a boot.
    pub records: PathBuf,
    /// How long each plugin may take.
    pub deadline: Duration,
    /// Where plugins run, if anywhere.
    pub pens: Option<Pens>,
}

/// A client of CNI plugins. Its calls block, each no longer than its plugins may take; any number of threads may be in them.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    records: Records,
    gate: Gate,
    view: Mutex<View>,
    looked: Condvar,
}

/// Who a plugin is called for.
struct Of<'a> {
    network: &'a str,
    /// None for a command that is of no pod.
    pod: Option<OfPod<'a>>,
}

/// What the variables of the protocol say of a pod.
struct OfPod<'a> {
    id: &'a str,
    /// Empty: it is gone.
    netns: String,
    arguments: &'a [(String, String)],
}

impl Client {
    /// Makes one. Nothing is looked at before [`Client::start`].
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Client {
            records: Records::new(settings.records.clone()),
            settings,
            gate: Gate::default(),
            view: Mutex::default(),
            looked: Condvar::new(),
        }
    }

    /// Ends what plugins of an earlier daemon do still, and begins to watch the configuration, as long as the client is there.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start(self: &Arc<Self>) -> std::io::Result<()> {
        if let Some(pens) = &self.settings.pens {
            pens.sweep();
        }
        self.records.sweep();
        watch::start(self)
    }

    /// What it was made from.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has_looked(&self) {
        self.looked.notify_all();
    }

    /// Whether pods can be attached, and why not. Never waits.
    #[must_use]
    pub fn condition(&self) -> Condition {
        self.view().condition(&self.settings)
    }

    /// What is known of the configuration, for people.
    #[must_use]
    pub fn facts(&self) -> Value {
        self.view().facts(&self.settings)
    }

    /// Whether a plugin of the configuration in force leads ports of the node to pods.
    #[must_use]
    pub fn maps_ports(&self) -> bool {
        self.in_force().is_some_and(|(list, _)| list.wants("portMappings"))
    }

    fn in_force(&self) -> Option<(Arc<List>, Version)> {
        let waiting = |view: &mut View| !view.looked;
        let view = self.looked.wait_timeout_while(self.view(), LOOK_PATIENCE, waiting);
        view.unwrap_or_else(PoisonError::into_inner).0.in_force()
    }

    /// Attaches a pod: calls every plugin's ADD. Returns the addresses of its interface, in the order of the result.
    ///
    /// # Errors
    /// [`Error::NotReady`], [`Error::Plugin`], [`Error::NoAddress`], [`Error::File`]; then [`Client::detach`] takes down what was
    /// made.
    pub fn attach(&self, pod: &Attachment) -> Result<Vec<std::net::IpAddr>, Error> {
        let Some((list, version)) = self.in_force() else {
            let Condition { reason, message, .. } = self.condition();
            return Err(Error::NotReady { reason, message });
        };
        let _within = self.gate.attachment();
        let mut record = Record {
            id: pod.id.clone(),
            ifname: INTERFACE.to_owned(),
            netns: pod.netns.clone(),
            list: List::clone(&list),
            version,
            arguments: pod.arguments.clone(),
            told: pod.told.clone(),
            outcome: None,
        };
        self.records.put(&record)?;
        let of = Of {
            network: &list.name,
            pod: Some(OfPod {
                id: &pod.id,
                netns: pod.netns.display().to_string(),
                arguments: &pod.arguments,
            }),
        };
        for plugin in &list.plugins {
            let before = record.outcome.as_ref().map(|outcome| ("prevResult", outcome.as_version(version)));
            let request = plugin.request(&list.name, version, &pod.told, before.as_slice());
            let (printed, stderr) = self.call(&of, &plugin.kind, "ADD", &request, self.settings.deadline)?;
            let outcome = Outcome::parse(&printed, version).map_err(|cause| {
                let stdout = String::from_utf8_lossy(&printed).into_owned();
                failure(&of, &plugin.kind, "ADD", What::Garbage { cause, stdout }, stderr)
            })?;
            record.outcome = Some(outcome);
        }
        self.records.put(&record)?;
        let addresses = record.outcome.map(|outcome| outcome.addresses(INTERFACE)).unwrap_or_default();
        if addresses.is_empty() {
            return Err(Error::NoAddress { network: list.name.clone() });
        }
        Ok(addresses)
    }

    /// Detaches a pod: calls every plugin's DEL, the last first, as its record says; one that has no record is detached. Its
    /// network namespace may be gone.
    ///
    /// # Errors
    /// [`Error::Plugin`]: the record stays, and the next call begins anew. [`Error::File`].
    pub fn detach(&self, id: &str) -> Result<(), Error> {
        let Some(record) = self.records.get(id)? else { return Ok(()) };
        let _within = self.gate.attachment();
        let netns =
            if is_namespace(&record.netns) { record.netns.display().to_string() } else { String::new() };
        let of = Of {
            network: &record.list.name,
            pod: Some(OfPod { id: &record.id, netns, arguments: &record.arguments }),
        };
        let before = previous(&record);
        for plugin in record.list.plugins.iter().rev() {
            let request = plugin.request(&record.list.name, record.version, &record.told, before.as_slice());
            match self.call(&of, &plugin.kind, "DEL", &request, self.settings.deadline) {
                Ok(_) => {}
                Err(failure) if failure.code() == Some(UNKNOWN_CONTAINER) => {}
                Err(failure) if self.is_replaced(&failure, &record) => {
                    tracing::warn!(pod = id, "given up, since the node has another network now: {failure}");
                }
                Err(failure) => {
                    let record = self.records.path(id);
                    return Err(Error::Detach { failure, record });
                }
            }
        }
        self.records.remove(id)
    }

    /// Whether a plugin that is not there belongs to a network that this node no longer has: its program will not come back.
    fn is_replaced(&self, failure: &Failure, record: &Record) -> bool {
        matches!(failure.what, What::Missing { .. })
            && self.view().in_force().is_some_and(|(list, _)| {
                list.name != record.list.name
                    && list.plugins.iter().all(|plugin| plugin.kind != failure.plugin)
            })
    }

    /// Asks every plugin whether the pod's attachment is as it should be. One that cannot be asked is.
    ///
    /// # Errors
    /// [`Error::Plugin`] as the first that finds a fault says; [`Error::File`].
    pub fn check(&self, id: &str) -> Result<(), Error> {
        let Some(record) = self.records.get(id)? else { return Ok(()) };
        if record.list.disable_check || record.version < Version::V040 || record.outcome.is_none() {
            return Ok(());
        }
        let _within = self.gate.attachment();
        let of = Of {
            network: &record.list.name,
            pod: Some(OfPod {
                id: &record.id,
                netns: record.netns.display().to_string(),
                arguments: &record.arguments,
            }),
        };
        let before = previous(&record);
        for plugin in &record.list.plugins {
            let request = plugin.request(&record.list.name, record.version, &record.told, before.as_slice());
            self.call(&of, &plugin.kind, "CHECK", &request, self.settings.deadline)?;
        }
        Ok(())
    }

    /// The ids of all pods that are attached, or half attached.
    #[must_use]
    pub fn attached(&self) -> Vec<String> {
        self.records.ids()
    }

    /// Tells the plugins of the configuration in force which attachments there are, so that they forget all others (GC, since
    /// 1.1.0). False if there was no moment for it.
    ///
    /// # Errors
    /// [`Error::Plugin`] of the first that failed; all are called.
    pub fn collect(&self, is_owned: impl Fn(&str) -> bool) -> Result<bool, Error> {
        let Some((list, version)) = self.in_force() else { return Ok(true) };
        if list.disable_gc || version < Version::V110 {
            return Ok(true);
        }
        let Some(_alone) = self.gate.collection(COLLECTION) else { return Ok(false) };
        let records = self.records.ids().into_iter().filter(|id| is_owned(id));
        let records = records.filter_map(|id| self.records.get(&id).ok().flatten());
        let valid: Vec<Value> = records
            .filter(|record| record.list.name == list.name)
            .map(|record| json!({ "containerID": record.id, "ifname": record.ifname }))
            .collect();
        // Under both names: the second is what plugins were first built for, and who finds none might take all for stale.
        let valid = Value::from(valid);
        let extra = [("cni.dev/valid-attachments", valid.clone()), ("cni.dev/attachments", valid)];
        self.each(&list, version, "GC", &extra, self.settings.deadline.min(COLLECTION), true)?;
        Ok(true)
    }

    /// Calls a command that is of no pod, of every plugin.
    pub(super) fn each(
        &self,
        list: &List,
        version: Version,
        command: &'static str,
        extra: &[(&str, Value)],
        deadline: Duration,
        go_on: bool,
    ) -> Result<(), Box<Failure>> {
        let of = Of { network: &list.name, pod: None };
        let mut first = Ok(());
        for plugin in &list.plugins {
            let request = plugin.request(&list.name, version, &Map::new(), extra);
            let called = self.call(&of, &plugin.kind, command, &request, deadline).map(drop);
            if called.is_err() && !go_on {
                return called;
            }
            first = first.and(called);
        }
        first
    }

    /// Which versions a plugin knows; none, if it does not say.
    pub(super) fn versions(&self, plugin: &str, version: Version, deadline: Duration) -> Option<Vec<String>> {
        let of = Of { network: "", pod: None };
        let request = json!({ "cniVersion": version.name() }).to_string();
        let (printed, _) = self.call(&of, plugin, "VERSION", request.as_bytes(), deadline).ok()?;
        let answer: Value = serde_json::from_slice(&printed).ok()?;
        let all = answer["supportedVersions"].as_array()?;
        Some(all.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect())
    }

    /// Where a plugin's program is.
    pub(super) fn find(&self, plugin: &str) -> Option<PathBuf> {
        use std::os::unix::fs::PermissionsExt as _;
        let mut paths = self.settings.bin_dirs.iter().map(|directory| directory.join(plugin));
        paths.find(|path| {
            std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        })
    }

    /// Runs a plugin: what it printed, and the end of its stderr.
    fn call(
        &self,
        of: &Of<'_>,
        plugin: &str,
        command: &'static str,
        request: &[u8],
        deadline: Duration,
    ) -> Result<(Vec<u8>, String), Box<Failure>> {
        let failed = |what, stderr| failure(of, plugin, command, what, stderr);
        let path = join(&self.settings.bin_dirs);
        let program =
            self.find(plugin).ok_or_else(|| failed(What::Missing { looked: path.clone() }, String::new()))?;
        let environment = environment(of, command, &path);
        let call = Call { program: &program, environment: &environment, input: request, deadline };
        let ran = run::run(self.settings.pens.as_ref(), &call);
        let stderr = String::from_utf8_lossy(&ran.stderr).into_owned();
        match ran.end {
            Ok(End::Status(0)) => {
                if !stderr.is_empty() {
                    let stderr = super::failure::shown(&stderr);
                    tracing::debug!(plugin, command, stderr, "a plugin wrote to stderr");
                }
                Ok((ran.stdout, stderr))
            }
            Ok(end) => Err(failed(said(&ran.stdout, end), stderr)),
            Err(what) => Err(failed(what, stderr)),
        }
    }
}

fn failure(of: &Of<'_>, plugin: &str, command: &'static str, what: What, stderr: String) -> Box<Failure> {
    Box::new(Failure { plugin: plugin.to_owned(), network: of.network.to_owned(), command, what, stderr })
}

/// What ADD brought, for the commands that come after it, as far as the version has it so.
fn previous(record: &Record) -> Option<(&'static str, Value)> {
    let outcome = record.outcome.as_ref().filter(|_| record.version >= Version::V040)?;
    Some(("prevResult", outcome.as_version(record.version)))
}

/// The error that a plugin printed, or that there was none.
fn said(printed: &[u8], end: End) -> What {
    let answer: Option<Map<String, Value>> = serde_json::from_slice(printed).ok();
    let text = |key: &str| answer.as_ref()?.get(key)?.as_str().map(str::to_owned);
    let code = answer.as_ref().and_then(|answer| answer.get("code")?.as_u64());
    match (code, text("msg")) {
        (None, None) => {
            let how = match end {
                End::Status(status) => format!("exit status {status}"),
                End::Signal(signal) => format!("killed by signal {signal}"),
            };
            What::Ended { how, stdout: String::from_utf8_lossy(printed).into_owned() }
        }
        (code, message) => What::Said {
            code: code.unwrap_or(0),
            message: message.unwrap_or_default(),
            details: text("details").unwrap_or_default(),
        },
    }
}

/// This process's own variables, and those of the protocol.
fn environment(of: &Of<'_>, command: &str, path: &str) -> Vec<String> {
    let own = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut all: Vec<String> = own
        .filter(|(name, _)| {
            !name.starts_with("CNI_") && !name.starts_with("ORLOP_") && name != "NOTIFY_SOCKET"
        })
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if !all.iter().any(|variable| variable.starts_with("PATH=")) {
        all.push("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    }
    all.push(format!("CNI_COMMAND={command}"));
    all.push(format!("CNI_PATH={path}"));
    if let Some(OfPod { id, netns, arguments }) = &of.pod {
        let pairs: Vec<String> = arguments.iter().map(|(name, value)| format!("{name}={value}")).collect();
        all.push(format!("CNI_CONTAINERID={id}"));
        all.push(format!("CNI_NETNS={netns}"));
        all.push(format!("CNI_IFNAME={INTERFACE}"));
        all.push(format!("CNI_ARGS={}", pairs.join(";")));
    }
    all
}

fn join(directories: &[PathBuf]) -> String {
    let all: Vec<String> = directories.iter().map(|directory| directory.display().to_string()).collect();
    all.join(":")
}

/// Whether a namespace is pinned there, and not the file alone.
fn is_namespace(path: &Path) -> bool {
    /// `NSFS_MAGIC` of linux/magic.h.
    const NSFS: u64 = 0x6e73_6673;
    rustix::fs::statfs(path).is_ok_and(|of| of.f_type.cast_unsigned() == NSFS)
}

impl Plugin {
    /// The programs that it needs: its own, and that of its addresses.
    pub(super) fn programs(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.kind.as_str()).chain(self.ipam.as_deref())
    }
}
