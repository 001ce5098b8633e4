//! A command at work, whatever the form in which its client speaks.
//!
//! ```text
//!            ┌─ inbox ─▶ stdin                 stdout ─▶ lane ─┐
//!  client ──▶┤                     Running                     ├──▶ client
//!            └─ sizes ─▶ resize                stderr ─▶ lane ─┘
//!                            end ─▶ error lane, after the outputs
//! ```
//!
//! *Invariant:* what the command wrote before its end is delivered before its end is told.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::inbox::Inbox;
use crate::outbox::Lane;
use crate::pump::{Ended, Memory, deliver};
use crate::session::{Command, End, Running, Size};
use crate::status;

/// How many bytes of input may wait for the process.
pub(crate) const INPUT: usize = 256 << 10;

/// How many sizes may wait for the terminal.
pub(crate) const SIZES: usize = 16;

/// Of each output.
const OUTPUT: Memory = Memory { buffers: 2, largest: 128 << 10 };

/// The client's ends of a command's streams.
pub(crate) struct Ends {
    /// What it sends.
    pub(crate) input: Arc<Inbox>,
    /// The lane that belongs to the input: it carries nothing but its end.
    pub(crate) stdin: Option<Lane>,
    pub(crate) stdout: Option<Lane>,
    pub(crate) stderr: Option<Lane>,
    pub(crate) error: Lane,
    /// The lane that belongs to the sizes: it carries nothing but its end.
    pub(crate) resize: Option<Lane>,
    pub(crate) sizes: mpsc::Receiver<Size>,
    /// Whether the end is told as JSON.
    pub(crate) fields: bool,
}

/// Begins the command, and returns when all of it was put into the outbox.
pub(crate) async fn run(command: Box<dyn Command>, mut ends: Ends) {
    let end = match command.begin().await {
        Ok(running) => work(running, &mut ends).await,
        Err(words) => End::Failed(words),
    };
    for lane in [&ends.stdout, &ends.stderr].into_iter().flatten() {
        lane.end().await;
    }
    let told = status::told(&end, ends.fields);
    if !told.is_empty() {
        ends.error.say(told.as_bytes()).await;
    }
    ends.error.end().await;
    for lane in [&ends.stdin, &ends.resize].into_iter().flatten() {
        lane.end().await;
    }
}

async fn work(running: Running, ends: &mut Ends) -> End {
    let Running { stdin, stdout, stderr, mut resize, mut end } = running;
    let (over, ended) = watch::channel(false);
    let input = &ends.input;
    let feed = async {
        match stdin {
            Some(stdin) => input.drain(stdin).await,
            None => input.close(),
        }
    };
    let outputs = async {
        let stdout = carry(stdout, ends.stdout.as_ref(), ended.clone());
        let stderr = carry(stderr, ends.stderr.as_ref(), ended.clone());
        tokio::join!(stdout, stderr);
    };
    let sizes = &mut ends.sizes;
    let sizing = async {
        while let Some(size) = sizes.recv().await {
            if let Some(resize) = &mut resize {
                resize(size);
            }
        }
    };
    tokio::pin!(feed, outputs, sizing);
    let (mut delivered, mut other, mut how) = (false, [false; 2], None);
    loop {
        tokio::select! {
            end = &mut end, if how.is_none() => {
                how = Some(end);
                over.send_replace(true);
            }
            () = &mut outputs, if !delivered => delivered = true,
            () = &mut feed, if !other[0] => other[0] = true,
            () = &mut sizing, if !other[1] => other[1] = true,
        }
        match how {
            Some(end) if delivered => return end,
            before => how = before,
        }
    }
}

/// Delivers an output to its end.
async fn carry(
    output: Option<Box<dyn tokio::io::AsyncRead + Send + Unpin>>,
    lane: Option<&Lane>,
    over: watch::Receiver<bool>,
) {
    let Some(lane) = lane else { return };
    // A terminal that nobody has open any more reads as an error: the end, too.
    if let Some(output) = output
        && deliver(output, lane, OUTPUT, Some(over)).await == Ended::Gone
    {
        return;
    }
    lane.end().await;
}
