//! A container as its spec has it.
//!
//! *Invariant:* what a spec leaves open stays open: an absent value is absent, not 0.

use std::path::Path;

use oci_spec::runtime::{
    Hook as OciHook, Linux, LinuxDeviceType, LinuxNamespaceType, LinuxResources as OciResources, Process,
    Spec,
};
use orlop_proto::nri::v1alpha1::{
    Container, Hook, Hooks, HugepageLimit, LinuxContainer, LinuxCpu, LinuxDevice, LinuxDeviceCgroup,
    LinuxMemory, LinuxNamespace, LinuxPids, LinuxResources, Mount, OptionalBool, OptionalFileMode,
    OptionalInt, OptionalInt64, OptionalUInt32, OptionalUInt64, PosixRlimit,
};

use super::user;

/// What a plugin is shown of it.
pub(in crate::nri) fn container(spec: &Spec, cgroup: &str) -> Container {
    let process = spec.process().clone().unwrap_or_default();
    let annotations = spec.annotations().clone().unwrap_or_default();
    let groups = process.user().additional_gids().clone().unwrap_or_default();
    Container {
        annotations: annotations.into_iter().collect(),
        args: process.args().clone().unwrap_or_default(),
        env: process.env().clone().unwrap_or_default(),
        mounts: mounts(spec),
        hooks: spec.hooks().as_ref().map(hooks),
        linux: Some(linux(spec.linux().as_ref(), &process, cgroup)),
        rlimits: rlimits(&process),
        user: Some(user(process.user().uid(), process.user().gid(), &groups)),
        ..Container::default()
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn mounts(spec: &Spec) -> Vec<Mount> {
    let all = spec.mounts().iter().flatten();
    all.map(|mount| Mount {
        destination: text(mount.destination()),
        r#type: mount.typ().clone().unwrap_or_default(),
        source: mount.source().as_deref().map(text).unwrap_or_default(),
        options: mount.options().clone().unwrap_or_default(),
    })
    .collect()
}

fn hooks(hooks: &oci_spec::runtime::Hooks) -> Hooks {
    let all = |of: &Option<Vec<OciHook>>| of.iter().flatten().map(hook).collect();
    Hooks {
        prestart: all(hooks.prestart()),
        create_runtime: all(hooks.create_runtime()),
        create_container: all(hooks.create_container()),
        start_container: all(hooks.start_container()),
        poststart: all(hooks.poststart()),
        poststop: all(hooks.poststop()),
    }
}

fn hook(hook: &OciHook) -> Hook {
    Hook {
        path: text(hook.path()),
        args: hook.args().clone().unwrap_or_default(),
        env: hook.env().clone().unwrap_or_default(),
        timeout: hook.timeout().map(|value| OptionalInt { value }),
    }
}

fn rlimits(process: &Process) -> Vec<PosixRlimit> {
    let all = process.rlimits().iter().flatten();
    all.map(|limit| PosixRlimit { r#type: limit.typ().to_string(), hard: limit.hard(), soft: limit.soft() })
        .collect()
}

fn linux(linux: Option<&Linux>, process: &Process, cgroup: &str) -> LinuxContainer {
    let mut shown = LinuxContainer {
        oom_score_adj: process.oom_score_adj().map(|value| OptionalInt { value: value.into() }),
        cgroups_path: cgroup.to_owned(),
        ..LinuxContainer::default()
    };
    let Some(linux) = linux else { return shown };
    shown.namespaces = linux.namespaces().iter().flatten().map(namespace).collect();
    shown.devices = linux.devices().iter().flatten().map(device).collect();
    shown.resources = linux.resources().as_ref().map(resources);
    shown.sysctl = linux.sysctl().clone().unwrap_or_default().into_iter().collect();
    shown
}

/// By the names that specs have for them. Those in the daemon's own room have no path that leads anywhere else.
fn namespace(namespace: &oci_spec::runtime::LinuxNamespace) -> LinuxNamespace {
    let kind = match namespace.typ() {
        LinuxNamespaceType::Mount => "mount",
        LinuxNamespaceType::Cgroup => "cgroup",
        LinuxNamespaceType::Uts => "uts",
        LinuxNamespaceType::Ipc => "ipc",
        LinuxNamespaceType::User => "user",
        LinuxNamespaceType::Pid => "pid",
        LinuxNamespaceType::Network => "network",
        LinuxNamespaceType::Time => "time",
    };
    let path =
        namespace.path().as_deref().filter(|path| path.starts_with("/run") || path.starts_with("/proc"));
    LinuxNamespace { r#type: kind.into(), path: path.map(text).unwrap_or_default() }
}

fn letter(kind: LinuxDeviceType) -> String {
    kind.as_str().to_owned()
}

fn device(device: &oci_spec::runtime::LinuxDevice) -> LinuxDevice {
    LinuxDevice {
        path: text(device.path()),
        r#type: letter(device.typ()),
        major: device.major(),
        minor: device.minor(),
        file_mode: device.file_mode().map(|value| OptionalFileMode { value }),
        uid: device.uid().map(|value| OptionalUInt32 { value }),
        gid: device.gid().map(|value| OptionalUInt32 { value }),
    }
}

fn resources(resources: &OciResources) -> LinuxResources {
    let rule = |rule: &oci_spec::runtime::LinuxDeviceCgroup| LinuxDeviceCgroup {
        allow: rule.allow(),
        r#type: rule.typ().map(letter).unwrap_or_default(),
        major: rule.major().map(|value| OptionalInt64 { value }),
        minor: rule.minor().map(|value| OptionalInt64 { value }),
        access: rule.access().clone().unwrap_or_default(),
    };
    let page = |limit: &oci_spec::runtime::LinuxHugepageLimit| HugepageLimit {
        page_size: limit.page_size().clone(),
        limit: u64::try_from(limit.limit()).unwrap_or_default(),
    };
    LinuxResources {
        memory: resources.memory().as_ref().map(memory),
        cpu: resources.cpu().as_ref().map(cpu),
        hugepage_limits: resources.hugepage_limits().iter().flatten().map(page).collect(),
        blockio_class: None,
        rdt_class: None,
        unified: resources.unified().clone().unwrap_or_default().into_iter().collect(),
        devices: resources.devices().iter().flatten().map(rule).collect(),
        pids: resources.pids().as_ref().map(|pids| LinuxPids { limit: pids.limit() }),
    }
}

fn memory(memory: &oci_spec::runtime::LinuxMemory) -> LinuxMemory {
    let number = |value: Option<i64>| value.map(|value| OptionalInt64 { value });
    let flag = |value: Option<bool>| value.map(|value| OptionalBool { value });
    LinuxMemory {
        limit: number(memory.limit()),
        reservation: number(memory.reservation()),
        swap: number(memory.swap()),
        kernel: number(memory.kernel()),
        kernel_tcp: number(memory.kernel_tcp()),
        swappiness: memory.swappiness().map(|value| OptionalUInt64 { value }),
        disable_oom_killer: flag(memory.disable_oom_killer()),
        use_hierarchy: flag(memory.use_hierarchy()),
    }
}

fn cpu(cpu: &oci_spec::runtime::LinuxCpu) -> LinuxCpu {
    let signed = |value: Option<i64>| value.map(|value| OptionalInt64 { value });
    let unsigned = |value: Option<u64>| value.map(|value| OptionalUInt64 { value });
    LinuxCpu {
        shares: unsigned(cpu.shares()),
        quota: signed(cpu.quota()),
        period: unsigned(cpu.period()),
        realtime_runtime: signed(cpu.realtime_runtime()),
        realtime_period: unsigned(cpu.realtime_period()),
        cpus: cpu.cpus().clone().unwrap_or_default(),
        mems: cpu.mems().clone().unwrap_or_default(),
    }
}
