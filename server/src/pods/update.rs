//! Limits of what is there become others.
//!
//! A container that runs has them changed in its cgroups; one that is created has its plan changed, which is carried out when it is
//! started. A pod's sums are a notice: its cgroup is kubelet's own where kubelet named one, and only one of ours is written to.
//!
//! *Invariant:* all values become the new ones, or none: what is checked is checked before anything is written, and what was written
//! is put back if something after it fails. Changes of one container come one after the other, and none while it starts.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use orlop_cgroup::update::{Change, Undo, change, changes};
use orlop_model::container::Resources;
use orlop_model::life::container::State;
use orlop_model::report::{Kind, Report};
use orlop_proto::runtime::v1::LinuxContainerResources as Limits;
use orlop_wire::code::Wire as _;
use orlop_wire::plan::{Cgroup, CgroupWrite, Operation, Plan};
use orlop_wire::record::file;
use rustix::io::Errno;

use super::Core;
use super::container::{Container, Facts};
use super::pod::Pod;
use super::sums::Sums;
use crate::blocking::blocking;
use crate::cri::convert;

/// Where limits stand in the request.
const FIELD: &str = "linux";

/// Changes a container's limits; what `asked` does not name stays as it is.
///
/// # Errors
/// A report that names the field that cannot be; `WrongState` if the container has ended, or uses more memory than it would have.
pub(crate) async fn container(
    core: &Arc<Core>,
    container: &Arc<Container>,
    asked: &Limits,
) -> Result<(), Report> {
    container.created().await?;
    convert::resources(FIELD, asked)?;
    loop {
        // Who starts it waits for this, too: see `deeds::launch`.
        let updating = container.updating().await;
        let limits = convert::merged(&container.limits().unwrap_or_default(), asked);
        let wanted = convert::resources(FIELD, &limits)?;
        if let Some(mut report) = orlop_cgroup::unsupported(&core.node.hierarchies, &wanted) {
            report.stage = report.stage.replacen("linux.resources", FIELD, 1);
            return Err(report);
        }
        match container.state() {
            State::Starting => {
                drop(updating);
                container.until(|state| *state != State::Starting).await;
            }
            State::Exited(_) | State::Removing(_) | State::Gone => return Err(has_ended(container)),
            state @ (State::Created | State::Running | State::Stopping { .. }) => {
                let (core, container) = (Arc::clone(core), Arc::clone(container));
                return blocking("update container", move || {
                    let update = Update { core: &core, container: &container, wanted: &wanted };
                    if state == State::Created { update.plan(limits) } else { update.cgroups(limits) }
                })
                .await?;
            }
        }
    }
}

fn has_ended(container: &Container) -> Report {
    let cause = "the container has ended; limits are those of what runs or will run";
    Report::new(Kind::WrongState, "update container", container.id.short(), cause)
}

struct Update<'a> {
    core: &'a Core,
    container: &'a Container,
    wanted: &'a Resources,
}

