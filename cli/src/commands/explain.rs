//! `orlop explain`: what a pod or a container is made of, and where the time of its start went.

use std::io::Write as _;

use clap::Args;
use orlop_proto::orlop::v1::{ConfinementFact, ExplainRequest, ExplainResponse, NamespaceFact, ThingKind};
use orlop_proto::runtime::v1::LinuxContainerResources;

use crate::args::Style;
use crate::client::{Daemon, question};
use crate::failure::Failure;
use crate::render::paint::Ink;
use crate::render::tree::{Tree, aligned};
use crate::render::{json, size, text, time, waterfall};
use crate::resolve::Catalogue;
use crate::shape;

/// Its flags.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A container or a pod
    id: String,
    /// Also the kernel operations that made the container, in order
    #[arg(long)]
    plan: bool,
    /// For people, or as JSON
    #[arg(short, long, value_enum, default_value_t = Style::Text)]
    output: Style,
    /// What is meant, where a name may mean both
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    kind: Option<super::Living>,
}

impl Explain {
    pub(super) async fn run(self, daemon: &Daemon) -> Result<u8, Failure> {
        let thing = Catalogue::read(daemon, super::Living::kinds(self.kind)).await?.find(&self.id)?;
        let request = question(ExplainRequest { id: thing.id, plan: self.plan });
        let answer = daemon.own().explain(request).await;
        let facts =
            answer.map_err(|status| daemon.refused(&format!("explain {}", self.id), &status))?.into_inner();
        let (mut out, paint) = super::output();
        match self.output {
            Style::Json => json::line(&mut out, &shape::own::explained(&facts))?,
            Style::Text => tree(&facts).write(&mut out, paint)?,
        }
        out.flush()?;
        Ok(0)
    }
}

/// All of it, for people.
fn tree(facts: &ExplainResponse) -> Tree {
    let kind = match facts.kind() {
        ThingKind::Pod => "pod",
        ThingKind::Container => "container",
        ThingKind::Unknown => "thing",
    };
    let mut tree =
        Tree::inked(format!("{kind} {}  {}  {}", facts.name, text::short(&facts.id), facts.state), Ink::Bold);
    for line in about(facts) {
        tree.push(Tree::new(line));
    }
    tree.group("namespaces", namespaces(&facts.namespaces));
    let cgroups = facts.cgroups.iter().map(|fact| [fact.hierarchy.clone(), fact.path.clone()]);
    tree.group("cgroups", aligned(cgroups.collect()));
    tree.group("confined by", facts.confinement.iter().flat_map(confinement));
    let layers = facts.layers.iter().map(|layer| {
        let size = format!("{:>9}", size::words(layer.size));
        [text::short(&layer.diff_id).to_owned(), size, layer.path.clone()]
    });
    tree.group("layers, the topmost first", aligned(layers.collect()));
    let mounts = facts
        .mounts
        .iter()
        .map(|mount| [mount.target.clone(), mount.source.clone(), mount.options.join(",")]);
    tree.group("mounts: where, what, how", aligned(mounts.collect()));
    tree.group("devices by name", &facts.cdi_devices);
    tree.group("hooks: when, what", &facts.hooks);
    let addresses = facts.addresses.iter().map(|address| format!("address {address}"));
    let veth = (!facts.host_veth.is_empty()).then(|| format!("veth on the node: {}", facts.host_veth));
    tree.group("network", addresses.chain(veth));
    tree.group("shim", shim(facts));
    tree.group("ledger", &facts.things);
    let stages: Vec<(String, u64)> =
        facts.stages.iter().map(|stage| (stage.name.clone(), stage.microseconds)).collect();
    let heading = format!("start: {}", waterfall::milliseconds(waterfall::sum(&stages)));
    tree.group(&heading, waterfall::lines(&stages));
    tree.group("plan", &facts.plan);
    tree
}

