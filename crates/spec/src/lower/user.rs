//! A plan for a container in a user namespace: the same as without, but for what could not be done from inside.
//!
//! From inside nothing of the node can be opened with privilege, no device made, no layer or volume mapped: that is made ready before
//! the clone. What the user namespace is to own is made once it is joined; a PID namespace holds only what is cloned after that, so
//! there is a second clone. Limits are set before, since only the node's root may raise them.
//!
//! *Invariant:* no operation is lost: each is taken over, or stands for what takes its place.

use std::ffi::CString;

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType as Kind, Mount, Process};
use orlop_model::pod::{IdMap, UserMaps};
use orlop_model::report::Report;
use orlop_wire::plan::{BindHow, Operation, OwnLayer, Plan, Preparation};

use super::{Facts, bad, cannot, inside, namespaces, string};
use crate::input::{CgroupLayout, DeviceKind, DeviceNode};

/// `CLONE_NEWUSER` and `CLONE_NEWPID` of clone(2).
const USER: u64 = 0x1000_0000;
const PID: u64 = 0x2000_0000;
/// `S_IFMT`, `S_IFIFO`, `S_IFCHR`, `S_IFBLK` of inode(7).
const FORMAT: u32 = 0o170_000;
const FIFO: u32 = 0o010_000;
const CHARACTER: u32 = 0o020_000;
const BLOCK: u32 = 0o060_000;

/// The container's user namespace.
pub(super) struct User {
    /// The slot that holds it.
    slot: u32,
    /// Its maps.
    maps: UserMaps,
}

/// The maps that a spec names; none where it has no user namespace.
///
/// # Errors
/// A [`Report`] naming the map that this version cannot do.
pub fn maps(linux: &Linux) -> Result<Option<UserMaps>, Report> {
    let given = |maps: &Option<Vec<LinuxIdMapping>>| maps.clone().unwrap_or_default();
    let (uids, gids) = (given(linux.uid_mappings()), given(linux.gid_mappings()));
    if !namespaces::has(linux, Kind::User) {
        return match (uids.is_empty(), gids.is_empty()) {
            (true, true) => Ok(None),
            (false, _) => Err(bad("linux.uidMappings", "", "needs a user namespace")),
            (true, false) => Err(bad("linux.gidMappings", "", "needs a user namespace")),
        };
    }
    let uids = one("linux.uidMappings", &uids)?;
    let gids = one("linux.gidMappings", &gids)?;
    Ok(Some(UserMaps { uids, gids }))
}

fn one(part: &str, maps: &[LinuxIdMapping]) -> Result<IdMap, Report> {
    match maps {
        [map] if map.container_id() == 0 && map.size() > 0 => {
            Ok(IdMap { host: map.host_id(), length: map.size() })
        }
        _ => Err(cannot(part, maps.len().to_string(), "exactly one map, from 0 on, is supported")),
    }
}

/// The user namespace of a spec, which the launcher has at hand.
pub(super) fn of(linux: &Linux, facts: &Facts<'_>) -> Result<Option<User>, Report> {
    let Some(maps) = maps(linux)? else { return Ok(None) };
    let slot = namespaces::slot(linux, Kind::User, facts)?;
    let missing = || cannot("linux.namespaces", "user", "only one that is there already can be joined");
    Ok(Some(User { slot: slot.ok_or_else(missing)?, maps }))
}

/// Host ids of whoever runs the program.
fn owner(process: &Process, maps: UserMaps) -> Result<(u32, u32), Report> {
    let user = process.user();
    let of = |part: &str, id: u32, map: IdMap| {
        map.of(id).ok_or_else(|| bad(part, id, "is not mapped in the user namespace"))
    };
    for group in user.additional_gids().iter().flatten() {
        of("process.user.additionalGids", *group, maps.gids)?;
    }
    Ok((of("process.user.uid", user.uid(), maps.uids)?, of("process.user.gid", user.gid(), maps.gids)?))
}

/// What makes the pipes of a program its user's.
pub(super) fn streams(process: &Process, maps: UserMaps) -> Result<Operation, Report> {
    let (uid, gid) = owner(process, maps)?;
    Ok(Operation::Prepare { what: Preparation::Streams { uid, gid } })
}

