//! Sizes in words: powers of 1024, three digits at least seen, never more than four.

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// `bytes` in the largest unit of which there is one.
pub(crate) fn words(bytes: u64) -> String {
    let mut unit = 0;
    let mut scale: u64 = 1;
    while unit + 1 < UNITS.len() && bytes / scale >= 1024 {
        scale <<= 10;
        unit += 1;
    }
    if unit == 0 {
        return format!("{bytes} B");
    }
    // Rounded to tenths; those of 1023.95 KiB and more are a unit of the next, which is shown so.
    let tenths = (u128::from(bytes) * 10 + u128::from(scale) / 2) / u128::from(scale);
    match (tenths, UNITS.get(unit + 1)) {
        (10_235.., Some(next)) => format!("1.0 {next}"),
        (..1000, _) => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
        _ => format!("{} {}", (tenths + 5) / 10, UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (155_648, "152 KiB"),
            (102_348, "99.9 KiB"),
            (102_400, "100 KiB"),
            (1_048_575, "1.0 MiB"),
            (4_509_715, "4.3 MiB"),
            (504 << 20, "504 MiB"),
            (20 << 30, "20.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(words(bytes), text);
        }
    }
}
