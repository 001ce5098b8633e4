//! Header blocks of the client: unpacked and read.
//!
//! *Invariant:* a block unpacks to at most [`UNPACKED`] bytes and [`COUNT`] headers, whatever was packed; after a fault the state of the
//! compression is lost, and the connection has to end.

use std::sync::LazyLock;

use flate2::{Decompress, FlushDecompress, Status};

use super::decode::Fault;

/// The longest block, unpacked. A stream's headers are a few words.
const UNPACKED: usize = 16 << 10;

/// The most headers in a block.
const COUNT: u32 = 32;

/// The words of the dictionary that are told with their lengths.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age \
    allow authorization cache-control connection content-base content-encoding content-language content-length content-location \
    content-md5 content-range content-type date etag expect expires from host if-match if-modified-since if-none-match if-range \
    if-unmodified-since last-modified location max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after \
    server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate method get status 200_OK version \
    HTTP/1.1 url public set-cookie keep-alive origin";

/// What follows them.
const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative \
    Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server \
    Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, \
    Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,\
    text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// What both sides' compression knows beforehand (draft 3.1, 2.6.10.1).
pub(crate) static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let words = WORDS.split(' ').map(|word| word.replace('_', " "));
    let told = words.flat_map(|word| {
        [u32::try_from(word.len()).unwrap_or(0).to_be_bytes().to_vec(), word.into_bytes()].concat()
    });
    told.chain(TAIL.bytes()).collect()
});

/// The headers of a stream: names in small letters.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers(Vec<(String, String)>);

impl Headers {
    /// The value of a header; `name` is in small letters.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(of, _)| of == name).map(|(_, value)| &**value)
    }
}

/// Unpacks the blocks of one direction, which are one zlib stream.
pub(crate) struct Unpacker {
    inflate: Decompress,
    out: Vec<u8>,
}

impl Unpacker {
    pub(crate) fn new() -> Self {
        Unpacker { inflate: Decompress::new(true), out: Vec::new() }
    }

    /// The headers that `packed` holds.
    pub(crate) fn read(&mut self, packed: &[u8]) -> Result<Headers, Fault> {
        self.unpack(packed)?;
        let read = parse(&self.out);
        // What one block took is not kept for ever.
        self.out = Vec::new();
        read
    }

    fn unpack(&mut self, mut packed: &[u8]) -> Result<(), Fault> {
        self.out.resize(UNPACKED + 1, 0);
        let mut filled = 0;
        loop {
            let before = (self.inflate.total_in(), self.inflate.total_out());
            let step = self.inflate.decompress(packed, &mut self.out[filled..], FlushDecompress::Sync);
            let eaten = usize::try_from(self.inflate.total_in() - before.0).unwrap_or(usize::MAX);
            let made = usize::try_from(self.inflate.total_out() - before.1).unwrap_or(usize::MAX);
            packed = packed.get(eaten..).ok_or(Fault("the compression of headers is broken"))?;
            filled += made;
            if filled > UNPACKED {
                return Err(Fault("headers unpack to too much"));
            }
            match step {
                Ok(Status::StreamEnd) => return Err(Fault("the compression of headers ended")),
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    let known = self.inflate.set_dictionary(&DICTIONARY);
                    known.map_err(|_| Fault("headers are compressed with another dictionary"))?;
                    continue;
                }
                Err(_) => return Err(Fault("the compression of headers is broken")),
            }
            if packed.is_empty() || (eaten, made) == (0, 0) {
                break;
            }
        }
        self.out.truncate(filled);
        if packed.is_empty() { Ok(()) } else { Err(Fault("the compression of headers is broken")) }
    }
}

/// Reads an unpacked block, which has to be used up.
fn parse(mut block: &[u8]) -> Result<Headers, Fault> {
    let count = number(&mut block)?;
    if count > COUNT {
        return Err(Fault("too many headers"));
    }
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = text(&mut block)?.to_ascii_lowercase();
        let value = text(&mut block)?;
        if headers.iter().any(|(of, _)| *of == name) {
            return Err(Fault("a header stands twice"));
        }
        headers.push((name, value));
    }
    if block.is_empty() { Ok(Headers(headers)) } else { Err(Fault("headers are followed by something else")) }
}

fn number(block: &mut &[u8]) -> Result<u32, Fault> {
    let (bytes, rest) = block.split_first_chunk().ok_or(Fault("headers are cut off"))?;
    *block = rest;
    Ok(u32::from_be_bytes(*bytes))
}

