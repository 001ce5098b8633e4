//! This program's own streams are the session's.
//!
//! *Invariant:* output goes out as it comes, byte for byte. Input is read by a thread of its own, which nobody waits for: a key that is
//! never pressed keeps no one.

use std::io::{self, Read as _};

use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::{ERRORS, INPUT, Incoming, Message, OUTPUT, Outgoing, RESIZE, STATUS, terminal};

/// Read at once.
const CHUNK: usize = 32 << 10;
/// Ctrl-P, Ctrl-Q: leaves a terminal, as docker has it.
const LEAVE: [u8; 2] = [0x10, 0x11];

/// What is wanted of a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Whether our input goes there.
    pub(crate) input: bool,
    /// Whether there is a terminal at the other end.
    pub(crate) terminal: bool,
    /// Whether Ctrl-P, Ctrl-Q leaves it.
    pub(crate) leaves: bool,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Well, or by leaving it.
    Well,
    /// With an exit code.
    Code(u8),
    /// Not as it should: the daemon's words.
    Failed(String),
}

/// Talks to the end.
///
/// # Errors
/// If the connection broke, or output cannot be written.
pub(crate) async fn talk(
    mut incoming: Incoming,
    mut outgoing: Outgoing,
    wanted: Wanted,
) -> io::Result<Ended> {
    let _plain = (wanted.input && wanted.terminal).then(terminal::Plain::new).transpose()?;
    let mut input = wanted.input.then(read);
    let mut resized = signal(SignalKind::window_change())?;
    let mut leaving = Leaving::default();
    let mut ended = None;
    if wanted.terminal {
        resize(&mut outgoing).await?;
    }
    loop {
        let typed = async {
            match &mut input {
                Some(input) => input.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            message = incoming.next() => match message? {
                Some(Message::Data(data)) => match data.parts() {
                    (OUTPUT, bytes) => show(&mut io::stdout().lock(), bytes)?,
                    (ERRORS, bytes) => show(&mut io::stderr().lock(), bytes)?,
                    (STATUS, bytes) if !bytes.is_empty() => ended = Some(understand(bytes)),
                    _ => {}
                },
                Some(Message::Ping(payload)) => outgoing.answer_ping(&payload).await?,
                None => break,
            },
            typed = typed => if let Some(bytes) = typed {
                let (bytes, leaves) = if wanted.leaves { leaving.sift(&bytes) } else { (bytes, false) };
                // Whoever does not take it any more says so by ending the session.
                let _ = outgoing.send(INPUT, &bytes).await;
                if leaves {
                    // The end of the input is the end of the attachment; what was typed before comes before it.
                    let _ = outgoing.end(INPUT).await;
                    input = None;
                }
            } else {
                let _ = outgoing.end(INPUT).await;
                input = None;
            },
            _ = resized.recv(), if wanted.terminal => resize(&mut outgoing).await?,
        }
    }
    ended.ok_or_else(|| {
        io::Error::new(io::ErrorKind::UnexpectedEof, "the daemon ended the session without a word")
    })
}

fn show(to: &mut impl io::Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

async fn resize(outgoing: &mut Outgoing) -> io::Result<()> {
    match terminal::size() {
        Some((width, height)) => {
            let size = serde_json::json!({"Width": width, "Height": height}).to_string();
            outgoing.send(RESIZE, size.as_bytes()).await
        }
        None => Ok(()),
    }
}

/// Our input, piece by piece; closed at its end.
fn read() -> mpsc::Receiver<Vec<u8>> {
    let (pieces, taken) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        let mut buffer = vec![0; CHUNK];
        while let Ok(count @ 1..) = input.read(&mut buffer) {
            if pieces.blocking_send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    taken
}

/// Looks for the keys that leave.
#[derive(Default)]
struct Leaving {
    first: bool,
}

impl Leaving {
    /// What is to be passed on, and whether they were pressed. The first of them is held until the next key is known.
    fn sift(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(bytes.len() + 1);
        for &byte in bytes {
            if std::mem::take(&mut self.first) {
                if byte == LEAVE[1] {
                    return (passed, true);
                }
                passed.push(LEAVE[0]);
            }
            if byte == LEAVE[0] {
                self.first = true;
            } else {
                passed.push(byte);
            }
        }
        (passed, false)
    }
}

/// The status at the end: Kubernetes' own `Status` as JSON.
fn understand(bytes: &[u8]) -> Ended {
    let Ok(status) = serde_json::from_slice::<Value>(bytes) else {
        return Ended::Failed(String::from_utf8_lossy(bytes).into_owned());
    };
    if status["status"] == "Success" {
        return Ended::Well;
    }
    let causes = status["details"]["causes"].as_array();
    let code = causes.and_then(|causes| causes.iter().find(|cause| cause["reason"] == "ExitCode"));
    let code = code.and_then(|cause| cause["message"].as_str()?.parse::<i32>().ok());
    match code {
        // The kernel gives eight bits, the daemon 128 and a signal's number: what is more is no success, whatever it is.
        Some(code) => Ended::Code(u8::try_from(code).unwrap_or(255)),
        None => Ended::Failed(status["message"].as_str().unwrap_or("it failed without a word").to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_that_leave_are_found_over_pieces_and_nothing_is_lost() {
        let mut leaving = Leaving::default();
        assert_eq!(leaving.sift(b"a\x10b"), (b"a\x10b".to_vec(), false));
        assert_eq!(leaving.sift(b"c\x10"), (b"c".to_vec(), false));
        assert_eq!(leaving.sift(b"\x10\x10"), (b"\x10\x10".to_vec(), false));
        assert_eq!(leaving.sift(b"d"), (b"\x10d".to_vec(), false));
        assert_eq!(leaving.sift(b"e\x10\x11f"), (b"e".to_vec(), true));
    }

    #[test]
    fn a_status_is_an_end() {
        for (status, expected) in [
            (r#"{"status":"Success"}"#, Ended::Well),
            (
                r#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"42"}]}}"#,
                Ended::Code(42),
            ),
            (r#"{"status":"Failure","message":"no such"}"#, Ended::Failed("no such".into())),
            ("words", Ended::Failed("words".into())),
        ] {
            assert_eq!(understand(status.as_bytes()), expected);
        }
    }
}
