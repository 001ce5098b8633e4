//! The profile of AppArmor that containers have where nobody says otherwise, as text for apparmor_parser(8).
//!
//! It takes away what a container's namespaces and capabilities leave open by accident: mounts, what is writable of the node's
//! `/proc` and `/sys`, tracing and signals across containers. Everything else is left to the other walls, so that a program that runs
//! under another runtime's default profile runs under this one.
//!
//! AppArmor has no "all but": what is written for is said, as globs that match every name but one (`all_but`).
//!
//! *Invariant:* the same every time, and it includes no file of the node's: what is allowed is what stands here.

use std::fmt::Write as _;

/// What it is called.
pub const DEFAULT: &str = "orlop-default";

/// What nobody may touch in any way, whatever the rest says: memory, keys to the machine, its firmware and its security modules.
const UNTOUCHABLE: [&str; 5] = [
    "/proc/kcore",
    "/proc/sysrq-trigger",
    "/sys/firmware/**",
    "/sys/devices/virtual/powercap/**",
    "/sys/kernel/security/**",
];

/// Profiles whose processes may send signals: those of container runtimes, where a node confines them.
const SENDERS: [&str; 3] = ["unconfined", "orlopd", "orlop-shim"];

/// The profile.
///
/// `abi`: whether the node has the file `abi/3.0` below apparmor_parser's directory, which says what rules are meant that are not
/// there. Without it a newer parser would read more into their absence.
#[must_use]
pub fn profile(abi: bool) -> String {
    let mut text = String::new();
    let mut line = |part: &str| {
        text.push_str(part);
        text.push('\n');
    };
    if abi {
        line("abi <abi/3.0>,");
    }
    line(&format!("profile {DEFAULT} flags=(attach_disconnected,mediate_deleted) {{"));
    for allowed in ["file,", "network,", "unix,", "capability,", "umount,"] {
        line(&format!("  {allowed}"));
    }
    for peer in SENDERS {
        line(&format!("  signal (receive) peer={peer},"));
    }
    line(&format!("  signal (send, receive) peer={DEFAULT},"));
    line("  signal (send, receive) set=(exists),");
    line(&format!("  ptrace (trace, tracedby, read, readby) peer={DEFAULT},"));
    line("  ptrace (readby, tracedby) peer=unconfined,");
    line("  deny mount,");
    for path in UNTOUCHABLE {
        line(&format!("  deny {path} rwklx,"));
    }
    for rule in read_only() {
        line(&format!("  deny {rule},"));
    }
    line("}");
    text
}

/// What may be read and not written: `/proc` but for processes and the sysctls of shared memory, `/sys` but for cgroups.
fn read_only() -> Vec<String> {
    let mut rules = vec!["/proc/* w".to_owned()];
    // Directories of /proc: a process's has digits for a name, and sysctls have rules of their own.
    rules.extend(all_but("sys", "0-9").into_iter().map(|name| format!("/proc/{name}/** w")));
    rules.extend(all_but("kernel", "").into_iter().map(|name| format!("/proc/sys/{name}{{,/**}} w")));
    rules.extend(beginning_unlike("shm").into_iter().map(|name| format!("/proc/sys/kernel/{name} w")));
    rules.extend(all_but("fs", "").into_iter().map(|name| format!("/sys/{name}/** wklx")));
    rules.extend(all_but("cgroup", "").into_iter().map(|name| format!("/sys/fs/{name}/** wklx")));
    rules
}

/// Globs for every name of a file but `word`; `also` is a range of letters that no name they match begins with.
fn all_but(word: &str, also: &str) -> Vec<String> {
    let mut globs = unlike(word, also, "*");
    globs.push(format!("{word}?*"));
    globs
}

/// Globs for every path of which the first name does not begin with `word`.
fn beginning_unlike(word: &str) -> Vec<String> {
    unlike(word, "", "**")
}

