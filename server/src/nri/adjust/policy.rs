//! Policies: of system calls, of scheduling, of memory, of input and output, of caches; network devices.
//!
//! *Invariant:* a number that the protocol does not know is refused, not taken for another.

use std::path::PathBuf;

use oci_spec::runtime::{
    IOPriorityClass, Linux, LinuxIOPriorityBuilder, LinuxMemoryPolicy, LinuxNetDevice,
    LinuxSchedulerFlag as OciFlag, LinuxSchedulerPolicy as OciPolicy, LinuxSeccomp as OciSeccomp,
    MemoryPolicyFlagType, MemoryPolicyModeType, Process, Scheduler,
};
use orlop_model::report::Report;
use orlop_nri::marked;
use orlop_proto::nri::v1alpha1::{
    IoPrioClass, LinuxContainerAdjustment, LinuxScheduler, LinuxSchedulerFlag as Flag,
    LinuxSchedulerPolicy as Policy, LinuxSeccomp, LinuxSyscall, MpolFlag, MpolMode,
};
use serde_json::{Value, json};

use super::bad;

pub(super) fn of_process(process: &mut Process, wanted: &LinuxContainerAdjustment) -> Result<(), Report> {
    if let Some(priority) = &wanted.io_priority {
        let class = match priority.class() {
            IoPrioClass::IoprioClassNone => None,
            IoPrioClass::IoprioClassRt => Some(IOPriorityClass::IoprioClassRt),
            IoPrioClass::IoprioClassBe => Some(IOPriorityClass::IoprioClassBe),
            IoPrioClass::IoprioClassIdle => Some(IOPriorityClass::IoprioClassIdle),
        };
        let new = class.map(|class| {
            LinuxIOPriorityBuilder::default().class(class).priority(i64::from(priority.priority)).build()
        });
        let new =
            new.transpose().map_err(|error| bad("io_priority", priority.priority, &error.to_string()))?;
        process.set_io_priority(new);
    }
    if let Some(wanted) = &wanted.scheduler {
        process.set_scheduler(scheduler(wanted)?);
    }
    Ok(())
}

fn scheduler(wanted: &LinuxScheduler) -> Result<Option<Scheduler>, Report> {
    let policy = match Policy::try_from(wanted.policy) {
        Ok(Policy::SchedNone) => return Ok(None),
        Ok(Policy::SchedOther) => OciPolicy::SchedOther,
        Ok(Policy::SchedFifo) => OciPolicy::SchedFifo,
        Ok(Policy::SchedRr) => OciPolicy::SchedRr,
        Ok(Policy::SchedBatch) => OciPolicy::SchedBatch,
        Ok(Policy::SchedIso) => OciPolicy::SchedIso,
        Ok(Policy::SchedIdle) => OciPolicy::SchedIdle,
        Ok(Policy::SchedDeadline) => OciPolicy::SchedDeadline,
        Err(_) => return Err(bad("scheduler.policy", wanted.policy, "there is no such policy")),
    };
    let flag = |flag: &i32| match Flag::try_from(*flag) {
        Ok(Flag::SchedFlagResetOnFork) => Ok(OciFlag::SchedResetOnFork),
        Ok(Flag::SchedFlagReclaim) => Ok(OciFlag::SchedFlagReclaim),
        Ok(Flag::SchedFlagDlOverrun) => Ok(OciFlag::SchedFlagDLOverrun),
        Ok(Flag::SchedFlagKeepPolicy) => Ok(OciFlag::SchedFlagKeepPolicy),
        Ok(Flag::SchedFlagKeepParams) => Ok(OciFlag::SchedFlagKeepParams),
        Ok(Flag::SchedFlagUtilClampMin) => Ok(OciFlag::SchedFlagUtilClampMin),
        Ok(Flag::SchedFlagUtilClampMax) => Ok(OciFlag::SchedFlagUtilClampMax),
        Err(_) => Err(bad("scheduler.flags", flag, "there is no such flag")),
    };
    let flags = wanted.flags.iter().map(flag).collect::<Result<Vec<_>, Report>>()?;
    let given = |value: u64| Some(value).filter(|value| *value != 0);
    let mut new = Scheduler::default();
    new.set_policy(policy)
        .set_nice(Some(wanted.nice).filter(|nice| *nice != 0))
        .set_priority(Some(wanted.priority).filter(|priority| *priority != 0))
        .set_flags(Some(flags).filter(|flags| !flags.is_empty()))
        .set_runtime(given(wanted.runtime))
        .set_deadline(given(wanted.deadline))
        .set_period(given(wanted.period));
    Ok(Some(new))
}

