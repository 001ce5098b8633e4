//! Pipe ends and terminals as streams.
//!
//! *Invariant:* a reader that says it has nothing asked the kernel: what was written before is never left behind because the
//! runtime has not heard of it yet.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::termios::{LocalModes, SpecialCodeIndex};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::sync::oneshot;

/// A descriptor that the runtime watches.
type Watched = Arc<AsyncFd<OwnedFd>>;

fn watch(descriptor: OwnedFd, interest: Interest) -> io::Result<Watched> {
    rustix::io::ioctl_fionbio(&descriptor, true)?;
    #[expect(
        deprecated,
        reason = "a type that lies about its descriptor could misuse it; OwnedFd does not lie"
    )]
    AsyncFd::with_interest(descriptor, interest).map(Arc::new)
}

/// What comes out of a pipe or a terminal.
pub(super) struct Reader(Watched);

/// What goes into one.
pub(super) struct Writer {
    /// None: it is shut down.
    watched: Option<Watched>,
    /// What its end does.
    end: AtEnd,
}

/// What the end of a [`Writer`] does besides closing it.
pub(super) enum AtEnd {
    /// Nothing: a pipe's reader finds its end.
    Close,
    /// Types the terminal's own end-of-file character: a terminal that others hold too has no other end.
    Type,
    /// Tells somebody.
    Tell(Option<oneshot::Sender<()>>),
}

/// The end of a pipe that is read.
///
/// # Errors
/// If the runtime cannot watch it.
pub(super) fn reader(descriptor: OwnedFd) -> io::Result<Reader> {
    watch(descriptor, Interest::READABLE).map(Reader)
}

/// The end of a pipe that is written, or a terminal whose output goes elsewhere.
///
/// # Errors
/// If the runtime cannot watch it.
pub(super) fn writer(descriptor: OwnedFd, end: AtEnd) -> io::Result<Writer> {
    watch(descriptor, Interest::WRITABLE).map(|watched| Writer { watched: Some(watched), end })
}

/// A terminal's master: its output and its input.
///
/// # Errors
/// If the runtime cannot watch it.
pub(super) fn terminal(master: OwnedFd) -> io::Result<(Reader, Writer)> {
    let watched = watch(master, Interest::READABLE | Interest::WRITABLE)?;
    Ok((Reader(Arc::clone(&watched)), Writer { watched: Some(watched), end: AtEnd::Type }))
}

/// Takes what comes, to its end, and drops it.
pub(super) async fn discard(mut output: Reader) {
    let _ = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
}

/// One try: `None` if it would wait.
fn attempt(call: impl FnOnce() -> Result<usize, Errno>) -> Option<io::Result<usize>> {
    match call() {
        Ok(count) => Some(Ok(count)),
        Err(Errno::AGAIN | Errno::INTR) => None,
        Err(errno) => Some(Err(errno.into())),
    }
}

impl Reader {
    fn once(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match rustix::io::read(self.0.get_ref(), buffer) {
            // A terminal whose other end is closed.
            Err(Errno::IO) => Ok(0),
            other => other,
        }
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut outcome = attempt(|| self.once(buffer.initialize_unfilled()));
        while outcome.is_none() {
            let mut guard = ready!(self.0.poll_read_ready(context))?;
            // Asked again after it was looked at: what comes from now on wakes.
            outcome = attempt(|| self.once(buffer.initialize_unfilled()));
            if outcome.is_none() {
                guard.clear_ready();
            }
        }
        Poll::Ready(outcome.unwrap_or(Ok(0)).map(|count| buffer.advance(count)))
    }
}

impl Writer {
    fn poll_put(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(watched) = &self.watched else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let put = || attempt(|| rustix::io::write(watched.get_ref(), bytes));
        let mut outcome = put();
        while outcome.is_none() {
            let mut guard = ready!(watched.poll_write_ready(context))?;
            outcome = put();
            if outcome.is_none() {
                guard.clear_ready();
            }
        }
        Poll::Ready(outcome.unwrap_or(Ok(0)))
    }

