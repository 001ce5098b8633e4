//! The frame: how long it is, which stream it is of, what it is.
//!
//! ```text
//!  0        4           8      9       10
//!  │ length │ stream id │ type │ flags │ data
//! ```
//!
//! Numbers are big-endian; the length is that of the data. Source: ttrpc's PROTOCOL.md.
//!
//! *Invariant:* nothing longer than [`MESSAGE_LIMIT`] is held: it is read past.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::mpsc;

/// The most bytes that a message may have.
pub const MESSAGE_LIMIT: usize = 4 << 20;

/// Bytes of a header.
const HEADER: usize = 10;
/// A type: begins a call.
pub(crate) const REQUEST: u8 = 1;
/// A type: ends it.
pub(crate) const RESPONSE: u8 = 2;
/// A type: something between, of a call that is a stream.
pub(crate) const DATA: u8 = 3;

/// What there was to read.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) stream: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    /// `Err` with its length, where it was too long; it has been read past.
    pub(crate) data: Result<Vec<u8>, usize>,
}

/// A frame's bytes.
pub(crate) fn encode(stream: u32, kind: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + data.len());
    let length = u32::try_from(data.len()).expect("invariant: below the limit");
    bytes.extend(length.to_be_bytes());
    bytes.extend(stream.to_be_bytes());
    bytes.extend([kind, 0]);
    bytes.extend(data);
    bytes
}

/// The next frame; `None` where the peer ended in order.
///
/// # Errors
/// If the connection breaks, or ends within a frame.
pub(crate) async fn read<R: AsyncRead + Unpin>(from: &mut BufReader<R>) -> io::Result<Option<Frame>> {
    let mut header = [0; HEADER];
    let first = from.read(&mut header).await?;
    if first == 0 {
        return Ok(None);
    }
    from.read_exact(&mut header[first..]).await?;
    let [l0, l1, l2, l3, s0, s1, s2, s3, kind, flags] = header;
    let length = u64::from(u32::from_be_bytes([l0, l1, l2, l3]));
    let stream = u32::from_be_bytes([s0, s1, s2, s3]);
    let mut data = from.take(length);
    let data = if usize::try_from(length).is_ok_and(|length| length <= MESSAGE_LIMIT) {
        // It grows as bytes arrive: a header alone costs nothing.
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).await?;
        if bytes.len() as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    } else {
        let passed = tokio::io::copy(&mut data, &mut tokio::io::sink()).await?;
        if passed != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Err(usize::try_from(length).unwrap_or(usize::MAX))
    };
    Ok(Some(Frame { stream, kind, flags, data }))
}

/// Writes frames as they come, each in one write, until nobody can send any more.
///
/// # Errors
/// If the connection breaks.
pub(crate) async fn write<W: AsyncWrite + Unpin>(
    to: &mut W,
    frames: &mut mpsc::UnboundedReceiver<Vec<u8>>,
) -> io::Result<()> {
    while let Some(frame) = frames.recv().await {
        to.write_all(&frame).await?;
        to.flush().await?;
    }
    to.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn first(bytes: &[u8]) -> io::Result<Option<Frame>> {
        read(&mut BufReader::new(bytes)).await
    }

    #[tokio::test]
    async fn a_frame_is_read_as_it_was_written() {
        let frame = first(&encode(7, REQUEST, b"abc")).await.expect("read").expect("a frame");
        assert_eq!((frame.stream, frame.kind, frame.flags, frame.data), (7, REQUEST, 0, Ok(b"abc".to_vec())));
    }

    #[tokio::test]
    async fn an_end_between_frames_is_an_end_and_within_one_an_error() {
        let frame = encode(1, RESPONSE, b"abc");
        assert!(first(&[]).await.expect("an end").is_none());
        for length in 1..frame.len() {
            let error = first(&frame[..length]).await.expect_err("cut short");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{length}");
        }
    }

    #[tokio::test]
    async fn what_is_too_long_is_read_past() {
        let mut bytes = Vec::new();
        let length = MESSAGE_LIMIT + 1;
        bytes.extend(u32::try_from(length).expect("small").to_be_bytes());
        bytes.extend([0, 0, 0, 9, REQUEST, 0]);
        bytes.resize(bytes.len() + length, 1);
        bytes.extend(encode(11, REQUEST, b"next"));
        let mut from = BufReader::new(bytes.as_slice());
        let frame = read(&mut from).await.expect("read").expect("a frame");
        assert_eq!((frame.stream, frame.data), (9, Err(length)));
        let frame = read(&mut from).await.expect("read").expect("a frame");
        assert_eq!((frame.stream, frame.data), (11, Ok(b"next".to_vec())));
    }

    #[tokio::test]
    async fn any_bytes_are_read_without_harm() {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..2000 {
            let bytes: Vec<u8> = (0..64)
                .map(|_| {
                    seed ^= seed << 13;
                    seed ^= seed >> 7;
                    seed ^= seed << 17;
                    u8::try_from(seed & 0xff).expect("a byte")
                })
                .collect();
            let mut from = BufReader::new(bytes.as_slice());
            while let Ok(Some(frame)) = read(&mut from).await {
                assert!(frame.data.is_err() || frame.data.is_ok_and(|data| data.len() <= 54));
            }
        }
    }
}
