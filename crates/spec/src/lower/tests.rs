//! Specs, and the plans they become.

use oci_spec::runtime::{
    LinuxIOPriority, LinuxIdMapping, LinuxNamespace, LinuxNamespaceType, Mount, PosixRlimit,
    PosixRlimitBuilder, PosixRlimitType, Spec,
};
use orlop_model::container::{Mount as Asked, Propagation};
use orlop_model::pod::{PidMode, Seccomp};
use orlop_wire::code::Wire as _;
use orlop_wire::order;

use super::*;
use crate::scene::{Scene, mount, words};
use crate::selinux::Labels;
use crate::text;

mod random;

/// A change of a spec.
type Change = Box<dyn Fn(&mut Spec)>;

fn lowered(scene: &Scene, change: impl FnOnce(&mut Spec)) -> Result<Plan, Report> {
    let mut composed = scene.compose().expect("good");
    change(&mut composed.spec);
    let slots = scene.slots();
    lower(&composed.spec, &scene.lower_facts(&composed, &slots))
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.operations.iter().map(text::operation).collect()
}

fn line(plan: &Plan, start: &str) -> String {
    lines(plan).into_iter().find(|line| line.starts_with(start)).unwrap_or_default()
}

/// Compares with a file of the tests' directory.
fn golden(name: &str, found: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("ORLOP_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(&file, found).expect("the golden file takes it");
    }
    let expected = std::fs::read_to_string(&file).expect("a golden file");
    for (number, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "{name}, line {}; ORLOP_GOLDEN=write takes what is found", number + 1);
    }
    assert_eq!(found.lines().count(), expected.lines().count(), "{name}");
}

#[test]
fn a_plain_container() {
    golden("plain.plan", &text::plan(&Scene::new().plan().expect("good")));
}

#[test]
fn a_confined_web_server() {
    let mut scene = Scene::new();
    scene.identity = crate::accounts::Identity {
        uid: 1000,
        gid: 1000,
        groups: vec![1000, 2000],
        home: "/home/web".into(),
        username: "web".into(),
    };
    scene.pod.namespaces.pid = PidMode::Pod;
    let config = &mut scene.config;
    config.tty = true;
    config.working_dir = "/srv".into();
    config.command = words(&["/bin/httpd", "-f"]);
    config.mounts = vec![
        Asked { readonly: true, recursive_read_only: true, ..mount("/srv", "/volumes/srv") },
        Asked { propagation: Propagation::HostToContainer, ..mount("/srv/data", "/volumes/data") },
    ];
    let security = &mut config.security;
    security.no_new_privs = true;
    security.readonly_rootfs = true;
    security.seccomp = Seccomp::RuntimeDefault;
    security.drop_capabilities = words(&["ALL"]);
    security.add_capabilities = words(&["NET_BIND_SERVICE"]);
    let plan = scene.plan().expect("good");
    let is_filter = |operation: &&Operation| matches!(operation, Operation::Seccomp { .. });
    assert_eq!(plan.operations.iter().filter(is_filter).count(), 1);
    // The filter's length changes with its table; the golden file is about the rest.
    let shown = text::plan(&plan);
    let shown: Vec<&str> =
        shown.lines().map(|line| if line.contains(" seccomp ") { " .. seccomp" } else { line }).collect();
    golden("confined.plan", &(shown.join("\n") + "\n"));
}

#[test]
fn a_privileged_container_of_the_node() {
    let mut scene = Scene::new();
    let facts = &mut scene.facts;
    (facts.net, facts.ipc, facts.uts, facts.shm) = (None, None, None, None);
    scene.pod.namespaces.pid = PidMode::Node;
    scene.node.cgroups = CgroupLayout::V2("/sys/fs/cgroup".into());
    scene.config.security.privileged = true;
    scene.config.mounts = vec![Asked { propagation: Propagation::Bidirectional, ..mount("/dev", "/dev") }];
    golden("privileged.plan", &text::plan(&scene.plan().expect("good")));
}

