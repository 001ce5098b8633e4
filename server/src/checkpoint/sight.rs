//! What CRIU has to be told of a container that runs: mounts and streams that come from outside of it.
//!
//! Every mount but the root and those of its own `/proc` is one that the plan makes: it is named here, and at its restore taken from the
//! root that the plan of then makes. Streams are the shim's pipes, the terminal of the container's devpts, or the node's `/dev/null`.
//!
//! *Invariant:* what is read is the kernel's, about processes that stand still.

use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use orlop_model::report::{Kind, Report};

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Sight {
    /// Mount points that are taken from outside.
    pub(super) mounts: Vec<String>,
    /// Those among them that hide a file behind the node's `/dev/null`.
    pub(super) nulls: Vec<String>,
    /// stdin, stdout and stderr as CRIU names them: `pipe:[7]`, `file[a:b]`, `tty[a:b]`; none: nobody has it open.
    pub(super) streams: [Option<String>; 3],
}

/// Looks at the container whose first process is `pid`, its others `processes`, and its shim `shim`.
///
/// # Errors
/// If it has ended, or has a mount that CRIU cannot be told of.
pub(super) fn look(pid: i32, processes: &[i32], shim: i32, terminal: bool) -> Result<Sight, Report> {
    let file = format!("/proc/{pid}/mountinfo");
    let text = std::fs::read_to_string(&file).map_err(|error| failed(&file, error))?;
    let table = mounts(&text);
    let mut sight = Sight::default();
    for mount in &table {
        if mount.point.contains(']') {
            let cause = "CRIU cannot be told of a mount point with a ] in it";
            return Err(Report::new(Kind::Unsupported, "checkpoint", mount.point.clone(), cause));
        }
        if mount.is_null() {
            sight.nulls.push(mount.point.clone());
        }
        if mount.is_outside() {
            sight.mounts.push(mount.point.clone());
        }
    }
    if terminal {
        sight.streams[0] = Some(terminal_of(pid)?);
        return Ok(sight);
    }
    let inside: BTreeSet<u64> = table.iter().map(|mount| mount.id).collect();
    sight.streams = streams(pid, processes, shim, &inside);
    Ok(sight)
}

fn failed(what: &str, error: impl std::fmt::Display) -> Report {
    Report::new(Kind::Failed, "look at container", what, error)
}

/// A line of /proc/PID/mountinfo, as far as it matters: proc_pid_mountinfo(5).
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    id: u64,
    /// What of its file system is mounted.
    root: String,
    point: String,
}

impl Mount {
    fn is_null(&self) -> bool {
        self.root == "/null"
    }

    /// Its `/proc` is of its own PID namespace, which CRIU makes, and so is what covers parts of it.
    fn is_outside(&self) -> bool {
        let in_proc = self.point == "/proc" || self.point.starts_with("/proc/");
        self.point != "/" && (!in_proc || self.is_null())
    }
}

fn mounts(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let mut words = line.split(' ');
        let id = words.next()?.parse().ok()?;
        let root = unescaped(words.nth(2)?);
        Some(Mount { id, root, point: unescaped(words.next()?) })
    };
    text.lines().filter_map(mount).collect()
}

