//! What is mounted here, and where a controller lives.
//!
//! On v1 every controller has a mount of its own or shares one; on v2 there is one tree for all. Hybrid is both: what the v1 mounts
//! have not taken is a controller of the unified tree, which often has none at all but still counts and kills processes.
//!
//! *Invariant:* [`Hierarchies`] is what was found once, at start; it does not change while the daemon runs.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use crate::Error;

/// Controllers of v1; other options of a mount (`xattr`, `release_agent=...`) are none.
const CONTROLLERS: [&str; 15] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "debug",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "misc",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
    "rdma",
];

/// Which kinds of hierarchy there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// None that is mounted: containers cannot be limited or counted.
    Nothing,
    /// Only v1.
    V1,
    /// Controllers in v1, and a unified tree beside them.
    Hybrid,
    /// Only v2.
    V2,
}

impl Layout {
    /// As people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Layout::Nothing => "none",
            Layout::V1 => "v1",
            Layout::Hybrid => "hybrid",
            Layout::V2 => "v2",
        }
    }
}

/// The hierarchies of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hierarchies {
    /// Controller or `name=...`, and the directory where it is mounted.
    v1: BTreeMap<String, PathBuf>,
    /// Where the unified tree is mounted.
    unified: Option<PathBuf>,
    /// Controllers of the unified tree.
    v2: BTreeSet<String>,
    /// Whether v1's memory controller counts swap.
    swap: bool,
    /// Sizes of huge pages, as the names of files have them (`2MB`).
    page_sizes: Vec<String>,
    /// Files that a cgroup below the root of the unified tree has, and whether they can be written.
    files: BTreeMap<String, bool>,
}

impl Hierarchies {
    /// Reads `mountinfo` (proc(5)) and, below `root` (`/` except in tests), which controllers the unified tree has and whether
    /// swap is counted.
    #[must_use]
    pub fn detect(mountinfo: &str, root: &Path) -> Self {
        let mut found = Hierarchies::default();
        // What is mounted later lies over what was there before, so a later line wins; but a part of a hierarchy bound somewhere
        // (root field other than "/") never wins over the whole of it.
        for whole in [false, true] {
            for mount in mountinfo.lines().filter_map(Mount::parse).filter(|mount| mount.whole == whole) {
                found.add(&mount, root);
            }
        }
        if let Some(unified) = &found.unified {
            let controllers = fs::read_to_string(unified.join("cgroup.controllers")).unwrap_or_default();
            found.v2 = controllers.split_whitespace().map(str::to_owned).collect();
            found.files = files(unified);
        }
        found.swap =
            found.v1.get("memory").is_some_and(|memory| memory.join("memory.memsw.limit_in_bytes").exists());
        found.page_sizes = page_sizes(&root.join("sys/kernel/mm/hugepages"));
        found
    }

    fn add(&mut self, mount: &Mount<'_>, root: &Path) {
        let point = unescape(mount.point);
        let directory = root.join(point.trim_start_matches('/'));
        match mount.kind {
            "cgroup2" => self.unified = Some(directory),
            "cgroup" => {
                for option in mount.options.split(',') {
                    if CONTROLLERS.contains(&option) || option.starts_with("name=") {
                        self.v1.insert(option.to_owned(), directory.clone());
                    }
                }
            }
            _ => {}
        }
    }

