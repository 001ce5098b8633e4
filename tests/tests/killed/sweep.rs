//! Death at the first point that the daemon passes, at the second, ... until the story ends without a death; and twice in one.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::story::{Story, say};

/// Stories that are told at once.
const WORKERS: usize = 4;
/// As many moments have to be there at least.
const MOMENTS: usize = 40;

/// What the workers share.
#[derive(Default)]
struct Sweep {
    next: AtomicU64,
    over: AtomicBool,
    /// Points at which a daemon died, in the order of the story.
    points: Mutex<BTreeSet<(u64, String)>>,
}

impl Sweep {
    /// Tells stories; `fates` says what is to happen in the story of a number, first and afterwards.
    fn tell(&self, name: &str, fates: fn(u64) -> Vec<String>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut story = Story::new(name).await;
            while !self.over.load(Ordering::Relaxed) {
                let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
                let fates = fates(number);
                eprintln!("{name}: story {number}: {fates:?}");
                let mut fates = fates.into_iter();
                let first = fates.next();
                story.fates = fates.collect();
                story.begin(first).await;
                Box::pin(story.tell(false)).await;
                story.end().await;
                if story.deaths == 0 {
                    self.over.store(true, Ordering::Relaxed);
                }
            }
            let log = story.daemon.log();
            let points = log.lines().filter_map(|line| line.strip_prefix("failpoint ")).filter_map(|line| {
                let (name, number) = line.trim_end_matches(')').split_once(" (")?;
                Some((number.parse().ok()?, name.to_owned()))
            });
            self.points.lock().expect("nobody panicked").extend(points);
        });
    }

    fn run(&self, name: &str, fates: fn(u64) -> Vec<String>) -> BTreeSet<(u64, String)> {
        std::thread::scope(|scope| {
            for worker in 0..WORKERS {
                let name = format!("{name}-{worker}");
                scope.spawn(move || self.tell(&name, fates));
            }
        });
        std::mem::take(&mut *self.points.lock().expect("nobody panicked"))
    }
}

#[test]
fn death_at_every_point_leaves_nothing_and_loses_nothing() {
    let points = Sweep::default().run("sweep", |number| vec![format!("any:{number}")]);
    let numbers: BTreeSet<u64> = points.iter().map(|(number, _)| *number).collect();
    let names: BTreeSet<&str> = points.iter().map(|(_, name)| name.as_str()).collect();
    say(&format!("orlopd died at {} moments of the story, at {} points by name", numbers.len(), names.len()));
    say(&names.iter().copied().collect::<Vec<_>>().join(" "));
    let last = numbers.last().copied().unwrap_or_default();
    let all: BTreeSet<u64> = (1..=last).collect();
    let missed: Vec<&u64> = all.difference(&numbers).collect();
    assert!(missed.is_empty(), "no death at the points {missed:?}");
    assert!(numbers.len() >= MOMENTS, "{} moments, {MOMENTS} at least", numbers.len());
}

#[test]
fn death_in_the_recovery_of_a_death_is_recovered_from() {
    // Every third point, and then a few points after the next start: those of the recovery, and of what comes then.
    let points = Sweep::default().run("twice", |number| {
        let first = 3 * number;
        vec![format!("any:{first}"), format!("any:{}", 1 + number % 5), format!("any:{}", 2 + number % 7)]
    });
    say(&format!("orlopd died at {} different moments of recoveries and retries", points.len()));
    assert!(points.len() >= 20, "{points:?}");
}
