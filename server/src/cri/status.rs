//! Which gRPC code says what went wrong: the only place that chooses one.
//!
//! | code | what kubelet does with it |
//! | --- | --- |
//! | `NOT_FOUND` | takes a stop or a removal for done, drops a status; every other error there is tried for ever |
//! | `DEADLINE_EXCEEDED` | of `ExecSync`: a probe that failed; any other error is a probe that says nothing |
//! | `UNIMPLEMENTED` | goes on without `RuntimeConfig`, streams of lists, pod statistics |
//! | `UNAVAILABLE` | follows a log further: the container may still run |
//! | `UNKNOWN` | of `PullImage`: takes the code off the message and reads its first word, which becomes the pod's reason |
//! | others | shows the message in the pod's events and tries again |
//!
//! The words that kubelet knows are those of cri-api's `pkg/errors`: `RegistryUnavailable` and `SignatureValidationFailed` of a pull.
//! What it counts of `CreateContainer` begins with `ImageVolumeMountFailed` under any code.
//!
//! *Invariant:* the code, and the word before the message, depend on the report's kind alone.

use orlop_model::report::{Kind, Report};
use tonic::{Code, Status};

/// A message travels in a header, percent-encoded: clients bound what they take there.
const MESSAGE_MAX: usize = 2048;

/// What a client is told.
pub(crate) fn status(report: &Report) -> Status {
    let mut message = match word(report.kind) {
        Some(word) => format!("{word}: {report}"),
        None => report.to_string(),
    };
    if message.len() > MESSAGE_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_MAX - 3));
        message.push_str("...");
    }
    Status::new(code(report.kind), message)
}

/// What kubelet looks for at the beginning of a message.
fn word(kind: Kind) -> Option<&'static str> {
    (kind == Kind::NoRegistry).then_some("RegistryUnavailable")
}

fn code(kind: Kind) -> Code {
    match kind {
        Kind::BadRequest => Code::InvalidArgument,
        Kind::NotFound => Code::NotFound,
        Kind::WrongState => Code::FailedPrecondition,
        Kind::Corrupt => Code::DataLoss,
        Kind::Exhausted => Code::ResourceExhausted,
        Kind::TimedOut => Code::DeadlineExceeded,
        Kind::Denied => Code::PermissionDenied,
        Kind::Unavailable => Code::Unavailable,
        Kind::TooOld => Code::OutOfRange,
        Kind::NoRegistry => Code::Unknown,
        Kind::Unsupported => Code::Unimplemented,
        Kind::Failed => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_code_and_the_message_is_the_report() {
        let table = [
            (Kind::BadRequest, 3),
            (Kind::NotFound, 5),
            (Kind::WrongState, 9),
            (Kind::Corrupt, 15),
            (Kind::Exhausted, 8),
            (Kind::TimedOut, 4),
            (Kind::Denied, 7),
            (Kind::Unavailable, 14),
            (Kind::TooOld, 11),
            (Kind::Unsupported, 12),
            (Kind::Failed, 13),
        ];
        for (kind, number) in table {
            let status = status(&Report::new(kind, "stage", "object", "cause").advise("advice"));
            assert_eq!(status.code() as i32, number, "{kind:?}");
            assert_eq!(status.message(), "stage object: cause; advice");
        }
    }

    #[test]
    fn kubelet_finds_its_word_first() {
        let status = status(&Report::new(Kind::NoRegistry, "pull", "a/b:1", "host: refused"));
        assert_eq!(
            (status.code(), status.message()),
            (Code::Unknown, "RegistryUnavailable: pull a/b:1: host: refused")
        );
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        let status = status(&Report::new(Kind::Failed, "", "", "ä".repeat(5000)));
        assert!(status.message().len() <= MESSAGE_MAX && status.message().ends_with("ä..."));
    }
}