fn text(block: &mut &[u8]) -> Result<String, Fault> {
    let length = usize::try_from(number(block)?).unwrap_or(usize::MAX);
    let (text, rest) = block.split_at_checked(length).ok_or(Fault("headers are cut off"))?;
    *block = rest;
    String::from_utf8(text.to_vec()).map_err(|_| Fault("a header is no text"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use flate2::{Compress, Compression, FlushCompress};

    /// As the client does it: the dictionary, best compression, a flush after each block.
    pub(crate) struct Packer(Compress);

    impl Packer {
        pub(crate) fn new() -> Self {
            let mut deflate = Compress::new(Compression::best(), true);
            deflate.set_dictionary(&DICTIONARY).expect("a fresh compressor");
            Packer(deflate)
        }

        pub(crate) fn raw(&mut self, block: &[u8]) -> Vec<u8> {
            let mut packed = Vec::with_capacity(block.len() + 1024);
            let before = self.0.total_in();
            self.0.compress_vec(block, &mut packed, FlushCompress::Sync).expect("there is room");
            assert_eq!(self.0.total_in() - before, block.len() as u64);
            packed
        }

        pub(crate) fn pack(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
            self.raw(&block(headers))
        }
    }

    pub(crate) fn block(headers: &[(&str, &str)]) -> Vec<u8> {
        let told = |text: &str| [&u32::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
        let count = u32::try_from(headers.len()).unwrap().to_be_bytes().to_vec();
        headers.iter().fold(count, |block, (name, value)| [block, told(name), told(value)].concat())
    }

    #[test]
    fn the_dictionary_is_the_one_of_the_protocol() {
        // Length and Adler-32, as zlib streams of every SPDY/3 client begin: 78 f9 e3 c6 a7 c2 or the like.
        assert_eq!(DICTIONARY.len(), 1423);
        let (mut a, mut b) = (1_u32, 0_u32);
        for byte in DICTIONARY.iter() {
            a = (a + u32::from(*byte)) % 65521;
            b = (b + a) % 65521;
        }
        assert_eq!(b << 16 | a, 0xe3c6_a7c2);
    }

    #[test]
    fn blocks_follow_each_other_in_one_compression() {
        let (mut packer, mut unpacker) = (Packer::new(), Unpacker::new());
        for round in 0..200 {
            let number = round.to_string();
            let headers = [("StreamType", "stdin"), ("port", &*number), ("requestid", "7")];
            let read = unpacker.read(&packer.pack(&headers)).expect("a block");
            assert_eq!((read.get("streamtype"), read.get("port")), (Some("stdin"), Some(&*number)));
            assert_eq!((read.get("requestid"), read.get("other")), (Some("7"), None));
        }
        assert_eq!(unpacker.read(&packer.pack(&[])), Ok(Headers::default()));
    }

    #[test]
    fn a_block_that_unpacks_to_too_much_is_refused() {
        for size in [UNPACKED * 2, 1 << 20, 64 << 20] {
            let packed = Packer::new().raw(&vec![0; size]);
            assert!(packed.len() < size / 100, "it is a bomb");
            assert_eq!(Unpacker::new().read(&packed), Err(Fault("headers unpack to too much")));
        }
    }

    #[test]
    fn blocks_that_lie_are_refused() {
        let cases: [(Vec<u8>, &str); 7] = [
            (vec![], "headers are cut off"),
            (vec![0, 0, 0, 1], "headers are cut off"),
            (vec![0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff], "headers are cut off"),
            (vec![0xff; 4], "too many headers"),
            (block(&[("a", "1"), ("A", "2")]), "a header stands twice"),
            ([block(&[("a", "1")]), vec![0]].concat(), "headers are followed by something else"),
            (vec![0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0, 0, 0, 0], "a header is no text"),
        ];
        for (block, fault) in cases {
            assert_eq!(Unpacker::new().read(&Packer::new().raw(&block)), Err(Fault(fault)), "{block:?}");
        }
    }

    #[test]
    fn what_is_not_zlib_or_has_another_dictionary_is_refused() {
        assert_eq!(Unpacker::new().read(&[0xff; 40]), Err(Fault("the compression of headers is broken")));
        let mut other = Compress::new(Compression::best(), true);
        other.set_dictionary(b"other words").expect("a fresh compressor");
        let mut packed = Vec::with_capacity(100);
        other.compress_vec(&[0; 4], &mut packed, FlushCompress::Sync).expect("there is room");
        let refused = Unpacker::new().read(&packed);
        assert_eq!(refused, Err(Fault("headers are compressed with another dictionary")));
        let mut ended = Compress::new(Compression::best(), true);
        let mut packed = Vec::with_capacity(100);
        ended.compress_vec(&[0; 4], &mut packed, FlushCompress::Finish).expect("there is room");
        assert_eq!(Unpacker::new().read(&packed), Err(Fault("the compression of headers ended")));
    }
}
