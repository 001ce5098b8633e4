//! Points in time as RFC 3339 says them: UTC and nine digits of a second when written, any offset and precision when read.
//!
//! *Invariant:* what [`write()`] writes has always [`LENGTH`] bytes and sorts as text like it does as time.

/// Bytes of `2026-01-02T15:04:05.123456789Z`.
pub const LENGTH: usize = 30;

const DAY: i64 = 86_400;
const BILLION: i64 = 1_000_000_000;

/// The year, month and day that are `days` after 1970-01-01, in the Gregorian calendar.
///
/// Counted from March, so that the leap day is the last of its year; 146,097 days are 400 years.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468; // from 0000-03-01 to 1970-01-01
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// Days from 1970-01-01 to a date; the inverse of [`date`].
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Puts the decimal digits of `value`, which is not negative, into all of `out`, with zeros in front.
fn digits(out: &mut [u8], mut value: i64) {
    for place in out.iter_mut().rev() {
        *place = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

/// `nanoseconds` since 1970 as text. Every `i64` is a time between the years 1677 and 2262.
#[must_use]
pub fn write(nanoseconds: i64) -> [u8; LENGTH] {
    let mut out = *b"0000-00-00T00:00:00.000000000Z";
    let seconds = nanoseconds.div_euclid(BILLION);
    let (year, month, day) = date(seconds.div_euclid(DAY));
    let second = seconds.rem_euclid(DAY);
    digits(&mut out[0..4], year);
    digits(&mut out[5..7], month);
    digits(&mut out[8..10], day);
    digits(&mut out[11..13], second / 3600);
    digits(&mut out[14..16], second / 60 % 60);
    digits(&mut out[17..19], second % 60);
    digits(&mut out[20..29], nanoseconds.rem_euclid(BILLION));
    out
}

/// A number of exactly `count` digits off the front of `text`.
fn number(text: &mut &[u8], count: usize) -> Option<i64> {
    let (digits, rest) = text.split_at_checked(count)?;
    *text = rest;
    digits
        .iter()
        .try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + i64::from(digit - b'0')))
}

/// One byte of `any` off the front of `text`.
fn one_of(text: &mut &[u8], any: &[u8]) -> Option<u8> {
    let (first, rest) = text.split_first()?;
    *text = rest;
    any.contains(first).then_some(*first)
}

/// A fraction of a second off the front of `text`, in nanoseconds; none is zero, digits beyond the ninth are dropped.
fn fraction(text: &mut &[u8]) -> Option<i64> {
    let Some(after) = text.strip_prefix(b".") else { return Some(0) };
    let count = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let kept = count.min(9);
    let mut digits = &after[..kept];
    *text = &after[count..];
    let scale = 10_i64.pow(u32::try_from(9 - kept).ok()?);
    if count == 0 { None } else { number(&mut digits, kept).map(|value| value * scale) }
}

/// Seconds that the zone at the front of `text` lies east of UTC.
fn offset(text: &mut &[u8]) -> Option<i64> {
    let sign = match one_of(text, b"Zz+-")? {
        b'+' => 1,
        b'-' => -1,
        _ => return Some(0),
    };
    let hours = number(text, 2)?;
    one_of(text, b":")?;
    let minutes = number(text, 2)?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Nanoseconds since 1970 of a time in RFC 3339; `None` if `text` is none, or one that they cannot count.
#[must_use]
pub fn read(text: &[u8]) -> Option<i64> {
    let mut text = text;
    let year = number(&mut text, 4)?;
    one_of(&mut text, b"-")?;
    let month = number(&mut text, 2)?;
    one_of(&mut text, b"-")?;
    let day = number(&mut text, 2)?;
    one_of(&mut text, b"Tt")?;
    let hour = number(&mut text, 2)?;
    one_of(&mut text, b":")?;
    let minute = number(&mut text, 2)?;
    one_of(&mut text, b":")?;
    let second = number(&mut text, 2)?;
    let fraction = fraction(&mut text)?;
    let offset = offset(&mut text)?;
    let count = days(year, month, day);
    // Counting there and back finds the 31st of February and the 13th month; 60 is a leap second.
    let real = date(count) == (year, month, day) && hour < 24 && minute < 60 && second <= 60;
    if !real || !text.is_empty() {
        return None;
    }
    let seconds = count * DAY + hour * 3600 + minute * 60 + second - offset;
    seconds.checked_mul(BILLION)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times_have_known_texts() {
        for (nanoseconds, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (1_767_366_245_123_456_789, "2026-01-02T15:04:05.123456789Z"),
            (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (i64::MAX, "2262-04-11T23:47:16.854775807Z"),
            (i64::MIN + 1, "1677-09-21T00:12:43.145224193Z"),
        ] {
            assert_eq!(str::from_utf8(&write(nanoseconds)), Ok(text));
            let read = read(text.as_bytes());
            // The first second of what an i64 holds does not begin within it.
            assert!(read == Some(nanoseconds) || nanoseconds == i64::MIN + 1, "{text}: {read:?}");
        }
    }

    #[test]
    fn every_day_of_600_years_comes_back() {
        for day in -100_000..=106_000 {
            let at = day * DAY * BILLION + 7;
            assert_eq!(read(&write(at)), Some(at));
        }
    }

    #[test]
    fn other_offsets_and_precisions_are_read() {
        let at = Some(1_767_366_245_000_000_000);
        assert_eq!(read(b"2026-01-02T15:04:05Z"), at);
        assert_eq!(read(b"2026-01-02T15:04:05.0+00:00"), at);
        assert_eq!(read(b"2026-01-02T17:34:05.0000000000000+02:30"), at);
        assert_eq!(read(b"2026-01-02T07:04:05.000-08:00"), at);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026-01-02T15:04:05",
            "2026-02-30T15:04:05Z",
            "2026-13-02T15:04:05Z",
            "2026-01-00T15:04:05Z",
            "2026-01-02T24:04:05Z",
            "2026-01-02T15:04:05.Z",
            "2026-01-02T15:04:05Zx",
            "2026-01-02 15:04:05Z",
            "+026-01-02T15:04:05Z",
            "2026-01-02T15:04:05+2:00",
            "9999-01-01T00:00:00Z",
        ] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }
}
