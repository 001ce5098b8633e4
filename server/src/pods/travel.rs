//! Whether mounts can travel as a container asks for: that is decided by the mount of the node that its volume lies on.
//!
//! Propagation between node and container goes between peers (`mount_namespaces(7)`). A volume on a private mount has none, and the
//! kernel would say nothing: mounts would just never arrive. So it is refused, as kubelet's other runtimes do.
//!
//! *Invariant:* nothing of the volume is opened. Its links are followed on another thread, with a deadline: where that does not end,
//! the path is taken as it is written.

use std::path::{Path, PathBuf};
use std::time::Duration;

use orlop_model::container::{ContainerConfig, Propagation};
use orlop_model::report::{Kind, Report};

/// How long links of a path may take to follow; a server that is dead would take for ever.
const PATIENCE: Duration = Duration::from_secs(5);

/// Checks all mounts that are to travel. In a blocking thread only.
///
/// # Errors
/// A [`Report`] naming the mount whose volume cannot do that.
pub(super) fn check(config: &ContainerConfig) -> Result<(), Report> {
    let mut table = None;
    for (at, mount) in config.mounts.iter().enumerate() {
        if mount.propagation == Propagation::Private || mount.image.is_some() {
            continue;
        }
        let field = format!("config.mounts[{at}].propagation");
        if table.is_none() {
            let read = std::fs::read_to_string("/proc/self/mountinfo");
            let failed = |error| Report::new(Kind::Failed, "read mounts", "/proc/self/mountinfo", error);
            table = Some(read.map_err(failed)?);
        }
        let place = followed(Path::new(&mount.host_path));
        let Some((point, tie)) = tie_of(table.as_deref().unwrap_or_default(), &place) else { continue };
        let (word, good, wanted) = match mount.propagation {
            Propagation::Private => continue,
            Propagation::HostToContainer => {
                ("PROPAGATION_HOST_TO_CONTAINER", tie != Tie::Private, "shared or slave")
            }
            Propagation::Bidirectional => ("PROPAGATION_BIDIRECTIONAL", tie == Tie::Shared, "shared"),
        };
        if !good {
            let cause = format!("{} lies on the mount at {point}, which is not {wanted}", mount.host_path);
            let advice = format!("mount --make-rshared {point}, before what is to travel is mounted");
            return Err(Report::field(field, word, cause).advise(advice));
        }
    }
    Ok(())
}

/// How a mount of the node is tied to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tie {
    Private,
    Slave,
    Shared,
}

/// The path without links; what is not there yet is below what is.
fn followed(path: &Path) -> PathBuf {
    let asked = path.to_owned();
    let follow = move || {
        let mut missing = PathBuf::new();
        for ancestor in asked.ancestors() {
            if let Ok(real) = std::fs::canonicalize(ancestor) {
                return real.join(&missing);
            }
            missing = ancestor.file_name().map_or_else(PathBuf::new, |name| Path::new(name).join(&missing));
        }
        asked.clone()
    };
    let waited = async { tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(follow)).await };
    match tokio::runtime::Handle::current().block_on(waited) {
        Ok(Ok(real)) => real,
        Ok(Err(_)) | Err(_) => path.to_owned(),
    }
}

/// The mount point that `path` lies on, and the tie of what is mounted there last (`proc_pid_mountinfo(5)`).
fn tie_of(table: &str, path: &Path) -> Option<(String, Tie)> {
    let mut found: Option<(PathBuf, Tie)> = None;
    // In the order in which they were mounted: the last one on the way hides what lies on it.
    for line in table.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let Some(point) = words.get(4).map(|point| unescaped(point)) else { continue };
        if !path.starts_with(&point) {
            continue;
        }
        let ties: Vec<&str> = words.iter().skip(6).take_while(|word| **word != "-").copied().collect();
        let has = |tag: &str| ties.iter().any(|tie| tie.starts_with(tag));
        let tie = match (has("shared:"), has("master:")) {
            (true, _) => Tie::Shared,
            (false, true) => Tie::Slave,
            (false, false) => Tie::Private,
        };
        found = Some((point, tie));
    }
    found.map(|(point, tie)| (point.display().to_string(), tie))
}

/// A path of mountinfo: space, tab, newline and backslash stand there in octal.
fn unescaped(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    let mut bytes = Vec::with_capacity(text.len());
    let mut left = text.as_bytes();
    while let Some((first, rest)) = left.split_first() {
        let octal = (*first == b'\\').then(|| rest.get(..3)).flatten();
        let value = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        left = if let Some(value) = value {
            bytes.push(value);
            &rest[3..]
        } else {
            bytes.push(*first);
            rest
        };
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:20 / /mnt rw - tmpfs tmpfs rw
23 22 0:21 / /mnt/with\\040space rw master:7 - tmpfs tmpfs rw
24 21 0:22 / /over rw shared:9 - tmpfs tmpfs rw
25 24 0:23 / /over rw master:3 - tmpfs tmpfs rw
26 21 0:24 / /both rw master:3 shared:4 unbindable - tmpfs tmpfs rw
27 21 0:25 / /a/b rw shared:5 - tmpfs tmpfs rw
28 21 0:26 / /a rw - tmpfs tmpfs rw
";

    #[test]
    fn a_path_lies_on_the_last_mount_on_its_way() {
        let table = [
            ("/etc", "/", Tie::Shared),
            ("/mnt/a/b", "/mnt", Tie::Private),
            ("/mntx", "/", Tie::Shared),
            ("/mnt/with space/c", "/mnt/with space", Tie::Slave),
            ("/over/x", "/over", Tie::Slave),
            ("/both", "/both", Tie::Shared),
            ("/a/b/c", "/a", Tie::Private),
        ];
        for (path, point, tie) in table {
            assert_eq!(tie_of(TABLE, Path::new(path)), Some((point.to_owned(), tie)), "{path}");
        }
        assert_eq!(tie_of("", Path::new("/")), None);
    }

    #[test]
    fn escapes_of_the_table_are_read() {
        assert_eq!(unescaped("a\\134b\\011c\\04"), PathBuf::from("a\\b\tc\\04"));
    }
}
