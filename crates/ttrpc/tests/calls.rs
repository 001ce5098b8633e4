//! Both sides together, and each against a peer that lies.
//!
//! *Invariant:* bytes of a hostile peer are written by hand, not by this crate.

use std::sync::Arc;
use std::time::Duration;

use orlop_ttrpc::message::Metadata;
use orlop_ttrpc::server::{Answering, Services};
use orlop_ttrpc::{Call, Client, Code, Error, MESSAGE_LIMIT, Options, Service, Status, serve};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

const SERVICE: &str = "orlop.Test";

/// Says what it hears; `Wait` for ever.
struct Echo;

impl Service for Echo {
    fn call(&self, call: Call) -> Answering {
        Box::pin(async move {
            match call.method.as_str() {
                "Echo" => Ok(call.payload),
                "Beside" => Ok(call.metadata["key"].join(",").encode_to_vec()),
                "Fail" => Err(Status::new(Code::NotFound, call.request::<String>()?)),
                "Wait" => std::future::pending().await,
                _ => Err(Status::unimplemented(&call.service, &call.method)),
            }
        })
    }
}

fn service() -> Arc<dyn Service> {
    Arc::new(Services::default().with(SERVICE, Arc::new(Echo)))
}

fn served() -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    tokio::spawn(serve(theirs, service()));
    ours
}

async fn say(client: &Client, method: &str, said: &str, options: &Options) -> Result<String, Error> {
    client.call(SERVICE, method, &said.to_owned(), options).await
}

