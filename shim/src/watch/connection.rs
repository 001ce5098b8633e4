//! Frames and descriptors of one peer.
//!
//! *Invariant:* a peer that does not read, or says what cannot be understood, is let go; at most [`MOST_UNSENT`] bytes wait for it.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use orlop_wire::code::{Malformed, Wire};
use orlop_wire::message::{frame, unframe};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

/// More than this may not wait for a peer.
const MOST_UNSENT: usize = 1 << 20;

/// The most descriptors that may wait for the frame that speaks of them.
const MOST_HANDED: usize = 16;

/// One peer.
pub(crate) struct Connection {
    socket: OwnedFd,
    received: Vec<u8>,
    handed: VecDeque<OwnedFd>,
    unsent: VecDeque<(Vec<u8>, usize, Option<OwnedFd>)>,
    unsent_bytes: usize,
    broken: bool,
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Connection {
            socket,
            received: Vec::new(),
            handed: VecDeque::new(),
            unsent: VecDeque::new(),
            unsent_bytes: 0,
            broken: false,
        }
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads once. Whether the peer is still there. What one read brought is dealt with before the next: a peer may ask for more at
    /// once than there is room for descriptors.
    pub(crate) fn receive(&mut self) -> bool {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut buffer = [0; 4096];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let got =
            rustix::net::recvmsg(&self.socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, flags);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.handed.extend(descriptors);
            }
        }
        match got {
            Ok(message) if message.bytes == 0 => false,
            Ok(message) => {
                self.received.extend_from_slice(&buffer[..message.bytes]);
                self.handed.len() <= MOST_HANDED
            }
            // It is looked at again while there is something to read.
            Err(Errno::AGAIN | Errno::INTR) => true,
            Err(_) => false,
        }
    }

    /// The next whole message.
    ///
    /// # Errors
    /// [`Malformed`] if what was received can become none.
    pub(crate) fn next<M: Wire>(&mut self) -> Result<Option<(u32, M)>, Malformed> {
        let Some((length, sequence, message)) = unframe(&self.received)? else { return Ok(None) };
        self.received.drain(..length);
        if self.received.is_empty() {
            self.received = Vec::new();
        }
        Ok(Some((sequence, message)))
    }

    /// The next descriptor that the peer handed over.
    pub(crate) fn handed(&mut self) -> Option<OwnedFd> {
        self.handed.pop_front()
    }

    /// Sends a message, with a descriptor if there is one; what does not go out now waits.
    pub(crate) fn send(&mut self, sequence: u32, message: &impl Wire, descriptor: Option<OwnedFd>) {
        let bytes = frame(sequence, message);
        self.unsent_bytes += bytes.len();
        self.unsent.push_back((bytes, 0, descriptor));
        self.flush();
        if self.unsent_bytes > MOST_UNSENT {
            self.broken = true;
        }
    }

    /// Sends what waits, as far as it goes.
    pub(crate) fn flush(&mut self) {
        while let Some((bytes, sent, descriptor)) = self.unsent.front_mut() {
            match send_part(self.socket.as_fd(), &bytes[*sent..], descriptor.as_ref()) {
                Ok(count) => {
                    *sent += count;
                    *descriptor = None;
                    self.unsent_bytes -= count;
                    if *sent == bytes.len() {
                        self.unsent.pop_front();
                    }
                }
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.broken = true;
                    return;
                }
            }
        }
    }

    /// Whether something waits to go out.
    pub(crate) fn waits(&self) -> bool {
        !self.unsent.is_empty() && !self.broken
    }

    /// Whether it is to be let go.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }
}

fn send_part(socket: BorrowedFd<'_>, bytes: &[u8], descriptor: Option<&OwnedFd>) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.map(|descriptor| [descriptor.as_fd()]);
    if let Some(descriptors) = &descriptors {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)
}
