//! The decoder under bytes that are cut anywhere, spoiled, or made up.
//!
//! *Invariant:* what happens depends on nothing but the numbers in here.

use bytes::{Bytes, BytesMut};

use super::decode::{Decoder, Event, Fault};
use super::{BINARY, CLOSE, CONTINUED, Close, PING, PONG, TEXT};
use crate::chance::Chance;

/// A frame as a client writes it.
fn frame(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("short").to_be_bytes();
    let mut bytes = if payload.len() < 126 {
        vec![first, 0x80 | length[1]]
    } else {
        [&[first, 0xfe], &length[..]].concat()
    };
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

const FIN: u8 = 0x80;

/// A conversation with every kind of frame.
fn conversation() -> Vec<u8> {
    [
        frame(FIN | BINARY, [1, 2, 3, 4], b"\0some input"),
        frame(FIN | PING, [9, 9, 9, 9], b"are you there?"),
        frame(BINARY, [0xff, 0, 0xff, 0], &[7; 300]),
        frame(FIN | PONG, [5; 4], b""),
        frame(CONTINUED, [4, 3, 2, 1], b""),
        frame(FIN | PING, [9, 9, 9, 9], b""),
        frame(FIN | CONTINUED, [4, 3, 2, 1], &[8; 5]),
        frame(FIN | TEXT, [0; 4], b"1text"),
        frame(FIN | BINARY, [1, 2, 3, 4], b""),
        frame(FIN | CLOSE, [1, 2, 3, 4], b"\x03\xe8bye"),
    ]
    .concat()
}

fn read(chance: &mut Chance, bytes: &[u8], most: usize) -> (Vec<Event>, Option<Fault>) {
    let (mut decoder, mut events, mut fault) = (Decoder::new(), Vec::new(), None);
    chance.feed(bytes, most, |buffer| {
        loop {
            match decoder.next(buffer) {
                Ok(Some(event)) => add(&mut events, event),
                Ok(None) => break,
                Err(found) => fault = Some(found),
            }
            if fault.is_some() {
                return false;
            }
        }
        assert!(buffer.len() < 14 + 125, "no more than a control frame is kept");
        true
    });
    (events, fault)
}

/// Puts the pieces of a message together, across what came between them.
fn add(events: &mut Vec<Event>, event: Event) {
    if let Event::Piece { piece, first: false, last } = &event {
        let open = events.iter_mut().rev().find(|event| matches!(event, Event::Piece { .. }));
        let Some(Event::Piece { piece: before, last: ended @ false, .. }) = open else {
            panic!("a piece that follows nothing");
        };
        *before = Bytes::from([&before[..], &piece[..]].concat());
        *ended = *last;
        return;
    }
    events.push(event);
}

#[test]
fn every_kind_of_frame_is_told() {
    let (events, fault) = read(&mut Chance::new(1), &conversation(), usize::MAX);
    let whole = |piece: &[u8]| Event::Piece { piece: Bytes::copy_from_slice(piece), first: true, last: true };
    let expected = vec![
        whole(b"\0some input"),
        Event::Ping(Bytes::from("are you there?")),
        whole(&[&[7; 300][..], &[8; 5]].concat()),
        Event::Ping(Bytes::new()),
        whole(b"1text"),
        whole(b""),
        Event::Close(Some(1000)),
    ];
    assert_eq!((events, fault), (expected, None));
}

#[test]
fn it_makes_no_difference_where_bytes_are_cut() {
    let (whole, mut chance) = (conversation(), Chance::new(2));
    let expected = read(&mut chance, &whole, usize::MAX);
    for at in 0..=whole.len() {
        let (mut decoder, mut events) = (Decoder::new(), Vec::new());
        let mut buffer = BytesMut::new();
        for part in [&whole[..at], &whole[at..]] {
            buffer.extend_from_slice(part);
            while let Some(event) = decoder.next(&mut buffer).expect("a valid conversation") {
                add(&mut events, event);
            }
        }
        assert_eq!(events, expected.0, "cut at {at}");
    }
    for most in [1, 2, 3, 7, 20] {
        assert_eq!(read(&mut chance, &whole, most), expected, "pieces of up to {most}");
    }
}

#[test]
fn spoiled_conversations_end_or_are_read() {
    let (whole, mut chance) = (conversation(), Chance::new(3));
    let (mut faults, mut read_through) = (0, 0);
    for _ in 0..20_000 {
        let spoiled = chance.spoil(&whole);
        let (events, fault) = read(&mut chance, &spoiled, 64);
        assert!(events.len() <= spoiled.len() / 6, "each event cost the client bytes");
        if fault.is_some() { faults += 1 } else { read_through += 1 }
    }
    assert!(faults > 1000 && read_through > 1000, "{faults} {read_through}: both happen");
}

#[test]
fn made_up_bytes_end_or_are_read() {
    let mut chance = Chance::new(4);
    for round in 0..20_000 {
        let mut bytes: Vec<u8> = (0..chance.below(200)).map(|_| chance.byte()).collect();
        // Half of them begin as frames do, or nothing would get far.
        if round % 2 == 0 && bytes.len() > 8 {
            bytes[0] &= 0x8b;
            bytes[1] |= 0x80;
        }
        read(&mut chance, &bytes, 64);
    }
}

#[test]
fn what_cannot_be_is_a_fault() {
    let long = |length: u64| [&[0x82, 0xff], &length.to_be_bytes()[..], &[0; 4]].concat();
    let close = |payload: &[u8]| frame(FIN | CLOSE, [1, 2, 3, 4], payload);
    let half = frame(BINARY, [0; 4], b"x");
    let cases: Vec<(Vec<u8>, &str, Close)> = vec![
        (vec![0x82, 1, b'x'], "a frame is not masked", Close::Protocol),
        (frame(0xc2, [0; 4], b"x"), "a frame of an extension that was not agreed on", Close::Protocol),
        (frame(FIN | 3, [0; 4], b"x"), "a frame of a kind that is not known", Close::Protocol),
        (frame(FIN | 0xb, [0; 4], b""), "a frame of a kind that is not known", Close::Protocol),
        (frame(CLOSE, [0; 4], b""), "a control frame is in parts or too long", Close::Protocol),
        (frame(FIN | PING, [0; 4], &[0; 126]), "a control frame is in parts or too long", Close::Protocol),
        (frame(FIN | CONTINUED, [0; 4], b"x"), "a part of no message", Close::Protocol),
        ([half.clone(), half.clone()].concat(), "a message begins within another", Close::Protocol),
        (vec![0x82, 0xfe, 0, 125, 0, 0, 0, 0], "a length is written longer than it needs", Close::Protocol),
        (long(65535), "a length is written longer than it needs", Close::Protocol),
        (long((32 << 20) + 1), "a message is too long", Close::TooLong),
        (long(u64::MAX), "a message is too long", Close::TooLong),
        ([half, long(32 << 20)].concat(), "a message begins within another", Close::Protocol),
        (close(b"\x03"), "half a close code", Close::Protocol),
        (close(&999_u16.to_be_bytes()), "a close code that cannot be sent", Close::Protocol),
        (close(&1005_u16.to_be_bytes()), "a close code that cannot be sent", Close::Protocol),
        (close(b"\x03\xe8\xff"), "a close has words that are no text", Close::Invalid),
    ];
    for (bytes, words, code) in cases {
        assert_eq!(read(&mut Chance::new(5), &bytes, 9).1, Some(Fault(words, code)), "{bytes:?}");
    }
    // Parts that are short each and too long together.
    let mut parts = vec![[&[BINARY, 0xff], &(20_u64 << 20).to_be_bytes()[..], &[0; 4]].concat()];
    parts.push(vec![0; 20 << 20]);
    parts.push([&[CONTINUED, 0xff], &(20_u64 << 20).to_be_bytes()[..], &[0; 4]].concat());
    let fault = read(&mut Chance::new(6), &parts.concat(), 1 << 20).1;
    assert_eq!(fault, Some(Fault("a message is too long", Close::TooLong)));
}
