//! What a value may be: one small function for each kind.
//!
//! *Invariant:* nothing is looked up. Whether a path or a user exists is seen by who uses it, when it does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use orlop_model::reference::Reference;
use toml::de::DeValue;

use super::{CgroupDriver, Level, Listen, NetworkMode, StorageDriver, Subnet};

/// A path in a `sockaddr_un` with its ending NUL: unix(7).
pub(super) const SOCKET_PATH_MAX: usize = 107;

/// What is wrong with a value.
pub(super) type Wrong = String;

fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, Wrong> {
    let text = value.as_str().ok_or_else(|| format!("{} where a string belongs", value.type_str()))?;
    match text.chars().find(|c| c.is_control()) {
        Some(control) => Err(format!("{:?} has the control character {control:?}", shown(text))),
        None => Ok(text),
    }
}

/// The text as far as an error message has room for it.
fn shown(text: &str) -> String {
    text.chars().take(128).collect()
}

/// What `parse` makes of a text, or none if it is empty.
fn unless_empty<T>(
    value: &DeValue<'_>,
    parse: impl FnOnce(&DeValue<'_>) -> Result<T, Wrong>,
) -> Result<Option<T>, Wrong> {
    if text(value)?.is_empty() { Ok(None) } else { parse(value).map(Some) }
}

fn absolute_text(text: &str) -> Result<PathBuf, Wrong> {
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(format!("{:?} is no absolute path", shown(text)));
    }
    if path.components().any(|part| part == std::path::Component::ParentDir) {
        return Err(format!("{:?} has a .. in it", shown(text)));
    }
    Ok(path.components().collect())
}

pub(super) fn path(value: &DeValue<'_>) -> Result<PathBuf, Wrong> {
    absolute_text(text(value)?)
}

pub(super) fn optional_path(value: &DeValue<'_>) -> Result<Option<PathBuf>, Wrong> {
    unless_empty(value, path)
}

/// A program: by its path, or by a name without a slash.
pub(super) fn program(value: &DeValue<'_>) -> Result<PathBuf, Wrong> {
    let name = text(value)?;
    if name.contains('/') {
        return absolute_text(name);
    }
    if name.is_empty() { Err("an empty string names no program".into()) } else { Ok(name.into()) }
}

pub(super) fn paths(value: &DeValue<'_>) -> Result<Vec<PathBuf>, Wrong> {
    let paths = some_paths(value)?;
    if paths.is_empty() { Err("the list is empty".into()) } else { Ok(paths) }
}

/// Paths, or none.
pub(super) fn some_paths(value: &DeValue<'_>) -> Result<Vec<PathBuf>, Wrong> {
    let array =
        value.as_array().ok_or_else(|| format!("{} where a list of strings belongs", value.type_str()))?;
    array.iter().map(|item| path(item.get_ref())).collect()
}

/// Yes or no.
pub(super) fn flag(value: &DeValue<'_>) -> Result<bool, Wrong> {
    value.as_bool().ok_or_else(|| format!("{} where true or false belongs", value.type_str()))
}

/// A list of words; may be empty.
pub(super) fn words(value: &DeValue<'_>) -> Result<Vec<String>, Wrong> {
    let array =
        value.as_array().ok_or_else(|| format!("{} where a list of strings belongs", value.type_str()))?;
    let one = |item: &toml::Spanned<DeValue<'_>>| {
        let word = text(item.get_ref())?;
        if word.is_empty() { Err("an empty string in the list".into()) } else { Ok(word.to_owned()) }
    };
    array.iter().map(one).collect()
}

pub(super) fn optional_word(value: &DeValue<'_>) -> Result<Option<String>, Wrong> {
    unless_empty(value, |value| text(value).map(str::to_owned))
}

/// Whole seconds.
pub(super) fn seconds(value: &DeValue<'_>) -> Result<Duration, Wrong> {
    let integer = value.as_integer().ok_or_else(|| format!("{} where a number belongs", value.type_str()))?;
    let seconds = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
    match seconds {
        Some(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("{integer} seconds")),
    }
}

pub(super) fn images(value: &DeValue<'_>) -> Result<Vec<Reference>, Wrong> {
    let array =
        value.as_array().ok_or_else(|| format!("{} where a list of strings belongs", value.type_str()))?;
    let name = |item: &toml::Spanned<DeValue<'_>>| {
        let text = text(item.get_ref())?;
        text.parse().map_err(|error| format!("{:?} is no name of an image: {error}", shown(text)))
    };
    array.iter().map(name).collect()
}

/// One of the words that a setting knows.
fn word<T: Copy>(value: &DeValue<'_>, words: &[(&str, T)]) -> Result<T, Wrong> {
    let text = text(value)?;
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, meaning)| *meaning).ok_or_else(|| format!("{:?} is not known", shown(text)))
}

pub(super) fn network_mode(value: &DeValue<'_>) -> Result<NetworkMode, Wrong> {
    word(value, &[("bridge", NetworkMode::Bridge), ("cni", NetworkMode::Cni)])
}

pub(super) fn cgroup_driver(value: &DeValue<'_>) -> Result<CgroupDriver, Wrong> {
    word(
        value,
        &[
            ("auto", CgroupDriver::Auto),
            ("cgroupfs", CgroupDriver::Cgroupfs),
            ("systemd", CgroupDriver::Systemd),
        ],
    )
}

