//! AppArmor profiles: which one a container gets, whether it is loaded, and the runtime's own, which is loaded when it is first needed.
//!
//! ```text
//!  asked for          the kernel has AppArmor          it has not
//!  nothing            orlop-default, if it can be      none
//!  RuntimeDefault     orlop-default, or refused        none
//!  Localhost          if loaded, else refused          refused at the door
//!  Unconfined         none                             none
//! ```
//! A privileged container gets none but one that is named.
//!
//! *Invariant:* a profile that is in a plan was loaded when the plan was made. Nothing is unloaded: containers outlive the daemon.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use orlop_model::pod::AppArmor;
use orlop_model::report::{Kind, Report};
use orlop_spec::apparmor;

/// What is loaded, a line each: the name, and in parentheses how it is meant (apparmor(7)).
const LOADED: &str = "/sys/kernel/security/apparmor/profiles";
/// Where the program that loads profiles is.
const PARSERS: [&str; 3] = ["/sbin/apparmor_parser", "/usr/sbin/apparmor_parser", "/usr/bin/apparmor_parser"];
/// What tells it which version of the rules a profile is written for.
const ABI: &str = "/etc/apparmor.d/abi/3.0";
/// How long it may take; a second is much.
const PATIENCE: Duration = Duration::from_secs(30);

const FIELD: &str = "config.linux.security_context.apparmor";

/// Held while the runtime's own profile is loaded, so that it is loaded once.
#[derive(Debug, Default)]
pub(crate) struct Loader(Mutex<()>);

impl Loader {
    /// The name of the profile that a container gets; `enabled`: whether the kernel has AppArmor. In a blocking thread only.
    ///
    /// # Errors
    /// That the one asked for is not loaded, or the runtime's own cannot be.
    pub(super) fn choose(
        &self,
        asked: &AppArmor,
        privileged: bool,
        enabled: bool,
    ) -> Result<Option<String>, Report> {
        if !enabled {
            return Ok(None);
        }
        match asked {
            AppArmor::Localhost(name) => {
                let field = format!("{FIELD}.localhost_ref");
                let advice = "load it with apparmor_parser first";
                let loaded = is_loaded(name).map_err(|report| Report::field(&field, name, report.cause))?;
                let cause = "this profile is not loaded on the node";
                if loaded {
                    Ok(Some(name.clone()))
                } else {
                    Err(Report::field(field, name, cause).advise(advice))
                }
            }
            AppArmor::Unsaid | AppArmor::Unconfined | AppArmor::RuntimeDefault if privileged => Ok(None),
            AppArmor::Unconfined => Ok(None),
            AppArmor::RuntimeDefault => self.own().map(Some),
            // Nobody asked: a node that cannot load profiles still runs containers.
            AppArmor::Unsaid => Ok(self
                .own()
                .inspect_err(|report| tracing::warn!("a container goes without AppArmor: {report}"))
                .ok()),
        }
    }

    /// The runtime's own profile, loaded.
    fn own(&self) -> Result<String, Report> {
        let name = apparmor::DEFAULT;
        if !is_loaded(name)? {
            let _alone = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if !is_loaded(name)? {
                load(&apparmor::profile(Path::new(ABI).exists()))?;
                tracing::info!(profile = name, "AppArmor profile loaded");
            }
        }
        Ok(name.to_owned())
    }
}

/// Whether a profile of this name is loaded.
fn is_loaded(name: &str) -> Result<bool, Report> {
    let profiles = std::fs::read_to_string(LOADED)
        .map_err(|error| Report::new(Kind::Failed, "read AppArmor profiles", LOADED, error))?;
    Ok(among(&profiles, name))
}

fn among(profiles: &str, name: &str) -> bool {
    profiles.lines().any(|line| line.rsplit_once(" (").is_some_and(|(loaded, _)| loaded == name))
}

/// Has a profile loaded, from its text.
fn load(text: &str) -> Result<(), Report> {
    let failed = |cause: String| Report::new(Kind::Failed, "load AppArmor profile", apparmor::DEFAULT, cause);
    let parser = PARSERS.iter().find(|path| Path::new(path).exists());
    let parser = parser.ok_or_else(|| {
        failed("there is no apparmor_parser on the node".into()).advise("install the package apparmor")
    })?;
    // Without its cache: the text is ours, and a file of an older daemon's would be taken for it.
    let mut child = Command::new(parser)
        .args(["--skip-cache", "--replace", "--quiet"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("{parser}: {error}")))?;
    // Less than a pipe holds, so this does not wait.
    let written = child.stdin.take().map(|mut input| input.write_all(text.as_bytes()));
    let begun = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                let _ = child.kill().and_then(|()| child.wait());
                return Err(failed(format!("{parser} did not end within {} s", PATIENCE.as_secs())));
            }
            Err(error) => return Err(failed(format!("{parser}: {error}"))),
        }
    };
    if status.success() && written.is_some_and(|written| written.is_ok()) {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(mut errors) = child.stderr.take() {
        let _ = std::io::Read::read_to_string(&mut std::io::Read::take(&mut errors, 1024), &mut said);
    }
    Err(failed(format!("{parser}: {status}: {}", said.trim().escape_debug())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_loaded_profiles_are_whole() {
        let profiles = "orlop-default (enforce)\n/usr/bin/man (complain)\na b (unconfined)\n";
        for (name, loaded) in
            [("orlop-default", true), ("/usr/bin/man", true), ("a b", true), ("orlop", false), ("", false)]
        {
            assert_eq!(among(profiles, name), loaded, "{name:?}");
        }
    }

    #[test]
    fn without_apparmor_nothing_is_looked_at() {
        for asked in [AppArmor::Unsaid, AppArmor::Unconfined, AppArmor::RuntimeDefault] {
            assert_eq!(Loader::default().choose(&asked, false, false), Ok(None));
        }
    }
}
