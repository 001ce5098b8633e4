//! Files of a volume get a container's SELinux context.
//!
//! The volume's own root comes last. So a root that has the context says that all below it had it once, and a walk that was cut off
//! (a daemon that was killed, a minute that was over) is taken up by the next try: what is labelled already is only looked at.
//!
//! *Invariant:* no link is followed, and nothing outside of the volume is touched, whoever renames what meanwhile.

use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use orlop_model::report::{Kind, Report};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::Errno;

/// Where contexts are kept.
pub(super) const XATTR: &str = "security.selinux";

/// Directories of the node that are no volume: with another context there the node itself would not work.
const THE_NODE_S: [&str; 20] = [
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/media", "/opt", "/proc",
    "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var",
];

/// Gives all of a volume the context `label`, unless its root has it; how many files it was set on. In a blocking thread only.
///
/// What a filesystem cannot label is left as it is.
///
/// # Errors
/// A [`Report`] with the file that could not be labelled, under `field`.
pub(super) fn tree(field: &str, path: &Path, xattr: &str, label: &str) -> Result<usize, Report> {
    let failed = |place: PathBuf| {
        move |errno: Errno| Report::new(Kind::Failed, field, place.display().to_string(), errno)
    };
    let real = std::fs::canonicalize(path)
        .map_err(|error| Report::new(Kind::Failed, field, path.display().to_string(), error))?;
    if THE_NODE_S.iter().any(|own| real == Path::new(own)) {
        let cause = "it is a directory of the node itself, which does not get another context";
        return Err(Report::field(field, path.display(), cause));
    }
    let root = rustix::fs::open(&real, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed(real.clone()))?;
    let own = held(root.as_fd(), b"").map_err(failed(real.clone()))?;
    let names = Names { xattr, label };
    if names.has(&own).map_err(failed(real.clone()))? {
        return Ok(0);
    }
    let mut changed = 0;
    let mut ahead = vec![PathBuf::from(".")];
    let is_directory = rustix::fs::fstat(&root)
        .map(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
        .map_err(failed(real.clone()))?;
    while let Some(directory) = ahead.pop().filter(|_| is_directory) {
        changed += names
            .in_directory(root.as_fd(), &directory, &mut ahead)
            .map_err(failed(real.join(&directory)))?;
    }
    changed += usize::from(names.set(&own).map_err(failed(real))?);
    Ok(changed)
}

/// What is set.
struct Names<'a> {
    xattr: &'a str,
    label: &'a str,
}

impl Names<'_> {
    /// Whether the file has it.
    fn has(&self, path: &CString) -> Result<bool, Errno> {
        let mut value = vec![0; self.label.len() + 2];
        match rustix::fs::getxattr(path.as_c_str(), self.xattr, &mut value[..]) {
            Ok(length) => {
                Ok(value[..length].strip_suffix(&[0]).unwrap_or(&value[..length]) == self.label.as_bytes())
            }
            // None, another, or none can be had.
            Err(Errno::NODATA | Errno::RANGE | Errno::OPNOTSUPP | Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Sets it; whether that was needed and could be.
    fn set(&self, path: &CString) -> Result<bool, Errno> {
        let mut value = self.label.as_bytes().to_vec();
        value.push(0);
        match rustix::fs::setxattr(path.as_c_str(), self.xattr, &value, XattrFlags::empty()) {
            Ok(()) => Ok(true),
            // Gone meanwhile, or on a filesystem without.
            Err(Errno::NOENT | Errno::OPNOTSUPP) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Labels all in a directory; those of it that are directories come to `ahead`.
    fn in_directory(
        &self,
        root: BorrowedFd<'_>,
        directory: &Path,
        ahead: &mut Vec<PathBuf>,
    ) -> Result<usize, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        // A descriptor of the root itself may be one of a place only: it is opened by the dot in it.
        let opened = match rustix::fs::openat2(root, directory, flags, Mode::empty(), resolve) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(0),
            other => other?,
        };
        let mut changed = 0;
        for entry in Dir::read_from(&opened)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            // By a descriptor of its own: a link's own context is set, and not that of what it leads to.
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = match rustix::fs::openat(&opened, entry.file_name(), flags, Mode::empty()) {
                Err(Errno::NOENT) => continue,
                other => other?,
            };
            let path = held(file.as_fd(), b"")?;
            if !self.has(&path)? {
                changed += usize::from(self.set(&path)?);
            }
            if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) == FileType::Directory {
                ahead.push(directory.join(std::ffi::OsStr::from_bytes(name)));
            }
        }
        Ok(changed)
    }
}

