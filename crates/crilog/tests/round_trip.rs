//! The crate's promise: what the writer made, the reader gives back, whatever the bytes and however they were cut.
//!
//! *Invariant:* the random numbers are of a fixed seed, so a failure comes again.

use orlop_crilog::reader::{Joiner, Lines, parse};
use orlop_crilog::writer::{Formatter, ROOM};
use orlop_crilog::{PART, Stream};

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("a usize on 64 bits")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    /// Bytes of any value, with newlines about every `gap` bytes.
    fn bytes(&mut self, length: usize, gap: usize) -> Vec<u8> {
        (0..length).map(|_| if self.below(gap) == 0 { b'\n' } else { self.byte() }).collect()
    }
}

/// Feeds both streams in random chunks, now this one, now that, into a buffer of `room`; gives back the log.
fn write(random: &mut Random, streams: [&[u8]; 2], longest_chunk: usize, room: usize) -> Vec<u8> {
    let mut formatters = [Formatter::new(Stream::Stdout), Formatter::new(Stream::Stderr)];
    let (mut rest, mut log, mut out, mut now) = (streams, Vec::new(), Vec::with_capacity(room), 0);
    while rest.iter().any(|left| !left.is_empty()) {
        let which = random.below(2);
        let chunk = &rest[which][..rest[which].len().min(random.below(longest_chunk) + 1)];
        now += 1;
        let taken = formatters[which].feed(now, chunk, &mut out);
        rest[which] = &rest[which][taken..];
        assert!(formatters[which].held() <= PART);
        assert!(out.capacity() <= room.max(ROOM), "the buffer grew to {}", out.capacity());
        if taken < chunk.len() || random.below(4) == 0 {
            log.append(&mut out);
            out.reserve_exact(room);
        }
    }
    for formatter in &mut formatters {
        formatter.finish(now, &mut out);
    }
    log.append(&mut out);
    log
}

/// Reads the log; gives back both streams, newlines put where lines end.
fn read(log: &[u8]) -> [Vec<u8>; 2] {
    let (mut lines, mut joiner, mut whole) = (Lines::new(log), Joiner::default(), Vec::new());
    while let Some(line) = lines.next_line().expect("memory is read") {
        assert!(line.content.len() <= PART);
        whole.extend(joiner.push(line));
    }
    whole.extend(joiner.finish());
    assert_eq!(lines.skipped(), 0);
    let mut streams = [Vec::new(), Vec::new()];
    for line in whole {
        let stream = &mut streams[usize::from(line.stream == Stream::Stderr)];
        stream.extend(line.content);
        stream.extend(line.ends.then_some(b'\n'));
    }
    streams
}

#[test]
fn any_bytes_in_any_chunks_come_back() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..120 {
        let gap = [1, 3, 80, 5_000, 20_000, 60_000][round % 6];
        let longest_chunk = [1, 7, 100, 4096, 70_000][round % 5];
        let length = if longest_chunk < 10 { 3_000 } else { 80_000 };
        let (first, second) = (random.below(length), random.below(length));
        let streams = [random.bytes(first, gap), random.bytes(second, gap)];
        let room = ROOM + random.below(3 * ROOM);
        let log = write(&mut random, [&streams[0], &streams[1]], longest_chunk, room);
        assert!(read(&log) == streams, "round {round}: gap {gap}, chunks to {longest_chunk}, room {room}");
    }
}

#[test]
fn parts_are_exactly_16_kib_except_at_the_end_of_a_stream() {
    let mut random = Random(77);
    let stream = random.bytes(400_000, 50_000);
    let log = write(&mut random, [&stream, b""], 9_000, ROOM);
    let parts: Vec<_> = log.split_inclusive(|byte| *byte == b'\n').map(|line| parse(line).unwrap()).collect();
    let (last, all) = parts.split_last().unwrap();
    assert!(all.iter().all(|line| line.ends || line.content.len() == PART));
    assert!(!last.ends);
}

#[test]
fn any_bytes_are_read_without_panic_or_endless_loop() {
    let mut random = Random(12345);
    let good = b"2026-01-02T15:04:05.123456789Z stdout F some content\n".repeat(20);
    for _ in 0..2_000 {
        let mut damaged = good.clone();
        for _ in 0..random.below(30) {
            let at = random.below(damaged.len());
            damaged[at] = random.byte();
        }
        damaged.truncate(random.below(damaged.len()));
        let mut lines = Lines::new(&damaged[..]);
        let mut count = 0;
        while lines.next_line().unwrap().is_some() {
            count += 1;
        }
        let newlines = damaged.split(|byte| *byte == b'\n').count() - 1;
        assert_eq!(count + lines.skipped(), newlines as u64);
    }
}