/// Globs for what leaves `word` at one of its letters, or ends there.
fn unlike(word: &str, also: &str, rest: &str) -> Vec<String> {
    let mut globs = Vec::new();
    for (at, letter) in word.char_indices() {
        let (before, also) = (&word[..at], if at == 0 { also } else { "" });
        if at > 0 {
            globs.push(before.to_owned());
        }
        let mut glob = String::new();
        // Writing to a String cannot fail.
        let _ = write!(glob, "{before}[^{also}{letter}/]{rest}");
        globs.push(glob);
    }
    globs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a glob of AppArmor means (apparmor.d(5)), as far as these rules use it: `*` and `?` stop at a slash, `**` does not, a
    /// class is a letter, braces are alternatives.
    fn matches(glob: &[u8], path: &[u8]) -> bool {
        match glob.split_first() {
            None => path.is_empty(),
            Some((b'*', rest)) => {
                let deep = rest.first() == Some(&b'*');
                let rest = if deep { &rest[1..] } else { rest };
                (0..=path.len())
                    .take_while(|&end| deep || !path[..end].contains(&b'/'))
                    .any(|end| matches(rest, &path[end..]))
            }
            Some((b'?', rest)) => {
                path.first().is_some_and(|&letter| letter != b'/') && matches(rest, &path[1..])
            }
            Some((b'[', rest)) => {
                let end = rest.iter().position(|&letter| letter == b']').expect("a class ends");
                let class = rest[..end].strip_prefix(b"^").expect("classes here say what is not meant");
                let digits = class.starts_with(b"0-9");
                path.first()
                    .is_some_and(|letter| !(class.contains(letter) || digits && letter.is_ascii_digit()))
                    && matches(&rest[end + 1..], &path[1..])
            }
            Some((b'{', rest)) => {
                let end = rest.iter().position(|&letter| letter == b'}').expect("braces end");
                rest[..end]
                    .split(|&letter| letter == b',')
                    .any(|one| matches(&[one, &rest[end + 1..]].concat(), path))
            }
            Some((letter, rest)) => path.first() == Some(letter) && matches(rest, &path[1..]),
        }
    }

    fn denied(access: char, path: &str) -> bool {
        profile(false).lines().any(|line| {
            let words: Vec<&str> = line.trim().trim_end_matches(',').split(' ').collect();
            matches!(words[..], ["deny", glob, how] if how.contains(access) && matches(glob.as_bytes(), path.as_bytes()))
        })
    }

    #[test]
    fn what_is_the_node_s_is_not_written() {
        for path in [
            "/proc/mtrr",
            "/proc/s",
            "/proc/sy",
            "/proc/irq/1/smp_affinity",
            "/proc/acpi/x",
            "/proc/sysvipc/shm",
            "/proc/scsi/scsi",
            "/proc/bus/pci/00/00.0",
            "/proc/sys/vm/swappiness",
            "/proc/sys/net/core/somaxconn",
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/s",
            "/proc/sys/kernel/sem",
            "/proc/sys/kernel/sh",
            "/proc/sys/kernel/random/uuid",
            "/proc/sys/kernelx/y",
            "/sys/class/net/x",
            "/sys/f/x",
            "/sys/fsx/y",
            "/sys/fs/bpf/x",
            "/sys/fs/cgroup2/x",
            "/sys/fs/c/x",
            "/sys/kernel/mm/x",
        ] {
            assert!(denied('w', path), "{path}");
            assert!(!path.starts_with("/proc/sys/") || !denied('r', path), "{path}");
        }
    }

    #[test]
    fn what_is_the_container_s_is() {
        for path in [
            "/proc/1/oom_score_adj",
            "/proc/42/task/42/attr/exec",
            "/proc/9/x",
            "/proc/sys/kernel/shm_rmid_forced",
            "/proc/sys/kernel/shmmax",
            "/sys/fs/cgroup/memory/x",
            "/sys/fs/cgroup/cgroup.procs",
            "/etc/passwd",
            "/system/x",
            "/process/x/y",
        ] {
            assert!(!denied('w', path), "{path}");
        }
    }

    #[test]
    fn some_things_are_not_even_read() {
        for path in
            ["/proc/kcore", "/proc/sysrq-trigger", "/sys/firmware/efi/x", "/sys/kernel/security/apparmor/x"]
        {
            assert!(denied('r', path) && denied('w', path), "{path}");
        }
        assert!(!denied('r', "/proc/meminfo") && !denied('r', "/sys/class/net/x"));
    }

    #[test]
    fn it_is_one_profile_by_its_name() {
        let text = profile(true);
        assert!(text.starts_with("abi <abi/3.0>,\nprofile orlop-default flags="), "{text}");
        assert!(text.ends_with("}\n") && !text.contains("include"), "{text}");
        assert_eq!(text.matches("deny mount,").count(), 1);
    }
}
