//! Which operation may not come before which.
//!
//! *Invariant:* a plan that passes [`check`] needs no privilege after it is dropped, covers nothing before it is mounted, opens
//! nothing of the image by name after the root is frozen, and ends in one exec.

use crate::plan::Operation;

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
        }
    }
}

impl std::error::Error for Disorder {}

/// Phases never go back. What stands in one phase may come in any order.
fn phase(operation: &Operation) -> u8 {
    use Operation as O;
    match operation {
        // Attributes by the host's /proc, which nobody else can have put there.
        O::OomScoreAdj { .. } | O::Session | O::Attribute { .. } | O::Keyring { .. } => 0,
        O::EnterCgroup { .. } => 1,
        O::Unshare { .. } | O::Join { .. } | O::JoinContainer { .. } => 2,
        O::Propagation { .. } | O::MountContext { .. } => 3,
        O::Overlay { .. } | O::Directory { .. } => 4,
        O::Mount { .. }
        | O::Layers { .. }
        | O::Bind { .. }
        | O::BindSlot { .. }
        | O::Symlink { .. }
        | O::Device { .. }
        | O::MakeDirectory { .. }
        | O::Terminal { .. } => 5,
        O::Hostname { .. } | O::Domainname { .. } | O::Sysctl { .. } => 6,
        O::Mask { .. } | O::Freeze { .. } => 7,
        O::Enter => 8,
        O::RootPropagation { .. } => 9,
        // The working directory may have to be made: before the root is read-only.
        O::Chdir { .. } => 10,
        O::FreezeRoot => 11,
        O::Rlimit { .. } | O::Umask { .. } => 12,
        O::Bounding { .. } => 13,
        O::Become { .. } => 14,
        O::Capabilities { .. } => 15,
        O::NoNewPrivileges => 16,
        O::Seccomp { .. } => 17,
        O::Execute { .. } => 18,
    }
}

fn target(operation: &Operation) -> Option<&std::ffi::CStr> {
    use Operation as O;
    match operation {
        O::Mount { target, .. }
        | O::Layers { target, .. }
        | O::Bind { target, .. }
        | O::BindSlot { target, .. }
        | O::Symlink { at: target, .. }
        | O::Device { target, .. }
        | O::MakeDirectory { target, .. }
        | O::Mask { target }
        | O::Freeze { target } => Some(target),
        _ => None,
    }
}

/// Says whether the operations stand in an order that can work.
///
/// Without no_new_privs a filter needs a privilege (seccomp(2)), so [`Operation::Seccomp`] may stand before [`Operation::Become`]
/// when no [`Operation::NoNewPrivileges`] is in the list.
///
/// # Errors
/// [`Disorder`] with the first pair that stands the wrong way round.
pub fn check(operations: &[Operation]) -> Result<(), Disorder> {
    let ends = operations.iter().filter(|operation| matches!(operation, Operation::Execute { .. })).count();
    if ends != 1 || !matches!(operations.last(), Some(Operation::Execute { .. })) {
        return Err(Disorder::NoEnd);
    }
    let gains = !operations.iter().any(|operation| matches!(operation, Operation::NoNewPrivileges));
    let rank = |operation: &Operation| match operation {
        Operation::Seccomp { .. } if gains => 13,
        other => phase(other),
    };
    let mut highest = (0, 0);
    for (at, operation) in operations.iter().enumerate() {
        let here = rank(operation);
        if here < highest.0 {
            return Err(Disorder::TooEarly { early: highest.1, late: at });
        }
        if here > highest.0 {
            highest = (here, at);
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
    fn a_plan_ends_in_its_only_exec() {
        assert_eq!(check(&[Operation::Enter]), Err(Disorder::NoEnd));
        assert_eq!(check(&[execute(), execute()]), Err(Disorder::NoEnd));
    }

    #[test]
    fn no_target_leads_out_of_the_root() {
        for target in [c"/etc", c"a/../../etc", c""] {
            let mask = Operation::Mask { target: target.into() };
            assert_eq!(check(&[mask, execute()]), Err(Disorder::Path(0)));
        }
    }
}
