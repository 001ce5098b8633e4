//! Requests, images and pods, and the specs they become.

use oci_spec::runtime::{LinuxNamespaceType, Process, Spec};
use orlop_model::container::{PidNamespace, User};
use orlop_model::report::Kind;

use super::*;
use crate::capability;
use crate::input::{DeviceKind, DeviceNode, Granted};
use crate::scene::{Scene, words};

mod mounts;

fn spec(scene: &Scene) -> Spec {
    scene.compose().expect("good").spec
}

fn process(scene: &Scene) -> Process {
    spec(scene).process().clone().expect("there is one")
}

fn linux(scene: &Scene) -> Linux {
    spec(scene).linux().clone().expect("there is one")
}

/// The field that a changed scene is refused for.
fn refused(change: impl FnOnce(&mut Scene)) -> String {
    let mut scene = Scene::new();
    change(&mut scene);
    let report = scene.compose().expect_err("refused");
    assert_eq!(report.kind, Kind::BadRequest, "{report}");
    report.stage
}

#[test]
fn command_and_arguments_are_put_together_as_kubernetes_does() {
    // Image's entrypoint and command, request's command and args, what runs.
    type Words<'a> = &'a [&'a str];
    let table: [(Words<'_>, Words<'_>, Words<'_>, Words<'_>, Words<'_>); 9] = [
        (&["/ep"], &["c"], &[], &[], &["/ep", "c"]),
        (&["/ep"], &["c"], &[], &["a"], &["/ep", "a"]),
        (&["/ep"], &["c"], &["x"], &[], &["x"]),
        (&["/ep"], &["c"], &["x"], &["a"], &["x", "a"]),
        (&[], &["c"], &[], &[], &["c"]),
        (&[], &["c"], &[], &["a"], &["a"]),
        (&["/ep"], &[], &[], &[], &["/ep"]),
        (&[], &[], &["x"], &[], &["x"]),
        (&[], &[], &[], &["a", ""], &["a", ""]),
    ];
    for (entrypoint, cmd, command, args, expected) in table {
        let mut scene = Scene::new();
        let some = |list: &[&str]| Some(words(list)).filter(|list| !list.is_empty());
        scene.image.set_entrypoint(some(entrypoint)).set_cmd(some(cmd));
        (scene.config.command, scene.config.args) = (words(command), words(args));
        assert_eq!(process(&scene).args().as_deref(), Some(words(expected).as_slice()));
    }
}

#[test]
fn a_container_without_a_program_is_refused() {
    let bare = |scene: &mut Scene| {
        scene.image.set_cmd(None);
    };
    assert_eq!(refused(bare), "config.command");
    assert_eq!(
        refused(|scene| {
            scene.image.set_cmd(Some(vec![]));
        }),
        "config.command"
    );
    assert_eq!(refused(|scene| scene.config.command = words(&[""])), "config.command");
    assert_eq!(refused(|scene| scene.config.command = words(&["sh", "a\0b"])), "config.command");
    let mut scene = Scene::new();
    scene.image.set_cmd(None);
    let input = Input { image: None, ..scene.input() };
    assert!(container(&input).is_err(), "an image without a configuration names no program");
}

#[test]
fn later_values_of_the_environment_win_where_the_name_stands() {
    let mut scene = Scene::new();
    scene.image.set_env(Some(words(&["A=image", "B=image", "HOSTNAME=image", "junk", "=x", "E="])));
    let value = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    scene.config.envs = vec![value("B", "asked"), value("C", "1=2"), value("C", "last")];
    let composed = scene.compose().expect("good");
    let environment =
        composed.spec.process().as_ref().and_then(|process| process.env().clone()).expect("set");
    let path = format!("PATH={}", process::DEFAULT_PATH);
    assert_eq!(environment, [&path, "A=image", "B=asked", "HOSTNAME=web", "E=", "C=last", "HOME=/root"]);
    assert_eq!(composed.warnings.len(), 2, "{:?}", composed.warnings);
}

#[test]
fn what_is_known_is_not_said_twice() {
    let mut scene = Scene::new();
    scene.config.tty = true;
    scene.config.envs = vec![("HOME".into(), b"/h".to_vec()), ("HOSTNAME".into(), b"mine".to_vec())];
    let environment = process(&scene).env().clone().expect("set");
    assert_eq!(environment, ["PATH=/bin:/usr/bin", "TERM=xterm", "HOSTNAME=mine", "HOME=/h"]);
}

#[test]
fn values_that_are_no_text_travel_beside_the_spec() {
    let mut scene = Scene::new();
    scene.config.envs = vec![("RAW".into(), vec![b'a', 0xff]), ("TEXT".into(), b"t".to_vec())];
    let composed = scene.compose().expect("good");
    assert_eq!(composed.raw_environment, [("RAW".to_owned(), vec![b'a', 0xff])]);
}

#[test]
fn names_and_values_that_no_environment_holds_are_refused() {
    for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0y")] {
        let entry = (name.to_owned(), value.as_bytes().to_vec());
        assert_eq!(refused(|scene| scene.config.envs = vec![entry]), "config.envs");
    }
}

#[test]
fn the_working_directory_is_absolute_or_refused() {
    let table =
        [("", None, "/"), ("", Some("/srv"), "/srv"), ("", Some("srv"), "/srv"), ("/w", Some("/srv"), "/w")];
    for (asked, image, expected) in table {
        let mut scene = Scene::new();
        scene.image.set_working_dir(image.map(str::to_owned));
        scene.config.working_dir = asked.into();
        assert_eq!(process(&scene).cwd(), Path::new(expected));
    }
    assert_eq!(refused(|scene| scene.config.working_dir = "srv".into()), "config.working_dir");
}

#[test]
fn capabilities_are_added_dropped_and_never_more_than_the_nodes() {
    let bits =
        |names: &[&str]| names.iter().fold(0, |mask, name| mask | capability::bit(name).expect("known"));
    let default = capability::DEFAULT;
    let all = capability::EVERY;
    let node = all & !bits(&["SYS_MODULE"]);
    let table: [(&[&str], &[&str], u64); 9] = [
        (&[], &[], default),
        (&["NET_ADMIN"], &[], default | bits(&["NET_ADMIN"])),
        (&["cap_net_admin"], &["CHOWN"], default & !bits(&["CHOWN"]) | bits(&["NET_ADMIN"])),
        (&[], &["ALL"], 0),
        (&["NET_BIND_SERVICE"], &["ALL"], bits(&["NET_BIND_SERVICE"])),
        (&["ALL"], &[], node),
        (&["all"], &["SYS_ADMIN"], node & !bits(&["SYS_ADMIN"])),
        (&["ALL"], &["ALL"], 0),
        (&["SYS_MODULE"], &["ALL"], 0),
    ];
    for (add, drop, expected) in table {
        let mut scene = Scene::new();
        scene.node.capabilities = node;
        (scene.config.security.add_capabilities, scene.config.security.drop_capabilities) =
            (words(add), words(drop));
        let composed = scene.compose().expect("good");
        let sets =
            composed.spec.process().as_ref().and_then(|process| process.capabilities().clone()).expect("set");
        for set in [sets.bounding(), sets.effective(), sets.permitted()] {
            assert_eq!(set.as_ref().map(capability::mask), Some(expected), "add {add:?} drop {drop:?}");
        }
        assert_eq!(sets.inheritable().as_ref().map(capability::mask), Some(0));
        assert_eq!(sets.ambient().as_ref().map(capability::mask), Some(0));
        assert_eq!(composed.warnings.is_empty(), add != ["SYS_MODULE"], "{:?}", composed.warnings);
    }
    for (field, change) in
        [("add", "add_capabilities"), ("drop", "drop_capabilities"), ("ambient", "add_ambient_capabilities")]
    {
        let stage = refused(|scene| {
            let security = &mut scene.config.security;
            let list = match field {
                "add" => &mut security.add_capabilities,
                "drop" => &mut security.drop_capabilities,
                _ => &mut security.ambient_capabilities,
            };
            *list = words(&["FLY"]);
        });
        assert_eq!(stage, format!("config.linux.security_context.capabilities.{change}"));
    }
}

#[test]
fn ambient_capabilities_are_in_all_sets() {
    let mut scene = Scene::new();
    scene.config.security.drop_capabilities = words(&["ALL"]);
    scene.config.security.ambient_capabilities = words(&["NET_ADMIN"]);
    let sets = process(&scene).capabilities().clone().expect("set");
    let one = capability::bit("NET_ADMIN");
    for set in [sets.bounding(), sets.effective(), sets.permitted(), sets.inheritable(), sets.ambient()] {
        assert_eq!(set.as_ref().map(capability::mask), one);
    }
}

#[test]
fn privileged_lifts_what_confines() {
    let mut scene = Scene::new();
    let security = &mut scene.config.security;
    security.privileged = true;
    security.seccomp = Seccomp::RuntimeDefault;
    security.drop_capabilities = words(&["ALL"]);
    scene.node.capabilities = capability::EVERY & !1;
    let (kvm, console) = ("/dev/kvm", "/dev/console");
    scene.node.devices = [kvm, console].map(|path| node(path, 10, 232)).to_vec();
    let (linux, process) = (linux(&scene), process(&scene));
    assert_eq!(linux.seccomp(), &None);
    assert_eq!((linux.masked_paths(), linux.readonly_paths()), (&Some(vec![]), &Some(vec![])));
    let bounding = process.capabilities().as_ref().and_then(|sets| sets.bounding().clone()).expect("set");
    assert_eq!(capability::mask(&bounding), scene.node.capabilities);
    let devices = linux.devices().clone().expect("set");
    assert_eq!(devices.iter().map(|device| device.path().clone()).collect::<Vec<_>>(), [PathBuf::from(kvm)]);
    let rules = linux.resources().as_ref().and_then(|resources| resources.devices().clone()).expect("set");
    assert_eq!(rules.len(), 1);
    assert!(rules[0].allow());
    let options = |path: &str| mounts::options_of(&scene, path);
    assert!(
        options("/sys").contains(&"rw".to_owned()) && options("/sys/fs/cgroup").contains(&"rw".to_owned())
    );
    let stage = refused(|scene| {
        scene.pod.privileged = false;
        scene.config.security.privileged = true;
    });
    assert_eq!(stage, "config.linux.security_context.privileged");
}

fn node(path: &str, major: u32, minor: u32) -> DeviceNode {
    let kind = DeviceKind::Character;
    DeviceNode { path: path.into(), kind, major, minor, mode: 0o20660, uid: 0, gid: 107 }
}

#[test]
fn a_granted_device_has_a_node_and_a_rule() {
    let mut scene = Scene::new();
    let granted = |to: &str, permissions: &str| Granted {
        node: node("/dev/kvm", 10, 232),
        container_path: to.into(),
        permissions: permissions.into(),
    };
    scene.devices = vec![granted("/dev/kvm", "rw")];
    let linux = linux(&scene);
    let device = linux.devices().as_ref().and_then(|devices| devices.first().cloned()).expect("one");
    assert_eq!(
        (device.major(), device.minor(), device.file_mode(), device.gid()),
        (10, 232, Some(0o660), Some(107))
    );
    let rules = linux.resources().as_ref().and_then(|resources| resources.devices().clone()).expect("set");
    assert!(!rules[0].allow(), "nothing is allowed but what follows");
    let last = rules.last().expect("one");
    assert_eq!((last.allow(), last.major(), last.access().as_deref()), (true, Some(10), Some("rw")));
    for bad in ["", "rwx", "all"] {
        assert_eq!(
            refused(|scene| scene.devices = vec![granted("/dev/kvm", bad)]),
            "config.devices.permissions"
        );
    }
    assert_eq!(refused(|scene| scene.devices = vec![granted("kvm", "r")]), "config.devices.container_path");
}

fn namespace_list(scene: &Scene) -> Vec<(LinuxNamespaceType, Option<PathBuf>)> {
    let list = linux(scene).namespaces().clone().expect("set");
    list.iter().map(|one| (one.typ(), one.path().clone())).collect()
}

#[test]
fn namespaces_are_the_pods_its_own_or_not_listed() {
    let scene = Scene::new();
    let run = |name: &str| Some(PathBuf::from(format!("/run/orlop/pods/web/{name}")));
    let all = [
        (LinuxNamespaceType::Mount, None),
        (LinuxNamespaceType::Network, Some(PathBuf::from("/run/netns/web"))),
        (LinuxNamespaceType::Ipc, run("ipc")),
        (LinuxNamespaceType::Uts, run("uts")),
        (LinuxNamespaceType::Pid, None),
        (LinuxNamespaceType::Cgroup, None),
    ];
    assert_eq!(namespace_list(&scene), all);
    let mut host = Scene::new();
    (host.facts.net, host.facts.ipc, host.facts.uts, host.facts.shm) = (None, None, None, None);
    host.pod.namespaces.pid = PidMode::Node;
    let kinds: Vec<_> = namespace_list(&host).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [LinuxNamespaceType::Mount, LinuxNamespaceType::Cgroup]);
    let mounts = spec(&host).mounts().clone().expect("set");
    let shm = mounts.iter().find(|mount| mount.destination() == Path::new("/dev/shm")).expect("there");
    assert_eq!(shm.source().as_deref(), Some(Path::new("/dev/shm")));
}

