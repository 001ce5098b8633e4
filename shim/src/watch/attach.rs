//! The container's output for whoever is attached: the same bytes that the log gets, copied into pipes that a peer handed over.
//!
//! ```text
//!  container ─▶ stream ─▶ chunk ─┬─▶ log
//!                                ├─▶ pipe of one attachment ─▶ peer
//!                                └─▶ pipe of another, full: passed over, counted
//! ```
//!
//! *Invariant:* nothing is held here. A pipe that is full costs its own reader the bytes that it has no room for, and nobody else
//! anything: neither the container nor the log nor another attachment waits for it.

use std::os::fd::{AsFd, OwnedFd};

use orlop_wire::message::{Answer, FromShim, News};
use orlop_wire::record::Failure;
use rustix::io::Errno;

use super::Shim;
use crate::record::failure;

/// More than this at once are refused.
const MOST: usize = 16;

/// One who is attached.
struct Attachment {
    number: u64,
    connection: u32,
    /// Write ends of its pipes for stdout (or the terminal) and stderr; none: not asked for, ended, or nobody reads it any more.
    outputs: [Option<OwnedFd>; 2],
    passed_over: u64,
}

/// All who are attached.
#[derive(Default)]
pub(crate) struct Attachments(Vec<Attachment>);

/// What is asked of an attachment.
pub(super) struct AttachRequest {
    pub(super) number: u64,
    pub(super) stdin: bool,
    /// Which of stdout and stderr are asked for.
    pub(super) outputs: [bool; 2],
}

impl Attachments {
    /// Copies what a stream brought to all who are attached to it.
    pub(super) fn copy(&mut self, stream: u32, bytes: &[u8]) {
        for attachment in &mut self.0 {
            let Some(place) = attachment.outputs.get_mut(stream as usize) else { continue };
            let Some(pipe) = place else { continue };
            match fill(pipe, bytes) {
                Ok(taken) => attachment.passed_over += (bytes.len() - taken) as u64,
                Err(_) => *place = None,
            }
        }
    }

    /// A stream has ended, and so do its copies.
    pub(super) fn end_stream(&mut self, stream: u32) {
        for attachment in &mut self.0 {
            if let Some(place) = attachment.outputs.get_mut(stream as usize) {
                *place = None;
            }
        }
    }

    /// Ends those that `which` says, by number and connection: to whom that is to be told, and how.
    fn end(&mut self, which: impl Fn(u64, u32) -> bool) -> Vec<(u32, News)> {
        let (ended, left) =
            std::mem::take(&mut self.0).into_iter().partition(|one| which(one.number, one.connection));
        self.0 = left;
        let told = |one: Attachment| {
            let Attachment { number, connection, passed_over, outputs } = one;
            // Before it is told: whoever hears of the end finds the pipes' ends, too.
            drop(outputs);
            (connection, News::Detached { attachment: number, passed_over })
        };
        Vec::into_iter(ended).map(told).collect()
    }
}

/// Writes what there is room for; how much that was.
///
/// # Errors
/// `PIPE` if nobody reads.
fn fill(pipe: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    let mut taken = 0;
    while taken < bytes.len() {
        match rustix::io::write(pipe, &bytes[taken..]) {
            Ok(count) => taken += count,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(taken)
}

impl Shim {
    /// Attaches a peer: the answer, and the container's stdin if there is one for it.
    pub(super) fn attach(
        &mut self,
        connection: u32,
        request: &AttachRequest,
    ) -> Result<(Answer, Option<OwnedFd>), Failure> {
        let number = request.number;
        // Before anything is refused: they are this request's.
        let outputs = self.take_pipes(connection, request.outputs)?;
        if self.born.is_none() || self.ending.is_some() {
            return Err(failure("attach", "the container is not running", Errno::SRCH));
        }
        let attachments = &mut self.log.attachments.0;
        if attachments.iter().any(|one| one.number == number) {
            return Err(failure("attach", "number in use", Errno::EXIST));
        }
        if attachments.len() >= MOST {
            return Err(failure("attach", format!("{MOST} are attached already"), Errno::USERS));
        }
        attachments.push(Attachment { number, connection, outputs, passed_over: 0 });
        self.log.end_copies();
        let input = if request.stdin { self.hand_out_stdin() } else { None };
        Ok((Answer::Attached { stdin: input.is_some() }, input))
    }

    fn take_pipes(&mut self, connection: u32, asked: [bool; 2]) -> Result<[Option<OwnedFd>; 2], Failure> {
        let refused = |errno| failure("attach", "pipes", errno);
        let peer = self.connection(connection).ok_or_else(|| refused(Errno::BADF))?;
        let mut take = |asked: bool| -> Result<Option<OwnedFd>, Failure> {
            if !asked {
                return Ok(None);
            }
            let pipe = peer.handed().ok_or_else(|| refused(Errno::BADF))?;
            rustix::io::ioctl_fionbio(&pipe, true).map_err(refused)?;
            Ok(Some(pipe))
        };
        let (output, error) = (take(asked[0]), take(asked[1]));
        Ok([output?, error?])
    }

    /// The container's terminal, or the write end of its stdin: a copy of it, or, where it is for the first attachment only, itself.
    /// That one's end is then the stdin's, whoever closes it: the client, or the end of the server.
    fn hand_out_stdin(&mut self) -> Option<OwnedFd> {
        let stdio = &self.plan.stdio;
        if !stdio.stdin {
            return None;
        }
        match (&self.master, stdio.stdin_once) {
            (Some(master), _) => master.as_fd().try_clone_to_owned().ok(),
            (None, true) => self.stdin.take(),
            (None, false) => self.stdin.as_ref().and_then(|stdin| stdin.try_clone().ok()),
        }
    }

    /// Ends an attachment. One that has ended has been told of already.
    pub(super) fn detach(&mut self, connection: u32, number: u64) {
        let ended = self.log.attachments.end(|one, of| one == number && of == connection);
        self.tell_ended(ended);
    }

    /// A peer has gone: its attachments end.
    pub(super) fn detach_all_of(&mut self, connection: u32) {
        self.log.attachments.end(|_, of| of == connection);
    }

    /// The container has ended, and its log is whole: so are the copies.
    pub(super) fn end_attachments(&mut self) {
        let ended = self.log.attachments.end(|_, _| true);
        self.tell_ended(ended);
    }

    fn tell_ended(&mut self, ended: Vec<(u32, News)>) {
        for (connection, news) in ended {
            if let Some(connection) = self.connection(connection) {
                connection.send(0, &FromShim::News { news }, None);
            }
        }
    }
}
