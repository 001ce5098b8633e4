//! A layer's one pass: from the bytes of its blob to a tree whose every byte was verified.
//!
//! ```text
//!   source -> size, sha256 -> decompress -> | 256 KiB x 4 | -> sha256 (diffID) -> tar -> files
//!            `----- thread "inflate" -----'                  `------- the caller ------'
//! ```
//!
//! *Invariant:* memory is bounded by the four buffers, the decoder's window and the extractor's own limits, whatever the blob says. A
//! tree is only handed out when size, digest and diffID are what was announced, and to the last byte.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use orlop_model::reference::Digest;
use sha2::{Digest as _, Sha256};

use crate::archive::{Archive, Stop};
use crate::descriptor::{Compression, Descriptor};
use crate::error::{Error, Fault, shown};
use crate::extract::{Finished, Tree};

/// How much passes between the two threads at once.
const BUFFER: usize = 256 << 10;
/// How many buffers there are.
const BUFFERS: usize = 4;
/// How much of the blob is read at once.
const READ: usize = 128 << 10;
/// Largest zstd window, as a power of two: 128 MiB (RFC 8878 asks for 8 MiB at least).
const LARGEST_WINDOW: u32 = 27;
/// What a layer may unpack to whatever its blob's size is.
const ALWAYS_ALLOWED: u64 = 4 << 30;
/// Beyond that, how many bytes may come from one of the blob. Deflate cannot do better than 1032.
pub(crate) const LARGEST_RATIO: u64 = 1100;

/// A layer as its image announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerBlob {
    /// Its blob.
    pub descriptor: Descriptor,
    /// How the blob is packed.
    pub compression: Compression,
    /// What it has to unpack to, as the image's config says.
    pub diff_id: Digest,
}

/// Reads the blob to its end and unpacks it into `tree`; without one it is only verified. `progress` is told of unpacked bytes.
pub(crate) fn run(
    layer: &LayerBlob,
    source: impl Read + Send,
    tree: Option<Tree>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Option<Finished>, Error> {
    let digest = layer.descriptor.digest;
    let (full, ready) = sync_channel(BUFFERS);
    let (empty, spare) = sync_channel(BUFFERS);
    for _ in 0..BUFFERS {
        // There is room for all of them.
        let _ = empty.send(Vec::with_capacity(BUFFER));
    }
    std::thread::scope(|scope| {
        let inflating = std::thread::Builder::new()
            .name("inflate".into())
            .spawn_scoped(scope, move || inflate(layer, ALWAYS_ALLOWED, source, &full, &spare))
            .map_err(|source| Error::Io { step: "start a thread for", path: digest.to_string(), source })?;
        let mut chunks = Chunks { ready, empty, current: Vec::new(), at: 0, hash: Sha256::new(), progress };
        let unpacked = extract(&mut chunks, tree);
        let diff_id = unpacked.is_ok().then(|| chunks.finish());
        drop(chunks);
        let inflated = inflating.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let unpacked = unpacked.map_err(|stop| match stop {
            Stop::Fault(fault) => Error::Blob { digest, fault },
            Stop::Limit(limit) => Error::Limit { digest, limit },
            Stop::Store(error) => error,
        });
        // A stream that broke off makes a bad archive, too: the first cause is what is told.
        match (inflated, unpacked) {
            (Err(Some(error)), _) | (_, Err(error)) => Err(error),
            (Err(None), Ok(_)) => {
                Err(Error::Blob { digest, fault: Fault::Tar("was not read to its end".into()) })
            }
            (Ok(()), Ok(finished)) => match diff_id {
                Some(got) if got == layer.diff_id => Ok(finished),
                got => {
                    let got = got.unwrap_or(layer.diff_id);
                    Err(Error::Blob { digest, fault: Fault::DiffId { said: layer.diff_id, got } })
                }
            },
        }
    })
}

fn extract(chunks: &mut Chunks<'_>, tree: Option<Tree>) -> Result<Option<Finished>, Stop> {
    let Some(mut tree) = tree else {
        chunks.drain();
        return Ok(None);
    };
    let mut archive = Archive::new(&mut *chunks);
    while let Some(entry) = archive.next()? {
        tree.place(&entry, &mut archive)?;
    }
    archive.into_source().drain();
    tree.finish().map(Some)
}

/// Decompresses all of `source` into the buffers. `Err(None)`: the other side has stopped, and knows why.
fn inflate(
    layer: &LayerBlob,
    always_allowed: u64,
    source: impl Read,
    full: &SyncSender<Vec<u8>>,
    spare: &Receiver<Vec<u8>>,
) -> Result<(), Option<Error>> {
    let descriptor = &layer.descriptor;
    let digest = descriptor.digest;
    let got = &Cell::new(0);
    let mut metered =
        Metered { inner: source, hash: Sha256::new(), got, said: descriptor.size, failed: None };
    // What came counts, not what was announced.
    let swells = |given: u64| given > got.get().saturating_mul(LARGEST_RATIO).max(always_allowed);
    let mut given = 0;
    let pumped = {
        let buffered = BufReader::with_capacity(READ, &mut metered);
        decoder(layer.compression, buffered).and_then(|mut decoder| {
            loop {
                let Ok(mut buffer) = spare.recv() else { return Ok(false) };
                buffer.clear();
                decoder.by_ref().take(BUFFER as u64).read_to_end(&mut buffer)?;
                given += buffer.len() as u64;
                if buffer.is_empty() {
                    return Ok(true);
                }
                if swells(given) || full.send(buffer).is_err() {
                    return Ok(false);
                }
            }
        })
    };
    let pumped = pumped.and_then(|whole| if whole { metered.read_on().map(|()| true) } else { Ok(false) });
    let fault = |fault| Some(Error::Blob { digest, fault });
    match (metered.failed.take(), pumped) {
        (Some(Failed::Source(source)), _) => Err(Some(Error::Source { digest, source })),
        (Some(Failed::Fault(wrong)), _) => Err(fault(wrong)),
        (None, Err(error)) => {
            let why = shown(error.to_string().as_bytes());
            Err(fault(Fault::Stream { format: layer.compression.name(), why }))
        }
        (None, Ok(false)) if swells(given) => Err(Some(Error::Limit {
            digest,
            limit: format!("swells to more than {LARGEST_RATIO} times its size"),
        })),
        (None, Ok(false)) => Err(None),
        (None, Ok(true)) => match metered.digest() {
            got if got == digest => Ok(()),
            got => Err(fault(Fault::Digest { got })),
        },
    }
}

pub(crate) fn decoder<'a>(
    compression: Compression,
    from: impl BufRead + 'a,
) -> io::Result<Box<dyn Read + 'a>> {
    match compression {
        Compression::Plain => Ok(Box::new(from)),
        Compression::Gzip => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(from))),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(from)?;
            decoder.window_log_max(LARGEST_WINDOW)?;
            Ok(Box::new(decoder))
        }
    }
}