#[test]
fn a_plan_travels_as_bytes() {
    let plan = Scene::new().plan().expect("good");
    assert_eq!(Plan::from_bytes(&plan.to_bytes()), Ok(plan));
}

#[test]
fn slots_stand_for_paths() {
    let mut scene = Scene::new();
    scene.pod.namespaces.pid = PidMode::Pod;
    let plan = scene.plan().expect("good");
    assert_eq!((plan.slots, plan.pid_slot), (5, Some(3)));
    assert_eq!(line(&plan, "bind slot"), "bind slot 4 at /dev/shm recursive set nosuid,nodev,noexec private");
    // A path that nobody opened.
    let composed = scene.compose().expect("good");
    let refused = lower(&composed.spec, &scene.lower_facts(&composed, &[])).expect_err("no slots");
    assert!(refused.to_string().contains("/run/netns/web"), "{refused}");
    assert_eq!(paths(composed.spec.linux().as_ref().expect("set")).len(), 4);
}

#[test]
fn a_filter_stands_where_it_can_be_set() {
    let order_of = |no_new_privs| {
        let mut scene = Scene::new();
        scene.config.security.seccomp = Seccomp::RuntimeDefault;
        scene.config.security.no_new_privs = no_new_privs;
        let plan = scene.plan().expect("good");
        let names: Vec<&str> = plan.operations.iter().map(Operation::name).collect();
        names[names.len() - 6..].to_vec()
    };
    assert_eq!(order_of(true), ["capabilities", "user", "capabilities", "no_new_privs", "seccomp", "exec"]);
    assert_eq!(order_of(false), ["umask", "capabilities", "seccomp", "user", "capabilities", "exec"]);
}

#[test]
fn version_1_cgroups_are_shown_by_namespace_or_bound() {
    let scene = Scene::new();
    let apart = scene.plan().expect("good");
    let shown: Vec<String> =
        lines(&apart).into_iter().filter(|line| line.contains("/sys/fs/cgroup")).collect();
    assert_eq!(
        shown,
        [
            "enter cgroup /sys/fs/cgroup/memory/kubepods/pod1/main/tasks",
            "mount tmpfs tmpfs at /sys/fs/cgroup nosuid,nodev,noexec mode=755",
            "mount cgroup cgroup at /sys/fs/cgroup/cpu,cpuacct ro,nosuid,nodev,noexec cpu cpuacct",
            "symlink /sys/fs/cgroup/cpu -> cpu,cpuacct",
            "symlink /sys/fs/cgroup/cpuacct -> cpu,cpuacct",
            "mount cgroup cgroup at /sys/fs/cgroup/memory ro,nosuid,nodev,noexec memory",
            "mount cgroup cgroup at /sys/fs/cgroup/systemd ro,nosuid,nodev,noexec name=systemd",
            "read-only /sys/fs/cgroup",
        ]
    );
    let mut scene = Scene::new();
    scene.node.cgroup_namespaces = false;
    let bound = scene.plan().expect("good");
    let expected = "bind /sys/fs/cgroup/memory/kubepods/pod1/main at /sys/fs/cgroup/memory set ro,nosuid,nodev,noexec private";
    assert_eq!(line(&bound, "bind /sys"), expected);
}

