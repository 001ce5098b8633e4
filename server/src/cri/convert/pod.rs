//! What is asked of a pod sandbox.
//!
//! *Invariant:* what comes out can be made, as far as that is to be seen without looking at the node.

use orlop_model::pod::{Dns, PodConfig, PodName, Seccomp};
use orlop_model::report::Report;
use orlop_proto::runtime::v1;

use super::profiles::{self, Profile};
use super::{Node, check, missing, namespaces, ports, resources, security, sysctl, unsupported};

/// The kernel's `__NEW_UTS_LEN`.
const HOSTNAME_MAX: usize = 64;
const CONTEXT: &str = "config.linux.security_context";

/// Checks a request for a pod.
///
/// # Errors
/// A report that names the first field that cannot be.
pub(crate) fn pod_config(
    config: &v1::PodSandboxConfig,
    handler: &str,
    node: Node,
) -> Result<PodConfig, Report> {
    if config.windows.is_some() {
        return Err(unsupported("config.windows", "a pod of Windows"));
    }
    let silent = v1::LinuxPodSandboxConfig::default();
    let linux = config.linux.as_ref().unwrap_or(&silent);
    let silent = v1::LinuxSandboxSecurityContext::default();
    let context = linux.security_context.as_ref().unwrap_or(&silent);

    let name = pod_name(config.metadata.as_ref())?;
    let seccomp = sandbox_security(context, node)?;
    let selinux =
        profiles::selinux(&format!("{CONTEXT}.selinux_options"), context.selinux_options.as_ref(), node)?;
    let namespaces = namespaces::of_pod(
        &format!("{CONTEXT}.namespace_options"),
        context.namespace_options.as_ref(),
        node,
    )?;
    for (field, sums) in
        [("config.linux.overhead", &linux.overhead), ("config.linux.resources", &linux.resources)]
    {
        sums.as_ref().map(|sums| resources(field, sums)).transpose()?;
    }
    Ok(PodConfig {
        name,
        hostname: hostname(&config.hostname, namespaces.host_network)?,
        log_directory: log_directory(&config.log_directory)?,
        dns: config.dns_config.as_ref().map(dns).transpose()?,
        ports: ports::ports(&config.port_mappings, namespaces.host_network)?,
        labels: check::map("config.labels", &config.labels)?,
        annotations: check::map("config.annotations", &config.annotations)?,
        handler: if handler.is_empty() { String::new() } else { check::name("runtime_handler", handler)? },
        cgroup_parent: match linux.cgroup_parent.as_str() {
            "" => String::new(),
            path => check::cgroup("config.linux.cgroup_parent", path)?,
        },
        sysctls: sysctl::sysctls(&linux.sysctls, namespaces)?,
        namespaces,
        privileged: context.privileged,
        seccomp,
        selinux,
    })
}

fn pod_name(metadata: Option<&v1::PodSandboxMetadata>) -> Result<PodName, Report> {
    let metadata = metadata.ok_or_else(|| missing("config.metadata"))?;
    Ok(PodName {
        name: check::name("config.metadata.name", &metadata.name)?,
        namespace: check::name("config.metadata.namespace", &metadata.namespace)?,
        uid: check::name("config.metadata.uid", &metadata.uid)?,
        attempt: metadata.attempt,
    })
}

/// The sandbox's own filter. Of the rest it is only seen that it could be: a sandbox runs nothing of anybody's, so that user,
/// groups and root have nothing to apply to.
#[expect(deprecated, reason = "older clients set the older form of a profile")]
fn sandbox_security(asked: &v1::LinuxSandboxSecurityContext, node: Node) -> Result<Seccomp, Report> {
    let profile = |name, new, old_name, old| Profile { parent: CONTEXT, name, new, old_name, old };
    profile("apparmor", asked.apparmor.as_ref(), "apparmor", "").apparmor(node)?;
    security::user(asked.run_as_user.as_ref(), "", asked.run_as_group.as_ref())?;
    security::groups(&asked.supplemental_groups)?;
    security::policy(asked.supplemental_groups_policy)?;
    profile("seccomp", asked.seccomp.as_ref(), "seccomp_profile_path", &asked.seccomp_profile_path).seccomp()
}

/// A name as RFC 1123 has it. A pod in the node's network keeps the node's name, whatever that is.
fn hostname(name: &str, host_network: bool) -> Result<String, Report> {
    const FIELD: &str = "config.hostname";
    check::text(FIELD, name, if host_network { 253 } else { HOSTNAME_MAX })?;
    if host_network {
        return Ok(String::new());
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.is_empty() || name.split('.').all(label) {
        Ok(name.to_owned())
    } else {
        Err(Report::field(FIELD, name, "it is no host name")
            .advise("letters, digits and -, in parts with dots between"))
    }
}

fn log_directory(path: &str) -> Result<String, Report> {
    const FIELD: &str = "config.log_directory";
    if path.is_empty() {
        return Ok(String::new());
    }
    check::no_climbing(FIELD, path)?;
    check::inside(FIELD, path)
}

/// Lines of resolv.conf(5): what is one word there has no space.
fn dns(asked: &v1::DnsConfig) -> Result<Dns, Report> {
    let words = |name: &str, words: &[String], good: fn(&str) -> bool, cause: &'static str| {
        for (at, word) in words.iter().enumerate() {
            let field = format!("config.dns_config.{name}[{at}]");
            check::text(&field, word, 255)?;
            if !good(word) {
                return Err(Report::field(field, word, cause));
            }
        }
        Ok(words.to_vec())
    };
    let one_word = |word: &str| !word.is_empty() && !word.contains(char::is_whitespace);
    // A link-local address has its interface behind a %.
    let address =
        |word: &str| word.split('%').next().is_some_and(|ip| ip.parse::<std::net::IpAddr>().is_ok());
    Ok(Dns {
        servers: words("servers", &asked.servers, address, "it is no IP address")?,
        searches: words("searches", &asked.searches, one_word, "it is no domain")?,
        options: words("options", &asked.options, one_word, "it is no option of resolv.conf")?,
    })
}
