//! Channels of WebSocket messages, and a command's streams over them.
//!
//! ```text
//!  binary: channel 1│bytes…      base64: '0' + channel│base64…      version 5: 255│channel: that channel ends
//!  0 stdin, 1 stdout, 2 stderr, 3 error, 4 resize
//! ```
//!
//! *Invariant:* of a message no more is kept than three characters of base64. A channel that nobody listens to is not heard.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use super::command::{Ends, INPUT, SIZES, run};
use crate::connection::Ending;
use crate::inbox::Inbox;
use crate::outbox::{Form, Outbox};
use crate::resize::Sizes;
use crate::session::{Command, Size, Streams};
use crate::source::{Messages, Source};
use crate::websocket::Close;
use crate::websocket::decode::{Event, Fault};
use crate::websocket::encode::pong;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;

/// Of version 5: the channel that ends others.
const END: u8 = 255;

/// What a piece of a message says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Nothing yet.
    Nothing,
    /// Bytes for a channel.
    Bytes(u8, Bytes),
    /// A channel's end.
    End(u8),
}

/// Reads pieces of messages.
pub(crate) struct Channels {
    base64: bool,
    ends: bool,
    /// Of the open message, once known.
    channel: Option<u8>,
    /// Characters that do not make a group of four yet; after [`END`], the channel.
    rest: Vec<u8>,
}

impl Channels {
    pub(crate) fn new(form: Form, version: u8) -> Self {
        Channels { base64: form == Form::Base64, ends: version >= 5, channel: None, rest: Vec::new() }
    }

    /// What the next piece says.
    pub(crate) fn read(&mut self, mut piece: Bytes, last: bool) -> Result<Said, Fault> {
        if self.channel.is_none() && piece.has_remaining() {
            let first = piece.get_u8();
            self.channel = Some(if self.base64 { first.wrapping_sub(b'0') } else { first });
        }
        // A message without a byte says nothing.
        let Some(channel) = self.channel else { return Ok(Said::Nothing) };
        if last {
            self.channel = None;
        }
        if self.ends && channel == END {
            self.rest.extend_from_slice(&piece[..piece.len().min(2)]);
            return match (last, &*std::mem::take(&mut self.rest)) {
                (true, [which]) => Ok(Said::End(*which)),
                (false, kept @ ([] | [_])) => {
                    self.rest = kept.to_vec();
                    Ok(Said::Nothing)
                }
                _ => Err(Fault("one channel ends at a time", Close::Protocol)),
            };
        }
        let bytes = if self.base64 { self.decode(&piece, last)? } else { piece };
        Ok(if bytes.is_empty() { Said::Nothing } else { Said::Bytes(channel, bytes) })
    }

    fn decode(&mut self, piece: &[u8], last: bool) -> Result<Bytes, Fault> {
        let text = [&std::mem::take(&mut self.rest), piece].concat();
        let whole = if last { text.len() } else { text.len() - text.len() % 4 };
        let (now, later) = text.split_at(whole);
        // Padding stands at the end of a message only.
        let padded = now.ends_with(b"=") && !(last && later.is_empty());
        let bytes = STANDARD.decode(now).ok().filter(|_| !padded);
        self.rest = later.to_vec();
        bytes.map(Bytes::from).ok_or(Fault("a message is not base64", Close::Invalid))
    }
}

/// Talks until the command is over or the client is gone.
pub(crate) async fn talk(
    source: &mut Source,
    outbox: &Outbox,
    streams: Streams,
    command: Box<dyn Command>,
    version: u8,
) -> Ending {
    let (size, sizes) = mpsc::channel(SIZES);
    let lane = |wanted, channel: u8| if wanted { Some(outbox.lane(channel.into())) } else { None };
    let error = outbox.lane(ERROR.into());
    let ends = Ends {
        input: Arc::new(Inbox::new(INPUT)),
        stdin: None,
        stdout: lane(streams.stdout, STDOUT),
        stderr: lane(streams.stderr, STDERR),
        error: error.clone(),
        resize: None,
        sizes,
        fields: version >= 4,
    };
    let input = Arc::clone(&ends.input);
    if !streams.stdin {
        input.close();
    }
    // Clients wait for a first message, which says nothing but that the connection is made.
    ends.stdout.as_ref().or(ends.stderr.as_ref()).unwrap_or(&error).say(b"").await;
    let mut messages = Messages::new(source);
    let listen = listen(&mut messages, outbox, Channels::new(outbox.form(), version), &input, &size);
    tokio::select! {
        ending = listen => ending,
        () = run(command, ends) => Ending::Done,
    }
}