/// An exec's operations, in the user namespace of its container.
pub(super) fn exec(process: &Process, maps: UserMaps, all: &mut Vec<Operation>) -> Result<(), Report> {
    let (limits, others): (Vec<_>, Vec<_>) =
        std::mem::take(all).into_iter().partition(|one| matches!(one, Operation::Rlimit { .. }));
    all.push(streams(process, maps)?);
    all.extend(limits);
    for operation in others {
        let joins = matches!(operation, Operation::JoinContainer { .. });
        all.push(operation);
        if joins {
            all.push(Operation::BecomeRoot);
        }
    }
    Ok(())
}

/// Whether a mount's owners are mapped, as the spec says.
fn is_mapped(mount: &Mount, maps: Option<UserMaps>) -> Result<bool, Report> {
    let given = |maps: &Option<Vec<LinuxIdMapping>>| maps.clone().unwrap_or_default();
    let (uids, gids) = (given(mount.uid_mappings()), given(mount.gid_mappings()));
    if uids.is_empty() && gids.is_empty() {
        return Ok(false);
    }
    let place = mount.destination().display();
    let Some(maps) = maps else { return Err(bad("mounts.uidMappings", place, "needs a user namespace")) };
    for (part, asked, map) in
        [("mounts.uidMappings", &uids, maps.uids), ("mounts.gidMappings", &gids, maps.gids)]
    {
        if one(part, asked)? != map {
            return Err(cannot(part, place.to_string(), "has to be that of the user namespace"));
        }
    }
    Ok(true)
}

/// The places of those mounts whose owners are mapped.
pub(super) fn mapped(mounts: &[Mount], maps: Option<UserMaps>) -> Result<Vec<CString>, Report> {
    let mut all = Vec::new();
    for mount in mounts {
        if is_mapped(mount, maps)? {
            all.push(inside("mounts.destination", mount.destination())?);
        }
    }
    Ok(all)
}

/// A plan on its way into the user namespace.
struct Change<'a> {
    user: &'a User,
    mapped: &'a [CString],
    facts: &'a Facts<'a>,
    /// The SELinux context of overlays from here on.
    context: Option<CString>,
    /// What is made ready before the clone, and how many trees that are.
    ready: Vec<Operation>,
    trees: u32,
    /// Before the user namespace is joined.
    before: Vec<Operation>,
    /// What is joined and made after it.
    joined: Vec<Operation>,
    /// From the propagation on.
    after: Vec<Operation>,
}

/// Changes `plan`, which is whole but for this.
pub(super) fn change(
    plan: &mut Plan,
    user: &User,
    process: &Process,
    mapped: &[CString],
    facts: &Facts<'_>,
) -> Result<(), Report> {
    let mut change = Change {
        user,
        mapped,
        facts,
        context: None,
        ready: vec![streams(process, user.maps)?],
        trees: 0,
        before: Vec::new(),
        joined: Vec::new(),
        after: Vec::new(),
    };
    change.ready.extend(delegation(plan, user, facts)?);
    let kinds = std::mem::take(&mut plan.clone_flags);
    let again = kinds & PID != 0;
    for operation in std::mem::take(&mut plan.operations) {
        match operation {
            Operation::Session if again => {}
            operation => change.operation(operation)?,
        }
    }
    let Change { ready, before, joined, after, .. } = change;
    let all = &mut plan.operations;
    all.extend(ready);
    // Limits stand behind what begins the ordinary plan, and before cgroups in this one.
    let (cgroups, first): (Vec<_>, Vec<_>) =
        before.into_iter().partition(|one| matches!(one, Operation::EnterCgroup { .. }));
    all.extend(first);
    all.extend(cgroups);
    all.push(Operation::Join { slot: user.slot, kind: USER });
    all.extend(joined);
    if again {
        all.extend([Operation::Again { flags: kinds }, Operation::Session]);
    } else {
        all.push(Operation::Unshare { flags: kinds });
    }
    all.extend(after);
    Ok(())
}

/// Where a container's own view of the unified hierarchy can be written to, its cgroup is its root's.
fn delegation(plan: &Plan, user: &User, facts: &Facts<'_>) -> Result<Option<Operation>, Report> {
    let writable = |operation: &Operation| match operation {
        Operation::Mount { kind, attributes, .. } => {
            kind.as_c_str() == c"cgroup2" && attributes & super::options::READ_ONLY == 0
        }
        _ => false,
    };
    let unified = matches!(facts.layout, CgroupLayout::V2(_)) && plan.operations.iter().any(writable);
    let Some(directory) = plan.unified.clone().filter(|_| unified) else { return Ok(None) };
    let root = |map: IdMap| map.of(0).ok_or_else(|| bad("linux.uidMappings", map, "maps no root"));
    let (uid, gid) = (root(user.maps.uids)?, root(user.maps.gids)?);
    Ok(Some(Operation::Prepare { what: Preparation::Delegate { directory, uid, gid } }))
}