/// What is said in a line each.
fn about(facts: &ExplainResponse) -> Vec<String> {
    let mut lines = Vec::new();
    if facts.kind() == ThingKind::Container && !facts.pod_id.is_empty() {
        lines.push(format!("pod {}", text::short(&facts.pod_id)));
    }
    match (facts.image.as_str(), text::short(&facts.image_id)) {
        ("", "") => {}
        (image, "") => lines.push(format!("image {image}")),
        (image, id) if text::short(image) == id || image.is_empty() => lines.push(format!("image {id}")),
        (image, id) => lines.push(format!("image {image}  {id}")),
    }
    if facts.created_at != 0 {
        lines.push(format!(
            "made {}, {}",
            time::ago(facts.created_at, super::now()),
            time::exact(facts.created_at)
        ));
    }
    if facts.pid != 0 {
        lines.push(format!("first process {}", facts.pid));
    }
    for (what, of) in [("limits", &facts.resources), ("overhead", &facts.overhead)] {
        lines.extend(of.as_ref().and_then(limits).map(|said| format!("{what}: {said}")));
    }
    lines
}

/// Limits in words; nothing if there are none.
fn limits(limits: &LinuxContainerResources) -> Option<String> {
    let bytes = |number: i64| u64::try_from(number).ok().filter(|bytes| *bytes != 0).map(size::words);
    let mut said = Vec::new();
    said.extend(bytes(limits.memory_limit_in_bytes).map(|size| format!("memory {size}")));
    said.extend(bytes(limits.memory_swap_limit_in_bytes).map(|size| format!("with swap {size}")));
    if limits.cpu_quota > 0 {
        said.push(format!("CPU {} of {} us", limits.cpu_quota, limits.cpu_period));
    }
    if limits.cpu_shares != 0 {
        said.push(format!("{} shares", limits.cpu_shares));
    }
    if !limits.cpuset_cpus.is_empty() {
        said.push(format!("CPUs {}", text::escape(&limits.cpuset_cpus)));
    }
    (!said.is_empty()).then(|| said.join(", "))
}

fn namespaces(facts: &[NamespaceFact]) -> Vec<String> {
    let rows = facts.iter().map(|fact| {
        let inode = if fact.inode == 0 { "-".to_owned() } else { fact.inode.to_string() };
        let shared = match fact.shared_with.as_str() {
            "" => "its own".to_owned(),
            "pod" => "shared in the pod".to_owned(),
            "node" => "the node's".to_owned(),
            id => format!("shared with {}", text::short(id)),
        };
        [fact.kind.clone(), inode, shared, fact.path.clone()]
    });
    aligned(rows.collect())
}

fn confinement(fact: &ConfinementFact) -> Vec<String> {
    let or_none = |text: &str| if text.is_empty() { "none".to_owned() } else { text::escape(text) };
    let masks = format!("{:#x}, at most {:#x}", fact.effective, fact.bounding);
    let rows = [
        ["AppArmor".to_owned(), or_none(&fact.apparmor)],
        ["SELinux".to_owned(), or_none(&fact.selinux)],
        ["seccomp".to_owned(), or_none(&fact.seccomp)],
        ["no_new_privs".to_owned(), if fact.no_new_privs { "yes" } else { "no" }.to_owned()],
        ["capabilities".to_owned(), masks],
    ];
    aligned(rows.into())
}

