//! Seccomp, AppArmor and SELinux.
//!
//! *Invariant:* the newer field of a profile counts where it is set, the older text only where it is not. A confinement that would
//! not be there is refused.

use orlop_model::pod::{AppArmor, Seccomp, Selinux};
use orlop_model::report::{Kind, Report};
use orlop_proto::runtime::v1::SeLinuxOption;
use orlop_proto::runtime::v1::SecurityProfile;
use orlop_proto::runtime::v1::security_profile::ProfileType;

use super::{Node, check};

/// The longest name of a profile that is taken: a page has to hold it when it is said to the kernel.
const APPARMOR_MAX: usize = 4000;

/// A profile as it is asked for, whatever it is of.
#[derive(Debug, PartialEq, Eq)]
enum Asked<'a> {
    Nothing,
    Unconfined,
    RuntimeDefault,
    /// With the field that names it.
    Localhost(String, &'a str),
}

/// Where either form of a profile stands in the request.
pub(super) struct Profile<'a> {
    /// Path of the message that has both.
    pub(super) parent: &'a str,
    /// Name of the newer field.
    pub(super) name: &'a str,
    /// What it has.
    pub(super) new: Option<&'a SecurityProfile>,
    /// Name of the older field.
    pub(super) old_name: &'a str,
    /// What it has.
    pub(super) old: &'a str,
}

impl<'a> Profile<'a> {
    fn asked(&self) -> Result<Asked<'a>, Report> {
        let Some(profile) = self.new else { return self.asked_by_text() };
        let field = format!("{}.{}", self.parent, self.name);
        let reference = profile.localhost_ref.as_str();
        let reference_field = format!("{field}.localhost_ref");
        let asked = match ProfileType::try_from(profile.profile_type) {
            Ok(ProfileType::RuntimeDefault) => Asked::RuntimeDefault,
            Ok(ProfileType::Unconfined) => Asked::Unconfined,
            Ok(ProfileType::Localhost) if reference.is_empty() => {
                return Err(Report::field(reference_field, reference, "Localhost needs it"));
            }
            Ok(ProfileType::Localhost) => return Ok(Asked::Localhost(reference_field, reference)),
            Err(_) => {
                let field = format!("{field}.profile_type");
                let allowed = "allowed: RuntimeDefault (0), Unconfined (1), Localhost (2)";
                return Err(Report::field(field, profile.profile_type, allowed));
            }
        };
        if reference.is_empty() {
            Ok(asked)
        } else {
            Err(Report::field(reference_field, reference, "only Localhost has one"))
        }
    }

    fn asked_by_text(&self) -> Result<Asked<'a>, Report> {
        let field = format!("{}.{}", self.parent, self.old_name);
        match self.old {
            "" => Ok(Asked::Nothing),
            "unconfined" => Ok(Asked::Unconfined),
            "runtime/default" | "docker/default" => Ok(Asked::RuntimeDefault),
            other => match other.strip_prefix("localhost/") {
                Some(reference) if !reference.is_empty() => Ok(Asked::Localhost(field, reference)),
                _ => Err(Report::field(field, other, "it is no profile")
                    .advise("allowed: unconfined, runtime/default, localhost/ and a path or name")),
            },
        }
    }

    /// The profile as a filter of system calls.
    pub(super) fn seccomp(&self) -> Result<Seccomp, Report> {
        match self.asked()? {
            Asked::Nothing | Asked::Unconfined => Ok(Seccomp::Unconfined),
            Asked::RuntimeDefault => Ok(Seccomp::RuntimeDefault),
            Asked::Localhost(field, reference) => {
                check::no_climbing(&field, reference)?;
                check::absolute(&field, reference).map(Seccomp::Localhost)
            }
        }
    }

    /// The profile as one of AppArmor. Where the kernel has none, its default is nothing, and no other can be had.
    pub(super) fn apparmor(&self, node: Node) -> Result<AppArmor, Report> {
        match self.asked()? {
            Asked::Nothing => Ok(AppArmor::Unsaid),
            Asked::Unconfined => Ok(AppArmor::Unconfined),
            Asked::RuntimeDefault => Ok(AppArmor::RuntimeDefault),
            Asked::Localhost(field, name) => {
                let name = name.strip_prefix("localhost/").unwrap_or(name);
                check::text(&field, name, APPARMOR_MAX)?;
                if !node.apparmor {
                    let cause = "the kernel of this node has no AppArmor, or it is turned off";
                    return Err(Report { kind: Kind::Unsupported, ..Report::field(field, name, cause) });
                }
                Ok(AppArmor::Localhost(name.to_owned()))
            }
        }
    }
}

/// A context of SELinux, of which every part may be left to the runtime.
pub(super) fn selinux(field: &str, asked: Option<&SeLinuxOption>, node: Node) -> Result<Selinux, Report> {
    let Some(asked) = asked.filter(|asked| **asked != SeLinuxOption::default()) else {
        return Ok(Selinux::default());
    };
    if !node.selinux {
        let parts = [&*asked.user, &asked.role, &asked.r#type, &asked.level];
        let label = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(":");
        let cause = "the kernel of this node has no SELinux, or no policy that knows containers";
        return Err(Report { kind: Kind::Unsupported, ..Report::field(field, label, cause) });
    }
    for (name, part) in [("user", &asked.user), ("role", &asked.role), ("type", &asked.r#type)] {
        let field = format!("{field}.{name}");
        check::text(&field, part, 255)?;
        if part.contains([':', ' ']) {
            return Err(Report::field(field, part, "a part of a context has no : and no space"));
        }
    }
    if !asked.level.is_empty() && !orlop_spec::selinux::is_level(&asked.level) {
        let field = format!("{field}.level");
        return Err(Report::field(field, &asked.level, "it is no level").advise("as s0:c1,c2"));
    }
    let (user, role, kind) = (asked.user.clone(), asked.role.clone(), asked.r#type.clone());
    Ok(Selinux { user, role, kind, level: asked.level.clone() })
}
