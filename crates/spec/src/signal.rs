//! Signals by name and number.
//!
//! *Invariant:* a number that comes out of here is a signal that the kernel knows: 1 to 64.

/// `SIGTERM`, what stops a container that asks for nothing else.
pub const TERM: i32 = 15;

/// First and last real-time signal as the C library counts them (it keeps two for itself).
const REAL_TIME: (i32, i32) = (34, 64);

/// Names of signal(7) on x86, ARM and RISC-V.
const NAMES: [(&str, i32); 36] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", TERM),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("RTMIN", REAL_TIME.0),
    ("RTMAX", REAL_TIME.1),
];

/// A signal as people write it: `SIGTERM`, `term`, `15`, `SIGRTMIN+3`, `RTMAX-1`.
#[must_use]
pub fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(name, _)| *name == bare) {
        return Some(*number);
    }
    let offset = |digits: &str| {
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<i32>().ok())?
    };
    let number = if let Some(above) = bare.strip_prefix("RTMIN+") {
        REAL_TIME.0 + offset(above).filter(|above| *above <= 64)?
    } else {
        REAL_TIME.1 - offset(bare.strip_prefix("RTMAX-")?).filter(|below| *below <= 64)?
    };
    (REAL_TIME.0..=REAL_TIME.1).contains(&number).then_some(number)
}

/// The signal that asks a container to end: what was asked for, else what its image says, else `SIGTERM`.
///
/// An image whose signal is none counts as one that says nothing: the container could not be stopped otherwise.
#[must_use]
pub fn stop_signal(request: Option<i32>, image: Option<&str>) -> i32 {
    request.filter(|number| (1..=64).contains(number)).or_else(|| parse(image?)).unwrap_or(TERM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_as_people_write_them() {
        let table = [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("15", Some(15)),
            ("SIGRTMIN+3", Some(37)),
            ("rtmax-14", Some(50)),
            ("SIGRTMIN", Some(34)),
            ("RTMIN+31", None),
            ("RTMIN+-1", None),
            ("RTMAX-99999999999", None),
            ("0", None),
            ("65", None),
            ("-9", None),
            ("SIGSIGTERM", None),
            ("", None),
            ("SIG", None),
        ];
        for (text, number) in table {
            assert_eq!(parse(text), number, "{text}");
        }
    }

    #[test]
    fn the_request_comes_before_the_image() {
        assert_eq!(stop_signal(Some(9), Some("SIGQUIT")), 9);
        assert_eq!(stop_signal(None, Some("SIGQUIT")), 3);
        assert_eq!(stop_signal(None, Some("nonsense")), TERM);
        assert_eq!(stop_signal(None, None), TERM);
    }
}
