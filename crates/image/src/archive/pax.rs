//! Extended headers: records of the form `LENGTH KEY=VALUE\n` that outweigh the header's fields.
//!
//! *Invariant:* of two sizes that differ none is taken: the archive is refused, since two readers would see two archives.

use super::header::Header;
use super::{Stop, Time, bad};

/// What the extended headers before an entry say.
#[derive(Default)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Time>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Sparse,
}

/// The three ways in which GNU tar says in pax that a file is sparse.
#[derive(Default)]
pub(super) struct Sparse {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    /// Versions 0.1 and 1.0.
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    /// Version 0.1: `offset,length,offset,length…`; version 0.0, as one record for each number, is gathered here too.
    pub(super) map: Option<Vec<u64>>,
}

impl Extended {
    /// Reads all records of one extended header.
    pub(super) fn read(&mut self, mut text: &[u8]) -> Result<(), Stop> {
        while !text.is_empty() {
            let (key, value, rest) = record(text).ok_or_else(|| bad("an extended header is malformed"))?;
            self.take(key, value)?;
            text = rest;
        }
        Ok(())
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Stop> {
        match key {
            b"path" => self.path = Some(value.to_vec()).filter(|path| !path.is_empty()),
            b"linkpath" => self.link = Some(value.to_vec()).filter(|path| !path.is_empty()),
            b"size" => self.size = Some(count(key, value)?),
            b"uid" => self.uid = Some(count(key, value)?),
            b"gid" => self.gid = Some(count(key, value)?),
            b"mtime" => self.mtime = Some(time(value)),
            b"GNU.sparse.major" => self.sparse.major = Some(count(key, value)?),
            b"GNU.sparse.minor" => self.sparse.minor = Some(count(key, value)?),
            b"GNU.sparse.name" => self.sparse.name = Some(value.to_vec()),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.real_size = Some(count(key, value)?),
            b"GNU.sparse.map" => {
                let numbers = value.split(|byte| *byte == b',').map(|number| count(key, number));
                self.sparse.map = Some(numbers.collect::<Result<_, _>>()?);
            }
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                self.sparse.map.get_or_insert_default().push(count(key, value)?);
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.retain(|(had, _)| had != name);
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }

    /// How many bytes follow the header.
    pub(super) fn body_size(&self, header: &Header) -> Result<u64, Stop> {
        /// What eleven octal digits hold. A larger size stands in pax alone; writers leave anything in the header then.
        const MOST_IN_HEADER: u64 = 0o77_777_777_777;
        if !has_body(header) {
            let body = self.size.is_some_and(|size| size > 0);
            return if body { Err(bad("an entry that can have no body has one")) } else { Ok(0) };
        }
        let Some(pax) = self.size else { return header.size() };
        if pax > MOST_IN_HEADER {
            return Ok(pax);
        }
        match header.size()? {
            0 => Ok(pax),
            said if said == pax => Ok(pax),
            said => Err(bad(format!(
                "an entry has the size {said} in its header and {pax} in its extended header"
            ))),
        }
    }
}

/// Links, devices, directories and pipes have none, whatever their size field says; so GNU tar and Go read them.
fn has_body(header: &Header) -> bool {
    !matches!(header.kind(), b'1'..=b'6')
}

fn record(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = text.iter().take(20).position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&text[..space]).ok()?.parse().ok()?;
    let (record, rest) = text.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], rest)).filter(|(key, ..)| !key.is_empty())
}

fn count(key: &[u8], value: &[u8]) -> Result<u64, Stop> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    digits
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| bad(format!("an extended header's {} is no number that fits", key.escape_ascii())))
}

/// `SECONDS[.FRACTION]`, possibly negative. What is none is the beginning of time: no reason to refuse a file.
fn time(value: &[u8]) -> Time {
    let Ok(text) = std::str::from_utf8(value) else { return Time::default() };
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return Time::default();
    }
    let seconds = whole.parse().unwrap_or(i64::MAX);
    let nanoseconds: u32 = format!("{fraction:0<9}")[..9].parse().unwrap_or(0);
    match (negative, nanoseconds) {
        (false, nanoseconds) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds: 0 },
        (true, nanoseconds) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_nanosecond_and_never_refused() {
        let at = |seconds, nanoseconds| Time { seconds, nanoseconds };
        for (text, is) in [
            ("1", at(1, 0)),
            ("1.5", at(1, 500_000_000)),
            ("1.0000000019", at(1, 1)),
            ("-1", at(-1, 0)),
            ("-0.25", at(-1, 750_000_000)),
            ("nan", at(0, 0)),
            ("", at(0, 0)),
            ("-", at(0, 0)),
            ("1e9", at(0, 0)),
            ("99999999999999999999", at(i64::MAX, 0)),
            ("-99999999999999999999.1", at(i64::MIN, 900_000_000)),
        ] {
            assert_eq!(time(text.as_bytes()), is, "{text}");
        }
    }

    #[test]
    fn records_that_lie_about_their_length_are_refused() {
        for text in [
            "",
            "x",
            "6 a=b",
            "6 a=b\n7 a=b\n",
            "5 a=b\n",
            "99999999999999999999 a=b\n",
            "6 =ab\n",
            "5 ab\n",
            "0 a=b\n",
            "1 \n",
        ] {
            let read = Extended::default().read(text.as_bytes());
            assert_eq!(read.is_ok(), text.is_empty(), "{text:?}");
        }
        let mut extended = Extended::default();
        extended.read(b"10 path=a\n14 path=b\n=c\n\n").unwrap();
        assert_eq!(extended.path.as_deref(), Some(&b"b\n=c\n"[..]));
    }
}
