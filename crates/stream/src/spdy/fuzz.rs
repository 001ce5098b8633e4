//! The decoder under bytes that are cut anywhere, spoiled, or made up.
//!
//! *Invariant:* what happens depends on nothing but the numbers in here.

use bytes::{Bytes, BytesMut};

use super::decode::{CONTROL, Decoder, Fault, Frame};
use super::headers::tests::Packer;
use super::{FIN, GOAWAY, HEADERS, PING, RST_STREAM, SYN_STREAM};
use crate::chance::Chance;

fn control(kind: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&[0x80, 3], &kind.to_be_bytes()[..], &[flags], &length[1..], payload].concat()
}

fn open(packer: &mut Packer, stream: u32, flags: u8, headers: &[(&str, &str)]) -> Vec<u8> {
    control(SYN_STREAM, flags, &[&stream.to_be_bytes()[..], &[0; 6], &packer.pack(headers)].concat())
}

fn data(stream: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&stream.to_be_bytes(), &[flags][..], &length[1..], payload].concat()
}

/// A conversation with every kind of frame, as a client writes it.
fn conversation() -> Vec<u8> {
    let mut packer = Packer::new();
    let mut bytes = open(&mut packer, 1, 0, &[("streamtype", "error")]);
    bytes.extend(open(&mut packer, 3, 0, &[("streamtype", "stdin")]));
    bytes.extend(data(3, 0, b"some input"));
    bytes.extend(control(4, 0, &[0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 100]));
    bytes.extend(control(PING, 0, &[0, 0, 0, 1]));
    bytes.extend(control(PING, 0, &[0, 0, 0, 2]));
    bytes.extend(control(9, 0, &[0, 0, 0, 3, 0, 1, 0, 0]));
    bytes.extend(data(3, 0, b""));
    bytes.extend(control(HEADERS, 0, &[&[0, 0, 0, 3][..], &packer.pack(&[("more", "headers")])].concat()));
    bytes.extend(open(&mut packer, 5, FIN, &[("streamtype", "data"), ("port", "80"), ("requestid", "0")]));
    bytes.extend(data(3, FIN, b"the last input"));
    bytes.extend(data(1, FIN, b""));
    bytes.extend(control(77, 0, b"an invention"));
    bytes.extend(control(RST_STREAM, 0, &[0, 0, 0, 5, 0, 0, 0, 5]));
    bytes.extend(control(GOAWAY, 0, &[0; 8]));
    bytes
}

/// What is read of `bytes` in pieces of up to `most`; data that came in pieces is put together.
fn read(chance: &mut Chance, bytes: &[u8], most: usize) -> (Vec<Frame>, Option<Fault>) {
    let (mut decoder, mut frames, mut fault) = (Decoder::new(), Vec::new(), None);
    chance.feed(bytes, most, |buffer| {
        loop {
            match decoder.next(buffer) {
                Ok(Some(frame)) => add(&mut frames, frame),
                Ok(None) => break,
                Err(found) => fault = Some(found),
            }
            if fault.is_some() {
                return false;
            }
        }
        assert!(buffer.len() < 8 + CONTROL, "no more than a control frame is kept");
        true
    });
    (frames, fault)
}

fn add(frames: &mut Vec<Frame>, frame: Frame) {
    if let Frame::Data { stream, piece, last } = &frame
        && let Some(Frame::Data { stream: of, piece: before, last: false }) = frames.last()
        && of == stream
    {
        let whole = Bytes::from([&before[..], &piece[..]].concat());
        let last = *last;
        let stream = *stream;
        frames.pop();
        frames.push(Frame::Data { stream, piece: whole, last });
        return;
    }
    frames.push(frame);
}

