//! How values become bytes: little endian, a length before what has one, a number before a variant.
//!
//! *Invariant:* [`Wire::get`] takes no more memory than the bytes that are there, and never panics.

use std::ffi::CString;

/// A value that can travel.
pub trait Wire: Sized {
    /// Appends the value to `out`.
    fn put(&self, out: &mut Vec<u8>);
    /// Takes a value off the front of `from`.
    ///
    /// # Errors
    /// [`Malformed`] if the bytes do not hold one.
    fn get(from: &mut Reader<'_>) -> Result<Self, Malformed>;

    /// The value alone, as bytes.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.put(&mut out);
        out
    }

    /// The value that `bytes` hold, all of them.
    ///
    /// # Errors
    /// [`Malformed`] if they hold less or more.
    fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let value = Self::get(&mut reader)?;
        if reader.left.is_empty() { Ok(value) } else { Err(reader.malformed("bytes after the end")) }
    }
}

/// Bytes that do not hold what they should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// Where, counted from the first byte.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

impl std::error::Error for Malformed {}

/// Bytes on their way to become values.
pub struct Reader<'a> {
    left: &'a [u8],
    length: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { left: bytes, length: bytes.len() }
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`Malformed`] if there are fewer.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        match self.left.split_at_checked(count) {
            Some((taken, left)) => {
                self.left = left;
                Ok(taken)
            }
            None => Err(self.malformed("cut off")),
        }
    }

    /// An error at the present place.
    #[must_use]
    pub fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { at: self.length - self.left.len(), what }
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        let length = u32::get(self)? as usize;
        // Nothing takes less than a byte, so a length beyond what is left is a lie, found before memory is taken for it.
        if length > self.left.len() { Err(self.malformed("length beyond the end")) } else { Ok(length) }
    }
}

macro_rules! integers {
    ($($kind:ty),*) => {$(
        impl Wire for $kind {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn get(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                let bytes = from.take(size_of::<$kind>())?;
                bytes.try_into().map(<$kind>::from_le_bytes).map_err(|_| from.malformed("integer"))
            }
        }
    )*};
}
integers!(u8, u16, u32, u64, i32, i64);

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::get(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(from.malformed("neither false nor true")),
        }
    }
}

fn put_length(length: usize, out: &mut Vec<u8>) {
    // What is written here was read from requests of at most 16 MiB.
    u32::try_from(length).unwrap_or(u32::MAX).put(out);
}

impl Wire for CString {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.as_bytes().len(), out);
        out.extend_from_slice(self.as_bytes());
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let length = from.length()?;
        let bytes = from.take(length)?;
        CString::new(bytes).map_err(|_| from.malformed("NUL in a string"))
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        out.extend_from_slice(self.as_bytes());
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let length = from.length()?;
        let bytes = from.take(length)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| from.malformed("not UTF-8"))
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        for item in self {
            item.put(out);
        }
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let length = from.length()?;
        // Grows as items are really there: a lying length costs nothing.
        let mut items = Vec::new();
        for _ in 0..length {
            items.push(T::get(from)?);
        }
        Ok(items)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        if bool::get(from)? { T::get(from).map(Some) } else { Ok(None) }
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    fn get(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((A::get(from)?, B::get(from)?))
    }
}

/// Makes structs and enums travel: fields in the order written, variants by the number written.
macro_rules! wire {
    ($(#[$attribute:meta])* pub struct $name:ident { $($(#[$field_attribute:meta])* pub $field:ident: $kind:ty,)* }) => {
        $(#[$attribute])*
        pub struct $name { $($(#[$field_attribute])* pub $field: $kind,)* }
        impl $crate::code::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) { $($crate::code::Wire::put(&self.$field, out);)* }
            fn get(from: &mut $crate::code::Reader<'_>) -> Result<Self, $crate::code::Malformed> {
                Ok($name { $($field: $crate::code::Wire::get(from)?,)* })
            }
        }
    };
    ($(#[$attribute:meta])* pub enum $name:ident {
        $($(#[$variant_attribute:meta])* $number:literal => $variant:ident $({ $($(#[$field_attribute:meta])* $field:ident: $kind:ty,)* })?,)*
    }) => {
        $(#[$attribute])*
        pub enum $name { $($(#[$variant_attribute])* $variant $({ $($(#[$field_attribute])* $field: $kind,)* })?,)* }
        impl $crate::code::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $($name::$variant $({ $($field,)* })? => {
                        out.push($number);
                        $($($crate::code::Wire::put($field, out);)*)?
                    })*
                }
            }
            fn get(from: &mut $crate::code::Reader<'_>) -> Result<Self, $crate::code::Malformed> {
                match <u8 as $crate::code::Wire>::get(from)? {
                    $($number => Ok($name::$variant $({ $($field: $crate::code::Wire::get(from)?,)* })?),)*
                    _ => Err(from.malformed(concat!("unknown ", stringify!($name)))),
                }
            }
        }
    };
}
pub(crate) use wire;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lying_length_is_refused_before_memory_is_taken() {
        let bytes = u32::MAX.to_le_bytes();
        assert_eq!(Vec::<u64>::from_bytes(&bytes), Err(Malformed { at: 4, what: "length beyond the end" }));
    }

    #[test]
    fn bytes_after_the_end_are_refused() {
        assert!(u8::from_bytes(&[1, 2]).is_err());
    }

    #[test]
    fn strings_hold_no_nul() {
        let mut bytes = Vec::new();
        "a\0b".to_owned().put(&mut bytes);
        assert!(CString::from_bytes(&bytes).is_err());
    }
}
