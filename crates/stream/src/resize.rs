//! Sizes of the client's terminal: JSON objects one after the other, cut anywhere.
//!
//! *Invariant:* at most [`LONGEST`] bytes are kept; what is no size ends the reading, and nothing else.

use serde_json::{Map, Value};

use crate::session::Size;

/// The longest that one object may be.
const LONGEST: usize = 1 << 10;

/// Reads sizes.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    rest: Vec<u8>,
    broken: bool,
}

impl Sizes {
    /// The sizes that are complete with `piece`.
    pub(crate) fn read(&mut self, piece: &[u8]) -> Vec<Size> {
        let mut sizes = Vec::new();
        // In parts, so that what is kept stays short however long a piece is.
        for part in piece.chunks(LONGEST) {
            if self.broken {
                break;
            }
            self.rest.extend_from_slice(part);
            let mut objects =
                serde_json::Deserializer::from_slice(&self.rest).into_iter::<Map<String, Value>>();
            for object in objects.by_ref() {
                match object {
                    Ok(object) => match size(&object) {
                        Some(size) => sizes.push(size),
                        None => self.broken = true,
                    },
                    Err(error) if error.is_eof() => break,
                    Err(_) => self.broken = true,
                }
                if self.broken {
                    break;
                }
            }
            let read = objects.byte_offset();
            self.rest.drain(..read);
            if self.broken || self.rest.len() > LONGEST {
                *self = Sizes { rest: Vec::new(), broken: true };
            }
        }
        sizes
    }
}

/// As Go's decoder reads it: capitals make no difference, and what is not there is 0.
fn size(object: &Map<String, Value>) -> Option<Size> {
    let field = |name: &str| {
        let value = object.iter().find(|(of, _)| of.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        value.map_or(Some(0), |value| u16::try_from(value.as_u64()?).ok())
    };
    Some(Size { width: field("width")?, height: field("height")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str =
        "{\"Width\":80,\"Height\":24}\n{\"Width\":132,\"Height\":43}{\"height\":1,\"width\":65535} {}\n";

    fn expected() -> Vec<Size> {
        [(80, 24), (132, 43), (65535, 1), (0, 0)].map(|(width, height)| Size { width, height }).into()
    }

    #[test]
    fn sizes_are_read_wherever_they_are_cut() {
        assert_eq!(Sizes::default().read(SENT.as_bytes()), expected());
        for at in 0..SENT.len() {
            let mut sizes = Sizes::default();
            let mut read = sizes.read(&SENT.as_bytes()[..at]);
            read.extend(sizes.read(&SENT.as_bytes()[at..]));
            assert_eq!(read, expected(), "cut at {at}");
        }
        let mut sizes = Sizes::default();
        let read: Vec<Size> = SENT.bytes().flat_map(|byte| sizes.read(&[byte])).collect();
        assert_eq!(read, expected());
    }

    #[test]
    fn what_is_no_size_ends_the_reading() {
        for bad in ["nonsense", "{\"Width\":-1}", "{\"Width\":65536}", "[]", "{\"Width\":\"80\"}", "}"] {
            let mut sizes = Sizes::default();
            assert_eq!(sizes.read(bad.as_bytes()), [], "{bad}");
            assert_eq!(sizes.read(SENT.as_bytes()), [], "{bad}");
        }
    }

    #[test]
    fn what_never_ends_is_not_kept() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.read(b"{\"Width\":"), []);
        for _ in 0..1000 {
            assert_eq!(sizes.read(&[b' '; 1000]), []);
            assert!(sizes.rest.len() <= 2 * LONGEST);
        }
        assert_eq!(sizes.read(b"80}"), []);
    }
}
