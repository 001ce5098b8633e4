//! What plugins want of a container, put together field by field.
//!
//! *Invariant:* each field is set by one plugin, seen by the next, set again by it, and that is refused with both names.

use orlop_nri::changes::{Changes, Refused};
use orlop_nri::creation::Creation;
use orlop_proto::nri::v1alpha1::*;

fn creation() -> Creation {
    Creation::new(CreateContainerRequest {
        pod: Some(PodSandbox { id: "p".into(), ..PodSandbox::default() }),
        container: Some(Container {
            id: "c".into(),
            env: vec!["HOME=/root".into(), "PATH=/bin".into()],
            args: vec!["sleep".into()],
            mounts: vec![mount("/data", "/srv")],
            annotations: [("old".into(), "1".into())].into(),
            rlimits: vec![rlimit("RLIMIT_NOFILE", 1)],
            linux: Some(LinuxContainer {
                devices: vec![device("/dev/null")],
                sysctl: [("net.core.somaxconn".into(), "1".into())].into(),
                namespaces: vec![namespace("network", "/n"), namespace("ipc", "/i")],
                ..LinuxContainer::default()
            }),
            ..Container::default()
        }),
    })
}

fn mount(destination: &str, source: &str) -> Mount {
    Mount { destination: destination.into(), source: source.into(), ..Mount::default() }
}

