//! Which operation may not come before which.
//!
//! *Invariant:* a plan that passes [`check`] needs no privilege after it is dropped, covers nothing before it is mounted, opens
//! nothing of the image by name after the root is frozen, and ends in one exec, or in a restore.

use crate::hook::Point;
use crate::plan::Operation;

/// `CLONE_NEWUSER` of clone(2).
const USER: u64 = 0x1000_0000;

/// Why an order cannot work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disorder {
    /// An operation stands before one that must precede it.
    TooEarly {
        /// The one that comes too early.
        early: usize,
        /// The one that comes too late.
        late: usize,
    },
    /// The list does not end in its only exec.
    NoEnd,
    /// A path under the root that leads out of it or is not relative.
    Path(usize),
    /// A tree that nothing made ready.
    Tree(usize),
}

impl std::fmt::Display for Disorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Disorder::TooEarly { early, late } => {
                write!(f, "operation {early} may not come before operation {late}")
            }
            Disorder::NoEnd => f.write_str("the plan does not end in its only exec"),
            Disorder::Path(at) => {
                write!(f, "operation {at}: a path under the root is relative and has no ..")
            }
            Disorder::Tree(at) => write!(f, "operation {at}: no operation before it makes its tree ready"),
        }
    }
}

impl std::error::Error for Disorder {}

/// Phases never go back. What stands in one phase may come in any order.
fn phase(operation: &Operation) -> u8 {
    use Operation as O;
    match operation {
        // What is done before the clone: the shim does it all, wherever it stands.
        O::Prepare { .. } => 0,
        // Attributes by the host's /proc, which nobody else can have put there.
        O::OomScoreAdj { .. } | O::Session | O::Attribute { .. } | O::Keyring { .. } => 1,
        O::EnterCgroup { .. } => 2,
        // Owned by it is what is made afterwards, and of it the process has to be to join what it owns.
        O::Join { kind: USER, .. } => 3,
        O::Unshare { .. } | O::Join { .. } | O::JoinContainer { .. } => 4,
        O::Again { .. } => 5,
        O::Propagation { .. } | O::MountContext { .. } | O::Hide { .. } => 6,
        O::Overlay { .. } | O::Directory { .. } | O::PutRoot { .. } => 7,
        O::BecomeRoot => 8,
        O::Mount { .. }
        | O::Layers { .. }
        | O::Bind { .. }
        | O::BindSlot { .. }
        | O::Put { .. }
        | O::BindNamespace { .. }
        | O::Symlink { .. }
        | O::Device { .. }
        | O::MakeDirectory { .. }
        | O::Label { .. }
        | O::Terminal { .. } => 9,
        O::Hostname { .. } | O::Domainname { .. } | O::Sysctl { .. } => 10,
        O::Mask { .. } | O::Freeze { .. } => 11,
        // Before what is covered: a hook may change what is below.
        O::Pause { until } if *until <= Point::CreateContainer => 11,
        // A restore is done from outside of the root, with all privileges.
        O::Enter | O::Restore { .. } => 12,
        O::RootPropagation { .. } => 13,
        // The working directory may have to be made: before the root is read-only.
        O::Chdir { .. } => 14,
        // What a hook of this point sees is what the program will see.
        O::FreezeRoot | O::Pause { .. } => 15,
        O::Rlimit { .. } | O::Umask { .. } => 16,
        O::Bounding { .. } => 17,
        O::Become { .. } => 18,
        O::Capabilities { .. } => 19,
        O::NoNewPrivileges => 20,
        O::Seccomp { .. } => 21,
        O::Execute { .. } => 22,
    }
}

/// The exceptions: what a plan holds decides where some of its operations may stand.
struct Ranks {
    /// Without no_new_privs a filter needs a privilege.
    gains: bool,
    /// A session is its leader's: of whoever is cloned last.
    again: bool,
    /// In a user namespace no limit can be raised: before one is joined.
    mapped: bool,
}

impl Ranks {
    fn of(operations: &[Operation]) -> Self {
        let any = |is: fn(&Operation) -> bool| operations.iter().any(is);
        Ranks {
            gains: !any(|operation| matches!(operation, Operation::NoNewPrivileges)),
            again: any(|operation| matches!(operation, Operation::Again { .. })),
            mapped: any(|operation| matches!(operation, Operation::BecomeRoot)),
        }
    }

    fn of_operation(&self, operation: &Operation) -> u8 {
        match operation {
            Operation::Seccomp { .. } if self.gains => 17,
            Operation::Session if self.again => 6,
            Operation::Rlimit { .. } if self.mapped => 1,
            other => phase(other),
        }
    }
}

/// Whether what is bound of a tree was made ready: `trees` counts those so far.
fn has_tree(operation: &Operation, trees: &mut u32) -> bool {
    match operation {
        Operation::Prepare { what } => {
            *trees += u32::from(what.is_tree());
            true
        }
        Operation::Put { tree, .. } | Operation::PutRoot { tree, .. } => tree < trees,
        _ => true,
    }
}

fn target(operation: &Operation) -> Option<&std::ffi::CStr> {
    use Operation as O;
    match operation {
        O::Mount { target, .. }
        | O::Layers { target, .. }
        | O::Bind { target, .. }
        | O::BindSlot { target, .. }
        | O::Put { target, .. }
        | O::BindNamespace { target, .. }
        | O::Symlink { at: target, .. }
        | O::Device { target, .. }
        | O::MakeDirectory { target, .. }
        | O::Mask { target }
        | O::Label { target, .. }
        | O::Freeze { target } => Some(target),
        _ => None,
    }
}