    /// The character that ends a line-wise terminal's input; `None` if it takes every byte as it is.
    fn end_of_file(&self) -> Option<u8> {
        let settings = rustix::termios::tcgetattr(self.watched.as_ref()?.get_ref()).ok()?;
        let line_wise = settings.local_modes.contains(LocalModes::ICANON);
        line_wise.then(|| settings.special_codes[SpecialCodeIndex::VEOF]).filter(|character| *character != 0)
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_put(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.end {
            AtEnd::Close => {}
            AtEnd::Type => {
                if let Some(character) = self.end_of_file() {
                    ready!(self.poll_put(context, &[character]))?;
                }
            }
            AtEnd::Tell(somebody) => {
                if let Some(somebody) = somebody.take() {
                    let _ = somebody.send(());
                }
            }
        }
        self.watched = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::pipe::{PipeFlags, pipe_with};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn pipe() -> (OwnedFd, OwnedFd) {
        pipe_with(PipeFlags::CLOEXEC).expect("a pipe")
    }

    /// A new terminal: its master and its other end.
    fn pair() -> (OwnedFd, OwnedFd) {
        use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("a terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let own = ioctl_tiocgptpeer(&master, flags).expect("its other end");
        (master, own)
    }

    #[tokio::test]
    async fn a_pipe_gives_all_that_went_in_and_then_its_end() {
        let (reads, writes) = pipe();
        let mut input = writer(writes, AtEnd::Close).expect("watched");
        let mut output = reader(reads).expect("watched");
        let sent: Vec<u8> = (0..1_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let expected = sent.clone();
        let writing = tokio::spawn(async move {
            input.write_all(&sent).await.expect("written");
            input.shutdown().await.expect("shut down");
            assert!(input.write(b"more").await.is_err(), "it is closed");
        });
        let mut got = Vec::new();
        output.read_to_end(&mut got).await.expect("read");
        writing.await.expect("the writer");
        assert!(got == expected);
    }

    /// The runtime has not looked at the pipe yet, and never does.
    #[tokio::test]
    async fn what_is_there_is_read_at_the_first_try() {
        let (reads, writes) = pipe();
        let mut output = reader(reads).expect("watched");
        rustix::io::write(&writes, b"there").expect("written");
        let mut buffer = [0; 16];
        let mut filled = ReadBuf::new(&mut buffer);
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut output).poll_read(&mut context, &mut filled).is_ready());
        assert_eq!(filled.filled(), b"there");
        assert!(Pin::new(&mut output).poll_read(&mut context, &mut ReadBuf::new(&mut [0; 1])).is_pending());
    }

    #[tokio::test]
    async fn a_full_pipe_waits_and_goes_on() {
        let (reads, writes) = pipe();
        let mut input = writer(writes, AtEnd::Close).expect("watched");
        let block = vec![7; 256 << 10];
        let first = tokio::time::timeout(Duration::from_millis(50), input.write_all(&block)).await;
        assert!(first.is_err(), "a pipe holds less");
        let mut output = reader(reads).expect("watched");
        let reading = tokio::spawn(async move {
            let mut got = Vec::new();
            output.read_to_end(&mut got).await.expect("read");
            got.len()
        });
        input.write_all(&[8; 100]).await.expect("room again");
        drop(input);
        assert!(reading.await.expect("the reader") > 100);
    }

    #[tokio::test]
    async fn a_terminal_ends_when_its_other_end_is_closed_and_its_input_by_a_character() {
        let (master, own) = pair();
        let (mut output, mut input) = terminal(master).expect("watched");
        input.write_all(b"word\n").await.expect("typed");
        input.shutdown().await.expect("ended");
        let mut buffer = [0; 64];
        assert_eq!(rustix::io::read(&own, &mut buffer), Ok(5));
        assert_eq!(rustix::io::read(&own, &mut buffer), Ok(0), "the end of the input");
        rustix::io::write(&own, b"bye").expect("said");
        drop(own);
        let mut said = String::new();
        output.read_to_string(&mut said).await.expect("read");
        // The echo, then what was said.
        assert_eq!(said, "word\r\nbye");
    }

    #[tokio::test]
    async fn an_end_is_told() {
        let (_reads, writes) = pipe();
        let (tell, told) = oneshot::channel();
        let mut input = writer(writes, AtEnd::Tell(Some(tell))).expect("watched");
        input.shutdown().await.expect("shut down");
        assert_eq!(told.await, Ok(()));
    }
}
