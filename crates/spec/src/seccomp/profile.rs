//! Profiles in JSON, as the OCI runtime spec and container engines write them.
//!
//! Engines add to the OCI form: `archMap` in the place of `architectures`, and `includes`, `excludes` that make a rule depend on
//! capabilities, architecture and kernel. [`Profile::resolve`] decides those and gives the OCI form.
//!
//! *Invariant:* a profile that is not understood is refused, never taken to mean less.

use oci_spec::runtime::{
    Arch as OciArch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSyscall,
};
use orlop_model::report::{Kind, Report};
use serde::Deserialize;

use super::table::Arch;
use crate::capability;

/// Longest profile that is read: the largest known ones have 30 KiB.
const MOST: usize = 1 << 20;

/// A profile as it was written.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<OciArch>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchMap>>,
    #[serde(default)]
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    #[serde(default)]
    listener_path: Option<String>,
    #[serde(default)]
    syscalls: Option<Vec<Rule>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: OciArch,
    #[serde(default)]
    sub_architectures: Option<Vec<OciArch>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<LinuxSeccompArg>>,
    #[serde(default)]
    includes: Option<Conditions>,
    #[serde(default)]
    excludes: Option<Conditions>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Conditions {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// For whom a profile is meant to hold.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// Bounding set of the process.
    pub capabilities: u64,
    /// Architecture of the kernel.
    pub native: Arch,
    /// Version of the kernel: major, minor.
    pub kernel: (u32, u32),
}

impl Profile {
    /// Reads a profile; `name` is what errors call it.
    ///
    /// # Errors
    /// A [`Report`] that says at which line what is wrong.
    pub fn parse(name: &str, json: &[u8]) -> Result<Profile, Report> {
        let bad =
            |cause: &dyn std::fmt::Display| Report::new(Kind::BadRequest, "seccomp profile", name, cause);
        if json.len() > MOST {
            return Err(bad(&"is longer than 1 MiB"));
        }
        let profile: Profile = serde_json::from_slice(json).map_err(|error| bad(&error))?;
        if profile.architectures.as_ref().is_some_and(|list| !list.is_empty())
            && profile.arch_map.as_ref().is_some_and(|list| !list.is_empty())
        {
            return Err(bad(&"has both architectures and archMap"));
        }
        if profile.listener_path.as_ref().is_some_and(|path| !path.is_empty()) {
            return Err(Report::new(
                Kind::Unsupported,
                "seccomp profile",
                name,
                "listenerPath: no listener is told of calls",
            ));
        }
        for rule in profile.syscalls.iter().flatten() {
            rule.check().map_err(|cause| bad(&cause))?;
        }
        Ok(profile)
    }

    /// The OCI form of the profile, its conditions decided for `subject`.
    #[must_use]
    pub fn resolve(&self, subject: Subject) -> LinuxSeccomp {
        let rules =
            self.syscalls.iter().flatten().filter(|rule| rule.holds(subject)).map(Rule::to_oci).collect();
        let mapped =
            self.arch_map.iter().flatten().find(|map| map.architecture == subject.native.oci()).map(|map| {
                let mut all = vec![map.architecture];
                all.extend(map.sub_architectures.iter().flatten());
                all
            });
        let mut profile = LinuxSeccomp::default();
        profile
            .set_default_action(self.default_action)
            .set_default_errno_ret(self.default_errno_ret)
            .set_architectures(mapped.or_else(|| self.architectures.clone()))
            .set_flags(self.flags.clone())
            .set_syscalls(Some(rules));
        profile
    }
}

impl Rule {
    fn names(&self) -> impl Iterator<Item = &String> {
        self.names.iter().flatten().chain(&self.name)
    }

    fn check(&self) -> Result<(), String> {
        if self.names().next().is_none() {
            return Err("a rule has no names".into());
        }
        for conditions in self.includes.iter().chain(&self.excludes) {
            if let Some(name) = conditions.caps.iter().flatten().find(|name| capability::bit(name).is_none())
            {
                return Err(format!("\"{}\" is no capability", name.escape_debug()));
            }
            if let Some(version) = &conditions.min_kernel
                && version_of(version).is_none()
            {
                return Err(format!("minKernel \"{}\" is no version", version.escape_debug()));
            }
        }
        Ok(())
    }

    /// All that it includes, and nothing that it excludes.
    fn holds(&self, subject: Subject) -> bool {
        let has = |name: &String| capability::bit(name).is_some_and(|bit| subject.capabilities & bit != 0);
        let here = |arch: &String| arch == subject.native.go_name();
        let newer = |version: &String| version_of(version).is_some_and(|version| subject.kernel >= version);
        let included = self.includes.as_ref().is_none_or(|all| {
            all.caps.iter().flatten().all(has)
                && all.arches.as_ref().is_none_or(|list| list.is_empty() || list.iter().any(here))
                && all.min_kernel.as_ref().is_none_or(newer)
        });
        let excluded = self.excludes.as_ref().is_some_and(|any| {
            any.caps.iter().flatten().any(has)
                || any.arches.iter().flatten().any(here)
                || any.min_kernel.as_ref().is_some_and(newer)
        });
        included && !excluded
    }

    fn to_oci(&self) -> LinuxSyscall {
        let mut rule = LinuxSyscall::default();
        rule.set_names(self.names().cloned().collect())
            .set_action(self.action)
            .set_errno_ret(self.errno_ret)
            .set_args(self.args.clone());
        rule
    }
}

fn version_of(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