#[test]
fn a_pid_namespace_is_new_the_pods_the_nodes_or_anothers() {
    let target = Some(PathBuf::from("/proc/7/ns/pid"));
    let table = [
        (PidNamespace::Pod, PidMode::Container, Some(None)),
        (PidNamespace::Container, PidMode::Pod, Some(None)),
        (PidNamespace::Pod, PidMode::Pod, Some(Some(PathBuf::from("/run/orlop/pods/web/pid")))),
        (PidNamespace::Pod, PidMode::Node, None),
        (PidNamespace::Node, PidMode::Node, None),
        (PidNamespace::Target("cd".into()), PidMode::Container, Some(target.clone())),
    ];
    for (asked, pod, expected) in table {
        let mut scene = Scene::new();
        scene.target.clone_from(&target);
        scene.config.security.pid = asked.clone();
        scene.pod.namespaces.pid = pod;
        let found = namespace_list(&scene).into_iter().find(|(kind, _)| *kind == LinuxNamespaceType::Pid);
        assert_eq!(found.map(|(_, path)| path), expected, "{asked:?} in {pod:?}");
    }
}

#[test]
fn a_privileged_container_sees_the_whole_unified_tree_and_others_their_part() {
    let has = |privileged, layout| {
        let mut scene = Scene::new();
        scene.config.security.privileged = privileged;
        scene.node.cgroups = layout;
        namespace_list(&scene).iter().any(|(kind, _)| *kind == LinuxNamespaceType::Cgroup)
    };
    assert!(has(false, CgroupLayout::V2("/sys/fs/cgroup".into())));
    assert!(!has(true, CgroupLayout::V2("/sys/fs/cgroup".into())));
    assert!(has(true, CgroupLayout::V1(vec![])));
}

