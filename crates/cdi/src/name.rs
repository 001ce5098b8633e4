//! Names of vendors, classes and devices: `vendor.com/class=device`.
//!
//! *Invariant:* ASCII letters, digits and few marks, so a name can be shown and compared as it is.

/// A device's full name, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a> {
    /// Who made it.
    pub vendor: &'a str,
    /// What it is.
    pub class: &'a str,
    /// Which it is.
    pub device: &'a str,
}

/// Takes a full name apart.
///
/// # Errors
/// What is wrong with it.
pub fn parse(name: &str) -> Result<Name<'_>, String> {
    let wrong = || "is no full name of a device, vendor.com/class=name".to_owned();
    let (kind, device) = name.split_once('=').ok_or_else(wrong)?;
    let (vendor, class) = kind.split_once('/').ok_or_else(wrong)?;
    self::vendor(vendor)?;
    self::class(class)?;
    self::device(device)?;
    Ok(Name { vendor, class, device })
}

/// The devices that an annotation's value asks for.
///
/// # Errors
/// The first that is no full name, and why.
pub fn listed(value: &str) -> Result<Vec<&str>, String> {
    value
        .split(',')
        .map(|name| parse(name).map(|_| name).map_err(|wrong| format!("{name:?} {wrong}")))
        .collect()
}

/// How the names of annotations begin by which devices are asked for.
pub const ANNOTATION: &str = "cdi.k8s.io/";

pub(crate) fn vendor(name: &str) -> Result<(), String> {
    checked("vendor", name, char::is_ascii_alphabetic, "a letter", &['_', '-', '.'])
}

pub(crate) fn class(name: &str) -> Result<(), String> {
    checked("class", name, char::is_ascii_alphabetic, "a letter", &['_', '-', '.'])
}

pub(crate) fn device(name: &str) -> Result<(), String> {
    checked("device", name, char::is_ascii_alphanumeric, "a letter or digit", &['_', '-', '.', ':'])
}

fn checked(
    what: &str,
    name: &str,
    first: impl Fn(&char) -> bool,
    begins: &str,
    marks: &[char],
) -> Result<(), String> {
    if !name.chars().next().as_ref().is_some_and(first) {
        return Err(format!("has a {what} that does not begin with {begins}"));
    }
    if let Some(odd) = name.chars().find(|letter| !letter.is_ascii_alphanumeric() && !marks.contains(letter))
    {
        return Err(format!("has a {what} with {odd:?} in it"));
    }
    if !name.ends_with(|last: char| last.is_ascii_alphanumeric()) {
        return Err(format!("has a {what} that does not end with a letter or digit"));
    }
    Ok(())
}