impl Update<'_> {
    fn before(&self) -> Result<Resources, Report> {
        convert::resources(FIELD, &self.container.limits().unwrap_or_default())
    }

    fn path(&self) -> String {
        self.core.container_cgroup(self.container)
    }

    /// Of a container that was not started: its plan is another then.
    fn plan(&self, limits: Limits) -> Result<(), Report> {
        let path = self.path();
        let of = |resources: &Resources| {
            orlop_cgroup::plan(&self.core.node.hierarchies, &path, resources, &[])
                .map(|planned| planned.cgroups)
                .map_err(|error| Report::new(Kind::BadRequest, FIELD, path.clone(), error))
        };
        let (before, after) = (of(&self.before()?)?, of(self.wanted)?);
        let directory = self.core.places.container(&self.container.id);
        let plan_file = directory.join(file::PLAN);
        let failed =
            |cause: String| Report::new(Kind::Failed, "read plan", plan_file.display().to_string(), cause);
        let bytes = std::fs::read(&plan_file).map_err(|error| failed(error.to_string()))?;
        let mut plan = Plan::from_bytes(&bytes).map_err(|malformed| failed(malformed.to_string()))?;
        put_into(&mut plan.cgroups, &before, after);
        self.score(&mut plan.operations);
        super::record::put(&directory, file::PLAN, &plan.to_bytes())?;
        self.record(limits).inspect_err(|_| {
            // A plan that is on disk is one that was recorded.
            let _ = super::record::put(&directory, file::PLAN, &bytes);
        })
    }

    /// Of a container that runs.
    fn cgroups(&self, limits: Limits) -> Result<(), Report> {
        let before = self.before()?;
        let (parents, all) = changes(&self.core.node.hierarchies, &self.path(), &before, self.wanted)
            .map_err(|error| Report::new(Kind::BadRequest, FIELD, self.path(), error))?;
        let refused = |error: orlop_cgroup::Error| {
            if self.container.state().has_ended() { has_ended(self.container) } else { refused(error) }
        };
        orlop_cgroup::act::apply(&parents).map_err(refused)?;
        let undo = change(&all).map_err(refused)?;
        let scores = match self.scores(&before) {
            Ok(scores) => scores,
            Err(report) => {
                undo.undo();
                return Err(report);
            }
        };
        if let Some(scope) = self.core.scope(self.container) {
            tell(self.core, &scope, self.wanted, &all);
        }
        crate::failpoint::pass("container.updated");
        self.record(limits).inspect_err(|_| {
            scores.put_back();
            undo.undo();
        })
    }

    /// What is in force is known from now on, also to a successor.
    fn record(&self, limits: Limits) -> Result<(), Report> {
        let missing =
            || Report::new(Kind::Failed, "update container", self.container.id.short(), "it is not created");
        let mut facts = Facts::clone(&*self.container.facts().ok_or_else(missing)?);
        self.score(&mut facts.exec);
        if let Some(bundle) = &facts.bundle {
            super::foreign::update(bundle, self.wanted, self.wanted_score())?;
        }
        super::record::write_container(self.core, self.container, &facts, Some(&limits))?;
        self.container.set_limits(limits, facts);
        Ok(())
    }

    fn wanted_score(&self) -> i32 {
        let score = i32::try_from(self.wanted.oom_score_adj).unwrap_or_default();
        score.max(self.core.node.oom_floor)
    }

    fn score(&self, operations: &mut [Operation]) {
        for operation in operations {
            if let Operation::OomScoreAdj { score } = operation {
                *score = self.wanted_score();
            }
        }
    }

    /// Gives all processes of it their score, if it is another.
    fn scores(&self, before: &Resources) -> Result<Scores, Report> {
        let mut scores = Scores::default();
        if self.wanted.oom_score_adj == before.oom_score_adj {
            return Ok(scores);
        }
        let facts = self.container.facts();
        let directory = facts.as_ref().and_then(|facts| facts.unified.as_ref().or(facts.cgroups.first()));
        let Some(directory) = directory else { return Ok(scores) };
        for process in orlop_cgroup::act::processes(directory).map_err(refused)? {
            let path = format!("/proc/{process}/oom_score_adj");
            let Ok(had) = std::fs::read_to_string(&path) else { continue };
            match std::fs::write(&path, self.wanted_score().to_string()) {
                Ok(()) => scores.had.push((path, had)),
                // It ended meanwhile.
                Err(_) if !Path::new(&path).exists() => {}
                Err(error) => {
                    scores.put_back();
                    let field = format!("{FIELD}.oom_score_adj");
                    return Err(Report::new(Kind::Failed, field, path, error));
                }
            }
        }
        Ok(scores)
    }
}

/// Tells systemd, which would else put a unit's limits back. They are in force already: what it does not take is logged, and what it
/// writes less exactly is written once more.
fn tell(core: &Core, unit: &str, limits: &Resources, all: &[Change]) {
    let told = tokio::runtime::Handle::current().block_on(core.units.limit(unit, limits));
    if let Err(report) = told {
        tracing::warn!(unit, "systemd does not know of its new limits: {report}");
    }
    // As before: what was taken is taken again.
    drop(change(all));
}

/// Scores of processes as they were.
#[derive(Default)]
struct Scores {
    had: Vec<(String, String)>,
}

impl Scores {
    fn put_back(self) {
        for (path, had) in self.had {
            let _ = std::fs::write(path, had.trim());
        }
    }
}

/// The values of a plan's cgroups that stand for limits become others.
fn put_into(cgroups: &mut Vec<Cgroup>, before: &[Cgroup], after: Vec<Cgroup>) {
    let of = |all: &[Cgroup], directory: &Cgroup| -> Vec<CgroupWrite> {
        let its = all.iter().filter(|cgroup| cgroup.directory == directory.directory);
        its.flat_map(|cgroup| cgroup.writes.clone()).collect()
    };
    let (parents, own): (Vec<Cgroup>, Vec<Cgroup>) = after.into_iter().partition(|cgroup| cgroup.keep);
    for cgroup in cgroups.iter_mut().filter(|cgroup| !cgroup.keep) {
        let (old, mut new) = (of(before, cgroup), of(&own, cgroup));
        cgroup.writes.retain(|write| !old.iter().chain(&new).any(|limit| limit.file == write.file));
        // What is no limit, rules of devices, stays in its order.
        new.append(&mut cgroup.writes);
        cgroup.writes = new;
    }
    let new = parents.into_iter().filter(|parent| !cgroups.contains(parent)).collect::<Vec<_>>();
    cgroups.splice(0..0, new);
}

