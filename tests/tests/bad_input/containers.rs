//! Containers that cannot be.

use orlop_proto::runtime::v1::*;
use orlop_tests::cri;
use orlop_tests::daemon::stage::{Stage, resources as limits, security as context};
use tonic::Code;

use crate::call::Call;
use crate::row::{Row, judge};

type Change = fn(&mut ContainerConfig);
type Bad = (&'static str, Change, &'static [&'static str]);

fn mount(container: &mut ContainerConfig) -> &mut Mount {
    let mount = Mount { container_path: "/data".into(), host_path: "/tmp".into(), ..Mount::default() };
    container.mounts.push(mount);
    container.mounts.last_mut().expect("it was put there")
}

fn device(container: &mut ContainerConfig) -> &mut Device {
    let (container_path, host_path) = ("/dev/x".into(), "/dev/null".into());
    container.devices.push(Device { container_path, host_path, permissions: "rw".into() });
    container.devices.last_mut().expect("it was put there")
}

fn env(container: &mut ContainerConfig, key: &str, value: &[u8]) {
    container.envs.push(KeyValue { key: key.into(), value: value.into() });
}

fn options(container: &mut ContainerConfig) -> &mut NamespaceOption {
    let silent = || NamespaceOption { pid: NamespaceMode::Container.into(), ..NamespaceOption::default() };
    context(container).namespace_options.get_or_insert_with(silent)
}

fn capabilities(container: &mut ContainerConfig) -> &mut Capability {
    context(container).capabilities.get_or_insert_default()
}

fn hugepages(container: &mut ContainerConfig, page_size: &str, limit: u64) {
    limits(container).hugepage_limits.push(HugepageLimit { page_size: page_size.into(), limit });
}

fn unified(container: &mut ContainerConfig, key: &str) {
    limits(container).unified.insert(key.into(), "1".into());
}

fn profile(number: i32, reference: &str) -> SecurityProfile {
    SecurityProfile { profile_type: number, localhost_ref: reference.into() }
}

fn image(container: &mut ContainerConfig, name: &str) {
    container.image = Some(ImageSpec { image: name.into(), ..ImageSpec::default() });
}

const PLAIN: &[Bad] = &[
    ("no metadata", |c| c.metadata = None, &["config.metadata"]),
    (
        "an empty name",
        |c| c.metadata.get_or_insert_default().name.clear(),
        &["config.metadata.name", "empty"],
    ),
    (
        "a name that climbs",
        |c| c.metadata.get_or_insert_default().name = "..".into(),
        &["config.metadata.name"],
    ),
    ("no image", |c| c.image = None, &["config.image"]),
    ("an image without a name", |c| image(c, ""), &["config.image.image"]),
    ("an image of two words", |c| image(c, "busy box"), &["config.image.image"]),
    ("an image in capitals", |c| image(c, "BusyBox:1"), &["config.image.image"]),
    ("a program without a name", |c| c.command = vec![String::new()], &["config.command", "empty"]),
    ("a NUL in an argument", |c| c.args = vec!["a".into(), "b\0c".into()], &["config.args[1]", "NUL"]),
    ("an argument of 128 KiB", |c| c.args = vec!["x".repeat(128 << 10)], &["config.args[0]", "at most"]),
    ("a relative directory", |c| c.working_dir = "srv".into(), &["config.working_dir", "\"srv\""]),
    ("a variable without a name", |c| env(c, "", b"x"), &["config.envs[0].key", "empty"]),
    ("a variable A=B", |c| env(c, "A=B", b"x"), &["config.envs[0].key", "A=B"]),
    ("a NUL in a variable", |c| env(c, "A", b"x\0"), &["config.envs[0].value", "NUL"]),
    (
        "2 MiB of variables",
        |c| (0..20).for_each(|_| env(c, "A", &[b'x'; 120_000])),
        &["config.envs", "2097152"],
    ),
    ("an absolute log path", |c| c.log_path = "/etc/cron.d/x".into(), &["config.log_path", "absolute"]),
    ("a log path that climbs out", |c| c.log_path = "a/../../x.log".into(), &["config.log_path", ".."]),
    ("a log path that is a directory", |c| c.log_path = "a/".into(), &["config.log_path", "directory"]),
    ("a label without a key", |c| c.labels = [(String::new(), String::new())].into(), &["config.labels"]),
    ("stop signal 99", |c| c.stop_signal = 99, &["config.stop_signal", "\"99\""]),
    ("mounted nowhere", |c| mount(c).container_path.clear(), &["config.mounts[0].container_path"]),
    (
        "mounted at a relative path",
        |c| mount(c).container_path = "data".into(),
        &["config.mounts[0].container_path", "\"data\""],
    ),
    (
        "mounted over the root",
        |c| mount(c).container_path = "/a/..".into(),
        &["config.mounts[0].container_path", "root"],
    ),
    (
        "a relative source",
        |c| mount(c).host_path = "data".into(),
        &["config.mounts[0].host_path", "absolute"],
    ),
    ("propagation 9", |c| mount(c).propagation = 9, &["config.mounts[0].propagation", "\"9\""]),
    (
        "recursively read-only, and writable",
        |c| mount(c).recursive_read_only = true,
        &["config.mounts[0].recursive_read_only"],
    ),
    ("a part of no image", |c| mount(c).image_sub_path = "etc".into(), &["config.mounts[0].image_sub_path"]),
    (
        "a device at a relative path",
        |c| device(c).container_path = "x".into(),
        &["config.devices[0].container_path"],
    ),
    (
        "a device that is not there",
        |c| device(c).host_path = "/dev/no-such".into(),
        &["config.devices[0].host_path", "/dev/no-such"],
    ),
    (
        "a device that is a file",
        |c| device(c).host_path = "/etc/passwd".into(),
        &["config.devices[0].host_path", "/etc/passwd"],
    ),
    (
        "a device to be executed",
        |c| device(c).permissions = "x".into(),
        &["config.devices[0].permissions", "r, w, m"],
    ),
];

const HANDLERS: &[Bad] = &[
    (
        "an image for another handler",
        |c| c.image.get_or_insert_default().runtime_handler = "kata".into(),
        &["config.image.runtime_handler", "kata"],
    ),
    (
        "a volume for another handler",
        |c| {
            let mount = mount(c);
            (mount.readonly, mount.host_path) = (true, String::new());
            let (image, runtime_handler) = ("busybox".into(), "kata".into());
            mount.image = Some(ImageSpec { image, runtime_handler, ..ImageSpec::default() });
        },
        &["config.mounts[0].image.runtime_handler", "kata"],
    ),
];

const LIMITS: &[Bad] = &[
    ("a period of 1 us", |c| limits(c).cpu_period = 1, &["config.linux.resources.cpu_period", "1000000"]),
    ("a quota of -2", |c| limits(c).cpu_quota = -2, &["config.linux.resources.cpu_quota", "\"-2\""]),
    (
        "more shares than there are",
        |c| limits(c).cpu_shares = i64::MAX,
        &["config.linux.resources.cpu_shares", "262144"],
    ),
    (
        "negative memory",
        |c| limits(c).memory_limit_in_bytes = -5,
        &["config.linux.resources.memory_limit_in_bytes"],
    ),
    (
        "less swap and memory than memory",
        |c| (limits(c).memory_limit_in_bytes, limits(c).memory_swap_limit_in_bytes) = (64 << 20, 1 << 20),
        &["config.linux.resources.memory_swap_limit_in_bytes"],
    ),
    (
        "a score of 1001",
        |c| limits(c).oom_score_adj = 1001,
        &["config.linux.resources.oom_score_adj", "1000"],
    ),
    (
        "CPUs that are no list",
        |c| limits(c).cpuset_cpus = "all".into(),
        &["config.linux.resources.cpuset_cpus", "0-3,7"],
    ),
    (
        "nodes backwards",
        |c| limits(c).cpuset_mems = "3-1".into(),
        &["config.linux.resources.cpuset_mems", "\"3-1\""],
    ),
    (
        "pages of 2M",
        |c| hugepages(c, "2M", 0),
        &["config.linux.resources.hugepage_limits[0].page_size", "2MB"],
    ),
    (
        "pages that climb",
        |c| hugepages(c, "../2MB", 0),
        &["config.linux.resources.hugepage_limits[0].page_size"],
    ),
    (
        "more pages than bytes",
        |c| hugepages(c, "2MB", u64::MAX),
        &["config.linux.resources.hugepage_limits[0].limit"],
    ),
    ("a file of the core", |c| unified(c, "cgroup.kill"), &["config.linux.resources.unified", "cgroup.kill"]),
    ("a file that climbs", |c| unified(c, "../memory.max"), &["config.linux.resources.unified"]),
];

const SECURITY: &[Bad] = &[
    ("privileged, its pod is not", |c| context(c).privileged = true, &["security_context.privileged"]),
    (
        "user -1",
        |c| context(c).run_as_user = Some(Int64Value { value: -1 }),
        &["security_context.run_as_user"],
    ),
    (
        "user 2^32-1",
        |c| context(c).run_as_user = Some(Int64Value { value: u32::MAX.into() }),
        &["security_context.run_as_user"],
    ),
    (
        "a group without a user",
        |c| context(c).run_as_group = Some(Int64Value { value: 1 }),
        &["security_context.run_as_group"],
    ),
    (
        "a user twice",
        |c| {
            context(c).run_as_user = Some(Int64Value { value: 1 });
            context(c).run_as_username = "nobody".into();
        },
        &["security_context.run_as_username"],
    ),
    (
        "a user that is not there",
        |c| context(c).run_as_username = "neptune".into(),
        &["security_context.run_as_username", "\"neptune\"", "/etc/passwd"],
    ),
    (
        "a user with a colon",
        |c| context(c).run_as_username = "root:x".into(),
        &["security_context.run_as_username"],
    ),
    (
        "group -7",
        |c| context(c).supplemental_groups = vec![1, -7],
        &["security_context.supplemental_groups[1]"],
    ),
    (
        "a capability to fly",
        |c| capabilities(c).add_capabilities = vec!["FLY".into()],
        &["capabilities.add_capabilities[0]", "FLY"],
    ),
    (
        "a relative masked path",
        |c| context(c).masked_paths = vec!["proc".into()],
        &["security_context.masked_paths[0]"],
    ),
    (
        "a relative read-only path",
        |c| context(c).readonly_paths = vec![String::new()],
        &["security_context.readonly_paths[0]"],
    ),
    (
        "a profile of kind -1",
        |c| context(c).seccomp = Some(profile(-1, "")),
        &["security_context.seccomp.profile_type"],
    ),
    (
        "a relative profile",
        |c| context(c).seccomp = Some(profile(2, "p.json")),
        &["security_context.seccomp.localhost_ref"],
    ),
    (
        "a profile that is not there",
        |c| context(c).seccomp = Some(profile(2, "/no/such.json")),
        &["security_context.seccomp.localhost_ref", "/no/such.json", "No such file"],
    ),
    (
        "a profile that is a device",
        |c| context(c).seccomp = Some(profile(2, "/dev/zero")),
        &["security_context.seccomp.localhost_ref", "regular file"],
    ),
    (
        "a profile that is a directory",
        |c| context(c).seccomp = Some(profile(2, "/etc")),
        &["security_context.seccomp.localhost_ref", "regular file"],
    ),
    ("the node's network", |c| options(c).network = 2, &["namespace_options.network", "NODE"]),
    ("network 9", |c| options(c).network = 9, &["namespace_options.network", "\"9\""]),
    ("the node's processes", |c| options(c).pid = 2, &["namespace_options.pid", "NODE"]),
    ("a target without an id", |c| options(c).pid = 3, &["namespace_options.target_id"]),
    (
        "a target that is not there",
        |c| (options(c).pid, options(c).target_id) = (3, "feedfeed".into()),
        &["namespace_options.target_id", "feedfeed"],
    ),
    (
        "a mount with groups of its own",
        |c| mount(c).gid_mappings = vec![IdMapping::default()],
        &["config.mounts[0].uidMappings", "exactly one mapping"],
    ),
    (
        "an idmapped mount",
        |c| mount(c).uid_mappings = vec![IdMapping::default()],
        &["config.mounts[0].uidMappings"],
    ),
    (
        "a user namespace",
        |c| {
            let ids = vec![IdMapping { host_id: 100_000, container_id: 0, length: 65536 }];
            options(c).userns_options = Some(UserNamespace { mode: 0, uids: ids.clone(), gids: ids });
        },
        &["userns_options", "its pod has no user namespace"],
    ),
];

const UNSUPPORTED: &[Bad] = &[
    ("a container of Windows", |c| c.windows = Some(WindowsContainerConfig::default()), &["config.windows"]),
    (
        "an SELinux label",
        |c| context(c).selinux_options.get_or_insert_default().level = "s0".into(),
        &["security_context.selinux_options"],
    ),
    #[expect(deprecated, reason = "older clients set it")]
    (
        "an AppArmor profile as older clients say it",
        |c| context(c).apparmor_profile = "localhost/strict".into(),
        &["security_context.apparmor_profile"],
    ),
    (
        "an AppArmor profile",
        |c| context(c).apparmor = Some(profile(2, "strict")),
        &["security_context.apparmor"],
    ),
];

fn create(stage: &Stage, pod: &str, config: Option<ContainerConfig>) -> Call {
    Call::Create(Box::new(CreateContainerRequest {
        pod_sandbox_id: pod.into(),
        config,
        sandbox_config: Some(stage.pod.clone()),
    }))
}

#[tokio::test]
async fn containers_that_cannot_be_are_refused() {
    let mut stage = Stage::new("badbox").await;
    let good = stage.script("bad", "true");
    let mut rows = vec![Row::new(
        "no configuration",
        create(&stage, &stage.pod_id, None),
        Code::InvalidArgument,
        &["config.metadata"],
    )];
    let invalid =
        [PLAIN, HANDLERS, LIMITS, SECURITY].into_iter().flatten().map(|row| (row, Code::InvalidArgument));
    for ((name, change, words), code) in
        invalid.chain(UNSUPPORTED.iter().map(|row| (row, Code::Unimplemented)))
    {
        let mut config = good.clone();
        change(&mut config);
        rows.push(Row::new(*name, create(&stage, &stage.pod_id, Some(config)), code, words));
    }
    judge(&stage.daemon, &mut stage.client, rows).await;
    stage.end().await;
}

/// Files of the node that are no profile, and what has to be said of them.
const PROFILES: &[(&str, &[u8], &str)] = &[
    ("empty.json", b"", ""),
    ("nonsense.json", b"{\"defaultAction\": ", ""),
    ("list.json", b"[]", ""),
    ("action.json", b"{\"defaultAction\": \"SCMP_ACT_SING\"}", "SCMP_ACT_SING"),
    ("silent.json", b"{\"syscalls\": []}", "defaultAction"),
    (
        "index.json",
        b"{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [\"read\"], \"action\": \"SCMP_ACT_ERRNO\",
           \"args\": [{\"index\": 9, \"value\": 1, \"op\": \"SCMP_CMP_EQ\"}]}]}",
        "index",
    ),
];

#[tokio::test]
async fn profiles_that_are_none_are_refused() {
    let mut stage = Stage::new("badseccomp").await;
    let place = stage.daemon.place();
    let with = |path: &str| {
        let mut config = stage.script("bad", "true");
        context(&mut config).seccomp = Some(profile(2, path));
        config
    };
    let mut rows = Vec::new();
    for (name, content, word) in PROFILES {
        let path = place.put(name, content).display().to_string();
        let call = create(&stage, &stage.pod_id, Some(with(&path)));
        rows.push(Row::new(
            *name,
            call,
            Code::InvalidArgument,
            &["config.linux.security_context.seccomp.localhost_ref", path.as_str(), word],
        ));
    }
    let path = place.put("large.json", vec![b' '; (1 << 20) + 1]).display().to_string();
    let call = create(&stage, &stage.pod_id, Some(with(&path)));
    rows.push(Row::new("large.json", call, Code::InvalidArgument, &["seccomp.localhost_ref", "1 MiB"]));
    let fifo = place.join("fifo.json");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo");
    let call = create(&stage, &stage.pod_id, Some(with(&fifo.display().to_string())));
    rows.push(Row::new("a FIFO", call, Code::InvalidArgument, &["seccomp.localhost_ref", "regular file"]));
    let unknown = b"{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [\"teleport\"], \"action\": \"SCMP_ACT_ERRNO\"}]}";
    let path = place.put("unknown.json", unknown).display().to_string();
    let future = with(&path);
    judge(&stage.daemon, &mut stage.client, rows).await;
    // A call that this kernel has not is nothing to it.
    let (status, _) = stage.to_end(&future).await;
    assert_eq!(status.exit_code, 0, "{}", status.message);
    stage.end().await;
}

#[tokio::test]
async fn a_container_needs_a_pod_that_is_ready() {
    let mut stage = Stage::new("badpod").await;
    let ended = stage.run("ended", "true").await;
    stage.client.ended(&ended).await;
    let other = cri::pod("other", &stage.daemon.logs("other"));
    let stopped = stage.client.run_pod(&other).await.expect("a pod");
    let script = stage.script("away", "sleep 100");
    let away = stage.client.create(&stopped, &other, &script).await.expect("a container");
    stage.client.start(&away).await.expect("it runs");
    let good = stage.script("bad", "true");
    let target = |id: &str| {
        let mut config = good.clone();
        (options(&mut config).pid, options(&mut config).target_id) = (3, id.into());
        create(&stage, &stage.pod_id, Some(config))
    };
    let field = "namespace_options.target_id";
    let rows = vec![
        Row::new("a target that has ended", target(&ended), Code::InvalidArgument, &[field, "ended"]),
        Row::new("a target in another pod", target(&away), Code::InvalidArgument, &[field, "another pod"]),
    ];
    judge(&stage.daemon, &mut stage.client, rows).await;

    stage.client.stop_pod(&stopped).await.expect("it is stopped");
    let into = |pod: &str| create(&stage, pod, Some(good.clone()));
    let rows = vec![
        Row::new("no pod", into(""), Code::InvalidArgument, &["pod_sandbox_id"]),
        Row::new("a pod that is not there", into("feedfeed"), Code::NotFound, &["pod", "feedfeed"]),
        Row::new(
            "a pod that is stopped",
            into(&stopped),
            Code::FailedPrecondition,
            &[&stopped[..12], "not ready"],
        ),
    ];
    judge(&stage.daemon, &mut stage.client, rows).await;
    stage.end().await;
}
