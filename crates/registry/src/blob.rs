//! A blob's bytes as they come, across connections that break.
//!
//! *Invariant:* never more than the announced size is given out; what is given out is one stream, wherever it was resumed: a range that
//! does not begin where it was asked to is refused.

use std::time::{Duration, Instant};

use orlop_image::{Descriptor, Fault};
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};
use tokio::time::timeout;

use crate::client::{Client, Source, Wanted};
use crate::error::Error;
use crate::exchange::{Patience, broken, protocol};
use crate::hosts::host_of;

/// For this many bytes that came, one more failure is forgiven.
const FORGIVING: u64 = 8 << 20;

/// A blob being read.
pub(crate) struct Body<'a> {
    client: &'a Client,
    source: &'a Source,
    blob: &'a Descriptor,
    response: Option<Response>,
    /// Bytes given out.
    at: u64,
    /// Bytes of the response to pass over: it began before `at`.
    skip: u64,
    failures: u64,
    /// What came, and how long it was waited for, since the speed was last looked at.
    speed: (u64, Duration),
}

impl<'a> Body<'a> {
    pub(crate) fn new(client: &'a Client, source: &'a Source, blob: &'a Descriptor) -> Self {
        Body { client, source, blob, response: None, at: 0, skip: 0, failures: 0, speed: Default::default() }
    }

    /// The next bytes; none when all have come.
    pub(crate) async fn next(&mut self) -> Result<Option<bytes::Bytes>, Error> {
        while self.at < self.blob.size {
            match self.more().await {
                Ok(Some(bytes)) => return Ok(Some(bytes)),
                Ok(None) => {}
                Err(error) => self.forgive(error).await?,
            }
        }
        Ok(None)
    }

    /// Whether it goes on after `error`, after a pause.
    async fn forgive(&mut self, error: Error) -> Result<(), Error> {
        self.response = None;
        self.failures += 1;
        let patience = self.client.patience();
        if !error.is_passing() || self.failures >= u64::from(patience.attempts) + self.at / FORGIVING {
            return Err(error);
        }
        tracing::debug!(blob = %self.blob.digest, at = self.at, %error, "a blob is resumed");
        let double = 2_u32.saturating_pow(u32::try_from(self.failures - 1).unwrap_or(u32::MAX));
        tokio::time::sleep(patience.pause.saturating_mul(double).min(patience.longest_pause)).await;
        Ok(())
    }

    async fn more(&mut self) -> Result<Option<bytes::Bytes>, Error> {
        if self.response.is_none() {
            self.response = Some(self.open().await?);
        }
        let Some(response) = &mut self.response else { return Ok(None) };
        let url = response.url().clone();
        let (patience, began) = (*self.client.patience(), Instant::now());
        let Ok(chunk) = timeout(patience.idle, response.chunk()).await else {
            let seconds = patience.idle.as_secs();
            return Err(Error::Stalled { host: host_of(&url), what: "nothing", seconds });
        };
        let chunk = chunk.map_err(|error| broken(&url, error))?;
        let Some(mut bytes) = chunk else {
            let why =
                format!("ended blob {} after {} of {} bytes", self.blob.digest, self.at, self.blob.size);
            return Err(Error::Connection { host: host_of(&url), why });
        };
        self.check_speed(&patience, bytes.len() as u64, began.elapsed(), &host_of(&url))?;
        let skip = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        let bytes = bytes.split_off(skip);
        self.skip -= skip as u64;
        self.at += bytes.len() as u64;
        if self.at > self.blob.size {
            let fault = Fault::Long { said: self.blob.size };
            return Err(orlop_image::Error::Blob { digest: self.blob.digest, fault }.into());
        }
        Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    /// Only waiting for the network counts: whoever takes the bytes may be as slow as the disk is.
    fn check_speed(
        &mut self,
        patience: &Patience,
        bytes: u64,
        waited: Duration,
        host: &str,
    ) -> Result<(), Error> {
        self.speed.0 += bytes;
        self.speed.1 += waited;
        if self.speed.1 < patience.window {
            return Ok(());
        }
        let (bytes, waited) = std::mem::take(&mut self.speed);
        if bytes / waited.as_secs().max(1) >= Patience::LEAST {
            return Ok(());
        }
        Err(Error::Stalled { host: host.to_owned(), what: "too little", seconds: waited.as_secs() })
    }

    /// Asks for what is missing.
    async fn open(&mut self) -> Result<Response, Error> {
        let (digest, said) = (self.blob.digest, self.blob.size);
        let wanted = Wanted { path: &format!("blobs/{digest}"), accept: None, from: self.at };
        let response = self.client.ask(self.source, wanted, false).await?;
        let start = match response.status() {
            StatusCode::PARTIAL_CONTENT if self.at > 0 => {
                let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
                if !range.is_some_and(|range| begins_at(range, self.at, said)) {
                    return Err(protocol(response.url(), "sends another range than it was asked for"));
                }
                self.at
            }
            StatusCode::OK => 0,
            status => {
                return Err(protocol(response.url(), format!("answers {} for a blob", status.as_u16())));
            }
        };
        self.skip = self.at - start;
        match response.content_length() {
            Some(length) if start + length > said => {
                Err(orlop_image::Error::Blob { digest, fault: Fault::Long { said } }.into())
            }
            Some(length) if start + length < said => {
                let fault = Fault::Short { said, got: start + length };
                Err(orlop_image::Error::Blob { digest, fault }.into())
            }
            _ => Ok(response),
        }
    }
}

/// Whether `Content-Range` says `bytes AT-…/SIZE`.
fn begins_at(range: &str, at: u64, size: u64) -> bool {
    let parts = range.strip_prefix("bytes ").and_then(|range| range.split_once('/'));
    let Some((span, all)) = parts else { return false };
    let start = span.split_once('-').and_then(|(start, _)| start.parse().ok());
    start == Some(at) && (all == "*" || all.parse() == Ok(size))
}

#[cfg(test)]
mod tests {
    use super::begins_at;

    #[test]
    fn ranges_are_taken_at_their_word() {
        assert!(begins_at("bytes 5-9/10", 5, 10) && begins_at("bytes 5-9/*", 5, 10));
        for lie in ["bytes 4-9/10", "bytes 5-9/11", "bytes */10", "5-9/10", "bytes 5-9", ""] {
            assert!(!begins_at(lie, 5, 10), "{lie}");
        }
    }
}
