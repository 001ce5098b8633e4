//! How fast lines are formatted: `cargo run --release -p orlop-crilog --example rate`.
//!
//! *Invariant:* prints what it measured and judges nothing.

use std::hint::black_box;
use std::time::Instant;

use orlop_crilog::Stream;
use orlop_crilog::writer::Formatter;

fn main() {
    for length in [0, 20, 80, 200, 1000, 16_000, 100_000] {
        let mut line = vec![b'x'; length];
        line.push(b'\n');
        let chunk = line.repeat((64 << 10) / line.len() + 1);
        let mut formatter = Formatter::new(Stream::Stdout);
        let mut out = Vec::with_capacity(256 << 10);
        let (mut bytes, begin) = (0, Instant::now());
        while begin.elapsed().as_millis() < 500 {
            let mut rest = &chunk[..];
            while !rest.is_empty() {
                rest = &rest[formatter.feed(1_767_366_245_123_456_789, rest, &mut out)..];
                black_box(&out);
                out.clear();
            }
            bytes += chunk.len();
        }
        let rate = bytes as u128 / begin.elapsed().as_micros().max(1);
        println!(
            "lines of {length:6} bytes: {rate:6} MB/s, {:4} million lines a second",
            rate / line.len() as u128
        );
    }
}
