//! A request, what has to be said to it, and how that is judged.
//!
//! *Invariant:* what a daemon has is asked of it and of its directories, not remembered.

use orlop_tests::cri::Client;
use orlop_tests::daemon::{Daemon, eventually};
use orlop_tests::refusal::{kept, said};
use tonic::Code;

use crate::call::Call;

/// A request that has to be refused.
pub(crate) struct Row {
    /// What is wrong with it.
    pub(crate) name: String,
    pub(crate) call: Call,
    pub(crate) code: Code,
    /// What the message has to say: the field first, where the request has one.
    pub(crate) words: Vec<String>,
}

impl Row {
    pub(crate) fn new(name: impl Into<String>, call: Call, code: Code, words: &[&str]) -> Self {
        Row { name: name.into(), call, code, words: words.iter().map(|&word| word.to_owned()).collect() }
    }
}

/// Makes each request, and judges what is said and what is left.
pub(crate) async fn judge(daemon: &Daemon, client: &mut Client, rows: Vec<Row>) {
    let mut before = kept(daemon, client).await;
    let mut faults = Vec::new();
    for row in rows {
        let name = row.name.clone();
        match row.call.send(client).await {
            Ok(()) => {
                faults.push(format!("{name}: it was done"));
                before = kept(daemon, client).await;
            }
            Err(status) => faults.extend(said(&name, row.code, &row.words, &status)),
        }
        eventually(&format!("nothing is left of: {name}"), async || kept(daemon, client).await == before)
            .await;
    }
    assert!(faults.is_empty(), "{} faults:\n  {}", faults.len(), faults.join("\n  "));
}
