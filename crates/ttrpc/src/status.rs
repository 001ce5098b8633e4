//! How a call failed: a code of gRPC's, and words.
//!
//! *Invariant:* a code that nobody knows is `Unknown`, never taken for success.

use crate::message::{Any, RpcStatus};

/// gRPC's codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
#[allow(missing_docs, reason = "the names are gRPC's and say it")]
pub enum Code {
    Ok = 0,
    Canceled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl From<i32> for Code {
    fn from(code: i32) -> Self {
        const ALL: [Code; 17] = [
            Code::Ok,
            Code::Canceled,
            Code::Unknown,
            Code::InvalidArgument,
            Code::DeadlineExceeded,
            Code::NotFound,
            Code::AlreadyExists,
            Code::PermissionDenied,
            Code::ResourceExhausted,
            Code::FailedPrecondition,
            Code::Aborted,
            Code::OutOfRange,
            Code::Unimplemented,
            Code::Internal,
            Code::Unavailable,
            Code::DataLoss,
            Code::Unauthenticated,
        ];
        usize::try_from(code).ok().and_then(|code| ALL.get(code).copied()).unwrap_or(Code::Unknown)
    }
}

/// A failure, as the one who was called says it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message} ({code:?})")]
pub struct Status {
    /// Which kind; never `Ok`.
    pub code: Code,
    /// Why.
    pub message: String,
    /// For programs.
    pub details: Vec<Any>,
}

impl Status {
    /// A failure without details.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Status { code, message: message.into(), details: Vec::new() }
    }

    /// Nobody serves that.
    #[must_use]
    pub fn unimplemented(service: &str, method: &str) -> Self {
        Self::new(Code::Unimplemented, format!("nobody serves {service}/{method}"))
    }

    /// As it came; `None` if it says that all went well.
    pub(crate) fn heard(status: Option<RpcStatus>) -> Option<Self> {
        let status = status.filter(|status| status.code != 0)?;
        Some(Status { code: status.code.into(), message: status.message, details: status.details })
    }
}

impl From<Status> for RpcStatus {
    fn from(status: Status) -> Self {
        RpcStatus { code: status.code as i32, message: status.message, details: status.details }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_their_numbers_and_others_are_unknown() {
        for number in 0..17 {
            assert_eq!(Code::from(number) as i32, number);
        }
        assert_eq!(Code::from(17), Code::Unknown);
        assert_eq!(Code::from(-1), Code::Unknown);
    }
}