/// The path that leads to what a descriptor holds.
fn held(file: BorrowedFd<'_>, below: &[u8]) -> Result<CString, Errno> {
    let mut path = format!("/proc/self/fd/{}", file.as_raw_fd()).into_bytes();
    path.extend_from_slice(below);
    CString::new(std::ffi::OsString::from_vec(path).into_vec()).map_err(|_| Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any attribute of a name that root may set stands for the kernel's own, which needs a policy.
    const OURS: &str = "trusted.orlop-test";

    fn label_of(path: &Path) -> Option<String> {
        let mut value = [0; 64];
        let length = rustix::fs::lgetxattr(path, OURS, &mut value[..]).ok()?;
        Some(String::from_utf8_lossy(&value[..length]).trim_end_matches('\0').to_owned())
    }

    fn volume() -> tempfile::TempDir {
        let place = tempfile::tempdir().expect("a directory");
        let volume = place.path().join("volume");
        std::fs::create_dir_all(volume.join("a/b")).expect("made");
        std::fs::create_dir(place.path().join("outside")).expect("made");
        for file in ["volume/one", "volume/a/two", "volume/a/b/three", "outside/file"] {
            std::fs::write(place.path().join(file), "").expect("written");
        }
        std::os::unix::fs::symlink("../outside/file", volume.join("link")).expect("a link");
        std::os::unix::fs::symlink("../../outside", volume.join("a/leads-out")).expect("a link");
        place
    }

    const INSIDE: [&str; 8] = ["", "one", "a", "a/two", "a/b", "a/b/three", "link", "a/leads-out"];

    #[test]
    fn all_of_a_volume_gets_it_and_nothing_outside() {
        let place = volume();
        let root = place.path().join("volume");
        assert_eq!(tree("f", &root, OURS, "u:r:t:s0:c1,c2"), Ok(INSIDE.len()));
        for path in INSIDE {
            assert_eq!(label_of(&root.join(path)).as_deref(), Some("u:r:t:s0:c1,c2"), "{path:?}");
        }
        for path in ["outside", "outside/file"] {
            assert_eq!(label_of(&place.path().join(path)), None, "{path}");
        }
        // A file is a volume, too; and it may be reached by a link.
        let (file, link) = (place.path().join("outside/file"), place.path().join("by-link"));
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        assert_eq!(tree("f", &link, OURS, "x"), Ok(1));
        assert_eq!(label_of(&file).as_deref(), Some("x"));
    }

    #[test]
    fn a_root_that_has_it_is_the_end_of_it() {
        let place = volume();
        let root = place.path().join("volume");
        tree("f", &root, OURS, "x").expect("done");
        rustix::fs::removexattr(root.join("one"), OURS).expect("taken away");
        assert_eq!(tree("f", &root, OURS, "x"), Ok(0));
        assert_eq!(label_of(&root.join("one")), None, "nobody looked");
        // Another label is another matter.
        assert_eq!(tree("f", &root, OURS, "xy"), Ok(INSIDE.len()));
    }

    #[test]
    fn a_walk_that_was_cut_off_is_taken_up() {
        let place = volume();
        let root = place.path().join("volume");
        tree("f", &root, OURS, "x").expect("done");
        // As after a death on the way: some of the files, and not the root.
        for path in ["", "a/b/three"] {
            rustix::fs::removexattr(root.join(path), OURS).expect("taken away");
        }
        assert_eq!(tree("f", &root, OURS, "x"), Ok(2));
        assert!(INSIDE.iter().all(|path| label_of(&root.join(path)).is_some()));
    }

    #[test]
    fn what_fails_leaves_the_root_without_and_is_named() {
        let place = volume();
        let root = place.path().join("volume");
        let report = tree("field", &root, OURS, &"x".repeat(1 << 17)).expect_err("no such long value");
        assert!(report.stage == "field" && report.object.contains("volume"), "{report}");
        assert_eq!(label_of(&root), None);
        let report = tree("field", Path::new("/etc"), OURS, "x").expect_err("the node's");
        assert!(report.kind == Kind::BadRequest && report.to_string().contains("/etc"), "{report}");
        assert_eq!(label_of(Path::new("/etc")), None);
        assert!(tree("field", &place.path().join("none"), OURS, "x").is_err());
    }
}
