//! A spec for a runtime of others: what its `config.json` says, and the plan of the shim that calls it.
//!
//! What such a runtime cannot be handed by descriptor lies at paths of a mount namespace that only its commands have: the pod's
//! namespaces, its `/dev/shm`, the sources of bind mounts, the root. Nothing of it is seen on the node, and nothing is left of it when
//! the container has gone.
//!
//! ```text
//!  STATE            config.json   process.json (what an exec is like)   runtime.log   oci/ (the runtime's own records)
//!  STATE/mounts     s0 s1 ...  what the slots hold      b0 b1 ...  sources of bind mounts
//! ```
//!
//! *Invariant:* pure. Cgroups are ours: made by the shim, named to the runtime by their path. What the spec cannot carry is refused.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxNamespaceType as Namespace;
use oci_spec::runtime::{Linux, LinuxDeviceCgroup, LinuxResources, Mount, Process, Spec};
use orlop_model::container::Resources;
use orlop_model::report::{Kind, Report};
use orlop_wire::plan::{BindHow, Handover, Operation, Plan, Runtime, Stdio};

use crate::lower::{Facts, options, root, string};

/// File names in a container's state directory.
pub mod file {
    /// The spec.
    pub const CONFIG: &str = "config.json";
    /// The container's process, of which execs are made.
    pub const PROCESS: &str = "process.json";
    /// What the runtime says of `create` and `start`.
    pub const LOG: &str = "runtime.log";
    /// Where it writes the number of the first process.
    pub const PID: &str = "runtime.pid";
    /// Where it sends the container's terminal.
    pub const CONSOLE: &str = "console.sock";
    /// The runtime's own records.
    pub const RECORDS: &str = "oci";
    /// Where things are mounted for the runtime to find.
    pub const MOUNTS: &str = "mounts";
}

/// A runtime of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign<'a> {
    /// Its handler's name.
    pub name: &'a str,
    /// Its program.
    pub program: &'a Path,
    /// Arguments that go before each command.
    pub arguments: &'a [String],
    /// The container's state directory.
    pub state: &'a Path,
    /// A mount of the node that its commands are not to see: the unified tree of a hybrid node, which they take for all there is, or
    /// for nothing that they know.
    pub hidden: Option<&'a Path>,
}

/// What is written for a runtime, and what the shim does.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    /// The shim's plan.
    pub plan: Plan,
    /// [`file::CONFIG`].
    pub config: Vec<u8>,
    /// [`file::PROCESS`].
    pub process: Vec<u8>,
    /// What the command of an exec does: a pattern, to be filled in by [`exec`].
    pub exec: Vec<Operation>,
}

fn bad(part: &str, cause: impl std::fmt::Display) -> Report {
    Report::new(Kind::Failed, "bundle", part, cause)
}

