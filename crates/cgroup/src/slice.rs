//! Where systemd puts its units: names of slices become paths.
//!
//! *Invariant:* pure; what comes out is a path below the root that [`crate::hierarchy`] takes.
//!
//! Source: systemd.slice(5): `a-b.slice` lies within `a.slice`.

use crate::Error;

/// Whether a cgroup's path, or name, is of a slice.
#[must_use]
pub fn is_slice(path: &str) -> bool {
    path.strip_suffix(".slice").is_some()
}

/// The last part of a path.
#[must_use]
pub fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The path of the slice `name`: `a-b.slice` is `/a.slice/a-b.slice`.
///
/// # Errors
/// [`Error::Path`] if it is no name of a slice, or the root's (`-.slice`).
pub fn expand(name: &str) -> Result<String, Error> {
    let wrong = || Error::Path(name.to_owned());
    let stem = name.strip_suffix(".slice").ok_or_else(wrong)?;
    let plain = |letter: u8| letter.is_ascii_alphanumeric() || b":-_.\\@".contains(&letter);
    // A name of a unit has 255 bytes at most: systemd.unit(5).
    if name.len() > 255 || !stem.bytes().all(plain) || stem.split('-').any(str::is_empty) {
        return Err(wrong());
    }
    let mut path = String::new();
    for (at, _) in stem.match_indices('-').chain([(stem.len(), "")]) {
        path.push('/');
        path.push_str(&stem[..at]);
        path.push_str(".slice");
    }
    Ok(path)
}

/// The slice that a path of directories stands for where systemd makes them: `node/orlop` is `node-orlop.slice`.
#[must_use]
pub fn of_path(path: &str) -> String {
    let path = path.trim_matches('/');
    if is_slice(path) { name(path).to_owned() } else { format!("{}.slice", path.replace('/', "-")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dash_is_a_level() {
        let pod = "kubepods-burstable-pod1234_5.slice";
        assert_eq!(expand(pod).unwrap(), format!("/kubepods.slice/kubepods-burstable.slice/{pod}"));
        assert_eq!(expand("orlop.slice").unwrap(), "/orlop.slice");
        for bad in [
            "-.slice",
            "a--b.slice",
            "-a.slice",
            "a-.slice",
            ".slice",
            "a.scope",
            "a/b.slice",
            "",
            "a b.slice",
        ] {
            assert!(matches!(expand(bad), Err(Error::Path(_))), "{bad}");
        }
        assert!(expand(&format!("{}.slice", "a".repeat(250))).is_err());
    }

    #[test]
    fn a_path_has_a_slice_that_stands_for_it() {
        for (path, slice) in [
            ("orlop", "orlop.slice"),
            ("/node/orlop/", "node-orlop.slice"),
            ("a.slice/a-b.slice", "a-b.slice"),
        ] {
            assert_eq!(of_path(path), slice);
        }
        assert_eq!(
            (name("/a.slice/b.scope"), is_slice("/a.slice"), is_slice("/a.slice/b")),
            ("b.scope", true, false)
        );
    }
}
