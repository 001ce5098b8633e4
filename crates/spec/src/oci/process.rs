//! Program, arguments, environment, directory, capabilities.
//!
//! *Invariant:* what goes to the kernel as a C string holds no NUL.

use std::path::PathBuf;

use oci_spec::runtime::{LinuxCapabilities, Process, User};
use orlop_model::report::Report;

use crate::capability;
use crate::input::Input;

/// Where programs are looked for if neither image nor request says.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Capabilities of a container's process, as masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Masks {
    /// What it may ever have; also what is effective and permitted (for a user who is not root, until exec).
    pub bounding: u64,
    /// What a program of a user who is not root keeps over exec.
    pub ambient: u64,
}

const FIELD: &str = "config.linux.security_context.capabilities";

/// What the container may do: the default, what is added, without what is dropped; never more than the daemon.
pub(super) fn capabilities(input: &Input<'_>, warnings: &mut Vec<String>) -> Result<Masks, Report> {
    let security = &input.config.security;
    let node = input.node.capabilities & capability::EVERY;
    let add = listed("add_capabilities", &security.add_capabilities)?;
    let drop = listed("drop_capabilities", &security.drop_capabilities)?;
    let ambient = listed("add_ambient_capabilities", &security.ambient_capabilities)?;
    let asked = if security.privileged {
        capability::EVERY
    } else {
        let start = if add.all { capability::EVERY } else { capability::DEFAULT };
        let start = if drop.all { 0 } else { start };
        (start | add.named | ambient.named) & !drop.named
    };
    let lacking = (add.named | ambient.named) & asked & !node;
    if lacking != 0 && !security.privileged {
        warnings.push(format!("the node cannot give {}", capability::names(lacking).join(", ")));
    }
    let bounding = asked & node;
    let ambient = if ambient.all { bounding } else { ambient.named & bounding };
    Ok(Masks { bounding, ambient })
}

struct Listed {
    all: bool,
    named: u64,
}

fn listed(part: &str, names: &[String]) -> Result<Listed, Report> {
    let mut listed = Listed { all: false, named: 0 };
    for name in names {
        if name.eq_ignore_ascii_case("ALL") {
            listed.all = true;
        } else {
            let no_such = || Report::field(format!("{FIELD}.{part}"), name, "is no capability");
            listed.named |= capability::bit(name).ok_or_else(no_such)?;
        }
    }
    Ok(listed)
}

/// Environment values that a spec cannot hold: name and value.
type RawEnvironment = Vec<(String, Vec<u8>)>;

/// The process of the spec.
pub(super) fn process(
    input: &Input<'_>,
    masks: Masks,
    warnings: &mut Vec<String>,
) -> Result<(Process, RawEnvironment), Report> {
    let (environment, raw) = environment(input, warnings)?;
    let mut user = User::default();
    user.set_uid(input.identity.uid)
        .set_gid(input.identity.gid)
        .set_umask(None)
        .set_additional_gids(Some(input.identity.groups.clone()));
    let set = |mask| Some(capability::set(mask));
    let mut capabilities = LinuxCapabilities::default();
    capabilities
        .set_bounding(set(masks.bounding))
        .set_effective(set(masks.bounding))
        .set_permitted(set(masks.bounding))
        .set_inheritable(set(masks.ambient))
        .set_ambient(set(masks.ambient));
    let mut process = Process::default();
    process
        .set_terminal(Some(input.config.tty))
        .set_console_size(None)
        .set_user(user)
        .set_args(Some(arguments(input)?))
        .set_env(Some(environment))
        .set_cwd(PathBuf::from(directory(input)?))
        .set_capabilities(Some(capabilities))
        .set_rlimits(None)
        .set_no_new_privileges(Some(input.config.security.no_new_privs && !input.config.security.privileged))
        .set_apparmor_profile(input.apparmor.map(str::to_owned))
        .set_selinux_label(input.labels.and_then(|labels| labels.process.clone()))
        .set_oom_score_adj(Some(oom_score_adj(input, warnings)?));
    Ok((process, raw))
}

