//! What was compiled already: nearly all containers of a node share a handful of filters.
//!
//! *Invariant:* what comes out is what [`compile`] gives for the same profile; the memory held is bounded.

use std::sync::{Mutex, PoisonError};

use oci_spec::runtime::LinuxSeccomp;
use orlop_model::report::Report;

use super::compile::{Compiled, compile};
use super::table::Arch;

/// How many filters are kept; a filter takes a few KiB.
const MOST: usize = 64;

/// Filters by profile. Profiles are compared whole: that takes microseconds and cannot collide.
#[derive(Debug, Default)]
pub struct Filters {
    /// Latest used last.
    kept: Mutex<Vec<(LinuxSeccomp, Compiled)>>,
}

impl Filters {
    /// The filter of a profile, for this machine's architecture.
    ///
    /// # Errors
    /// As [`compile`].
    pub fn get(&self, profile: &LinuxSeccomp) -> Result<Compiled, Report> {
        // A panic elsewhere leaves the list whole: each change is one push or swap.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|(known, _)| known == profile) {
            let found = kept.remove(at);
            let compiled = found.1.clone();
            kept.push(found);
            return Ok(compiled);
        }
        drop(kept);
        let compiled = compile(profile, Arch::NATIVE)?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST {
            kept.remove(0);
        }
        kept.push((profile.clone(), compiled.clone()));
        Ok(compiled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::default;

    #[test]
    fn the_same_profile_is_compiled_once_and_others_push_it_out() {
        let filters = Filters::default();
        let first = default::profile(0, Arch::NATIVE);
        let compiled = filters.get(&first).expect("good");
        assert_eq!(filters.get(&first).expect("good"), compiled);
        assert_eq!(filters.kept.lock().expect("whole").len(), 1);
        for errno in 0..u32::try_from(MOST).expect("small") {
            let mut other = first.clone();
            other.set_default_errno_ret(Some(errno + 100));
            filters.get(&other).expect("good");
        }
        let kept = filters.kept.lock().expect("whole");
        assert_eq!(kept.len(), MOST);
        assert!(kept.iter().all(|(profile, _)| *profile != first));
    }
}
