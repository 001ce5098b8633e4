//! What is in a request and in a response: ttrpc's request.proto, and google.rpc.Status.
//!
//! *Invariant:* field numbers are those of others and never change.

use std::collections::BTreeMap;

/// Begins a call.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// The service, with its package.
    #[prost(string, tag = "1")]
    pub service: String,
    /// Its method.
    #[prost(string, tag = "2")]
    pub method: String,
    /// The method's request.
    #[prost(bytes = "vec", tag = "3")]
    pub payload: Vec<u8>,
    /// How long the caller waits, in nanoseconds; 0: for ever.
    #[prost(int64, tag = "4")]
    pub timeout_nano: i64,
    /// What is said beside the request.
    #[prost(message, repeated, tag = "5")]
    pub metadata: Vec<KeyValue>,
}

/// Ends a call.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Response {
    /// How it failed; absent or with code 0: it did not.
    #[prost(message, optional, tag = "1")]
    pub status: Option<RpcStatus>,
    /// The method's response.
    #[prost(bytes = "vec", tag = "2")]
    pub payload: Vec<u8>,
}

/// One value under a key; a key may have several.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KeyValue {
    /// In lower case.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// google.rpc.Status.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RpcStatus {
    /// One of gRPC's codes.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// For programs.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

/// google.protobuf.Any.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Any {
    /// What is in it.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// It.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// Metadata by key.
pub type Metadata = BTreeMap<String, Vec<String>>;

/// As it is sent.
pub(crate) fn to_pairs(metadata: &Metadata) -> Vec<KeyValue> {
    let pairs = metadata.iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
    pairs.map(|(key, value)| KeyValue { key: key.to_lowercase(), value: value.clone() }).collect()
}

/// As it was sent.
pub(crate) fn from_pairs(pairs: Vec<KeyValue>) -> Metadata {
    let mut metadata = Metadata::new();
    for pair in pairs {
        metadata.entry(pair.key.to_lowercase()).or_default().push(pair.value);
    }
    metadata
}
