//! Descriptors, sockets and limits of processes.
//!
//! *Invariant:* what a container can make many of is looked at with a bound. A process that ends meanwhile has nothing.

use rustix::fs::{CWD, Dir, Mode, OFlags, openat, readlinkat};

/// Of a container, at most so many descriptors are looked at to tell sockets from others.
const MOST: u64 = 1 << 14;

/// What a container's processes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Processes {
    /// How many there are.
    pub(crate) count: u64,
    /// Their open descriptors.
    pub(crate) descriptors: u64,
    /// Those of them that are sockets, of the first 16384.
    pub(crate) sockets: u64,
}

/// Looks at processes.
pub(crate) fn read(pids: &[i32]) -> Processes {
    let mut all = Processes { count: pids.len() as u64, ..Processes::default() };
    let mut looked_at = 0;
    for pid in pids {
        // It has ended: its number may even be another's by now, whose figures then are there for once.
        let _ = descriptors(*pid, &mut all, &mut looked_at);
    }
    all
}

fn descriptors(pid: i32, all: &mut Processes, looked_at: &mut u64) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, format!("/proc/{pid}/fd"), flags, Mode::empty())?;
    // Since Linux 6.2 the directory's size is their number.
    let known = u64::try_from(rustix::fs::fstat(&directory)?.st_size).unwrap_or(0);
    let mut seen = 0;
    let mut entries = Dir::new(directory)?;
    while let Some(entry) = entries.read() {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_bytes().first() == Some(&b'.') {
            continue;
        }
        seen += 1;
        if *looked_at < MOST {
            *looked_at += 1;
            let to = readlinkat(entries.fd()?, name, Vec::new());
            all.sockets += u64::from(to.is_ok_and(|to| to.to_bytes().starts_with(b"socket:")));
        } else if known > 0 {
            break;
        }
    }
    all.descriptors += known.max(seen);
    Ok(())
}

/// How many files a process may have open: the soft limit; none if it has no limit or has ended.
pub(crate) fn most_open_files(pid: i32) -> Option<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_and_sockets_of_a_process_are_counted() {
        let own = i32::try_from(std::process::id()).unwrap();
        // Others of this test's process open and close files meanwhile: only what is added here is sure.
        let sockets: Vec<_> = (0..50).map(|_| std::os::unix::net::UnixDatagram::unbound().unwrap()).collect();
        let seen = read(&[own]);
        assert!(seen.sockets >= 50 && seen.descriptors > seen.sockets && seen.count == 1, "{seen:?}");
        drop(sockets);
        assert_eq!(read(&[]), Processes::default());
        // No process has this number: it is above what the kernel gives.
        assert_eq!(read(&[i32::MAX]), Processes { count: 1, ..Processes::default() });
    }

    #[test]
    fn the_limit_of_open_files_is_the_soft_one() {
        let own = i32::try_from(std::process::id()).unwrap();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        assert_eq!(most_open_files(own), limit);
        assert_eq!(most_open_files(i32::MAX), None);
    }
}
