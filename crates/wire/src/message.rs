//! What server and shim say to each other, over a Unix stream socket.
//!
//! A frame is its length (4 bytes, little endian, of what follows), a sequence number (4 bytes) and a message. The server numbers
//! its requests from 1; an answer carries its request's number, news carries 0. Descriptors travel as SCM_RIGHTS with the first
//! byte of the frame that speaks of them.
//!
//! ```text
//!  server                                 shim
//!    │ spawn with fd 3, plan, slots ───────▶│ makes cgroups, clones, carries out the plan
//!    │◀─────── Born | Failed ───────────────│ record on disk first
//!    │ Exec, Signal, KillAll, Reopen... ───▶│
//!    │◀─────── Done | Refused ──────────────│
//!    │ Attach, pipes ──────────────────────▶│ copies the container's output to them from now on
//!    │◀─────── Attached, its stdin ─────────│
//!    │◀─────── ExecEnded, Detached, Exited ─│ Exited: record on disk first, log whole
//! ```

use std::ffi::CString;

use crate::code::wire;
use crate::plan::{Cgroup, Handover, Operation};
use crate::record::{Born, Exited, Failure};

/// No frame is longer: an exec's arguments and environment fit (the kernel's own limit is 2 MiB), a lie does not.
pub const LONGEST: u32 = 4 << 20;

wire! {
/// What the server asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// How it stands: answered by [`News::Born`] or [`News::Exited`], then [`Answer::Done`]. All later news come here too.
    0 => Hello,
    /// Run a process beside the first. Descriptors: stdin, stdout, stderr, or none of them with a terminal, whose master comes
    /// back with [`Answer::ExecStarted`].
    1 => Exec {
        /// A number of the server's choice, for [`News::ExecEnded`] and [`Request::Signal`].
        exec: u64,
        /// Cgroups made before and removed after: where the hierarchy allows, an exec has one of its own.
        cgroups: Vec<Cgroup>,
        /// Unified directory that the clone puts it into, and whose `cgroup.kill` ends all that it started.
        unified: Option<CString>,
        /// Whether a terminal is opened (by an [`Operation::Terminal`]).
        terminal: bool,
        /// What the child does.
        operations: Vec<Operation>,
        /// What it leaves, where it is a command of the runtime that the container has, and not the process itself.
        leaves: Option<Handover>,
    },
    /// Send a signal to the first process, or to an exec's.
    2 => Signal {
        /// Which exec; none: the container's first process.
        exec: Option<u64>,
        /// Signal number.
        signal: i32,
    },
    /// End every process of the container.
    3 => KillAll,
    /// End every process of an exec.
    4 => KillExec {
        /// Which.
        exec: u64,
    },
    /// Close the log and open its path anew; the file is there when the answer comes.
    5 => Reopen,
    /// Set a terminal's size.
    6 => Resize {
        /// Which exec; none: the container's own.
        exec: Option<u64>,
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// Copy the container's output from now on, too, to pipes whose write ends are the descriptors: stdout's and stderr's, those
    /// that are asked for. What a pipe has no room for is passed over, and counted. It lasts until [`Request::Detach`], the
    /// container's end, or the end of this conversation.
    7 => Attach {
        /// A number of the server's choice, for [`News::Detached`] and [`Request::Detach`].
        attachment: u64,
        /// Whether the container's stdin is to come back with [`Answer::Attached`].
        stdin: bool,
        /// Whether output is copied: that of a terminal, where there is one.
        stdout: bool,
        /// Whether errors are.
        stderr: bool,
    },
    /// Copy no longer: answered when [`News::Detached`] has been told.
    8 => Detach {
        /// Which.
        attachment: u64,
    },
}}

wire! {
/// What the shim answers to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is so.
    0 => Done,
    /// The exec runs. If a terminal was asked for, its master comes along.
    1 => ExecStarted {
        /// Its number in the host's PID namespace.
        pid: i32,
    },
    /// It could not be done.
    2 => Refused {
        /// Why.
        failure: Failure,
    },
    /// Output is copied.
    3 => Attached {
        /// Whether a descriptor comes along: the write end of the container's stdin, or the master of its terminal. It does not
        /// where the container has no stdin, or had one for its first attachment only.
        stdin: bool,
    },
}}

