//! The head of an entry: 512 bytes of ustar, with a pax head before it where a value does not fit.
//!
//! *Invariant:* what is said by pax is said by it alone; the ustar head then has the nearest that it can hold.

use rustix::fs::Stat;

const BLOCK: usize = 512;

/// A size in whole blocks.
pub(super) fn blocks(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64)
}

/// What an entry says of itself.
pub(super) struct Head<'a> {
    pub(super) name: &'a [u8],
    /// ustar's type flag.
    pub(super) kind: u8,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) mtime: (i64, u32),
    pub(super) device: (u32, u32),
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<'a> Head<'a> {
    /// Root's, of no time.
    pub(super) fn plain(name: &'a [u8], kind: u8) -> Self {
        Head {
            name,
            kind,
            link: Vec::new(),
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: (0, 0),
            device: (0, 0),
            xattrs: Vec::new(),
        }
    }

    /// As a file of the disk is; its size is that of a file alone.
    pub(super) fn of(name: &'a [u8], kind: u8, stat: &Stat) -> Self {
        Head {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: if kind == b'0' { u64::try_from(stat.st_size).unwrap_or_default() } else { 0 },
            mtime: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or_default()),
            device: (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)),
            ..Self::plain(name, kind)
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let pax = self.pax();
        if !pax.is_empty() {
            let name = b"pax".as_slice();
            bytes.extend(Head { size: pax.len() as u64, mode: 0o600, ..Head::plain(name, b'x') }.ustar());
            bytes.extend(&pax);
            bytes.resize(usize::try_from(blocks(bytes.len() as u64)).unwrap_or(bytes.len()), 0);
        }
        bytes.extend(self.ustar());
        bytes
    }

    /// What ustar has no room for.
    fn pax(&self) -> Vec<u8> {
        let mut pax = Vec::new();
        let mut add = |key: &[u8], value: &[u8]| pax.extend(record(key, value));
        if self.name.len() > 100 || !self.name.is_ascii() {
            add(b"path", self.name);
        }
        if self.link.len() > 100 || !self.link.is_ascii() {
            add(b"linkpath", &self.link);
        }
        if self.size > LARGEST {
            add(b"size", self.size.to_string().as_bytes());
        }
        for (key, id) in [(b"uid", self.uid), (b"gid", self.gid)] {
            if u64::from(id) > LARGEST_ID {
                add(key, id.to_string().as_bytes());
            }
        }
        let (seconds, nanoseconds) = self.mtime;
        if nanoseconds != 0 && seconds >= 0 {
            add(b"mtime", format!("{seconds}.{nanoseconds:09}").as_bytes());
        }
        for (name, value) in &self.xattrs {
            add(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
        }
        pax
    }

    fn ustar(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name[..self.name.len().min(100)]);
        put(100, &octal(u64::from(self.mode), 7));
        put(108, &octal(u64::from(self.uid).min(LARGEST_ID), 7));
        put(116, &octal(u64::from(self.gid).min(LARGEST_ID), 7));
        put(124, &octal(self.size.min(LARGEST), 11));
        put(136, &octal(u64::try_from(self.mtime.0).unwrap_or_default().min(LARGEST), 11));
        put(148, b"        ");
        put(156, &[self.kind]);
        put(157, &self.link[..self.link.len().min(100)]);
        put(257, b"ustar\x0000");
        put(329, &octal(u64::from(self.device.0), 7));
        put(337, &octal(u64::from(self.device.1), 7));
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..154].copy_from_slice(&octal(sum, 6));
        block[154] = 0;
        block
    }
}

/// The most that eleven octal digits hold.
const LARGEST: u64 = (1 << 33) - 1;
/// The most that seven hold.
const LARGEST_ID: u64 = (1 << 21) - 1;

fn octal(value: u64, digits: usize) -> Vec<u8> {
    format!("{value:0digits$o}").into_bytes()
}

/// `LENGTH KEY=VALUE\n`, whose length counts itself.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::record;

    #[test]
    fn a_record_counts_itself() {
        for length in 0..1200 {
            let record = record(b"key", &vec![b'x'; length]);
            let said: usize = std::str::from_utf8(&record)
                .expect("text")
                .split(' ')
                .next()
                .expect("a word")
                .parse()
                .expect("a number");
            assert_eq!(said, record.len());
        }
    }
}