/// Makes it. `annotations` are added to the spec's own.
///
/// # Errors
/// What of the spec cannot be said to another runtime.
pub fn bundle(
    spec: &Spec,
    annotations: &[(&str, String)],
    facts: &Facts<'_>,
    foreign: &Foreign<'_>,
) -> Result<Bundle, Report> {
    if let Some((name, _)) = facts.raw_environment.first() {
        let cause = format!("its value is no UTF-8, and runtime {} is told it in JSON", foreign.name);
        return Err(Report::field("config.envs", name, cause));
    }
    let namespaces =
        spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    if namespaces.iter().any(|one| one.typ() == Namespace::User) {
        let cause = format!("pods of handler {} have the node's users", foreign.name);
        let report = Report::new(
            Kind::Unsupported,
            "config.linux.security_context.namespace_options.userns",
            "",
            cause,
        );
        return Err(report.advise("use the handler native"));
    }
    let mut spec = spec.clone();
    let process = spec.process().clone().ok_or_else(|| bad("process", "is missing"))?;
    let mut binds = Vec::new();
    place_slots(&mut spec, facts, foreign, &mut binds)?;
    place_binds(&mut spec, facts, foreign, &mut binds)?;
    let crate::lower::Root::Overlay { place, .. } = &facts.root else {
        return Err(bad("root", "is no overlay"));
    };
    let readonly = spec.root().as_ref().and_then(oci_spec::runtime::Root::readonly);
    leave_limits(&mut spec);
    let mut own = oci_spec::runtime::Root::default();
    own.set_path(place.clone()).set_readonly(readonly);
    let mut all = spec.annotations().clone().unwrap_or_default();
    all.extend(annotations.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    spec.set_root(Some(own)).set_annotations(Some(all));
    let mut pattern = process.clone();
    pattern.set_terminal(Some(false));
    let json = |error: serde_json::Error| bad(file::CONFIG, error);
    Ok(Bundle {
        plan: plan(&process, facts, foreign, binds)?,
        config: serde_json::to_vec(&spec).map_err(json)?,
        process: serde_json::to_vec(&pattern).map_err(json)?,
        exec: exec_pattern(&process, foreign)?,
    })
}

/// The command of an exec. What not every runtime does for one, its child has done before.
fn exec_pattern(process: &Process, foreign: &Foreign<'_>) -> Result<Vec<Operation>, Report> {
    let mut all = command(foreign, None, &["exec"])?;
    if let Some(score) = process.oom_score_adj() {
        all.insert(0, Operation::OomScoreAdj { score });
    }
    Ok(all)
}

/// Limits are written to the cgroups by the shim: all of them, in our order, where a runtime knows some and refuses others. Only
/// those stay that every runtime writes, as unlimited where it finds none.
fn leave_limits(spec: &mut Spec) {
    let Some(mut linux) = spec.linux().clone() else { return };
    let all = linux.resources().clone().unwrap_or_default();
    linux.set_resources(Some(plain(&all, all.devices().clone())));
    spec.set_linux(Some(linux));
}

fn plain(all: &LinuxResources, devices: Option<Vec<LinuxDeviceCgroup>>) -> LinuxResources {
    let mut own = LinuxResources::default();
    own.set_devices(devices).set_memory(*all.memory()).set_cpu(all.cpu().clone());
    own
}

/// Namespaces and mounts that are handed over by descriptor get paths.
fn place_slots(
    spec: &mut Spec,
    facts: &Facts<'_>,
    foreign: &Foreign<'_>,
    binds: &mut Vec<Operation>,
) -> Result<(), Report> {
    let mut linux = spec.linux().clone().ok_or_else(|| bad("linux", "is missing"))?;
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    for slot in facts.slots {
        let name = format!("s{}", slot.number);
        let path = foreign.state.join(file::MOUNTS).join(&name);
        let is_namespace = rename(&mut linux, &slot.path, &path);
        for mount in mounts.iter_mut().filter(|mount| mount.source().as_ref() == Some(&slot.path)) {
            mount.set_source(Some(path.clone()));
        }
        let target = string("mounts", name)?;
        binds.push(if is_namespace {
            Operation::BindNamespace { slot: slot.number, target }
        } else {
            Operation::BindSlot { slot: slot.number, target, how: BindHow::default() }
        });
    }
    spec.set_linux(Some(linux)).set_mounts(Some(mounts));
    Ok(())
}

/// Whether a namespace has this path; it has the other then.
fn rename(linux: &mut Linux, from: &Path, to: &Path) -> bool {
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    let mut found = false;
    for namespace in namespaces.iter_mut().filter(|one| one.path().as_deref() == Some(from)) {
        namespace.set_path(Some(to.to_owned()));
        found = true;
    }
    linux.set_namespaces(Some(namespaces));
    found
}

/// Sources of bind mounts are opened by the shim's child, made where they are missing, and found by the runtime at paths of ours.
fn place_binds(
    spec: &mut Spec,
    facts: &Facts<'_>,
    foreign: &Foreign<'_>,
    binds: &mut Vec<Operation>,
) -> Result<(), Report> {
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    let ours = foreign.state.join(file::MOUNTS);
    for (number, mount) in mounts.iter_mut().enumerate() {
        let given = mount.options().clone().unwrap_or_default();
        let recursive = given.iter().any(|option| option == "rbind");
        let binds_it = recursive || given.iter().any(|option| option == "bind");
        let source = mount.source().clone().unwrap_or_default();
        if !(binds_it || mount.typ().as_deref() == Some("bind")) || source.starts_with(&ours) {
            continue;
        }
        let name = format!("b{number}");
        let how = BindHow {
            recursive: recursive || !binds_it,
            create_source: facts.create_sources,
            ..BindHow::default()
        };
        let target = string("mounts", name.clone())?;
        binds.push(Operation::Bind {
            source: string("mounts.source", source.as_os_str().as_bytes())?,
            target,
            how,
        });
        mount.set_source(Some(ours.join(name)));
        say_bind(mount, given, binds_it);
    }
    spec.set_mounts(Some(mounts));
    Ok(())
}

/// What only the type says of a bind mount, its options say, too.
fn say_bind(mount: &mut Mount, mut given: Vec<String>, said: bool) {
    if !said {
        given.push("rbind".to_owned());
    }
    mount.set_typ(Some("bind".to_owned())).set_options(Some(given));
}

fn plan(
    process: &Process,
    facts: &Facts<'_>,
    foreign: &Foreign<'_>,
    binds: Vec<Operation>,
) -> Result<Plan, Report> {
    let terminal = process.terminal().unwrap_or(false);
    let mut create = vec!["create", "--bundle", ".", "--pid-file", file::PID];
    if terminal {
        create.extend(["--console-socket", file::CONSOLE]);
    }
    create.push(&facts.container);
    let mounts = string("mounts", foreign.state.join(file::MOUNTS).as_os_str().as_bytes())?;
    let mut places = vec![root(&facts.root)?, Operation::Directory { source: mounts.clone(), place: mounts }];
    places.extend(binds);
    let text = |text: &str| string("runtime", text);
    let plan = Plan {
        version: orlop_wire::VERSION,
        container: facts.container.clone(),
        clone_flags: 0,
        pid_slot: None,
        slots: facts.slots.iter().map(|slot| slot.number + 1).max().unwrap_or(0),
        shim_cgroups: facts.shim_cgroups.clone(),
        cgroups: facts.cgroups.clone(),
        unified: facts.unified.clone(),
        oom: facts.oom.clone(),
        operations: command(foreign, Some((places, facts)), &create)?,
        stdio: Stdio { terminal, ..facts.stdio.clone() },
        // Its own runtime reads them in the bundle, and runs them.
        hooks: None,
        runtime: Some(Runtime {
            name: foreign.name.to_owned(),
            create: Handover {
                pid_file: text(file::PID)?,
                log: text(file::LOG)?,
                console: terminal.then(|| text(file::CONSOLE)).transpose()?,
                files: Vec::new(),
            },
            start: command(foreign, None, &["start", &facts.container])?,
            delete: command(foreign, None, &["delete", "--force", &facts.container])?,
            kill: 9,
        }),
    };
    orlop_wire::order::check(&plan.operations).map_err(|why| bad("plan", why))?;
    Ok(plan)
}

/// What a child does to become a command of the runtime.
fn command(
    foreign: &Foreign<'_>,
    places: Option<(Vec<Operation>, &Facts<'_>)>,
    words: &[&str],
) -> Result<Vec<Operation>, Report> {
    let mut all = vec![Operation::Session];
    if let (Some((_, facts)), Some(_)) = (&places, foreign.hidden)
        && let Some(unified) = &facts.unified
    {
        all.push(Operation::EnterCgroup { procs: procs(unified)? });
    }
    if places.is_some() || foreign.hidden.is_some() {
        all.push(Operation::Unshare { flags: u64::from(Namespace::Mount as u32) });
        all.push(Operation::Propagation { flags: options::SLAVE | options::RECURSIVE });
    }
    if let Some(path) = foreign.hidden {
        all.push(Operation::Hide { path: string("cgroup", path.as_os_str().as_bytes())? });
    }
    all.extend(places.map(|(places, _)| places).unwrap_or_default());
    all.push(execute(foreign, file::LOG, words)?);
    Ok(all)
}

/// The file by which a process enters a cgroup.
fn procs(directory: &std::ffi::CStr) -> Result<CString, Report> {
    let mut path = directory.to_bytes().to_vec();
    path.extend_from_slice(b"/cgroup.procs");
    string("cgroup", path)
}

fn execute(foreign: &Foreign<'_>, log: &str, words: &[&str]) -> Result<Operation, Report> {
    let text = |text: &str| string("runtime", text);
    let program = string("runtime", foreign.program.as_os_str().as_bytes())?;
    let records = string("runtime", foreign.state.join(file::RECORDS).as_os_str().as_bytes())?;
    let mut arguments = vec![program.clone(), c"--root".into(), records];
    arguments.extend([c"--log".into(), text(log)?, c"--log-format".into(), c"json".into()]);
    for argument in foreign.arguments {
        arguments.push(text(argument)?);
    }
    for word in words {
        arguments.push(text(word)?);
    }
    let environment = vec![
        c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
        c"HOME=/root".into(),
    ];
    Ok(Operation::Execute { candidates: vec![program], arguments, environment })
}

/// An exec that is asked for.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// Its number.
    pub number: u64,
    /// The container's id.
    pub container: &'a str,
    /// Program and arguments.
    pub command: &'a [String],
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Its own cgroup, if it has one.
    pub cgroup: Option<&'a std::ffi::CStr>,
}

/// A command of an exec: its process in JSON, under which name that is written, and what its child does.
#[derive(Debug, Clone, PartialEq)]
pub struct Exec {
    /// File name in the state directory.
    pub file: String,
    /// What is to be in it.
    pub process: Vec<u8>,
    /// What the child does.
    pub operations: Vec<Operation>,
    /// What it leaves.
    pub leaves: Handover,
}

/// Fills in the pattern of an exec: `process` is the container's own, `pattern` what [`bundle`] made.
///
/// # Errors
/// If one of them cannot be read, or an argument holds a NUL.
pub fn exec(process: &[u8], pattern: &[Operation], asked: &Asked<'_>) -> Result<Exec, Report> {
    if let Some(argument) = asked.command.iter().find(|argument| argument.contains('\0')) {
        return Err(Report::field("cmd", argument, "an argument holds a NUL byte"));
    }
    let mut process: Process = serde_json::from_slice(process).map_err(|error| bad(file::PROCESS, error))?;
    process.set_args(Some(asked.command.to_vec())).set_terminal(Some(asked.terminal));
    let terms = |environment: &[String]| environment.iter().any(|entry| entry.starts_with("TERM="));
    let environment = process.env().clone().unwrap_or_default();
    if asked.terminal && !terms(&environment) {
        process.set_env(Some(environment.into_iter().chain(["TERM=xterm".to_owned()]).collect()));
    }
    let name = |kind: &str| format!("exec-{}.{kind}", asked.number);
    let text = |text: &str| string("exec", text);
    let leaves = Handover {
        pid_file: text(&name("pid"))?,
        log: text(&name("log"))?,
        console: asked.terminal.then(|| text(&name("sock"))).transpose()?,
        files: vec![text(&name("json"))?],
    };
    let mut operations = pattern.to_vec();
    // A runtime that sees the unified tree puts processes where it thinks right in it; one that does not leaves them where they are.
    let names_cgroup = !operations.iter().any(|one| matches!(one, Operation::Hide { .. }));
    let Some(Operation::Execute { arguments, .. }) = operations.last_mut() else {
        return Err(bad("exec", "the pattern has no program"));
    };
    let log = arguments.iter_mut().find(|argument| argument.to_bytes() == file::LOG.as_bytes());
    *log.ok_or_else(|| bad("exec", "the pattern has no log"))? = leaves.log.clone();
    arguments.extend([c"--detach".into(), c"--process".into(), text(&name("json"))?]);
    arguments.extend([c"--pid-file".into(), leaves.pid_file.clone()]);
    if let Some(console) = &leaves.console {
        arguments.extend([c"--console-socket".into(), console.clone()]);
    }
    if let Some(cgroup) = asked.cgroup {
        if names_cgroup {
            let own = Path::new(std::ffi::OsStr::from_bytes(cgroup.to_bytes()));
            let own = own.file_name().map(std::ffi::OsStr::as_bytes).unwrap_or_default();
            arguments.extend([c"--cgroup".into(), string("cgroup", own)?]);
        } else {
            let entered = Operation::EnterCgroup { procs: procs(cgroup)? };
            let session = operations.iter().position(|one| matches!(one, Operation::Session));
            operations.insert(session.map_or(0, |at| at + 1), entered);
        }
    }
    if let Some(Operation::Execute { arguments, .. }) = operations.last_mut() {
        arguments.push(text(asked.container)?);
    }
    let process = serde_json::to_vec(&process).map_err(|error| bad(file::PROCESS, error))?;
    Ok(Exec { file: name("json"), process, operations, leaves })
}

/// [`file::CONFIG`] and [`file::PROCESS`] with other limits.
///
/// # Errors
/// If one of them cannot be read.
pub fn updated(
    config: &[u8],
    process: &[u8],
    limits: &Resources,
    score: i32,
) -> Result<(Vec<u8>, Vec<u8>), Report> {
    let unread = |name: &'static str| move |error: serde_json::Error| bad(name, error);
    let mut spec: Spec = serde_json::from_slice(config).map_err(unread(file::CONFIG))?;
    let mut own: Process = serde_json::from_slice(process).map_err(unread(file::PROCESS))?;
    own.set_oom_score_adj(Some(score));
    if let Some(mut first) = spec.process().clone() {
        first.set_oom_score_adj(Some(score));
        spec.set_process(Some(first));
    }
    let mut linux = spec.linux().clone().unwrap_or_default();
    let devices = linux.resources().as_ref().and_then(|resources| resources.devices().clone());
    linux.set_resources(Some(plain(&crate::oci::resources::resources(limits, Vec::new()), devices)));
    spec.set_linux(Some(linux));
    let config = serde_json::to_vec(&spec).map_err(unread(file::CONFIG))?;
    let process = serde_json::to_vec(&own).map_err(unread(file::PROCESS))?;
    Ok((config, process))
}

/// Where a bundle's directory of mounts is.
#[must_use]
pub fn mounts(state: &Path) -> PathBuf {
    state.join(file::MOUNTS)
}

/// What a runtime said last of why it failed: the message of the last object of its log; else the text as it is.
#[must_use]
pub fn last_said(log: &str) -> String {
    let starts: Vec<(usize, &str)> = log.match_indices('{').collect();
    let objects = starts.into_iter().filter_map(|(at, _)| {
        let mut values = serde_json::Deserializer::from_str(&log[at..]).into_iter::<serde_json::Value>();
        values.next()?.ok()
    });
    let said = |value: serde_json::Value| value.get("msg")?.as_str().map(str::to_owned);
    objects.rev().find_map(said).unwrap_or_else(|| log.trim().to_owned())
}

#[cfg(test)]
mod tests;