fn rlimit(kind: &str, soft: u64) -> PosixRlimit {
    PosixRlimit { r#type: kind.into(), hard: 10, soft }
}

fn device(path: &str) -> LinuxDevice {
    LinuxDevice { path: path.into(), r#type: "c".into(), ..LinuxDevice::default() }
}

fn namespace(kind: &str, path: &str) -> LinuxNamespace {
    LinuxNamespace { r#type: kind.into(), path: path.into() }
}

fn variable(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.into(), value: value.into() }
}

fn adjust(adjust: ContainerAdjustment) -> CreateContainerResponse {
    CreateContainerResponse { adjust: Some(adjust), ..CreateContainerResponse::default() }
}

fn linux(linux: LinuxContainerAdjustment) -> CreateContainerResponse {
    adjust(ContainerAdjustment { linux: Some(linux), ..ContainerAdjustment::default() })
}

fn limits(resources: LinuxResources) -> CreateContainerResponse {
    linux(LinuxContainerAdjustment { resources: Some(resources), ..LinuxContainerAdjustment::default() })
}

type Set = (Field, CreateContainerResponse);

fn text() -> OptionalString {
    OptionalString { value: "x".into() }
}

fn memory_and_cpu() -> Vec<Set> {
    let memory = |memory| limits(LinuxResources { memory: Some(memory), ..LinuxResources::default() });
    let cpu = |cpu| limits(LinuxResources { cpu: Some(cpu), ..LinuxResources::default() });
    let none = LinuxMemory::default;
    let idle = LinuxCpu::default;
    let signed = |value| Some(OptionalInt64 { value });
    let unsigned = |value| Some(OptionalUInt64 { value });
    vec![
        (Field::MemLimit, memory(LinuxMemory { limit: signed(1), ..none() })),
        (Field::MemReservation, memory(LinuxMemory { reservation: signed(1), ..none() })),
        (Field::MemSwapLimit, memory(LinuxMemory { swap: signed(1), ..none() })),
        (Field::MemKernelLimit, memory(LinuxMemory { kernel: signed(1), ..none() })),
        (Field::MemTcpLimit, memory(LinuxMemory { kernel_tcp: signed(1), ..none() })),
        (Field::MemSwappiness, memory(LinuxMemory { swappiness: unsigned(1), ..none() })),
        (
            Field::MemDisableOomKiller,
            memory(LinuxMemory { disable_oom_killer: Some(OptionalBool { value: true }), ..none() }),
        ),
        (
            Field::MemUseHierarchy,
            memory(LinuxMemory { use_hierarchy: Some(OptionalBool { value: true }), ..none() }),
        ),
        (Field::CpuShares, cpu(LinuxCpu { shares: unsigned(2), ..idle() })),
        (Field::CpuQuota, cpu(LinuxCpu { quota: signed(1), ..idle() })),
        (Field::CpuPeriod, cpu(LinuxCpu { period: unsigned(1), ..idle() })),
        (Field::CpuRealtimeRuntime, cpu(LinuxCpu { realtime_runtime: signed(1), ..idle() })),
        (Field::CpuRealtimePeriod, cpu(LinuxCpu { realtime_period: unsigned(1), ..idle() })),
        (Field::CpuSetCpUs, cpu(LinuxCpu { cpus: "0".into(), ..idle() })),
        (Field::CpuSetMems, cpu(LinuxCpu { mems: "0".into(), ..idle() })),
    ]
}

fn other_limits() -> Vec<Set> {
    let limit = LinuxResources::default;
    vec![
        (Field::PidsLimit, limits(LinuxResources { pids: Some(LinuxPids { limit: 1 }), ..limit() })),
        (Field::BlockioClass, limits(LinuxResources { blockio_class: Some(text()), ..limit() })),
        (Field::RdtClass, limits(LinuxResources { rdt_class: Some(text()), ..limit() })),
        (
            Field::HugepageLimits,
            limits(LinuxResources {
                hugepage_limits: vec![HugepageLimit { page_size: "2MB".into(), limit: 1 }],
                ..limit()
            }),
        ),
        (
            Field::CgroupsUnified,
            limits(LinuxResources { unified: [("memory.high".into(), "1".into())].into(), ..limit() }),
        ),
    ]
}

fn whole() -> Vec<Set> {
    let own = LinuxContainerAdjustment::default;
    vec![
        (Field::CgroupsPath, linux(LinuxContainerAdjustment { cgroups_path: "/x".into(), ..own() })),
        (
            Field::OomScoreAdj,
            linux(LinuxContainerAdjustment { oom_score_adj: Some(OptionalInt { value: 1 }), ..own() }),
        ),
        (
            Field::IoPriority,
            linux(LinuxContainerAdjustment { io_priority: Some(LinuxIoPriority::default()), ..own() }),
        ),
        (
            Field::SeccompPolicy,
            linux(LinuxContainerAdjustment { seccomp_policy: Some(LinuxSeccomp::default()), ..own() }),
        ),
        (
            Field::LinuxSched,
            linux(LinuxContainerAdjustment { scheduler: Some(LinuxScheduler::default()), ..own() }),
        ),
        (
            Field::MemoryPolicy,
            linux(LinuxContainerAdjustment { memory_policy: Some(LinuxMemoryPolicy::default()), ..own() }),
        ),
        (
            Field::RdtClosId,
            linux(LinuxContainerAdjustment {
                rdt: Some(LinuxRdt { clos_id: Some(text()), ..LinuxRdt::default() }),
                ..own()
            }),
        ),
        (
            Field::RdtSchemata,
            linux(LinuxContainerAdjustment {
                rdt: Some(LinuxRdt {
                    schemata: Some(OptionalRepeatedString::default()),
                    ..LinuxRdt::default()
                }),
                ..own()
            }),
        ),
        (
            Field::RdtEnableMonitoring,
            linux(LinuxContainerAdjustment {
                rdt: Some(LinuxRdt {
                    enable_monitoring: Some(OptionalBool { value: true }),
                    ..LinuxRdt::default()
                }),
                ..own()
            }),
        ),
    ]
}

fn with_entries() -> Vec<Set> {
    let own = LinuxContainerAdjustment::default;
    vec![
        (
            Field::Namespace,
            linux(LinuxContainerAdjustment { namespaces: vec![namespace("ipc", "")], ..own() }),
        ),
        (Field::Devices, linux(LinuxContainerAdjustment { devices: vec![device("/dev/a")], ..own() })),
        (
            Field::Sysctl,
            linux(LinuxContainerAdjustment { sysctl: [("kernel.x".into(), "1".into())].into(), ..own() }),
        ),
        (
            Field::LinuxNetDevices,
            linux(LinuxContainerAdjustment {
                net_devices: [("eth9".into(), LinuxNetDevice { name: "eth1".into() })].into(),
                ..own()
            }),
        ),
    ]
}

fn of_any_system() -> Vec<Set> {
    let own = ContainerAdjustment::default;
    vec![
        (
            Field::Annotations,
            adjust(ContainerAdjustment { annotations: [("a".into(), "1".into())].into(), ..own() }),
        ),
        (Field::Mounts, adjust(ContainerAdjustment { mounts: vec![mount("/m", "/s")], ..own() })),
        (Field::Env, adjust(ContainerAdjustment { env: vec![variable("E", "1")], ..own() })),
        (Field::Args, adjust(ContainerAdjustment { args: vec!["x".into()], ..own() })),
        (Field::Rlimits, adjust(ContainerAdjustment { rlimits: vec![rlimit("RLIMIT_CORE", 1)], ..own() })),
        (
            Field::CdiDevices,
            adjust(ContainerAdjustment {
                cdi_devices: vec![CdiDevice { name: "vendor.com/net=a".into() }],
                ..own()
            }),
        ),
    ]
}

/// Every field that has one owner, set.
fn single() -> Vec<Set> {
    [memory_and_cpu(), other_limits(), whole(), with_entries(), of_any_system()].concat()
}

#[test]
fn every_field_is_there() {
    let mut numbers: Vec<i32> = single().iter().map(|(field, _)| *field as i32).collect();
    // Hooks add up and have a test of their own.
    numbers.push(Field::OciHooks as i32);
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=Field::MemoryPolicy as i32).collect::<Vec<_>>());
}