fn shim(facts: &ExplainResponse) -> Vec<String> {
    let Some(shim) = facts.shim.as_ref().filter(|shim| shim.pid != 0) else { return Vec::new() };
    let mut lines = vec![format!("process {}, {} of memory (PSS)", shim.pid, size::words(shim.memory_bytes))];
    if !shim.cgroup.is_empty() {
        lines.push(format!("cgroup {}", shim.cgroup));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::paint::Paint;
    use orlop_proto::orlop::v1::{CgroupFact, LayerFact, MountFact, ShimFact, Stage};

    fn shown(facts: &ExplainResponse) -> String {
        let mut out = Vec::new();
        tree(facts).write(&mut out, Paint::OFF).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn container() -> ExplainResponse {
        let namespace = |kind: &str, inode, shared: &str| NamespaceFact {
            kind: kind.into(),
            inode,
            path: String::new(),
            pid: 7,
            shared_with: shared.into(),
        };
        ExplainResponse {
            kind: ThingKind::Container.into(),
            id: "0123456789abcdef".into(),
            name: "web".into(),
            pod_id: "fedcba9876543210".into(),
            state: "running".into(),
            image: "busybox:1".into(),
            image_id: "sha256:aaaaaaaaaaaaaaaa".into(),
            namespaces: vec![
                namespace("net", 4026, "pod"),
                namespace("mnt", 4027, ""),
                namespace("user", 0, "node"),
                namespace("pid", 4028, "bbbbbbbbbbbbbbbbbbbb"),
            ],
            cgroups: vec![CgroupFact { hierarchy: "memory".into(), path: "/kubepods/x".into() }],
            layers: vec![LayerFact {
                diff_id: "sha256:cccccccccccccccc".into(),
                path: "/l/c".into(),
                size: 4096,
            }],
            mounts: vec![MountFact {
                source: "proc".into(),
                target: "/proc".into(),
                options: vec!["ro".into(), "nosuid".into()],
            }],
            confinement: Some(ConfinementFact {
                apparmor: "orlop-default (enforce)".into(),
                selinux: String::new(),
                seccomp: "filter".into(),
                no_new_privs: true,
                effective: 0x400,
                bounding: 0xa804_25fb,
            }),
            addresses: vec!["10.88.0.2".into()],
            host_veth: "orlop0".into(),
            shim: Some(ShimFact { pid: 9, memory_bytes: 155_648, cgroup: "/orlop/shims".into() }),
            pid: 7,
            stages: vec![
                Stage { name: "plan".into(), microseconds: 1000 },
                Stage { name: "clone".into(), microseconds: 3000 },
            ],
            plan: vec!["0 mount proc".into()],
            cdi_devices: vec!["vendor.com/gpu=0".into()],
            hooks: vec!["poststop /usr/bin/bye".into()],
            things: vec!["cgroup /kubepods/x".into()],
            ..ExplainResponse::default()
        }
    }

    #[test]
    fn a_container_is_a_tree() {
        let expected = "\
container web  0123456789ab  running
├─ pod fedcba987654
├─ image busybox:1  aaaaaaaaaaaa
├─ first process 7
├─ namespaces
│  ├─ net   4026  shared in the pod
│  ├─ mnt   4027  its own
│  ├─ user  -     the node's
│  └─ pid   4028  shared with bbbbbbbbbbbb
├─ cgroups
│  └─ memory  /kubepods/x
├─ confined by
│  ├─ AppArmor      orlop-default (enforce)
│  ├─ SELinux       none
│  ├─ seccomp       filter
│  ├─ no_new_privs  yes
│  └─ capabilities  0x400, at most 0xa80425fb
├─ layers, the topmost first
│  └─ cccccccccccc    4.0 KiB  /l/c
├─ mounts: where, what, how
│  └─ /proc  proc  ro,nosuid
├─ devices by name
│  └─ vendor.com/gpu=0
├─ hooks: when, what
│  └─ poststop /usr/bin/bye
├─ network
│  ├─ address 10.88.0.2
│  └─ veth on the node: orlop0
├─ shim
│  ├─ process 9, 152 KiB of memory (PSS)
│  └─ cgroup /orlop/shims
├─ ledger
│  └─ cgroup /kubepods/x
├─ start: 4.00 ms
│  ├─ plan   1.00 ms  ████████
│  └─ clone  3.00 ms          ████████████████████████
└─ plan
   └─ 0 mount proc
";
        assert_eq!(shown(&container()), expected);
    }

    #[test]
    fn a_pod_without_anything_is_a_line() {
        let facts = ExplainResponse {
            kind: ThingKind::Pod.into(),
            id: "01".into(),
            name: "a/b\u{1b}".into(),
            state: "gone".into(),
            ..ExplainResponse::default()
        };
        assert_eq!(shown(&facts), "pod a/b\\u{1b}  01  gone\n");
    }

    #[test]
    fn limits_are_in_words_and_none_are_not_said() {
        let memory = 96 << 20;
        let some = LinuxContainerResources {
            memory_limit_in_bytes: memory,
            cpu_quota: 5000,
            cpu_period: 10_000,
            cpuset_cpus: "0-1".into(),
            ..LinuxContainerResources::default()
        };
        let facts = ExplainResponse {
            kind: ThingKind::Pod.into(),
            resources: Some(some),
            overhead: Some(LinuxContainerResources::default()),
            ..ExplainResponse::default()
        };
        let shown = shown(&facts);
        assert!(shown.contains("limits: memory 96.0 MiB, CPU 5000 of 10000 us, CPUs 0-1"), "{shown}");
        assert!(!shown.contains("overhead"), "{shown}");
    }
}
