//! The last word of a command, on the error stream.
//!
//! *Invariant:* what clients act on is in fields; words are for people.
//!
//! Source: `metav1.Status`, and how client-go's remotecommand reads it.

use serde_json::json;

use crate::session::End;

/// What is written on the error stream. `fields`: as JSON, from version 4 of the protocol on; before that, words, and none for success.
pub(crate) fn told(end: &End, fields: bool) -> String {
    let status = match end {
        End::Exited(0) | End::Detached => json!({ "metadata": {}, "status": "Success" }),
        End::Exited(code) => {
            // Clients read a byte here and take anything else for a broken protocol.
            let code = u8::try_from(*code).unwrap_or(u8::MAX).to_string();
            json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("command terminated with non-zero exit code: {code}"),
                "reason": "NonZeroExitCode",
                "details": { "causes": [{ "reason": "ExitCode", "message": code }] },
            })
        }
        End::Failed(words) => json!({
            "metadata": {},
            "status": "Failure",
            "message": words,
            "reason": "InternalError",
            "code": 500,
        }),
    };
    if fields { status.to_string() } else { status["message"].as_str().unwrap_or_default().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn read(end: &End) -> Value {
        serde_json::from_str(&told(end, true)).expect("JSON")
    }

    #[test]
    fn success_says_so_and_nothing_in_words() {
        for end in [End::Exited(0), End::Detached] {
            assert_eq!(read(&end)["status"], "Success");
            assert_eq!(told(&end, false), "");
        }
    }

    #[test]
    fn an_exit_code_is_a_cause() {
        for (code, told) in [(1, "1"), (3, "3"), (137, "137"), (255, "255"), (256, "255"), (-1, "255")] {
            let status = read(&End::Exited(code));
            assert_eq!(
                (&status["status"], &status["reason"]),
                (&"Failure".into(), &"NonZeroExitCode".into())
            );
            assert_eq!(status["details"]["causes"], json!([{ "reason": "ExitCode", "message": told }]));
        }
        assert_eq!(told(&End::Exited(3), false), "command terminated with non-zero exit code: 3");
    }

    #[test]
    fn a_failure_is_in_its_own_words() {
        let end = End::Failed("exec: no \"such\" file".into());
        let status = read(&end);
        assert_eq!(
            (&status["message"], &status["reason"]),
            (&"exec: no \"such\" file".into(), &"InternalError".into())
        );
        assert_eq!((&status["code"], told(&end, false)), (&500.into(), "exec: no \"such\" file".into()));
    }
}