#[test]
fn what_a_spec_may_not_do_to_the_node_is_refused() {
    let scene = Scene::new();
    let host = |kind| {
        move |spec: &mut Spec| {
            let linux = spec.linux_mut().as_mut().expect("set");
            let left = linux.namespaces().iter().flatten().filter(|one| one.typ() != kind).cloned().collect();
            linux.set_namespaces(Some(left));
        }
    };
    let sysctl = |name: &str| {
        let pair = (name.to_owned(), "1".to_owned());
        move |spec: &mut Spec| {
            spec.linux_mut().as_mut().expect("set").set_sysctl(Some([pair].into()));
        }
    };
    assert!(lowered(&scene, |spec| sysctl("net.ipv4.ip_forward")(spec)).is_ok());
    let table: [(&str, Change); 6] = [
        ("mount namespace", Box::new(host(LinuxNamespaceType::Mount))),
        (
            "node's name",
            Box::new(move |spec| {
                host(LinuxNamespaceType::Uts)(spec);
                spec.set_hostname(Some("evil".into()));
            }),
        ),
        ("change the node", Box::new(move |spec| sysctl("kernel.panic")(spec))),
        ("no name", Box::new(move |spec| sysctl("net/../kernel/panic")(spec))),
        (
            "change the node",
            Box::new(move |spec| {
                host(LinuxNamespaceType::Network)(spec);
                sysctl("net.ipv4.ip_forward")(spec);
            }),
        ),
        (
            "twice",
            Box::new(|spec| {
                let list = spec.linux_mut().as_mut().expect("set").namespaces_mut();
                let first = list.as_ref().expect("set")[0].clone();
                list.as_mut().expect("set").push(first);
            }),
        ),
    ];
    for (word, change) in table {
        let refused = lowered(&scene, |spec| change(spec)).expect_err(word);
        assert!(refused.to_string().contains(word), "{word}: {refused}");
    }
}

#[test]
fn a_profile_is_said_while_proc_is_the_node_s() {
    let mut scene = Scene::new();
    for (profile, said) in [(None, 0), (Some("unconfined"), 0), (Some("orlop-default"), 1)] {
        scene.apparmor = profile.map(str::to_owned);
        let plan = scene.plan().expect("good");
        let at = |wanted: fn(&Operation) -> bool| plan.operations.iter().position(wanted);
        let attribute = at(|one| matches!(one, Operation::Attribute { .. }));
        assert_eq!(attribute.iter().len(), said, "{profile:?}");
        if let Some(attribute) = attribute {
            assert!(
                Some(attribute) < at(|one| matches!(one, Operation::Join { .. })),
                "{}",
                text::plan(&plan)
            );
            assert!(text::plan(&plan).contains("attribute apparmor/exec = exec orlop-default\n"));
        }
    }
    scene.apparmor = Some("a\0b".into());
    assert_eq!(scene.plan().expect_err("a NUL").stage, "process.apparmorProfile");
}

#[test]
fn contexts_are_of_the_process_of_what_is_mounted_and_of_no_kernel_s_own_files() {
    let mut scene = Scene::new();
    let (process, file) = ("u:r:container_t:s0:c1,c2", "u:r:container_file_t:s0:c1,c2");
    scene.labels = Some(Labels { process: Some(process.into()), file: file.into() });
    let plan = scene.plan().expect("good");
    let text = text::plan(&plan);
    let at = |line: &str| text.lines().position(|one| one.get(4..).is_some_and(|one| one.starts_with(line)));
    assert!(at(&format!("attribute exec = {process}")) < at("join"), "{text}");
    let context = at(&format!("mount context {file}"));
    assert!(context.is_some() && context < at("root overlay"), "{text}");
    for mounted in ["mount tmpfs tmpfs at /dev ", "mount devpts devpts"] {
        let line = text.lines().find(|line| line.contains(mounted)).expect("mounted");
        assert!(line.ends_with(&format!("context={file}")), "{line}");
    }
    for mounted in ["mount proc", "mount sysfs", "mount mqueue", "mount cgroup"] {
        let line = text.lines().find(|line| line.contains(mounted)).expect("mounted");
        assert!(!line.contains("context"), "{line}");
    }
    assert!(at("mount mqueue") < at(&format!("label /dev/mqueue {file}")), "{text}");
    // Of a privileged container the processes have none.
    scene.labels = Some(Labels { process: None, file: file.into() });
    assert!(!text::plan(&scene.plan().expect("good")).contains("attribute"));
}