#[test]
fn seccomp_is_what_was_asked_for() {
    let with = |seccomp: Seccomp, profile: Option<&str>| {
        let mut scene = Scene::new();
        scene.config.security.seccomp = seccomp;
        scene.profile = profile.map(|text| text.as_bytes().to_vec());
        scene
            .compose()
            .map(|composed| composed.spec.linux().as_ref().and_then(|linux| linux.seccomp().clone()))
    };
    assert_eq!(with(Seccomp::Unconfined, None), Ok(None));
    let default = with(Seccomp::RuntimeDefault, None).expect("good").expect("a filter");
    assert_eq!(default, default::profile(capability::DEFAULT, Arch::NATIVE));
    let own = with(Seccomp::RuntimeDefault, Some(r#"{"defaultAction":"SCMP_ACT_LOG"}"#))
        .expect("good")
        .expect("a filter");
    assert_ne!(own, default, "the node's own default replaces ours");
    let localhost = || Seccomp::Localhost("/p.json".into());
    assert!(with(localhost(), Some(r#"{"defaultAction":"SCMP_ACT_LOG"}"#)).expect("good").is_some());
    let missing = with(localhost(), None).expect_err("no content");
    assert_eq!(missing.stage, "config.linux.security_context.seccomp.localhost_ref");
    assert!(with(localhost(), Some("{}")).expect_err("bad").to_string().contains("/p.json"));
}

#[test]
fn oom_score_adj_is_clamped_to_what_the_node_may_set() {
    let with = |score, floor| {
        let mut scene = Scene::new();
        scene.config.resources.oom_score_adj = score;
        scene.node.oom_floor = floor;
        let composed = scene.compose().expect("good");
        let set = composed.spec.process().as_ref().and_then(Process::oom_score_adj);
        (set, composed.warnings.len())
    };
    assert_eq!(with(-997, -1000), (Some(-997), 0));
    assert_eq!(with(-997, 0), (Some(0), 1));
    assert_eq!(with(1000, 0), (Some(1000), 0));
    assert_eq!(
        refused(|scene| scene.config.resources.oom_score_adj = 1001),
        "config.linux.resources.oom_score_adj"
    );
}

#[test]
fn limits_are_in_the_spec_where_something_was_asked() {
    let mut scene = Scene::new();
    scene.identity.uid = 1000;
    scene.config.security.user = User::Id(1000);
    let resources = linux(&scene).resources().clone().expect("set");
    assert_eq!((resources.memory(), resources.cpu(), resources.hugepage_limits()), (&None, &None, &None));
    let asked = &mut scene.config.resources;
    (asked.memory_limit, asked.cpu_quota, asked.cpu_shares) = (1 << 26, -1, 512);
    asked.hugepages = vec![("2MB".into(), 4096)];
    let resources = linux(&scene).resources().clone().expect("set");
    assert_eq!(resources.memory().as_ref().and_then(oci_spec::runtime::LinuxMemory::limit), Some(1 << 26));
    let cpu = resources.cpu().clone().expect("set");
    assert_eq!((cpu.quota(), cpu.shares(), cpu.period()), (Some(-1), Some(512), None));
    assert_eq!(resources.hugepage_limits().as_ref().map(Vec::len), Some(1));
}