/// What the kernel refused, with the field of the request that asked for it.
fn refused(error: orlop_cgroup::Error) -> Report {
    let advice = "give more, or have the container use less first";
    let (file, value, source) = match error {
        orlop_cgroup::Error::InUse { used, limit, .. } => {
            let cause = format!("the container uses {used} bytes that it cannot give up");
            let field = format!("{FIELD}.memory_limit_in_bytes");
            return Report::new(Kind::WrongState, field, format!("\"{limit}\""), cause).advise(advice);
        }
        orlop_cgroup::Error::Write { file, value, source } => (file, value, source),
        other => return Report::from(other),
    };
    let name = file.file_name().map(OsStr::as_bytes).map(String::from_utf8_lossy).unwrap_or_default();
    let field = format!("{FIELD}.{}", field_of(&name));
    let what = format!("\"{}\" ({})", value.escape_debug(), file.display());
    match Errno::from_io_error(&source) {
        Some(Errno::BUSY) if name.starts_with("memory.") => {
            let cause = "the container uses more than that, and the kernel could not reclaim it";
            Report::new(Kind::WrongState, field, what, cause).advise(advice)
        }
        Some(Errno::INVAL | Errno::RANGE | Errno::NOSPC | Errno::ACCESS | Errno::PERM) => {
            let cause = format!("the kernel does not take it: {source}");
            Report::new(Kind::BadRequest, field, what, cause)
        }
        _ => Report::new(Kind::Failed, field, what, source),
    }
}

/// Which field asks for a file's value.
fn field_of(file: &str) -> String {
    match file {
        "cpu.shares" | "cpu.weight" => "cpu_shares".into(),
        "cpu.cfs_period_us" => "cpu_period".into(),
        "cpu.cfs_quota_us" | "cpu.max" => "cpu_quota".into(),
        "memory.limit_in_bytes" | "memory.max" => "memory_limit_in_bytes".into(),
        "memory.memsw.limit_in_bytes" | "memory.swap.max" => "memory_swap_limit_in_bytes".into(),
        "cpuset.cpus" => "cpuset_cpus".into(),
        "cpuset.mems" => "cpuset_mems".into(),
        other if other.starts_with("hugetlb.") => "hugepage_limits".into(),
        other => format!("unified[{other:?}]"),
    }
}

/// Takes note of a pod's sums; what is unset stays as it is. Only a cgroup that is the daemon's own is written to.
///
/// # Errors
/// A report that names the field that cannot be.
pub(crate) async fn pod(
    core: &Arc<Core>,
    pod: &Arc<Pod>,
    resources: Option<Limits>,
    overhead: Option<Limits>,
) -> Result<(), Report> {
    pod.ready().await?;
    for (field, asked) in [("resources", &resources), ("overhead", &overhead)] {
        asked.as_ref().map(|asked| convert::resources(field, asked)).transpose()?;
    }
    let _updating = pod.updating().await;
    let before = pod.sums();
    let after = Sums { resources: resources.or(before.resources), overhead: overhead.or(before.overhead) };
    let (core, pod) = (Arc::clone(core), Arc::clone(pod));
    blocking("update pod", move || {
        let undo = match own_cgroup(&core, &pod, &after) {
            Ok(undo) => undo,
            Err(report) => {
                tracing::warn!(pod = pod.id.short(), "its cgroup stays as it is: {report}");
                Undo::default()
            }
        };
        super::record::write_pod(&core, &pod, &pod.made().cloned().unwrap_or_default(), &after)
            .inspect_err(|_| undo.undo())?;
        pod.set_sums(after);
        Ok(())
    })
    .await?
}

/// Writes a pod's sums to its cgroup, if it is the daemon's own and there: else its first container brings it with them.
fn own_cgroup(core: &Core, pod: &Pod, after: &Sums) -> Result<Undo, Report> {
    let path = core.pod_cgroup(pod);
    let there = core.node.hierarchies.directories(&path).map_err(Report::from)?;
    if !pod.config.cgroup_parent.is_empty() || !there.iter().any(|directory| directory.exists()) {
        return Ok(Undo::default());
    }
    let (before, after) = (pod.sums().total(), after.total());
    let (_, all) = changes(&core.node.hierarchies, &path, &before, &after).map_err(Report::from)?;
    let undo = change(&all).map_err(Report::from)?;
    if orlop_cgroup::slice::is_slice(&path) {
        tell(core, orlop_cgroup::slice::name(&path), &after, &all);
    }
    Ok(undo)
}
