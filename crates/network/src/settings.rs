//! What a bridge is to be, and what it cannot be.
//!
//! *Invariant:* a check looks at nothing but the settings.

use std::path::PathBuf;

use crate::address::{Net4, Net6};
use crate::error::{BadSetting, Error};

/// What a bridge is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The link's name; its nftables table is `inet orlop-NAME`.
    pub bridge: String,
    /// Its IPv4 network. The first address is the gateway's.
    pub subnet: Net4,
    /// Its IPv6 network, at least as large; none: no IPv6.
    pub subnet6: Option<Net6>,
    /// Where leases and host ports are written down, absolute; for this bridge alone. Need not exist.
    pub state_dir: PathBuf,
    /// Whose bridge it is: stands in the links' aliases, so that two daemons never take each other's links for their own.
    pub tag: String,
}

impl Settings {
    /// # Errors
    /// [`Error::Setting`] names the setting that cannot be.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let bad =
            |field, value: &dyn ToString, why| Err(Error::Setting { field, value: value.to_string(), why });
        let name = &self.bridge;
        let good = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
        if !(1..=15).contains(&name.len()) || !name.bytes().all(good) || name == "." || name == ".." {
            return bad("bridge", name, BadSetting::LinkName);
        }
        // The kernel takes them for all links and for those to come.
        if name == "all" || name == "default" {
            return bad("bridge", name, BadSetting::LinkName);
        }
        let tag = &self.tag;
        if !(1..=128).contains(&tag.len()) || tag.contains('/') || tag.contains(char::is_control) {
            return bad("tag", tag, BadSetting::Tag);
        }
        if let Some(subnet6) =
            self.subnet6.filter(|subnet6| 128 - subnet6.prefix() < 32 - self.subnet.prefix())
        {
            return bad("subnet6", &subnet6, BadSetting::Fewer);
        }
        if !self.state_dir.is_absolute() {
            return bad("state_dir", &self.state_dir.display(), BadSetting::Relative);
        }
        Ok(())
    }
}
