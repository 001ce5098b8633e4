//! Times in words.
//!
//! *Invariant:* the clock is an argument.

use orlop_model::time::Timestamp;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// How long ago `then` was: the largest unit of which there are two, else one. A dash for what has not happened.
pub(crate) fn ago(then: i64, now: Timestamp) -> String {
    if then <= 0 {
        return "-".into();
    }
    let seconds = now.since(Timestamp(then)).as_secs();
    let (count, unit) = match seconds {
        // Also what is in the future: clocks are set.
        0 => return "just now".into(),
        1..MINUTE => (seconds, "second"),
        MINUTE..HOUR => (seconds / MINUTE, "minute"),
        HOUR..DAY => (seconds / HOUR, "hour"),
        _ if seconds < 14 * DAY => (seconds / DAY, "day"),
        _ if seconds < 60 * DAY => (seconds / (7 * DAY), "week"),
        _ if seconds < 730 * DAY => (seconds / (30 * DAY), "month"),
        _ => (seconds / (365 * DAY), "year"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

/// `at` in RFC 3339; empty for what has not happened.
pub(crate) fn exact(at: i64) -> String {
    if at == 0 {
        return String::new();
    }
    String::from_utf8_lossy(&orlop_crilog::time::write(at)).into_owned()
}

/// Nanoseconds since 1970 of what a person typed: RFC 3339, seconds since 1970, or how long before `now`: `90s`, `1h30m`, `2d`.
///
/// # Errors
/// What is understood.
pub(crate) fn since(text: &str, now: Timestamp) -> Result<i64, String> {
    if let Some(at) = orlop_crilog::time::read(text.as_bytes()) {
        return Ok(at);
    }
    if let Some(at) = text.parse::<i64>().ok().and_then(|seconds| seconds.checked_mul(1_000_000_000)) {
        return Ok(at);
    }
    span(text)
        .and_then(|seconds| seconds.checked_mul(1_000_000_000))
        .and_then(|nanoseconds| now.0.checked_sub(i64::try_from(nanoseconds).ok()?))
        .ok_or_else(|| "give a time, 2026-01-02T15:04:05Z, or how long ago: 90s, 1h30m, 2d".into())
}

/// Seconds of `1h30m`.
fn span(text: &str) -> Option<u64> {
    let mut seconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (count, after) = rest.split_at(digits);
        let unit = match after.bytes().next()? {
            b's' => 1,
            b'm' => MINUTE,
            b'h' => HOUR,
            b'd' => DAY,
            _ => return None,
        };
        seconds = seconds.checked_add(count.parse::<u64>().ok()?.checked_mul(unit)?)?;
        rest = &after[1..];
    }
    (!text.is_empty()).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_767_366_245_000_000_000);

    fn before(seconds: u64) -> String {
        ago(NOW.0 - i64::try_from(seconds).unwrap() * 1_000_000_000, NOW)
    }

    #[test]
    fn ages_are_in_words() {
        for (seconds, words) in [
            (0, "just now"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (60, "1 minute ago"),
            (HOUR - 1, "59 minutes ago"),
            (HOUR, "1 hour ago"),
            (DAY, "1 day ago"),
            (13 * DAY, "13 days ago"),
            (14 * DAY, "2 weeks ago"),
            (60 * DAY, "2 months ago"),
            (800 * DAY, "2 years ago"),
        ] {
            assert_eq!(before(seconds), words);
        }
        assert_eq!(ago(0, NOW), "-");
        assert_eq!(ago(NOW.0 + 5_000_000_000, NOW), "just now");
        assert_eq!(ago(i64::MIN, NOW), "-");
    }

    #[test]
    fn a_time_can_be_typed_in_three_ways() {
        assert_eq!(since("2026-01-02T15:04:05Z", NOW), Ok(NOW.0));
        assert_eq!(since("1767366245", NOW), Ok(NOW.0));
        assert_eq!(since("90s", NOW), Ok(NOW.0 - 90_000_000_000));
        assert_eq!(since("1h30m", NOW), Ok(NOW.0 - 5_400_000_000_000));
        assert_eq!(since("2d", NOW), Ok(NOW.0 - 172_800_000_000_000));
        for text in
            ["", "h", "-1h", "1y", "1h30", "99999999999999999d", "99999999999999999", "yesterday", "1ä"]
        {
            assert!(since(text, NOW).is_err(), "{text}");
        }
    }

    #[test]
    fn exact_times_are_rfc_3339() {
        assert_eq!(exact(NOW.0 + 9), "2026-01-02T15:04:05.000000009Z");
        assert_eq!(exact(0), "");
    }
}
