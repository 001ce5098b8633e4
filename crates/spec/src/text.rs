//! A plan as people read it: what `explain --plan` prints, a bug report carries and a test compares.
//!
//! One line for each operation, with the number by which a failure names it.
//!
//! *Invariant:* the same plan gives the same text, and no two operations that differ read the same, but for a filter, which is
//! shown by its length, and the environment, whose values may be secrets and are left out.

use std::ffi::{CStr, CString};
use std::fmt::Write as _;

use orlop_wire::plan::{BindHow, Cgroup, Oom, Operation, Plan, Preparation};

use crate::capability;

/// The plan as text, each line ended.
#[must_use]
pub fn plan(plan: &Plan) -> String {
    let mut lines = vec![format!("container {}", plan.container)];
    lines.push(format!("clone {}", namespaces(plan.clone_flags)));
    lines.extend(plan.pid_slot.map(|slot| format!("born in pid namespace of slot {slot}")));
    lines.extend(plan.shim_cgroups.iter().map(|procs| format!("shim in {}", shown(procs))));
    for Cgroup { directory, writes, keep, devices } in &plan.cgroups {
        lines.push(format!("cgroup {}{}", shown(directory), if *keep { " (kept)" } else { "" }));
        for write in writes {
            let optional = if write.required { "" } else { " (if there)" };
            lines.push(format!("    {} = {}{optional}", shown(&write.file), shown(&write.value)));
        }
        if !devices.is_empty() {
            lines.push(format!("    devices judged by {} instructions", devices.len() / 8));
        }
    }
    lines.extend(plan.unified.iter().map(|directory| format!("cloned into {}", shown(directory))));
    match &plan.oom {
        Oom::Nowhere => {}
        Oom::V1 { directory } | Oom::V2 { directory } | Oom::Unit { directory, .. } => {
            lines.push(format!("out of memory seen in {}", shown(directory)));
        }
    }
    let stdio = &plan.stdio;
    let log = stdio.log.as_ref().map_or_else(|| "none".to_owned(), |log| shown(log));
    let mut ends = String::new();
    for (set, name) in [(stdio.terminal, " terminal"), (stdio.stdin, " stdin"), (stdio.stdin_once, " once")] {
        ends.push_str(if set { name } else { "" });
    }
    lines.push(format!("log {log}{ends}"));
    lines.extend(
        plan.operations.iter().enumerate().map(|(number, one)| format!("{number:3} {}", operation(one))),
    );
    if let Some(runtime) = &plan.runtime {
        for (what, operations) in [("start", &runtime.start), ("delete", &runtime.delete)] {
            lines.push(format!("runtime {} {what}", runtime.name.escape_debug()));
            lines.extend(
                operations.iter().enumerate().map(|(number, one)| format!("{number:3} {}", operation(one))),
            );
        }
    }
    for hook in plan.hooks.iter().flat_map(|hooks| &hooks.all) {
        lines.push(format!("hook {} (at most {} ms)", hook.point.name(), hook.patience));
        lines.extend(hook.operations.iter().map(|one| format!("    {}", operation(one))));
    }
    lines.iter().fold(String::new(), |text, line| text + line + "\n")
}

/// Escaped: a path may hold anything.
fn shown(string: &CStr) -> String {
    string.to_bytes().escape_ascii().to_string()
}

fn inside(string: &CStr) -> String {
    format!("/{}", shown(string))
}

fn list(strings: &[CString], between: &str) -> String {
    strings.iter().map(|string| shown(string)).collect::<Vec<_>>().join(between)
}

/// `CLONE_NEW*` of clone(2) by name.
fn namespaces(flags: u64) -> String {
    const NAMES: [(u64, &str); 8] = [
        (0x0002_0000, "mount"),
        (0x0200_0000, "cgroup"),
        (0x0400_0000, "uts"),
        (0x0800_0000, "ipc"),
        (0x1000_0000, "user"),
        (0x2000_0000, "pid"),
        (0x4000_0000, "net"),
        (0x0000_0080, "time"),
    ];
    named(flags, &NAMES)
}

fn propagation(flags: u64) -> String {
    const NAMES: [(u64, &str); 5] = [
        (1 << 17, "unbindable"),
        (1 << 18, "private"),
        (1 << 19, "slave"),
        (1 << 20, "shared"),
        (1 << 14, "recursive"),
    ];
    named(flags, &NAMES)
}