#[test]
fn two_plugins_that_set_the_same_field_are_refused_by_both_names() {
    for (field, response) in single() {
        let mut creation = creation();
        creation.apply("10-a", &response).expect("the first");
        let refused = creation.apply("20-b", &response).expect_err("two set it");
        let text = refused.to_string();
        let expected = format!("plugins 10-a and 20-b both set {}", field.as_str_name());
        assert!(text.starts_with(&expected), "{text}");
    }
}

#[test]
fn what_one_plugin_wants_comes_out_as_it_went_in() {
    for (field, response) in single() {
        let mut creation = creation();
        creation.apply("10-a", &response).expect("no conflict");
        let (adjust, changes) = creation.finish();
        let mut wanted = response.adjust.expect("set");
        wanted.linux.get_or_insert_default();
        let mut adjust = adjust;
        adjust.linux.get_or_insert_default();
        assert_eq!(adjust, wanted, "{}", field.as_str_name());
        assert_eq!(changes, Changes::default());
    }
}

#[test]
fn all_fields_together_do_not_contradict_when_each_has_a_plugin_of_its_own() {
    let mut creation = creation();
    for (number, (_, response)) in single().iter().enumerate() {
        creation.apply(&format!("{number:02}-p"), response).expect("no conflict");
    }
}

#[test]
fn hooks_add_up() {
    let hook = |path: &str| Hook { path: path.into(), ..Hook::default() };
    let hooks = |hooks| adjust(ContainerAdjustment { hooks: Some(hooks), ..ContainerAdjustment::default() });
    let mut creation = creation();
    for (plugin, path) in [("10-a", "/a"), ("20-b", "/b")] {
        let all = Hooks {
            prestart: vec![hook(path)],
            create_runtime: vec![hook(path)],
            create_container: vec![hook(path)],
            start_container: vec![hook(path)],
            poststart: vec![hook(path)],
            poststop: vec![hook(path)],
        };
        creation.apply(plugin, &hooks(all)).expect("they add up");
    }
    let owners = creation.validation().owners.expect("owners");
    assert_eq!(owners.owners["c"].simple[&(Field::OciHooks as i32)], "10-a,20-b");
    let hooks = creation.finish().0.hooks.expect("hooks");
    for kind in [
        hooks.prestart,
        hooks.create_runtime,
        hooks.create_container,
        hooks.start_container,
        hooks.poststart,
        hooks.poststop,
    ] {
        assert_eq!(kind.iter().map(|hook| hook.path.as_str()).collect::<Vec<_>>(), ["/a", "/b"]);
    }
}