#[test]
fn what_is_not_supported_is_refused_and_named() {
    let scene = Scene::new();
    let on_process =
        |change: fn(&mut Process)| move |spec: &mut Spec| change(spec.process_mut().as_mut().expect("set"));
    let on_linux =
        |change: fn(&mut Linux)| move |spec: &mut Spec| change(spec.linux_mut().as_mut().expect("set"));
    let table: [(&str, Change); 2] = [
        (
            "uidMappings",
            Box::new(on_linux(|linux| {
                let mut namespaces = linux.namespaces().clone().unwrap_or_default();
                namespaces.push(user());
                let maps = vec![LinuxIdMapping::default(); 2];
                linux.set_namespaces(Some(namespaces)).set_uid_mappings(Some(maps));
            })),
        ),
        (
            "ioPriority",
            Box::new(on_process(|process| {
                process.set_io_priority(Some(LinuxIOPriority::default()));
            })),
        ),
    ];
    for (word, change) in table {
        let refused = lowered(&scene, |spec| change(spec)).expect_err(word);
        assert_eq!(refused.kind, Kind::Unsupported, "{refused}");
        assert!(refused.to_string().contains(word), "{word}: {refused}");
    }
}

fn user() -> LinuxNamespace {
    let mut user = LinuxNamespace::default();
    user.set_typ(LinuxNamespaceType::User);
    user
}

fn limit(kind: PosixRlimitType, soft: u64, hard: u64) -> PosixRlimit {
    PosixRlimitBuilder::default().typ(kind).soft(soft).hard(hard).build().expect("all fields")
}

#[test]
fn limits_go_down_by_their_numbers() {
    let with = |limits: Vec<PosixRlimit>| {
        lowered(&Scene::new(), |spec| {
            spec.process_mut().as_mut().expect("set").set_rlimits(Some(limits));
        })
    };
    let plan = with(vec![limit(PosixRlimitType::RlimitNofile, 10, u64::MAX)]).expect("good");
    assert_eq!(line(&plan, "limit"), format!("limit 7 10 {}", u64::MAX));
    assert!(with(vec![limit(PosixRlimitType::RlimitNofile, 11, 10)]).is_err());
    assert!(with(vec![limit(PosixRlimitType::RlimitCore, 0, 0); 2]).is_err());
}

fn bind(options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination("/v".into())
        .set_typ(Some("bind".into()))
        .set_source(Some("/host".into()))
        .set_options(Some(words(options)));
    mount
}

#[test]
fn mounts_of_a_spec_become_what_their_options_say() {
    let with = |mount: Mount| {
        lowered(&Scene::new(), |spec| {
            let mut all = spec.mounts().clone().expect("set");
            all.push(mount);
            spec.set_mounts(Some(all));
        })
    };
    let shown = |mount: Mount| {
        let plan = with(mount).expect("good");
        lines(&plan).into_iter().find(|line| line.contains(" at /v")).expect("there")
    };
    let made = "(source made if missing)";
    assert_eq!(shown(bind(&["bind"])), format!("bind /host at /v slave {made}"));
    assert_eq!(
        shown(bind(&["rbind", "rro", "private"])),
        format!("bind /host at /v recursive set all ro private {made}")
    );
    let overlay = |options: &[&str]| {
        let mut overlay = bind(options);
        overlay.set_typ(Some("overlay".into())).set_source(Some("overlay".into()));
        overlay
    };
    let odd = overlay(&["nodev", "lowerdir=/l/a\\:b\\\\c:/l/2"]);
    assert_eq!(shown(odd), r"image of /l/a:b\\c:/l/2 at /v ro,nodev");
    let with_upper = overlay(&["lowerdir=/l", "upperdir=/u", "workdir=/w"]);
    assert_eq!(shown(with_upper), "mount overlay overlay at /v - lowerdir=/l upperdir=/u workdir=/w");
    for options in
        [&["lowerdir=/l"][..], &[], &["lowerdir=/a:/b", "index=on"], &["noatime", "lowerdir=/a:/b"]]
    {
        assert!(with(overlay(options)).is_err(), "{options:?}");
    }
    let mut tmpfs = bind(&["ro", "nosuid", "size=1m"]);
    tmpfs.set_typ(Some("tmpfs".into())).set_source(None);
    assert_eq!(shown(tmpfs.clone()), "mount tmpfs tmpfs at /v nosuid size=1m");
    let plan = with(tmpfs).expect("good");
    assert!(lines(&plan).contains(&"read-only /v".to_owned()), "frozen once all is mounted");
    for (word, bad) in [
        ("nosiud", bind(&["bind", "nosiud"])),
        ("unbindable", bind(&["bind", "runbindable"])),
        ("absolute", {
            let mut mount = bind(&["bind"]);
            mount.set_source(Some("host".into()));
            mount
        }),
        ("not the root", {
            let mut mount = bind(&["bind"]);
            mount.set_destination("/v/..".into());
            mount
        }),
        ("neither a type", {
            let mut mount = bind(&[]);
            mount.set_typ(None);
            mount
        }),
    ] {
        let refused = with(bad).expect_err(word);
        assert!(refused.to_string().contains(word), "{word}: {refused}");
    }
}