/// A word whose space, tab, newline and backslash are octal numbers after a backslash.
fn unescaped(word: &str) -> String {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let [first, tail @ ..] = rest {
        let number = (*first == b'\\').then(|| tail.get(..3)).flatten();
        let number = number.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(number.unwrap_or(*first));
        rest = if number.is_some() { &tail[3..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn terminal_of(pid: i32) -> Result<String, Report> {
    let path = format!("/proc/{pid}/root/dev/console");
    let metadata = std::fs::metadata(&path).map_err(|error| failed(&path, error))?;
    if !metadata.file_type().is_char_device() {
        return Err(failed(&path, "it is no terminal"));
    }
    Ok(format!("tty[{:x}:{:x}]", metadata.rdev(), metadata.dev()))
}

/// An open file of a process.
struct Open {
    number: u64,
    link: PathBuf,
    write_only: bool,
    mount: u64,
    path: PathBuf,
}

fn open_files(pid: i32) -> Vec<Open> {
    let directory = PathBuf::from(format!("/proc/{pid}/fd"));
    let open = |entry: std::fs::DirEntry| {
        let number: u64 = entry.file_name().to_str()?.parse().ok()?;
        let link = std::fs::read_link(entry.path()).ok()?;
        let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
        let word = |key: &str| info.lines().find_map(|line| Some(line.strip_prefix(key)?.trim().to_owned()));
        let flags = u32::from_str_radix(&word("flags:")?, 8).ok()?;
        let mount = word("mnt_id:")?.parse().ok()?;
        Some(Open { number, link, write_only: flags & 3 == 1, mount, path: entry.path() })
    };
    let mut all: Vec<Open> =
        std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok).filter_map(open).collect();
    all.sort_by_key(|open| open.number);
    all
}

fn pipe(link: &Path) -> Option<&str> {
    link.to_str().filter(|link| link.starts_with("pipe:["))
}

/// The shim holds the other ends: it made those of stdout and stderr in this order.
fn streams(pid: i32, processes: &[i32], shim: i32, inside: &BTreeSet<u64>) -> [Option<String>; 3] {
    let others = processes.iter().filter(|other| **other != pid);
    let all: Vec<Open> = std::iter::once(&pid).chain(others).flat_map(|pid| open_files(*pid)).collect();
    let is_open = |link: &str| all.iter().any(|open| pipe(&open.link) == Some(link));
    let held = open_files(shim);
    let ends = |write_only: bool| {
        let its = held.iter().filter(move |open| open.write_only == write_only);
        its.filter_map(|open| pipe(&open.link)).map(str::to_owned)
    };
    let input = ends(true).find(|link| is_open(link)).or_else(|| null(&all, inside));
    let outputs: Vec<String> = ends(false).collect();
    match outputs.as_slice() {
        [output, error, ..] => [input, Some(output.clone()), Some(error.clone())],
        [one] => {
            // One of them has ended: which one, the numbers say under which the other is open.
            let is_error = all.iter().any(|open| pipe(&open.link) == Some(one) && open.number == 2);
            let is_output = all.iter().any(|open| pipe(&open.link) == Some(one) && open.number == 1);
            if is_error && !is_output {
                [input, None, Some(one.clone())]
            } else {
                [input, Some(one.clone()), None]
            }
        }
        [] => [input, None, None],
    }
}

/// The node's `/dev/null`, where a process has it open.
fn null(all: &[Open], inside: &BTreeSet<u64>) -> Option<String> {
    let key = |open: &Open| {
        let metadata = std::fs::metadata(&open.path).ok()?;
        let is_null = metadata.file_type().is_char_device() && metadata.rdev() == rustix::fs::makedev(1, 3);
        is_null.then(|| format!("file[{:x}:{:x}]", open.mount, metadata.ino()))
    };
    all.iter().filter(|open| !inside.contains(&open.mount)).find_map(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_told_apart() {
        let text = "138 62 0:58 / / rw,relatime - overlay overlay rw\n\
                    139 138 0:60 / /proc rw - proc proc rw\n\
                    140 139 0:60 /sys /proc/sys ro - proc proc rw\n\
                    141 139 0:5 /null /proc/kcore rw - devtmpfs devtmpfs rw\n\
                    142 138 254:0 /a\\040b /with\\040space\\134 rw master:3 - ext4 /dev/x rw\n\
                    143 138 0:61 / /procession rw - tmpfs tmpfs rw\nnonsense\n";
        let mounts = mounts(text);
        let outside: Vec<&str> =
            mounts.iter().filter(|mount| mount.is_outside()).map(|mount| mount.point.as_str()).collect();
        assert_eq!(outside, ["/proc/kcore", "/with space\\", "/procession"]);
        assert_eq!(mounts.iter().filter(|mount| mount.is_null()).count(), 1);
    }
}