#[test]
fn every_kind_of_frame_is_told() {
    let (frames, fault) = read(&mut Chance::new(1), &conversation(), usize::MAX);
    assert_eq!((frames.len(), fault), (9, None), "{frames:?}");
    assert!(
        matches!(&frames[0], Frame::Open { stream: 1, headers, last: false } if headers.get("streamtype") == Some("error"))
    );
    assert!(matches!(&frames[2], Frame::Data { stream: 3, piece, last: false } if piece == "some input"));
    assert_eq!(frames[3], Frame::Ping { number: 1 });
    assert!(
        matches!(&frames[4], Frame::Open { stream: 5, headers, last: true } if headers.get("port") == Some("80"))
    );
    assert!(matches!(&frames[5], Frame::Data { stream: 3, piece, last: true } if piece == "the last input"));
    assert_eq!(frames[6], Frame::Data { stream: 1, piece: Bytes::new(), last: true });
    assert_eq!(frames[7..], [Frame::Reset { stream: 5 }, Frame::Goodbye]);
}

#[test]
fn it_makes_no_difference_where_bytes_are_cut() {
    let (whole, mut chance) = (conversation(), Chance::new(2));
    let expected = read(&mut chance, &whole, usize::MAX);
    for at in 0..=whole.len() {
        let (mut decoder, mut frames) = (Decoder::new(), Vec::new());
        let mut buffer = BytesMut::new();
        for part in [&whole[..at], &whole[at..]] {
            buffer.extend_from_slice(part);
            while let Some(frame) = decoder.next(&mut buffer).expect("a valid conversation") {
                add(&mut frames, frame);
            }
        }
        assert_eq!(frames, expected.0, "cut at {at}");
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
        let (frames, fault) = read(&mut chance, &spoiled, 64);
        assert!(frames.len() <= spoiled.len() / 8 + 1, "each frame cost the client bytes");
        if fault.is_some() { faults += 1 } else { read_through += 1 }
    }
    assert!(faults > 1000 && read_through > 1000, "{faults} {read_through}: both happen");
}

#[test]
fn made_up_bytes_end_or_are_read() {
    let mut chance = Chance::new(4);
    for round in 0..20_000 {
        let mut bytes: Vec<u8> = (0..chance.below(200)).map(|_| chance.byte()).collect();
        // Half of them begin as control frames do, or nothing would get far.
        if round % 2 == 0 && bytes.len() > 8 {
            let begin = [0x80, 3, 0, 1 + bytes[3] % 9, bytes[4], 0];
            bytes[..6].copy_from_slice(&begin);
            bytes[6] = 0;
        }
        read(&mut chance, &bytes, 64);
    }
}

#[test]
fn what_cannot_be_is_a_fault() {
    let opened = |flags, number: u32| open(&mut Packer::new(), number, flags, &[("streamtype", "error")]);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (data(0, 0, b"x"), "data for a stream that was never opened"),
        (data(1, 0, b"x"), "data for a stream that was never opened"),
        ([opened(0, 3), data(5, 0, b"x")].concat(), "data for a stream that was never opened"),
        (opened(0, 0), "a stream has a number that cannot be"),
        (opened(0, 2), "a stream has a number that cannot be"),
        (opened(0, 0x8000_0001), "a stream has a number that cannot be"),
        (opened(2, 1), "a stream goes one way only"),
        (control(RST_STREAM, 0, &[0, 0, 0, 1, 0, 0, 0, 5]), "a frame for a stream that was never opened"),
        (control(2, 0, &[0, 0, 0, 1]), "a reply to a stream that was never opened"),
        (control(SYN_STREAM, 0, &[0; 9]), "a control frame is too short"),
        (control(PING, 0, &[0; 3]), "a control frame is too short"),
        (control(GOAWAY, 0, &[0; 4]), "a control frame is too short"),
        (vec![0x80, 2, 0, 1, 0, 0, 0, 0], "a control frame of another version"),
        (vec![0x80, 3, 0, 4, 0, 0xff, 0xff, 0xff], "a control frame is too long"),
    ];
    for (bytes, words) in cases {
        assert_eq!(read(&mut Chance::new(5), &bytes, 9).1, Some(Fault(words)), "{bytes:?}");
    }
    let mut packer = Packer::new();
    let twice = [open(&mut packer, 1, 0, &[("a", "b")]), open(&mut packer, 1, 0, &[("a", "b")])].concat();
    assert_eq!(read(&mut Chance::new(6), &twice, 9).1, Some(Fault("a stream has a number that cannot be")));
}
