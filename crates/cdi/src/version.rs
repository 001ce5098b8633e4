//! Which version of the interface brought what (SPEC.md, "Released versions").
//!
//! *Invariant:* a file that uses what its version does not have is refused, and told which it needs.

use crate::file::{Content, Edits, Fault};

/// The newest that is known.
pub(crate) const NEWEST: &str = "1.1.0";

/// All that there are, the oldest first.
const ALL: [&str; 10] =
    ["0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", NEWEST];

/// What a file says of itself that is not kept.
pub(crate) struct Facts {
    pub(crate) version: String,
    pub(crate) line: usize,
    pub(crate) annotated: bool,
}

pub(crate) fn check(content: &Content, facts: &Facts) -> Result<(), Fault> {
    let fault = |cause| Fault { line: facts.line, place: "cdiVersion".into(), cause };
    let said = facts.version.strip_prefix('v').unwrap_or(&facts.version);
    let place = |version| ALL.iter().position(|known| *known == version);
    let at = place(said).ok_or_else(|| {
        fault(format!("{:?} is no version that is known; the newest is {NEWEST}", facts.version))
    })?;
    let (needed, what) = needed(content, facts.annotated);
    if place(needed) > Some(at) {
        return Err(fault(format!("{said} does not have {what}, which came with {needed}")));
    }
    Ok(())
}

/// The oldest version that has all that is used, and what asks for it.
fn needed(content: &Content, annotated: bool) -> (&'static str, &'static str) {
    let all = || content.devices.iter().map(|device| &device.edits).chain([&content.edits]);
    let any = |uses: fn(&Edits) -> bool| all().any(uses);
    let monitors =
        |edits: &Edits| edits.rdt.as_ref().is_some_and(|rdt| rdt.schemata.is_some() || rdt.monitoring);
    let class = content.kind.split_once('/').map_or("", |(_, class)| class);
    let digit = |name: &str| name.starts_with(|first: char| first.is_ascii_digit());
    let rules: [(&str, &str, bool); 9] = [
        ("1.1.0", "netDevices", any(|edits| !edits.net_devices.is_empty())),
        ("1.1.0", "intelRdt's schemata and enableMonitoring", any(monitors)),
        ("0.7.0", "intelRdt", any(|edits| edits.rdt.is_some())),
        ("0.7.0", "additionalGids", any(|edits| !edits.gids.is_empty())),
        ("0.6.0", "annotations", annotated),
        ("0.6.0", "a dot in the class", class.contains('.')),
        ("0.5.0", "a name that begins with a digit", content.devices.iter().any(|one| digit(&one.name))),
        ("0.5.0", "hostPath", any(|edits| edits.nodes.iter().any(|node| !node.host_path.is_empty()))),
        ("0.4.0", "a mount's type", any(|edits| edits.mounts.iter().any(|mount| !mount.kind.is_empty()))),
    ];
    let first = rules.into_iter().find(|(_, _, used)| *used);
    first.map_or(("0.3.0", "this form of file"), |(version, what, _)| (version, what))
}
