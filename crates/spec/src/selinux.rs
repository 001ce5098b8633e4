//! SELinux contexts of a pod and its containers: from the node's policy, what is asked for, and a level that is the pod's alone.
//!
//! Two containers of one type are kept apart by their categories: each pod has a pair of the 1024 that policies know, so that what
//! one has labelled the other cannot open (multi-category security).
//!
//! *Invariant:* pure. Which levels are taken is for the caller to say; the same pod tries them in the same order.

use std::fmt;

use orlop_model::pod::Selinux;

/// Categories of a policy: c0 to c1023.
const CATEGORIES: u32 = 1024;
/// Pairs of different categories.
const PAIRS: u32 = CATEGORIES * (CATEGORIES - 1) / 2;
/// The level of files that only privileged containers have to read: no pair ends so that is given to a pod.
const PRIVATE: &str = "s0:c1022,c1023";

/// A context: `system_u:system_r:container_t:s0:c1,c2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    user: String,
    role: String,
    kind: String,
    level: String,
}

impl Context {
    /// Reads one; a policy without levels has none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ':').map(str::to_owned);
        let (user, role, kind) = (parts.next()?, parts.next()?, parts.next()?);
        let level = parts.next().unwrap_or_default();
        let whole = [&user, &role, &kind].iter().all(|part| !part.is_empty());
        whole.then_some(Context { user, role, kind, level })
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.user, self.role, self.kind)?;
        if self.level.is_empty() { Ok(()) } else { write!(f, ":{}", self.level) }
    }
}

/// What a policy gives containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    process: Context,
    file: Context,
}

impl Policy {
    /// Of the policy's file `contexts/lxc_contexts`: `process = "..."` and `file = "..."`, a line each.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let of = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            let (_, value) = lines.find(|(key, _)| key.trim() == name)?;
            Context::parse(value.trim().trim_matches('"'))
        };
        Some(Policy { process: of("process")?, file: of("file")? })
    }

    /// The contexts of a container: of its processes, none if it is privileged, and of its files.
    ///
    /// `level` is its pod's. What is asked for the process counts for files, too, where they have such a part.
    #[must_use]
    pub fn labels(&self, level: &str, asked: &Selinux, privileged: bool) -> Labels {
        let mut file = self.file.clone();
        if privileged {
            PRIVATE.clone_into(&mut file.level);
            return Labels { process: None, file: file.to_string() };
        }
        let or = |asked: &str, otherwise: &str| if asked.is_empty() { otherwise } else { asked }.to_owned();
        let process = Context {
            user: or(&asked.user, &self.process.user),
            role: or(&asked.role, &self.process.role),
            kind: or(&asked.kind, &self.process.kind),
            level: or(&asked.level, level),
        };
        file.user = or(&asked.user, &self.file.user);
        file.level.clone_from(&process.level);
        Labels { process: Some(process.to_string()), file: file.to_string() }
    }
}

/// Contexts of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// Of its processes; none: as whoever starts them.
    pub process: Option<String>,
    /// Of its files.
    pub file: String,
}

/// A level that no other pod has: the first that is free of those that follow from `seed`, the pod's id.
///
/// None if all are taken.
#[must_use]
pub fn free_level(seed: &str, taken: impl Fn(&str) -> bool) -> Option<String> {
    // FNV-1a: all that is needed is that ids of pods do not begin at one place.
    let start =
        seed.bytes().fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let start = start % PAIRS;
    (0..PAIRS).map(|step| level((start + step) % PAIRS)).find(|level| level != PRIVATE && !taken(level))
}

/// The level with the pair of this number: `s0:c0,c1` for the first, in the order of the greater category.
fn level(number: u32) -> String {
    let mut greater = 1;
    let mut left = number;
    while left >= greater {
        left -= greater;
        greater += 1;
    }
    format!("s0:c{left},c{greater}")
}

