//! Death at any time, of a pull too; up to three in one story.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::story::{Story, say};

const ROUNDS: usize = 20;
const DEATHS: u64 = 3;

/// xorshift64: the same seed, the same deaths.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end.max(1)
    }
}

/// Kills this process after a while, unless it has ended by then.
fn kill_later(pid: u32, delay: Duration) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process's number");
    // Held now, while it is a child that nobody has waited for: its number is no other's.
    let process = pidfd_open(pid, PidfdFlags::empty()).expect("a child");
    std::thread::spawn(move || {
        std::thread::sleep(delay);
        let _ = pidfd_send_signal(&process, Signal::KILL);
    });
}

#[tokio::test]
async fn death_at_any_time_leaves_nothing_and_loses_nothing() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").subsec_nanos();
    let seed = std::env::var("ORLOP_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(u64::from(now) | 1);
    say(&format!("ORLOP_TEST_SEED={seed}"));
    let mut random = Random(seed);
    let mut story = Story::new("random").await;
    story.begin(None).await;
    let began = Instant::now();
    Box::pin(story.tell(true)).await;
    let length = u64::try_from(began.elapsed().as_micros()).expect("a short story");
    story.end().await;
    let mut deaths = 0;
    for round in 0..ROUNDS {
        story.begin(None).await;
        kill_later(story.daemon.pid(), Duration::from_micros(random.below(length)));
        let (mut more, mut left) = (random.clone(), random.below(DEATHS));
        story.revived = Box::new(move |pid| {
            if left > 0 {
                left -= 1;
                kill_later(pid, Duration::from_micros(more.below(length / 2)));
            }
        });
        Box::pin(story.tell(true)).await;
        // A death that is still to come would come in the proof that nothing is left.
        story.revived = Box::new(drop);
        eprintln!("round {round}: {} deaths", story.deaths);
        deaths += story.deaths;
        story.settle(Duration::from_micros(length)).await;
        story.end().await;
    }
    say(&format!("orlopd died {deaths} times in {ROUNDS} stories"));
    // How many there are is chance; that there are none is not.
    assert!(deaths >= ROUNDS / 4, "{deaths}");
}