/// The next piece of a message, and whether it is the last; pings on the way are answered.
///
/// # Errors
/// How the conversation ends, if no more comes.
pub(super) async fn heard(messages: &mut Messages<'_>, outbox: &Outbox) -> Result<(Bytes, bool), Ending> {
    loop {
        match messages.next().await {
            Err(fault) => return Err(Ending::Broken(fault)),
            Ok(None) => return Err(Ending::Gone),
            Ok(Some(Event::Close(code))) => return Err(Ending::Closed(code)),
            Ok(Some(Event::Ping(payload))) => outbox.websocket(pong(&payload)).await,
            Ok(Some(Event::Piece { piece, last, .. })) => return Ok((piece, last)),
        }
    }
}

async fn listen(
    messages: &mut Messages<'_>,
    outbox: &Outbox,
    mut channels: Channels,
    input: &Inbox,
    size: &mpsc::Sender<Size>,
) -> Ending {
    let mut sizes = Sizes::default();
    loop {
        let (piece, last) = match heard(messages, outbox).await {
            Ok(heard) => heard,
            Err(ending) => return ending,
        };
        match channels.read(piece, last) {
            Err(fault) => return Ending::Broken(fault),
            Ok(Said::Bytes(STDIN, bytes)) => {
                tokio::select! {
                    biased;
                    // Without patience it waits for as long as it takes.
                    _ = input.push(&bytes, None) => {}
                    // Meanwhile nothing more is read of the client but that it left.
                    () = messages.source.gone(outbox) => return Ending::Gone,
                }
            }
            Ok(Said::Bytes(RESIZE, bytes)) => {
                for told in sizes.read(&bytes) {
                    // Nobody wants it any more once the command is over.
                    let _ = size.send(told).await;
                }
            }
            Ok(Said::End(STDIN)) => input.end(),
            Ok(Said::Nothing | Said::Bytes(..) | Said::End(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(form: Form, version: u8, pieces: &[(&'static [u8], bool)]) -> Result<Vec<Said>, Fault> {
        let mut channels = Channels::new(form, version);
        let mut said = Vec::new();
        for (piece, last) in pieces {
            match channels.read(Bytes::from_static(piece), *last)? {
                Said::Nothing => {}
                one => said.push(one),
            }
        }
        Ok(said)
    }

    fn bytes(channel: u8, bytes: &'static [u8]) -> Said {
        Said::Bytes(channel, Bytes::from_static(bytes))
    }

    #[test]
    fn the_first_byte_of_a_message_is_its_channel() {
        let pieces: [(&[u8], bool); 6] =
            [(b"\0abc", true), (b"", true), (b"", false), (b"\x04", false), (b"de", false), (b"f", true)];
        let said = read(Form::Channels, 4, &pieces).expect("channels");
        assert_eq!(said, [bytes(0, b"abc"), bytes(4, b"de"), bytes(4, b"f")]);
        assert_eq!(
            read(Form::Channels, 4, &[(b"\xff\0", true)]).expect("no end in version 4"),
            [bytes(255, b"\0")]
        );
    }

    #[test]
    fn version_5_has_ends() {
        assert_eq!(read(Form::Channels, 5, &[(b"\xff\0", true)]), Ok(vec![Said::End(0)]));
        assert_eq!(read(Form::Channels, 5, &[(b"\xff", false), (b"\0", true)]), Ok(vec![Said::End(0)]));
        for bad in [&[(&b"\xff"[..], true)][..], &[(b"\xff\0\0", true)], &[(b"\xff\0", false), (b"\0", true)]]
        {
            assert_eq!(
                read(Form::Channels, 5, bad),
                Err(Fault("one channel ends at a time", Close::Protocol))
            );
        }
    }

    #[test]
    fn base64_may_be_cut_anywhere() {
        let message = b"0aGVsbG8sIHdvcmxk";
        for at in 0..message.len() {
            let (first, second) = message.split_at(at);
            let said =
                read(Form::Base64, 4, &[(first, false), (second, true), (b"4IQ==", true)]).expect("base64");
            let heard: Vec<u8> = said[..said.len() - 1]
                .iter()
                .flat_map(|said| match said {
                    Said::Bytes(0, bytes) => bytes.to_vec(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!((&heard[..], said.last()), (&b"hello, world"[..], Some(&bytes(4, b"!"))));
        }
        for bad in [&[(&b"0aGV"[..], true)][..], &[(b"0****", true)], &[(b"0IQ==", false), (b"IQ==", true)]] {
            assert_eq!(read(Form::Base64, 4, bad), Err(Fault("a message is not base64", Close::Invalid)));
        }
    }
}
