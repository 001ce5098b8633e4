//! Use per time, from two looks.
//!
//! *Invariant:* a rate is over at least a tenth of a second, since a shorter one says more about the clock than about the use; over at
//! least a second where there was a look that long ago.

use std::time::{Duration, Instant};

/// A rate is over this long at least, if it can be.
const GOOD: Duration = Duration::from_secs(1);
/// And over this long at the very least.
const LEAST: Duration = Duration::from_millis(100);

/// A look at CPU time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// When.
    pub(crate) at: Instant,
    /// Nanoseconds so far.
    pub(crate) cpu: u64,
}

/// The last two looks, the newer one first.
#[derive(Debug, Default)]
pub(crate) struct Window {
    looks: [Option<Sample>; 2],
}

impl Window {
    /// One more look.
    pub(crate) fn add(&mut self, sample: Sample) {
        self.looks = [Some(sample), self.looks[0]];
    }

    /// Nanoseconds in a second from an earlier look until `now`; none if there was none, or only just now. The first one ever counts
    /// as a look.
    pub(crate) fn rate(&mut self, now: Sample) -> Option<u64> {
        let [newer, older] = self.looks;
        let Some(newer) = newer else {
            self.add(now);
            return None;
        };
        let good = [Some(newer), older].into_iter().flatten().find(|look| now.at - look.at >= GOOD);
        let since = good.or(older).unwrap_or(newer);
        let time = now.at.saturating_duration_since(since.at);
        // A cgroup that was made anew begins at 0.
        (time >= LEAST).then(|| now.cpu.checked_sub(since.cpu)).flatten().map(|used| per_second(used, time))
    }
}

/// Nanoseconds in a second.
pub(crate) fn per_second(nanoseconds: u64, time: Duration) -> u64 {
    let rate = u128::from(nanoseconds) * 1_000_000_000 / time.as_nanos().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, milliseconds: u64, cpu: u64) -> Sample {
        Sample { at: start + Duration::from_millis(milliseconds), cpu }
    }

    #[test]
    fn a_rate_is_from_the_last_look_that_is_old_enough() {
        let start = Instant::now();
        let mut window = Window::default();
        assert_eq!(window.rate(at(start, 0, 0)), None, "nothing to compare with");
        assert_eq!(window.rate(at(start, 50, 50)), None, "only just now");
        assert_eq!(window.rate(at(start, 200, 100_000_000)), Some(500_000_000), "half a CPU in 200 ms");
        window.add(at(start, 10_000, 1_000_000_000));
        assert_eq!(window.rate(at(start, 10_500, 1_050_000_000)), Some(100_000_000), "since the start");
        assert_eq!(window.rate(at(start, 12_000, 5_000_000_000)), Some(2_000_000_000), "two CPUs for 2 s");
    }

    #[test]
    fn looks_of_requests_do_not_shorten_the_window() {
        let start = Instant::now();
        let mut window = Window::default();
        window.add(at(start, 0, 0));
        for moment in 1..100 {
            let rate = window.rate(at(start, 1000 + moment, 1_000_000_000 + moment * 1_000_000));
            assert_eq!(rate, Some(1_000_000_000));
        }
    }

    #[test]
    fn a_counter_that_begins_again_has_no_rate() {
        let start = Instant::now();
        let mut window = Window::default();
        window.add(at(start, 0, 100));
        assert_eq!(window.rate(at(start, 2000, 50)), None);
        window.add(at(start, 3000, 60));
        assert_eq!(window.rate(at(start, 4000, 70)), Some(10));
    }

    #[test]
    fn no_time_is_no_division() {
        assert_eq!(per_second(5, Duration::ZERO), 5_000_000_000);
        assert_eq!(per_second(u64::MAX, Duration::from_nanos(1)), u64::MAX);
    }
}
