//! Two connections in one: over the first the daemon calls the plugin, over the second the plugin calls the daemon.
//!
//! ```text
//!  0               4          8
//!  │ connection id │ length   │ bytes of that connection
//! ```
//!
//! Numbers are big-endian. Source: containerd/nri, pkg/net/multiplex.
//!
//! *Invariant:* a message is sent as one frame, or as one of [`FIRST`] bytes and one with the rest: plugins in Go read so much at once,
//! and no more than they have room for. What a plugin sends and nobody reads is bounded; beyond that its connection ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::mpsc;

/// The daemon calls over this one.
const PLUGIN: u32 = 1;
/// The plugin calls over this one.
const RUNTIME: u32 = 2;
/// What a reader in Go has room for before it knows how long a message is.
const FIRST: usize = 4096;
/// The most that a frame has: a message of ttrpc with its header.
const LONGEST: usize = orlop_ttrpc::MESSAGE_LIMIT + 10;
/// Frames that wait to be read.
const WAITING: usize = 256;

/// One of the two.
pub(super) struct End {
    id: u32,
    heard: mpsc::Receiver<Vec<u8>>,
    /// What is being read, and from where on.
    reading: (Vec<u8>, usize),
    said: mpsc::UnboundedSender<Vec<u8>>,
}

/// Over which the daemon calls, and over which it is called. The connection ends with both.
pub(super) fn multiplex<T>(trunk: T) -> (End, End)
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (said, mut to_say) = mpsc::unbounded_channel::<Vec<u8>>();
    let end = |id| {
        let (tell, heard) = mpsc::channel(WAITING);
        (tell, End { id, heard, reading: (Vec::new(), 0), said: said.clone() })
    };
    let (to_plugin, plugin) = end(PLUGIN);
    let (to_runtime, runtime) = end(RUNTIME);
    let (mut read, mut write) = tokio::io::split(trunk);
    tokio::spawn(async move {
        let hearing = async { while hear(&mut read, &to_plugin, &to_runtime).await.is_ok() {} };
        let saying = async {
            while let Some(frame) = to_say.recv().await {
                if write.write_all(&frame).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = hearing => {}
            () = saying => {}
        }
    });
    (plugin, runtime)
}

async fn hear<R: AsyncRead + Unpin>(
    read: &mut R,
    plugin: &mpsc::Sender<Vec<u8>>,
    runtime: &mpsc::Sender<Vec<u8>>,
) -> io::Result<()> {
    let (id, length) = (read.read_u32().await?, read.read_u32().await?);
    let length = usize::try_from(length).map_err(io::Error::other)?;
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // It grows as bytes arrive: a header alone costs nothing.
    let mut bytes = Vec::new();
    (&mut *read).take(length as u64).read_to_end(&mut bytes).await?;
    if bytes.len() != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let to = match id {
        PLUGIN => plugin,
        RUNTIME => runtime,
        // Others may come with later versions.
        _ => return Ok(()),
    };
    to.try_send(bytes).map_err(io::Error::other)
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.reading.1 == self.reading.0.len() {
            match self.heard.poll_recv(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Ready(Some(bytes)) => self.reading = (bytes, 0),
            }
        }
        let (bytes, at) = &self.reading;
        let count = into.remaining().min(bytes.len() - at);
        into.put_slice(&bytes[*at..at + count]);
        self.reading.1 += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let bytes = &bytes[..bytes.len().min(LONGEST)];
        let (first, rest) = bytes.split_at(bytes.len().min(FIRST));
        for part in [first, rest].into_iter().filter(|part| !part.is_empty()) {
            let length = u32::try_from(part.len()).map_err(io::Error::other)?;
            let mut frame = Vec::with_capacity(8 + part.len());
            frame.extend(self.id.to_be_bytes());
            frame.extend(length.to_be_bytes());
            frame.extend(part);
            self.said.send(frame).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn frame(from: &mut tokio::io::DuplexStream) -> (u32, Vec<u8>) {
        let id = from.read_u32().await.expect("an id");
        let mut bytes = vec![0; usize::try_from(from.read_u32().await.expect("a length")).expect("short")];
        from.read_exact(&mut bytes).await.expect("bytes");
        (id, bytes)
    }

    #[tokio::test]
    async fn each_connection_has_its_own_bytes() {
        let (ours, mut peer) = tokio::io::duplex(1 << 16);
        let (mut plugin, mut runtime) = multiplex(ours);
        plugin.write_all(b"to the plugin").await.expect("sent");
        runtime.write_all(b"to who called").await.expect("sent");
        assert_eq!(frame(&mut peer).await, (1, b"to the plugin".to_vec()));
        assert_eq!(frame(&mut peer).await, (2, b"to who called".to_vec()));
        for (id, text) in [(2_u32, b"two"), (7, b"???"), (1, b"one")] {
            peer.write_all(&[&id.to_be_bytes()[..], &[0, 0, 0, 3], text].concat()).await.expect("sent");
        }
        let mut bytes = [0; 3];
        plugin.read_exact(&mut bytes).await.expect("heard");
        assert_eq!(&bytes, b"one");
        runtime.read_exact(&mut bytes).await.expect("heard");
        assert_eq!(&bytes, b"two");
    }

    #[tokio::test]
    async fn a_long_message_is_cut_once() {
        let (ours, mut peer) = tokio::io::duplex(1 << 20);
        let (mut plugin, _runtime) = multiplex(ours);
        let long: Vec<u8> = (0..100_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        plugin.write_all(&long).await.expect("sent");
        assert_eq!(frame(&mut peer).await, (1, long[..FIRST].to_vec()));
        assert_eq!(frame(&mut peer).await, (1, long[FIRST..].to_vec()));
    }

    #[tokio::test]
    async fn the_connection_ends_with_both_and_both_with_it() {
        let (ours, mut peer) = tokio::io::duplex(1 << 16);
        let (plugin, runtime) = multiplex(ours);
        drop(plugin);
        drop(runtime);
        assert_eq!(peer.read(&mut [0; 1]).await.expect("an end"), 0);
        let (ours, peer) = tokio::io::duplex(1 << 16);
        let (mut plugin, mut runtime) = multiplex(ours);
        drop(peer);
        assert_eq!(plugin.read(&mut [0; 1]).await.expect("an end"), 0);
        assert_eq!(runtime.read(&mut [0; 1]).await.expect("an end"), 0);
    }

    #[tokio::test]
    async fn who_floods_or_lies_loses_the_connection() {
        let endless = (0..=WAITING).flat_map(|_| [0, 0, 0, 1, 0, 0, 0, 1, 7]).collect();
        let longest = [&[0, 0, 0, 1][..], &u32::MAX.to_be_bytes()].concat();
        let cut = vec![0, 0, 0, 1, 0, 0, 0, 9, 1];
        for bytes in [endless, longest, cut] {
            let (ours, mut peer) = tokio::io::duplex(1 << 16);
            let (mut plugin, _runtime) = multiplex(ours);
            peer.write_all(&bytes).await.expect("sent");
            peer.shutdown().await.expect("ended");
            assert_eq!(peer.read(&mut [0; 1]).await.expect("an end"), 0);
            let mut heard = Vec::new();
            plugin.read_to_end(&mut heard).await.expect("an end");
            assert!(heard.len() <= WAITING);
        }
    }
}
