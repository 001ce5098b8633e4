//! Versions of the CNI specification.
//!
//! *Invariant:* what is not in [`Version::ALL`] is never spoken.

use std::fmt;

/// A version that this client speaks. Older ones (0.1.0, 0.2.0) have results of another shape and no chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// 0.3.0, the first with chains.
    V030,
    /// 0.3.1, the same with an error mended.
    V031,
    /// 0.4.0: CHECK; `prevResult` for DEL.
    V040,
    /// 1.0.0: an address tells no version.
    V100,
    /// 1.1.0: GC, STATUS.
    V110,
}

impl Version {
    /// All of them, the oldest first.
    pub(crate) const ALL: [Version; 5] =
        [Version::V030, Version::V031, Version::V040, Version::V100, Version::V110];

    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Version::V030 => "0.3.0",
            Version::V031 => "0.3.1",
            Version::V040 => "0.4.0",
            Version::V100 => "1.0.0",
            Version::V110 => "1.1.0",
        }
    }

    /// The version of this name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.name() == name)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_one_is_more() {
        assert!(Version::ALL.is_sorted());
        for version in Version::ALL {
            assert_eq!(Version::parse(version.name()), Some(version));
        }
        for other in ["", "0.1.0", "0.2.0", "1.1", "1.1.1", "v1.0.0"] {
            assert_eq!(Version::parse(other), None, "{other}");
        }
    }
}