    /// Which kinds of hierarchy there are. A named v1 hierarchy without controllers (`name=systemd`) does not make v2 hybrid.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let controllers = self.v1.keys().any(|name| !name.starts_with("name="));
        match (controllers, &self.unified) {
            (false, None) if self.v1.is_empty() => Layout::Nothing,
            (_, None) => Layout::V1,
            (true, Some(_)) => Layout::Hybrid,
            (false, Some(_)) => Layout::V2,
        }
    }

    /// Whether `controller` (as v1 calls it) can limit or count anything here.
    #[must_use]
    pub fn has(&self, controller: &str) -> bool {
        self.v1.contains_key(controller) || self.v2.contains(controller)
    }

    /// Where a v1 controller is mounted.
    #[must_use]
    pub fn v1(&self, controller: &str) -> Option<&Path> {
        self.v1.get(controller).map(PathBuf::as_path)
    }

    /// Where the unified tree is mounted.
    #[must_use]
    pub fn unified(&self) -> Option<&Path> {
        self.unified.as_deref()
    }

    /// Whether the unified tree has `controller`.
    #[must_use]
    pub fn in_unified(&self, controller: &str) -> bool {
        self.v2.contains(controller)
    }

    /// Whether a file of the unified tree's cgroups can be written; none if there is none, or no cgroup there shows its controller.
    #[must_use]
    pub fn is_writable(&self, file: &str) -> Option<bool> {
        self.files.get(file).copied()
    }

    /// Whether the unified tree's cgroups show files of the controller that this one would be of: then one that they have not is none.
    #[must_use]
    pub fn knows_files_like(&self, file: &str) -> bool {
        let controller = file.split('.').next().unwrap_or_default();
        self.files.keys().any(|name| {
            name.strip_prefix(controller).is_some_and(|rest| {
                // Pressure is shown without the controller, too.
                rest.starts_with('.') && rest != ".pressure" && rest != ".stat" && !rest.starts_with(".stat.")
            })
        })
    }

    /// Whether v1's memory controller counts swap.
    #[must_use]
    pub fn counts_swap(&self) -> bool {
        self.swap
    }

    /// The sizes of huge pages that this machine has, as the names of the controller's files have them (`2MB`), in order.
    #[must_use]
    pub fn page_sizes(&self) -> &[String] {
        &self.page_sizes
    }

    /// The v1 mounts, each once, with the controllers that share it.
    #[must_use]
    pub fn v1_mounts(&self) -> BTreeMap<&Path, Vec<&str>> {
        let mut mounts = BTreeMap::<&Path, Vec<&str>>::new();
        for (controller, directory) in &self.v1 {
            mounts.entry(directory).or_default().push(controller);
        }
        mounts
    }

    /// The directories that the cgroup `path` has in all hierarchies, the unified one last.
    ///
    /// # Errors
    /// [`Error::Path`].
    pub fn directories(&self, path: &str) -> Result<Vec<PathBuf>, Error> {
        let below = relative(path)?;
        let mounts = self.v1_mounts().into_keys().chain(self.unified());
        Ok(mounts.map(|mount| mount.join(&below)).collect())
    }

    /// The files by which a process of one thread enters `path` itself, by writing 0: in every v1 hierarchy; and in the unified one,
    /// unless a clone puts it there.
    ///
    /// On v1 that is `tasks`, not `cgroup.procs`: a thread that moves itself alone needs no lock against the rest of its process,
    /// and is spared the grace period of RCU that taking that lock costs (0.2 ms against 4 ms and, on a busy machine, 14).
    ///
    /// # Errors
    /// [`Error::Path`].
    pub fn procs(&self, path: &str, with_unified: bool) -> Result<Vec<CString>, Error> {
        let below = relative(path)?;
        let v1 = self.v1_mounts().into_keys().map(|mount| mount.join(&below).join("tasks"));
        let unified =
            self.unified().filter(|_| with_unified).map(|mount| mount.join(&below).join("cgroup.procs"));
        v1.chain(unified).map(|file| c_path(&file)).collect()
    }
}

/// What the first cgroup below the root has, which stands for all: of files there is no other list.
fn files(unified: &Path) -> BTreeMap<String, bool> {
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    let Some(first) = entries(unified).find(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) else {
        return BTreeMap::new();
    };
    let file = |entry: fs::DirEntry| {
        let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
        Some((entry.file_name().into_string().ok()?, metadata.permissions().mode() & 0o200 != 0))
    };
    entries(&first.path()).filter_map(file).collect()
}

/// Entries `hugepages-2048kB`, as the hugetlb controller writes their sizes (`mem_fmt` of mm/hugetlb_cgroup.c).
fn page_sizes(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let size = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let kilobytes = name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?;
        kilobytes.parse::<u64>().ok()
    };
    let mut sizes: Vec<u64> = entries.flatten().filter_map(size).collect();
    sizes.sort_unstable();
    let name = |size: u64| match size {
        size if size >= 1 << 20 => format!("{}GB", size >> 20),
        size if size >= 1 << 10 => format!("{}MB", size >> 10),
        size => format!("{size}KB"),
    };
    sizes.into_iter().map(name).collect()
}

