//! Attributes of netlink messages: a length, a kind, a value, padded to four bytes. Reference: netlink(7), `nla_put(9)`.
//!
//! *Invariant:* reading never goes beyond the bytes that are there; an attribute that nobody asks for is no error.

/// Marks a value that holds attributes itself.
const NESTED: u16 = 0x8000;
/// Marks a value in network order.
const NETWORK_ORDER: u16 = 0x4000;

/// Attributes being written.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    /// A value as it is.
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length =
            u16::try_from(4 + value.len()).expect("invariant: what is written here is far below 64 KiB");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// A text with its zero.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// A number in network order, as netfilter counts.
    pub(crate) fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A value that stands alone within an attribute, as nftables has its data (`NFTA_DATA_VALUE`).
    pub(crate) fn data(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.nested(kind, |inner| {
            inner.bytes(1, value);
        })
    }

    /// Attributes within an attribute.
    pub(crate) fn nested(&mut self, kind: u16, write: impl FnOnce(&mut Writer)) -> &mut Self {
        let mut inner = Writer::default();
        write(&mut inner);
        self.bytes(kind | NESTED, &inner.bytes)
    }
}

/// Attributes being read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Attributes<'a> {
    /// Each with its kind, in order.
    pub(crate) fn each(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let (head, _) = left.split_at_checked(4)?;
            let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
            let kind = u16::from_ne_bytes([head[2], head[3]]) & !(NESTED | NETWORK_ORDER);
            let value = left.get(4..length)?;
            left = left.get(length.next_multiple_of(4)..).unwrap_or(&[]);
            Some((kind, value))
        })
    }

    /// The value of the first one of `kind`.
    pub(crate) fn find(self, kind: u16) -> Option<&'a [u8]> {
        self.each().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// The attributes within the first one of `kind`.
    pub(crate) fn within(self, kind: u16) -> Option<Attributes<'a>> {
        self.find(kind).map(Attributes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.text(1, "abc").number(2, 0x0102_0304).nested(3, |inner| {
            inner.bytes(4, &[7]);
        });
        let read = Attributes(&writer.bytes);
        assert_eq!(read.find(1), Some(&b"abc\0"[..]));
        assert_eq!(read.find(2), Some(&[1, 2, 3, 4][..]));
        assert_eq!(read.within(3).and_then(|inner| inner.find(4)), Some(&[7][..]));
        assert_eq!(read.find(9), None);
    }

    #[test]
    fn a_lying_length_ends_the_reading() {
        for lie in [[0, 0, 1, 0], [3, 0, 1, 0], [9, 0, 1, 0], [255, 255, 1, 0]] {
            assert_eq!(Attributes(&lie).each().count(), 0, "{lie:?}");
        }
        assert_eq!(Attributes(&[4, 0]).each().count(), 0);
    }
}
