//! Where the time of a start went: a bar a stage, each beginning where the one before it ends.
//!
//! *Invariant:* bars are never wider than [`WIDTH`], whatever times are given.

/// Columns for all of the time.
const WIDTH: u64 = 32;

/// A column in eighths, from the left.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// A line for each stage: name, milliseconds, bar. `stages` are names and microseconds, in order.
pub(crate) fn lines(stages: &[(String, u64)]) -> Vec<String> {
    let total = sum(stages);
    let width =
        stages.iter().map(|(_, microseconds)| milliseconds(*microseconds).len()).max().unwrap_or_default();
    let mut before: u64 = 0;
    let rows = stages.iter().map(|(name, microseconds)| {
        let row = [
            name.clone(),
            format!("{:>width$}", milliseconds(*microseconds)),
            bar(before, *microseconds, total),
        ];
        before = before.saturating_add(*microseconds);
        row
    });
    super::tree::aligned(rows.collect())
}

/// Microseconds of all stages.
pub(crate) fn sum(stages: &[(String, u64)]) -> u64 {
    stages.iter().fold(0, |sum, (_, microseconds)| sum.saturating_add(*microseconds))
}

/// `microseconds` as milliseconds with two digits after the point.
pub(crate) fn milliseconds(microseconds: u64) -> String {
    let hundredths = microseconds.saturating_add(5) / 10;
    format!("{}.{:02} ms", hundredths / 100, hundredths % 100)
}

/// Blanks up to where it begins, then blocks; never nothing.
fn bar(before: u64, length: u64, total: u64) -> String {
    // In eighths of a column; 128 bits since microseconds are anything.
    let scale = |microseconds: u64| {
        let eighths = u128::from(microseconds) * u128::from(WIDTH * 8) / u128::from(total.max(1));
        usize::try_from(eighths).unwrap_or(usize::MAX).min(usize::try_from(WIDTH * 8).unwrap_or(usize::MAX))
    };
    let begin = (scale(before) / 8).min(usize::try_from(WIDTH - 1).unwrap_or_default());
    let end = scale(before.saturating_add(length)).max(begin * 8 + 1);
    let eighths = end - begin * 8;
    format!("{}{}{}", " ".repeat(begin), "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages(times: &[u64]) -> Vec<(String, u64)> {
        times.iter().enumerate().map(|(number, time)| (format!("s{number}"), *time)).collect()
    }

    #[test]
    fn a_stage_begins_where_the_one_before_ends() {
        let lines = lines(&stages(&[1000, 1000, 2000]));
        assert_eq!(lines[0], format!("s0  1.00 ms  {}", "█".repeat(8)));
        assert_eq!(lines[1], format!("s1  1.00 ms  {}{}", " ".repeat(8), "█".repeat(8)));
        assert_eq!(lines[2], format!("s2  2.00 ms  {}{}", " ".repeat(16), "█".repeat(16)));
    }

    #[test]
    fn every_stage_is_seen_and_none_is_too_wide() {
        for times in [&[0, 0][..], &[1, u64::MAX, u64::MAX], &[1_000_000, 1], &[0], &[5]] {
            for line in lines(&stages(times)) {
                let bar = line.split_once("ms  ").unwrap().1;
                assert!(!bar.trim().is_empty() && bar.chars().count() <= 32, "{times:?}: {line:?}");
            }
        }
        assert_eq!(lines(&[]), Vec::<String>::new());
    }

    #[test]
    fn times_are_in_milliseconds() {
        assert_eq!(milliseconds(0), "0.00 ms");
        assert_eq!(milliseconds(7_305), "7.31 ms");
        assert_eq!(milliseconds(1_234_567), "1234.57 ms");
    }
}