/// Command and arguments as Kubernetes puts them together: a command replaces the image's entrypoint and its command with it,
/// arguments alone replace the image's command.
fn arguments(input: &Input<'_>) -> Result<Vec<String>, Report> {
    let config = input.config;
    let image = |part: Option<&Option<Vec<String>>>| part.cloned().flatten().unwrap_or_default();
    let mut all = config.command.clone();
    if config.command.is_empty() {
        all = image(input.image.map(oci_spec::image::Config::entrypoint));
    }
    if config.command.is_empty() && config.args.is_empty() {
        all.extend(image(input.image.map(oci_spec::image::Config::cmd)));
    } else {
        all.extend(config.args.iter().cloned());
    }
    if all.is_empty() {
        return Err(Report::field(
            "config.command",
            "",
            "no command: neither the request nor the image names a program",
        )
        .advise("set command, or args to an image's entrypoint"));
    }
    if all[0].is_empty() {
        return Err(Report::field("config.command", "", "the program's name is empty"));
    }
    all.iter()
        .find(|argument| argument.contains('\0'))
        .map_or(Ok(()), |argument| Err(Report::field("config.command", argument, "holds a NUL")))?;
    Ok(all)
}

/// The environment: later ones of a name replace earlier ones where they stand.
///
/// PATH and TERM come first and can be replaced by all; then the image's; HOSTNAME, which no image can know; then the request's;
/// and HOME, if nobody has said it.
fn environment(
    input: &Input<'_>,
    warnings: &mut Vec<String>,
) -> Result<(Vec<String>, RawEnvironment), Report> {
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    let mut put = |name: &str, value: &[u8]| match all.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value.to_vec(),
        None => all.push((name.to_owned(), value.to_vec())),
    };
    put("PATH", DEFAULT_PATH.as_bytes());
    if input.config.tty {
        put("TERM", b"xterm");
    }
    for entry in input.image.and_then(|image| image.env().as_ref()).into_iter().flatten() {
        match entry.split_once('=') {
            Some((name, value)) if !name.is_empty() && !entry.contains('\0') => put(name, value.as_bytes()),
            // An image is no reason to fail for what means nothing; other engines crash or pass it on.
            _ => warnings
                .push(format!("the image's environment entry \"{}\" is left out", entry.escape_debug())),
        }
    }
    put("HOSTNAME", input.facts.hostname.as_bytes());
    for (name, value) in &input.config.envs {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains(&0) {
            return Err(Report::field(
                "config.envs",
                name,
                "needs a name without = and no NUL in name or value",
            ));
        }
        put(name, value);
    }
    if !all.iter().any(|(name, value)| name == "HOME" && !value.is_empty()) {
        all.retain(|(name, _)| name != "HOME");
        all.push(("HOME".to_owned(), input.identity.home.replace('\0', "").into_bytes()));
    }
    let shown =
        all.iter().map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value))).collect();
    all.retain(|(_, value)| std::str::from_utf8(value).is_err());
    Ok((shown, all))
}

/// The working directory: the request's, else the image's (taken from the root if it is relative), else the root.
fn directory(input: &Input<'_>) -> Result<String, Report> {
    let asked = &input.config.working_dir;
    if !asked.is_empty() {
        let good = asked.starts_with('/') && !asked.contains('\0');
        return good
            .then(|| asked.clone())
            .ok_or_else(|| Report::field("config.working_dir", asked, "must be absolute"));
    }
    let image = input.image.and_then(|image| image.working_dir().as_deref()).unwrap_or_default();
    if image.contains('\0') {
        return Err(Report::field("image.config.WorkingDir", image, "holds a NUL"));
    }
    Ok(if image.starts_with('/') { image.to_owned() } else { format!("/{image}") })
}

fn oom_score_adj(input: &Input<'_>, warnings: &mut Vec<String>) -> Result<i32, Report> {
    let asked = input.config.resources.oom_score_adj;
    let score =
        i32::try_from(asked).ok().filter(|score| (-1000..=1000).contains(score)).ok_or_else(|| {
            Report::field("config.linux.resources.oom_score_adj", asked, "must be -1000 to 1000")
        })?;
    if score < input.node.oom_floor {
        warnings.push(format!(
            "oom_score_adj {score} is raised to {}: the daemon lacks CAP_SYS_RESOURCE to go lower",
            input.node.oom_floor
        ));
    }
    Ok(score.max(input.node.oom_floor))
}
