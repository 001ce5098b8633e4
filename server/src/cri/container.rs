//! Calls about containers.

pub(super) mod attach;
pub(super) mod checkpoint;
pub(super) mod create;
pub(crate) mod events;
pub(super) mod exec;
pub(super) mod exec_sync;
pub(super) mod list;
pub(super) mod log;
pub(super) mod remove;
pub(super) mod start;
pub(super) mod stats;
pub(super) mod status;
pub(super) mod stop;
pub(super) mod update;

use orlop_model::report::Report;
use orlop_stream::session::Streams;

/// The streams that a client of exec or attach asks for.
///
/// # Errors
/// Which of them cannot be.
fn checked(streams: Streams) -> Result<Streams, Report> {
    let Streams { stdin, stdout, stderr, tty } = streams;
    if tty && stderr {
        let cause = "with a terminal, errors come with the output";
        return Err(Report::field("stderr", true, cause).advise("ask for tty or for stderr"));
    }
    if !(stdin || stdout || stderr) {
        let cause = "no stream is asked for";
        return Err(Report::field("stdout", false, cause).advise("ask for stdin, stdout or stderr"));
    }
    Ok(streams)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_cannot_be_are_named() {
        let said = |stdin, stdout, stderr, tty| {
            let refused = checked(Streams { stdin, stdout, stderr, tty }).err();
            refused.map(|report| (report.stage.clone(), report.to_string()))
        };
        for stdin in [false, true] {
            let (field, message) = said(stdin, true, true, true).expect("a terminal has no stderr");
            assert!(field == "stderr" && message.contains("terminal"), "{message}");
        }
        for tty in [false, true] {
            let (field, _) = said(false, false, false, tty).expect("nothing to do");
            assert_eq!(field, "stdout");
        }
        for (stdin, stdout, stderr, tty) in
            [(true, false, false, true), (false, false, true, false), (true, true, true, false)]
        {
            let streams = Streams { stdin, stdout, stderr, tty };
            assert_eq!(checked(streams), Ok(streams));
        }
    }
}