/// Says whether the operations stand in an order that can work.
///
/// Without no_new_privs a filter needs a privilege (seccomp(2)), so [`Operation::Seccomp`] may stand before [`Operation::Become`]
/// when no [`Operation::NoNewPrivileges`] is in the list. Where a user namespace is joined, limits come before it.
///
/// # Errors
/// [`Disorder`] with the first pair that stands the wrong way round.
pub fn check(operations: &[Operation]) -> Result<(), Disorder> {
    let is_end =
        |operation: &Operation| matches!(operation, Operation::Execute { .. } | Operation::Restore { .. });
    let ends = operations.iter().filter(|operation| is_end(operation)).count();
    if ends != 1 || !operations.last().is_some_and(is_end) {
        return Err(Disorder::NoEnd);
    }
    let ranks = Ranks::of(operations);
    let mut trees = 0;
    let mut highest = (0, 0);
    for (at, operation) in operations.iter().enumerate() {
        let here = ranks.of_operation(operation);
        if here < highest.0 {
            return Err(Disorder::TooEarly { early: highest.1, late: at });
        }
        if here > highest.0 {
            highest = (here, at);
        }
        if !has_tree(operation, &mut trees) {
            return Err(Disorder::Tree(at));
        }
        if let Some(path) = target(operation).map(std::ffi::CStr::to_bytes)
            && (path.is_empty()
                || path[0] == b'/'
                || path.split(|&byte| byte == b'/').any(|part| part == b".."))
        {
            return Err(Disorder::Path(at));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Preparation;

    fn execute() -> Operation {
        Operation::Execute { candidates: vec![c"/bin/sh".into()], arguments: vec![], environment: vec![] }
    }

    fn nobody() -> Operation {
        Operation::Become { uid: 65534, gid: 65534, groups: vec![] }
    }

    #[test]
    fn privileges_are_not_dropped_before_they_are_needed() {
        let refused = check(&[nobody(), Operation::Enter, execute()]);
        assert_eq!(refused, Err(Disorder::TooEarly { early: 0, late: 1 }));
    }

    #[test]
    fn a_filter_without_no_new_privs_comes_while_there_is_a_privilege() {
        let filter = || Operation::Seccomp { program: vec![], flags: 0 };
        assert_eq!(check(&[filter(), nobody(), execute()]), Ok(()));
        assert!(check(&[nobody(), filter(), execute()]).is_err());
        assert_eq!(check(&[nobody(), Operation::NoNewPrivileges, filter(), execute()]), Ok(()));
    }

    #[test]
    fn what_a_user_namespace_is_to_own_is_made_once_it_is_joined() {
        let user = || Operation::Join { slot: 0, kind: USER };
        let mounts = || Operation::Unshare { flags: 0x2_0000 };
        let root = || Operation::BecomeRoot;
        assert_eq!(check(&[user(), mounts(), root(), execute()]), Ok(()));
        assert!(check(&[mounts(), user(), root(), execute()]).is_err());
        let limit = || Operation::Rlimit { resource: 7, soft: 1, hard: 1 };
        assert_eq!(check(&[limit(), user(), root(), execute()]), Ok(()));
        assert!(check(&[user(), root(), limit(), execute()]).is_err());
        assert_eq!(check(&[user(), limit(), execute()]), Ok(()), "nobody becomes root in it");
        let again = || Operation::Again { flags: 0x2_0000 };
        assert_eq!(check(&[user(), again(), Operation::Session, root(), execute()]), Ok(()));
        assert!(check(&[Operation::Session, user(), again(), root(), execute()]).is_err(), "its leader ends");
        assert!(check(&[user(), again(), root(), Operation::Session, execute()]).is_err());
    }

    #[test]
    fn a_tree_is_made_ready_before_it_is_put_somewhere() {
        let streams = Preparation::Streams { uid: 1, gid: 1 };
        let path = Preparation::Path { source: c"/".into(), recursive: false, create: false, user: None };
        let prepare = |what: &Preparation| Operation::Prepare { what: what.clone() };
        let root = || Operation::PutRoot { tree: 0, place: c"/r".into() };
        assert_eq!(check(&[prepare(&streams), prepare(&path), root(), execute()]), Ok(()));
        assert_eq!(check(&[prepare(&streams), root(), execute()]), Err(Disorder::Tree(1)));
        let put = Operation::Put { tree: 1, target: c"a".into(), how: crate::plan::BindHow::default() };
        assert_eq!(check(&[prepare(&path), root(), put, execute()]), Err(Disorder::Tree(2)));
    }

    #[test]
    fn a_plan_ends_in_its_only_exec() {
        assert_eq!(check(&[Operation::Enter]), Err(Disorder::NoEnd));
        assert_eq!(check(&[execute(), execute()]), Err(Disorder::NoEnd));
        let restore = || Operation::Restore {
            program: c"/criu".into(),
            arguments: vec![],
            environment: vec![],
            pid_file: c"/pid".into(),
        };
        assert_eq!(check(&[Operation::Propagation { flags: 0 }, restore()]), Ok(()));
        assert_eq!(check(&[restore(), execute()]), Err(Disorder::NoEnd));
        // What restores needs its privileges, and the host.
        assert!(check(&[nobody(), restore()]).is_err());
    }

    #[test]
    fn no_target_leads_out_of_the_root() {
        for target in [c"/etc", c"a/../../etc", c""] {
            let mask = Operation::Mask { target: target.into() };
            assert_eq!(check(&[mask, execute()]), Err(Disorder::Path(0)));
        }
    }
}