/// A blob's bytes on their way: counted and hashed, and stopped where they must end.
struct Metered<'a, R> {
    inner: R,
    hash: Sha256,
    got: &'a Cell<u64>,
    said: u64,
    failed: Option<Failed>,
}

enum Failed {
    Source(io::Error),
    Fault(Fault),
}

impl<R: Read> Metered<'_, R> {
    /// Reads what the decoder has left. It is hashed like all the rest, so a tail that does not belong there is found.
    fn read_on(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        while self.read(&mut buffer)? > 0 {}
        Ok(())
    }

    fn digest(&mut self) -> Digest {
        Digest::from_sha256(std::mem::take(&mut self.hash).finalize().into())
    }

    fn fail(&mut self, failed: Failed) -> io::Error {
        self.failed = Some(failed);
        io::Error::other("the blob failed")
    }
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = loop {
            match self.inner.read(into) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.fail(Failed::Source(error))),
                Ok(count) => break count,
            }
        };
        let (got, said) = (self.got.get() + count as u64, self.said);
        if got > said {
            return Err(self.fail(Failed::Fault(Fault::Long { said })));
        }
        if count == 0 && !into.is_empty() && got < said {
            return Err(self.fail(Failed::Fault(Fault::Short { said, got })));
        }
        self.got.set(got);
        self.hash.update(&into[..count]);
        Ok(count)
    }
}

/// The unpacked bytes as the archive reads them; hashed when a buffer arrives.
struct Chunks<'a> {
    ready: Receiver<Vec<u8>>,
    empty: SyncSender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
    hash: Sha256,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl Chunks<'_> {
    /// Passes over all that is left.
    fn drain(&mut self) {
        self.at = self.current.len();
        while self.refill() {
            self.at = self.current.len();
        }
    }

    /// The digest of all bytes that came.
    fn finish(&mut self) -> Digest {
        Digest::from_sha256(std::mem::take(&mut self.hash).finalize().into())
    }

    fn refill(&mut self) -> bool {
        let used = std::mem::take(&mut self.current);
        self.at = 0;
        if used.capacity() > 0 {
            // Nobody fills buffers any more when the stream is at its end.
            let _ = self.empty.try_send(used);
        }
        let Ok(next) = self.ready.recv() else { return false };
        self.hash.update(&next);
        (self.progress)(next.len() as u64);
        self.current = next;
        true
    }
}

impl Read for Chunks<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Chunks<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.current.len() {
            self.refill();
        }
        Ok(&self.current[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.current.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What [`inflate`] makes of zstd's run-length blocks, each of which makes 128 KiB of 4 bytes (RFC 8878, 3.1.1.2).
    fn bomb(blocks: usize, always: u64) -> Result<u64, Option<Error>> {
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
        let header = |last: u32| (128_u32 << 10 << 3 | 1 << 1 | last).to_le_bytes();
        let block = |last| [&header(last)[..3], &[0]].concat();
        let blob = [&frame[..], &block(0).repeat(blocks - 1), &block(1)].concat();
        let hash: [u8; 32] = Sha256::digest(&blob).into();
        let descriptor = Descriptor {
            media_type: String::new(),
            digest: Digest::from_sha256(hash),
            size: blob.len() as u64,
        };
        let layer = LayerBlob { diff_id: descriptor.digest, descriptor, compression: Compression::Zstd };
        let (full, ready) = sync_channel::<Vec<u8>>(BUFFERS);
        let (empty, spare) = sync_channel(BUFFERS);
        let taken = std::thread::spawn(move || {
            for _ in 0..BUFFERS {
                empty.send(Vec::new()).unwrap();
            }
            let mut taken = 0;
            while let Ok(buffer) = ready.recv() {
                taken += buffer.len() as u64;
                let _ = empty.send(buffer);
            }
            taken
        });
        inflate(&layer, always, blob.as_slice(), &full, &spare)?;
        drop(full);
        Ok(taken.join().unwrap())
    }

    #[test]
    fn what_swells_too_much_is_refused() {
        let whole = 64 * (128 << 10);
        assert_eq!(bomb(64, whole).unwrap(), whole);
        assert!(matches!(bomb(64, whole - 1), Err(Some(Error::Limit { .. }))));
    }
}