#[test]
fn the_next_plugin_sees_what_those_before_it_want() {
    let mut creation = creation();
    let wanted = ContainerAdjustment {
        annotations: [("-old".into(), String::new()), ("new".into(), "2".into())].into(),
        mounts: vec![mount("-/data", ""), mount("/new", "/s")],
        env: vec![variable("-HOME", ""), variable("PATH", "/usr/bin"), variable("NEW", "1")],
        args: vec!["true".into()],
        rlimits: vec![rlimit("RLIMIT_NOFILE", 5)],
        linux: Some(LinuxContainerAdjustment {
            devices: vec![device("-/dev/null"), device("/dev/zero")],
            sysctl: [("-net.core.somaxconn".into(), String::new())].into(),
            namespaces: vec![namespace("-network", ""), namespace("ipc", "/other")],
            resources: Some(LinuxResources {
                memory: Some(LinuxMemory {
                    limit: Some(OptionalInt64 { value: 7 }),
                    ..LinuxMemory::default()
                }),
                ..LinuxResources::default()
            }),
            ..LinuxContainerAdjustment::default()
        }),
        ..ContainerAdjustment::default()
    };
    creation.apply("10-a", &adjust(wanted)).expect("applied");
    let seen = creation.request().container.clone().expect("a container");
    assert_eq!(seen.annotations, [("new".into(), "2".into())].into());
    assert_eq!(seen.mounts, [mount("/new", "/s")]);
    assert_eq!(seen.env, ["PATH=/usr/bin", "NEW=1"]);
    assert_eq!(seen.args, ["true"]);
    assert_eq!(seen.rlimits, [rlimit("RLIMIT_NOFILE", 5)]);
    let linux = seen.linux.expect("linux");
    assert_eq!(linux.devices, [device("/dev/zero")]);
    assert!(linux.sysctl.is_empty());
    assert_eq!(linux.namespaces, [namespace("ipc", "/other")]);
    assert_eq!(linux.resources.expect("limits").memory.expect("memory").limit.expect("set").value, 7);
    // Who may refuse sees it as it was, and what is wanted.
    let validation = creation.validation();
    assert_eq!(validation.container.expect("a container").args, ["sleep"]);
    let adjust = validation.adjust.expect("wanted");
    assert!(adjust.env.contains(&variable("-HOME", "")) && adjust.mounts.contains(&mount("-/data", "")));
    assert!(adjust.annotations.contains_key("-old"));
    let linux = adjust.linux.expect("linux");
    assert!(
        linux.devices.contains(&device("-/dev/null")) && linux.sysctl.contains_key("-net.core.somaxconn")
    );
}

#[test]
fn a_removal_takes_anothers_away_and_lets_its_own_be_set() {
    let env = |env| adjust(ContainerAdjustment { env, ..ContainerAdjustment::default() });
    let mut creation = creation();
    creation.apply("10-a", &env(vec![variable("E", "a")])).expect("set");
    creation.apply("20-b", &env(vec![variable("-E", ""), variable("E", "b")])).expect("removed and set");
    let refused = creation.apply("30-c", &env(vec![variable("E", "c")])).expect_err("taken");
    assert!(refused.to_string().contains("20-b and 30-c"), "{refused}");
    creation.apply("40-d", &env(vec![variable("-E", "")])).expect("removed");
    assert!(matches!(
        creation.apply("50-e", &env(vec![variable("E", "e")])).expect_err("removed by another"),
        Refused::Conflict(conflict) if conflict.other == "40-d"
    ));
    assert_eq!(creation.finish().0.env, [variable("-E", "")]);
}

