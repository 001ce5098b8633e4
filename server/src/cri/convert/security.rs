//! What a container may do, and as whom.
//!
//! *Invariant:* capabilities come out by the kernel's names without `CAP_`, or as `ALL`.

use orlop_model::container::{GroupsPolicy, Security, User};
use orlop_model::pod::PodConfig;
use orlop_model::report::Report;
use orlop_proto::runtime::v1::{Int64Value, LinuxContainerSecurityContext, SupplementalGroupsPolicy};
use orlop_spec::capability;

use super::profiles::{self, Profile};
use super::{Node, check, namespaces};

const FIELD: &str = "config.linux.security_context";

/// As many groups as a process can have: `NGROUPS_MAX`.
const GROUPS_MAX: usize = 65536;

fn of(name: &str) -> String {
    format!("{FIELD}.{name}")
}

/// Who runs a program, of the three fields that say so.
pub(super) fn user(
    id: Option<&Int64Value>,
    name: &str,
    group: Option<&Int64Value>,
) -> Result<(User, Option<u32>), Report> {
    let group = group.map(|group| check::id(&of("run_as_group"), group.value)).transpose()?;
    let user = match (id, name) {
        (Some(id), "") => User::Id(check::id(&of("run_as_user"), id.value)?),
        (None, "") => User::Image,
        (None, name) => {
            check::text(&of("run_as_username"), name, 256)?;
            // What /etc/passwd cannot hold, and what would be a user and a group.
            if name.contains([':', '/']) {
                return Err(Report::field(of("run_as_username"), name, "a user's name has no : and no /"));
            }
            User::Name(name.to_owned())
        }
        (Some(_), name) => {
            return Err(Report::field(
                of("run_as_username"),
                name,
                "run_as_user is set, too: only one can be",
            ));
        }
    };
    match group {
        Some(group) if user == User::Image => {
            let cause = "it needs run_as_user or run_as_username";
            Err(Report::field(of("run_as_group"), group, cause))
        }
        group => Ok((user, group)),
    }
}

/// Further groups.
pub(super) fn groups(asked: &[i64]) -> Result<Vec<u32>, Report> {
    if asked.len() > GROUPS_MAX {
        let cause = format_args!("a process has {GROUPS_MAX} groups at most").to_string();
        return Err(Report::field(of("supplemental_groups"), asked.len(), cause));
    }
    let each = |(at, group): (usize, &i64)| check::id(&of(&format!("supplemental_groups[{at}]")), *group);
    asked.iter().enumerate().map(each).collect()
}

/// How those of /etc/group count.
pub(super) fn policy(number: i32) -> Result<GroupsPolicy, Report> {
    match SupplementalGroupsPolicy::try_from(number) {
        Ok(SupplementalGroupsPolicy::Merge) => Ok(GroupsPolicy::Merge),
        Ok(SupplementalGroupsPolicy::Strict) => Ok(GroupsPolicy::Strict),
        Err(_) => {
            let field = of("supplemental_groups_policy");
            Err(Report::field(field, number, "allowed: Merge (0), Strict (1)"))
        }
    }
}

fn capabilities(name: &str, asked: &[String], all: bool) -> Result<Vec<String>, Report> {
    let each = |(at, asked): (usize, &String)| {
        if all && asked.eq_ignore_ascii_case("ALL") {
            return Ok("ALL".to_owned());
        }
        let known = capability::bit(asked).and_then(|bit| capability::names(bit).first().copied());
        let field = || of(&format!("capabilities.{name}[{at}]"));
        known.map(str::to_owned).ok_or_else(|| {
            Report::field(field(), asked, "there is no such capability").advise("as NET_ADMIN")
        })
    };
    asked.iter().enumerate().map(each).collect()
}

fn paths(name: &str, asked: &[String]) -> Result<Vec<String>, Report> {
    let each = |(at, path): (usize, &String)| check::inside(&of(&format!("{name}[{at}]")), path);
    asked.iter().enumerate().map(each).collect()
}

/// What a container of `pod` may do.
#[expect(deprecated, reason = "older clients set the older form of a profile")]
pub(super) fn security(
    asked: &LinuxContainerSecurityContext,
    pod: &PodConfig,
    node: Node,
) -> Result<Security, Report> {
    if asked.privileged && !pod.privileged {
        let advice = "set linux.security_context.privileged of the pod, too";
        return Err(Report::field(of("privileged"), true, "its pod is not privileged").advise(advice));
    }
    let selinux = profiles::selinux(&of("selinux_options"), asked.selinux_options.as_ref(), node)?;
    let profile = |name, new, old_name, old| Profile { parent: FIELD, name, new, old_name, old };
    let apparmor = profile("apparmor", asked.apparmor.as_ref(), "apparmor_profile", &asked.apparmor_profile)
        .apparmor(node)?;
    let seccomp =
        profile("seccomp", asked.seccomp.as_ref(), "seccomp_profile_path", &asked.seccomp_profile_path)
            .seccomp()?;
    let (user, group) =
        user(asked.run_as_user.as_ref(), &asked.run_as_username, asked.run_as_group.as_ref())?;
    let sets = asked.capabilities.clone().unwrap_or_default();
    Ok(Security {
        privileged: asked.privileged,
        pid: namespaces::of_container(
            &of("namespace_options"),
            asked.namespace_options.as_ref(),
            pod.namespaces,
        )?,
        user,
        group,
        supplemental_groups: groups(&asked.supplemental_groups)?,
        groups_policy: policy(asked.supplemental_groups_policy)?,
        readonly_rootfs: asked.readonly_rootfs,
        no_new_privs: asked.no_new_privs,
        add_capabilities: capabilities("add_capabilities", &sets.add_capabilities, true)?,
        drop_capabilities: capabilities("drop_capabilities", &sets.drop_capabilities, true)?,
        ambient_capabilities: capabilities(
            "add_ambient_capabilities",
            &sets.add_ambient_capabilities,
            false,
        )?,
        masked_paths: paths("masked_paths", &asked.masked_paths)?,
        readonly_paths: paths("readonly_paths", &asked.readonly_paths)?,
        seccomp,
        apparmor,
        selinux,
    })
}
