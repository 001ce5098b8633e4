//! Mount options as attributes of the mount, propagation, and parameters of the filesystem.
//!
//! *Invariant:* an option means here what mount(8) and the OCI spec say, or it is a parameter of the filesystem; none is dropped
//! but those that say what is so anyway.

use std::ffi::CString;

use orlop_model::report::Report;

use super::{bad, cannot, string};

/// `MS_REC` of mount(2).
pub const RECURSIVE: u64 = 1 << 14;
/// `MS_UNBINDABLE`.
pub const UNBINDABLE: u64 = 1 << 17;
/// `MS_PRIVATE`.
pub const PRIVATE: u64 = 1 << 18;
/// `MS_SLAVE`.
pub const SLAVE: u64 = 1 << 19;
/// `MS_SHARED`.
pub const SHARED: u64 = 1 << 20;

/// `MOUNT_ATTR_RDONLY` of mount_setattr(2).
pub const READ_ONLY: u64 = 0x1;
/// `MOUNT_ATTR__ATIME`: how access times are kept is one value, not a bit.
const ATIME: u64 = 0x70;

/// Options by name, the attributes they set and clear.
const ATTRIBUTES: [(&str, u64, u64); 18] = [
    ("ro", READ_ONLY, 0),
    ("rw", 0, READ_ONLY),
    ("nosuid", 0x2, 0),
    ("suid", 0, 0x2),
    ("nodev", 0x4, 0),
    ("dev", 0, 0x4),
    ("noexec", 0x8, 0),
    ("exec", 0, 0x8),
    ("relatime", 0, ATIME),
    ("norelatime", 0, 0),
    ("noatime", 0x10, ATIME),
    ("atime", 0, ATIME),
    ("strictatime", 0x20, ATIME),
    ("nostrictatime", 0, ATIME),
    ("nodiratime", 0x80, 0),
    ("diratime", 0, 0x80),
    ("nosymfollow", 0x20_0000, 0),
    ("symfollow", 0, 0x20_0000),
];

/// Attributes to set and to clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
}

impl Attributes {
    /// A later option wins over an earlier one.
    fn add(&mut self, set: u64, clear: u64) {
        self.set = self.set & !clear | set;
        self.clear = self.clear & !set | clear;
        // mount_setattr(2) wants all bits of the value cleared when one is set.
        if self.clear & ATIME != 0 {
            self.clear |= ATIME;
        }
    }
}

/// The options of a mount, understood.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// Whether it is a bind mount, and then with what is mounted below.
    pub bind: Option<bool>,
    /// Attributes of the mount itself.
    pub own: Attributes,
    /// Attributes of the mount and all below it.
    pub all: Attributes,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`, each with `MS_REC` or without; 0: as it is.
    pub propagation: u64,
    /// Parameters of the filesystem; one without a value is a flag.
    pub data: Vec<(CString, Option<CString>)>,
}

/// Propagation by the name that the OCI spec uses.
#[must_use]
pub fn propagation(name: &str) -> Option<u64> {
    let (base, recursive) = match name.strip_prefix('r') {
        Some(base) => (base, RECURSIVE),
        None => (name, 0),
    };
    let flag = match base {
        "private" => PRIVATE,
        "slave" => SLAVE,
        "shared" => SHARED,
        "unbindable" => UNBINDABLE,
        _ => return None,
    };
    Some(flag | recursive)
}

/// Reads the options of a mount.
///
/// # Errors
/// A [`Report`] naming the option that cannot be.
pub fn parse(options: &[String]) -> Result<Options, Report> {
    let mut parsed = Options::default();
    let find = |name: &str| ATTRIBUTES.iter().find(|(known, _, _)| *known == name);
    for option in options {
        if let Some((_, set, clear)) = find(option) {
            parsed.own.add(*set, *clear);
        } else if let Some(flag) = propagation(option) {
            parsed.propagation = flag;
        } else if let Some((_, set, clear)) = option.strip_prefix('r').and_then(find) {
            parsed.all.add(*set, *clear);
        } else {
            other(option, &mut parsed)?;
        }
    }
    Ok(parsed)
}

fn other(option: &str, parsed: &mut Options) -> Result<(), Report> {
    let part = "mounts.options";
    match option {
        "bind" => parsed.bind = Some(parsed.bind.unwrap_or(false)),
        "rbind" => parsed.bind = Some(true),
        // What is so anyway.
        "defaults" | "async" | "nomand" | "nolazytime" | "loud" | "silent" | "" => {}
        "remount" | "move" => return Err(bad(part, option, "nothing is there to change")),
        "tmpcopyup" | "idmap" | "ridmap" => return Err(cannot(part, option, "is not supported")),
        // For programs in user space only (mount(8)).
        _ if option.starts_with("x-") || option.starts_with("X-") => {}
        _ => {
            let (key, value) = match option.split_once('=') {
                Some((key, value)) => (key, Some(string(part, value)?)),
                None => (option, None),
            };
            parsed.data.push((string(part, key)?, value));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[&str]) -> Options {
        parse(&options.iter().map(|&option| option.to_owned()).collect::<Vec<_>>()).expect("good")
    }

    #[test]
    fn later_options_win() {
        assert_eq!(read(&["ro", "rw"]).own, Attributes { set: 0, clear: 1 });
        assert_eq!(read(&["rw", "ro"]).own, Attributes { set: 1, clear: 0 });
        assert_eq!(read(&["noatime", "strictatime"]).own, Attributes { set: 0x20, clear: 0x70 });
        assert_eq!(read(&["strictatime", "relatime"]).own, Attributes { set: 0, clear: 0x70 });
        assert_eq!(read(&["rbind", "bind"]).bind, Some(true));
        assert_eq!(read(&["rshared", "private"]).propagation, PRIVATE);
    }

    #[test]
    fn recursive_options_are_told_from_plain_ones_that_begin_alike() {
        assert_eq!(read(&["ro"]).all, Attributes::default());
        assert_eq!(read(&["rro"]), Options { all: Attributes { set: 1, clear: 0 }, ..Options::default() });
        assert_eq!(read(&["relatime"]).own.clear, 0x70);
        assert_eq!(read(&["rrelatime"]).all.clear, 0x70);
        assert_eq!(read(&["rnosymfollow"]).all.set, 0x20_0000);
        assert_eq!(read(&["rw", "rprivate"]).propagation, PRIVATE | RECURSIVE);
    }

    #[test]
    fn what_is_no_option_is_a_parameter() {
        let data = read(&["size=64k", "newinstance", "gid=5", "x-systemd.automount", "defaults"]).data;
        let pair = |key: &str, value: Option<&str>| {
            (CString::new(key).expect("no NUL"), value.map(|value| CString::new(value).expect("no NUL")))
        };
        assert_eq!(data, [pair("size", Some("64k")), pair("newinstance", None), pair("gid", Some("5"))]);
    }

    #[test]
    fn what_cannot_be_is_named() {
        for option in ["remount", "tmpcopyup", "ridmap", "a\0b"] {
            let refused = parse(&[option.to_owned()]).expect_err(option);
            assert_eq!(refused.stage, "mounts.options", "{option}");
        }
    }
}
