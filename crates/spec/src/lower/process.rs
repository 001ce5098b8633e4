//! Limits, identity, filter, program: of a container's first process, and of what is executed in it later.
//!
//! *Invariant:* privileges go in one order: bounding set, filter (where it needs a privilege), identity, capabilities, no_new_privs,
//! filter (where it needs none), program.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;

use oci_spec::runtime::{Capabilities, LinuxSeccomp, PosixRlimitType, Process};
use orlop_model::pod::UserMaps;
use orlop_model::report::{Kind, Report};
use orlop_wire::plan::Operation;

use super::{bad, string};
use crate::capability;
use crate::oci::process::DEFAULT_PATH;
use crate::seccomp::{Compiled, Filters};

/// What containers have always had, where the spec names none.
const UMASK: u32 = 0o022;
/// A name of AppArmor that stands for no profile.
const UNCONFINED: &str = "unconfined";

/// What an exec needs beside its process.
#[derive(Debug, Clone, Copy)]
pub struct ExecFacts<'a> {
    /// `tasks` (v1) or `cgroup.procs` files of the container.
    pub enter: &'a [CString],
    /// `CLONE_NEW*` kinds of its namespaces: [`super::kinds`].
    pub kinds: u64,
    /// The container's filter.
    pub seccomp: Option<&'a LinuxSeccomp>,
    /// Environment values that the process could not hold.
    pub raw_environment: &'a [(String, Vec<u8>)],
    /// Filters compiled before.
    pub filters: &'a Filters,
    /// The maps of the container's user namespace, if it has one: [`super::user::maps`].
    pub user: Option<UserMaps>,
}

/// Operations that bring a process into a running container. `process` is the container's own, with what is asked for put in:
/// program, terminal, perhaps user and directory.
///
/// # Errors
/// A [`Report`] naming the part of the process that cannot be.
pub fn exec(process: &Process, facts: &ExecFacts<'_>) -> Result<Vec<Operation>, Report> {
    let mut all = birth(process)?;
    all.extend(facts.enter.iter().map(|procs| Operation::EnterCgroup { procs: procs.clone() }));
    all.push(Operation::JoinContainer { kinds: facts.kinds });
    if process.terminal().unwrap_or(false) {
        let size = process.console_size().unwrap_or_default();
        let cells = |count: u64| u16::try_from(count).unwrap_or(u16::MAX);
        all.push(Operation::Terminal {
            console: false,
            rows: cells(size.height()),
            columns: cells(size.width()),
        });
    }
    // A directory that has gone since is not made again.
    let Operation::Chdir { path, .. } = directory(process)? else { return Ok(all) };
    all.push(Operation::Chdir { path, create: false });
    let filter = facts.seccomp.map(|profile| facts.filters.get(profile)).transpose()?;
    become_it(process, filter, facts.raw_environment, &mut all)?;
    if let Some(maps) = facts.user {
        super::user::exec(process, maps, &mut all)?;
    }
    orlop_wire::order::check(&all).map_err(|why| Report::new(Kind::Failed, "plan", "exec", why))?;
    Ok(all)
}

/// What comes first.
pub(super) fn birth(process: &Process) -> Result<Vec<Operation>, Report> {
    let mut all = vec![Operation::Session];
    all.extend(process.oom_score_adj().map(|score| Operation::OomScoreAdj { score }));
    // What confines the program is said here, while /proc is the node's, and counts from its execve(2) on.
    let named = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    if let Some(profile) = named(process.apparmor_profile()).filter(|profile| profile != UNCONFINED) {
        let value = string("process.apparmorProfile", format!("exec {profile}"))?;
        all.push(Operation::Attribute { name: c"apparmor/exec".into(), value });
    }
    if let Some(label) = named(process.selinux_label()) {
        all.push(Operation::Attribute {
            name: c"exec".into(),
            value: string("process.selinuxLabel", label)?,
        });
    }
    Ok(all)
}

pub(super) fn directory(process: &Process) -> Result<Operation, Report> {
    let path = process.cwd();
    if !path.is_absolute() {
        return Err(bad("process.cwd", path.display(), "must be absolute"));
    }
    Ok(Operation::Chdir { path: string("process.cwd", path.as_os_str().as_bytes())?, create: true })
}