pub(super) fn of_linux(linux: &mut Linux, wanted: &LinuxContainerAdjustment) -> Result<(), Report> {
    if let Some(policy) = &wanted.seccomp_policy {
        linux.set_seccomp(Some(seccomp(policy)?));
    }
    let mut devices = linux.net_devices().clone().unwrap_or_default();
    for (name, device) in &wanted.net_devices {
        match marked(name) {
            (name, true) => {
                devices.remove(name);
            }
            (name, false) => {
                let mut new = LinuxNetDevice::default();
                new.set_name(Some(device.name.clone()).filter(|name| !name.is_empty()));
                devices.insert(name.to_owned(), new);
            }
        }
    }
    linux.set_net_devices(Some(devices).filter(|all| !all.is_empty()));
    if let Some(policy) = &wanted.memory_policy {
        linux.set_memory_policy(memory_policy(policy)?);
    }
    if let Some(rdt) = &wanted.rdt {
        let none = rdt.clos_id.is_none() && rdt.schemata.is_none() && rdt.enable_monitoring.is_none();
        if rdt.remove {
            linux.set_intel_rdt(None);
        }
        if !none {
            let mut new = linux.intel_rdt().clone().unwrap_or_default();
            if let Some(id) = &rdt.clos_id {
                new.set_clos_id(Some(id.value.clone()));
            }
            linux.set_intel_rdt(Some(new));
        }
    }
    Ok(())
}

fn memory_policy(
    wanted: &orlop_proto::nri::v1alpha1::LinuxMemoryPolicy,
) -> Result<Option<LinuxMemoryPolicy>, Report> {
    let mode = match MpolMode::try_from(wanted.mode) {
        Ok(MpolMode::MpolDefault) => MemoryPolicyModeType::MpolDefault,
        Ok(MpolMode::MpolPreferred) => MemoryPolicyModeType::MpolPreferred,
        Ok(MpolMode::MpolBind) => MemoryPolicyModeType::MpolBind,
        Ok(MpolMode::MpolInterleave) => MemoryPolicyModeType::MpolInterleave,
        Ok(MpolMode::MpolLocal) => MemoryPolicyModeType::MpolLocal,
        Ok(MpolMode::MpolPreferredMany) => MemoryPolicyModeType::MpolPreferredMany,
        Ok(MpolMode::MpolWeightedInterleave) => MemoryPolicyModeType::MpolWeightedInterleave,
        Err(_) => return Err(bad("memory_policy.mode", wanted.mode, "there is no such mode")),
    };
    let flag = |flag: &i32| match MpolFlag::try_from(*flag) {
        Ok(MpolFlag::MpolFStaticNodes) => Ok(MemoryPolicyFlagType::MpolFStaticNodes),
        Ok(MpolFlag::MpolFRelativeNodes) => Ok(MemoryPolicyFlagType::MpolFRelativeNodes),
        Ok(MpolFlag::MpolFNumaBalancing) => Ok(MemoryPolicyFlagType::MpolFNumaBalancing),
        Err(_) => Err(bad("memory_policy.flags", flag, "there is no such flag")),
    };
    let flags = wanted.flags.iter().map(flag).collect::<Result<Vec<_>, Report>>()?;
    let mut new = LinuxMemoryPolicy::default();
    new.set_mode(mode)
        .set_nodes(Some(wanted.nodes.clone()).filter(|nodes| !nodes.is_empty()))
        .set_flags(Some(flags).filter(|flags| !flags.is_empty()));
    Ok(Some(new))
}

/// By way of the form that files have, whose words the protocol uses.
fn seccomp(wanted: &LinuxSeccomp) -> Result<OciSeccomp, Report> {
    let mut profile = json!({ "defaultAction": wanted.default_action });
    let mut put = |key: &str, value: Value| profile[key] = value;
    if let Some(errno) = &wanted.default_errno {
        put("defaultErrnoRet", errno.value.into());
    }
    if !wanted.architectures.is_empty() {
        put("architectures", wanted.architectures.clone().into());
    }
    if !wanted.flags.is_empty() {
        put("flags", wanted.flags.clone().into());
    }
    put("syscalls", wanted.syscalls.iter().map(syscall).collect::<Vec<_>>().into());
    let mut read: OciSeccomp =
        serde_json::from_value(profile).map_err(|error| bad("seccomp_policy", error, "it is no profile"))?;
    read.set_listener_path(
        Some(PathBuf::from(&wanted.listener_path)).filter(|path| !path.as_os_str().is_empty()),
    )
    .set_listener_metadata(Some(wanted.listener_metadata.clone()).filter(|text| !text.is_empty()));
    Ok(read)
}

fn syscall(wanted: &LinuxSyscall) -> Value {
    let args: Vec<Value> = wanted
        .args
        .iter()
        .map(|arg| json!({ "index": arg.index, "value": arg.value, "valueTwo": arg.value_two, "op": arg.op }))
        .collect();
    let mut one = json!({ "names": wanted.names, "action": wanted.action });
    if let Some(errno) = &wanted.errno_ret {
        one["errnoRet"] = errno.value.into();
    }
    if !args.is_empty() {
        one["args"] = args.into();
    }
    one
}
