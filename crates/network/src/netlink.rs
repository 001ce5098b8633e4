//! One conversation with the kernel: requests go out in one `sendmsg`, the answers are read until the last request is answered.
//!
//! The kernel works a request off inside the `send` call and has queued every answer when it returns, so reading never waits:
//! there is nothing to poll and no runtime is needed. References: netlink(7), rtnetlink(7), `Documentation/userspace-api/netlink`.
//!
//! *Invariant:* a socket stays in the network namespace of the thread that opened it, whoever uses it later.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkSerializable};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

const HEADER: usize = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NLM_F_ACK_TLVS`: attributes follow.
const ANSWERS_HAVE_TEXT: u16 = 0x200;
/// `NLM_F_DUMP_INTR`
const TORN: u16 = 0x10;
/// How often a list is asked for again that changed while it was made.
const TRIES: usize = 8;
/// More than any single datagram that the kernel sends.
const LARGEST: usize = 64 * 1024;

/// What the kernel answered instead of doing it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{errno}{}", said.as_deref().map(|said| format!(" ({said})")).unwrap_or_default())]
pub struct Refused {
    /// Its error number.
    pub errno: Errno,
    /// Its own words, where it has some.
    pub said: Option<String>,
    /// Which request of those sent together it was, from 0.
    pub number: usize,
}

impl Refused {
    fn plain(errno: Errno) -> Self {
        Refused { errno, said: None, number: 0 }
    }
}

/// One message of an answer.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Its type.
    pub(crate) kind: u16,
    /// What follows its header.
    pub(crate) payload: Vec<u8>,
}

/// All that came back.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// What was asked for.
    pub(crate) replies: Vec<Reply>,
    /// Which requests were refused.
    pub(crate) refused: Vec<Refused>,
    /// Whether something changed while a list was made, which may lack what was there all the time.
    torn: bool,
}

impl Answer {
    /// The replies, if nothing was refused.
    pub(crate) fn whole(self) -> Result<Vec<Reply>, Refused> {
        match self.refused.into_iter().next() {
            Some(refused) => Err(refused),
            None => Ok(self.replies),
        }
    }

    /// The replies, if nothing was refused for another reason than `errno`.
    pub(crate) fn except(mut self, errno: Errno) -> Result<Vec<Reply>, Refused> {
        self.refused.retain(|refused| refused.errno != errno);
        self.whole()
    }
}

/// Requests that travel together.
#[derive(Debug)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    first: u32,
    count: u32,
    answered: (u32, usize),
}

impl Request {
    /// None yet.
    pub(crate) fn new() -> Self {
        // Numbers differ between conversations, so that an answer which came too late is never taken for another's.
        static NUMBERS: AtomicU32 = AtomicU32::new(1);
        let first = NUMBERS.fetch_add(1 << 12, Ordering::Relaxed);
        Request { bytes: Vec::with_capacity(1024), first, count: 0, answered: (first, 0) }
    }

    /// Adds a message; the last one added with this is the one whose answer ends the conversation.
    pub(crate) fn add(&mut self, kind: u16, flags: u16, payload: &[u8]) {
        self.answered = (self.first.wrapping_add(self.count), self.bytes.len());
        self.add_unanswered(kind, flags, payload);
    }

    /// Adds a message that the kernel does not answer.
    pub(crate) fn add_unanswered(&mut self, kind: u16, flags: u16, payload: &[u8]) {
        let length = u32::try_from(HEADER + payload.len()).expect("invariant: messages are far below 4 GiB");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&self.first.wrapping_add(self.count).to_ne_bytes());
        self.bytes.extend_from_slice(&0_u32.to_ne_bytes());
        self.bytes.extend_from_slice(payload);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.count += 1;
    }

    /// Adds a message of rtnetlink(7).
    pub(crate) fn route(mut self, flags: u16, message: &RouteNetlinkMessage) -> Self {
        let mut payload = vec![0; message.buffer_len()];
        message.serialize(&mut payload);
        self.add(message.message_type(), flags, &payload);
        self
    }

    /// The bytes to send: the last answered message asks for its answer. A dump has an end of its own.
    fn finished(&mut self) -> &[u8] {
        let (_, at) = self.answered;
        let flags = u16::from_ne_bytes([self.bytes[at + 6], self.bytes[at + 7]]);
        if flags & NLM_F_DUMP != NLM_F_DUMP {
            self.bytes[at + 6..at + 8].copy_from_slice(&(flags | NLM_F_ACK).to_ne_bytes());
        }
        &self.bytes
    }
}

/// A socket to one part of the kernel.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: rtnetlink::sys::Socket,
    /// Where answers are read to; who holds it has the socket to himself.
    buffer: Mutex<Vec<u8>>,
}

impl Socket {
    /// A socket for links, addresses and routes, in the calling thread's network namespace.
    pub(crate) fn route() -> Result<Self, Refused> {
        Self::open(rtnetlink::sys::protocols::NETLINK_ROUTE)
    }

    /// A socket for nftables and connection tracking, in the calling thread's network namespace.
    pub(crate) fn netfilter() -> Result<Self, Refused> {
        Self::open(rtnetlink::sys::protocols::NETLINK_NETFILTER)
    }

    fn open(protocol: isize) -> Result<Self, Refused> {
        let socket = rtnetlink::sys::Socket::new(protocol).map_err(|error| {
            Refused::plain(error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))
        })?;
        // Without these the answers say less or more than is needed, but no wrong thing.
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_cap_ack(true);
        // A batch with the host ports of hundreds of pods is sent whole or not at all.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size_force(&socket, 4 << 20);
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 4 << 20);
        Ok(Socket { socket, buffer: Mutex::new(Vec::with_capacity(LARGEST)) })
    }

    /// Asks for a list, again if it changed meanwhile. On a node whose links come and go without a pause the last one counts.
    pub(crate) fn list(&self, kind: u16, payload: &[u8]) -> Result<Answer, Refused> {
        let mut tries = 0;
        loop {
            let mut request = Request::new();
            request.add(kind, NLM_F_DUMP, payload);
            let answer = self.ask(request)?;
            tries += 1;
            if !answer.torn || tries == TRIES {
                return Ok(answer);
            }
        }
    }

    /// The same for lists of rtnetlink(7).
    pub(crate) fn list_route(&self, message: &RouteNetlinkMessage) -> Result<Answer, Refused> {
        let mut payload = vec![0; message.buffer_len()];
        message.serialize(&mut payload);
        self.list(message.message_type(), &payload)
    }

    /// Sends `request` and reads until it is answered.
    ///
    /// # Errors
    /// Only if the conversation itself failed; what the kernel refused stands in the answer.
    pub(crate) fn ask(&self, mut request: Request) -> Result<Answer, Refused> {
        let (last, _) = request.answered;
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = request.finished();
        let sent = rustix::net::send(&self.socket, bytes, SendFlags::empty()).map_err(Refused::plain)?;
        if sent != bytes.len() {
            return Err(Refused::plain(Errno::MSGSIZE));
        }
        let mut answer = Answer::default();
        loop {
            buffer.clear();
            match rustix::net::recv(
                &self.socket,
                rustix::buffer::spare_capacity(&mut *buffer),
                RecvFlags::DONTWAIT,
            ) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                // Refused as a whole, before the last request was looked at.
                Err(Errno::AGAIN) if !answer.refused.is_empty() => return Ok(answer),
                Err(errno) => return Err(Refused::plain(errno)),
            }
            if request.read(&buffer, last, &mut answer)? {
                return Ok(answer);
            }
        }
    }
}

impl Request {
    /// Reads one datagram; true if it holds the answer to request `last`.
    fn read(&self, mut bytes: &[u8], last: u32, answer: &mut Answer) -> Result<bool, Refused> {
        let mut ended = false;
        while bytes.len() >= HEADER {
            let word =
                |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            let (length, number) = (word(0) as usize, word(8));
            let kind = u16::from_ne_bytes([bytes[4], bytes[5]]);
            let flags = u16::from_ne_bytes([bytes[6], bytes[7]]);
            let Some(payload) = bytes.get(HEADER..length) else {
                return Err(Refused::plain(Errno::BADMSG));
            };
            answer.torn |= flags & TORN != 0;
            let index = number.wrapping_sub(self.first);
            if index < self.count {
                if kind == ERROR || kind == DONE {
                    answer.refused.extend(refusal(payload, flags, index as usize));
                    ended |= number == last;
                } else {
                    answer.replies.push(Reply { kind, payload: payload.to_vec() });
                }
            }
            bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        }
        Ok(ended)
    }
}

/// What an `NLMSG_ERROR` or `NLMSG_DONE` refuses; none if it says that all is well.
fn refusal(payload: &[u8], flags: u16, number: usize) -> Option<Refused> {
    let code = i32::from_ne_bytes(payload.get(..4)?.try_into().ok()?);
    if code >= 0 {
        return None;
    }
    // Behind the code stands the header of the request alone, since the answers are capped; then attributes. 1: a text.
    let said = (flags & ANSWERS_HAVE_TEXT != 0)
        .then(|| payload.get(4 + HEADER..))
        .flatten()
        .and_then(|attributes| crate::attribute::Attributes(attributes).find(1))
        .map(|text| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
    Some(Refused { errno: Errno::from_raw_os_error(-code), said, number })
}
