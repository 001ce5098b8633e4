//! The program `orlop`, run as people run it, against a daemon that lives in the test.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`daemon`] | the daemon: what it has, what it was asked |
//! | [`services`] | its calls |
//! | [`run`] | the program run, with pipes or at a terminal |
//! | the others | what is promised of the verbs |

#![expect(clippy::unwrap_used, reason = "what a test stands on is there, or the test fails")]

mod changing;
mod daemon;
mod events;
mod exec;
mod explain;
mod listing;
mod logs;
mod pull;
mod run;
mod services;
mod unreachable;
