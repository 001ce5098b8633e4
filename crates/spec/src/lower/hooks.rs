//! Hooks: which program, when, and how it gets where it is to run (the OCI runtime spec's "POSIX-platform Hooks").
//!
//! *Invariant:* a hook has its own arguments and environment and nothing else. One that runs in the container before its program has
//! that program's user, capabilities, limits and filter.

use std::os::unix::ffi::OsStrExt as _;

use oci_spec::runtime::{Hook as Asked, Linux, Process, Spec};
use orlop_model::report::Report;
use orlop_wire::hook::{Hook, Hooks, Point};
use orlop_wire::plan::Operation;

use super::process::{ExecFacts, exec};
use super::{Facts, bad, namespaces, string};

/// `CLONE_NEWUSER`.
const USER: u64 = 0x1000_0000;

pub(super) fn hooks(
    spec: &Spec,
    process: &Process,
    linux: &Linux,
    facts: &Facts<'_>,
) -> Result<Option<Hooks>, Report> {
    let mut all = Vec::new();
    for (point, asked) in listed(spec) {
        for (number, hook) in asked.iter().enumerate() {
            let part = format!("hooks.{}[{number}]", point.name());
            all.push(one(&part, point, hook, process, linux, facts)?);
        }
    }
    if all.is_empty() {
        return Ok(None);
    }
    let (head, tail) = state(spec, facts);
    Ok(Some(Hooks { all, head, tail }))
}

/// The hooks of a spec, point by point, in the order of a container's life.
#[must_use]
pub fn listed(spec: &Spec) -> Vec<(Point, &[Asked])> {
    let Some(hooks) = spec.hooks().as_ref() else { return Vec::new() };
    let of = |point| {
        let asked = match point {
            Point::Prestart => hooks.prestart(),
            Point::CreateRuntime => hooks.create_runtime(),
            Point::CreateContainer => hooks.create_container(),
            Point::StartContainer => hooks.start_container(),
            Point::Poststart => hooks.poststart(),
            Point::Poststop => hooks.poststop(),
        };
        (point, asked.as_deref().unwrap_or_default())
    };
    Point::ALL.into_iter().map(of).filter(|(_, asked)| !asked.is_empty()).collect()
}

fn one(
    part: &str,
    point: Point,
    hook: &Asked,
    process: &Process,
    linux: &Linux,
    facts: &Facts<'_>,
) -> Result<Hook, Report> {
    if !hook.path().is_absolute() {
        return Err(bad(&format!("{part}.path"), hook.path().display(), "must be absolute"));
    }
    let patience = match hook.timeout() {
        None => facts.hook_patience.as_millis().try_into().unwrap_or(u64::MAX),
        Some(seconds) => {
            let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
            let wrong =
                || bad(&format!("{part}.timeout"), hook.timeout().unwrap_or_default(), "must be 1 or more");
            seconds.ok_or_else(wrong)?.saturating_mul(1000)
        }
    };
    let operations = match point {
        Point::Prestart | Point::CreateRuntime | Point::Poststart | Point::Poststop => {
            vec![Operation::Session, program(part, hook)?]
        }
        Point::CreateContainer => in_namespaces(part, hook, linux, facts)?,
        Point::StartContainer => in_container(part, hook, process, linux, facts)?,
    };
    orlop_wire::order::check(&operations).map_err(|why| bad(part, hook.path().display(), why))?;
    Ok(Hook { point, operations, patience })
}

fn program(part: &str, hook: &Asked) -> Result<Operation, Report> {
    let path = string(part, hook.path().as_os_str().as_bytes())?;
    let strings = |list: &Option<Vec<String>>| -> Result<Vec<_>, Report> {
        list.iter().flatten().map(|text| string(part, text.as_str())).collect()
    };
    let mut arguments = strings(hook.args())?;
    if arguments.is_empty() {
        arguments.push(path.clone());
    }
    Ok(Operation::Execute { candidates: vec![path], arguments, environment: strings(hook.env())? })
}

/// In the container's namespaces, while the host's files are still in sight.
fn in_namespaces(
    part: &str,
    hook: &Asked,
    linux: &Linux,
    facts: &Facts<'_>,
) -> Result<Vec<Operation>, Report> {
    let kinds = namespaces::kinds(linux);
    let mut all = vec![Operation::Session];
    all.extend(facts.enter.iter().map(|procs| Operation::EnterCgroup { procs: procs.clone() }));
    all.push(Operation::JoinContainer { kinds });
    all.push(Operation::Chdir { path: string(part, facts.bundle.as_os_str().as_bytes())?, create: false });
    if kinds & USER != 0 {
        // The namespace's own root: whoever enters it is nobody there at first.
        all.push(Operation::Become { uid: 0, gid: 0, groups: Vec::new() });
    }
    all.push(program(part, hook)?);
    Ok(all)
}

/// In the container, as its program will be.
fn in_container(
    part: &str,
    hook: &Asked,
    process: &Process,
    linux: &Linux,
    facts: &Facts<'_>,
) -> Result<Vec<Operation>, Report> {
    let path = hook.path().to_string_lossy().into_owned();
    let mut process = process.clone();
    process.set_terminal(Some(false)).set_args(Some(vec![path])).set_env(hook.env().clone());
    let facts = ExecFacts {
        enter: &facts.enter,
        kinds: namespaces::kinds(linux),
        seccomp: linux.seccomp().as_ref(),
        raw_environment: &[],
        filters: facts.filters,
        user: super::user::maps(linux)?,
    };
    let mut all = exec(&process, &facts)?;
    all.pop();
    all.push(program(part, hook)?);
    Ok(all)
}

/// The container's state in JSON around `status` and `pid`.
fn state(spec: &Spec, facts: &Facts<'_>) -> (Vec<u8>, Vec<u8>) {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let annotations: std::collections::BTreeMap<_, _> = spec.annotations().iter().flatten().collect();
    let annotations = serde_json::json!(annotations);
    let head =
        format!("{{\"ociVersion\":{},\"id\":{},\"status\":\"", text(spec.version()), text(&facts.container));
    let tail =
        format!(",\"bundle\":{},\"annotations\":{annotations}}}", text(&facts.bundle.to_string_lossy()));
    (head.into_bytes(), tail.into_bytes())
}