#[tokio::test]
async fn calls_at_once_get_each_its_own_answer() {
    let client = Client::new(served());
    let calls = (0..500).map(|number| {
        let client = client.clone();
        tokio::spawn(async move {
            let said = number.to_string().repeat(number);
            assert_eq!(say(&client, "Echo", &said, &Options::default()).await, Ok(said));
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.expect("an answer");
    }
}

#[tokio::test]
async fn failures_are_told_by_code_and_words() {
    let client = Client::new(served());
    let options = Options::default();
    let failed = say(&client, "Fail", "why", &options).await;
    assert_eq!(failed, Err(Status::new(Code::NotFound, "why").into()));
    for (service, method) in [(SERVICE, "None"), ("orlop.None", "Echo")] {
        let failed: Result<String, Error> = client.call(service, method, &String::new(), &options).await;
        assert_eq!(failed, Err(Status::unimplemented(service, method).into()));
    }
}

#[tokio::test]
async fn metadata_arrives_under_lower_case_keys() {
    let client = Client::new(served());
    let metadata = Metadata::from([("KEY".to_owned(), vec!["one".to_owned(), "two".to_owned()])]);
    let options = Options { timeout: None, metadata };
    assert_eq!(say(&client, "Beside", "", &options).await, Ok("one,two".to_owned()));
}

#[tokio::test]
async fn a_deadline_ends_the_call_and_nothing_else() {
    let client = Client::new(served());
    let soon = Options::within(Duration::from_millis(20));
    for _ in 0..3 {
        let late = say(&client, "Wait", "", &soon).await;
        // Either side may be first.
        assert!(
            matches!(&late, Err(Error::Late(_)))
                || matches!(&late, Err(Error::Status(status)) if status.code == Code::DeadlineExceeded),
            "{late:?}"
        );
    }
    assert_eq!(say(&client, "Echo", "still", &Options::default()).await, Ok("still".to_owned()));
}

#[tokio::test]
async fn more_calls_than_are_answered_at_once_wait_their_turn() {
    let client = Client::new(served());
    let stuck: Vec<_> = (0..orlop_ttrpc::server::CALLS)
        .map(|_| {
            let client = client.clone();
            let options = Options::within(Duration::from_secs(2));
            tokio::spawn(async move { say(&client, "Wait", "", &options).await })
        })
        .collect();
    assert_eq!(say(&client, "Echo", "after them", &Options::default()).await, Ok("after them".to_owned()));
    for call in stuck {
        assert!(call.await.expect("it ends").is_err());
    }
}

#[tokio::test]
async fn what_is_too_long_is_not_sent() {
    let client = Client::new(served());
    let long = "x".repeat(MESSAGE_LIMIT);
    let refused = say(&client, "Echo", &long, &Options::default()).await;
    assert!(matches!(refused, Err(Error::TooLong(length)) if length > MESSAGE_LIMIT));
    assert_eq!(say(&client, "Echo", "still", &Options::default()).await, Ok("still".to_owned()));
}

#[tokio::test]
async fn the_end_of_the_connection_ends_every_call_and_every_later_one() {
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    let client = Client::new(ours);
    let waiting = client.clone();
    let call = tokio::spawn(async move { say(&waiting, "Echo", "", &Options::default()).await });
    let _ = theirs.read_u8().await.expect("the request");
    assert!(!client.is_closed());
    drop(theirs);
    assert_eq!(call.await.expect("it ends"), Err(Error::Closed));
    client.closed().await;
    assert!(client.is_closed());
    assert_eq!(say(&client, "Echo", "", &Options::default()).await, Err(Error::Closed));
}

#[tokio::test]
async fn the_last_client_takes_the_connection_with_it() {
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    let client = Client::new(ours);
    let other = client.clone();
    drop(client);
    assert!(!other.is_closed());
    drop(other);
    assert_eq!(theirs.read(&mut [0; 1]).await.expect("an end"), 0);
}

fn frame(length: u32, stream: u32, kind: u8, flags: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(stream.to_be_bytes());
    bytes.extend([kind, flags]);
    bytes.extend(data);
    bytes
}

fn whole(stream: u32, kind: u8, flags: u8, data: &[u8]) -> Vec<u8> {
    frame(u32::try_from(data.len()).expect("short"), stream, kind, flags, data)
}

fn request(method: &str) -> Vec<u8> {
    let request = orlop_ttrpc::message::Request {
        service: SERVICE.into(),
        method: method.into(),
        ..orlop_ttrpc::message::Request::default()
    };
    request.encode_to_vec()
}

/// The stream and the code of the next response.
async fn heard(from: &mut DuplexStream) -> (u32, i32) {
    let mut header = [0; 10];
    from.read_exact(&mut header).await.expect("a response");
    let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four"));
    assert_eq!(header[8..], [2, 0], "a response");
    let mut data = vec![0; usize::try_from(number(0)).expect("short")];
    from.read_exact(&mut data).await.expect("all of it");
    let response = orlop_ttrpc::message::Response::decode(data.as_slice()).expect("a response");
    (number(4), response.status.map_or(0, |status| status.code))
}

#[tokio::test]
async fn frames_that_break_the_protocol_are_refused_one_by_one() {
    let mut peer = served();
    let (invalid, exhausted, unimplemented) = (3, 8, 12);
    let too_long = u32::try_from(MESSAGE_LIMIT + 1).expect("fits");
    let steps = [
        (whole(2, 1, 0, &request("Echo")), (2, invalid)),
        (whole(5, 1, 0, &request("Echo")), (5, 0)),
        (whole(5, 1, 0, &request("Echo")), (5, invalid)),
        (whole(3, 1, 0, &request("Echo")), (3, invalid)),
        (whole(7, 3, 0, b"data"), (7, invalid)),
        (whole(9, 1, 0, b"\xff\xff\xff"), (9, invalid)),
        (whole(11, 1, 2, &request("Echo")), (11, unimplemented)),
        (frame(too_long, 13, 1, 0, &vec![0; MESSAGE_LIMIT + 1]), (13, exhausted)),
        // A type of later versions is passed over.
        ([whole(15, 9, 0, b"?"), whole(17, 1, 0, &request("Echo"))].concat(), (17, 0)),
        (whole(u32::MAX, 1, 0, &request("Echo")), (u32::MAX, 0)),
    ];
    for (bytes, expected) in steps {
        let (mut read, mut write) = tokio::io::split(peer);
        let sending = tokio::spawn(async move {
            write.write_all(&bytes).await.expect("sent");
            write
        });
        let mut header = [0; 10];
        read.read_exact(&mut header).await.expect("a response");
        let write = sending.await.expect("sent");
        peer = read.unsplit(write);
        let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four"));
        let mut data = vec![0; usize::try_from(number(0)).expect("short")];
        peer.read_exact(&mut data).await.expect("all of it");
        let response = orlop_ttrpc::message::Response::decode(data.as_slice()).expect("a response");
        assert_eq!((number(4), response.status.map_or(0, |status| status.code)), expected);
    }
    peer.write_all(&whole(1, 1, 0, &request("Echo"))).await.expect("sent");
    assert_eq!(heard(&mut peer).await, (1, invalid), "numbers are used up");
}

#[tokio::test]
async fn a_server_that_lies_fails_calls_and_no_more() {
    let (ours, mut peer) = tokio::io::duplex(1 << 16);
    let client = Client::new(ours);
    for (stream, answer) in [
        (1, whole(1, 2, 0, b"\xff\xff")),
        (3, whole(3, 3, 0, b"data")),
        (5, [whole(99, 2, 0, b""), whole(4, 2, 0, b"\xff"), whole(5, 7, 0, b"")].concat()),
    ] {
        let calling = client.clone();
        let call = tokio::spawn(async move { say(&calling, "Echo", "", &Options::default()).await });
        let mut header = [0; 10];
        peer.read_exact(&mut header).await.expect("a request");
        assert_eq!(header[4..8], u32::to_be_bytes(stream), "numbers grow");
        let mut data = vec![0; usize::from(header[3])];
        peer.read_exact(&mut data).await.expect("all of it");
        peer.write_all(&answer).await.expect("sent");
        let failed = call.await.expect("it ends");
        assert!(matches!(failed, Err(Error::Malformed(_))), "{failed:?}");
    }
    assert!(!client.is_closed());
}