pub(super) fn storage_driver(value: &DeValue<'_>) -> Result<StorageDriver, Wrong> {
    word(value, &[("overlay", StorageDriver::Overlay)])
}

/// Bytes, as a number or as a text with a binary unit.
pub(super) fn size(value: &DeValue<'_>) -> Result<u64, Wrong> {
    if let Some(number) = value.as_integer() {
        let bytes = u64::from_str_radix(&number.as_str().replace('_', ""), number.radix());
        return bytes.map_err(|_| format!("{} is no number of bytes", shown(number.as_str())));
    }
    let text = text(value)?;
    let wrong = || format!("{:?} is no size", shown(text));
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];
    let (number, unit) =
        units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit))).ok_or_else(wrong)?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)
}

pub(super) fn level(value: &DeValue<'_>) -> Result<Level, Wrong> {
    use Level::{Debug, Error, Info, Trace, Warn};
    word(value, &[Error, Warn, Info, Debug, Trace].map(|level| (level.name(), level)))
}

/// What the kernel takes as the name of an interface: `dev_valid_name` of net/core/dev.c.
pub(super) fn interface(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = text(value)?;
    let good = (1..=15).contains(&text.len())
        && text != "."
        && text != ".."
        && !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace());
    if good { Ok(text.to_owned()) } else { Err(format!("{:?} is no name of an interface", shown(text))) }
}

/// Address and prefix length of `ADDRESS/LENGTH`.
fn network<A: std::str::FromStr>(text: &str) -> Result<(A, u8), Wrong> {
    let wrong = || format!("{:?} is not ADDRESS/LENGTH", shown(text));
    let (address, length) = text.split_once('/').ok_or_else(wrong)?;
    // Only digits: FromStr takes a sign, too.
    if !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    Ok((address.parse().map_err(|_| wrong())?, length.parse().map_err(|_| wrong())?))
}

pub(super) fn subnet(value: &DeValue<'_>) -> Result<Subnet<Ipv4Addr>, Wrong> {
    let text = text(value)?;
    let (address, prefix) = network::<Ipv4Addr>(text)?;
    if !(8..=29).contains(&prefix) {
        return Err(format!("a prefix of {prefix} bits"));
    }
    let own = Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << (32 - u32::from(prefix))));
    if own != address {
        return Err(format!("{text} has bits beyond its prefix; the network is {own}/{prefix}"));
    }
    if address.is_loopback() || address.is_multicast() || address.is_unspecified() {
        return Err(format!("{text} are no addresses for pods"));
    }
    Ok(Subnet { address, prefix })
}

pub(super) fn subnet6(value: &DeValue<'_>) -> Result<Option<Subnet<Ipv6Addr>>, Wrong> {
    unless_empty(value, |value| {
        let text = text(value)?;
        let (address, prefix) = network::<Ipv6Addr>(text)?;
        if !(16..=120).contains(&prefix) {
            return Err(format!("a prefix of {prefix} bits"));
        }
        let own = Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - u32::from(prefix))));
        if own != address {
            return Err(format!("{text} has bits beyond its prefix; the network is {own}/{prefix}"));
        }
        if address.is_multicast() || address.is_unicast_link_local() || address.is_unspecified() {
            return Err(format!("{text} are no addresses for pods"));
        }
        Ok(Subnet { address, prefix })
    })
}

fn socket_text(text: &str) -> Result<SocketAddr, Wrong> {
    text.parse().map_err(|_| format!("{:?} is not ADDRESS:PORT", shown(text)))
}

pub(super) fn socket(value: &DeValue<'_>) -> Result<SocketAddr, Wrong> {
    let address = socket_text(text(value)?)?;
    // The address is told to clients: it has to lead here.
    if matches!(address.ip(), IpAddr::V4(ip) if ip.is_unspecified())
        || matches!(address.ip(), IpAddr::V6(ip) if ip.is_unspecified())
    {
        return Err(format!("clients are told this address, and {} leads nowhere", address.ip()));
    }
    Ok(address)
}

pub(super) fn listen(value: &DeValue<'_>) -> Result<Option<Listen>, Wrong> {
    unless_empty(value, |value| {
        let text = text(value)?;
        let Some(path) = text.strip_prefix("unix:") else { return socket_text(text).map(Listen::Tcp) };
        if path.len() > SOCKET_PATH_MAX {
            return Err(format!(
                "a socket's path has up to {SOCKET_PATH_MAX} bytes, this one {}",
                path.len()
            ));
        }
        absolute_text(path).map(Listen::Unix)
    })
}

/// A cgroup's path, without the slash that it may begin with.
pub(super) fn cgroup(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = text(value)?;
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() || parts.iter().any(|part| matches!(*part, "." | "..") || part.len() > 255) {
        return Err(format!("{:?} is no path of a cgroup below the root", shown(text)));
    }
    Ok(parts.join("/"))
}

pub(super) fn remap(value: &DeValue<'_>) -> Result<Option<String>, Wrong> {
    unless_empty(value, |value| {
        let text = text(value)?;
        let name = |name: &str| {
            (1..=32).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        let (user, group) = text.split_once(':').unwrap_or((text, "root"));
        if name(user) && name(group) {
            Ok(text.to_owned())
        } else {
            Err(format!("{:?} is not USER or USER:GROUP", shown(text)))
        }
    })
}