wire! {
/// What the shim tells unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The container's program runs.
    0 => Born {
        /// As on disk.
        born: Born,
    },
    /// The container has ended, or could not begin.
    1 => Exited {
        /// As on disk.
        exited: Exited,
    },
    /// An exec's first process has ended.
    2 => ExecEnded {
        /// Which.
        exec: u64,
        /// Exit code, or 128 and the signal's number.
        code: i32,
    },
    /// A hook that nobody waits for has failed: after the start, or after the end.
    45 => HookFailed {
        /// Which, and how.
        failure: Failure,
    },
    /// An attachment has ended: all that its pipes took is in them, and their write ends are closed.
    3 => Detached {
        /// Which.
        attachment: u64,
        /// Bytes that were passed over, since its pipes were full.
        passed_over: u64,
    },
}}

wire! {
/// Anything that a shim sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromShim {
    /// To a request.
    0 => Answer {
        /// The answer.
        answer: Answer,
    },
    /// Unasked.
    1 => News {
        /// The news.
        news: News,
    },
}}

/// A frame around `message`.
#[must_use]
pub fn frame(sequence: u32, message: &impl crate::code::Wire) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend_from_slice(&sequence.to_le_bytes());
    message.put(&mut out);
    let length = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
    out[..4].copy_from_slice(&length.to_le_bytes());
    out
}

/// A frame off the front of `bytes`: its whole length there, its sequence number, its message; `None` while it is not whole.
///
/// # Errors
/// [`crate::code::Malformed`] if no more bytes could make a frame of it.
pub fn unframe<M: crate::code::Wire>(
    bytes: &[u8],
) -> Result<Option<(usize, u32, M)>, crate::code::Malformed> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length);
    if !(4..=LONGEST).contains(&length) {
        return Err(crate::code::Malformed { at: 0, what: "length of a frame" });
    }
    let Some(body) = rest.get(..length as usize) else { return Ok(None) };
    let (sequence, message) = body.split_at(4);
    let sequence = sequence.try_into().map(u32::from_le_bytes).unwrap_or_default();
    Ok(Some((4 + length as usize, sequence, M::from_bytes(message)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Wire;

    #[test]
    fn a_frame_comes_back_and_half_a_frame_waits() {
        let request = Request::Signal { exec: Some(7), signal: 15 };
        let bytes = frame(3, &request);
        for half in 0..bytes.len() {
            assert_eq!(unframe::<Request>(&bytes[..half]), Ok(None));
        }
        assert_eq!(unframe(&bytes), Ok(Some((bytes.len(), 3, request))));
    }

    #[test]
    fn a_frame_without_end_is_refused_at_its_first_bytes() {
        assert!(unframe::<Request>(&u32::MAX.to_le_bytes()).is_err());
    }

    /// Every prefix and every single damaged byte of a message is decoded or refused, never a panic.
    #[test]
    fn damage_is_refused() {
        let exec = Request::Exec {
            exec: 1,
            cgroups: vec![],
            unified: Some(c"/a".into()),
            terminal: false,
            operations: vec![
                Operation::JoinContainer { kinds: 1 },
                Operation::Execute { candidates: vec![c"/b".into()], arguments: vec![], environment: vec![] },
            ],
            leaves: Some(Handover {
                pid_file: c"p".into(),
                log: c"l".into(),
                console: Some(c"s".into()),
                files: vec![c"f".into()],
            }),
        };
        let attach = Request::Attach { attachment: 7, stdin: true, stdout: true, stderr: false };
        for request in [exec, attach, Request::Detach { attachment: 7 }] {
            refuses_damage(&request);
        }
        let detached = News::Detached { attachment: 7, passed_over: 1 << 40 };
        for message in
            [FromShim::Answer { answer: Answer::Attached { stdin: true } }, FromShim::News { news: detached }]
        {
            refuses_damage(&message);
        }
    }

    fn refuses_damage<M: Wire + PartialEq + std::fmt::Debug>(message: &M) {
        let bytes = message.to_bytes();
        assert_eq!(M::from_bytes(&bytes).as_ref(), Ok(message));
        for at in 0..bytes.len() {
            assert!(M::from_bytes(&bytes[..at]).is_err());
            for value in 0..=255 {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                let _ = M::from_bytes(&damaged);
            }
        }
    }
}