#[test]
fn a_program_is_looked_for_where_path_says() {
    let environment = |path: &str| vec![CString::new(path).expect("no NUL")];
    let found = |program, path| candidates(program, &environment(path)).expect("good");
    assert_eq!(found("sh", "PATH=/bin:rel::/usr/bin/"), [c"/bin/sh".to_owned(), c"/usr/bin/sh".to_owned()]);
    assert_eq!(found("./sh", "PATH=/bin"), [c"./sh".to_owned()]);
    assert_eq!(found("sh", "A=b").len(), 6);
    assert!(candidates("sh", &environment("PATH=rel")).is_err());
}

#[test]
fn raw_values_take_their_place_unless_somebody_changed_them() {
    let mut scene = Scene::new();
    scene.config.envs = vec![("RAW".into(), vec![b'a', 0xff])];
    let environment = |plan: &Plan| match plan.operations.last() {
        Some(Operation::Execute { environment, .. }) => environment.clone(),
        _ => Vec::new(),
    };
    let raw = CString::new(b"RAW=a\xff".to_vec()).expect("no NUL");
    assert!(environment(&scene.plan().expect("good")).contains(&raw));
    let changed = lowered(&scene, |spec| {
        spec.process_mut().as_mut().expect("set").set_env(Some(words(&["RAW=hook"])));
    });
    assert_eq!(environment(&changed.expect("good")), [c"RAW=hook".to_owned()]);
}

#[test]
fn an_exec_joins_and_becomes_what_the_container_is() {
    let mut scene = Scene::new();
    scene.config.security.seccomp = Seccomp::RuntimeDefault;
    let composed = scene.compose().expect("good");
    let linux = composed.spec.linux().clone().expect("set");
    let mut process = composed.spec.process().clone().expect("set");
    process.set_args(Some(words(&["true"])));
    let facts = ExecFacts {
        enter: &[c"/sys/fs/cgroup/memory/x/tasks".into()],
        kinds: kinds(&linux),
        seccomp: linux.seccomp().as_ref(),
        raw_environment: &[],
        filters: &scene.filters,
        user: None,
    };
    let all = exec(&process, &facts).expect("good");
    assert_eq!(order::check(&all), Ok(()));
    let shown: Vec<String> = all.iter().map(text::operation).collect();
    assert_eq!(
        shown[..4],
        [
            "session",
            "oom_score_adj 0",
            "enter cgroup /sys/fs/cgroup/memory/x/tasks",
            "join the container's mount,cgroup,uts,ipc,pid,net",
        ]
    );
    assert!(shown.iter().any(|line| line == "cd /"), "{shown:?}");
    assert!(
        shown.last().is_some_and(|line| line.starts_with("exec /bin/true or /usr/bin/true arguments true "))
    );
    process.set_terminal(Some(true));
    let all = exec(&process, &facts).expect("good");
    assert!(all.contains(&Operation::Terminal { console: false, rows: 0, columns: 0 }));
}