/// A cgroup path without its leading slash.
pub(crate) fn relative(path: &str) -> Result<PathBuf, Error> {
    let wrong = || Error::Path(path.to_owned());
    let below = Path::new(path).strip_prefix("/").map_err(|_| wrong())?;
    let parts = below.components().all(|part| matches!(part, Component::Normal(_)));
    // `components` forgives "a//b" and "a/."; the kernel's names for it would differ from ours.
    let plain = path.split('/').skip(1).all(|part| !part.is_empty() && part != ".");
    if parts && plain && !path.contains('\0') { Ok(below.to_owned()) } else { Err(wrong()) }
}

pub(crate) fn c_path(path: &Path) -> Result<CString, Error> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::Path(path.display().to_string()))
}

/// A line of mountinfo.
struct Mount<'a> {
    /// Whether the root of the filesystem is mounted, not a part of it.
    whole: bool,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        let mut filesystem = filesystem.split(' ');
        let kind = filesystem.next()?;
        Some(Mount { whole: root == "/", point, kind, options: filesystem.nth(1)? })
    }
}

/// Octal escapes of mountinfo (`\040` for a space) undone.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        if let Some(byte) = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            out.push(char::from(byte));
            out.push_str(&part[3..]);
        } else {
            out.push('\\');
            out.push_str(part);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/lib/agent,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
";

    fn detect(mountinfo: &str) -> Hierarchies {
        Hierarchies::detect(mountinfo, Path::new("/no-such-root"))
    }

    #[test]
    fn the_layout_is_what_is_mounted() {
        assert_eq!(detect("").layout(), Layout::Nothing);
        assert_eq!(detect(HYBRID).layout(), Layout::Hybrid);
        let v1: String = HYBRID.lines().take(4).flat_map(|line| [line, "\n"]).collect();
        assert_eq!(detect(&v1).layout(), Layout::V1);
        let v2 =
            "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n40 31 0:37 / /n rw - cgroup c rw,name=n";
        assert_eq!(detect(v2).layout(), Layout::V2);
    }

    #[test]
    fn controllers_that_share_a_mount_share_a_directory() {
        let found = detect(HYBRID);
        let directories = found.directories("/a/b").unwrap();
        let shown: Vec<_> = directories.iter().map(|directory| directory.to_str().unwrap()).collect();
        assert_eq!(
            shown,
            [
                "/no-such-root/sys/fs/cgroup/cpu,cpuacct/a/b",
                "/no-such-root/sys/fs/cgroup/memory/a/b",
                "/no-such-root/sys/fs/cgroup/systemd/a/b",
                "/no-such-root/sys/fs/cgroup/unified/a/b",
            ]
        );
        assert!(
            found.has("cpuacct") && found.has("name=systemd") && !found.has("pids") && !found.has("xattr")
        );
        assert_eq!(found.procs("/a", false).unwrap().len(), 3);
        assert_eq!(found.procs("/a", true).unwrap().len(), 4);
    }

    #[test]
    fn a_part_of_a_hierarchy_bound_elsewhere_does_not_stand_for_it() {
        let bound = "50 1 0:32 /docker/abc /mnt/memory rw - cgroup cgroup rw,memory\n";
        let found = detect(&format!("{HYBRID}{bound}"));
        assert_eq!(found.v1("memory"), Some(Path::new("/no-such-root/sys/fs/cgroup/memory")));
        assert_eq!(detect(bound).v1("memory"), Some(Path::new("/no-such-root/mnt/memory")));
    }

    #[test]
    fn escapes_of_mountinfo_are_undone() {
        assert_eq!(unescape(r"/a\040b\134c"), r"/a b\c");
        assert_eq!(unescape(r"/a\9"), r"/a\9");
    }

    #[test]
    fn lines_that_are_none_are_passed_over() {
        assert_eq!(detect("\n - \nx - cgroup2\n1 2 3 / /p - cgroup2 c").layout(), Layout::Nothing);
    }

    #[test]
    fn a_path_leads_down_or_is_refused() {
        assert_eq!(relative("/a/b c").unwrap(), Path::new("a/b c"));
        for bad in ["", "/", "a", "/a/", "/a/../b", "/..", "/a//b", "/./a", "/a/.", "/a\0"] {
            assert!(matches!(relative(bad), Err(Error::Path(_))), "{bad:?}");
        }
    }
}