/// `MOUNT_ATTR_*` of mount_setattr(2).
fn attributes(flags: u64) -> String {
    const NAMES: [(u64, &str); 8] = [
        (0x1, "ro"),
        (0x2, "nosuid"),
        (0x4, "nodev"),
        (0x8, "noexec"),
        (0x10, "noatime"),
        (0x20, "strictatime"),
        (0x80, "nodiratime"),
        (0x20_0000, "nosymfollow"),
    ];
    named(flags, &NAMES)
}

fn named(flags: u64, names: &[(u64, &str)]) -> String {
    let mut parts: Vec<String> =
        names.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| (*name).to_owned()).collect();
    let rest = names.iter().fold(flags, |rest, (bit, _)| rest & !bit);
    if rest != 0 {
        parts.push(format!("{rest:#x}"));
    }
    if parts.is_empty() { "-".to_owned() } else { parts.join(",") }
}

fn how(how: &BindHow) -> String {
    let mut text = String::from(if how.recursive { " recursive" } else { "" });
    for (name, flags) in
        [("set", how.set), ("clear", how.clear), ("set all", how.set_all), ("clear all", how.clear_all)]
    {
        if flags != 0 {
            // Writing to a String cannot fail.
            let _ = write!(text, " {name} {}", attributes(flags));
        }
    }
    if how.propagation != 0 {
        let _ = write!(text, " {}", propagation(how.propagation));
    }
    text.push_str(if how.create_source { " (source made if missing)" } else { "" });
    text
}

fn capabilities(mask: u64) -> String {
    match mask {
        capability::EVERY => "all".to_owned(),
        0 => "none".to_owned(),
        _ => capability::names(mask).join(","),
    }
}

/// An operation as a line.
#[must_use]
pub fn operation(operation: &Operation) -> String {
    filesystem(operation).or_else(|| process(operation)).unwrap_or_else(|| operation.name().to_owned())
}

fn filesystem(operation: &Operation) -> Option<String> {
    use Operation as O;
    Some(match operation {
        O::Propagation { flags } => format!("propagation of / {}", propagation(*flags)),
        O::Overlay { lower, upper, work, volatile, place } => format!(
            "root overlay lower {} upper {} work {} at {}{}",
            list(lower, ":"),
            shown(upper),
            shown(work),
            shown(place),
            if *volatile { " volatile" } else { "" }
        ),
        O::Hide { path } => format!("hide {}", shown(path)),
        O::Directory { source, place } => format!("root directory {} at {}", shown(source), shown(place)),
        O::Mount { kind, source, target, attributes: flags, options } => {
            let mut text = format!(
                "mount {} {} at {} {}",
                shown(kind),
                shown(source),
                inside(target),
                attributes(*flags)
            );
            for (key, value) in options {
                let value = value.as_ref().map_or_else(String::new, |value| format!("={}", shown(value)));
                let _ = write!(text, " {}{value}", shown(key));
            }
            text
        }
        O::Layers { lower, target, attributes: flags } => {
            format!("image of {} at {} {}", list(lower, ":"), inside(target), attributes(*flags))
        }
        O::Bind { source, target, how: bind } => {
            format!("bind {} at {}{}", shown(source), inside(target), how(bind))
        }
        O::BindSlot { slot, target, how: bind } => {
            format!("bind slot {slot} at {}{}", inside(target), how(bind))
        }
        O::Prepare { what } => preparation(what),
        O::Put { tree, target, how: bind } => format!("put tree {tree} at {}{}", inside(target), how(bind)),
        O::PutRoot { tree, place } => format!("root of tree {tree} at {}", shown(place)),
        O::BindNamespace { slot, target } => format!("bind namespace of slot {slot} at {}", inside(target)),
        O::Symlink { at, to } => format!("symlink {} -> {}", inside(at), shown(to)),
        O::Device { target, mode, major, minor, uid, gid } => {
            format!("device {} {mode:o} {major}:{minor} {uid}:{gid}", inside(target))
        }
        O::MakeDirectory { target, mode } => format!("directory {} {mode:o}", inside(target)),
        O::Label { target, label } => format!("label {} {}", inside(target), shown(label)),
        O::Mask { target } => format!("mask {}", inside(target)),
        O::Freeze { target } => format!("read-only {}", inside(target)),
        O::FreezeRoot => "read-only root".to_owned(),
        O::Enter => "enter root".to_owned(),
        O::RootPropagation { flags } => format!("propagation of the root {}", propagation(*flags)),
        O::Chdir { path, create } => {
            format!("cd {}{}", shown(path), if *create { " (made if missing)" } else { "" })
        }
        _ => return None,
    })
}

