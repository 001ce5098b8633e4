//! One header block: 512 bytes with fields at fixed places.
//!
//! *Invariant:* a block whose checksum does not fit is never interpreted.

use super::{Kind, Stop, Time, bad, up_to_nul};

/// The unit of an archive.
pub(super) const BLOCK: usize = 512;

/// A block with a good checksum.
pub(super) struct Header([u8; BLOCK]);

impl Header {
    /// None for a block of zeros: the end of the archive.
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Option<Self>, Stop> {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = Header(*block);
        let said = header.number(148..156).map_err(|()| bad("a header's checksum is no number"))?;
        // The checksum's own place counts as spaces. Old writers summed signed bytes.
        let counted = |index: usize, byte: u8| if (148..156).contains(&index) { b' ' } else { byte };
        let unsigned: i64 = block.iter().enumerate().map(|(i, b)| i64::from(counted(i, *b))).sum();
        let signed: i64 =
            block.iter().enumerate().map(|(i, b)| i64::from(counted(i, *b).cast_signed())).sum();
        if said == unsigned || said == signed {
            Ok(Some(header))
        } else {
            Err(bad("a header's checksum is wrong"))
        }
    }

    /// The byte that says what the entry is.
    pub(super) fn kind(&self) -> u8 {
        self.0[156]
    }

    /// What the entry, whose full name is `path`, makes.
    pub(super) fn makes(&self, path: &[u8]) -> Result<Kind, Stop> {
        match self.kind() {
            // Before POSIX a directory was a file whose name ends in a slash.
            b'0' | 0 if path.ends_with(b"/") => Ok(Kind::Directory),
            b'0' | 0 | b'7' | b'S' => Ok(Kind::File),
            b'1' => Ok(Kind::HardLink),
            b'2' => Ok(Kind::Symlink),
            b'3' => self.device().map(|(major, minor)| Kind::Character(major, minor)),
            b'4' => self.device().map(|(major, minor)| Kind::Block(major, minor)),
            b'5' => Ok(Kind::Directory),
            b'6' => Ok(Kind::Fifo),
            other => Err(bad(format!("an entry of the unknown kind '{}'", other.escape_ascii()))),
        }
    }

    /// The name, with the prefix that only POSIX's own format has.
    pub(super) fn path(&self) -> Vec<u8> {
        let name = up_to_nul(self.0[..100].to_vec());
        let prefix = up_to_nul(self.0[345..500].to_vec());
        let posix = &self.0[257..263] == b"ustar\0";
        if posix && !prefix.is_empty() { [prefix, name].join(&b'/') } else { name }
    }

    pub(super) fn link(&self) -> Vec<u8> {
        up_to_nul(self.0[157..257].to_vec())
    }

    pub(super) fn size(&self) -> Result<u64, Stop> {
        self.unsigned(124..136, "size")
    }

    pub(super) fn mode(&self) -> Result<u32, Stop> {
        // Some writers put the file's type there too.
        let mode = self.unsigned(100..108, "mode")?;
        Ok(u32::try_from(mode & 0o7777).unwrap_or(0))
    }

    pub(super) fn uid(&self) -> Result<u64, Stop> {
        self.unsigned(108..116, "uid")
    }

    pub(super) fn gid(&self) -> Result<u64, Stop> {
        self.unsigned(116..124, "gid")
    }

    /// A time that is no number is the beginning of time: no reason to refuse a file.
    pub(super) fn mtime(&self) -> Time {
        Time { seconds: self.number(136..148).unwrap_or(0), nanoseconds: 0 }
    }

    /// Offset and length pairs of GNU's old sparse format, and whether more blocks of them follow.
    pub(super) fn sparse(&self) -> Result<(Vec<(u64, u64)>, bool), Stop> {
        pairs(&self.0[386..482], self.0[482])
    }

    /// How large the file of GNU's old sparse format is, holes included.
    pub(super) fn real_size(&self) -> Result<u64, Stop> {
        self.unsigned(483..495, "real size")
    }

    fn device(&self) -> Result<(u32, u32), Stop> {
        let number =
            |range, most: u64| self.unsigned(range, "device number").map(|n| (n < most).then_some(n));
        let (major, minor) = (number(329..337, 1 << 12)?, number(337..345, 1 << 20)?);
        let small = |n: Option<u64>| n.and_then(|n| u32::try_from(n).ok());
        small(major).zip(small(minor)).ok_or_else(|| bad("a device number that the kernel does not have"))
    }

    fn unsigned(&self, range: std::ops::Range<usize>, what: &str) -> Result<u64, Stop> {
        let number =
            self.number(range).map_err(|()| bad(format!("a header's {what} is no number that fits")))?;
        u64::try_from(number).map_err(|_| bad(format!("a header's {what} is negative")))
    }

    fn number(&self, range: std::ops::Range<usize>) -> Result<i64, ()> {
        number(&self.0[range])
    }
}

/// Reads the continuation block of a sparse map.
pub(super) fn more_sparse(block: &[u8; BLOCK]) -> Result<(Vec<(u64, u64)>, bool), Stop> {
    pairs(&block[..504], block[504])
}

fn pairs(bytes: &[u8], more: u8) -> Result<(Vec<(u64, u64)>, bool), Stop> {
    let field = |bytes| number(bytes).ok().and_then(|n| u64::try_from(n).ok());
    let mut pairs = Vec::new();
    for pair in bytes.chunks_exact(24).take_while(|pair| pair[0] != 0) {
        let pair = field(&pair[..12]).zip(field(&pair[12..]));
        pairs.push(pair.ok_or_else(|| bad("a sparse map has what is no number"))?);
    }
    Ok((pairs, more != 0))
}

/// Octal digits between blanks and NULs, or (first bit set) a big-endian number of two's complement.
fn number(field: &[u8]) -> Result<i64, ()> {
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let first = if negative { field[0] | 0x80 } else { field[0] & 0x7f };
        let start = i128::from(if negative { -1_i8 } else { 0 });
        let value = std::iter::once(first)
            .chain(field[1..].iter().copied())
            .try_fold(start, |value, byte| value.checked_mul(256).map(|value| value | i128::from(byte)));
        return value.and_then(|value| i64::try_from(value).ok()).ok_or(());
    }
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !blank(byte)).unwrap_or(field.len());
    let digits = field[start..].split(blank).next().unwrap_or_default();
    let rest = &field[start + digits.len()..];
    let nul_ends = rest.first() == Some(&0);
    if !nul_ends && !rest.iter().all(blank) {
        return Err(());
    }
    digits.iter().try_fold(0_i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8).map(|value| value + i64::from(digit - b'0')).ok_or(()),
        _ => Err(()),
    })
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_in_all_their_forms() {
        for (field, is) in [
            (&b"0000644\0"[..], Ok(0o644)),
            (b"   644 \0", Ok(0o644)),
            (b"644\0junk", Ok(0o644)),
            (b"\0\0\0\0\0\0\0\0", Ok(0)),
            (b"        ", Ok(0)),
            (b"0000648\0", Err(())),
            (b"-1\0\0\0\0\0\0", Err(())),
            (b"12 34\0\0\0", Err(())),
            (b"77777777777\x20", Ok(0o77_777_777_777)),
            (b"\x80\0\0\0\0\0\x01\0", Ok(256)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Ok(i64::MAX)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", Err(())),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Ok(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", Ok(-2)),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Err(())),
        ] {
            assert_eq!(number(field), is, "{}", field.escape_ascii());
        }
    }
}
