//! The kernel's switches that a bridge of pods needs, in the network namespace of the calling thread.
//!
//! *Invariant:* a switch that stands right is not written: `/proc/sys` may be read-only then.

use std::fs;
use std::io;

use crate::error::Error;

const ROOT: &str = "/proc/sys/net";

fn set(key: &str, value: &str) -> Result<(), Error> {
    let path = format!("{ROOT}/{key}");
    let now = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    if now.trim() == value {
        return Ok(());
    }
    fs::write(&path, value).map_err(Error::file("write", path))
}

/// Packets travel between links; connections from loopback may leave by the bridge (a rule keeps others from abusing that).
pub(crate) fn forward_v4(bridge: &str) -> Result<(), Error> {
    set("ipv4/ip_forward", "1")?;
    set(&format!("ipv4/conf/{bridge}/route_localnet"), "1")
}

/// The bridge may have IPv6 addresses.
pub(crate) fn enable_v6(bridge: &str) -> Result<(), Error> {
    set(&format!("ipv6/conf/{bridge}/disable_ipv6"), "0")?;
    // It is the router here and listens to no other.
    set(&format!("ipv6/conf/{bridge}/accept_ra"), "0")
}

/// IPv6 packets travel between links.
pub(crate) fn forward_v6() -> Result<(), Error> {
    let path = format!("{ROOT}/ipv6/conf");
    if fs::read_to_string(format!("{path}/all/forwarding")).is_ok_and(|now| now.trim() == "1") {
        return Ok(());
    }
    // A link that learns its route from routers (1) stops to do so once the node forwards, unless it is told to all the same (2).
    // Without this the node would lose its own way out.
    let links = fs::read_dir(&path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    for link in links.map_err(Error::file("read", &path))? {
        let name = link.file_name();
        let Some(name) = name.to_str().filter(|name| !matches!(*name, "all" | "lo")) else { continue };
        let key = format!("ipv6/conf/{name}/accept_ra");
        if fs::read_to_string(format!("{ROOT}/{key}")).is_ok_and(|now| now.trim() == "1") {
            set(&key, "2")?;
        }
    }
    set("ipv6/conf/all/forwarding", "1")
}