fn preparation(what: &Preparation) -> String {
    use Preparation as P;
    match what {
        P::Path { source, recursive, create, user } => format!(
            "tree of {}{}{}{}",
            shown(source),
            if *recursive { " recursive" } else { "" },
            if *create { " (made if missing)" } else { "" },
            user.map_or_else(String::new, |slot| format!(" owners mapped by slot {slot}"))
        ),
        P::Device { source, kind, major, minor } => {
            format!("tree of device {} {kind:o} {major}:{minor}", shown(source))
        }
        P::Layers { lower, own, context, attributes: flags, user, place: _ } => {
            let own = own.as_ref().map_or_else(String::new, |own| {
                let volatile = if own.volatile { " volatile" } else { "" };
                format!(" upper {} work {}{volatile}", shown(&own.upper), shown(&own.work))
            });
            let context =
                context.as_ref().map_or_else(String::new, |text| format!(" context {}", shown(text)));
            format!(
                "tree of layers {} owners mapped by slot {user}{own}{context} {}",
                list(lower, ":"),
                attributes(*flags)
            )
        }
        P::Streams { uid, gid } => format!("pipes to {uid}:{gid}"),
        P::Delegate { directory, uid, gid } => format!("cgroup {} to {uid}:{gid}", shown(directory)),
    }
}

fn process(operation: &Operation) -> Option<String> {
    use Operation as O;
    Some(match operation {
        O::Join { slot, kind } => format!("join {} of slot {slot}", namespaces(*kind)),
        O::JoinContainer { kinds } => format!("join the container's {}", namespaces(*kinds)),
        O::EnterCgroup { procs } => format!("enter cgroup {}", shown(procs)),
        O::Unshare { flags } => format!("unshare {}", namespaces(*flags)),
        O::Again { flags } => format!("clone once more into new {}", namespaces(*flags)),
        O::Terminal { console, rows, columns } => {
            format!("terminal {rows}x{columns}{}", if *console { " at /dev/console" } else { "" })
        }
        O::Sysctl { name, value } => format!("sysctl {} = {}", shown(name), shown(value)),
        O::Hostname { name } => format!("hostname {}", shown(name)),
        O::Domainname { name } => format!("domain name {}", shown(name)),
        O::Rlimit { resource, soft, hard } => format!("limit {resource} {soft} {hard}"),
        O::OomScoreAdj { score } => format!("oom_score_adj {score}"),
        O::Umask { mask } => format!("umask {mask:03o}"),
        O::Bounding { keep } => format!("bounding set {}", capabilities(*keep)),
        O::Become { uid, gid, groups } => {
            let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
            format!("user {uid}:{gid} groups {}", groups.join(","))
        }
        O::Capabilities { effective, permitted, inheritable, ambient } => {
            let [effective, permitted, inheritable, ambient] =
                [effective, permitted, inheritable, ambient].map(|mask| capabilities(*mask));
            format!(
                "capabilities effective {effective} permitted {permitted} inheritable {inheritable} ambient {ambient}"
            )
        }
        O::Seccomp { program, flags } => {
            format!("seccomp {} instructions flags {flags:#x}", program.len() / 8)
        }
        O::Execute { candidates, arguments, environment } => {
            let names: Vec<&[u8]> = environment
                .iter()
                .filter_map(|entry| entry.as_bytes().split(|byte| *byte == b'=').next())
                .collect();
            format!(
                "exec {} arguments {} environment {}",
                list(candidates, " or "),
                list(arguments, " "),
                names.join(&b' ').escape_ascii()
            )
        }
        O::Pause { until } => format!("wait for hooks up to {}", until.name()),
        O::Keyring { name } => format!("keyring {}", shown(name)),
        O::Attribute { name, value } => format!("attribute {} = {}", shown(name), shown(value)),
        O::MountContext { label } => format!("mount context {}", shown(label)),
        O::Restore { program, .. } => format!("restore by {}", shown(program)),
        _ => return None,
    })
}
