//! What an operation is called, and what it is done to: as errors and `explain` say it.
//!
//! *Invariant:* every operation has a name; none shows a container's environment or arguments but the program's name.

use std::ffi::CString;

use super::{Operation, Preparation};

impl Operation {
    /// The operation in a word, as errors and `explain` say it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        use Operation as O;
        match self {
            O::Join { .. } | O::JoinContainer { .. } => "join namespace",
            O::EnterCgroup { .. } => "enter cgroup",
            O::Unshare { .. } => "unshare",
            O::Propagation { .. } | O::RootPropagation { .. } => "mount propagation",
            O::Overlay { .. } | O::Directory { .. } | O::PutRoot { .. } => "mount root",
            O::Mount { .. } => "mount",
            O::Layers { .. } => "mount image",
            O::Bind { .. } | O::BindSlot { .. } | O::BindNamespace { .. } | O::Put { .. } => "bind mount",
            O::Prepare { what: Preparation::Delegate { .. } } => "cgroup",
            O::Prepare { what: Preparation::Layers { .. } } => "mount layers",
            O::Prepare { what: Preparation::Path { user: Some(_), .. } } => "idmapped mount",
            O::Prepare { .. } => "prepare",
            O::Again { .. } => "clone in user namespace",
            O::BecomeRoot => "root of user namespace",
            O::Symlink { .. } => "symlink",
            O::Device { .. } => "device",
            O::MakeDirectory { .. } => "make directory",
            O::Terminal { .. } => "terminal",
            O::Sysctl { .. } => "sysctl",
            O::Hostname { .. } => "hostname",
            O::Domainname { .. } => "domain name",
            O::Mask { .. } => "mask",
            O::Freeze { .. } | O::FreezeRoot => "make read-only",
            O::Enter => "enter root",
            O::Rlimit { .. } => "resource limit",
            O::OomScoreAdj { .. } => "oom_score_adj",
            O::Chdir { .. } => "working directory",
            O::Umask { .. } => "umask",
            O::Bounding { .. } | O::Capabilities { .. } => "capabilities",
            O::Become { .. } => "user",
            O::NoNewPrivileges => "no_new_privs",
            O::Seccomp { .. } => "seccomp",
            O::Execute { .. } => "exec",
            O::Session => "session",
            O::Keyring { .. } => "keyring",
            O::Restore { .. } => "restore",
            O::Pause { .. } => "hooks",
            O::Attribute { .. } => "security attribute",
            O::Hide { .. } => "hide mount",
            O::MountContext { .. } => "mount context",
            O::Label { .. } => "label",
        }
    }

    /// What it is done to: a path, a name; empty where it is the process itself.
    #[must_use]
    pub fn object(&self) -> String {
        use Operation as O;
        let text = |string: &CString| string.to_string_lossy().into_owned();
        let inside = |string: &CString| format!("/{}", string.to_string_lossy());
        match self {
            O::EnterCgroup { procs } => text(procs),
            O::Overlay { upper, .. } => text(upper),
            O::Directory { source, .. } => text(source),
            O::Prepare { what } => what.object(),
            O::PutRoot { place, .. } => text(place),
            O::Mount { kind, target, .. } => format!("{} at {}", text(kind), inside(target)),
            O::Bind { source, target, .. } => format!("{} at {}", text(source), inside(target)),
            O::Symlink { at: target, .. }
            | O::BindSlot { target, .. }
            | O::BindNamespace { target, .. }
            | O::Put { target, .. }
            | O::Layers { target, .. }
            | O::Device { target, .. }
            | O::MakeDirectory { target, .. }
            | O::Mask { target }
            | O::Label { target, .. }
            | O::Freeze { target } => inside(target),
            O::Sysctl { name, .. } => text(name).replace('/', "."),
            O::Hostname { name } | O::Domainname { name } => text(name),
            O::Chdir { path, .. } | O::Hide { path } => text(path),
            O::Execute { arguments, .. } => arguments.first().map(text).unwrap_or_default(),
            O::Restore { program, .. } => text(program),
            O::Become { uid, gid, .. } => format!("{uid}:{gid}"),
            O::Pause { until } => until.name().to_owned(),
            O::OomScoreAdj { score } => score.to_string(),
            O::Rlimit { resource, .. } => resource.to_string(),
            O::Attribute { name, value } => format!("{} of {}", text(value), text(name)),
            O::MountContext { label } => text(label),
            O::Join { .. }
            | O::JoinContainer { .. }
            | O::Unshare { .. }
            | O::Again { .. }
            | O::BecomeRoot
            | O::Propagation { .. }
            | O::RootPropagation { .. }
            | O::Terminal { .. }
            | O::FreezeRoot
            | O::Enter
            | O::Umask { .. }
            | O::Bounding { .. }
            | O::Capabilities { .. }
            | O::NoNewPrivileges
            | O::Seccomp { .. }
            | O::Session
            | O::Keyring { .. } => String::new(),
        }
    }
}