/// Whether it is a level as Kubernetes takes it: a sensitivity or two, and categories, single or from-to.
#[must_use]
pub fn is_level(text: &str) -> bool {
    let (sensitivities, categories) = match text.split_once(':') {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    };
    let number = |text: &str, letter: char, most: usize| {
        text.strip_prefix(letter).is_some_and(|digits| {
            (1..=most).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let parts: Vec<&str> = sensitivities.split('-').collect();
    let category = |text: &str| {
        let ends: Vec<&str> = text.split('.').collect();
        ends.len() <= 2 && ends.iter().all(|end| number(end, 'c', 4))
    };
    parts.len() <= 2
        && parts.iter().all(|part| number(part, 's', 2))
        && categories.is_none_or(|list| list.split(',').all(category))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const CONTEXTS: &str = "\
process = \"system_u:system_r:container_t:s0\"
content = \"system_u:object_r:virt_var_lib_t:s0\"
file = \"system_u:object_r:container_file_t:s0\"
sandbox_kvm_process = \"system_u:system_r:container_kvm_t:s0\"
";

    fn policy() -> Policy {
        Policy::parse(CONTEXTS).expect("a policy")
    }

    #[test]
    fn a_container_has_its_pod_s_level() {
        let labels = policy().labels("s0:c1,c2", &Selinux::default(), false);
        assert_eq!(labels.process.as_deref(), Some("system_u:system_r:container_t:s0:c1,c2"));
        assert_eq!(labels.file, "system_u:object_r:container_file_t:s0:c1,c2");
    }

    #[test]
    fn what_is_asked_for_replaces_part_by_part() {
        let asked = |user: &str, role: &str, kind: &str, level: &str| Selinux {
            user: user.into(),
            role: role.into(),
            kind: kind.into(),
            level: level.into(),
        };
        let table = [
            (
                asked("", "", "spc_t", ""),
                "system_u:system_r:spc_t:s0:c1,c2",
                "system_u:object_r:container_file_t:s0:c1,c2",
            ),
            (
                asked("", "", "", "s0:c7"),
                "system_u:system_r:container_t:s0:c7",
                "system_u:object_r:container_file_t:s0:c7",
            ),
            (asked("u", "r", "t", "s1"), "u:r:t:s1", "u:object_r:container_file_t:s1"),
        ];
        for (asked, process, file) in table {
            let labels = policy().labels("s0:c1,c2", &asked, false);
            assert_eq!((labels.process.as_deref(), labels.file.as_str()), (Some(process), file));
        }
    }

    #[test]
    fn a_privileged_container_is_not_confined_and_its_files_are_nobody_s() {
        let labels = policy().labels("s0:c1,c2", &Selinux::default(), true);
        let file = "system_u:object_r:container_file_t:s0:c1022,c1023".to_owned();
        assert_eq!(labels, Labels { process: None, file });
    }

    #[test]
    fn a_policy_that_says_nothing_of_containers_is_none() {
        for text in ["", "process = \"a:b:c\"\n", "process = \"a:b\"\nfile = \"a:b:c:s0\"\n"] {
            assert_eq!(Policy::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn every_pair_of_categories_is_a_level_of_its_own() {
        assert_eq!([0, 1, 2, 3].map(level), ["s0:c0,c1", "s0:c0,c2", "s0:c1,c2", "s0:c0,c3"]);
        assert_eq!(level(PAIRS - 1), PRIVATE);
        let some: HashSet<String> = (0..2000).map(level).collect();
        assert_eq!(some.len(), 2000);
        assert!(some.iter().all(|level| is_level(level)));
    }

    #[test]
    fn no_two_pods_get_one_level_and_each_gets_its_own_again() {
        let mut taken = HashSet::new();
        for pod in 0..300 {
            let level =
                free_level(&format!("pod-{pod}"), |level| taken.contains(level)).expect("one is free");
            assert!(level != PRIVATE && taken.insert(level));
        }
        let first = free_level("a", |_| false);
        assert_eq!(free_level("a", |_| false), first);
        assert_ne!(free_level("a", |level| Some(level) == first.as_deref()), first);
        assert_eq!(free_level("a", |_| true), None);
    }

    #[test]
    fn levels_are_what_kubernetes_takes() {
        for good in ["s0", "s0:c1", "s0:c1,c2", "s0-s1:c0.c1023", "s0:c1.c4,c9", "s15:c1023"] {
            assert!(is_level(good), "{good}");
        }
        for bad in [
            "",
            "s",
            "x0",
            "s0:",
            "s0:c",
            "s0:c1,",
            "s0-s1-s2",
            "s0:c10000",
            "s0:c1.c2.c3",
            "s0 :c1",
            "s0:c1:c2",
        ] {
            assert!(!is_level(bad), "{bad}");
        }
    }
}
