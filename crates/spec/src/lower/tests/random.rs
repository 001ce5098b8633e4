//! Random requests, composed and lowered: whatever is asked, a plan that comes out stands in an order that works.
//!
//! *Invariant:* the same numbers every time: a failure names its seed.

use std::collections::HashSet;

use orlop_model::container::{Mount, PidNamespace, Propagation};
use orlop_model::pod::{PidMode, Seccomp};
use orlop_wire::order;
use orlop_wire::plan::{Operation, Plan};

use crate::input::{CgroupLayout, DeviceKind, DeviceNode, Granted};
use crate::scene::{Scene, mount, words};

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn flip(&mut self) -> bool {
        self.next() >> 20 & 1 == 1
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let at = usize::try_from(self.next() >> 8).expect("64 bits") % from.len();
        from[at].clone()
    }

    fn some<T: Clone>(&mut self, from: &[T], most: usize) -> Vec<T> {
        let count = self.next() % (most as u64 + 1);
        (0..count).map(|_| self.pick(from)).collect()
    }
}

const PLACES: [&str; 14] = [
    "/a",
    "/a/b",
    "/a/b/c",
    "/dev",
    "/dev/shm",
    "/dev/null",
    "/dev/pts",
    "/etc",
    "/etc/hosts",
    "/proc",
    "/sys",
    "/sys/fs/cgroup",
    "/x/../y",
    "//z",
];

fn random_mount(random: &mut Random) -> Mount {
    let propagation =
        random.pick(&[Propagation::Private, Propagation::HostToContainer, Propagation::Bidirectional]);
    let readonly = random.flip();
    let recursive_read_only = readonly && propagation == Propagation::Private && random.flip();
    Mount {
        readonly,
        recursive_read_only,
        propagation,
        ..mount(random.pick(&PLACES), random.pick(&["/h", "/h/i", "/dev"]))
    }
}

fn granted(random: &mut Random) -> Granted {
    let kind = random.pick(&[DeviceKind::Character, DeviceKind::Block, DeviceKind::Fifo]);
    let node = DeviceNode { path: "/dev/d".into(), kind, major: 10, minor: 7, mode: 0o660, uid: 0, gid: 6 };
    let container_path = random.pick(&["/dev/d", "/dev/null", "/dev/sub/d", "/dev/ptmx"]).into();
    Granted { node, container_path, permissions: random.pick(&["r", "rw", "rwm"]).into() }
}

fn scene(random: &mut Random) -> Scene {
    let mut scene = Scene::new();
    for path in [&mut scene.facts.net, &mut scene.facts.ipc, &mut scene.facts.uts, &mut scene.facts.shm] {
        if random.flip() {
            *path = None;
        }
    }
    scene.target = Some("/proc/7/ns/pid".into());
    scene.pod.namespaces.pid = random.pick(&[PidMode::Pod, PidMode::Container, PidMode::Node]);
    let layout = scene.node.cgroups.clone();
    scene.node.cgroups =
        random.pick(&[CgroupLayout::Nowhere, layout, CgroupLayout::V2("/sys/fs/cgroup".into())]);
    scene.node.cgroup_namespaces = random.flip();
    (scene.identity.uid, scene.identity.gid) = (random.pick(&[0, 1000]), random.pick(&[0, 5]));
    scene.devices = (0..random.next() % 3).map(|_| granted(random)).collect();
    let config = &mut scene.config;
    config.tty = random.flip();
    config.working_dir = random.pick(&["", "/srv", "/"]).into();
    config.mounts = (0..random.next() % 6).map(|_| random_mount(random)).collect();
    let security = &mut config.security;
    security.privileged = random.next().is_multiple_of(5);
    security.pid = random.pick(&[
        PidNamespace::Pod,
        PidNamespace::Container,
        PidNamespace::Node,
        PidNamespace::Target("cd".into()),
    ]);
    security.readonly_rootfs = random.flip();
    security.no_new_privs = random.flip();
    security.add_capabilities = words(&random.some(&["NET_ADMIN", "SYS_ADMIN", "ALL"], 2));
    security.drop_capabilities = words(&random.some(&["CHOWN", "ALL", "MKNOD"], 2));
    security.ambient_capabilities = words(&random.some(&["NET_RAW", "SYS_NICE"], 1));
    security.masked_paths = words(&random.some(&["/proc/kcore", "/sys/firmware", "/proc/keys"], 3));
    security.readonly_paths = words(&random.some(&["/proc/sys", "/proc/bus"], 2));
    security.seccomp = random.pick(&[Seccomp::Unconfined, Seccomp::RuntimeDefault]);
    scene
}

fn position(plan: &Plan, wanted: impl Fn(&Operation) -> bool) -> Option<usize> {
    plan.operations.iter().position(wanted)
}

/// What must hold of any plan, beyond the order.
fn holds(scene: &Scene, plan: &Plan) {
    let security = &scene.config.security;
    let filtered = security.seccomp == Seccomp::RuntimeDefault && !security.privileged;
    assert_eq!(position(plan, |one| matches!(one, Operation::Seccomp { .. })).is_some(), filtered);
    assert_eq!(
        position(plan, |one| matches!(one, Operation::FreezeRoot)).is_some(),
        security.readonly_rootfs
    );
    let gains = position(plan, |one| matches!(one, Operation::NoNewPrivileges)).is_none();
    assert_eq!(gains, !security.no_new_privs || security.privileged);
    let masks = plan.operations.iter().filter(|one| matches!(one, Operation::Mask { .. })).count();
    assert_eq!(masks, if security.privileged { 0 } else { security.masked_paths.len() });
    // No two mounts at one place, and none before its parent.
    let targets: Vec<&[u8]> = plan
        .operations
        .iter()
        .filter_map(|one| match one {
            Operation::Mount { target, .. }
            | Operation::Bind { target, .. }
            | Operation::BindSlot { target, .. } => Some(target.to_bytes()),
            _ => None,
        })
        .collect();
    assert_eq!(targets.iter().collect::<HashSet<_>>().len(), targets.len(), "{targets:?}");
    for (at, target) in targets.iter().enumerate() {
        let parent = |later: &&[u8]| target.starts_with(later) && target.get(later.len()) == Some(&b'/');
        assert!(!targets[at..].iter().any(parent), "{:?}", String::from_utf8_lossy(target));
    }
    // Every slot that is named is at hand.
    for one in &plan.operations {
        if let Operation::Join { slot, .. } | Operation::BindSlot { slot, .. } = one {
            assert!(*slot < plan.slots);
        }
    }
    assert!(plan.pid_slot.is_none_or(|slot| slot < plan.slots));
    assert!(
        plan.pid_slot.is_none() || plan.clone_flags & 0x2000_0000 == 0,
        "born in one namespace, not in two"
    );
}

#[test]
fn whatever_is_asked_the_order_works() {
    let mut lowered = 0;
    for seed in 1..=3000_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let scene = scene(&mut random);
        let plan = scene.plan().unwrap_or_else(|report| panic!("seed {seed}: {report}"));
        assert_eq!(order::check(&plan.operations), Ok(()), "seed {seed}");
        holds(&scene, &plan);
        lowered += 1;
    }
    assert_eq!(lowered, 3000);
}
