//! Where the bytes of a sparse file belong: GNU's old format, and its versions 0.0, 0.1 and 1.0 inside pax.
//!
//! *Invariant:* a map is in order, without overlap, inside the file, and accounts for every byte of the body.

use std::io::BufRead;

use super::header::{BLOCK, Header, more_sparse};
use super::pax::Extended;
use super::{Archive, LARGEST_FILE, MOST_META, Stop, bad};

/// The most pieces of one file.
const MOST_PIECES: usize = 1 << 16;

/// A file's full size and where its pieces belong.
type Map = (u64, Vec<(u64, u64)>);

/// The map of an entry whose header was just read and whose body of `size` bytes follows, if it is sparse. What of the body is map
/// and not content is taken from it.
pub(super) fn map<R: BufRead>(
    archive: &mut Archive<R>,
    header: &Header,
    extended: &mut Extended,
    size: u64,
) -> Result<Option<Map>, Stop> {
    let sparse = std::mem::take(&mut extended.sparse);
    let (real_size, pieces) = if header.kind() == b'S' {
        // The map's further blocks stand between header and body and count for neither.
        let pieces = old(archive, header)?;
        archive.enter(size)?;
        (header.real_size()?, pieces)
    } else {
        let pieces = match (sparse.major, sparse.minor, sparse.map) {
            (None, None, None) => return Ok(None),
            (Some(1), Some(0), None) => in_body(archive)?,
            (None | Some(0), _, Some(numbers)) if numbers.len() % 2 == 0 => {
                numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
            }
            _ => return Err(bad("a sparse file in a way that is not known")),
        };
        if let Some(name) = sparse.name {
            extended.path = Some(name);
        }
        (sparse.real_size.ok_or_else(|| bad("a sparse file without its size"))?, pieces)
    };
    check(real_size, &pieces, archive.body)?;
    Ok(Some((real_size, pieces)))
}

fn old<R: BufRead>(archive: &mut Archive<R>, header: &Header) -> Result<Vec<(u64, u64)>, Stop> {
    let (mut pieces, mut more) = header.sparse()?;
    while more {
        archive.enter(BLOCK as u64)?;
        let block: [u8; BLOCK] = archive.take_all()?.try_into().map_err(|_| bad("a sparse map is cut"))?;
        let (next, and_more) = more_sparse(&block)?;
        pieces.extend(next);
        few(&pieces)?;
        more = and_more;
    }
    Ok(pieces)
}

/// Version 1.0: the body begins with the number of pieces and their offsets and lengths, a line each, filled up to a block.
fn in_body<R: BufRead>(archive: &mut Archive<R>) -> Result<Vec<(u64, u64)>, Stop> {
    let start = archive.body;
    let mut number = || -> Result<u64, Stop> {
        let mut value: u64 = 0;
        loop {
            if start - archive.body > MOST_META {
                return Err(Stop::Limit("a sparse map of more than 1 MiB".into()));
            }
            let digit = archive.piece()?.first().copied();
            let digit = digit.ok_or_else(|| bad("a sparse map is cut"))?;
            archive.used(1);
            value = match digit {
                b'\n' => return Ok(value),
                b'0'..=b'9' => value
                    .checked_mul(10)
                    .and_then(|value| value.checked_add(u64::from(digit - b'0')))
                    .ok_or_else(|| bad("a number in a sparse map does not fit"))?,
                _ => return Err(bad("a sparse map has what is no number")),
            }
        }
    };
    let mut pieces = Vec::new();
    for _ in 0..number()? {
        pieces.push((number()?, number()?));
        few(&pieces)?;
    }
    let used = start - archive.body;
    let fill = used.next_multiple_of(BLOCK as u64) - used;
    if fill > archive.body {
        return Err(bad("a sparse map is cut"));
    }
    archive.pass(fill)?;
    archive.body -= fill;
    Ok(pieces)
}

fn few(pieces: &[(u64, u64)]) -> Result<(), Stop> {
    if pieces.len() > MOST_PIECES {
        Err(Stop::Limit(format!("a sparse file of more than {MOST_PIECES} pieces")))
    } else {
        Ok(())
    }
}

fn check(real_size: u64, pieces: &[(u64, u64)], body: u64) -> Result<(), Stop> {
    few(pieces)?;
    if real_size > LARGEST_FILE {
        return Err(Stop::Limit(format!("a file of {real_size} bytes, {LARGEST_FILE} are allowed")));
    }
    let mut end = 0;
    let mut sum = 0_u64;
    for (offset, length) in pieces {
        let next = offset.checked_add(*length).filter(|next| *next <= real_size && *offset >= end);
        end = next.ok_or_else(|| bad("a sparse map overlaps or leaves its file"))?;
        sum += length;
    }
    if sum == body { Ok(()) } else { Err(bad("a sparse map does not account for the bytes that follow")) }
}