/// From a process in its place to its program.
pub(super) fn become_it(
    process: &Process,
    filter: Option<Compiled>,
    raw: &[(String, Vec<u8>)],
    all: &mut Vec<Operation>,
) -> Result<(), Report> {
    limits(process, all)?;
    all.push(Operation::Umask { mask: process.user().umask().unwrap_or(UMASK) });
    let masks = |set: Option<&Option<Capabilities>>| set.and_then(Option::as_ref).map_or(0, capability::mask);
    let sets = process.capabilities().as_ref();
    let keep = masks(sets.map(oci_spec::runtime::LinuxCapabilities::bounding));
    all.push(Operation::Bounding { keep });
    let gains = !process.no_new_privileges().unwrap_or(false);
    let filter = filter.map(|filter| Operation::Seccomp { program: filter.program, flags: filter.flags });
    let (early, late) = if gains { (filter, None) } else { (None, filter) };
    all.extend(early);
    let user = process.user();
    let groups = user.additional_gids().clone().unwrap_or_default();
    all.push(Operation::Become { uid: user.uid(), gid: user.gid(), groups });
    all.push(Operation::Capabilities {
        effective: masks(sets.map(oci_spec::runtime::LinuxCapabilities::effective)),
        permitted: masks(sets.map(oci_spec::runtime::LinuxCapabilities::permitted)),
        inheritable: masks(sets.map(oci_spec::runtime::LinuxCapabilities::inheritable)),
        ambient: masks(sets.map(oci_spec::runtime::LinuxCapabilities::ambient)),
    });
    if !gains {
        all.push(Operation::NoNewPrivileges);
    }
    all.extend(late);
    all.push(execute(process, raw)?);
    Ok(())
}

fn limits(process: &Process, all: &mut Vec<Operation>) -> Result<(), Report> {
    for (at, limit) in process.rlimits().iter().flatten().enumerate() {
        let kind = limit.typ();
        if process.rlimits().iter().flatten().take(at).any(|earlier| earlier.typ() == kind) {
            return Err(bad("process.rlimits", kind, "stands there twice"));
        }
        if limit.soft() > limit.hard() {
            return Err(bad("process.rlimits", kind, "has a soft limit above the hard one"));
        }
        all.push(Operation::Rlimit { resource: resource(kind), soft: limit.soft(), hard: limit.hard() });
    }
    Ok(())
}

/// `RLIMIT_*` of asm-generic/resource.h.
fn resource(kind: PosixRlimitType) -> u32 {
    match kind {
        PosixRlimitType::RlimitCpu => 0,
        PosixRlimitType::RlimitFsize => 1,
        PosixRlimitType::RlimitData => 2,
        PosixRlimitType::RlimitStack => 3,
        PosixRlimitType::RlimitCore => 4,
        PosixRlimitType::RlimitRss => 5,
        PosixRlimitType::RlimitNproc => 6,
        PosixRlimitType::RlimitNofile => 7,
        PosixRlimitType::RlimitMemlock => 8,
        PosixRlimitType::RlimitAs => 9,
        PosixRlimitType::RlimitLocks => 10,
        PosixRlimitType::RlimitSigpending => 11,
        PosixRlimitType::RlimitMsgqueue => 12,
        PosixRlimitType::RlimitNice => 13,
        PosixRlimitType::RlimitRtprio => 14,
        PosixRlimitType::RlimitRttime => 15,
    }
}

fn execute(process: &Process, raw: &[(String, Vec<u8>)]) -> Result<Operation, Report> {
    let given = process.args().as_deref().unwrap_or_default();
    let program = given
        .first()
        .filter(|name| !name.is_empty())
        .ok_or_else(|| bad("process.args", "", "names no program"))?;
    let mut environment = Vec::new();
    for entry in process.env().iter().flatten() {
        environment.push(string("process.env", value(entry, raw))?);
    }
    Ok(Operation::Execute {
        candidates: candidates(program, &environment)?,
        arguments: given
            .iter()
            .map(|argument| string("process.args", argument.as_str()))
            .collect::<Result<_, _>>()?,
        environment,
    })
}

/// The entry as bytes: those that the spec could not hold, if it stands for them.
fn value(entry: &str, raw: &[(String, Vec<u8>)]) -> Vec<u8> {
    if let Some((name, shown)) = entry.split_once('=')
        && let Some((_, bytes)) = raw.iter().find(|(known, _)| known == name)
        && String::from_utf8_lossy(bytes) == shown
    {
        return [name.as_bytes(), b"=", bytes].concat();
    }
    entry.as_bytes().to_vec()
}

/// Where the program may lie: a name with a slash is a path, others are looked for in PATH of the environment, or in the default one.
/// Relative parts of PATH are left out: the working directory is the image's, and nobody means it.
///
/// # Errors
/// A [`Report`] if PATH leaves no place to look in, or the name holds a NUL.
pub fn candidates(program: &str, environment: &[CString]) -> Result<Vec<CString>, Report> {
    if program.contains('/') {
        return Ok(vec![string("process.args", program)?]);
    }
    let path = environment.iter().rev().find_map(|entry| entry.as_bytes().strip_prefix(b"PATH="));
    let found: Vec<CString> = path
        .unwrap_or(DEFAULT_PATH.as_bytes())
        .split(|byte| *byte == b':')
        .filter(|directory| directory.starts_with(b"/"))
        .map(|directory| {
            string(
                "process.args",
                [directory.strip_suffix(b"/").unwrap_or(directory), b"/", program.as_bytes()].concat(),
            )
        })
        .collect::<Result<_, _>>()?;
    if found.is_empty() {
        return Err(bad("process.args", program, "cannot be looked for: PATH names no absolute directory"));
    }
    Ok(found)
}
