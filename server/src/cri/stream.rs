//! Lists as they travel: whole in one message, or as a stream of messages of bounded size.
//!
//! Each list verb makes its rows in one function; List gathers them ([`whole`]), Stream sends them as they are made ([`rows`]), so the
//! two cannot differ.
//!
//! *Invariant:* each row is in one message, once; no message is empty: an empty list is a stream that ends. A row is made when the
//! client has taken what came before it, so a slow client costs no memory but one message's.

use orlop_model::report::{Kind, Report};
use prost::Message;
use tonic::codegen::BoxStream;

/// Bytes of rows in a message of a stream, unless one row alone has more: a quarter of what gRPC clients take by default.
pub(crate) const MESSAGE: usize = 1 << 20;
/// Bytes that kubelet and crictl take of one message (`maxMsgSize` in their clients).
pub(crate) const LARGEST: usize = 16 << 20;

/// The rows, as many in a message as fit; `shape` makes a message of them.
pub(crate) fn rows<R: Message + 'static, M: 'static>(
    rows: impl Iterator<Item = R> + Send + 'static,
    shape: impl Fn(Vec<R>) -> M + Send + 'static,
) -> BoxStream<M> {
    let mut rows = rows.peekable();
    let messages = std::iter::from_fn(move || {
        let mut message = vec![rows.next()?];
        let mut size = framed(&message[0]);
        while let Some(row) = rows.next_if(|row| size + framed(row) <= MESSAGE) {
            size += framed(&row);
            message.push(row);
        }
        Some(Ok(shape(message)))
    });
    Box::pin(tokio_stream::iter(messages))
}

/// What a row takes in a message: its tag (one byte below field 16), its length (at most five), itself.
fn framed(row: &impl Message) -> usize {
    row.encoded_len() + 6
}

/// A list in one message, if a client takes it.
///
/// # Errors
/// `Exhausted` if it has more than [`LARGEST`] bytes: a client would refuse it once it has come over; `stream` is the call to use.
pub(crate) fn whole<M: Message>(answer: M, what: &str, stream: &str) -> Result<M, Report> {
    let size = answer.encoded_len();
    if size <= LARGEST {
        return Ok(answer);
    }
    let cause = format!("the list has {size} bytes, and clients take {LARGEST} in one message");
    Err(Report::new(Kind::Exhausted, "list", what, cause)
        .advise(format!("use {stream} (kubelet: feature gate CRIListStreaming), or give a filter")))
}

#[cfg(test)]
mod tests {
    use orlop_proto::runtime::v1::{Image, ListImagesResponse};
    use tokio_stream::StreamExt as _;

    use super::*;

    fn image(number: usize, bytes: usize) -> Image {
        Image { id: number.to_string(), username: "x".repeat(bytes), ..Image::default() }
    }

    async fn sent(images: Vec<Image>) -> Vec<ListImagesResponse> {
        let stream = rows(images.into_iter(), |images| ListImagesResponse { images });
        stream.map(|message| message.expect("a message")).collect().await
    }

    #[tokio::test]
    async fn an_empty_list_is_a_stream_without_messages() {
        assert_eq!(sent(Vec::new()).await, []);
    }

    #[tokio::test]
    async fn every_row_is_sent_once_in_order_and_messages_are_bounded() {
        let images: Vec<Image> = (0..5000).map(|number| image(number, number % 1777)).collect();
        let messages = sent(images.clone()).await;
        assert!(messages.len() > 3 && messages.iter().all(|message| !message.images.is_empty()));
        assert!(messages.iter().all(|message| message.encoded_len() <= MESSAGE));
        let rows: Vec<Image> = messages.into_iter().flat_map(|message| message.images).collect();
        assert_eq!(rows, images);
    }

    #[tokio::test]
    async fn a_row_that_is_too_large_for_company_travels_alone() {
        let messages = sent(vec![image(1, 10), image(2, MESSAGE), image(3, 10), image(4, 10)]).await;
        let counts: Vec<usize> = messages.iter().map(|message| message.images.len()).collect();
        assert_eq!(counts, [1, 1, 2]);
    }

    #[test]
    fn a_list_that_no_client_takes_is_refused_with_the_call_that_works() {
        let fits = ListImagesResponse { images: vec![image(1, LARGEST - 100)] };
        assert!(whole(fits, "images", "StreamImages").is_ok());
        let large = ListImagesResponse { images: vec![image(1, LARGEST)] };
        let report = whole(large, "images", "StreamImages").expect_err("too large");
        assert_eq!(report.kind, Kind::Exhausted);
        assert!(report.to_string().contains("use StreamImages"), "{report}");
    }
}