#[test]
fn arguments_are_replaced_by_an_empty_one_before_them() {
    let args = |args: &[&str]| {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        adjust(ContainerAdjustment { args, ..ContainerAdjustment::default() })
    };
    let mut creation = creation();
    creation.apply("10-a", &args(&["a"])).expect("set");
    creation.apply("20-b", &args(&["", "b", "c"])).expect("replaced");
    assert!(creation.apply("30-c", &args(&["c"])).is_err());
    assert_eq!(creation.finish().0.args, ["b", "c"]);
}

fn update(id: &str, limit: i64, ignore_failure: bool) -> ContainerUpdate {
    let memory = LinuxMemory { limit: Some(OptionalInt64 { value: limit }), ..LinuxMemory::default() };
    let resources = LinuxResources { memory: Some(memory), ..LinuxResources::default() };
    ContainerUpdate {
        container_id: id.into(),
        linux: Some(LinuxContainerUpdate { resources: Some(resources) }),
        ignore_failure,
    }
}

#[test]
fn updates_of_others_contradict_too_unless_they_may_fail() {
    let updates =
        |update| CreateContainerResponse { update: vec![update], ..CreateContainerResponse::default() };
    let mut creation = creation();
    creation.apply("10-a", &updates(update("other", 1, false))).expect("the first");
    creation.apply("20-b", &updates(update("another", 2, false))).expect("of another");
    creation.apply("30-c", &updates(update("other", 3, true))).expect("left out");
    assert!(creation.apply("40-d", &updates(update("other", 4, false))).is_err());
    assert!(matches!(creation.apply("50-e", &updates(update("c", 1, true))), Err(Refused::Unborn(_))));
    assert_eq!(creation.finish().1.updates, [update("other", 1, false), update("another", 2, false)]);
}

#[test]
fn a_container_is_evicted_once() {
    let evict = || CreateContainerResponse {
        evict: vec![ContainerEviction { container_id: "other".into(), reason: "room".into() }],
        ..CreateContainerResponse::default()
    };
    let mut creation = creation();
    creation.apply("10-a", &evict()).expect("asked");
    creation.apply("20-b", &evict()).expect("asked again");
    assert_eq!(creation.finish().1.evictions.len(), 1);
}

#[test]
fn an_update_on_its_way_is_seen_by_the_next_and_comes_out_whole() {
    use orlop_nri::changes::Updating;
    let cpu = LinuxCpu { shares: Some(OptionalUInt64 { value: 100 }), ..LinuxCpu::default() };
    let mut updating = Updating::new(UpdateContainerRequest {
        container: Some(Container { id: "c".into(), ..Container::default() }),
        linux_resources: Some(LinuxResources { cpu: Some(cpu.clone()), ..LinuxResources::default() }),
        ..UpdateContainerRequest::default()
    });
    let response = UpdateContainerResponse {
        update: vec![update("c", 5, false), update("d", 6, false)],
        evict: Vec::new(),
    };
    updating.apply("10-a", &response).expect("the first");
    let seen = updating.request().linux_resources.clone().expect("limits");
    assert_eq!((seen.cpu, seen.memory.expect("memory").limit), (Some(cpu), Some(OptionalInt64 { value: 5 })));
    assert!(updating.apply("20-b", &response).is_err());
    let (own, changes) = updating.finish();
    assert!(own.expect("other limits").cpu.is_some(), "what was asked for is in it");
    assert_eq!(changes.updates, [update("d", 6, false)]);
    let untouched = Updating::new(UpdateContainerRequest::default()).finish();
    assert_eq!(untouched, (None, Changes::default()));
}