impl Change<'_> {
    fn tree(&mut self, what: Preparation) -> u32 {
        self.ready.push(Operation::Prepare { what });
        self.trees += 1;
        self.trees - 1
    }

    fn put(&mut self, what: Preparation, target: CString, how: BindHow) {
        let tree = self.tree(what);
        self.after.push(Operation::Put { tree, target, how });
    }

    fn put_root(&mut self, what: Preparation, place: CString) {
        let tree = self.tree(what);
        self.after.extend([Operation::PutRoot { tree, place }, Operation::BecomeRoot]);
    }

    fn operation(&mut self, operation: Operation) -> Result<(), Report> {
        use Operation as O;
        match operation {
            O::Rlimit { .. } => self.before.push(operation),
            O::Join { kind: USER, .. } => {}
            O::MountContext { label } => self.context = Some(label),
            O::Join { .. } | O::Unshare { .. } => self.joined.push(operation),
            O::Overlay { lower, upper, work, volatile, place } => {
                let own = Some(OwnLayer { upper, work, volatile });
                let user = self.user.slot;
                let layers = Preparation::Layers {
                    lower,
                    own,
                    context: self.context.clone(),
                    attributes: 0,
                    user,
                    place: place.clone(),
                };
                self.put_root(layers, place);
            }
            O::Directory { source, place } => {
                let path = Preparation::Path { source, recursive: true, create: false, user: None };
                self.put_root(path, place);
            }
            O::Layers { lower, target, attributes } => {
                let (user, place) = (self.user.slot, self.place()?);
                let layers = Preparation::Layers {
                    lower,
                    own: None,
                    context: self.context.clone(),
                    attributes,
                    user,
                    place,
                };
                self.put(layers, target, BindHow::default());
            }
            O::Bind { source, target, how } => {
                let user = self.mapped.contains(&target).then_some(self.user.slot);
                let (recursive, create) = (how.recursive, how.create_source);
                let path = Preparation::Path { source, recursive, create, user };
                self.put(path, target, BindHow { recursive: false, create_source: false, ..how });
            }
            O::Device { target, mode, major, minor, .. } => {
                let source = self.device(&target, mode, (major, minor))?;
                let kind = mode & FORMAT;
                self.put(Preparation::Device { source, kind, major, minor }, target, BindHow::default());
            }
            O::Propagation { .. } => self.after.push(operation),
            // What comes before mounts is the process's own: its session, cgroups, attributes, which it has of the node's root.
            other if self.after.is_empty() => self.before.push(other),
            other => self.after.push(other),
        }
        Ok(())
    }

    /// An empty directory: the root's place, which is used one after the other.
    fn place(&self) -> Result<CString, Report> {
        let (super::Root::Overlay { place, .. } | super::Root::Directory { place, .. }) = &self.facts.root;
        super::c_path(place)
    }

    /// The node of a device on the host: at the same path, or wherever it is.
    fn device(&self, target: &CString, mode: u32, numbers: (u32, u32)) -> Result<CString, Report> {
        let path = format!("/{}", target.to_string_lossy());
        let is = |node: &&DeviceNode| {
            let kind = match node.kind {
                DeviceKind::Character => CHARACTER,
                DeviceKind::Block => BLOCK,
                DeviceKind::Fifo => FIFO,
            };
            let same = kind == mode & FORMAT && (node.major, node.minor) == numbers;
            same && (kind != FIFO || node.path.as_os_str() == path.as_str())
        };
        let mut nodes = self.facts.devices.iter().filter(is);
        let at_path = nodes.clone().find(|node| node.path.as_os_str() == path.as_str());
        if super::nodes::is_standard(&path, mode, numbers) {
            return string("linux.devices", path);
        }
        let found = at_path.or_else(|| nodes.next()).ok_or_else(|| {
            let cause = "is no device of the node, and in a user namespace no other can be made";
            bad("linux.devices", path, cause)
        })?;
        super::c_path(&found.path)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use orlop_model::container::ImageVolume;
    use orlop_wire::order;

    use super::*;
    use crate::input::Granted;
    use crate::scene::{Scene, mount};
    use crate::text;

    const MAPS: UserMaps = UserMaps {
        uids: IdMap { host: 100_000, length: 65536 },
        gids: IdMap { host: 200_000, length: 65536 },
    };

    fn scene() -> Scene {
        let mut scene = Scene::new();
        scene.pod.namespaces.user = Some(MAPS);
        scene.facts.user = Some(PathBuf::from("/run/orlop/pods/web/user"));
        scene
    }

    fn lines(scene: &Scene) -> Vec<String> {
        let plan = scene.plan().expect("good");
        assert_eq!(plan.clone_flags, 0);
        assert_eq!(order::check(&plan.operations), Ok(()));
        plan.operations.iter().map(text::operation).collect()
    }

    fn position(lines: &[String], start: &str) -> usize {
        lines.iter().position(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {lines:#?}"))
    }

    #[test]
    fn all_of_a_container_is_made_in_its_user_namespace() {
        let mut scene = scene();
        let mut volume = mount("/data", "/srv/data");
        volume.mapped = true;
        let image = ImageVolume { image: "tools".into(), sub_path: String::new() };
        let tools = orlop_model::container::Mount { image: Some(image), ..mount("/tools", "") };
        scene.config.mounts = vec![volume, mount("/plain", "/srv/plain"), tools];
        scene.images = vec![vec!["/l/a".into(), "/l/b".into()]];
        (scene.identity.uid, scene.identity.gid) = (1000, 7);
        scene.apparmor = Some("orlop-default".into());
        let lines = lines(&scene);
        assert_eq!(lines[0], "pipes to 101000:200007");
        let ordered = [
            "tree of layers /l/2:/l/1 owners mapped by slot 5 upper /c/upper work /c/work volatile",
            "oom_score_adj",
            "attribute apparmor",
            "enter cgroup",
            "join user of slot 5",
            "join net",
            "unshare cgroup",
            "clone once more into new mount,pid",
            "session",
            "propagation of /",
            "root of tree 0 at /run/orlop/root",
            "root of user namespace",
            "mount proc",
            "enter root",
        ];
        let at: Vec<usize> = ordered.iter().map(|start| position(&lines, start)).collect();
        assert!(at.is_sorted(), "{lines:#?}");
        position(&lines, "tree of /srv/data recursive (made if missing) owners mapped by slot 5");
        let plain = position(&lines, "tree of /srv/plain recursive");
        assert!(!lines[plain].contains("mapped"), "{}", lines[plain]);
        position(&lines, "tree of layers /l/a:/l/b owners mapped by slot 5 ro,nodev");
        position(&lines, "tree of device /dev/null 20000 1:3");
        for never in ["bind /", "device /", "root overlay", "image of"] {
            assert!(!lines.iter().any(|line| line.starts_with(never)), "{never}: {lines:#?}");
        }
        position(&lines, "bind slot 4 at /dev/shm");
    }

    #[test]
    fn in_a_pods_pid_namespace_nothing_is_cloned_twice() {
        let mut scene = scene();
        scene.pod.namespaces.pid = orlop_model::pod::PidMode::Pod;
        scene.config.security.pid = orlop_model::container::PidNamespace::Pod;
        let lines = lines(&scene);
        assert!(!lines.iter().any(|line| line.starts_with("clone once more")), "{lines:#?}");
        let at =
            ["session", "join user", "unshare mount", "propagation"].map(|start| position(&lines, start));
        assert!(at.is_sorted(), "{lines:#?}");
    }

    #[test]
    fn who_is_not_mapped_cannot_run() {
        for change in [
            (|scene| scene.identity.uid = 65536) as fn(&mut Scene),
            |scene| scene.identity.gid = 70_000,
            |scene| scene.identity.groups = vec![0, 65536],
        ] {
            let mut scene = scene();
            change(&mut scene);
            let refused = scene.plan().expect_err("not mapped").to_string();
            assert!(refused.contains("is not mapped in the user namespace"), "{refused}");
        }
    }

    #[test]
    fn a_device_is_bound_from_wherever_the_node_has_it() {
        let mut scene = scene();
        let node = DeviceNode {
            path: "/dev/net/tun".into(),
            kind: DeviceKind::Character,
            major: 10,
            minor: 200,
            mode: 0o666,
            uid: 0,
            gid: 0,
        };
        let container_path = "/dev/mine".into();
        scene.devices = vec![Granted { node: node.clone(), container_path, permissions: "rw".into() }];
        let refused = scene.plan().expect_err("not known").to_string();
        assert!(refused.contains("/dev/mine"), "{refused}");
        scene.node.devices = vec![node];
        let lines = lines(&scene);
        position(&lines, "tree of device /dev/net/tun 20000 10:200");
        assert!(lines.iter().any(|line| line.starts_with("put tree") && line.contains("at /dev/mine")));
    }
}
